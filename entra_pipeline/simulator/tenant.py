"""A whole tenant as plain data, and its form on disk.

Here: the `Tenant` value, and reading and writing it as a directory of JSON files in Microsoft
Graph's own shapes. Not here: indexes, change logs and anything about the protocol (the server
side of the simulator), nor how a random tenant comes about (`generate`).

A tenant directory holds one file per collection (`users.json`, `groups.json`, ...) and one per
relation (`group_members.json`, ...). A missing file is an empty collection. Files may come from
other tools: a collection is a list of objects, or a Graph answer `{"value": [...]}`; a relation
is `{source id: [target ids]}`, or a list of `{"groupId" or "sourceId": ..., "id": ...}`. The
tenant has the id of `organization.json`'s one object; without that file it gets a fixed id and an
organisation with a P2 licence.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

JsonObject = dict[str, Any]

COLLECTIONS: tuple[str, ...] = (
    "organization",
    "domains",
    "users",
    "groups",
    "service_principals",
    "applications",
    "devices",
    "administrative_units",
    "contacts",
    "role_definitions",
    "role_assignments",
    "role_assignment_schedule_instances",
    "role_eligibility_schedule_instances",
    "group_eligibility_schedule_instances",
    "group_assignment_schedule_instances",
    "app_role_assignments",
    "oauth2_permission_grants",
    "subscribed_skus",
    "conditional_access_policies",
    "deleted_items",
    "user_registration_details",
    "synchronization_jobs",
    "authentication_methods",
)
"""Names of the collections, which are also the file stems."""

RELATIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "group_members": (
        "groups",
        ("users", "groups", "service_principals", "devices", "contacts"),
    ),
    "group_owners": ("groups", ("users", "service_principals")),
    "administrative_unit_members": ("administrative_units", ("users", "groups", "devices")),
    "application_owners": ("applications", ("users", "service_principals")),
    "service_principal_owners": ("service_principals", ("users", "service_principals")),
    "device_owners": ("devices", ("users", "service_principals")),
    "device_users": ("devices", ("users",)),
    "managers": ("users", ("users", "contacts")),
}
"""Relation (also its file stem) -> collection of its sources, collections its targets may be of."""

KINDS: dict[str, str] = {
    "users": "user",
    "groups": "group",
    "service_principals": "servicePrincipal",
    "devices": "device",
    "contacts": "orgContact",
    "applications": "application",
    "administrative_units": "administrativeUnit",
}
"""Collection of directory objects -> Graph's type name without `microsoft.graph.`."""


_COMPANION: dict[str, str] = {
    "synchronization_jobs": "servicePrincipalId",
    "authentication_methods": "userId",
    "deleted_items": "@odata.type",
}
"""Collection -> a key beside Graph's own that each of its objects must have."""

DEFAULT_TENANT_ID = "5d1c0a77-8a3e-4f60-9c1b-0e6a1b2c3d4e"
_PREMIUM_PLANS = ("41781fb2-bc02-4b7c-bd55-b576c07bb09d", "eec0eb4f-6444-4f95-aba0-50c24d67f998")


class TenantFileError(ValueError):
    """A tenant directory cannot be read; the message names the file and the reason."""


@dataclass
class Tenant:
    """One Entra directory.

    `objects`: collection -> object id -> object in Graph's own JSON shape, every property
    present, no `@odata` annotations except `@odata.type` where the type is not the collection's
    own. `links`: relation -> source id -> target ids in insertion order, without duplicates.
    Every collection and relation is present, empty if nothing is known.
    """

    tenant_id: str
    objects: dict[str, dict[str, JsonObject]] = field(default_factory=dict)
    links: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for collection in COLLECTIONS:
            self.objects.setdefault(collection, {})
        for relation in RELATIONS:
            self.links.setdefault(relation, {})

    def kind_of(self, object_id: str) -> str | None:
        """Graph's type name of a living directory object, e.g. `servicePrincipal`; else None."""
        for collection, kind in KINDS.items():
            if object_id in self.objects[collection]:
                return kind
        return None

    def collection_of(self, object_id: str) -> str | None:
        """The collection of a living directory object; None if there is no such object."""
        for collection in KINDS:
            if object_id in self.objects[collection]:
                return collection
        return None


def key_of(collection: str, obj: JsonObject) -> str:
    """The key of an object in its collection: its id.

    For authentication methods `user id/id`, because Graph gives everyone's password method the
    same id.
    """
    object_id: str = obj["id"]
    return f"{obj['userId']}/{object_id}" if collection == "authentication_methods" else object_id


def dump(tenant: Tenant, directory: Path) -> None:
    """Write every collection and relation of the tenant as `<name>.json` into the directory.

    Files that hold nothing are written too (as an empty list or object), so that a directory
    written twice never keeps an earlier tenant's rows.
    """
    directory.mkdir(parents=True, exist_ok=True)
    encode: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False).encode
    for collection in COLLECTIONS:
        rows = tenant.objects[collection].values()
        _write(directory / f"{collection}.json", "[", map(encode, rows), "]")
    for relation in RELATIONS:
        links = tenant.links[relation].items()
        lines = (f"{encode(source)}: {encode(targets)}" for source, targets in links)
        _write(directory / f"{relation}.json", "{", lines, "}")


def load(directory: Path) -> Tenant:
    """Read a tenant directory.

    Links may name objects that the directory does not hold (an export need not be complete).
    Raises TenantFileError naming the file, the place in it and the remedy.
    """
    if not directory.is_dir():
        raise TenantFileError(f"{directory}: no such directory; give one with users.json and so on")
    _refuse_misspelt(directory)
    objects = {name: _load_collection(directory / f"{name}.json", name) for name in COLLECTIONS}
    links = {name: _load_relation(directory / f"{name}.json") for name in RELATIONS}
    organization = objects["organization"]
    if not organization:
        organization[DEFAULT_TENANT_ID] = _default_organization()
    if len(organization) > 1:
        raise TenantFileError(
            f"{directory / 'organization.json'}: holds {len(organization)} organisations; "
            "a tenant has one, keep that"
        )
    return Tenant(next(iter(organization)), objects, links)


def _default_organization() -> JsonObject:
    return {
        "id": DEFAULT_TENANT_ID,
        "displayName": "Tenant from files",
        "assignedPlans": [
            {
                "assignedDateTime": "2020-01-01T00:00:00Z",
                "capabilityStatus": "Enabled",
                "service": "AADPremiumService",
                "servicePlanId": plan,
            }
            for plan in _PREMIUM_PLANS
        ],
        "verifiedDomains": [],
    }


def _refuse_misspelt(directory: Path) -> None:
    """A file with a slightly wrong name would silently be an empty collection."""
    known = (*COLLECTIONS, *RELATIONS)
    present = {path.stem for path in directory.glob("*.json")}
    for stem in sorted(present.difference(known)):
        near = [name for name in get_close_matches(stem, known, cutoff=0.8) if name not in present]
        if near:
            raise TenantFileError(
                f"{directory / stem}.json: not a tenant file; should it be {near[0]}.json?"
            )


def _load_collection(path: Path, collection: str) -> dict[str, JsonObject]:
    rows: dict[str, JsonObject] = {}
    companion = _COMPANION.get(collection)
    for position, row in enumerate(_rows(path)):
        object_id = row.get("id")
        if not isinstance(object_id, str) or not object_id:
            raise TenantFileError(f"{path}: object {position} has no text 'id'")
        if companion and not isinstance(row.get(companion), str):
            raise TenantFileError(
                f"{path}: object {position} ({object_id}) has no text '{companion}', "
                "which says what it belongs to"
            )
        key = key_of(collection, row)
        if key in rows:
            raise TenantFileError(f"{path}: object {position} repeats the id {key}")
        rows[key] = row
    return rows


def _load_relation(path: Path) -> dict[str, list[str]]:
    if not path.exists():
        return {}
    document = _read(path)
    if isinstance(document, dict) and "value" not in document:
        for source, targets in document.items():
            if not isinstance(targets, list) or not all(isinstance(t, str) for t in targets):
                raise TenantFileError(f"{path}: '{source}' must map to a list of object ids")
        return {source: list(dict.fromkeys(targets)) for source, targets in document.items()}
    links: dict[str, dict[str, None]] = {}
    for position, row in enumerate(_rows(path)):
        source = row.get("groupId", row.get("sourceId"))
        target = row.get("id")
        if not isinstance(source, str) or not isinstance(target, str):
            raise TenantFileError(
                f"{path}: link {position} needs 'groupId' or 'sourceId', and 'id', all text"
            )
        links.setdefault(source, {})[target] = None
    return {source: list(targets) for source, targets in links.items()}


def _rows(path: Path) -> list[JsonObject]:
    if not path.exists():
        return []
    document = _read(path)
    if isinstance(document, dict) and isinstance(document.get("value"), list):
        if "@odata.nextLink" in document:
            raise TenantFileError(
                f"{path}: is one page of several (@odata.nextLink); join the pages first"
            )
        document = document["value"]
    if not isinstance(document, list):
        raise TenantFileError(f'{path}: must be a list of objects, or {{"value": [...]}}')
    for position, row in enumerate(document):
        if not isinstance(row, dict):
            raise TenantFileError(f"{path}: item {position} is not an object")
    return document


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise TenantFileError(f"{path}: cannot be read: {error}") from error
    except json.JSONDecodeError as error:
        raise TenantFileError(
            f"{path}: is not JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error


def _write(path: Path, opening: str, lines: Iterable[str], closing: str) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(opening)
        for position, line in enumerate(lines):
            file.write(",\n" if position else "\n")
            file.write(line)
        file.write(f"\n{closing}\n")
