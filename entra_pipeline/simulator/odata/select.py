"""Projection: a stored object becomes the bytes of its JSON form.

Encoding is the simulator's main work, so a projector knows its names beforehand and remembers
short results per object until the directory says the object has changed.
"""

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any

from entra_pipeline.simulator import schema
from entra_pipeline.simulator.errors import GraphError, bad_request
from entra_pipeline.simulator.wire import JsonObject, encode_json

REMEMBERED_NAMES = 4
"""Projections of at most this many properties are remembered object by object (ids of members)."""


def unknown_property(name: str, type_name: str) -> GraphError:
    """The refusal of a `$select` or `$expand` that names what the type does not have."""
    return bad_request(
        f"Parsing OData Select and Expand failed: Could not find a property named '{name}' "
        f"on type 'microsoft.graph.{type_name}'.",
        "BadRequest",
    )


def check_select(
    select: tuple[str, ...], type_name: str, undeclared: frozenset[str], *, single: bool
) -> tuple[str, ...]:
    """The names to show for a `$select`, `*` replaced.

    `undeclared` are names that the tenant's own objects carry beyond the metadata. Raises
    GraphError 400 for an unknown name, 501 for one that a list cannot select.
    """
    declared = schema.properties(type_name)
    names: list[str] = []
    for name in select:
        if name == "*":
            names += schema.default_properties(type_name)
            continue
        if name not in declared and name not in undeclared and not name.startswith("extension_"):
            raise unknown_property(name, type_name)
        if not single and name in schema.SINGLE_ONLY.get(type_name, ()):
            raise GraphError(
                501, "NotImplemented", f"'{name}' can be selected only on a single {type_name}."
            )
        names.append(name)
    return tuple(dict.fromkeys(names))


class Projector:
    """Encodes objects of one type with one selection."""

    def __init__(
        self,
        type_name: str,
        names: tuple[str, ...] | None,
        *,
        odata_type: str | None = None,
        types: bool = True,
    ) -> None:
        """`names` None means the default properties.

        `odata_type` is written for every object (members of mixed lists); an object's own
        `@odata.type` always wins. `types` False writes no type at all (metadata=none).
        """
        declared = schema.properties(type_name)
        self._explicit_keys = names is not None and "keyCredentials" in names
        self._everything = names is None and type_name not in schema.DEFAULTS
        shown = schema.default_properties(type_name) if names is None else names
        self._names = shown
        self._empty = {
            name: declared[name].empty if name in declared else None for name in self._names
        }
        self._hidden = schema.held_back(type_name) | {"@odata.type"}
        self._types = types
        self._prefix = (
            b'{"@odata.type":' + encode_json(odata_type) + b"," if types and odata_type else b"{"
        )
        self._get: Callable[[JsonObject], tuple[Any, ...]] | None = (
            itemgetter(*shown) if len(shown) > 1 and not self._everything else None
        )
        self._hides_keys = (
            type_name in ("application", "servicePrincipal")
            and not self._explicit_keys
            and "keyCredentials" in shown
        )
        self._remembered: dict[str, bytes] | None = (
            {} if names is not None and len(names) <= REMEMBERED_NAMES else None
        )

    def row(self, obj: JsonObject) -> JsonObject:
        """The projected object, without type annotation."""
        if self._everything:
            hidden = self._hidden
            row = self._empty | {name: value for name, value in obj.items() if name not in hidden}
        elif self._get is not None:
            try:
                row = dict(zip(self._names, self._get(obj), strict=True))
            except KeyError:
                row = {name: obj.get(name, empty) for name, empty in self._empty.items()}
        else:
            row = {name: obj.get(name, empty) for name, empty in self._empty.items()}
        if self._hides_keys and row["keyCredentials"]:
            # Graph shows the public key only to those who select it by name.
            row["keyCredentials"] = [{**each, "key": None} for each in row["keyCredentials"]]
        return row

    def encode(self, obj: JsonObject) -> bytes:
        """The object as JSON."""
        remembered = self._remembered
        object_id = obj.get("id") if remembered is not None else None
        if remembered is not None and object_id is not None:
            known = remembered.get(object_id)
            if known is not None:
                return known
        body = encode_json(self.row(obj))
        own = obj.get("@odata.type")
        if own is not None and self._types:
            prefix = b'{"@odata.type":' + encode_json(own) + b","
        else:
            prefix = self._prefix
        if len(body) == 2:
            encoded = prefix.rstrip(b",") + b"}"
        elif len(prefix) == 1:
            encoded = body
        else:
            encoded = prefix + body[1:]
        if remembered is not None and object_id is not None:
            remembered[object_id] = encoded
        return encoded

    def encode_all(self, objects: Iterable[JsonObject]) -> list[bytes]:
        """Each object as JSON."""
        encode = self.encode
        return [encode(obj) for obj in objects]

    def forget(self, object_id: str) -> None:
        """The object has changed."""
        if self._remembered is not None:
            self._remembered.pop(object_id, None)
