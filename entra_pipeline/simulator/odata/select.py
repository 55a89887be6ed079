"""Projection: a stored object becomes the bytes of its JSON form.

Encoding is the simulator's main work. A projector knows its names beforehand, builds a msgspec
struct rather than a dictionary (half the time on whole pages of users), and remembers short
results per object until the directory says the object has changed.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from entra_pipeline.simulator import schema
from entra_pipeline.simulator.errors import GraphError, bad_request
from entra_pipeline.simulator.wire import JsonObject, encode_json

REMEMBERED_NAMES = 4
"""Projections of at most this many properties are remembered object by object (ids of members)."""

_encode = msgspec.json.Encoder().encode


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
        self._everything = names is None and type_name not in schema.DEFAULTS
        shown = schema.default_properties(type_name) if names is None else names
        self._empty = {name: declared[name].empty if name in declared else None for name in shown}
        self._hidden = schema.held_back(type_name) | {"@odata.type"}
        self._types = types
        self._odata_type = odata_type if types else None
        self._prefix = _type_prefix(self._odata_type)
        self._hides_keys = (
            type_name in ("application", "servicePrincipal")
            and (names is None or "keyCredentials" not in names)
            and "keyCredentials" in shown
        )
        self._get: Callable[[JsonObject], tuple[Any, ...]] | None = None
        if len(shown) > 1 and not self._everything and not self._hides_keys:
            self._get = itemgetter(*shown)
            self._row = _struct(shown)
        self._remembered: dict[str, bytes] | None = (
            {} if names is not None and len(names) <= REMEMBERED_NAMES else None
        )

    def row(self, obj: JsonObject) -> JsonObject:
        """The projected object, without type annotation."""
        if self._everything:
            hidden = self._hidden
            row = self._empty | {name: value for name, value in obj.items() if name not in hidden}
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
        encoded = self._encode(obj)
        if remembered is not None and object_id is not None:
            remembered[object_id] = encoded
        return encoded

    def encode_many(self, objects: Sequence[JsonObject]) -> bytes:
        """The objects as JSON, with commas between them."""
        if (
            self._get is not None
            and self._odata_type is None
            and not any("@odata.type" in obj for obj in objects)
        ):
            try:
                row = self._row
                return _encode([row(*values) for values in map(self._get, objects)])[1:-1]
            except KeyError:
                # Some object lacks a property: it is shown as null, one by one.
                pass
        return b",".join([self.encode(obj) for obj in objects])

    def _encode(self, obj: JsonObject) -> bytes:
        if self._get is not None:
            try:
                body = _encode(self._row(*self._get(obj)))
            except KeyError:
                body = _encode(self.row(obj))
        else:
            body = _encode(self.row(obj))
        own = obj.get("@odata.type")
        prefix = _type_prefix(own) if own is not None and self._types else self._prefix
        if len(prefix) == 1:
            return body
        return prefix + body[1:] if len(body) > 2 else prefix[:-1] + b"}"

    def forget(self, object_id: str) -> None:
        """The object has changed."""
        if self._remembered is not None:
            self._remembered.pop(object_id, None)


def _type_prefix(odata_type: str | None) -> bytes:
    if odata_type is None:
        return b"{"
    return b'{"@odata.type":' + encode_json(odata_type) + b","


def _struct(names: tuple[str, ...]) -> Callable[..., Any]:
    """A struct type whose fields are written under these names."""
    fields = [(f"p{position}", Any) for position in range(len(names))]
    rename = {field: name for (field, _), name in zip(fields, names, strict=True)}
    made: Callable[..., Any] = msgspec.defstruct("Row", fields, rename=rename, gc=False)
    return made
