"""Which rows stand behind a path: the listing of an entity set, a navigation, a cast.

What the query options then do to a listing is in listing.py.
"""

from entra_pipeline.simulator import roles
from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.entity_sets import BY_TYPE
from entra_pipeline.simulator.errors import bad_request, unsupported_query
from entra_pipeline.simulator.gates import Call
from entra_pipeline.simulator.identity import Caller
from entra_pipeline.simulator.listing import Listing
from entra_pipeline.simulator.model import EntitySet, Navigation
from entra_pipeline.simulator.navigations import NAVIGATIONS
from entra_pipeline.simulator.permissions import HIDDEN_MEMBERS, suffices
from entra_pipeline.simulator.projection import MIXED, Encoders, is_hidden
from entra_pipeline.simulator.wire import JsonObject

_CASTABLE = frozenset(
    {
        "user",
        "group",
        "servicePrincipal",
        "device",
        "orgContact",
        "application",
        "administrativeUnit",
        "directoryRole",
    }
)


class Sources:
    """Makes the listings of one tenant."""

    def __init__(self, directory: Directory, encoders: Encoders) -> None:
        self._directory = directory
        self._encoders = encoders
        self._shown_members: tuple[int, dict[str, list[object]]] = (-1, {})

    def of_set(self, entity_set: EntitySet) -> Listing:
        """All objects of an entity set."""
        directory, collection = self._directory, entity_set.collection
        computed = entity_set.rows
        depends = entity_set.depends or (collection,)

        def items() -> list[object]:
            if computed is not None:
                return list(computed(directory))
            ids: list[object] = directory.memo(
                f"{collection} ids", depends, lambda: list(directory.collection(collection))
            )
            return ids

        return Listing(
            route=entity_set.path,
            type=entity_set.type,
            items=items,
            context=entity_set.context,
            rules=entity_set.filter,
            collection=collection if computed is None else None,
            default_top=entity_set.default_top,
            max_top=entity_set.max_top,
            expand=entity_set.expand,
            units=entity_set.units,
            bucket=entity_set.bucket,
            license=entity_set.license,
            need_filter=entity_set.need_filter,
            key=entity_set.path,
            indexed=computed is None,
            depends=depends,
            undeclared=self._encoders.undeclared(collection, entity_set.type),
        )

    def of_navigation(self, call: Call, navigation: Navigation, obj: JsonObject) -> Listing:
        """What a navigation leads to from the object, as this caller may see it."""
        directory, request = self._directory, call.request
        caller: Caller = request.caller
        omit = navigation.omits_service_principals and request.path.startswith("/v1.0")
        hidden = (
            navigation.hides and is_hidden(obj) and not suffices(caller.permissions, HIDDEN_MEMBERS)
        )

        def items() -> list[object]:
            if hidden:
                return []
            if omit:
                return self._without_service_principals(navigation, obj)
            found = navigation.items(directory, obj)
            return found if isinstance(found, list) else list(found)

        return Listing(
            route=call.route,
            type=navigation.type,
            items=items,
            context=navigation.context,
            rules=navigation.filter,
            default_top=navigation.default_top,
            max_top=navigation.max_top,
            expand=frozenset(NAVIGATIONS.get(navigation.type, ())),
            units=navigation.units,
            key=(navigation.name, obj["id"], omit, hidden) if navigation.type == MIXED else None,
            bucket=navigation.bucket,
            license=navigation.license,
        )

    def _without_service_principals(self, navigation: Navigation, obj: JsonObject) -> list[object]:
        """What v1.0 shows of a group's members. Kept: looking through every list costs."""
        directory = self._directory
        version = directory.version(("group_members", "service_principals"))
        if self._shown_members[0] != version:
            self._shown_members = (version, {})
        known = self._shown_members[1].get(obj["id"])
        if known is None:
            known = list(navigation.items(directory, obj))
            service_principals = directory.collection("service_principals")
            if not service_principals.keys().isdisjoint(known):
                known = [each for each in known if each not in service_principals]
            self._shown_members[1][obj["id"]] = known
        return known

    def cast(self, listing: Listing, kind: str, obj: JsonObject) -> Listing:
        """The objects of one type among a mixed listing that hangs on `obj`.

        Raises GraphError 400 for a type that cannot be among them.
        """
        cast_set = BY_TYPE.get(kind)
        if listing.type != MIXED or cast_set is None or cast_set.type not in _CASTABLE:
            raise bad_request(
                f"Type 'microsoft.graph.{kind}' does not derive from the collection's type.",
                "BadRequest",
            )
        if (
            listing.route.endswith("/members")
            and "Unified" in (obj.get("groupTypes") or ())
            and kind != "user"
        ):
            raise unsupported_query(f"Members of a Microsoft 365 group are never {kind}s.")
        held = self._directory.collection(cast_set.collection)
        if kind == "directoryRole":
            held = roles.directory_roles(self._directory)
        items = listing.items
        listing.items = lambda: [each for each in items() if each in held]
        listing.collection = cast_set.collection if kind != "directoryRole" else None
        if kind == "directoryRole":
            names = items
            listing.items = lambda: [held[each] for each in names() if each in held]
        listing.type = kind
        listing.context = cast_set.context
        listing.cast = True
        return listing
