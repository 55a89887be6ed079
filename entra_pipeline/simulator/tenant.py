"""A whole tenant as plain data, and its form on disk.

Here: the `Tenant` value, and reading and writing it as a directory of JSON files in Microsoft
Graph's own shapes. Not here: indexes, change logs and anything about the protocol (the server
side of the simulator), nor how a random tenant comes about (`generate`).

A tenant directory holds one file per collection (`users.json`, `groups.json`, ...) and one per
relation (`group_members.json`, ...). A missing file is an empty collection. Files may come from
other tools: a collection is a list of objects, or a Graph answer `{"value": [...]}`; a relation
is `{source id: [target ids]}`, or a list of `{"groupId" or "sourceId": ..., "id": ...}`.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
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


def dump(tenant: Tenant, directory: Path) -> None:
    """Write every collection and relation of the tenant as `<name>.json` into the directory.

    Files that hold nothing are written too (as an empty list or object), so that a directory
    written twice never keeps an earlier tenant's rows.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for collection in COLLECTIONS:
        rows = tenant.objects[collection].values()
        _write(directory / f"{collection}.json", _json_lines("[", rows, "]"))
    for relation in RELATIONS:
        text = json.dumps(tenant.links[relation], ensure_ascii=False, indent=0)
        _write(directory / f"{relation}.json", text + "\n")
    (directory / "tenant.json").write_text(
        json.dumps({"tenantId": tenant.tenant_id}) + "\n", encoding="utf-8"
    )


def load(directory: Path) -> Tenant:
    """Read a tenant directory.

    The tenant id is that of `organization.json`'s one object (or of `tenant.json`).
    Raises TenantFileError naming the file, the place in it and the remedy.
    """
    if not directory.is_dir():
        raise TenantFileError(f"{directory}: no such directory; give one with users.json and so on")
    objects = {name: _load_collection(directory / f"{name}.json") for name in COLLECTIONS}
    links = {name: _load_relation(directory / f"{name}.json") for name in RELATIONS}
    return Tenant(_load_tenant_id(directory, objects["organization"]), objects, links)


def _load_tenant_id(directory: Path, organization: dict[str, JsonObject]) -> str:
    path = directory / "tenant.json"
    if path.exists():
        document = _read(path)
        if not isinstance(document, dict) or not isinstance(document.get("tenantId"), str):
            raise TenantFileError(f'{path}: must be {{"tenantId": "<id>"}}')
        return str(document["tenantId"])
    if organization:
        return next(iter(organization))
    raise TenantFileError(
        f"{directory / 'organization.json'}: missing or empty, so the tenant's id is unknown; "
        'add a list with one object {"id": "<tenant id>", "displayName": ...}, '
        'or a tenant.json {"tenantId": "<id>"}'
    )


def _load_collection(path: Path) -> dict[str, JsonObject]:
    rows: dict[str, JsonObject] = {}
    for position, row in enumerate(_rows(path)):
        object_id = row.get("id")
        if not isinstance(object_id, str) or not object_id:
            raise TenantFileError(f"{path}: object {position} has no text 'id'")
        if object_id in rows:
            raise TenantFileError(f"{path}: object {position} repeats the id {object_id}")
        rows[object_id] = row
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


def _json_lines(opening: str, rows: Iterable[JsonObject], closing: str) -> str:
    encode: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False).encode
    body = ",\n".join(map(encode, rows))
    return f"{opening}\n{body}\n{closing}\n" if body else f"{opening}{closing}\n"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
