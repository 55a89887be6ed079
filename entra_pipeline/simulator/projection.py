"""Encoders: an item of a list becomes JSON bytes, with what was selected and expanded.

Joins odata/select.py (one type) with the navigations (what hangs on an object). Encoders are kept
by what they select, so that their memory of short rows serves every later request.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from entra_pipeline.simulator import roles, schema
from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.errors import bad_request
from entra_pipeline.simulator.model import Item, Navigation
from entra_pipeline.simulator.navigations import NAVIGATIONS
from entra_pipeline.simulator.odata.query import Expansion
from entra_pipeline.simulator.odata.select import Projector, check_select, unknown_property
from entra_pipeline.simulator.permissions import HIDDEN_MEMBERS, OF_KIND
from entra_pipeline.simulator.wire import JsonObject, encode_json


class Encoder(Protocol):
    """What turns items of a list into JSON."""

    def encode_many(self, items: Sequence[Item], /) -> bytes:
        """The items with commas between them; those that have gone are left out."""
        ...


MAX_EXPANDED = 20
"""Items of one expanded collection; Graph gives no link to the rest."""
_MAX_ENCODERS = 512
MIXED = "directoryObject"


class MixedProjector:
    """Encodes directory objects of any kind, each with its `@odata.type`."""

    def __init__(
        self,
        directory: Directory,
        select: tuple[str, ...] | None,
        hidden: frozenset[str],
        types: bool,
    ) -> None:
        self._directory = directory
        self._select = select
        self._hidden = hidden
        self._types = types
        self._projectors: dict[str, Projector] = {}
        self._remembered: dict[str, bytes] | None = (
            {} if select is not None and len(select) <= 4 else None
        )

    def encode(self, item: Item) -> bytes:
        """JSON of a directory object given by id (or as the object itself)."""
        object_id: str = item if isinstance(item, str) else item["id"]
        remembered = self._remembered
        if remembered is not None:
            known = remembered.get(object_id)
            if known is not None:
                return known
        found = roles.find(self._directory, object_id)
        if found is None:
            # A link to something that the tenant does not hold: an id is all there is to say.
            encoded = encode_json({"@odata.type": f"#microsoft.graph.{MIXED}", "id": object_id})
        else:
            encoded = self._projector(found[0]).encode(found[1])
        if remembered is not None:
            remembered[object_id] = encoded
        return encoded

    def encode_many(self, items: Sequence[Item]) -> bytes:
        """JSON of many, with commas between them."""
        if self._remembered is not None:
            try:
                # Nearly always everything is known, and this stays within C.
                return b",".join(map(self._remembered.__getitem__, items))
            except (KeyError, TypeError):
                pass
        return b",".join([self.encode(item) for item in items])

    def _projector(self, kind: str) -> Projector:
        projector = self._projectors.get(kind)
        if projector is None:
            names = self._select
            if names is not None:
                declared = schema.properties(kind)
                names = tuple(name for name in names if name in declared)
            if kind in self._hidden:
                # Graph shows only type and id of what the caller may not read.
                names = ("id",)
            projector = Projector(
                kind, names, odata_type=f"#microsoft.graph.{kind}", types=self._types
            )
            self._projectors[kind] = projector
        return projector

    def forget(self, object_id: str) -> None:
        """The object has changed."""
        if self._remembered is not None:
            self._remembered.pop(object_id, None)
        for projector in self._projectors.values():
            projector.forget(object_id)


class StoredEncoder:
    """Encodes objects of a collection given by id, or rows given as they are."""

    def __init__(
        self,
        objects: Callable[[], dict[str, JsonObject]],
        projector: Projector,
        expanding: Callable[[JsonObject], bytes] | None,
    ) -> None:
        self._objects = objects
        self._projector = projector
        self._expanding = expanding

    def encode_many(self, items: Sequence[Item]) -> bytes:
        """The objects with commas between them, without those that have gone."""
        held = self._objects()
        found: list[Any] = [held.get(each) if isinstance(each, str) else each for each in items]
        rows = [each for each in found if each is not None]
        if self._expanding is None:
            return self._projector.encode_many(rows)
        return b",".join(list(map(self._expanding, rows)))


class Encoders:
    """Every encoder in use."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._kept: dict[object, Projector | MixedProjector] = {}
        self._undeclared: dict[str, frozenset[str]] = {}
        directory.on_object_change.append(self._forget)

    def warm(self, hidden: frozenset[str]) -> None:
        """Encode every directory object's id beforehand: what members look like mostly."""
        encode = self.mixed(("id",), hidden, types=True).encode
        for collection in self._directory.kinds:
            for object_id in self._directory.collection(collection):
                encode(object_id)

    def _forget(self, object_id: str) -> None:
        for kept in self._kept.values():
            kept.forget(object_id)

    def undeclared(self, collection: str, type_name: str) -> frozenset[str]:
        """Names that the tenant's own objects carry beyond the metadata, found once."""
        known = self._undeclared.get(collection)
        if known is None:
            names: set[str] = set()
            names = names.union(*self._directory.collection(collection).values())
            known = frozenset(names) - frozenset(schema.properties(type_name))
            self._undeclared[collection] = known = known - schema.held_back(type_name)
        return known

    def rows(
        self,
        type_name: str,
        select: tuple[str, ...] | None,
        *,
        undeclared: frozenset[str] = frozenset(),
        single: bool = False,
        odata_type: str | None = None,
        types: bool = True,
    ) -> Projector:
        """The encoder for objects of one type. Raises GraphError 400 for unknown names."""
        names = (
            None if select is None else check_select(select, type_name, undeclared, single=single)
        )
        key = (type_name, names, odata_type, types)
        kept = self._kept.get(key)
        if not isinstance(kept, Projector):
            kept = Projector(type_name, names, odata_type=odata_type, types=types)
            self._keep(key, kept)
        return kept

    def mixed(
        self, select: tuple[str, ...] | None, hidden: frozenset[str], types: bool
    ) -> MixedProjector:
        """The encoder for directory objects of any kind. Raises GraphError 400."""
        if select is not None:
            for name in select:
                if not any(name in schema.properties(kind) for kind in OF_KIND):
                    raise unknown_property(name, MIXED)
        key = (select, hidden, types)
        kept = self._kept.get(key)
        if not isinstance(kept, MixedProjector):
            kept = MixedProjector(self._directory, select, hidden, types)
            self._keep(key, kept)
        return kept

    def _keep(self, key: object, encoder: Projector | MixedProjector) -> None:
        if len(self._kept) >= _MAX_ENCODERS:
            self._kept.clear()
        self._kept[key] = encoder

    def expanding(
        self,
        encode: Callable[[JsonObject], bytes],
        type_name: str,
        expansion: Expansion,
        *,
        granted: frozenset[str],
        hidden: frozenset[str],
        types: bool,
    ) -> Callable[[JsonObject], bytes]:
        """`encode`, with the expanded navigation added to each object.

        Raises GraphError 400 if the type has no such navigation.
        """
        navigation = NAVIGATIONS.get(type_name, {}).get(expansion.navigation.lower())
        if navigation is None or not navigation.expandable:
            raise unknown_property(expansion.navigation, type_name)
        inner = self._expanded_item(navigation, expansion, granted, hidden, types)
        name = encode_json(navigation.name)
        directory = self._directory
        may_see_hidden = not HIDDEN_MEMBERS.isdisjoint(granted)

        def with_expansion(obj: JsonObject) -> bytes:
            items = navigation.items(directory, obj)
            if navigation.hides and not may_see_hidden and is_hidden(obj):
                items = ()
            if navigation.single:
                if items:
                    value = inner(items[0])
                elif navigation.optional:
                    return encode(obj)
                else:
                    value = b"null"
            else:
                value = b"[" + b",".join([inner(each) for each in items[:MAX_EXPANDED]]) + b"]"
            body = encode(obj)
            comma = b"" if len(body) == 2 else b","
            return body[:-1] + comma + name + b":" + value + b"}"

        return with_expansion

    def _expanded_item(
        self,
        navigation: Navigation,
        expansion: Expansion,
        granted: frozenset[str],
        hidden: frozenset[str],
        types: bool,
    ) -> Callable[[Item], bytes]:
        if navigation.type == MIXED:
            if expansion.inner is not None:
                raise bad_request("Only one level of $expand is supported.", "BadRequest")
            return self.mixed(expansion.select, hidden, types).encode
        encode = self.rows(navigation.type, expansion.select, types=types).encode
        if expansion.inner is None:
            return encode
        if navigation.type != "unifiedRoleManagementPolicy":
            raise bad_request("Only one level of $expand is supported.", "BadRequest")
        return self.expanding(
            encode,
            navigation.type,
            expansion.inner,
            granted=granted,
            hidden=hidden,
            types=types,
        )


def is_hidden(group: JsonObject) -> bool:
    """Whether a group or unit shows its members only to those with Member.Read.Hidden."""
    return str(group.get("visibility")).lower() == "hiddenmembership"
