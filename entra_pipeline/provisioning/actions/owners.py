"""Owners of applications and of service principals.

Graph lets the last owner of an application go; this program does not (condition `owners.others`).

Sources: https://learn.microsoft.com/graph/api/application-post-owners,
https://learn.microsoft.com/graph/api/application-delete-owners,
https://learn.microsoft.com/graph/api/serviceprincipal-post-owners,
https://learn.microsoft.com/graph/api/serviceprincipal-delete-owners
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from entra_pipeline.msgraph import Written
from entra_pipeline.provisioning.actions.base import (
    AT_ONCE,
    Call,
    Seen,
    judged_reference,
    reference_call,
)
from entra_pipeline.provisioning.ledger.work import Outcome
from entra_pipeline.provisioning.plans import Operation
from entra_pipeline.provisioning.reads import Facts, Read

COLLECTIONS: Final[Mapping[str, str]] = {
    "application": "applications",
    "serviceprincipal": "servicePrincipals",
}
"""Kind of object, as its `@odata.type` ends, lower case -> where Graph has its owners."""
PREFIXES: Final[Mapping[str, str]] = {"applications": "application", "servicePrincipals": "app"}
"""The same places -> what the warehouse's entitlement ids begin with."""


def owners_url(collection: str, object_id: str) -> str:
    """The address of who owns an application or a service principal."""
    return f"/{collection}/{object_id}/owners?$select=id&$top=999"


@dataclass(frozen=True)
class AppOwner:
    """Adding (`adds`) or removing an owner."""

    adds: bool
    visible_within: timedelta = timedelta(minutes=12)
    again_after: timedelta | None = AT_ONCE

    def reads(self, operation: Operation) -> tuple[Read, ...]:
        """Who owns it."""
        return (Read(owners_url(operation.arguments["collection"], str(operation.target_id))),)

    def see(self, operation: Operation, facts: Facts) -> Seen:
        """Whether the principal is an owner; and of the last one, that it is."""
        collection, owned = operation.arguments["collection"], str(operation.target_id)
        rows = facts.items(owners_url(collection, owned))
        if rows is None:
            # Nobody owns what is gone.
            gone = (f"{PREFIXES[collection]} {owned} does not exist",)
            return Seen(not self.adds, gone if self.adds else ())
        owners = {each["id"] for each in rows}
        if (operation.principal_id in owners) is self.adds:
            return Seen(True)
        needs_others = any(each.fact == "owners.others" for each in operation.preconditions)
        if not self.adds and needs_others and not owners - {operation.principal_id}:
            return Seen(False, (f"the last owner of {PREFIXES[collection]} {owned} would go",))
        return Seen(False)

    def call(self, operation: Operation, seen: Seen, root: str) -> Call:
        """The owner's reference, added or removed."""
        links = f"/{operation.arguments['collection']}/{operation.target_id}/owners"
        return reference_call(links, operation.principal_id, root, adds=self.adds)

    def judge(self, operation: Operation, written: Written) -> Outcome:
        """What Graph's answer means."""
        return judged_reference(written, adds=self.adds)
