"""Answering /auditLogs: what may be asked, which window it means, pages and their tokens.

Behaviour: graph "List directoryAudits", "List signIns", "List provisioningObjectSummary". Newest
first unless sorted otherwise; 1000 events a page at most; what is older than the tenant's licence
keeps is gone. A page may be short or empty and still have a next link: after `_LOOKED_THROUGH`
events that a filter refused the rest is left to the next page.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from entra_pipeline.simulator.clock import Clock
from entra_pipeline.simulator.errors import GraphError, bad_request, not_found, unsupported_query
from entra_pipeline.simulator.gates import Call, Gates, only
from entra_pipeline.simulator.identity import Caller
from entra_pipeline.simulator.listing import shows_types
from entra_pipeline.simulator.logs.feed import Feed, Span
from entra_pipeline.simulator.logs.feed import ticks as as_ticks
from entra_pipeline.simulator.logs.schedule import DAY, ticks_of
from entra_pipeline.simulator.model import EntitySet, Options
from entra_pipeline.simulator.odata.filter import Filter, Predicate, compile_filter
from entra_pipeline.simulator.odata.paging import Cursors
from entra_pipeline.simulator.odata.query import Query, parse_query
from entra_pipeline.simulator.permissions import (
    CONDITIONAL_ACCESS,
    DIRECTORY_READ,
    Acceptable,
    suffices,
)
from entra_pipeline.simulator.projection import Encoders
from entra_pipeline.simulator.wire import JsonObject, Request, Response, decode_json, encode_json

_LOOKED_THROUGH = 50_000
"""Events a page may look through."""
_RETENTION_DAYS = {"free": 7, "p1": 30, "p2": 30}
_FOREVER = 1 << 62


@dataclass(frozen=True, slots=True)
class Log:
    """One log: its feed, the property that is its time, and the permissions it needs together."""

    feed: Feed
    time: str
    permissions: tuple[Acceptable, ...]


@dataclass(slots=True)
class _Walk:
    """One walk through a log; travels in its tokens."""

    log: Log
    span: Span
    ascending: bool
    top: int
    matches: Predicate | None
    encode: Callable[[JsonObject], bytes] | None
    policies: bool
    context: bytes
    tail: Sequence[bytes] = ()
    """Events that the next page gives again."""
    page: int = 0


class Logs:
    """Answers the activity logs of one tenant."""

    def __init__(
        self,
        logs: dict[str, Log],
        clock: Clock,
        options: Options,
        gates: Gates,
        encoders: Encoders,
    ) -> None:
        """`logs` by the collection of their entity set."""
        self._logs = logs
        self._clock = clock
        self._options = options
        self._gates = gates
        self._encoders = encoders
        self._cursors = Cursors(clock, options.page_token_life_s)

    def __contains__(self, collection: str) -> bool:
        return collection in self._logs

    def answer(self, call: Call, entity_set: EntitySet, rest: list[str]) -> Response:
        """The page, or the one event, that the request asks for. Raises GraphError."""
        request = call.request
        call.route = entity_set.path
        only(request, "GET")
        log = self._logs[entity_set.collection]
        caller: Caller = request.caller
        for acceptable in log.permissions:
            if not suffices(caller.permissions, acceptable):
                raise _missing(acceptable)
        self._gates.allow(request, entity_set.permissions, entity_set.license)
        if rest:
            call.route += "/{id}"
        query = parse_query(request.query)
        self._gates.charge(call, query, entity_set.units, entity_set.bucket)
        if rest:
            # Events are found by time, not by id.
            raise not_found(rest[0])
        if query.skiptoken is not None:
            walk: _Walk = self._cursors.resume(query.skiptoken, request.path).plan
        else:
            walk = self._begin(request, query, entity_set, log)
        return self._page(request, query, walk)

    # The beginning of a walk

    def _begin(self, request: Request, query: Query, entity_set: EntitySet, log: Log) -> _Walk:
        caller: Caller = request.caller
        for option in ("search", "skip", "deltatoken"):
            if getattr(query, option) is not None:
                raise unsupported_query(f"'${option}' is not supported on {entity_set.path}.")
        if query.expand:
            raise bad_request(f"Nothing can be expanded on {entity_set.path}.", "BadRequest")
        matches = self._filter(query, entity_set)
        encode = None
        if query.select is not None:
            encode = self._encoders.rows(
                entity_set.type, query.select, types=shows_types(request)
            ).encode
        first, last = self._window(matches, log)
        context = b""
        if shows_types(request):
            names = f"({','.join(query.select)})" if query.select else ""
            context = encode_json(
                f"{request.base}/{request.path.split('/', 2)[1]}/$metadata#{entity_set.path}{names}"
            )
        return _Walk(
            log=log,
            span=log.feed.span(first, last, as_ticks(self._clock.time())),
            ascending=_ascending(query, log),
            top=_top(query, entity_set),
            matches=None if matches is None or _is_window(matches, log) else matches.matches,
            encode=encode,
            policies=suffices(caller.permissions, CONDITIONAL_ACCESS),
            context=context,
        )

    @staticmethod
    def _filter(query: Query, entity_set: EntitySet) -> Filter | None:
        if query.filter is None or entity_set.filter is None:
            return None
        return compile_filter(query.filter, entity_set.type, entity_set.filter, frozenset())

    def _window(self, matches: Filter | None, log: Log) -> tuple[int, int]:
        """First and last tick that the filter allows and the tenant's licence still keeps."""
        kept = _RETENTION_DAYS[self._options.license] * DAY
        first, last = as_ticks(self._clock.time()) - kept, _FOREVER
        for name, operator, moment in matches.bounds if matches is not None else ():
            if name != log.time:
                continue
            at = ticks_of(moment)
            match operator:
                case "ge":
                    first = max(first, at)
                case "gt":
                    first = max(first, at + 1)
                case "le":
                    last = min(last, at)
                case "lt":
                    last = min(last, at - 1)
                case _:
                    first, last = max(first, at), min(last, at)
        return first, last

    # Pages

    def _page(self, request: Request, query: Query, walk: _Walk) -> Response:
        every = self._options.empty_page_every
        empty = every > 0 and walk.page % every == every - 1
        span = Span(*_fields(walk.span))
        rows = [] if empty else [*walk.tail, *self._gather(walk, span)]
        parts = [b"{"]
        if walk.context:
            parts += [b'"@odata.context":', walk.context, b","]
        if span:
            repeats = self._options.log_repeats
            following = _Walk(
                walk.log,
                span,
                walk.ascending,
                walk.top,
                walk.matches,
                walk.encode,
                walk.policies,
                walk.context,
                walk.tail if empty else rows[len(rows) - min(repeats, len(rows)) :],
                walk.page + 1,
            )
            token = self._cursors.issue(request.path, (), 0, walk.page + 1, following)
            link = f"{request.base}{request.path}?{query.link('$skiptoken', token)}"
            parts += [b'"@odata.nextLink":', encode_json(link), b","]
        if self._options.log_disorder:
            random.Random(walk.page).shuffle(rows)
        parts += [b'"value":[', b",".join(rows), b"]}"]
        return Response(body=b"".join(parts))

    def _gather(self, walk: _Walk, span: Span) -> list[bytes]:
        """The next events of the walk; takes them off the span."""
        rows: list[bytes] = []
        room = max(1, walk.top - len(walk.tail))
        looked = 0
        while span and len(rows) < room and looked < _LOOKED_THROUGH:
            wanted = room - len(rows)
            taken = walk.log.feed.take(
                span, wanted, ascending=walk.ascending, policies=walk.policies
            )
            looked += wanted
            if walk.matches is None and walk.encode is None:
                rows += taken
                continue
            for row in taken:
                event = decode_json(row)
                if walk.matches is None or walk.matches(event):
                    rows.append(row if walk.encode is None else walk.encode(event))
        return rows


def _fields(span: Span) -> tuple[int, int, int, int, int]:
    return span.first, span.end, span.recorded_first, span.recorded_end, span.now


def _is_window(matches: Filter, log: Log) -> bool:
    """Whether the filter is a window of time and nothing else."""
    return matches.bounds_only and all(name == log.time for name, _, _ in matches.bounds)


def _ascending(query: Query, log: Log) -> bool:
    """Graph sorts logs by their time alone."""
    if query.orderby is None:
        return False
    name, _, direction = query.orderby.strip().partition(" ")
    direction = direction.strip().lower()
    if name != log.time or direction not in ("", "asc", "desc"):
        raise unsupported_query(f"Sorting not supported: '{query.orderby}'; use '{log.time}'.")
    return direction != "desc"


def _top(query: Query, entity_set: EntitySet) -> int:
    largest = entity_set.max_top or entity_set.default_top
    if query.top is None:
        return entity_set.default_top
    if not 1 <= query.top <= largest:
        raise unsupported_query(
            f"Invalid page size specified: '{query.top}'. Must be between 1 and {largest} "
            "inclusive."
        )
    return query.top


def _missing(acceptable: Acceptable) -> GraphError:
    """403 of the reporting APIs without a permission."""
    needed = "Directory.Read.All" if acceptable is DIRECTORY_READ else "AuditLog.Read.All"
    return GraphError(
        403,
        "Authentication_MSGraphPermissionMissing",
        f"Calling principal does not have required MSGraph permissions {needed}",
    )
