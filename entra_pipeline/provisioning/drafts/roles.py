"""Drafts of directory roles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from entra_pipeline.provisioning.actions.groups import group_url
from entra_pipeline.provisioning.actions.roles import (
    GLOBAL_ADMINISTRATOR,
    LEAST_ADMINISTRATORS,
    definition_url,
    found,
    held_url,
    holders_url,
    others,
)
from entra_pipeline.provisioning.drafts.base import Draft, access_operation
from entra_pipeline.provisioning.ledger import Filed
from entra_pipeline.provisioning.plans import Action, Condition
from entra_pipeline.provisioning.reads import Facts, Read
from entra_pipeline.provisioning.values import Grant, Revoke, RoleAccess, Tier
from entra_pipeline.tables.tiers import role_tier

_HOLDERS: Final = frozenset({"users", "groups", "servicePrincipals"})


class Roles:
    """Directory roles that are held for good."""

    def needs(self, body: Grant | Revoke, segment: str) -> Sequence[Read]:
        """The role, what the principal has, and who else has the role that must not die out."""
        access = _of(body)
        reads = [Read(definition_url(access.role_definition_id)), Read(held_url(body.principal_id))]
        if segment == "groups":
            reads.append(Read(group_url(body.principal_id)))
        if access.role_definition_id == GLOBAL_ADMINISTRATOR:
            reads.append(Read(holders_url(access.role_definition_id)))
        return reads

    def draft(self, filed: Filed, body: Grant | Revoke, segment: str, facts: Facts) -> Draft:
        """Refused for groups that cannot hold roles, and for the last two administrators."""
        access = _of(body)
        reasons, tier = judge_role(body, access, segment, facts)
        if reasons:
            return Draft(reasons=tuple(reasons))
        held = facts.items(held_url(body.principal_id)) or []
        there = found(held, access.role_definition_id, access.scope) is not None
        reasons, conditions = last_administrators(body, access, facts, there=there)
        if reasons:
            return Draft(reasons=tuple(reasons))
        return access_operation(
            filed,
            body,
            (Action.ASSIGN_ROLE, Action.REMOVE_ROLE),
            {"role_definition_id": access.role_definition_id, "scope": access.scope},
            holds=there,
            tier=tier,
            conditions=conditions,
        )


def judge_role(
    body: Grant | Revoke, access: RoleAccess, segment: str, facts: Facts
) -> tuple[list[str], Tier]:
    """What the role and the kind of principal have against it, and the role's tier."""
    adds, role = isinstance(body, Grant), access.role_definition_id
    if segment not in _HOLDERS:
        return [f"{body.principal_id} is of a kind that holds no roles"], Tier.ORDINARY
    definition = facts.document(definition_url(role))
    if definition is None:
        return [f"there is no role {role}"], Tier.ORDINARY
    reasons = []
    if adds and definition.get("isEnabled") is False:
        reasons.append(f"role {role} is disabled")
    if adds and segment == "groups":
        group = facts.document(group_url(body.principal_id)) or {}
        if not group.get("isAssignableToRole"):
            reasons.append(
                f"group {body.principal_id} cannot hold roles: only a group that was made with "
                "isAssignableToRole can"
            )
    return reasons, tier_of(definition)


def last_administrators(
    body: Grant | Revoke, access: RoleAccess, facts: Facts, *, there: bool
) -> tuple[list[str], list[Condition]]:
    """What the last two Global Administrators have against it, and what must stay so.

    `there`: the principal has the role now.
    """
    role = access.role_definition_id
    if isinstance(body, Grant) or role != GLOBAL_ADMINISTRATOR or access.scope != "/":
        return [], []
    left = others(facts.items(holders_url(role)) or [], body.principal_id)
    reasons = []
    if there and left < LEAST_ADMINISTRATORS:
        reasons.append(
            f"only {left} Global Administrators would be left: there must be {LEAST_ADMINISTRATORS}"
        )
    return reasons, [Condition(fact="role.others", subject=role)]


def tier_of(definition: Mapping[str, Any]) -> Tier:
    """The tier of a role by its definition."""
    allowed = [
        action
        for permission in definition.get("rolePermissions") or ()
        for action in permission.get("allowedResourceActions") or ()
    ]
    tier = role_tier(definition.get("templateId") or definition["id"], allowed)
    return Tier.ORDINARY if tier is None else Tier(tier)


def _of(body: Grant | Revoke) -> RoleAccess:
    assert isinstance(body.access, RoleAccess)  # noqa: S101 - chosen by it
    return body.access
