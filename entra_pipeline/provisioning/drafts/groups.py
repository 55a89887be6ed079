"""Drafts of membership and ownership of groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from entra_pipeline.provisioning.actions.groups import group_url, held_url, kind_of, owners_url
from entra_pipeline.provisioning.drafts.base import Draft, access_operation
from entra_pipeline.provisioning.ledger import Filed
from entra_pipeline.provisioning.plans import Action, Condition
from entra_pipeline.provisioning.reads import Facts, Read, kind_of_object, principal_url
from entra_pipeline.provisioning.values import Grant, GroupAccess, Revoke, Tier

MEMBERS: Final = {
    "security": {"user", "group", "serviceprincipal", "device", "orgcontact"},
    "microsoft_365": {"user"},
}
"""What may be a member. Source: https://learn.microsoft.com/graph/api/group-post-members"""
OWNERS: Final = {"user", "serviceprincipal"}
_INSTEAD: Final = {
    "dynamic": "its rule decides who is a member: change the rule, or what it looks at",
    "on_premises": "it is mastered on premises: change it there",
    "mail_enabled": "it is managed by Exchange, which has no PIM",
}


class Groups:
    """Members and owners of groups."""

    def needs(self, body: Grant | Revoke, segment: str) -> Sequence[Read]:
        """The group, what the principal is linked to, and for owners the others."""
        access = _of(body)
        reads = [
            Read(group_url(access.group_id)),
            Read(held_url(segment, body.principal_id, access.relation)),
        ]
        if access.relation == "owner":
            reads.append(Read(owners_url(access.group_id)))
        return reads

    def draft(self, filed: Filed, body: Grant | Revoke, segment: str, facts: Facts) -> Draft:
        """Refused for groups that something else keeps, and for the last owner."""
        access = _of(body)
        group = facts.document(group_url(access.group_id))
        if group is None:
            return Draft(reasons=(f"there is no group {access.group_id}",))
        reasons = judge_group(body, access, group, facts)
        held = facts.items(held_url(segment, body.principal_id, access.relation)) or []
        there = any(each["id"] == access.group_id for each in held)
        kind = kind_of(group)
        conditions = [Condition(fact="group.kind", subject=access.group_id, value=kind)]
        if access.relation == "owner":
            found, further = last_owner(body, access, facts, there=there)
            reasons += found
            conditions += further
        if reasons:
            return Draft(reasons=tuple(reasons))
        actions = (
            Action(f"add_group_{access.relation}"),
            Action(f"remove_group_{access.relation}"),
        )
        return access_operation(
            filed,
            body,
            actions,
            {"group_id": access.group_id, "segment": segment},
            holds=there,
            tier=Tier.CONTROL if group.get("isAssignableToRole") else Tier.ORDINARY,
            conditions=conditions,
        )


def judge_group(
    body: Grant | Revoke, access: GroupAccess, group: dict[str, Any], facts: Facts
) -> list[str]:
    """What the group and the kind of principal have against it."""
    kind = kind_of(group)
    if kind in _INSTEAD and not (kind == "dynamic" and access.relation == "owner"):
        return [f"members of group {access.group_id} are not changed here: {_INSTEAD[kind]}"]
    if isinstance(body, Revoke):
        return []
    found = kind_of_object(facts.document(principal_url(body.principal_id)))
    return _unfit(group, kind, access, found)


def last_owner(
    body: Grant | Revoke, access: GroupAccess, facts: Facts, *, there: bool
) -> tuple[list[str], list[Condition]]:
    """What the last owner has against it, and what must stay so. `there`: the principal owns it."""
    if isinstance(body, Grant):
        return [], []
    owners = {each["id"] for each in facts.items(owners_url(access.group_id)) or ()}
    reasons = []
    if there and not owners - {body.principal_id}:
        reasons.append(
            f"{body.principal_id} is the last owner of group {access.group_id}: "
            "name another one first"
        )
    return reasons, [Condition(fact="owners.others", subject=access.group_id)]


def _of(body: Grant | Revoke) -> GroupAccess:
    assert isinstance(body.access, GroupAccess)  # noqa: S101 - chosen by it
    return body.access


def _unfit(group: dict[str, Any], kind: str, access: GroupAccess, found: str) -> list[str]:
    """Why that kind of principal cannot be linked to that kind of group."""
    fits = OWNERS if access.relation == "owner" else MEMBERS.get(kind, set())
    if found not in fits:
        return [f"a {found} cannot be {access.relation} of a {kind} group"]
    if found == "group" and group.get("isAssignableToRole"):
        return [f"group {access.group_id} can hold roles: groups cannot be members of it"]
    return []
