"""Drafts of what Privileged Identity Management keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from entra_pipeline.msgraph.errors import UnlicensedError, UnsupportedError
from entra_pipeline.provisioning import canonical
from entra_pipeline.provisioning.actions import groups, pim, roles
from entra_pipeline.provisioning.actions.pim import SHELVES, Shelf
from entra_pipeline.provisioning.drafts.base import Draft, access_operation
from entra_pipeline.provisioning.drafts.groups import judge_group, last_owner
from entra_pipeline.provisioning.drafts.roles import judge_role, last_administrators
from entra_pipeline.provisioning.ledger import Filed
from entra_pipeline.provisioning.plans import Action, Condition, Inverse
from entra_pipeline.provisioning.reads import Facts, Read, UnreadError
from entra_pipeline.provisioning.values import (
    Grant,
    GroupAccess,
    Mode,
    Revoke,
    RoleAccess,
    Tier,
)

_MEMBERS: Final = frozenset({"users", "groups"})
"""Whom PIM makes members of groups."""


@dataclass(frozen=True)
class Holds:
    """Active and eligible holds, of a `role` or a `group`."""

    of: str

    def needs(self, body: Grant | Revoke, segment: str) -> Sequence[Read]:
        """What is held, what was asked of PIM already, and what tells whether it may be."""
        shelf = SHELVES[self.of, body.mode.value]
        who, thing = body.principal_id, body.access.resource_id
        reads = [Read(shelf.instances_url(who)), Read(shelf.requests_url(who))]
        if shelf.active:
            reads.append(Read(pim.plain_url(self.of, _place(body, segment), who)))
        if self.of == "role":
            reads.append(Read(roles.definition_url(thing)))
            if segment == "groups":
                reads.append(Read(groups.group_url(who)))
            if thing == roles.GLOBAL_ADMINISTRATOR:
                reads.append(Read(roles.holders_url(thing)))
            return reads
        reads.append(Read(groups.group_url(thing)))
        reads += [Read(SHELVES["group", mode].of_thing_url(thing)) for mode in _BOTH]
        if shelf.active and _relation(body) == "owner":
            reads.append(Read(groups.owners_url(thing)))
        return reads

    def draft(self, filed: Filed, body: Grant | Revoke, segment: str, facts: Facts) -> Draft:
        """Refused without a licence for PIM, and while PIM still has a request for the same."""
        try:
            return self._draft(filed, body, segment, facts)
        except UnreadError as error:
            if isinstance(error.error, UnlicensedError | UnsupportedError):
                return Draft(reasons=(pim.UNLICENSED,))
            raise

    def _draft(self, filed: Filed, body: Grant | Revoke, segment: str, facts: Facts) -> Draft:
        shelf, adds = SHELVES[self.of, body.mode.value], isinstance(body, Grant)
        place = _place(body, segment)
        rows = facts.items(shelf.instances_url(body.principal_id)) or []
        held = shelf.held(rows, place["thing"], place["place"])
        plain = shelf.active and pim.has_plainly(self.of, place, body.principal_id, rows, facts)
        there = bool(held) or plain
        request = filed.request
        starts = max(filed.filed_at, request.not_before or filed.filed_at)
        asked = facts.items(shelf.requests_url(body.principal_id)) or []
        reasons = _pending(shelf, asked, place, there=there, starts=starts)
        judged, tier, conditions, warnings = self._judge(body, segment, facts, there=there)
        reasons += judged
        ends = request.expires_at
        if adds and shelf.active and ends is not None and ends - starts < pim.SHORTEST:
            reasons.append("PIM gives nothing for less than five minutes: ask for longer")
        if reasons:
            return Draft(reasons=tuple(reasons))
        arguments = {
            **place,
            "mode": body.mode.value,
            "starts": canonical.moment(starts),
            "ends": None if ends is None else canonical.moment(ends),
            "reason": request.reason,
        }
        enough = pim.long_enough(held, plain=plain, arguments=arguments)
        drafted = access_operation(
            filed,
            body,
            _ACTIONS[self.of],
            arguments,
            holds=enough if adds else there,
            tier=tier,
            conditions=conditions,
            undo=arguments if adds else {**arguments, "ends": _end(held)},
        )
        warnings += drafted.warnings
        if adds and held and not enough:
            drafted = _until_before(drafted, held)
        if adds and ends is None and shelf.active and not there:
            warnings.append("it has no end: PIM will not take it back by itself")
        if not adds and not shelf.active and there:
            warnings.append("an activation that rests on it ends with it")
        return replace(drafted, warnings=tuple(warnings))

    def _judge(
        self, body: Grant | Revoke, segment: str, facts: Facts, *, there: bool
    ) -> tuple[list[str], Tier, list[Condition], list[str]]:
        """What the role or group itself has against it, its tier, conditions and warnings."""
        adds, active = isinstance(body, Grant), body.mode is Mode.PIM_ACTIVE
        thing = body.access.resource_id
        warnings: list[str] = []
        conditions: list[Condition] = []
        if isinstance(body.access, RoleAccess):
            reasons, tier = judge_role(body, body.access, segment, facts)
            if not reasons and active and not adds:
                found, conditions = last_administrators(body, body.access, facts, there=there)
                reasons += found
            return reasons, tier, conditions, warnings
        assert isinstance(body.access, GroupAccess)  # noqa: S101 - the other one that PIM keeps
        group = facts.document(groups.group_url(thing))
        if group is None:
            return [f"there is no group {thing}"], Tier.ORDINARY, [], []
        reasons = judge_group(body, body.access, group, facts)
        if adds and not reasons and _relation(body) == "member" and segment not in _MEMBERS:
            reasons.append(f"PIM makes users and groups members, not {segment}")
        if active and not adds and _relation(body) == "owner":
            found, conditions = last_owner(body, body.access, facts, there=there)
            reasons += found
        if adds and not any(
            facts.items(SHELVES["group", mode].of_thing_url(thing)) for mode in _BOTH
        ):
            warnings.append(
                f"group {thing} seems new to PIM: it will be managed there, which cannot be undone"
            )
        tier = Tier.CONTROL if group.get("isAssignableToRole") else Tier.ORDINARY
        return reasons, tier, conditions, warnings


_BOTH: Final = (Mode.PIM_ACTIVE.value, Mode.PIM_ELIGIBLE.value)
_ACTIONS: Final = {
    "role": (Action.PIM_ASSIGN_ROLE, Action.PIM_REMOVE_ROLE),
    "group": (Action.PIM_ASSIGN_GROUP, Action.PIM_REMOVE_GROUP),
}


def _relation(body: Grant | Revoke) -> str:
    assert isinstance(body.access, GroupAccess)  # noqa: S101 - asked for groups alone
    return body.access.relation


def _place(body: Grant | Revoke, segment: str) -> dict[str, Any]:
    access = body.access
    if isinstance(access, RoleAccess):
        return {"thing": access.role_definition_id, "place": access.scope, "segment": segment}
    return {"thing": access.resource_id, "place": _relation(body), "segment": segment}


def _pending(
    shelf: Shelf,
    asked: Sequence[Mapping[str, Any]],
    place: Mapping[str, Any],
    *,
    there: bool,
    starts: datetime,
) -> list[str]:
    """Requests to PIM for the same that have not come to their end."""
    reasons = []
    for row in shelf.matching(asked, place["thing"], place["place"]):
        begins = (row.get("scheduleInfo") or {}).get("startDateTime")
        later = begins is not None and pim.moment(begins) > starts
        if row.get("status") in pim.PENDING:
            said = f"PIM has a request for the same that is {row['status']}"
        elif row.get("status") in pim.ACCEPTED and later and not there:
            said = f"PIM gives the same from {begins} on"
        else:
            continue
        reasons.append(f"{said} ({row['id']}): wait for it, or cancel it in PIM")
    return reasons


def _end(held: Sequence[Mapping[str, Any]]) -> str | None:
    """When what is held would end, as plans have it."""
    end = pim.end_of(held) if held else None
    return None if end is None else canonical.moment(end)


def _until_before(drafted: Draft, held: Sequence[Mapping[str, Any]]) -> Draft:
    """The draft of giving something another end: its inverse is the end of before."""
    (operation,) = drafted.operations
    before = pim.end_of(held)
    assert before is not None  # noqa: S101 - what never ends is long enough
    arguments = {**operation.arguments, "ends": canonical.moment(before), "exact": True}
    inverse = Inverse(action=operation.action, arguments=arguments)
    return Draft((operation.model_copy(update={"inverse": inverse}),))
