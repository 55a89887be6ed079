"""Drafts by kind of request: what it would write, or the reasons against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from entra_pipeline.provisioning.actions.groups import group_url
from entra_pipeline.provisioning.drafts import accounts, new_groups, profiles
from entra_pipeline.provisioning.drafts.app_roles import AppRoles
from entra_pipeline.provisioning.drafts.base import Draft, Family, Task, segment_of
from entra_pipeline.provisioning.drafts.exchange import Lists, is_list
from entra_pipeline.provisioning.drafts.groups import Groups
from entra_pipeline.provisioning.drafts.licenses import Licenses
from entra_pipeline.provisioning.drafts.offboard import Offboardings
from entra_pipeline.provisioning.drafts.pim import Holds
from entra_pipeline.provisioning.drafts.roles import Roles
from entra_pipeline.provisioning.ledger import Filed
from entra_pipeline.provisioning.reads import Facts, Read, UnreadError, principal_url
from entra_pipeline.provisioning.values import Grant, Mode, Request, Revoke, Source

_FAMILIES: Final[Mapping[tuple[str, Mode], Family]] = {
    ("group", Mode.DIRECT): Groups(),
    ("app", Mode.DIRECT): AppRoles(),
    ("role", Mode.DIRECT): Roles(),
    ("role", Mode.PIM_ACTIVE): Holds("role"),
    ("role", Mode.PIM_ELIGIBLE): Holds("role"),
    ("group", Mode.PIM_ACTIVE): Holds("group"),
    ("group", Mode.PIM_ELIGIBLE): Holds("group"),
    ("license", Mode.DIRECT): Licenses(),
}

_LISTS: Final = Lists()

_TASKS: Final[Mapping[str, Task]] = {
    "create_user": accounts.CreateUsers(),
    "invite_guest": accounts.InviteGuests(),
    "delete_user": accounts.DeleteUsers(),
    "restore_user": accounts.RestoreUsers(),
    "rotate_password": accounts.RotatePasswords(),
    "enable_user": profiles.Updates(),
    "disable_user": profiles.Updates(),
    "update_user": profiles.Updates(),
    "update_profile": profiles.Updates(),
    "set_manager": profiles.Managers(),
    "check_upn": new_groups.Names(),
    "create_group": new_groups.NewGroups(),
    "revoke_sessions": accounts.EndSessions(),
    "revoke_mfa": accounts.RemoveAllMethods(),
    "offboard": Offboardings(),
}


def first_needs(request: Request) -> tuple[Read, ...]:
    """What has to be read before it is known what else has to be."""
    match request.body:
        case Grant() | Revoke():
            principal = Read(principal_url(request.body.principal_id))
            access = request.body.access
            if access.type == "group":  # which kind of group decides who changes it
                return principal, Read(group_url(access.group_id))
            return (principal,)
    return tuple(_TASKS[request.kind].first(request.body))


def _family(body: Grant | Revoke, facts: Facts) -> Family | None:
    """Whose draft it is; groups that Exchange keeps are not Graph's to change."""
    if body.mode is Mode.DIRECT and is_list(body.access, facts):
        return _LISTS
    return _FAMILIES.get((body.access.type, body.mode))


def needs(request: Request, facts: Facts) -> tuple[Read, ...]:
    """The other reads that a draft of the request needs."""
    match request.body:
        case (Grant() | Revoke()) as body:
            family = _family(body, facts)
            segment = segment_of(body.principal_id, facts)
            if family is not None and segment is not None:
                return tuple(family.needs(body, segment))
            return ()
    try:
        return tuple(_TASKS[request.kind].needs(request.body, facts))
    except UnreadError:
        return ()  # the draft says so


def draft(filed: Filed, facts: Facts, recipients: tuple[str, ...] = ()) -> Draft:
    """What the request would write. `recipients`: the keys that passwords are sealed to."""
    body = filed.request.body
    try:
        match body:
            case Grant() | Revoke():
                facts.document(principal_url(body.principal_id))
                segment = segment_of(body.principal_id, facts)
                if segment is None:
                    return Draft(reasons=(f"there is no principal {body.principal_id}",))
                family = _family(body, facts)
                if family is not None:
                    return family.draft(filed, body, segment, facts)
            case _:
                return _TASKS[body.kind].draft(filed, body, facts, recipients)
    except UnreadError as error:
        return Draft(reasons=(f"what it rests on cannot be read: {error}",))
    return Draft(reasons=(f"{body.kind} of this kind cannot be carried out by this version",))


def ending(granted: Filed, key: str) -> Request | None:
    """The request that takes a grant back whose end has come; None for what never ends so."""
    body = granted.request.body
    if not isinstance(body, Grant) or body.mode is not Mode.DIRECT:
        return None  # PIM ends what it keeps by itself, also what was given a later end since
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


__all__ = ["Draft", "draft", "ending", "first_needs", "needs"]
