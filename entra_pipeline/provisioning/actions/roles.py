"""Directory roles, given for good and at once: without Privileged Identity Management.

Sources: https://learn.microsoft.com/graph/api/rbacapplication-post-roleassignments,
https://learn.microsoft.com/graph/api/unifiedroleassignment-delete
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

GLOBAL_ADMINISTRATOR: Final = "62e90394-69f5-4237-9190-012177145e10"
"""Template and definition id. Source: https://learn.microsoft.com/entra/identity/role-based-access-control/permissions-reference"""
LEAST_ADMINISTRATORS: Final = 2

_BASE: Final = "/roleManagement/directory"
_THERE: Final = ("conflicting object", "roleassignmentexists")
_NOT_YET: Final = ("request_resourcenotfound", "subjectnotfound", "rolenotfound")
_GONE: Final = ("request_resourcenotfound", "roleassignmentdoesnotexist")


def definition_url(role_id: str) -> str:
    """The address of a role definition."""
    return f"{_BASE}/roleDefinitions/{role_id}?$select=id,templateId,isEnabled,rolePermissions"


def held_url(principal_id: str) -> str:
    """The address of a principal's own active roles, those by groups not among them."""
    return f"{_BASE}/roleAssignments?$filter=principalId eq '{principal_id}'"


def holders_url(role_id: str) -> str:
    """The address of all who have a role."""
    return f"{_BASE}/roleAssignments?$filter=roleDefinitionId eq '{role_id}'"


def found(assignments: Sequence[dict[str, Any]], role: str, scope: str) -> dict[str, Any] | None:
    """The assignment of just that role at just that scope."""
    for each in assignments:
        if each["roleDefinitionId"] == role and (each.get("directoryScopeId") or "/") == scope:
            return each
    return None


def others(holders: Sequence[dict[str, Any]], principal_id: str) -> int:
    """How many else have the role at the tenant's scope. A group counts as one: who is in it may
    change without us."""
    return len(
        {
            each["principalId"]
            for each in holders
            if (each.get("directoryScopeId") or "/") == "/" and each["principalId"] != principal_id
        }
    )


@dataclass(frozen=True)
class Role:
    """Assigning (`adds`) or removing a directory role."""

    adds: bool
    visible_within: timedelta = timedelta(minutes=15)
    again_after: timedelta | None = AT_ONCE

    def reads(self, operation: Operation) -> tuple[Read, ...]:
        """What the principal has; who else, where the last administrators are at stake."""
        reads = (Read(held_url(str(operation.principal_id))),)
        if any(each.fact == "role.others" for each in operation.preconditions):
            return (*reads, Read(holders_url(operation.arguments["role_definition_id"])))
        return reads

    def see(self, operation: Operation, facts: Facts) -> Seen:
        """Whether the assignment is there; its id, which only a look-up tells."""
        arguments, principal = operation.arguments, str(operation.principal_id)
        role = arguments["role_definition_id"]
        held = facts.items(held_url(principal)) or []
        there = found(held, role, arguments["scope"])
        if (there is not None) is self.adds:
            return Seen(True)
        against = []
        for condition in operation.preconditions:
            if condition.fact == "role.others":
                left = others(facts.items(holders_url(role)) or [], principal)
                if left < LEAST_ADMINISTRATORS:
                    against.append(f"only {left} Global Administrators would be left")
        return Seen(False, tuple(against), {} if there is None else {"id": there["id"]})

    def call(self, operation: Operation, seen: Seen, root: str) -> Call:
        """`POST` or `DELETE …/roleAssignments`."""
        if not self.adds:
            return Call("DELETE", f"{_BASE}/roleAssignments/{seen.facts['id']}")
        body = {
            "@odata.type": "#microsoft.graph.unifiedRoleAssignment",
            "roleDefinitionId": operation.arguments["role_definition_id"],
            "principalId": operation.principal_id,
            "directoryScopeId": operation.arguments["scope"],
        }
        return Call("POST", f"{_BASE}/roleAssignments", body)

    def judge(self, operation: Operation, written: Written) -> Outcome:
        """What Graph's answer means."""
        if self.adds:
            return judged(written, already=_THERE, later=_NOT_YET)
        return judged(written, already=_GONE)
