"""Graph's read-only actions: getByIds, and which groups an object belongs to.

They are POST requests that change nothing; graph.py routes to them.
"""

from collections.abc import Callable
from dataclasses import dataclass

from entra_pipeline.simulator import roles
from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.errors import GraphError, bad_request
from entra_pipeline.simulator.navigations import transitive_groups
from entra_pipeline.simulator.wire import JsonObject, Request, Response, decode_json, encode_json

MAX_IDS = 1000
"""Ids in one getByIds request (graph "directoryObject: getByIds")."""
_MAX_CHECKED = 20


@dataclass(frozen=True)
class ObjectAction:
    """An action on one directory object, with its cost in resource units."""

    units: int
    answer: Callable[[Directory, Request, JsonObject], Response]


def body_of(request: Request) -> JsonObject:
    """The JSON object in the request's body. Raises GraphError 400."""
    try:
        document = decode_json(request.body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise bad_request("Unable to read JSON request payload.", "BadRequest")
    return document


def _texts(document: JsonObject, name: str) -> list[str]:
    values = document.get(name)
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise bad_request(f"'{name}' must be a list of strings.")
    return values


def get_by_ids(directory: Directory, request: Request, encode: Callable[[str], bytes]) -> Response:
    """Objects by id; ids that are unknown or of other types are silently left out."""
    document = body_of(request)
    ids = _texts(document, "ids")
    if not 1 <= len(ids) <= MAX_IDS:
        raise bad_request(f"'ids' must hold 1 to {MAX_IDS} ids; it holds {len(ids)}.")
    types = {each.lower() for each in _texts(document, "types")} if "types" in document else None
    found: list[bytes] = []
    for object_id in dict.fromkeys(ids):
        held = roles.find(directory, object_id)
        if held is None:
            continue
        if types is None or held[0].lower() in types or "directoryobject" in types:
            found.append(encode(object_id))
    context = encode_json(f"{request.base}/v1.0/$metadata#directoryObjects")
    return Response(body=b'{"@odata.context":' + context + b',"value":[' + b",".join(found) + b"]}")


def _collection(request: Request, values: list[str]) -> Response:
    context = f"{request.base}/v1.0/$metadata#Collection(Edm.String)"
    return Response(body=encode_json({"@odata.context": context, "value": values}))


def _groups(directory: Directory, obj: JsonObject, security_only: bool) -> list[str]:
    groups = directory.collection("groups")
    return [
        group_id
        for group_id in transitive_groups(directory, obj["id"])
        if not security_only or groups.get(group_id, {}).get("securityEnabled")
    ]


def _member_groups(directory: Directory, request: Request, obj: JsonObject) -> Response:
    document = body_of(request)
    security_only = document.get("securityEnabledOnly")
    if not isinstance(security_only, bool):
        raise bad_request("'securityEnabledOnly' must be true or false.")
    return _collection(request, _groups(directory, obj, security_only))


def _member_objects(directory: Directory, request: Request, obj: JsonObject) -> Response:
    document = body_of(request)
    security_only = document.get("securityEnabledOnly")
    if not isinstance(security_only, bool):
        raise bad_request("'securityEnabledOnly' must be true or false.")
    groups = _groups(directory, obj, security_only)
    held = [role for each in (obj["id"], *groups) for role in roles.roles_of(directory, each)]
    units = directory.sources("administrative_unit_members", obj["id"])
    return _collection(request, list(dict.fromkeys([*groups, *held, *units])))


def _check_groups(directory: Directory, request: Request, obj: JsonObject) -> Response:
    wanted = _texts(body_of(request), "groupIds")
    if len(wanted) > _MAX_CHECKED:
        raise GraphError(
            400, "Request_BadRequest", f"At most {_MAX_CHECKED} groupIds can be checked at once."
        )
    held = set(transitive_groups(directory, obj["id"]))
    return _collection(request, [each for each in wanted if each in held])


OBJECT_ACTIONS: dict[str, ObjectAction] = {
    "getmembergroups": ObjectAction(2, _member_groups),
    "getmemberobjects": ObjectAction(2, _member_objects),
    "checkmembergroups": ObjectAction(4, _check_groups),
}
"""Name in lower case -> action."""
