"""JSON Patch (RFC 6902) on plain Python values."""

import copy
from typing import Any


class JsonPatchError(ValueError):
    """An operation is malformed or does not fit the document."""


def apply(document: Any, operations: list[dict[str, Any]]) -> Any:
    """The patched document; the given one is left alone. Raises JsonPatchError."""
    result = copy.deepcopy(document)
    for operation in operations:
        result = _step(result, operation)
    return result


def _step(document: Any, operation: dict[str, Any]) -> Any:
    name = operation.get("op")
    if "path" not in operation or name not in ("add", "remove", "replace", "move", "copy", "test"):
        raise JsonPatchError(f"no such operation: {operation}")
    path = _pointer(operation["path"])
    if name in ("add", "replace", "test") and "value" not in operation:
        raise JsonPatchError(f"{name} needs a value")
    if name in ("move", "copy"):
        if "from" not in operation:
            raise JsonPatchError(f"{name} needs from")
        source = _pointer(operation["from"])
        value = copy.deepcopy(_get(document, source))
        if name == "move":
            document = _remove(document, source)
        return _add(document, path, value)
    if name == "remove":
        return _remove(document, path)
    value = copy.deepcopy(operation["value"])
    if name == "test":
        if _get(document, path) != value:
            raise JsonPatchError(f"test failed at {operation['path']}")
        return document
    if name == "replace":
        _get(document, path)
        return _put(document, path, value)
    return _add(document, path, value)


def _pointer(text: str) -> list[str]:
    if text == "":
        return []
    if not text.startswith("/"):
        raise JsonPatchError(f"'{text}' is no JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/")]


def _index(items: list[Any], token: str, *, end: bool = False) -> int:
    if end and token == "-":  # noqa: S105
        return len(items)
    if not token.isdigit() or int(token) >= len(items) + end:
        raise JsonPatchError(f"no element '{token}'")
    return int(token)


def _get(document: Any, path: list[str]) -> Any:
    for token in path:
        if isinstance(document, list):
            document = document[_index(document, token)]
        elif isinstance(document, dict) and token in document:
            document = document[token]
        else:
            raise JsonPatchError(f"no member '{token}'")
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _get(document, path[:-1])
    if isinstance(parent, list):
        parent.insert(_index(parent, path[-1], end=True), value)
    elif isinstance(parent, dict):
        parent[path[-1]] = value
    else:
        raise JsonPatchError(f"cannot add '{path[-1]}' to a value")
    return document


def _put(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _get(document, path[:-1])
    if isinstance(parent, list):
        parent[_index(parent, path[-1])] = value
    else:
        parent[path[-1]] = value
    return document


def _remove(document: Any, path: list[str]) -> Any:
    if not path:
        return None
    _get(document, path)
    parent = _get(document, path[:-1])
    if isinstance(parent, list):
        del parent[_index(parent, path[-1])]
    else:
        del parent[path[-1]]
    return document
