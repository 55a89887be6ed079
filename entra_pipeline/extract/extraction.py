"""One run of the readers: Graph's pages in, committed tables and their statuses out.

Here: which readers run for the tables asked for, their threads, the commit of each table as soon
as it is whole, and its status in the books. Not here: how any table is read (`readers`), and
orchestration (Dagster's assets wait for `result`).
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum

import pyarrow as pa

from entra_pipeline.extract import memory
from entra_pipeline.extract.asking import Asking
from entra_pipeline.extract.facts import Facts
from entra_pipeline.extract.feeds import Feeds
from entra_pipeline.extract.hints import Hinted
from entra_pipeline.extract.job import Amendment, Job, Partial, Reader
from entra_pipeline.extract.notes import DUPLICATES, Notes
from entra_pipeline.extract.outcome import Verdict, suspicion, verdict
from entra_pipeline.extract.readers import READERS
from entra_pipeline.extract.source import Source
from entra_pipeline.extract.turns import CancelledError, Turns
from entra_pipeline.lake import Books, Commit, CommitInfo, Lake, TableStatus
from entra_pipeline.msgraph import GraphClient, GraphError, TableCounts
from entra_pipeline.settings import Settings
from entra_pipeline.tables import Status, get

log = logging.getLogger(__name__)

# Tables of no more rows are written with the few changes of the others, when all were asked for.
_FEW_ROWS = 10_000


class Phase(StrEnum):
    """How far a table is."""

    READING = "reading"
    COMMITTING = "committing"
    DONE = "done"


@dataclass(frozen=True)
class Progress:
    """Said whenever something happened to a table.

    `rows`: read so far, or when done, published; `expected`: how many Graph counts, where known.
    """

    table: str
    phase: Phase
    rows: int = 0
    expected: int | None = None
    status: Status | None = None


def extractable() -> tuple[str, ...]:
    """The names of all tables that readers fill, in the order of the readers."""
    return tuple(name for reader in READERS for name in reader.tables)


class Extraction:
    """The readers for some tables, running concurrently in threads.

    Use as a context manager, or `start` and finally `close`. `full`: read every table whole, also
    those that could be brought up to date by what changed.
    """

    def __init__(
        self,
        settings: Settings,
        client: GraphClient,
        lake: Lake,
        books: Books,
        sync_id: str,
        tables: Sequence[str],
        *,
        full: bool = False,
        accept_shrink: frozenset[str] = frozenset(),
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        known = extractable()
        if unknown := sorted(set(tables) - set(known)):
            raise ValueError(f"no reader fills {', '.join(unknown)}; readers fill {known}")
        memory.collect_seldom()
        memory.allocate_steadily()
        self._settings = settings
        self._client = client
        self._lake = lake
        self._books = books
        self._sync_id = sync_id
        self._full = full
        self._wanted = frozenset(tables)
        self._accept_shrink = accept_shrink
        self._on_progress = on_progress
        self._results: dict[str, Future[TableStatus]] = {name: Future() for name in tables}
        self._settling = threading.Lock()
        self._telling = threading.Lock()
        self._readers = _chosen(self._wanted, settings)
        self._notes = {name: Notes() for name in known}
        self._facts = Facts(fact for reader in self._readers for fact in reader.gives)
        # The client may have served others before.
        self._spent_before = client.meter.snapshot()
        self._begun: dict[str, tuple[float, datetime]] = {}
        self._threads: list[threading.Thread] = []
        # Those that have begun: an interrupt may come while threads are being started.
        self._running: list[threading.Thread] = []
        self._gate = threading.Lock()
        self._closed = False
        self._turns = Turns(settings.concurrency)
        # Parsing leaves the interpreter's lock; more threads than cores only hold more pages.
        self._converters = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "extract-parse")
        # One large table is sorted and written at a time: two at once need twice the memory.
        self._committer = ThreadPoolExecutor(1, "extract-commit")
        self._asking = Asking()
        # An amendment goes through its table piece by piece, and much of that in Arrow.
        self._amender = Turns(min(2, os.cpu_count() or 1), "extract-amend", gate=self._asking.wait)
        self._source = Source(client, self._turns, self._converters)
        hints = Hinted(settings, client)
        self._feeds = Feeds(settings, lake, self._source, tables, hints.read, full=full)

    def __enter__(self) -> "Extraction":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Let the readers run. A second call does nothing."""
        if self._threads:
            return
        self._threads = [
            threading.Thread(target=self._run, args=(reader,), name=f"extract-{reader.name}")
            for reader in self._readers
        ]
        for thread in self._threads:
            thread.start()

    def result(self, table: str) -> TableStatus:
        """The status of one table, waiting until it is settled.

        Never raises for what Graph answers: the status says it. KeyError for a table that this
        extraction was not asked for.
        """
        return self._results[table].result()

    def close(self) -> None:
        """Stop what still runs and wait for the threads; unsettled tables become failed.

        Requests under way are waited for, their pauses for throttling included: close the client
        first where that may take too long.
        """
        if not self._settled():
            self._turns.cancel()
            self._facts.refuse_all(CancelledError())
            self._asking.hurry()
        with self._gate:
            self._closed = True
        for thread in self._running:
            thread.join()
        for name in self._wanted:
            self._fail(name, CancelledError())
        self._turns.close()
        self._converters.shutdown(wait=True)
        self._committer.shutdown(wait=True)
        self._amender.close()

    # ---- in a reader's thread ----------------------------------------------------------------

    def _run(self, reader: Reader) -> None:
        with self._gate:
            if self._closed:
                return
            self._running.append(threading.current_thread())
        for name in reader.tables:
            self._begun[name] = (time.monotonic(), datetime.now(UTC))
        job = self._job(reader)
        error: BaseException
        try:
            absent = self._absent(reader)
            for name in absent:
                self._settle(name, absent[name])
            if len(absent) < len(reader.tables):
                with self._asking.begun():
                    reader.read(job)
            error = RuntimeError("the reader ended without publishing the table")
        except Exception as caught:
            error = caught
            if not isinstance(caught, GraphError | CancelledError):
                log.debug("reader %s failed", reader.name, exc_info=caught)
        for name in reader.tables:
            if name in self._wanted:
                self._fail(name, error)
        self._facts.refuse(reader.gives, error)

    def _job(self, reader: Reader) -> Job:
        label = next((name for name in reader.tables if name in self._wanted), None)
        if label is None:
            # It runs for another reader's sake; that one's table pays.
            others = (
                other for other in self._readers if reader.name in _needs(other, self._settings)
            )
            paying = (name for other in others for name in other.tables if name in self._wanted)
            label = next(paying, next(iter(self._wanted)))
        return Job(
            reader,
            settings=self._settings,
            source=self._source,
            lake=self._lake,
            facts=self._facts,
            feeds=self._feeds,
            wanted=self._wanted,
            notes=self._notes,
            label=label,
            publish=self._commit,
            amend=self._amend,
            fail=self._fail,
            doubt=self._doubt,
            tell=lambda name, rows, expected: self._tell(
                Progress(name, Phase.READING, rows, expected)
            ),
        )

    def _absent(self, reader: Reader) -> dict[str, Verdict]:
        cloud = self._settings.endpoints.cloud
        return {
            name: Verdict(Status.UNSUPPORTED, f"the {cloud} cloud does not have this API")
            for name in reader.tables
            if name in self._wanted and cloud in get(name).absent_clouds
        }

    def _commit(
        self,
        name: str,
        rows: pa.Table,
        partial: Partial | None,
        cursor: str | None,
    ) -> None:
        if self._results[name].done():
            return
        try:
            self._turns.check()
            table = get(name)
            previous = self._lake.info(name)
            if (reason := self._doubt(name, rows.num_rows)) is not None:
                self._settle(name, Verdict(Status.QUARANTINED, reason), previous)
                return
            self._tell(Progress(name, Phase.COMMITTING, rows.num_rows))
            with self._asking.over():
                if previous is not None and previous.rows <= _FEW_ROWS and not self._full:
                    self._asking.wait()
                commit = self._committer.submit(
                    self._lake.commit,
                    table,
                    rows,
                    sync_id=self._sync_id,
                    as_of=self._begun[name][1],
                    cursor=cursor,
                ).result()
            self._notes[name].add(DUPLICATES, commit.duplicates)
            outcome = Verdict(Status.COMPLETE)
            if partial is not None:
                outcome = Verdict(Status.PARTIAL, partial.reason, partial.permission)
            self._settle(name, outcome, commit.info)
        except Exception as error:
            self._fail(name, error)

    def _amend(self, change: Amendment, cursor: str | None) -> None:
        name = change.table
        if self._results[name].done():
            return
        try:
            self._turns.check()
            with self._asking.over():
                self._tell(Progress(name, Phase.COMMITTING, change.upserts.num_rows))
                commit = self._amended(change, cursor)
            self._settle(name, Verdict(Status.COMPLETE), commit.info)
        except Exception as error:
            self._fail(name, error)

    def _amended(self, change: Amendment, cursor: str | None) -> Commit:
        # The largest tables first: the last of many small ones is soon done.
        name, before = change.table, self._lake.info(change.table)
        return self._amender.call(
            -(before.rows if before is not None else 0),
            self._lake.amend,
            get(name),
            upserts=change.upserts,
            deletes=change.deletes,
            within=change.within,
            sync_id=self._sync_id,
            as_of=self._begun[name][1],
            cursor=cursor,
        )

    def _doubt(self, name: str, rows: int) -> str | None:
        """Why so few rows are not believed; None when they are, or when they are accepted."""
        if name in self._accept_shrink:
            return None
        return suspicion(get(name), rows, self._lake.info(name), self._settings)

    def _fail(self, name: str, error: BaseException) -> None:
        if not self._results[name].done():
            self._settle(name, verdict(error, get(name), self._granted()))

    def _granted(self) -> frozenset[str]:
        try:
            return self._client.token_claims().permissions
        except GraphError:
            return frozenset()

    def _settle(
        self,
        name: str,
        outcome: Verdict,
        published: CommitInfo | None = None,
    ) -> None:
        """Record a table's status, once."""
        if published is None:
            published = self._published(name)
        started = self._begun.get(name, (time.monotonic(), None))[0]
        spent = self._spent(name)
        status = TableStatus(
            table=name,
            status=outcome.status,
            rows=None if published is None else published.rows,
            as_of=None if published is None else published.as_of,
            reason=outcome.reason,
            permission=outcome.permission,
            sync_id=self._sync_id,
            version=None if published is None else published.version,
            duration_s=time.monotonic() - started,
            requests=spent.requests,
            round_trips=spent.round_trips,
            units=spent.units,
            bytes=spent.bytes,
            retries=spent.retries,
            throttled_s=spent.throttled_s,
            notes=self._notes[name].counts(),
        )
        with self._settling:
            if self._results[name].done():
                return
            self._books.record(self._sync_id, status)
            self._results[name].set_result(status)
        level = logging.INFO if outcome.status is Status.COMPLETE else logging.WARNING
        log.log(level, "%s: %s%s", name, outcome.status, _colon(outcome.reason))
        self._tell(Progress(name, Phase.DONE, status.rows or 0, status=outcome.status))

    def _spent(self, name: str) -> TableCounts:
        now = self._client.meter.snapshot().get(name, TableCounts())
        before = self._spent_before.get(name, TableCounts())
        return TableCounts(
            *(getattr(now, f.name) - getattr(before, f.name) for f in fields(TableCounts))
        )

    def _published(self, name: str) -> CommitInfo | None:
        try:
            return self._lake.info(name)
        except Exception:
            log.warning("%s: what is published of it cannot be read", name)
            return None

    def _tell(self, progress: Progress) -> None:
        if self._on_progress is None:
            return
        with self._telling:
            try:
                self._on_progress(progress)
            except Exception as error:
                # Whoever only watches must not cost a table.
                log.warning("progress could not be shown: %s", type(error).__name__)
                self._on_progress = None

    def _settled(self) -> bool:
        return all(future.done() for future in self._results.values())


def run(
    settings: Settings,
    client: GraphClient,
    lake: Lake,
    books: Books,
    sync_id: str,
    tables: Iterable[str] | None = None,
    *,
    full: bool = False,
    accept_shrink: frozenset[str] = frozenset(),
    on_progress: Callable[[Progress], None] | None = None,
) -> dict[str, TableStatus]:
    """Read the tables (all that are not slow unless named), commit them, give their statuses."""
    if tables is None:
        tables = [name for name in extractable() if not get(name).slow]
    names = list(dict.fromkeys(tables))
    extraction = Extraction(
        settings,
        client,
        lake,
        books,
        sync_id,
        names,
        full=full,
        accept_shrink=accept_shrink,
        on_progress=on_progress,
    )
    with extraction:
        return {name: extraction.result(name) for name in names}


def _needs(reader: Reader, settings: Settings) -> tuple[str, ...]:
    conditional = (
        name
        for setting, names in reader.needs_with.items()
        if getattr(settings, setting)
        for name in names
    )
    return (*reader.needs, *conditional)


def _chosen(wanted: frozenset[str], settings: Settings) -> list[Reader]:
    """The readers that fill wanted tables, and those that they need; the longest first."""
    by_name = {reader.name: reader for reader in READERS}
    chosen: dict[str, Reader] = {}
    waiting = [reader for reader in READERS if not wanted.isdisjoint(reader.tables)]
    while waiting:
        reader = waiting.pop()
        if reader.name not in chosen:
            chosen[reader.name] = reader
            waiting += [by_name[name] for name in _needs(reader, settings)]
    return sorted(chosen.values(), key=lambda reader: reader.priority)


def _colon(text: str | None) -> str:
    return f": {text}" if text else ""
