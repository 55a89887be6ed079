"""App roles of applications, given to users, groups and service principals.

Sources: https://learn.microsoft.com/graph/api/serviceprincipal-post-approleassignedto,
https://learn.microsoft.com/graph/api/serviceprincipal-delete-approleassignedto
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from entra_pipeline.msgraph import Written
from entra_pipeline.provisioning.actions.base import AT_ONCE, Call, Seen, judged
from entra_pipeline.provisioning.ledger.work import Outcome
from entra_pipeline.provisioning.plans import Operation
from entra_pipeline.provisioning.reads import Facts, Read

_THERE: Final = ("permission being assigned already exists", "entitlementgrant entry already")
_NOT_YET: Final = ("not a valid reference update", "request_resourcenotfound")
_GONE: Final = ("request_resourcenotfound",)


def resource_url(service_principal_id: str) -> str:
    """The address of what has to be known of an application."""
    select = "id,appId,appRoles"
    return f"/servicePrincipals/{service_principal_id}?$select={select}"


def held_url(segment: str, principal_id: str) -> str:
    """The address of a principal's app roles. Of a user those of its groups are among them.

    Source: https://learn.microsoft.com/graph/api/user-list-approleassignments
    """
    return f"/{segment}/{principal_id}/appRoleAssignments?$top=999"


def found(
    assignments: Sequence[dict[str, Any]], principal: str, resource: str, role: str
) -> dict[str, Any] | None:
    """The principal's own assignment of just that role."""
    for each in assignments:
        if (each["principalId"], each["resourceId"], each["appRoleId"]) == (
            principal,
            resource,
            role,
        ):
            return each
    return None


def givers(
    assignments: Sequence[dict[str, Any]], principal: str, resource: str, role: str
) -> list[str]:
    """The groups by which a user has just that role."""
    return sorted(
        each["principalId"]
        for each in assignments
        if each["principalId"] != principal
        and (each["resourceId"], each["appRoleId"]) == (resource, role)
    )


@dataclass(frozen=True)
class AppRole:
    """Assigning (`adds`) or removing an app role."""

    adds: bool
    visible_within: timedelta = timedelta(minutes=10)
    again_after: timedelta | None = AT_ONCE

    def reads(self, operation: Operation) -> tuple[Read, ...]:
        """What the principal has."""
        return (Read(held_url(operation.arguments["segment"], str(operation.principal_id))),)

    def see(self, operation: Operation, facts: Facts) -> Seen:
        """Whether the assignment is there; its id, which only a look-up tells."""
        arguments = operation.arguments
        principal = str(operation.principal_id)
        held = facts.items(held_url(arguments["segment"], principal))
        if held is None:
            gone = (f"principal {principal} does not exist",)
            return Seen(not self.adds, gone if self.adds else ())
        there = found(held, principal, arguments["resource_id"], arguments["app_role_id"])
        if (there is not None) is self.adds:
            return Seen(True)
        return Seen(False, facts={} if there is None else {"id": there["id"]})

    def call(self, operation: Operation, seen: Seen, root: str) -> Call:
        """`POST` or `DELETE …/appRoleAssignedTo`, the side that Microsoft recommends."""
        resource = operation.arguments["resource_id"]
        base = f"/servicePrincipals/{resource}/appRoleAssignedTo"
        if not self.adds:
            return Call("DELETE", f"{base}/{seen.facts['id']}")
        body = {
            "principalId": operation.principal_id,
            "resourceId": resource,
            "appRoleId": operation.arguments["app_role_id"],
        }
        return Call("POST", base, body)

    def judge(self, operation: Operation, written: Written) -> Outcome:
        """What Graph's answer means."""
        if self.adds:
            return judged(written, already=_THERE, later=_NOT_YET)
        return judged(written, already=_GONE)
