"""One sync under way: the data directory, the lake, the books, the extraction and the stage.

Every run that writes a data directory, wherever it was started, works through one `Sync`. It is
opened and closed by the resource in `resources`; this module knows nothing of Dagster.
"""

from __future__ import annotations

import functools
import logging
import queue
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from entra_pipeline.access import build
from entra_pipeline.extract.extraction import Extraction, Progress
from entra_pipeline.extract.reconcile import reconcile
from entra_pipeline.lake import (
    Books,
    Counters,
    DataDirectory,
    Lake,
    Outcome,
    Reconciled,
    SyncRecord,
    TableStatus,
    feed,
)
from entra_pipeline.lake.feed_model import Event
from entra_pipeline.msgraph import GraphClient
from entra_pipeline.orchestration import interrupts, staleness
from entra_pipeline.provisioning.drift import keeping as drift
from entra_pipeline.settings import Settings
from entra_pipeline.tables import EXCHANGE, LEDGER, TABLES, Status

if TYPE_CHECKING:
    from entra_pipeline.provisioning.service import Provisioning

# Tags of a Dagster run: the sync that it is in the books, and the data directory that it locked.
SYNC_TAG: Final = "entra_pipeline/sync_id"
DATA_TAG: Final = "entra_pipeline/data"

PUBLISHED: Final = frozenset({Status.COMPLETE, Status.PARTIAL})
FATAL: Final = frozenset({Status.FAILED, Status.QUARANTINED})

_TRUSTED: Final = frozenset({"entra_pipeline", "assets", "dagster"})

log = logging.getLogger(__name__)

OnProgress = Callable[[Progress], None]


class TablesFailedError(RuntimeError):
    """Tables of this sync failed or were quarantined; the message names each with its reason."""


class StepFailedError(RuntimeError):
    """A step failed in somebody else's code; the message says where, and quotes nothing."""


class StageMissingError(RuntimeError):
    """A step that needs the staged warehouse was run without the steps that build it."""


@dataclass
class Sync:
    """An open sync; whoever has one holds the data directory's lock."""

    settings: Settings
    directory: DataDirectory
    lake: Lake
    books: Books
    sync_id: str
    run_id: str
    publishes: bool
    on_progress: OnProgress | None = None
    statuses: dict[str, TableStatus] = field(default_factory=dict)
    reconciled: dict[str, Reconciled] = field(default_factory=dict)
    has_published: bool = False
    follows: bool = False  # reads what changed, and publishes so
    _failures: list[str] = field(default_factory=list)
    _accepted: frozenset[str] = frozenset()
    _known: dict[str, TableStatus] | None = None
    _files: dict[str, list[str]] = field(default_factory=dict)
    _extraction: Extraction | None = None

    @property
    def stage(self) -> Path:
        """The warehouse that this run builds beside the published one."""
        return self.directory.warehouses / f"stage-{self.run_id}.duckdb"

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Say that a step begins, and remember when the work inside fails.

        Messages of other people's libraries may quote data, and Dagster stores messages: they
        are replaced by where it happened. Ours, and Dagster's own, pass as they are.
        """
        note = getattr(self.on_progress, "note", None)
        if note is not None:
            note(name.replace("_", " "))
        interrupts.check()
        try:
            yield
        except BaseException as error:
            self._failures.append(name)
            if isinstance(error, Exception) and interrupts.asked():
                raise KeyboardInterrupt from None
            origin = type(error).__module__.partition(".")[0]
            if isinstance(error, Exception) and origin not in _TRUSTED:
                raise StepFailedError(_where(name, error)).with_traceback(
                    error.__traceback__
                ) from None
            raise

    def note_failure(self, what: str) -> None:
        """Remember a failure that Dagster will act on, such as a blocking check."""
        self._failures.append(what)

    def choose(self, only: Iterable[str], selected: Sequence[str]) -> list[str]:
        """Those of the selected tables that were asked for by name.

        Raises:
            ValueError: a name is no table that this run can read.
        """
        names = set(only)
        if unknown := sorted(names - set(selected)):
            raise ValueError(
                f"only: {', '.join(unknown)} cannot be read by this run; it reads "
                f"{', '.join(selected)}"
            )
        return [name for name in selected if name in names]

    def read(
        self, tables: Sequence[str], *, full: bool, accept_shrink: frozenset[str]
    ) -> Iterator[TableStatus]:
        """Read the tables side by side; each status as soon as its table is settled."""
        if not tables:
            return
        client = GraphClient.from_settings(self.settings)
        extraction = Extraction(
            self.settings,
            client,
            self.lake,
            self.books,
            self.sync_id,
            tables,
            full=full,
            accept_shrink=accept_shrink,
            on_progress=self.on_progress,
        )
        self.follows = not full
        self._accepted |= accept_shrink
        settled: queue.SimpleQueue[TableStatus | BaseException] = queue.SimpleQueue()

        def wait_for(table: str) -> None:
            try:
                settled.put(extraction.result(table))
            except BaseException as error:
                settled.put(error)

        # Closed by `close`, not here: whoever iterates may be interrupted between two statuses,
        # and this frame would then live on in the traceback, and its threads with it.
        self._extraction = extraction
        extraction.start()
        for table in tables:
            threading.Thread(target=wait_for, args=(table,), daemon=True).start()
        for _ in tables:
            status = settled.get()
            if isinstance(status, BaseException):
                raise status
            interrupts.check()
            self.statuses[status.table] = status
            yield status

    def reconcile(
        self, tables: Sequence[str], *, accept_shrink: frozenset[str], pause_s: float
    ) -> Iterator[TableStatus]:
        """As `read`, and compare the tables kept by what changed with a full read of them."""
        if not tables:
            return
        self._accepted |= accept_shrink
        done = reconcile(
            self.settings,
            GraphClient.from_settings(self.settings),
            self.directory,
            self.lake,
            self.books,
            self.sync_id,
            tables,
            accept_shrink=accept_shrink,
            on_progress=self.on_progress,
            pause_s=pause_s,
        )
        self.reconciled.update(done.verdicts)
        for status in done.statuses.values():
            self.statuses[status.table] = status
            yield status

    def close(self) -> None:
        """Stop what is still being read and wait for it, let go of the stage: the sync is over."""
        if self._extraction is not None:
            self._extraction.close()
        build.abandon(self.stage)

    def has_rows_of(self, table: str) -> bool:
        """Whether this sync or an earlier one published the table, be it empty."""
        status = self.statuses.get(table) or self.known()[table]
        return status.version is not None

    def published(self, status: TableStatus) -> bool:
        """Whether this sync gave the table new rows."""
        return status.status in PUBLISHED

    def known(self) -> dict[str, TableStatus]:
        """What is known of every table, tables left alone for too long being stale."""
        if self._known is None:
            self._known = self.books.statuses(staleness.limits())
        return {**self._known, **self.statuses}

    def files(self) -> dict[str, list[str]]:
        """The Parquet files of every directory table as it is now."""
        return {t.name: self.files_of(t.name) for t in TABLES.values() if t.group == "directory"}

    def files_of(self, table: str) -> list[str]:
        """The Parquet files of one table, which this sync has settled or does not read.

        Remembered: opening a table costs 15 ms, and nobody else writes while this sync has the
        lock.
        """
        if table not in self._files:
            status = self.statuses.get(table)
            if status is None or not self.published(status):
                # Stored by an earlier version of this program, perhaps: readers of the files
                # count on every declared column.
                self.lake.evolve(table)
            self._files[table] = self.lake.files(table)
        return self._files[table]

    def records(self) -> list[SyncRecord]:
        """The syncs to publish, this one with the end that it is heading for.

        The warehouse is published before its sync ends, and only if it ends well but for tables.
        """
        return [
            record
            if record.sync_id != self.sync_id
            else replace(
                record,
                finished=datetime.now(UTC),
                outcome=Outcome.FAILED if self.fatal() else Outcome.SUCCEEDED,
                table_versions={
                    s.table: s.version for s in self.statuses.values() if s.version is not None
                },
                counters=self.counters(),
            )
            for record in self.books.syncs()
        ]

    def counters(self) -> Counters:
        """What this sync has spent on Graph so far."""
        spent = self.statuses.values()
        return Counters(
            **{
                part.name: sum(getattr(status, part.name) for status in spent)
                for part in fields(Counters)
            }
        )

    def start_stage(self) -> bool:
        """Begin the warehouse; True if from the published one and what changed since.

        After a full read, and when nothing was read, it is built from all rows: who asks for that
        may mistrust what is there.
        """
        records = self.records()
        link = self.directory.warehouse_link
        longest = timedelta(days=self.settings.full_read_days)
        lists, status = self._exchange()
        statuses = {**self.known(), status.table: status}
        # What changed in the ledger and why grants changed is found out meanwhile. Whatever happens
        # here, that is waited for: it writes, and the lock is not let go of before.
        with ThreadPoolExecutor(1, "ledger") as pool:
            ledger = pool.submit(self._ledger)
            if self.follows and build.refresh(
                self.stage,
                link,
                self.lake,
                statuses,
                syncs=records,
                longest=longest,
                beside=lambda: {**ledger.result(), **lists},
            ):
                return True
            files = {**self.files(), **ledger.result(), **lists}
        build.load(self.stage, files, statuses, syncs=records, lake=self.lake)
        return False

    def _exchange(self) -> tuple[dict[str, list[str]], TableStatus]:
        """Files of what Exchange keeps of groups, and how complete they are.

        Read anew by a sync that read groups; others go by the latest word on it. The books keep
        that, but not that it is not configured, which nobody who never had it wants to be told.
        """
        from entra_pipeline.extract import exchange

        lake = Lake(self.directory.lake, EXCHANGE)
        configured, before = self.settings.exchange, self.known().get(exchange.NAME)
        if configured and "groups" not in self.statuses:
            status = before or exchange.known(lake)
        else:
            accepted = exchange.NAME in self._accepted
            status = exchange.read_groups(self.settings, lake, self.sync_id, accept_shrink=accepted)
            if configured or before is not None:
                self.books.record(self.sync_id, status)
        return {name: lake.files(name) if configured else [] for name in EXCHANGE}, status

    def _ledger(self) -> dict[str, list[str]]:
        """Files of what the ledger of provisioning is now; of the last time, if it is silent."""
        lake, told = Lake(self.directory.lake, LEDGER), True
        file = self.settings.ledger_file
        if file is None or file.exists():
            # Most tenants have no ledger, and what reads one is half a second of imports.
            from entra_pipeline.provisioning.ledger.export import to_lake
            from entra_pipeline.provisioning.service import Provisioning

            with Provisioning(self.settings) as opened:
                try:
                    now = datetime.now(UTC)
                    to_lake(opened.ledger, lake, sync_id=self.sync_id, as_of=now)
                except Exception as error:
                    # A sync is there for the tenant: what was exported before stays.
                    log.warning("the ledger was not exported: %s", type(error).__name__)
                    told = False
                self._checkpoint(opened)
        self._drift(ledger=told)
        recent = {"grant_changes": drift.recent_files(lake, datetime.now(UTC))}
        return {name: lake.files(name) for name in LEDGER if name not in recent} | recent

    def _checkpoint(self, opened: Provisioning) -> None:
        """Sign the audit's newest entry, where the settings have a place for that."""
        try:
            opened.checkpoint()
        except Exception as error:
            ours = type(error).__module__.startswith("entra_pipeline")
            why = str(error) if ours else type(error).__name__
            log.warning("no checkpoint of the audit was kept: %s", why)

    def _drift(self, *, ledger: bool) -> None:
        """Find out what made direct grants change; a later sync does if this one cannot."""

        @functools.cache
        def times(table: str) -> list[datetime]:
            return [status.as_of for status in self.books.history(table) if status.as_of]

        def read_before(table: str, moment: datetime) -> datetime | None:
            return max((time for time in times(table) if time < moment), default=None)

        def heard_since(moment: datetime) -> list[Event]:
            heard = feed.existing(self.directory)
            return [] if heard is None else heard.events(since=moment)

        known = drift.Known(ledger, self.settings.known_automation)
        try:
            drift.classify(
                self.directory.lake,
                read_before=read_before,
                known=known,
                sync_id=self.sync_id,
                heard_since=heard_since,
            )
        except Exception as error:
            # What changed is in the tables' histories, and is gone through next time.
            log.warning("changes of grants were not classified: %s", type(error).__name__)
            log.debug("drift", exc_info=error)

    def require_stage(self) -> None:
        """Raise when an earlier step of this very run did not build the stage."""
        if not self.stage.exists():
            raise StageMissingError(
                "this run has no staged warehouse: its steps build on one another, so run the "
                "job 'access' as a whole instead of single steps"
            )

    def fatal(self) -> list[TableStatus]:
        """The tables of this sync that failed or were quarantined."""
        return [status for status in self.statuses.values() if status.status in FATAL]

    def raise_for_tables(self) -> None:
        """Raise `TablesFailedError` when tables of this sync failed or were quarantined."""
        if fatal := self.fatal():
            raise TablesFailedError("; ".join(reason(status) for status in fatal))

    def tidy(self) -> None:
        """Remove files of replaced versions of the tables that this sync read, after a grace."""
        for name in self.statuses:
            try:
                if self.lake.is_cluttered(name):
                    self.lake.maintain(name)
            except Exception as error:
                # The next sync tries again; what is published is not touched either way.
                log.warning("%s: old files stay for now (%s)", name, type(error).__name__)

    @property
    def outcome(self) -> Outcome:
        """How the sync ends if it ends now."""
        whole = not self._failures and not self.fatal()
        if whole and (self.has_published or not self.publishes):
            return Outcome.SUCCEEDED
        return Outcome.FAILED


def reason(status: TableStatus) -> str:
    """One line about a table that is not whole."""
    return f"{status.table} {status.status.value}: {status.reason or 'no reason given'}"


def _where(step: str, error: Exception) -> str:
    kind = type(error)
    frames = traceback.extract_tb(error.__traceback__)
    ours = next((f for f in reversed(frames) if "entra_pipeline" in f.filename), None)
    place = f" at {Path(ours.filename).name}:{ours.lineno}" if ours else ""
    return f"{step}: {kind.__module__}.{kind.__qualname__}{place}"
