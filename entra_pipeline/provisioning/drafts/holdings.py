"""What a leaver holds directly, from live facts alone.

Here: the lists that tell of it, and each piece as the revoke that would take it. Not here: whether
it can be taken, and by what (`offboard`, and the families of access).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from entra_pipeline.exchange.answers import NotConfiguredError
from entra_pipeline.msgraph.errors import UnlicensedError, UnsupportedError
from entra_pipeline.provisioning.actions import app_roles, groups, licenses, owners, pim, roles
from entra_pipeline.provisioning.actions.exchange import managed_read
from entra_pipeline.provisioning.reads import Facts, Read, UnreadError, kind_of_object
from entra_pipeline.provisioning.values import (
    AppAccess,
    GroupAccess,
    LicenseAccess,
    Mode,
    Revoke,
    RoleAccess,
)

SEGMENT: Final = "users"
_SHELVES: Final = tuple(
    (of, mode) for of in ("role", "group") for mode in (Mode.PIM_ACTIVE, Mode.PIM_ELIGIBLE)
)


def reads(user: str) -> list[Read]:
    """The lists of all that somebody holds and owns."""
    shelves = [pim.SHELVES[of, mode.value] for of, mode in _SHELVES]
    return [
        Read(roles.held_url(user)),
        Read(groups.held_url(SEGMENT, user, "member")),
        Read(groups.held_url(SEGMENT, user, "owner")),
        Read(devices_url(user)),
        managed_read(user),
        Read(app_roles.held_url(SEGMENT, user)),
        Read(licenses.holder_url(SEGMENT, user)),
        *(Read(shelf.instances_url(user)) for shelf in shelves),
        *(Read(shelf.requests_url(user)) for shelf in shelves),
    ]


def devices_url(user: str) -> str:
    """The address of the devices that somebody owns.

    Source: https://learn.microsoft.com/graph/api/user-list-owneddevices
    """
    return f"/{SEGMENT}/{user}/ownedDevices?$select=id&$top=999"


def held(user: str, facts: Facts) -> Iterator[Revoke]:
    """Every piece of direct access that there is a family for, in the order of its taking.

    Raises UnreadError when a list of them is unknown.
    """
    by_pim = [*_by_pim(user, facts)]
    timed = {(r.access.entitlement_id) for r in by_pim if r.mode is Mode.PIM_ACTIVE}
    activated = _activated(user, facts)
    yield from (each for each in by_pim if each.access.type == "role")
    for row in facts.items(roles.held_url(user)) or ():
        role = RoleAccess(
            role_definition_id=row["roleDefinitionId"], scope=row.get("directoryScopeId") or "/"
        )
        if row["id"] not in activated and role.entitlement_id not in timed:
            yield _revoke(user, role)
    for row in facts.items(app_roles.held_url(SEGMENT, user)) or ():
        if row["principalId"] == user:
            access = AppAccess(service_principal_id=row["resourceId"], app_role_id=row["appRoleId"])
            yield _revoke(user, access)
    yield from (each for each in by_pim if each.access.type == "group")
    for relation in ("owner", "member"):
        found = facts.items(groups.held_url(SEGMENT, user, relation)) or ()
        ids = [str(row["id"]) for row in found if kind_of_object(row) == "group"]
        if relation == "owner":
            ids += managed(user, facts)
        for group in dict.fromkeys(ids):
            link = GroupAccess.model_validate({"group_id": group, "relation": relation})
            if link.entitlement_id not in timed:
                yield _revoke(user, link)
    holder = facts.document(licenses.holder_url(SEGMENT, user)) or {}
    for row in holder.get("licenseAssignmentStates") or ():
        if row.get("assignedByGroup") is None:
            yield _revoke(user, LicenseAccess(sku_id=row["skuId"], disabled_plans=()))


def _by_pim(user: str, facts: Facts) -> Iterator[Revoke]:
    """Eligibilities, and what PIM has given for a time. What it knows to be for good is taken
    where it was given: PIM lists that too."""
    for of, mode in _SHELVES:
        shelf = pim.SHELVES[of, mode.value]
        rows = _listed(facts, shelf.instances_url(user))
        seen = set()
        for row in rows:
            place = row.get(shelf.place) or ("member" if of == "group" else "/")
            if not shelf.held([row], row[shelf.thing], str(place)):
                continue
            if shelf.active and row.get("endDateTime") is None:
                continue
            access: RoleAccess | GroupAccess = (
                RoleAccess(role_definition_id=row[shelf.thing], scope=str(place))
                if of == "role"
                else GroupAccess.model_validate(
                    {"group_id": row[shelf.thing], "relation": str(place)}
                )
            )
            if access.entitlement_id not in seen:
                seen.add(access.entitlement_id)
                yield _revoke(user, access, mode)


def managed(user: str, facts: Facts) -> list[str]:
    """The lists that Exchange says they manage; none where Exchange is not configured. Graph does
    not tell. UnreadError when that is unknown."""
    try:
        rows = facts.items(managed_read(user).url) or ()
    except UnreadError as error:
        if not isinstance(error.error, NotConfiguredError):
            raise
        return []
    ids = [str(row.get("ExternalDirectoryObjectId") or "").lower() for row in rows]
    return [each for each in ids if each]


def _listed(facts: Facts, url: str) -> Sequence[Mapping[str, Any]]:
    """A list of PIM's; none where there is no PIM. UnreadError when that is unknown."""
    try:
        return facts.items(url) or []
    except UnreadError as error:
        if not isinstance(error.error, UnlicensedError | UnsupportedError):
            raise
        return []


def _activated(user: str, facts: Facts) -> set[str]:
    """Assignments that are activations: they end with what they rest on."""
    shelf = pim.SHELVES["role", Mode.PIM_ACTIVE.value]
    return {
        str(row.get("roleAssignmentOriginId"))
        for row in _listed(facts, shelf.instances_url(user))
        if str(row.get("assignmentType")).lower() == "activated"
    }


def is_activated(revoke: Revoke, facts: Facts) -> bool:
    """Whether an eligibility that is taken is activated now."""
    if revoke.mode is not Mode.PIM_ELIGIBLE:
        return False
    of = revoke.access.type
    shelf = pim.SHELVES[of, Mode.PIM_ACTIVE.value]
    place = (
        revoke.access.scope
        if isinstance(revoke.access, RoleAccess)
        else getattr(revoke.access, "relation", "member")
    )
    rows = _listed(facts, shelf.instances_url(revoke.principal_id))
    return any(
        str(row.get("assignmentType")).lower() == "activated"
        for row in shelf.matching(rows, revoke.access.resource_id, place)
    )


def owned(user: str, facts: Facts) -> Iterator[tuple[str, str]]:
    """What the leaver owns and Graph names the owners of: where it has it, and its id."""
    for row in facts.items(groups.held_url(SEGMENT, user, "owner")) or ():
        kind = kind_of_object(row)
        collection = "groups" if kind == "group" else owners.COLLECTIONS.get(kind)
        if collection is not None:
            yield collection, str(row["id"])


def owned_apps(user: str, facts: Facts) -> Iterator[tuple[str, str]]:
    """Of those, the applications and enterprise applications."""
    return (each for each in owned(user, facts) if each[0] != "groups")


def owners_url(collection: str, owned: str) -> str:
    """The address of who owns it."""
    return (
        groups.owners_url(owned) if collection == "groups" else owners.owners_url(collection, owned)
    )


def entitlement_of(collection: str, owned: str) -> str:
    """What owning it is called."""
    prefix = "group" if collection == "groups" else owners.PREFIXES[collection]
    return f"{prefix}:{owned}:owner"


def _revoke(user: str, access: Any, mode: Mode = Mode.DIRECT) -> Revoke:
    return Revoke(principal_id=user, access=access, mode=mode, undoes=None)
