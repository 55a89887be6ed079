"""Members and owners of groups.

Sources: https://learn.microsoft.com/graph/api/group-post-members,
https://learn.microsoft.com/graph/api/group-delete-members,
https://learn.microsoft.com/graph/api/group-post-owners
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

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

GROUP: Final = (
    "id,displayName,groupTypes,mailEnabled,securityEnabled,onPremisesSyncEnabled,isAssignableToRole"
)


def group_url(group_id: str) -> str:
    """The address of what has to be known of a group."""
    return f"/groups/{group_id}?$select={GROUP}"


def owners_url(group_id: str) -> str:
    """The address of a group's owners; service principals are not among them."""
    return f"/groups/{group_id}/owners?$select=id&$top=999"


def held_url(segment: str, principal_id: str, relation: str) -> str:
    """The address of what a principal is a member or owner of.

    Links are read from the principal's side: a group may have a million members, and Graph leaves
    service principals out of a group's members and owners.
    Source: https://learn.microsoft.com/graph/api/group-list-members
    """
    held = "memberOf" if relation == "member" else "ownedObjects"
    return f"/{segment}/{principal_id}/{held}?$select=id&$top=999"


def kind_of(group: dict[str, Any]) -> str:
    """What kind of group it is, as far as changing its members goes."""
    types = group.get("groupTypes") or []
    if "DynamicMembership" in types:
        return "dynamic"
    if group.get("onPremisesSyncEnabled"):
        return "on_premises"
    if "Unified" in types:
        return "microsoft_365"
    if group.get("mailEnabled"):
        return "mail_enabled"
    return "security"


@dataclass(frozen=True)
class Link:
    """Adding (`adds`) or removing a member or owner."""

    relation: str
    adds: bool
    visible_within: timedelta = timedelta(minutes=12)
    again_after: timedelta | None = AT_ONCE

    def reads(self, operation: Operation) -> tuple[Read, ...]:
        """The group, and what the principal is a member or owner of."""
        group, segment = operation.arguments["group_id"], operation.arguments["segment"]
        principal = str(operation.principal_id)
        reads = (Read(group_url(group)), Read(held_url(segment, principal, self.relation)))
        if any(each.fact == "owners.others" for each in operation.preconditions):
            return (*reads, Read(owners_url(group)))
        return reads

    def see(self, operation: Operation, facts: Facts) -> Seen:
        """Whether the link is there, and whether the group is still of the kind planned for."""
        group_id, segment = operation.arguments["group_id"], operation.arguments["segment"]
        principal = str(operation.principal_id)
        group = facts.document(group_url(group_id))
        held = facts.items(held_url(segment, principal, self.relation))
        if group is None or held is None:
            gone = f"group {group_id}" if group is None else f"principal {principal}"
            # Nobody is in a group that is gone.
            return Seen(not self.adds, (f"{gone} does not exist",) if self.adds else ())
        there = any(each["id"] == group_id for each in held)
        if there is self.adds:
            return Seen(True)
        against = []
        for condition in operation.preconditions:
            if condition.fact == "group.kind" and (found := kind_of(group)) != condition.value:
                against.append(f"group {group_id} is {found}, it was {condition.value}")
            if condition.fact == "owners.others":
                owners = {each["id"] for each in facts.items(owners_url(group_id)) or ()}
                if not owners - {principal}:
                    against.append(f"the last owner of group {group_id} would go")
        return Seen(False, tuple(against))

    def call(self, operation: Operation, seen: Seen, root: str) -> Call:
        """The member's or owner's reference, added or removed."""
        links = f"/groups/{operation.arguments['group_id']}/{self.relation}s"
        return reference_call(links, operation.principal_id, root, adds=self.adds)

    def judge(self, operation: Operation, written: Written) -> Outcome:
        """What Graph's answer means."""
        return judged_reference(written, adds=self.adds)
