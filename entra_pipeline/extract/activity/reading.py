"""One reading of the activity logs: windows of Graph's events in, events and spans committed.

Each window is committed when it is whole, and a large one in parts before: a reading that is
interrupted goes on where it was. Events may be read twice and are stored once (`lake.events`).
What is covered ends an overlap before the time of reading, so that the next reading asks for
these minutes again and finds what came late.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Final

import pyarrow as pa

from entra_pipeline.extract.activity import windows
from entra_pipeline.extract.activity.rows import EventRows
from entra_pipeline.extract.arrow import compute as pc
from entra_pipeline.extract.notes import RESTARTED, Notes
from entra_pipeline.extract.outcome import Verdict, verdict
from entra_pipeline.lake.events import Events
from entra_pipeline.lake.spans import Span, joined, missing
from entra_pipeline.lake.spans import since as since_moment
from entra_pipeline.msgraph import (
    SYSTEM,
    Clock,
    GraphClient,
    GraphError,
    Page,
    Service,
    TableCounts,
)
from entra_pipeline.msgraph.errors import (
    ConnectionFailedError,
    PageTokenExpiredError,
    ServerError,
    ThrottledError,
)
from entra_pipeline.settings import Settings
from entra_pipeline.tables import EVENTS, Status, Table, get

log = logging.getLogger(__name__)

PAGE: Final = "1000"
"""Largest `$top` of the logs. Source: https://learn.microsoft.com/graph/api/signin-list"""

CHUNK: Final = 25_000
"""Events that are held before they are written, whatever the window: bounds the memory."""

PARSING: Final = 2
"""Pages parsed at once, beside the one on its way: parsing costs more than fetching."""

ATTEMPTS: Final = 3
"""At one request: a smaller window is the better answer to what keeps failing."""

NARROWED: Final = "windows_narrowed"

_HOPELESS: Final = frozenset({"ClientClosed", "CertificateNotTrusted", "ProxyFailed"})


@dataclass(frozen=True)
class ActivityProgress:
    """Said after each window."""

    table: str
    window: Span
    until: datetime  # where this reading ends
    events: int  # read so far


@dataclass(frozen=True)
class Reading:
    """How the reading of one log ended.

    `inserted` and so on count events. `gaps`: spans that are not covered and lie between covered
    ones, or after the time asked for; what Microsoft no longer keeps stays a gap.
    """

    table: str
    status: Status
    reason: str | None = None
    permission: str | None = None
    inserted: int = 0
    replaced: int = 0
    repeated: int = 0
    windows: int = 0
    read: tuple[Span, ...] = ()  # what this reading asked for and got
    covered: tuple[Span, ...] = ()
    gaps: tuple[Span, ...] = ()
    counts: TableCounts = field(default_factory=TableCounts)
    duration_s: float = 0.0
    notes: dict[str, int] = field(default_factory=dict)


def client_for(settings: Settings, clock: Clock = SYSTEM) -> GraphClient:
    """A client that gives up on a request soon, as a smaller window may be had."""
    few = settings.model_copy(update={"max_attempts": min(settings.max_attempts, ATTEMPTS)})
    return GraphClient.from_settings(few, clock=clock)


def read_activity(
    settings: Settings,
    client: GraphClient,
    events: Events,
    *,
    sync_id: str,
    tables: Iterable[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    on_progress: Callable[[ActivityProgress], None] | None = None,
) -> dict[str, Reading]:
    """Bring the logs up to date, one after the other; how each ended.

    Without `since` it goes on from the first span covered, filling gaps, or takes all that
    Microsoft keeps; without `until` it goes to the present. What Graph answers never raises.
    KeyError for a name that is no table of events.
    """
    found: dict[str, Reading] = {}
    for table in [get(name, EVENTS) for name in (EVENTS if tables is None else tables)]:
        reader = _Reader(settings, client, events, table, sync_id, now, on_progress)
        found[table.name] = reader.run(since, until)
    return found


class _Reader:
    def __init__(
        self,
        settings: Settings,
        client: GraphClient,
        events: Events,
        table: Table,
        sync_id: str,
        now: Callable[[], datetime],
        on_progress: Callable[[ActivityProgress], None] | None,
    ) -> None:
        self._settings = settings
        self._client = client
        self._events = events
        self._table = table
        self._sync_id = sync_id
        self._now = now
        self._on_progress = on_progress
        self._rows = EventRows(table)
        self._notes = Notes()
        self._late = timedelta(minutes=settings.activity_overlap_minutes)
        self._seen: datetime | None = None
        self._spans: list[Span] = []
        self._windows = self._inserted = self._replaced = self._repeated = self._read = 0

    def run(self, since: datetime | None, until: datetime | None) -> Reading:
        started, now = time.monotonic(), self._now()
        before = self._client.meter.snapshot().get(self._table.name, TableCounts())
        outcome, whole = self._absent(), (now, now)
        try:
            covered = self._events.covered(self._table.name)
            first = since or (covered[0][0] if covered else now - windows.KEPT)
            whole = (first, min(until or now, now))
            if outcome is None:
                self._read_all(windows.to_read(whole, covered, now), whole[1])
                outcome = Verdict(Status.COMPLETE)
            self._events.note(
                self._table,
                outcome.status,
                sync_id=self._sync_id,
                as_of=now,
                reason=outcome.reason,
                permission=outcome.permission,
            )
        except Exception as error:
            if not isinstance(error, GraphError):
                log.debug("%s could not be read", self._table.name, exc_info=error)
            outcome = verdict(error, self._table, self._granted())
            self._note_failure(outcome, now)
        return self._reading(outcome, whole, since is not None, before, started)

    def _absent(self) -> Verdict | None:
        if self._settings.disable_audit_log_feed:
            return Verdict(Status.UNSUPPORTED, "switched off by ENTRA_DISABLE_AUDIT_LOG_FEED")
        cloud = self._settings.endpoints.cloud
        if cloud in self._table.absent_clouds:
            return Verdict(Status.UNSUPPORTED, f"the {cloud} cloud does not have this API")
        return None

    def _read_all(self, todo: list[Span], until: datetime) -> None:
        todo = self._still_kept(todo)
        pace = windows.Pace(timedelta(minutes=self._settings.activity_window_minutes))
        # Pages are parsed while the next is on its way, parts written while others are read.
        with (
            ThreadPoolExecutor(PARSING, "activity-parse") as parsing,
            ThreadPoolExecutor(1, "activity-commit") as writing,
        ):
            writer = _Writer(self, writing)
            while todo:
                window = windows.window(todo, pace.size)
                try:
                    pages = self._read_window(window, parsing, writer)
                except (
                    ThrottledError,
                    ServerError,
                    ConnectionFailedError,
                    PageTokenExpiredError,
                ) as error:
                    if error.code in _HOPELESS or not pace.trouble():
                        raise
                    self._notes.add(NARROWED)
                    log.info("%s: %s; a smaller window is tried", self._table.name, error)
                    continue
                pace.read(pages)
                self._windows += 1
                self._spans = joined([*self._spans, window])
                todo = since_moment(window[1], todo)
                self._tell(window, until)
            writer.settle(0)

    def _still_kept(self, todo: list[Span]) -> list[Span]:
        """What is to be read without the days of which Graph has nothing any more.

        Seven days are kept for everybody, thirty for some. One question finds an event from before
        the first window, which proves that all later ones are kept; another one, when there is
        none, spares a window for each day that is gone.
        """
        now = self._now()
        certain, oldest = now - windows.KEPT_BY_ALL, now - windows.KEPT
        if not todo or todo[0][0] >= certain:
            return todo
        start, end = todo[0][0], min(certain, todo[-1][1])
        try:
            if oldest < start and (page := next(self._pages((oldest, start), top="1"), None)):
                times = self._rows.page(page.body, Notes()).column(self._table.time)
                if len(times):
                    self._seen = pc.min(times).as_py()
                    return todo
            page = next(self._pages((start, end), top="1"), None)
        except (ThrottledError, ServerError, ConnectionFailedError) as error:
            if error.code in _HOPELESS:
                raise
            return todo
        if page is None or page.next_link or not page.is_empty:
            return todo
        return since_moment(end, todo)

    def _read_window(self, window: Span, parsing: ThreadPoolExecutor, writer: _Writer) -> int:
        """Read one window and hand its events over; how many pages it had."""
        begun = self._now()
        oldest = self._seen
        pending: deque[Future[pa.RecordBatch]] = deque()
        held: list[pa.RecordBatch] = []
        pages = generation = 0

        def settle(left: int) -> None:
            nonlocal oldest
            while len(pending) > left:
                batch = pending.popleft().result()
                if batch.num_rows:
                    held.append(batch)
                    first = pc.min(batch.column(self._table.time)).as_py()
                    oldest = first if oldest is None else min(oldest, first)
            if sum(batch.num_rows for batch in held) >= CHUNK:
                writer.put(held, None, begun)
                held.clear()

        try:
            for page in self._pages(window):
                pages += 1
                if page.generation != generation:
                    # The first page comes again. What was read so far is of these events too.
                    generation = page.generation
                    self._notes.add(RESTARTED)
                pending.append(parsing.submit(self._rows.page, page.body, self._notes))
                settle(PARSING)
            settle(0)
        finally:
            for future in pending:
                future.cancel()
        self._seen = oldest
        claim = windows.claim(window, begun=begun, ended=self._now(), seen=oldest, late=self._late)
        writer.put(held, claim, begun)
        return pages

    def _pages(self, window: Span, top: str = PAGE) -> Iterator[Page]:
        start, end = (_text(moment) for moment in window)
        # Only `ge` and `le` are documented, so both ends belong to the window; an event that is
        # exactly there comes twice.
        span = f"{self._property} ge {start} and {self._property} le {end}"
        return self._client.pages(
            self._table.path,
            {"$filter": span, "$top": top},
            table=self._table.name,
            service=Service.REPORTS,
        )

    @property
    def _property(self) -> str:
        return self._table.column(self._table.time).graph or ""

    def commit(self, batches: list[pa.RecordBatch], claim: Span | None, as_of: datetime) -> None:
        """Write events, and with the last part of a window what is known to be whole."""
        done = self._events.commit(
            self._table,
            pa.Table.from_batches(batches, schema=self._table.schema()),
            sync_id=self._sync_id,
            as_of=as_of,
            covers=claim,
        )
        if done is not None:
            self._inserted += done.inserted
            self._replaced += done.replaced
            self._repeated += done.repeated
            self._read += done.inserted + done.replaced + done.repeated

    def _note_failure(self, outcome: Verdict, now: datetime) -> None:
        try:
            self._events.note(
                self._table,
                outcome.status,
                sync_id=self._sync_id,
                as_of=now,
                reason=outcome.reason,
                permission=outcome.permission,
            )
        except Exception as error:
            log.warning("%s: how it ended cannot be kept (%s)", self._table.name, error)

    def _reading(
        self,
        outcome: Verdict,
        whole: Span,
        asked: bool,
        before: TableCounts,
        started: float,
    ) -> Reading:
        try:
            covered = tuple(self._events.covered(self._table.name))
        except Exception:
            covered = ()
        start = whole[0] if asked or not covered else covered[0][0]
        # The last minutes are no gap: they are read again next time.
        gaps = missing((start, whole[1] - self._late), covered) if covered or asked else []
        after = self._client.meter.snapshot().get(self._table.name, TableCounts())
        level = logging.INFO if outcome.status is Status.COMPLETE else logging.WARNING
        reason = f": {outcome.reason}" if outcome.reason else ""
        log.log(level, "%s: %s%s", self._table.name, outcome.status, reason)
        return Reading(
            table=self._table.name,
            status=outcome.status,
            reason=outcome.reason,
            permission=outcome.permission,
            inserted=self._inserted,
            replaced=self._replaced,
            repeated=self._repeated,
            windows=self._windows,
            read=tuple(self._spans),
            covered=covered,
            gaps=tuple(gaps),
            counts=TableCounts(
                *(getattr(after, f.name) - getattr(before, f.name) for f in fields(TableCounts))
            ),
            duration_s=time.monotonic() - started,
            notes=self._notes.counts(),
        )

    def _granted(self) -> frozenset[str]:
        try:
            return self._client.token_claims().permissions
        except GraphError:
            return frozenset()

    def _tell(self, window: Span, until: datetime) -> None:
        if self._on_progress is not None:
            self._on_progress(ActivityProgress(self._table.name, window, until, self._read))


class _Writer:
    """Commits in a thread, one at a time, while the next events are read."""

    def __init__(self, reader: _Reader, thread: ThreadPoolExecutor) -> None:
        self._reader = reader
        self._thread = thread
        self._pending: deque[Future[None]] = deque()

    def put(self, batches: list[pa.RecordBatch], claim: Span | None, as_of: datetime) -> None:
        """Have it written. Raises what an earlier one met."""
        self.settle(0)
        self._pending.append(self._thread.submit(self._reader.commit, [*batches], claim, as_of))

    def settle(self, left: int) -> None:
        """Wait until only so many are left."""
        while len(self._pending) > left:
            self._pending.popleft().result()


def _text(moment: datetime) -> str:
    text = moment.astimezone(UTC).isoformat(timespec="microseconds")
    return text.replace(".000000", "").replace("+00:00", "Z")
