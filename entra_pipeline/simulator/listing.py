"""Answering a collection: options checked, rows filtered and sorted, pages cut and encoded.

A `Listing` says what the collection is (routing.py makes it); this module says what Graph does
with the query options on it.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from entra_pipeline.simulator import roles
from entra_pipeline.simulator.clock import Clock
from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.errors import GraphError, bad_request, unsupported_query
from entra_pipeline.simulator.identity import Caller
from entra_pipeline.simulator.model import Item, License, Options
from entra_pipeline.simulator.odata.filter import Filter, Rules, compile_filter
from entra_pipeline.simulator.odata.ordering import compile_order, compile_search
from entra_pipeline.simulator.odata.paging import Cursors
from entra_pipeline.simulator.odata.query import Query
from entra_pipeline.simulator.permissions import AUDIT, suffices
from entra_pipeline.simulator.projection import MIXED, Encoder, Encoders, StoredEncoder
from entra_pipeline.simulator.wire import JsonObject, Request, Response, encode_json

_CACHED_BYTES = 512 * 1024 * 1024
_WORTH_KEEPING = 20
"""Rows from which on a page is kept."""
_MIXED_SEARCHABLE = frozenset({"displayName", "mail", "userPrincipalName", "description"})
_HOLDER = "principalId"
"""Whose assignments are asked for, one principal a request, from among everybody's."""
SIGN_IN_ACTIVITY_PAGE = 500
"""Rows a page when signInActivity is selected (graph "List users")."""


@dataclass(slots=True)
class Listing:
    """A collection as routing found it, before its query options are read.

    `items` gives ids (of `collection`, or of any kind when `type` is directoryObject) or rows.
    """

    route: str
    type: str
    items: Callable[[], Sequence[Item]]
    context: str
    rules: Rules | None
    collection: str | None = None
    default_top: int = 100
    max_top: int | None = 999
    expand: frozenset[str] = frozenset()
    units: int = 1
    bucket: str | None = None
    license: License = "free"
    need_filter: frozenset[str] = frozenset()
    odata_type: str | None = None
    key: object = None
    """Names the list for the page cache; None if its pages are not worth keeping."""
    indexed: bool = False
    """All objects of `collection`, so that one of them can be found by its id."""
    depends: tuple[str, ...] = ()
    cast: bool = False
    undeclared: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Plan:
    """How the pages of one walk are made."""

    listing: Listing
    encoder: Encoder
    encoder_key: object
    top: int
    context: bytes
    advanced: bool
    filtered: bool


class PageCache:
    """Encoded pages, within a budget of bytes; the ones not used for longest go first."""

    def __init__(self) -> None:
        self._pages: OrderedDict[object, tuple[int, bytes]] = OrderedDict()
        self._size = 0

    def get(self, key: object, version: int) -> bytes | None:
        """The page, if it is still true."""
        held = self._pages.get(key)
        if held is None or held[0] != version:
            return None
        self._pages.move_to_end(key)
        return held[1]

    def put(self, key: object, version: int, page: bytes) -> None:
        """Keep a page."""
        old = self._pages.pop(key, None)
        if old is not None:
            self._size -= len(old[1])
        self._pages[key] = (version, page)
        self._size += len(page)
        while self._size > _CACHED_BYTES:
            self._size -= len(self._pages.popitem(last=False)[1][1])


class Lister:
    """Answers listings of one tenant."""

    def __init__(
        self, directory: Directory, clock: Clock, options: Options, encoders: Encoders
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._options = options
        self._encoders = encoders
        self._cursors = Cursors(clock, options.page_token_life_s)
        self._pages = PageCache()

    def share(self, other: "Lister") -> None:
        """Know the page tokens of another."""
        self._cursors = other._cursors

    # One page

    def answer(self, request: Request, query: Query, listing: Listing) -> Response:
        """The page that the request asks for. Raises GraphError."""
        if query.skiptoken is not None:
            cursor = self._cursors.resume(query.skiptoken, request.path)
            plan: _Plan = cursor.plan
            if plan.advanced and not is_eventual(request):
                # Headers are not part of a next link: the client must send them again.
                raise unsupported_query(
                    "Request with $search or advanced $filter needs the "
                    "ConsistencyLevel header on every page."
                )
            return self._page(request, query, plan, cursor.items, cursor.position, cursor.page)
        plan, matches = self._plan(request, query, listing)
        items = self._rows(listing, query, matches)
        count = len(items) if query.count and is_eventual(request) and counts(listing) else None
        return self._page(request, query, plan, items, 0, 0, count)

    def count(self, request: Request, query: Query, listing: Listing) -> Response:
        """The `$count` segment: a bare number."""
        if not counts(listing) or not is_eventual(request):
            raise bad_request("$count is not currently supported.")
        matches = self._filter(listing, query, advanced=True)
        number = len(self._rows(listing, query, matches))
        return Response(body=str(number).encode(), content_type="text/plain")

    def references(self, request: Request, query: Query, listing: Listing) -> Response:
        """The `$ref` segment: links instead of objects."""
        items = listing.items()
        rows = [
            {"@odata.id": f"{request.base}/v1.0/directoryObjects/{_id(each)}"} for each in items
        ]
        context = f"{request.base}/v1.0/$metadata#Collection($ref)"
        return Response(body=encode_json({"@odata.context": context, "value": rows}))

    def _page(
        self,
        request: Request,
        query: Query,
        plan: _Plan,
        items: Sequence[Item],
        position: int,
        page: int,
        count: int | None = None,
    ) -> Response:
        every = self._options.empty_page_every
        empty = every > 0 and page % every == every - 1 and position < len(items)
        end = position if empty else min(position + plan.top, len(items))
        value = b"" if empty else self._encode(plan, items, position, end, query)
        parts = [b"{"]
        if plan.context:
            parts += [
                b'"@odata.context":"',
                _escaped(request.base),
                b"/",
                _escaped(_version(request)),
                plan.context,
                b'",',
            ]
        if count is not None:
            parts.append(b'"@odata.count":%d,' % count)
        if end < len(items):
            token = self._cursors.issue(request.path, items, end, page + 1, plan)
            link = f"{request.base}{request.path}?{query.link('$skiptoken', token)}"
            parts += [b'"@odata.nextLink":', encode_json(link), b","]
        parts += [b'"value":[', value, b"]}"]
        return Response(body=b"".join(parts))

    def _encode(
        self, plan: _Plan, items: Sequence[Item], start: int, end: int, query: Query
    ) -> bytes:
        listing = plan.listing
        if plan.filtered or end - start < _WORTH_KEEPING or listing.key is None:
            return plan.encoder.encode_many(items[start:end])
        key = (listing.key, plan.encoder_key, start, end, len(items))
        simple = not query.expand and listing.type != MIXED
        version = self._directory.version(listing.depends) if simple else self._directory.changes
        known = self._pages.get(key, version)
        if known is None:
            known = plan.encoder.encode_many(items[start:end])
            self._pages.put(key, version, known)
        return known

    # What the options mean

    def _plan(
        self, request: Request, query: Query, listing: Listing
    ) -> tuple[_Plan, Filter | None]:
        caller: Caller = request.caller
        eventual = is_eventual(request)
        advanced = eventual and query.count
        matches = self._filter(listing, query, advanced=advanced)
        uses_advanced = matches is not None and matches.advanced
        if query.skip is not None:
            raise unsupported_query("'$skip' is not supported by the service.")
        if query.search is not None:
            if not eventual:
                raise unsupported_query(
                    "Request with $search query parameter only works through MSGraph with a "
                    "special request header: 'ConsistencyLevel: eventual'"
                )
            uses_advanced = True
        if query.orderby is not None and (query.filter is not None or listing.type == MIXED):
            if not advanced:
                raise unsupported_query("Sorting not supported for current query.")
            uses_advanced = True
        if listing.cast and (query.filter or query.search or query.orderby or query.count):
            if not advanced and query.search is None:
                raise unsupported_query()
            uses_advanced = True
        if uses_advanced and query.expand:
            raise unsupported_query("$expand cannot be combined with an advanced query.")
        top = self._top(query, listing)
        wants_activity = listing.type == "user" and (
            "signInActivity" in (query.select or ())
            or (matches is not None and "signInActivity" in matches.properties)
        )
        if wants_activity:
            self._check_sign_in_activity(caller, matches)
            top = min(top, SIGN_IN_ACTIVITY_PAGE)
        types = shows_types(request)
        key = (query.select, query.expand, types, caller.hidden_kinds)
        plan = _Plan(
            listing=listing,
            encoder=self.encoder(query, listing, caller, types),
            encoder_key=key,
            top=top,
            context=_context(listing, query) if types else b"",
            advanced=uses_advanced,
            filtered=query.filter is not None
            or query.search is not None
            or query.orderby is not None,
        )
        return plan, matches

    def bucket(self, query: Query, listing: Listing) -> str | None:
        """The throttling class that the request falls in, before anything is checked."""
        if listing.type == "user" and (
            "signInActivity" in (query.select or ()) or "signInActivity" in (query.filter or "")
        ):
            return "sign_in_activity"
        if "keyCredentials" in (query.select or ()):
            return "key_credentials"
        return listing.bucket

    def _check_sign_in_activity(self, caller: Caller, matches: Filter | None) -> None:
        check_sign_in_activity(caller, self._options)
        if (
            matches is not None
            and matches.properties != {"signInActivity"}
            and ("signInActivity" in matches.properties)
        ):
            raise unsupported_query("Filter not supported with signInActivity.")

    @staticmethod
    def _top(query: Query, listing: Listing) -> int:
        if listing.max_top is None:
            return 1_000_000
        if query.top is None:
            return listing.default_top
        if not 1 <= query.top <= listing.max_top:
            raise unsupported_query(
                f"Invalid page size specified: '{query.top}'. Must be between 1 and "
                f"{listing.max_top} inclusive."
            )
        return query.top

    def _filter(self, listing: Listing, query: Query, *, advanced: bool) -> Filter | None:
        matches: Filter | None = None
        if query.filter is not None:
            if listing.rules is None:
                raise unsupported_query("$filter is not supported here.")
            type_name, undeclared = listing.type, listing.undeclared
            if type_name == MIXED:
                undeclared |= _MIXED_SEARCHABLE
            matches = compile_filter(query.filter, type_name, listing.rules, undeclared)
            if (matches.advanced or listing.type == MIXED) and not advanced:
                raise unsupported_query(
                    "Operator or property needs an advanced query: header 'ConsistencyLevel: "
                    "eventual' and $count=true."
                )
        if listing.need_filter and not (
            matches is not None and listing.need_filter & matches.equalities.keys()
        ):
            names = " or ".join(sorted(listing.need_filter))
            raise GraphError(400, "MissingProvider", f"A $filter on {names} is required.")
        return matches

    def _rows(self, listing: Listing, query: Query, matches: Filter | None) -> Sequence[Item]:
        if matches is None and query.search is None and query.orderby is None:
            return listing.items()
        rows = self._candidates(listing, matches)
        if matches is not None:
            wanted = matches.matches
            rows = [pair for pair in rows if wanted(pair[1])]
        if query.search is not None:
            if listing.rules is None or not listing.rules.directory:
                raise unsupported_query("$search is not supported here.")
            found = compile_search(query.search, "group" if listing.type == MIXED else listing.type)
            rows = [pair for pair in rows if found(pair[1])]
        if query.orderby is not None:
            if listing.rules is None:
                raise unsupported_query("$orderby is not supported here.")
            _, descending, sort_key = compile_order(
                query.orderby, "group" if listing.type == MIXED else listing.type
            )
            rows = sorted(rows, key=lambda pair: sort_key(pair[1]), reverse=descending)
        return [item for item, _ in rows]

    def _candidates(
        self, listing: Listing, matches: Filter | None
    ) -> list[tuple[Item, JsonObject]]:
        """Items with their objects, narrowed by an index where the filter allows it."""
        equalities = matches.equalities if matches is not None else {}
        for name in listing.need_filter & equalities.keys():
            if listing.collection is not None:
                rows = self._directory.grouped(listing.collection, name)
                return [(row["id"], row) for row in rows.get(equalities[name], ())]
        if "id" in equalities and listing.collection is not None and listing.indexed:
            found = self._directory.collection(listing.collection).get(equalities["id"])
            return [(equalities["id"], found)] if found is not None else []
        principal = equalities.get(_HOLDER)
        # Ids are stored in lower case; one that is not is compared with each.
        if principal and principal == principal.lower() and listing.indexed and listing.collection:
            rows = self._directory.grouped(listing.collection, _HOLDER)
            return [(row["id"], row) for row in rows.get(principal, ())]
        pairs: list[tuple[Item, JsonObject]] = []
        for item in self._items(listing, matches):
            found = self.resolve(item, listing.collection)
            if found is not None:
                pairs.append((item, found))
        return pairs

    def _items(self, listing: Listing, matches: Filter | None) -> Sequence[Item]:
        """All items, or those named one by one: a few of very many are not looked for in all."""
        named = matches.memberships.get("id") if matches is not None else None
        if named is not None and listing.collection is not None and listing.indexed:
            return named
        return listing.items()

    def resolve(self, item: Item, collection: str | None) -> JsonObject | None:
        """The object behind an item; None if it has gone."""
        if not isinstance(item, str):
            row: JsonObject = item
            return row
        if collection is not None:
            return self._directory.collection(collection).get(item)
        found = roles.find(self._directory, item)
        return found[1] if found is not None else None

    # Encoding

    def encoder(self, query: Query, listing: Listing, caller: Caller, types: bool) -> Encoder:
        """What turns the listing's items into JSON. Raises GraphError 400."""
        check_expand(query, listing.expand, listing.type)
        if listing.type == MIXED:
            return self._encoders.mixed(query.select, caller.hidden_kinds, types)
        projector = self._encoders.rows(
            listing.type,
            query.select,
            undeclared=listing.undeclared,
            odata_type=listing.odata_type,
            types=types,
        )
        expanding = None
        if query.expand:
            expanding = self._encoders.expanding(
                projector.encode,
                listing.type,
                query.expand[0],
                granted=caller.permissions,
                hidden=caller.hidden_kinds,
                types=types,
            )
        collection = listing.collection
        return StoredEncoder(
            lambda: self._directory.collection(collection) if collection else {},
            projector,
            expanding,
        )


def check_sign_in_activity(caller: Caller, options: Options) -> None:
    """signInActivity needs a permission of its own and a premium licence."""
    if not suffices(caller.permissions, AUDIT):
        raise GraphError(
            403,
            "Authentication_MSGraphPermissionMissing",
            "Calling principal does not have required MSGraph permissions AuditLog.Read.All",
        )
    if options.license == "free":
        raise not_premium()


def not_premium() -> GraphError:
    """403 of the reporting APIs in a tenant without Entra ID P1 or P2."""
    return GraphError(
        403,
        "Authentication_RequestFromNonPremiumTenantOrB2CTenant",
        "Neither tenant is B2C or tenant doesn't have premium license",
    )


def check_expand(query: Query, allowed: frozenset[str], type_name: str) -> None:
    """One expansion a request, and only of what the collection can expand."""
    if not query.expand:
        return
    if len(query.expand) > 1:
        raise bad_request("Only one $expand is supported in a request.", "BadRequest")
    name = query.expand[0].navigation
    if name.lower() not in allowed:
        raise bad_request(
            f"Parsing OData Select and Expand failed: Could not find a property named '{name}' "
            f"on type 'microsoft.graph.{type_name}', or it cannot be expanded.",
            "BadRequest",
        )


def is_eventual(request: Request) -> bool:
    """Whether the request carries `ConsistencyLevel: eventual`."""
    return request.headers.get("consistencylevel", "").lower() == "eventual"


def shows_types(request: Request) -> bool:
    """Whether contexts and types are wanted: all but `odata.metadata=none`."""
    return "odata.metadata=none" not in request.headers.get("accept", "")


def counts(listing: Listing) -> bool:
    """Whether the collection can be counted."""
    return listing.rules is not None and listing.rules.directory


def _context(listing: Listing, query: Query) -> bytes:
    text = f"/$metadata#{listing.context}"
    names = list(query.select or ())
    names += [f"{each.navigation}({','.join(each.select or ())})" for each in query.expand]
    if names:
        text += f"({','.join(names)})"
    return _escaped(text)


def _escaped(text: str) -> bytes:
    return encode_json(text)[1:-1]


def _version(request: Request) -> str:
    return request.path.split("/", 2)[1]


def _id(item: Item) -> str:
    return item if isinstance(item, str) else str(item["id"])
