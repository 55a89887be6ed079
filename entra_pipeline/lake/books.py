"""The books: which syncs there were and how complete each table is. SQLite in the data directory.

The durable record, written while a sync runs and read by everybody; the warehouse carries a copy
of its current state. Table contents belong to `store`.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from entra_pipeline import tables as registry
from entra_pipeline.lake.directory import DataDirectory
from entra_pipeline.lake.errors import LakeError
from entra_pipeline.tables import Status

Now = Callable[[], datetime]

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS syncs (
    sync_id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    started TEXT NOT NULL,
    finished TEXT,
    outcome TEXT NOT NULL CHECK (outcome IN ('running', 'succeeded', 'failed', 'died')),
    tables TEXT NOT NULL,           -- JSON list: the tables that it was to bring up to date
    table_versions TEXT NOT NULL,   -- JSON object: table -> version in the lake
    requests INTEGER NOT NULL DEFAULT 0,
    round_trips INTEGER NOT NULL DEFAULT 0,
    units INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    retries INTEGER NOT NULL DEFAULT 0,
    throttled_s REAL NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS table_status (
    entry INTEGER PRIMARY KEY,
    sync_id TEXT NOT NULL REFERENCES syncs,
    "table" TEXT NOT NULL,
    status TEXT NOT NULL,
    rows INTEGER,
    as_of TEXT,
    reason TEXT,
    permission TEXT,
    version INTEGER,
    duration_s REAL NOT NULL,
    requests INTEGER NOT NULL,
    round_trips INTEGER NOT NULL,
    units INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    throttled_s REAL NOT NULL,
    notes TEXT NOT NULL,            -- JSON object: note -> count
    UNIQUE (sync_id, "table")
);
CREATE INDEX IF NOT EXISTS table_status_latest ON table_status ("table", entry);
CREATE TABLE IF NOT EXISTS reconciled (
    "table" TEXT NOT NULL,
    sync_id TEXT NOT NULL,
    at TEXT NOT NULL,
    rows INTEGER NOT NULL,
    differences INTEGER NOT NULL,
    PRIMARY KEY ("table", sync_id)
);
CREATE VIEW IF NOT EXISTS current_status AS
    SELECT * FROM table_status
    WHERE entry IN (SELECT max(entry) FROM table_status GROUP BY "table");
"""
_FORMAT: Final = 2
_COUNTERS: Final = ("requests", "round_trips", "units", "bytes", "retries", "throttled_s")


class Outcome(StrEnum):
    """How a sync stands."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DIED = "died"  # its process ended without saying how


@dataclass(frozen=True)
class Counters:
    """What was spent on Microsoft Graph."""

    requests: int = 0  # each item of a batch counts
    round_trips: int = 0  # a batch counts once
    units: int = 0  # Graph's resource units
    bytes: int = 0
    retries: int = 0
    throttled_s: float = 0.0


@dataclass(frozen=True)
class TableStatus:
    """How complete one table is, as one sync left it.

    `rows`, `as_of` and `version` are those of the published rows, which a failed or quarantined
    read leaves as they were. `permission` is the one that is missing. `notes` counts oddities.
    """

    table: str
    status: Status
    rows: int | None = None
    as_of: datetime | None = None
    reason: str | None = None
    permission: str | None = None
    sync_id: str | None = None
    version: int | None = None
    duration_s: float = 0.0
    requests: int = 0
    round_trips: int = 0
    units: int = 0
    bytes: int = 0
    retries: int = 0
    throttled_s: float = 0.0
    notes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Reconciled:
    """How a table that is kept by what changed compared with a full read of it."""

    table: str
    at: datetime
    rows: int  # of the full read
    differences: int  # rows that differed, or were in one of them only
    sync_id: str | None = None


@dataclass(frozen=True)
class SyncRecord:
    """One sync."""

    sync_id: str
    kind: str
    started: datetime
    finished: datetime | None
    outcome: Outcome
    tables: tuple[str, ...]
    table_versions: Mapping[str, int]
    counters: Counters


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class Books:
    """The record of one data directory. Safe to use from many threads and processes.

    `now` is the clock that syncs are dated by and staleness is judged by.
    """

    def __init__(self, directory: DataDirectory, *, now: Now = utc_now) -> None:
        self._directory = directory
        self._now = now
        with self._connection() as connection:
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found > _FORMAT:
                raise LakeError(
                    f"{directory.books} has format {found}, this program knows {_FORMAT}: use the "
                    "newer entra-pipeline that wrote it"
                )
            if found < _FORMAT:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(
                    f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_FORMAT}; COMMIT;"
                )

    def begin_sync(self, kind: str, tables: Sequence[str]) -> str:
        """Records that a sync of those tables begins; its id. Ids sort by time."""
        now = self._now().astimezone(UTC)
        sync_id = f"{now:%Y%m%dT%H%M%S.%f}Z-{secrets.token_hex(4)}"
        with self._connection() as connection:
            connection.execute(
                "INSERT INTO syncs (sync_id, kind, started, outcome, tables, table_versions) "
                "VALUES (?, ?, ?, ?, ?, '{}')",
                (sync_id, kind, rfc3339(now), Outcome.RUNNING, json.dumps(list(tables))),
            )
        return sync_id

    def record(self, sync_id: str, status: TableStatus) -> None:
        """Records how the sync left one table; said again, the later word counts."""
        row = {
            "sync_id": sync_id,
            "table": status.table,
            "status": status.status,
            "rows": status.rows,
            "as_of": None if status.as_of is None else rfc3339(status.as_of),
            "reason": status.reason,
            "permission": status.permission,
            "version": status.version,
            "duration_s": status.duration_s,
            **{name: getattr(status, name) for name in _COUNTERS},
            "notes": json.dumps(dict(status.notes), sort_keys=True),
        }
        names = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join("?" for _ in row)
        try:
            with self._connection() as connection:
                connection.execute(
                    f"INSERT OR REPLACE INTO table_status ({names}) VALUES ({marks})",
                    tuple(row.values()),
                )
        except sqlite3.IntegrityError as error:
            raise LakeError(
                f"table {status.table}: no sync {sync_id!r} to record it for; begin_sync gives ids"
            ) from error

    def finish_sync(
        self, sync_id: str, outcome: Outcome | str, counters: Counters | None = None
    ) -> SyncRecord:
        """Records how the sync ended. Without counters, those of its tables are added up."""
        outcome = Outcome(outcome)
        with self._connection() as connection:
            statuses = [
                _status(row)
                for row in connection.execute(
                    "SELECT * FROM table_status WHERE sync_id = ?", (sync_id,)
                )
            ]
            if counters is None:
                counters = Counters(
                    **{name: sum(getattr(s, name) for s in statuses) for name in _COUNTERS}
                )
            versions = {s.table: s.version for s in statuses if s.version is not None}
            done = connection.execute(
                "UPDATE syncs SET finished = ?, outcome = ?, table_versions = ?, "
                + ", ".join(f"{name} = ?" for name in _COUNTERS)
                + " WHERE sync_id = ?",
                (
                    rfc3339(self._now()),
                    outcome,
                    json.dumps(versions, sort_keys=True),
                    *(getattr(counters, name) for name in _COUNTERS),
                    sync_id,
                ),
            )
            if done.rowcount != 1:
                raise LakeError(f"no sync {sync_id!r} to finish; begin_sync gives ids")
            row = connection.execute("SELECT * FROM syncs WHERE sync_id = ?", (sync_id,)).fetchone()
        return _sync(row)

    def close_dead_syncs(self, *, holding_lock: bool = False) -> list[str]:
        """Marks as died the running syncs whose process is gone; their ids.

        A sync runs only while its process holds the data directory's lock. So whoever just took
        the lock (`holding_lock`, before its own begin_sync) knows that all others are dead, and
        so does anybody who finds the lock free.
        """
        if not holding_lock and self._directory.is_locked():
            return []
        with self._connection() as connection:
            dead = [
                row["sync_id"]
                for row in connection.execute(
                    "SELECT sync_id FROM syncs WHERE outcome = 'running' ORDER BY sync_id"
                )
            ]
            connection.executemany(
                "UPDATE syncs SET outcome = 'died', finished = ? WHERE sync_id = ?",
                [(rfc3339(self._now()), sync_id) for sync_id in dead],
            )
        return dead

    def statuses(
        self, stale_after: timedelta | Mapping[str, timedelta] | None = None
    ) -> dict[str, TableStatus]:
        """The latest word on each table; `never` for directory tables that no sync dealt with.

        With a limit (one for all, or one a table), published tables whose rows are older are
        given as `stale`, with the reason; that is worked out now and not stored.
        """
        with self._connection() as connection:
            rows = connection.execute("SELECT * FROM current_status").fetchall()
        found = {status.table: status for status in map(_status, rows)}
        if stale_after is not None:
            for name, status in found.items():
                limit = stale_after if isinstance(stale_after, timedelta) else stale_after.get(name)
                if limit is not None:
                    found[name] = aged(status, limit, self._now())
        for table in registry.TABLES.values():
            if table.group == "directory" and table.name not in found:
                found[table.name] = TableStatus(
                    table.name, Status.NEVER, reason="no sync has read it yet"
                )
        return found

    def history(self, table: str, limit: int = 100) -> list[TableStatus]:
        """What syncs said about one table, the latest first."""
        with self._connection() as connection:
            rows = connection.execute(
                'SELECT * FROM table_status WHERE "table" = ? ORDER BY entry DESC LIMIT ?',
                (table, limit),
            ).fetchall()
        return [_status(row) for row in rows]

    def syncs(self, limit: int = 100) -> list[SyncRecord]:
        """The latest syncs, the latest first."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT * FROM syncs ORDER BY sync_id DESC LIMIT ?", (limit,)
            ).fetchall()
        return [_sync(row) for row in rows]

    def sync(self, sync_id: str) -> SyncRecord | None:
        """The sync of that id."""
        with self._connection() as connection:
            row = connection.execute("SELECT * FROM syncs WHERE sync_id = ?", (sync_id,)).fetchone()
        return None if row is None else _sync(row)

    def finished_at(self, moment: datetime) -> SyncRecord | None:
        """The last sync that had ended at that moment, well or not; not one that died.

        Of a sync that died nobody knows when it ended, and it published nothing.
        """
        # Ids begin with the time of the start, and syncs do not overlap: the first hit is the one.
        latest = f"{moment.astimezone(UTC):%Y%m%dT%H%M%S.%f}Z~"
        with self._connection() as connection:
            for row in connection.execute(
                "SELECT * FROM syncs WHERE sync_id <= ? AND outcome IN ('succeeded', 'failed') "
                "ORDER BY sync_id DESC",
                (latest,),
            ):
                sync = _sync(row)
                if sync.finished is not None and sync.finished <= moment:
                    return sync
        return None

    def first_finished(self) -> SyncRecord | None:
        """The first sync that ended: nothing is known of the time before."""
        with self._connection() as connection:
            row = connection.execute(
                "SELECT * FROM syncs WHERE outcome IN ('succeeded', 'failed') "
                "ORDER BY sync_id LIMIT 1"
            ).fetchone()
        return None if row is None else _sync(row)

    def syncs_until(self, sync_id: str, limit: int = 100) -> list[SyncRecord]:
        """That sync and those before it, the latest first."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT * FROM syncs WHERE sync_id <= ? ORDER BY sync_id DESC LIMIT ?",
                (sync_id, limit),
            ).fetchall()
        return [_sync(row) for row in rows]

    def statuses_after(self, sync_id: str) -> dict[str, TableStatus]:
        """The word on each table when that sync had ended; nothing for tables not dealt with."""
        with self._connection() as connection:
            # Entries grow with time and syncs do not overlap. The indices find each in a step.
            ((last,),) = connection.execute(
                "SELECT max(entry) FROM table_status WHERE sync_id = (SELECT max(sync_id) FROM "
                "table_status WHERE sync_id <= ?)",
                (sync_id,),
            ).fetchall()
            rows = [
                connection.execute(
                    'SELECT * FROM table_status WHERE "table" = ? AND entry <= ? '
                    "ORDER BY entry DESC LIMIT 1",
                    (name, last),
                ).fetchone()
                for name in registry.TABLES
            ]
        return {status.table: status for status in (_status(row) for row in rows if row)}

    def record_reconciled(self, sync_id: str, found: Reconciled) -> None:
        """Records how a table compared with a full read."""
        with self._connection() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO reconciled VALUES (?, ?, ?, ?, ?)",
                (found.table, sync_id, rfc3339(found.at), found.rows, found.differences),
            )

    def reconciled(self) -> dict[str, Reconciled]:
        """The latest comparison of each table that was ever compared."""
        with self._connection() as connection:
            rows = connection.execute(
                'SELECT "table", max(sync_id) AS sync_id, at, rows, differences FROM reconciled '
                'GROUP BY "table"'
            ).fetchall()
        return {
            row["table"]: Reconciled(
                row["table"],
                datetime.fromisoformat(row["at"]),
                row["rows"],
                row["differences"],
                row["sync_id"],
            )
            for row in rows
        }

    def prune(self, before: datetime) -> int:
        """Forgets syncs that began before the moment, with their words on tables; how many.

        What was the latest word on a table at that moment stays, and so does the last sync that
        had ended by then: questions about the time after it have the same answers.
        """
        oldest = f"{before.astimezone(UTC):%Y%m%dT%H%M%S.%f}Z"
        last = self.finished_at(before)
        with self._connection() as connection:
            connection.execute(
                "DELETE FROM table_status WHERE sync_id < ?1 AND entry NOT IN (SELECT max(entry) "
                'FROM table_status WHERE sync_id < ?1 GROUP BY "table")',
                (oldest,),
            )
            done = connection.execute(
                "DELETE FROM syncs WHERE sync_id < ? AND sync_id IS NOT ? AND outcome <> 'running' "
                "AND sync_id NOT IN (SELECT sync_id FROM table_status)",
                (oldest, None if last is None else last.sync_id),
            )
            return done.rowcount

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """One connection for one transaction; threads never share one."""
        with closing(sqlite3.connect(self._directory.books, timeout=30)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA foreign_keys = ON")
            with connection:
                yield connection


def aged(status: TableStatus, limit: timedelta, now: datetime) -> TableStatus:
    """The status, as `stale` when its published rows are older than the limit."""
    whole = status.status in (Status.COMPLETE, Status.PARTIAL)
    if not whole or status.as_of is None or now - status.as_of <= limit:
        return status
    return replace(
        status,
        status=Status.STALE,
        reason=f"last refreshed {rfc3339(status.as_of)}, more than {limit} ago",
    )


def rfc3339(moment: datetime) -> str:
    """A time with a time zone as RFC 3339 in UTC."""
    if moment.tzinfo is None:
        raise ValueError("a time without a time zone is ambiguous; give it in UTC")
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _status(row: sqlite3.Row) -> TableStatus:
    values: dict[str, Any] = dict(row)
    del values["entry"]
    values["status"] = Status(values["status"])
    values["as_of"] = _moment(values["as_of"])
    values["notes"] = json.loads(values["notes"])
    return TableStatus(**values)


def _sync(row: sqlite3.Row) -> SyncRecord:
    return SyncRecord(
        sync_id=row["sync_id"],
        kind=row["kind"],
        started=datetime.fromisoformat(row["started"]),
        finished=_moment(row["finished"]),
        outcome=Outcome(row["outcome"]),
        tables=tuple(json.loads(row["tables"])),
        table_versions=json.loads(row["table_versions"]),
        counters=Counters(**{name: row[name] for name in _COUNTERS}),
    )
