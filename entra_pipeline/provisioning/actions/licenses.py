"""Licences of users and groups, with the service plans that stay off.

Sources: https://learn.microsoft.com/graph/api/user-assignlicense,
https://learn.microsoft.com/graph/api/group-assignlicense
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from entra_pipeline.msgraph import Written
from entra_pipeline.provisioning.actions.base import AT_ONCE, Call, Seen, judged
from entra_pipeline.provisioning.actions.groups import GROUP
from entra_pipeline.provisioning.ledger.work import Outcome
from entra_pipeline.provisioning.plans import Operation
from entra_pipeline.provisioning.reads import Facts, Read

SKUS_URL: Final = "/subscribedSkus"

_HOLDER: Final = {
    "users": "id,usageLocation,licenseAssignmentStates",
    "groups": f"{GROUP},assignedLicenses",
}
_GONE: Final = ("does not have a corresponding license",)
_NOT_YET: Final = ("request_resourcenotfound", "concurrencyviolation")
_ADVICE: Final = {
    "invalid usage location": "set its usageLocation first (update_user), then ask again",
    "available licenses": "free or buy a unit of this SKU, then ask again",
    "inherited from a group": "take the user out of that group, or the licence from the group",
}


def holder_url(segment: str, principal_id: str) -> str:
    """The address of what licences a user or group has."""
    return f"/{segment}/{principal_id}?$select={_HOLDER[segment]}"


def direct(holder: Mapping[str, Any], sku_id: str) -> frozenset[str] | None:
    """The plans that are off in the principal's own licence of a SKU; None: it has none."""
    rows = holder.get("licenseAssignmentStates")
    if rows is None:
        rows = holder.get("assignedLicenses") or ()
    for row in rows:
        if row["skuId"] == sku_id and row.get("assignedByGroup") is None:
            return frozenset(row.get("disabledPlans") or ())
    return None


def givers(user: Mapping[str, Any], sku_id: str) -> list[str]:
    """The groups by which a user has a SKU."""
    return sorted(
        row["assignedByGroup"]
        for row in user.get("licenseAssignmentStates") or ()
        if row["skuId"] == sku_id and row.get("assignedByGroup") is not None
    )


@dataclass(frozen=True)
class License:
    """Assigning (`adds`) or removing a principal's own licence."""

    adds: bool
    visible_within: timedelta = timedelta(minutes=10)
    again_after: timedelta | None = AT_ONCE

    def reads(self, operation: Operation) -> tuple[Read, ...]:
        """The user or group."""
        return (Read(holder_url(operation.arguments["segment"], str(operation.principal_id))),)

    def see(self, operation: Operation, facts: Facts) -> Seen:
        """Whether the licence is there, with just those plans off."""
        arguments, principal = operation.arguments, str(operation.principal_id)
        holder = facts.document(holder_url(arguments["segment"], principal))
        if holder is None:
            gone = (f"principal {principal} does not exist",)
            return Seen(not self.adds, gone if self.adds else ())
        off = direct(holder, arguments["sku_id"])
        if self.adds:
            return Seen(off == frozenset(arguments["disabled_plans"]))
        return Seen(off is None)

    def call(self, operation: Operation, seen: Seen, root: str) -> Call:
        """`POST …/assignLicense`; both lists are required. What is there already is replaced."""
        arguments = operation.arguments
        sku_id = arguments["sku_id"]
        added = [{"skuId": sku_id, "disabledPlans": list(arguments["disabled_plans"])}]
        return Call(
            "POST",
            f"/{arguments['segment']}/{operation.principal_id}/assignLicense",
            {
                "addLicenses": added if self.adds else [],
                "removeLicenses": [] if self.adds else [sku_id],
            },
        )

    def judge(self, operation: Operation, written: Written) -> Outcome:
        """What Graph's answer means."""
        already = () if self.adds else _GONE
        return judged(written, already=already, later=_NOT_YET, advice=_ADVICE)
