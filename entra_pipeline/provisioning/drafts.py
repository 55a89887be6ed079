"""What one request would write, and what the directory's own rules have against it.

Here: drafts by kind, from live facts alone. Not here: the policy (`planning`), the writes
themselves (`actions`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from entra_pipeline.provisioning.actions.groups import (
    group_url,
    held_url,
    kind_of,
    owners_url,
)
from entra_pipeline.provisioning.ledger import Filed
from entra_pipeline.provisioning.plans import Action, Condition, Inverse, Operation
from entra_pipeline.provisioning.reads import (
    SEGMENTS,
    Facts,
    Read,
    UnreadError,
    kind_of_object,
    principal_url,
)
from entra_pipeline.provisioning.values import (
    Grant,
    GroupAccess,
    Mode,
    Request,
    Revoke,
    Source,
    Tier,
)

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


@dataclass(frozen=True)
class Draft:
    """Operations (positions still 0), or the reasons against it; warnings for who approves."""

    operations: tuple[Operation, ...] = ()
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def first_needs(request: Request) -> tuple[Read, ...]:
    """What has to be read before it is known what else has to be."""
    match request.body:
        case Grant() | Revoke():
            return (Read(principal_url(request.body.principal_id)),)
    return ()


def needs(request: Request, facts: Facts) -> tuple[Read, ...]:
    """The other reads that a draft of the request needs."""
    match request.body:
        case (Grant() | Revoke()) as body if isinstance(body.access, GroupAccess):
            group = body.access.group_id
            reads = [Read(group_url(group))]
            if (segment := _segment(body.principal_id, facts)) is not None:
                reads.append(Read(held_url(segment, body.principal_id, body.access.relation)))
            if body.access.relation == "owner":
                reads.append(Read(owners_url(group)))
            return tuple(reads)
    return ()


def _segment(principal_id: str, facts: Facts) -> str | None:
    try:
        return SEGMENTS.get(kind_of_object(facts.document(principal_url(principal_id))))
    except UnreadError:
        return None


def draft(filed: Filed, facts: Facts) -> Draft:
    """What the request would write."""
    body = filed.request.body
    try:
        match body:
            case Grant() | Revoke() if (
                isinstance(body.access, GroupAccess) and body.mode is Mode.DIRECT
            ):
                return _group(filed, body, body.access, facts)
    except UnreadError as error:
        return Draft(reasons=(f"what it rests on cannot be read: {error}",))
    return Draft(reasons=(f"{body.kind} of this kind cannot be carried out by this version",))


def _group(filed: Filed, body: Grant | Revoke, access: GroupAccess, facts: Facts) -> Draft:
    group = facts.document(group_url(access.group_id))
    principal = facts.document(principal_url(body.principal_id))
    if group is None:
        return Draft(reasons=(f"there is no group {access.group_id}",))
    adds = isinstance(body, Grant)
    segment = SEGMENTS.get(kind_of_object(principal))
    if segment is None:
        return Draft(reasons=(f"there is no principal {body.principal_id}",))
    kind = kind_of(group)
    reasons = []
    if kind in _INSTEAD and not (kind == "dynamic" and access.relation == "owner"):
        reasons.append(f"members of group {access.group_id} are not changed here: {_INSTEAD[kind]}")
    if adds and not reasons:
        reasons += _unfit(group, kind, access, kind_of_object(principal))
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
    warnings = []
    if adds and there and filed.request.expires_at is not None:
        warnings.append(
            f"{body.principal_id} has {access.entitlement_id} already: it stays when this ends"
        )
    verb, opposite = ("add", "remove") if adds else ("remove", "add")
    arguments = {"group_id": access.group_id, "segment": segment}
    operation = Operation(
        position=0,
        request_id=filed.id,
        action=Action(f"{verb}_group_{access.relation}"),
        identity=body.identity,
        target_id=access.group_id,
        principal_id=body.principal_id,
        arguments=arguments,
        preconditions=tuple(conditions),
        already=there is adds,
        tier=Tier.CONTROL if group.get("isAssignableToRole") else Tier.ORDINARY,
        inverse=Inverse(action=Action(f"{opposite}_group_{access.relation}"), arguments=arguments),
    )
    return Draft((operation,), warnings=tuple(warnings))


def _unfit(group: dict[str, Any], kind: str, access: GroupAccess, found: str) -> list[str]:
    """Why that kind of principal cannot be linked to that kind of group."""
    fits = _OWNERS if access.relation == "owner" else _MEMBERS.get(kind, set())
    if found not in fits:
        return [f"a {found} cannot be {access.relation} of a {kind} group"]
    if found == "group" and group.get("isAssignableToRole"):
        return [f"group {access.group_id} can hold roles: groups cannot be members of it"]
    return []


def ending(granted: Filed, key: str) -> Request | None:
    """The request that takes a grant back whose end has come; None for what never ends so."""
    body = granted.request.body
    if not isinstance(body, Grant):
        return None
    return Request(
        body=Revoke(
            principal_id=body.principal_id, access=body.access, mode=body.mode, undoes=granted.id
        ),
        asked_by=granted.request.asked_by,
        for_whom=granted.request.for_whom,
        reason=f"the end of {granted.id} has come",
        source=Source.EXPIRY,
        idempotency_key=key,
    )
