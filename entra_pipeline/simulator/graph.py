"""Microsoft Graph: from a path to the collection, object or function that it names.

Routing reads the declarations in entity_sets.py and navigations.py; answering is left to
listing.py (collections), functions.py (actions) and delta.py. Writes are the business of the folder
writes; a write that it does not know is refused here with 405.
"""

import re
import uuid
from collections.abc import Callable, Sequence
from urllib.parse import unquote

from entra_pipeline.simulator import functions, roles, schema
from entra_pipeline.simulator.clock import Clock
from entra_pipeline.simulator.delta import Deltas
from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.entity_sets import BY_PATH, BY_TYPE, DELETED_TYPES
from entra_pipeline.simulator.errors import (
    GraphError,
    bad_request,
    no_segment,
    not_found,
    unsupported_query,
)
from entra_pipeline.simulator.gates import Call, Gates, only
from entra_pipeline.simulator.identity import Caller, IdentityPlatform
from entra_pipeline.simulator.keys import GUID, by_key, by_keyed_segment
from entra_pipeline.simulator.listing import (
    Lister,
    Listing,
    shows_types,
)
from entra_pipeline.simulator.logs.answers import Log, Logs
from entra_pipeline.simulator.model import EntitySet, Navigation, Options
from entra_pipeline.simulator.navigations import NAVIGATIONS
from entra_pipeline.simulator.objects import Objects
from entra_pipeline.simulator.odata.filter import DIRECTORY
from entra_pipeline.simulator.odata.query import Query, parse_query
from entra_pipeline.simulator.permissions import (
    ANY_DIRECTORY_OBJECT,
    Acceptable,
)
from entra_pipeline.simulator.projection import MIXED, Encoders
from entra_pipeline.simulator.sources import Sources
from entra_pipeline.simulator.throttle import Throttle
from entra_pipeline.simulator.wire import JsonObject, Request, Response, encode_json

VERSIONS = frozenset({"v1.0", "beta"})
_KEYED = re.compile(r"^([^(]+)\((.*)\)$")
_CAST = "microsoft.graph."
_DELETED = ("directory", "deleteditems")
_LONGEST_PATH = max(len(path) for path in BY_PATH)
_DELTA_NAMES = frozenset({"delta", "delta()", "microsoft.graph.delta", "microsoft.graph.delta()"})


class Graph:
    """One tenant's Microsoft Graph."""

    def __init__(
        self,
        directory: Directory,
        clock: Clock,
        options: Options,
        identity: IdentityPlatform,
        throttle: Throttle,
        logs: dict[str, Log],
    ) -> None:
        self.directory = directory
        self.options = options
        self._gates = Gates(options, throttle)
        self._clock = clock
        self._identity = identity
        self.encoders = Encoders(directory)
        self._sources = Sources(directory, self.encoders)
        self._lister = Lister(directory, clock, options, self.encoders)
        self._objects = Objects(directory, options, self._gates, self.encoders)
        self._logs = Logs(logs, clock, options, self._gates, self.encoders)
        self.deltas = Deltas(directory, clock, options, self.encoders)
        self._throttle, self._feeds = throttle, logs
        self.gates = self._gates
        self.reader: Callable[[Request], Graph | None] | None = None
        """Who answers a read in this one's place; None from it for this one."""
        self.writer: Callable[[Call, Sequence[str]], Response | None] | None = None
        """Answers writes; None from it for a path that it does not know."""
        self.before: list[Callable[[], None]] = []
        """Called before every request: what happens by itself as time passes."""

    def beside(self, directory: Directory) -> "Graph":
        """The same Graph over another replica: what one gives out (pages, links) both know."""
        other = Graph(
            directory, self._clock, self.options, self._identity, self._throttle, self._feeds
        )
        other.deltas.share(self.deltas)
        other._lister.share(self._lister)
        return other

    def handle(self, request: Request) -> Response:
        """Answer a request; errors become responses, with ids and the cost header."""
        call = Call(request)
        try:
            request.caller = request.caller or self._identity.caller(request.headers)
            for happen in self.before:
                happen()
            response = self._answer(call)
        except GraphError as error:
            request_id = str(uuid.uuid4())
            response = error.response(
                self._clock.now().strftime("%Y-%m-%dT%H:%M:%S"),
                request_id,
                request.headers.get("client-request-id", request_id),
            )
            response.headers["request-id"] = request_id
        response.route = f"{request.method} /{call.route}"
        response.units = call.units
        if call.headers:
            response.headers.update(call.headers)
        return response

    # Routing

    def _answer(self, call: Call) -> Response:
        request = call.request
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        if parts[0] not in VERSIONS:
            raise bad_request(f"Invalid version: {parts[0]}.", "BadRequest")
        segments = parts[1:]
        if not segments:
            raise no_segment("")
        if segments[0].lower() == "me":
            segments = self._me(request, segments)
        if request.method != "GET" and self.writer is not None:
            written = self.writer(call, segments)
            if written is not None:
                return written
        other = self.reader(request) if self.reader is not None else None
        if other is not None:
            return other._answer(call)
        if request.method != "GET" and request.method != "POST":
            raise GraphError(405, "Request_BadRequest", "Specified HTTP method is not allowed.")
        lowered = tuple(segment.lower() for segment in segments)
        if lowered[0] == "directoryobjects":
            return self._directory_objects(call, segments[1:])
        if lowered[:2] == _DELETED:
            return self._deleted_items(call, segments[2:])
        for length in range(min(_LONGEST_PATH, len(lowered)), 0, -1):
            prefix, key = lowered[:length], None
            last = segments[length - 1]
            keyed = _KEYED.match(last) if "(" in last else None
            if keyed is not None and keyed.group(1).lower() not in _DELTA_NAMES:
                prefix = (*lowered[: length - 1], keyed.group(1).lower())
                key = keyed.group(2)
            entity_set = BY_PATH.get(prefix)
            if entity_set is not None:
                return self._in_set(call, entity_set, key, segments[length:])
        if lowered[0] == "approleassignments":
            raise bad_request("Direct queries to this resource type are not supported.")
        raise no_segment(segments[0])

    @staticmethod
    def _me(request: Request, segments: list[str]) -> list[str]:
        caller: Caller = request.caller
        if caller.user_id is None:
            raise bad_request(
                "/me request is only valid with delegated authentication flow.", "BadRequest"
            )
        return ["users", caller.user_id, *segments[1:]]

    def _in_set(
        self, call: Call, entity_set: EntitySet, key: str | None, rest: list[str]
    ) -> Response:
        if self.options.cloud in entity_set.absent:
            raise no_segment(entity_set.path.rpartition("/")[2])
        if entity_set.collection in self._logs:
            return self._logs.answer(call, entity_set, [key, *rest] if key else rest)
        call.route = entity_set.path
        request = call.request
        if key is None:
            if not rest:
                only(request, "GET")
                self._gates.allow(request, entity_set.permissions, entity_set.license)
                return self._list(call, self._sources.of_set(entity_set))
            if rest[0] == "$count" and len(rest) == 1:
                self._gates.allow(request, entity_set.permissions, entity_set.license)
                return self._count(call, self._sources.of_set(entity_set))
            if rest[0].lower() in _DELTA_NAMES and len(rest) == 1:
                return self._delta(call, entity_set)
            key, rest = rest[0], rest[1:]
            obj = by_key(self.directory, entity_set, key)
        else:
            obj = by_keyed_segment(self.directory, entity_set, key)
        call.route = f"{entity_set.path}/{{id}}"
        if obj is None or self._not_replicated(obj):
            # Who may not read the set must not learn what it holds.
            self._gates.allow(
                request, self._set_or_navigation(entity_set, rest), entity_set.license
            )
            self._gates.charge(call, parse_query(request.query), 1, None)
            raise not_found(key)
        return self._from_object(call, entity_set, entity_set.type, obj, rest)

    def _not_replicated(self, obj: JsonObject) -> bool:
        """Whether the object is too new for this replica to know it by its id."""
        lag = self.options.replication_lag_s
        born = self.directory.born.get(obj["id"]) if lag > 0 else None
        return born is not None and born + lag > self._clock.time()

    @staticmethod
    def _set_or_navigation(entity_set: EntitySet, rest: list[str]) -> Acceptable:
        navigation = _navigation(entity_set.type, rest)
        if navigation is not None and navigation[0].permissions is not None:
            return navigation[0].permissions
        return entity_set.permissions

    def _delta(self, call: Call, entity_set: EntitySet) -> Response:
        if not entity_set.delta or self.options.cloud in entity_set.delta_absent:
            raise no_segment("delta")
        call.route = f"{entity_set.path}/delta"
        only(call.request, "GET")
        self._gates.allow(call.request, entity_set.permissions, entity_set.license)
        query = parse_query(call.request.query)
        self._gates.charge(call, query, 1, None)
        return self.deltas.answer(call.request, query, entity_set)

    # From one object

    def _from_object(
        self,
        call: Call,
        entity_set: EntitySet,
        kind: str,
        obj: JsonObject,
        rest: list[str],
        *,
        context: str | None = None,
        odata_type: str | None = None,
    ) -> Response:
        request = call.request
        if not rest:
            only(request, "GET")
            self._gates.allow(request, entity_set.permissions, entity_set.license)
            query = parse_query(request.query)
            return self._objects.answer(
                call,
                query,
                kind,
                obj,
                context or entity_set.context,
                base_units=entity_set.single_units,
                expand=entity_set.expand,
                odata_type=odata_type,
                collection=entity_set.collection,
            )
        found = _navigation(kind, rest)
        if found is not None:
            return self._navigate(call, entity_set, obj, found[0], rest[found[1] :])
        action = functions.OBJECT_ACTIONS.get(rest[0].lower().removeprefix(_CAST))
        if action is not None and len(rest) == 1:
            only(request, "POST")
            call.route += f"/{rest[0]}"
            self._gates.allow(request, entity_set.permissions, entity_set.license)
            self._gates.charge(call, parse_query(request.query), action.units, None)
            return action.answer(self.directory, request, obj)
        if rest[0] in schema.properties(kind) and len(rest) == 1:
            call.route += f"/{rest[0]}"
            self._gates.allow(request, entity_set.permissions, entity_set.license)
            self._gates.charge(call, parse_query(request.query), 1, None)
            context_url = (
                f"{request.base}/v1.0/$metadata#{entity_set.path}('{obj['id']}')/{rest[0]}"
            )
            return Response(
                body=encode_json({"@odata.context": context_url, "value": obj.get(rest[0])})
            )
        raise no_segment(rest[0])

    def _navigate(
        self,
        call: Call,
        entity_set: EntitySet,
        obj: JsonObject,
        navigation: Navigation,
        rest: list[str],
    ) -> Response:
        request = call.request
        call.route += f"/{navigation.name}"
        if self.options.cloud in navigation.absent:
            raise no_segment(navigation.name.rpartition("/")[2])
        only(request, "GET")
        self._gates.allow(
            request, navigation.permissions or entity_set.permissions, navigation.license
        )
        query = parse_query(request.query)
        if navigation.single:
            return self._single(call, query, navigation, obj, rest)
        listing = self._sources.of_navigation(call, navigation, obj)
        if rest and rest[0].lower().startswith(_CAST):
            call.route += f"/{rest[0]}"
            listing = self._sources.cast(listing, rest[0][len(_CAST) :], obj)
            rest = rest[1:]
        if not rest:
            return self._list(call, listing)
        if rest == ["$count"]:
            return self._count(call, listing)
        if rest == ["$ref"] and navigation.type == MIXED:
            self._gates.charge(call, query, listing.units, listing.bucket)
            return self._lister.references(request, query, listing)
        if len(rest) == 1:
            return self._item_of_navigation(call, query, listing, rest[0])
        raise no_segment(rest[0])

    def _item_of_navigation(self, call: Call, query: Query, listing: Listing, key: str) -> Response:
        call.route += "/{id}"
        for item in listing.items():
            item_id = item if isinstance(item, str) else item.get("id")
            if item_id == key or (not isinstance(item, str) and item.get("name") == key):
                if isinstance(item, str):
                    return self._objects.of_any_kind(call, query, item)
                return self._objects.answer(
                    call, query, listing.type, item, listing.context, base_units=listing.units
                )
        self._gates.charge(call, query, 1, listing.bucket)
        raise not_found(key)

    def _single(
        self,
        call: Call,
        query: Query,
        navigation: Navigation,
        obj: JsonObject,
        rest: list[str],
    ) -> Response:
        items = navigation.items(self.directory, obj)
        if not items:
            self._gates.charge(call, query, navigation.units, None)
            raise not_found(navigation.name)
        if isinstance(items[0], str):
            if rest == ["$ref"]:
                self._gates.charge(call, query, navigation.units, None)
                link = f"{call.request.base}/v1.0/directoryObjects/{items[0]}"
                return Response(body=encode_json({"@odata.id": link}))
            return self._objects.of_any_kind(call, query, items[0])
        return self._objects.answer(
            call,
            query,
            navigation.type,
            items[0],
            navigation.context,
            base_units=navigation.units,
            expand=frozenset(NAVIGATIONS.get(navigation.type, ())),
        )

    # Directory objects of any kind

    def _directory_objects(self, call: Call, rest: list[str]) -> Response:
        request = call.request
        call.route = "directoryObjects"
        if not rest:
            raise unsupported_query("Listing directoryObjects is not supported; use delta.")
        name = rest[0].lower()
        if name in _DELTA_NAMES and len(rest) == 1:
            return self._delta(call, _ALL_OBJECTS)
        query = parse_query(request.query)
        if name.removeprefix(_CAST) in ("getbyids", "getbyids()") and len(rest) == 1:
            only(request, "POST")
            call.route = "directoryObjects/getByIds"
            self._gates.allow(request, ANY_DIRECTORY_OBJECT, "free")
            # The page says 5 units, 2 with $select: more than the usual reduction of one.
            self._gates.charge(call, Query(), 2 if query.select is not None else 5, None)
            caller: Caller = request.caller
            encoder = self.encoders.mixed(query.select, caller.hidden_kinds, shows_types(request))
            return functions.get_by_ids(self.directory, request, encoder.encode)
        call.route = "directoryObjects/{id}"
        if not GUID.match(rest[0]):
            raise bad_request(f"Invalid object identifier '{rest[0]}'.")
        found = roles.find(self.directory, rest[0].lower())
        if found is None:
            self._gates.allow(request, ANY_DIRECTORY_OBJECT, "free")
            self._gates.charge(call, query, 1, None)
            raise not_found(rest[0])
        kind, obj = found
        return self._from_object(
            call,
            BY_TYPE[kind],
            kind,
            obj,
            rest[1:],
            context="directoryObjects",
            odata_type=f"#microsoft.graph.{kind}",
        )

    def _deleted_items(self, call: Call, rest: list[str]) -> Response:
        call.route = "directory/deletedItems"
        request = call.request
        only(request, "GET")
        query = parse_query(request.query)
        deleted = self.directory.collection("deleted_items")
        if not rest:
            raise unsupported_query(
                "The type of the deleted items must be given: "
                "/directory/deletedItems/microsoft.graph.user."
            )
        if not rest[0].lower().startswith(_CAST):
            call.route += "/{id}"
            found = deleted.get(rest[0])
            self._gates.allow(request, ANY_DIRECTORY_OBJECT, "free")
            if found is None or len(rest) > 1:
                raise not_found(rest[0])
            kind = _kind_of_deleted(found)
            return self._objects.answer(
                call,
                query,
                kind,
                {key: value for key, value in found.items() if key != "@odata.type"},
                "directoryObjects",
                odata_type=f"#microsoft.graph.{kind}",
            )
        names = {kind.lower(): kind for kind in DELETED_TYPES}
        kind = names.get(rest[0][len(_CAST) :].lower(), "")
        if not kind:
            raise bad_request(f"'{rest[0]}' cannot be in deletedItems.", "BadRequest")
        self._gates.allow(request, DELETED_TYPES[kind], "free")
        call.route += f"/{_CAST}{kind}"

        def rows() -> list[JsonObject]:
            return [
                {key: value for key, value in obj.items() if key != "@odata.type"}
                for obj in deleted.values()
                if _kind_of_deleted(obj) == kind
            ]

        listing = Listing(
            route=call.route,
            type=kind,
            items=rows,
            context=BY_TYPE[kind].context,
            rules=DIRECTORY,
        )
        if rest[1:] == ["$count"]:
            return self._count(call, listing)
        if len(rest) > 1:
            raise no_segment(rest[1])
        if query.orderby is not None and not (
            query.count and "consistencylevel" in (request.headers)
        ):
            raise unsupported_query("Sorting deleted items needs an advanced query.")
        return self._list(call, listing)

    # Answering

    def _list(self, call: Call, listing: Listing) -> Response:
        query = parse_query(call.request.query)
        self._gates.charge(call, query, listing.units, self._lister.bucket(query, listing))
        return self._lister.answer(call.request, query, listing)

    def _count(self, call: Call, listing: Listing) -> Response:
        call.route += "/$count"
        query = parse_query(call.request.query)
        self._gates.charge(call, query, listing.units, listing.bucket)
        return self._lister.count(call.request, query, listing)


_ALL_OBJECTS = EntitySet(
    "directoryObjects", "directory_objects", MIXED, ANY_DIRECTORY_OBJECT, delta=True
)


def _navigation(kind: str, rest: list[str]) -> tuple[Navigation, int] | None:
    """The navigation that the next one or two segments name, and how many they are."""
    known = NAVIGATIONS.get(kind)
    if not known or not rest:
        return None
    found = known.get(rest[0].lower())
    if found is not None:
        return found, 1
    found = known.get("/".join(rest[:2]).lower())
    return (found, 2) if found is not None else None


def _kind_of_deleted(obj: JsonObject) -> str:
    return str(obj.get("@odata.type", "")).rpartition(".")[2]
