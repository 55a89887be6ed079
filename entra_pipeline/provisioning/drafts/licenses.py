"""Drafts of licences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from entra_pipeline.provisioning.actions.licenses import SKUS_URL, direct, givers, holder_url
from entra_pipeline.provisioning.drafts.base import Draft, access_operation
from entra_pipeline.provisioning.ledger import Filed
from entra_pipeline.provisioning.plans import Action
from entra_pipeline.provisioning.reads import Facts, Read
from entra_pipeline.provisioning.values import Grant, LicenseAccess, Revoke, Source, Tier

_HOLDERS = frozenset({"users", "groups"})
_CLOSED = frozenset({"Suspended", "LockedOut", "Deleted"})


class Licenses:
    """Licences that a principal has itself."""

    def needs(self, body: Grant | Revoke, segment: str) -> Sequence[Read]:
        """What the principal has, and what the tenant has bought."""
        if segment not in _HOLDERS:
            return ()
        return (Read(holder_url(segment, body.principal_id)), Read(SKUS_URL))

    def draft(self, filed: Filed, body: Grant | Revoke, segment: str, facts: Facts) -> Draft:
        """Refused without usage location or units, and for what only a group gives."""
        access, adds = _of(body), isinstance(body, Grant)
        who, sku_id = body.principal_id, access.sku_id
        if segment not in _HOLDERS:
            return Draft(reasons=(f"{who} is of a kind that has no licences",))
        holder = facts.document(holder_url(segment, who))
        if holder is None:
            return Draft(reasons=(f"there is no principal {who}",))
        off, wanted = direct(holder, sku_id), frozenset(access.disabled_plans)
        by = givers(holder, sku_id)
        if adds:
            sku = _sku(facts.items(SKUS_URL) or [], sku_id)
            fresh = off is None and not by
            reasons = _unfit(sku, access, fresh=fresh)
            if segment == "users" and not holder.get("usageLocation"):
                reasons.append(
                    f"user {who} has no usageLocation, which licences need: set it first "
                    "(update_user)"
                )
            if off is not None and off != wanted and filed.request.expires_at is not None:
                reasons.append(
                    f"{who} has SKU {sku_id} already, with other plans off: its end would take "
                    "all of it away; ask without an end"
                )
        else:
            reasons = []
            # What an end was to take is gone already then: what the group gives was never ours.
            if off is None and by and filed.request.source is not Source.EXPIRY:
                reasons.append(
                    f"user {who} has SKU {sku_id} by group {', '.join(by)}: take it out of the "
                    "group, or the licence from the group"
                )
        if reasons:
            return Draft(reasons=tuple(reasons))
        arguments = {"segment": segment, "sku_id": sku_id, "disabled_plans": sorted(wanted)}
        drafted = access_operation(
            filed,
            body,
            (Action.ASSIGN_LICENSE, Action.REMOVE_LICENSE),
            arguments,
            holds=off == wanted if adds else off is not None,
            tier=Tier.ORDINARY,
            target_id=who,
            undo=None if off is None else {**arguments, "disabled_plans": sorted(off)},
        )
        return _with_the_plans_of_before(drafted, adds=adds, off=off, wanted=wanted, by=by)


def _with_the_plans_of_before(
    drafted: Draft,
    *,
    adds: bool,
    off: frozenset[str] | None,
    wanted: frozenset[str],
    by: list[str],
) -> Draft:
    """The draft with what it says of a licence that is there already."""
    (operation,) = drafted.operations
    who, sku_id = operation.principal_id, operation.arguments["sku_id"]
    if adds and off is not None and off != wanted:
        # What takes it back is the licence as it was, not none.
        assert operation.inverse is not None  # noqa: S101 - access always has one
        inverse = operation.inverse.model_copy(update={"action": Action.ASSIGN_LICENSE})
        said = f"{who} has SKU {sku_id} already: the plans that are off are replaced"
        return Draft(
            (operation.model_copy(update={"inverse": inverse}),),
            warnings=(*drafted.warnings, said),
        )
    if not adds and off is not None and by:
        said = f"{who} still has SKU {sku_id} by group {', '.join(by)}"
        return replace(drafted, warnings=(*drafted.warnings, said))
    return drafted


def _of(body: Grant | Revoke) -> LicenseAccess:
    assert isinstance(body.access, LicenseAccess)  # noqa: S101 - chosen by it
    return body.access


def _sku(skus: Sequence[dict[str, Any]], sku_id: str) -> dict[str, Any] | None:
    return next((each for each in skus if each["skuId"] == sku_id), None)


def _unfit(sku: Mapping[str, Any] | None, access: LicenseAccess, *, fresh: bool) -> list[str]:
    """What the tenant's subscription has against it. `fresh`: it would take another unit."""
    if sku is None:
        return [f"the tenant has no SKU {access.sku_id}"]
    reasons = []
    plans = {each["servicePlanId"] for each in sku.get("servicePlans") or ()}
    if unknown := sorted(set(access.disabled_plans) - plans):
        reasons.append(f"SKU {access.sku_id} has no service plan {', '.join(unknown)}")
    elif plans and plans == set(access.disabled_plans):
        reasons.append(f"all service plans of SKU {access.sku_id} would be off: ask for fewer")
    units = sku.get("prepaidUnits") or {}
    bought = (units.get("enabled") or 0) + (units.get("warning") or 0)
    used = sku.get("consumedUnits") or 0
    if fresh and (sku.get("capabilityStatus") in _CLOSED or used >= bought):
        reasons.append(
            f"SKU {access.sku_id} has no free unit ({used} of {bought} are used): free or buy one"
        )
    return reasons
