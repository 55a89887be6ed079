"""The event feed: changes of access that audits told of, what became of them, and what is to be
told to others. SQLite in the data directory (`feed.sqlite`).

Belongs here: keeping events, how far the log was heard, which refresh stands for which events, the
queue of deliveries. Does not belong here: reading audits (`extract.listening`), starting runs and
sending (`orchestration`). It holds ids of people, as the rest of the data directory does.

An event waits until a refresh that was requested after it was heard has ended well; a refresh that
failed, or of which nothing is known any more, leaves its events waiting for another one.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from entra_pipeline.lake.books import utc_now
from entra_pipeline.lake.directory import DataDirectory
from entra_pipeline.lake.errors import LakeError
from entra_pipeline.lake.feed_model import (
    Delivery,
    Event,
    Heard,
    Poison,
    Request,
    State,
    Summary,
)

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order in which they were heard
    id TEXT NOT NULL UNIQUE,
    time TEXT NOT NULL,
    heard TEXT NOT NULL,
    activity TEXT NOT NULL,
    operation TEXT,
    service TEXT,
    actor_kind TEXT,
    actor_id TEXT,
    targets TEXT NOT NULL,          -- JSON list of object ids
    tables TEXT NOT NULL,           -- JSON list
    correlation_id TEXT,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'requested', 'refreshed', 'given up')),
    request TEXT
);
CREATE INDEX IF NOT EXISTS events_time ON events (time);
CREATE INDEX IF NOT EXISTS events_open ON events (state) WHERE state IN ('waiting', 'requested');
CREATE TABLE IF NOT EXISTS requests (
    request TEXT PRIMARY KEY,
    at TEXT NOT NULL,
    tables TEXT NOT NULL,
    failures INTEGER NOT NULL,      -- of the requests before it for the same events
    ended TEXT,
    outcome TEXT
);
CREATE TABLE IF NOT EXISTS poisoned (
    id TEXT PRIMARY KEY,
    heard TEXT NOT NULL,
    reason TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS unknown (
    id TEXT PRIMARY KEY, activity TEXT NOT NULL, heard TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS deliveries (
    sequence INTEGER PRIMARY KEY REFERENCES events ON DELETE CASCADE,
    attempts INTEGER NOT NULL DEFAULT 0,
    due TEXT NOT NULL,
    reason TEXT
);
CREATE TABLE IF NOT EXISTS undelivered (
    sequence INTEGER PRIMARY KEY, given_up TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT);
"""
_FORMAT: Final = 1

MOST_DELIVERIES: Final = 10_000
"""That wait at once; beyond them the oldest are given up, so that a dead listener costs little."""
_BODY: Final = 65_536
_SUMMARY: Final = 20


class Feed:
    """The feed of one data directory. Safe to use from many threads and processes."""

    def __init__(self, directory: DataDirectory, *, now: Callable[[], datetime] = utc_now) -> None:
        self._path = directory.path / "feed.sqlite"
        self._now = now
        with self._connection() as connection:
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found > _FORMAT:
                raise LakeError(
                    f"{self._path} has format {found}, this program knows {_FORMAT}: use the newer "
                    "entra-pipeline that wrote it"
                )
            if found < _FORMAT:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(
                    f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_FORMAT}; COMMIT;"
                )

    # Hearing

    def get(self, name: str) -> str | None:
        """A value that the listener keeps."""
        with self._connection() as connection:
            row = connection.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return None if row is None else row["value"]

    def put(self, **values: str | None) -> None:
        """Keep values of the listener."""
        with self._connection() as connection:
            _put(connection, values)

    def hear(self, heard: Heard, *, tell: bool = False) -> Heard:
        """Keep what was heard, once; returns what is new of it, events in the order of their time.

        `tell` puts them into the queue of deliveries.
        """
        now = _text(self._now())
        fresh: list[str] = []
        poisoned: list[Poison] = []
        with self._connection() as connection:
            for event in sorted(heard.events, key=lambda event: (event.time, event.id)):
                done = connection.execute(
                    "INSERT OR IGNORE INTO events (id, time, heard, activity, operation, service, "
                    "actor_kind, actor_id, targets, tables, correlation_id, state) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        event.id, _text(event.time), now, event.activity, event.operation,
                        event.service, event.actor_kind, event.actor_id,
                        json.dumps(list(event.targets)), json.dumps(list(event.tables)),
                        event.correlation_id, State.WAITING,
                    ),
                )  # fmt: skip
                if done.rowcount:
                    fresh.append(event.id)
                    if tell:
                        connection.execute(
                            "INSERT INTO deliveries (sequence, due) VALUES (?, ?)",
                            (done.lastrowid, now),
                        )
            for poison in heard.poisoned:
                done = connection.execute(
                    "INSERT OR IGNORE INTO poisoned (id, heard, reason, body) VALUES (?, ?, ?, ?)",
                    (poison.id, now, poison.reason, poison.body[:_BODY]),
                )
                if done.rowcount:
                    poisoned.append(poison)
            connection.executemany(
                "INSERT OR IGNORE INTO unknown (id, activity, heard) VALUES (?, ?, ?)",
                [(*each, now) for each in heard.unknown],
            )
            if tell:
                self._bound(connection, now)
            rows = [
                connection.execute("SELECT * FROM events WHERE id = ?", (key,)).fetchone()
                for key in fresh
            ]
        return Heard([_event(row) for row in rows], poisoned)

    def forget(self, before: datetime) -> None:
        """Drop events, poisoned ones and requests from before that time, unless they wait."""
        moment = _text(before)
        with self._connection() as connection:
            connection.execute(
                "DELETE FROM events WHERE time < ? AND heard < ?1 "
                "AND state IN ('refreshed', 'given up')",
                (moment,),
            )
            connection.execute("DELETE FROM poisoned WHERE heard < ?", (moment,))
            connection.execute("DELETE FROM requests WHERE ended < ?", (moment,))
            connection.execute("DELETE FROM undelivered WHERE given_up < ?", (moment,))
            connection.execute("DELETE FROM unknown WHERE heard < ?", (moment,))

    # Refreshing

    def waiting(self) -> tuple[int, tuple[str, ...]]:
        """How many events wait for a refresh to be requested, and the tables they point at."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT tables FROM events WHERE state = 'waiting'"
            ).fetchall()
        tables = {table for row in rows for table in json.loads(row["tables"])}
        return len(rows), tuple(sorted(tables))

    def request(self) -> Request | None:
        """One refresh for all events that wait; None when none does."""
        now = self._now()
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            rows = connection.execute(
                "SELECT e.tables, r.failures FROM events e LEFT JOIN requests r "
                "ON r.request = e.request WHERE e.state = 'waiting'"
            ).fetchall()
            if not rows:
                return None
            tables = tuple(sorted({name for row in rows for name in json.loads(row["tables"])}))
            asked = Request(
                f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}",
                now,
                tables,
                max(0 if row["failures"] is None else row["failures"] for row in rows),
            )
            connection.execute(
                "INSERT INTO requests (request, at, tables, failures) VALUES (?, ?, ?, ?)",
                (asked.id, _text(now), json.dumps(list(tables)), asked.failures),
            )
            connection.execute(
                "UPDATE events SET state = 'requested', request = ? WHERE state = 'waiting'",
                (asked.id,),
            )
        return asked

    def open_requests(self) -> list[Request]:
        """Refreshes that were requested and of which no end is known, the oldest first."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT * FROM requests WHERE ended IS NULL ORDER BY at"
            ).fetchall()
        return [
            Request(
                row["request"],
                datetime.fromisoformat(row["at"]),
                tuple(json.loads(row["tables"])),
                row["failures"],
            )
            for row in rows
        ]

    def last_failure(self) -> tuple[int, datetime] | None:
        """How often the waiting events' refreshes have failed, and when the last one did."""
        with self._connection() as connection:
            row = connection.execute(
                "SELECT r.failures, r.ended FROM events e JOIN requests r ON r.request = e.request "
                "WHERE e.state = 'waiting' AND r.ended IS NOT NULL "
                "ORDER BY r.failures DESC, r.ended DESC LIMIT 1"
            ).fetchone()
        return None if row is None else (row["failures"], datetime.fromisoformat(row["ended"]))

    def end(self, request: str, outcome: str, *, most_failures: int = 0) -> State:
        """A refresh has ended: `succeeded`, `failed` or `lost` (nothing is known of it).

        After a failure its events wait again, up to `most_failures` times; then they are given up.
        Being lost does not count. Returns what became of its events.
        """
        now = _text(self._now())
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            row = connection.execute(
                "SELECT failures FROM requests WHERE request = ?", (request,)
            ).fetchone()
            failures = (0 if row is None else row["failures"]) + (outcome == "failed")
            state = State.WAITING
            if outcome == "succeeded":
                state = State.REFRESHED
            elif failures >= max(1, most_failures):
                state = State.GIVEN_UP
            connection.execute(
                "UPDATE requests SET ended = ?, outcome = ?, failures = ? WHERE request = ?",
                (now, outcome, failures, request),
            )
            connection.execute(
                "UPDATE events SET state = ? WHERE request = ? AND state = 'requested'",
                (state, request),
            )
        return state

    # Telling

    def due(self, limit: int = 50) -> list[Delivery]:
        """Deliveries whose time has come, in the order of the events."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT e.*, d.attempts FROM deliveries d JOIN events e USING (sequence) "
                "WHERE d.due <= ? ORDER BY sequence LIMIT ?",
                (_text(self._now()), limit),
            ).fetchall()
        return [Delivery(_event(row), row["attempts"]) for row in rows]

    def next_delivery(self) -> datetime | None:
        """When the next delivery is due; None when none waits."""
        with self._connection() as connection:
            row = connection.execute("SELECT min(due) AS due FROM deliveries").fetchone()
        return None if row["due"] is None else datetime.fromisoformat(row["due"])

    def hasten(self) -> None:
        """Let every delivery that waits be due now, as after a listener was mended."""
        with self._connection() as connection:
            connection.execute("UPDATE deliveries SET due = ?", (_text(self._now()),))

    def delivered(self, sequence: int) -> None:
        """A listener has taken an event."""
        with self._connection() as connection:
            connection.execute("DELETE FROM deliveries WHERE sequence = ?", (sequence,))
            _put(connection, {"delivery_trouble": None})

    def postpone(self, sequence: int, reason: str, wait: timedelta, *, all_of_them: bool) -> None:
        """A delivery failed: try again later, and with it all others if they would fail too."""
        due = _text(self._now() + wait)
        with self._connection() as connection:
            connection.execute(
                "UPDATE deliveries SET attempts = attempts + 1, due = ?, reason = ? "
                "WHERE sequence = ?",
                (due, reason, sequence),
            )
            if all_of_them:
                connection.execute("UPDATE deliveries SET due = ?1 WHERE due < ?1", (due,))
            _put(connection, {"delivery_trouble": reason})

    def give_up(self, sequence: int, reason: str) -> None:
        """A listener will not take an event: no more attempts, and it is shown."""
        now = _text(self._now())
        with self._connection() as connection:
            connection.execute("DELETE FROM deliveries WHERE sequence = ?", (sequence,))
            connection.execute(
                "INSERT OR REPLACE INTO undelivered VALUES (?, ?, ?)", (sequence, now, reason)
            )
            _put(connection, {"delivery_trouble": reason})

    # Asking

    def events(
        self,
        *,
        since: datetime | None = None,
        after: int | None = None,
        limit: int | None = None,
    ) -> list[Event]:
        """Events since a time, or heard after the one with that number; in the order heard.

        With a limit the latest of them.
        """
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT * FROM events WHERE (?1 IS NULL OR time >= ?1) "
                "AND (?2 IS NULL OR sequence > ?2) ORDER BY sequence DESC LIMIT ?3",
                (
                    None if since is None else _text(since),
                    after,
                    -1 if limit is None else limit,
                ),
            ).fetchall()
        return [_event(row) for row in reversed(rows)]

    def poisoned(self) -> list[Poison]:
        """Events that could not be read, the latest first."""
        with self._connection() as connection:
            rows = connection.execute("SELECT * FROM poisoned ORDER BY heard DESC, id").fetchall()
        return [
            Poison(row["id"], row["reason"], row["body"], datetime.fromisoformat(row["heard"]))
            for row in rows
        ]

    def summary(self) -> Summary:
        """How the feed stands."""
        with self._connection() as connection:
            state = dict(connection.execute("SELECT name, value FROM state").fetchall())
            one = {
                name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
                for name in ("poisoned", "deliveries", "undelivered")
            }
            events = dict(
                connection.execute("SELECT state, count(*) FROM events GROUP BY state").fetchall()
            )
            unknown = dict(
                connection.execute(
                    "SELECT activity, count(*) FROM unknown GROUP BY activity "
                    "ORDER BY count(*) DESC, activity LIMIT ?",
                    (_SUMMARY,),
                ).fetchall()
            )
        return Summary(
            listened=_moment(state.get("listened")),
            heard_until=_moment(state.get("heard_until")),
            trouble=state.get("trouble"),
            events={each.value: events.get(each.value, 0) for each in State},
            poisoned=one["poisoned"],
            unknown=unknown,
            deliveries=one["deliveries"],
            undelivered=one["undelivered"],
            delivery_trouble=state.get("delivery_trouble"),
        )

    def _bound(self, connection: sqlite3.Connection, now: str) -> None:
        connection.execute(
            "INSERT OR REPLACE INTO undelivered SELECT sequence, ?, 'too many were waiting' "
            "FROM deliveries ORDER BY sequence DESC LIMIT -1 OFFSET ?",
            (now, MOST_DELIVERIES),
        )
        connection.execute(
            "DELETE FROM deliveries WHERE sequence IN (SELECT sequence FROM undelivered)"
        )

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """One connection for one transaction; threads never share one."""
        with closing(sqlite3.connect(self._path, timeout=30)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA foreign_keys = ON")
            with connection:
                yield connection


def _put(connection: sqlite3.Connection, values: dict[str, str | None]) -> None:
    connection.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", values.items())


def _event(row: sqlite3.Row) -> Event:
    return Event(
        id=row["id"],
        time=datetime.fromisoformat(row["time"]),
        activity=row["activity"],
        operation=row["operation"],
        service=row["service"],
        actor_kind=row["actor_kind"],
        actor_id=row["actor_id"],
        targets=tuple(json.loads(row["targets"])),
        tables=tuple(json.loads(row["tables"])),
        correlation_id=row["correlation_id"],
        heard=datetime.fromisoformat(row["heard"]),
        sequence=row["sequence"],
        state=State(row["state"]),
    )


def _text(moment: datetime) -> str:
    """A time as text that sorts as the time does."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def existing(directory: DataDirectory) -> Feed | None:
    """The feed, for readers; None where nobody ever listened."""
    return Feed(directory) if (directory.path / "feed.sqlite").exists() else None
