"""Checks objects against Microsoft's published types of Graph v1.0.

Here: `violations`, which says where an object differs from its type in `graph_types.json`. Not
here: what a server answers with beyond the types (faults), nor whether the values make sense.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from entra_pipeline.simulator.tenant import JsonObject, Tenant

TYPES_FILE = Path(__file__).parent / "graph_types.json"

COLLECTION_TYPES: dict[str, str] = {
    "organization": "organization",
    "domains": "domain",
    "users": "user",
    "groups": "group",
    "service_principals": "servicePrincipal",
    "applications": "application",
    "devices": "device",
    "administrative_units": "administrativeUnit",
    "contacts": "orgContact",
    "role_definitions": "unifiedRoleDefinition",
    "role_assignments": "unifiedRoleAssignment",
    "role_assignment_schedule_instances": "unifiedRoleAssignmentScheduleInstance",
    "role_eligibility_schedule_instances": "unifiedRoleEligibilityScheduleInstance",
    "group_eligibility_schedule_instances": "privilegedAccessGroupEligibilityScheduleInstance",
    "group_assignment_schedule_instances": "privilegedAccessGroupAssignmentScheduleInstance",
    "app_role_assignments": "appRoleAssignment",
    "oauth2_permission_grants": "oAuth2PermissionGrant",
    "subscribed_skus": "subscribedSku",
    "conditional_access_policies": "conditionalAccessPolicy",
    "deleted_items": "directoryObject",
    "user_registration_details": "userRegistrationDetails",
    "synchronization_jobs": "synchronizationJob",
    "authentication_methods": "authenticationMethod",
}
"""Collection -> Graph type of its objects, without `microsoft.graph.`."""

_OWN_KEYS: dict[str, frozenset[str]] = {
    "synchronization_jobs": frozenset({"servicePrincipalId"}),
    "authentication_methods": frozenset({"userId"}),
}
"""Keys that our files add to Graph's objects; the server takes them off."""

_OPEN_TYPES = frozenset({"microsoft.graph.detailsInfo"})
"""Types that the metadata declares open: they hold whatever the service puts there."""

_PREFIX = "microsoft.graph."
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?Z")
_PERIOD = re.compile(r"P(?=.)(\d+D)?(T(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?")
_DAY_TIME = re.compile(r"\d\d:\d\d:\d\d(\.\d+)?")
_INT_RANGE = {"Edm.Int32": 2**31, "Edm.Int64": 2**63, "Edm.Int16": 2**15}
_TEXT_FORMS = {
    "Edm.Guid": _GUID,
    "Edm.DateTimeOffset": _MOMENT,
    "Edm.Duration": _PERIOD,
    "Edm.TimeOfDay": _DAY_TIME,
}


@cache
def graph_types() -> JsonObject:
    """The types file: `types`, `enums` and `sets` by full name."""
    document: JsonObject = json.loads(TYPES_FILE.read_bytes())
    return document


@cache
def properties_of(type_name: str) -> dict[str, tuple[str, bool, bool]]:
    """Properties of a type and its bases: name -> (type, is a collection, may be null).

    Takes the name with or without `microsoft.graph.`; raises KeyError for a type not in the file.
    """
    entry = graph_types()["types"][_full(type_name)]
    base = entry.get("base")
    found = dict(properties_of(base)) if base in graph_types()["types"] else {}
    found.update(
        {name: (t, bool(many), bool(null)) for name, (t, many, null) in entry["props"].items()}
    )
    return found


@cache
def navigations_of(type_name: str) -> frozenset[str]:
    """Names of the navigation properties of a type and its bases."""
    entry = graph_types()["types"][_full(type_name)]
    base = entry.get("base")
    own = frozenset(entry["nav"])
    return own | navigations_of(base) if base in graph_types()["types"] else own


def _full(type_name: str) -> str:
    return type_name if type_name.startswith(_PREFIX) else _PREFIX + type_name


@cache
def _derives(type_name: str, base_name: str) -> bool:
    current: str | None = _full(type_name)
    while current:
        if current == _full(base_name):
            return True
        current = graph_types()["types"].get(current, {}).get("base")
    return False


def violations(
    obj: JsonObject, type_name: str, own_keys: frozenset[str] = frozenset()
) -> Iterator[str]:
    """Say how an object differs from its type: one text per difference, with its place.

    `@odata.type` may name a derived type. Properties may be absent (Graph answers what was
    selected), except `id` of an entity. Navigation properties may be present as lists or objects.
    """
    yield from _object(obj, _full(type_name), "", own_keys)


def tenant_violations(tenant: Tenant) -> Iterator[str]:
    """`violations` of every object of a tenant, each with its collection and id."""
    for collection, type_name in COLLECTION_TYPES.items():
        own_keys = _OWN_KEYS.get(collection, frozenset())
        for object_id, obj in tenant.objects[collection].items():
            for text in violations(obj, type_name, own_keys):
                yield f"{collection} {object_id}: {text}"


def _object(obj: Any, type_name: str, place: str, own_keys: frozenset[str]) -> Iterator[str]:
    if not isinstance(obj, dict):
        yield f"{place or 'object'}: {type(obj).__name__} instead of {type_name}"
        return
    declared = obj.get("@odata.type")
    if declared is not None:
        actual = str(declared).removeprefix("#")
        if actual not in graph_types()["types"]:
            yield f"{place}@odata.type: unknown type {actual}"
        elif not _derives(actual, type_name):
            yield f"{place}@odata.type: {actual} is not a {type_name}"
        else:
            type_name = actual
    properties = properties_of(type_name)
    navigations = navigations_of(type_name)
    if "id" in properties and _derives(type_name, "entity") and "id" not in obj:
        yield f"{place}id: missing"
    for name, value in obj.items():
        if name.startswith("@") or name in own_keys:
            continue
        if name in navigations:
            if not isinstance(value, list | dict):
                yield f"{place}{name}: {type(value).__name__} instead of related objects"
        elif name not in properties:
            if type_name in _OPEN_TYPES:
                continue
            yield f"{place}{name}: not a property of {type_name}"
        else:
            yield from _property(value, properties[name], f"{place}{name}")


def _property(value: Any, declared: tuple[str, bool, bool], place: str) -> Iterator[str]:
    type_name, many, nullable = declared
    if many:
        # Graph writes an empty collection where its types say null.
        if value is None:
            if not nullable:
                yield f"{place}: null instead of a list"
        elif not isinstance(value, list):
            yield f"{place}: {type(value).__name__} instead of a list of {type_name}"
        else:
            for position, item in enumerate(value):
                yield from _value(item, type_name, f"{place}[{position}]")
    elif value is None:
        if not nullable:
            yield f"{place}: null, which {type_name} here cannot be"
    else:
        yield from _value(value, type_name, place)


def _value(value: Any, type_name: str, place: str) -> Iterator[str]:
    if type_name.startswith(_PREFIX):
        enum = graph_types()["enums"].get(type_name)
        if enum is not None:
            yield from _enum(value, enum, type_name, place)
        else:
            yield from _object(value, type_name, f"{place}.", frozenset())
    elif not _is_primitive(value, type_name):
        yield f"{place}: {value!r} is not {type_name}"


def _enum(value: Any, enum: JsonObject, type_name: str, place: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{place}: {value!r} is not {type_name}"
        return
    for member in value.split(",") if enum["flags"] else [value]:
        if member not in enum["members"]:
            yield f"{place}: {member!r} is not a member of {type_name}"


def _is_primitive(value: Any, type_name: str) -> bool:
    if type_name == "Edm.Boolean":
        return isinstance(value, bool)
    if type_name in _INT_RANGE:
        limit = _INT_RANGE[type_name]
        return isinstance(value, int) and not isinstance(value, bool) and -limit <= value < limit
    if type_name in ("Edm.Double", "Edm.Single", "Edm.Decimal"):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if not isinstance(value, str):
        return False
    form = _TEXT_FORMS.get(type_name)
    return form is None or form.fullmatch(value) is not None
