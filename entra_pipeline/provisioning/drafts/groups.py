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

_MEMBERS: Final = {
    "security": {"user", "group", "serviceprincipal", "device", "orgcontact"},
    "microsoft_365": {"user"},
}
"""What may be a member. Source: https://learn.microsoft.com/graph/api/group-post-members"""
_OWNERS: Final = {"user", "serviceprincipal"}
_INSTEAD: Final = {
    "dynamic": "its rule decides who is a member: change the rule, or what it looks at",
    "on_premises": "it is mastered on premises: change it there",
    "mail_enabled": "it is managed by Exchange, which is not configured here",
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
        access, adds = _of(body), isinstance(body, Grant)
        group = facts.document(group_url(access.group_id))
        if group is None:
            return Draft(reasons=(f"there is no group {access.group_id}",))
        kind = kind_of(group)
        reasons = []
        if kind in _INSTEAD and not (kind == "dynamic" and access.relation == "owner"):
            reasons.append(
                f"members of group {access.group_id} are not changed here: {_INSTEAD[kind]}"
            )
        if adds and not reasons:
            found = kind_of_object(facts.document(principal_url(body.principal_id)))
            reasons += _unfit(group, kind, access, found)
        held = facts.items(held_url(segment, body.principal_id, access.relation)) or []
        there = any(each["id"] == access.group_id for each in held)
        conditions = [Condition(fact="group.kind", subject=access.group_id, value=kind)]
        if not adds and access.relation == "owner":
            owners = {each["id"] for each in facts.items(owners_url(access.group_id)) or ()}
            if there and not owners - {body.principal_id}:
                reasons.append(
                    f"{body.principal_id} is the last owner of group {access.group_id}: "
                    "name another one first"
                )
            conditions.append(Condition(fact="owners.others", subject=access.group_id))
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


def _of(body: Grant | Revoke) -> GroupAccess:
    assert isinstance(body.access, GroupAccess)  # noqa: S101 - chosen by it
    return body.access


def _unfit(group: dict[str, Any], kind: str, access: GroupAccess, found: str) -> list[str]:
    """Why that kind of principal cannot be linked to that kind of group."""
    fits = _OWNERS if access.relation == "owner" else _MEMBERS.get(kind, set())
    if found not in fits:
        return [f"a {found} cannot be {access.relation} of a {kind} group"]
    if found == "group" and group.get("isAssignableToRole"):
        return [f"group {access.group_id} can hold roles: groups cannot be members of it"]
    return []
