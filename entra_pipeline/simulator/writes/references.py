"""References in bodies: `@odata.id` and `…@odata.bind`.

Graph "Use query parameters / reference payloads": an absolute address of an object on this Graph.
"""

import re
from urllib.parse import unquote, urlsplit

from entra_pipeline.simulator.entity_sets import BY_PATH
from entra_pipeline.simulator.errors import GraphError, bad_request
from entra_pipeline.simulator.keys import GUID, unquote_key
from entra_pipeline.simulator.wire import JsonObject
from entra_pipeline.simulator.writes.write import Write

MAX_BOUND = 20
"""References in one request (graph "Add members": up to 20)."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_KEYED = re.compile(r"^([^(]+)\((.*)\)$")


def referenced(write: Write, address: object) -> tuple[str, JsonObject]:
    """Collection and object that an address names. Raises GraphError 400 or 404."""
    if not isinstance(address, str):
        raise _malformed(address)
    split = urlsplit(address)
    if split.scheme not in ("http", "https") or split.hostname not in _LOOPBACK:
        # Each cloud knows its own addresses only.
        raise _malformed(address)
    parts = [unquote(part) for part in split.path.strip("/").split("/")]
    if len(parts) < 2 or parts[0].lower() not in ("v1.0", "beta"):
        raise _malformed(address)
    keyed = _KEYED.match(parts[-1])
    if keyed is not None:
        path, key = [*parts[1:-1], keyed.group(1)], unquote_key(keyed.group(2))
    else:
        path, key = parts[1:-1], parts[-1]
    lowered = tuple(part.lower() for part in path)
    if lowered == ("directoryobjects",):
        if not GUID.match(key):
            raise bad_request(f"Invalid object identifier '{key}'.")
        return write.find(key)
    entity_set = BY_PATH.get(lowered)
    if entity_set is None or entity_set.collection not in write.directory.kinds:
        raise _malformed(address)
    return entity_set.collection, write.get(entity_set.collection, key)


def single(write: Write) -> tuple[str, JsonObject]:
    """What the `@odata.id` of the body names. Raises GraphError."""
    if "@odata.id" not in write.body:
        raise bad_request("A value is required for property '@odata.id'.")
    return referenced(write, write.body["@odata.id"])


def bound(write: Write, name: str) -> list[tuple[str, JsonObject]]:
    """What `name@odata.bind` of the body names, in order. Raises GraphError."""
    found = [referenced(write, each) for each in addresses(write.body, name)]
    ids = [obj["id"] for _, obj in found]
    if len(set(ids)) != len(ids):
        raise bad_request(
            "One or more added object references already exist for the following modified "
            f"properties: '{name}'."
        )
    return found


def addresses(body: JsonObject, name: str) -> list[object]:
    """The addresses in `name@odata.bind`; none if the body has no such thing."""
    values = body.get(f"{name}@odata.bind", [])
    if not isinstance(values, list):
        raise bad_request(f"'{name}@odata.bind' must be a list of addresses.")
    return values


def check_count(*lists: list[object]) -> None:
    """400 for more references than one request may hold."""
    if sum(map(len, lists)) > MAX_BOUND:
        raise bad_request(
            f"The number of items in bind requests exceeds the maximum value of {MAX_BOUND}."
        )


def _malformed(address: object) -> GraphError:
    return bad_request(f"Invalid URL format specified in payload: '{address}'.")
