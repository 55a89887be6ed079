"""What a listener is to be told of requests, each thing once: an end that is near, a bad end.

A queue in the data directory (`notices.sqlite`): looking at the ledger puts notices in, the courier
takes them out. A notice that was told stays, as a name, so that it is never told again.

Here: what there is to tell, and keeping it. Not here: sending (`orchestration.courier`).
Notices hold ids, kinds, states and times; names and reasons stay in the ledger.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from entra_pipeline.lake.books import rfc3339
from entra_pipeline.provisioning.ledger import Ledger, schema
from entra_pipeline.provisioning.ledger.export import about
from entra_pipeline.provisioning.ledger.schema import micros, moment
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.values import Source

FILE: Final = "notices.sqlite"
MOST: Final = 10_000
"""That wait at once; beyond them the oldest are given up, so that a dead listener costs little."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS notices (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    made TEXT NOT NULL,
    body TEXT NOT NULL,             -- JSON
    state TEXT NOT NULL CHECK (state IN ('waiting', 'told', 'given up')),
    attempts INTEGER NOT NULL DEFAULT 0,
    due TEXT NOT NULL,
    reason TEXT
);
CREATE TABLE IF NOT EXISTS looked (at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS notices_waiting ON notices (due) WHERE state = 'waiting';
"""
_FORMAT: Final = 1
_BAD: Final = {
    RequestState.FAILED: "failed",
    RequestState.AMBIGUOUS: "ambiguous",
    RequestState.DIVERGED: "diverged",
    RequestState.MALFORMED: "malformed",
}
_HELD: Final = (RequestState.WRITTEN, RequestState.DONE, RequestState.DIVERGED)
_GRACE: Final = timedelta(days=1)
"""How long before the first look a bad end may lie to be told."""
_OVERLAP: Final = timedelta(hours=1)
"""Clocks of machines that write the ledger may differ by so much."""
_KEPT: Final = timedelta(days=400)


@dataclass(frozen=True)
class Notice:
    """One thing to tell."""

    sequence: int
    id: str
    body: dict[str, Any]
    attempts: int


class Notices:
    """The queue of one data directory. Safe to use from many threads and processes."""

    def __init__(
        self, path: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._path = path
        self._now = now
        with self._connection() as connection:
            if connection.execute("PRAGMA user_version").fetchone()[0] < _FORMAT:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(
                    f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_FORMAT}; COMMIT;"
                )

    def look(self, ledger: Ledger, before: timedelta) -> int:
        """Queue what is to be told now and never was; how many. `before` an end it is near.

        Of a grant shorter than twice that, half of it.
        """
        now = self._now()
        with self._connection() as connection:
            row = connection.execute("SELECT max(at) FROM looked").fetchone()
        last = now - _GRACE if row[0] is None else datetime.fromisoformat(row[0]) - _OVERLAP
        found = [*_ending(ledger, now, before), *_bad(ledger, last)]
        with self._connection() as connection:
            connection.execute("DELETE FROM looked")
            connection.execute("INSERT INTO looked VALUES (?)", (_text(now),))
            fresh = 0
            for key, body in found:
                fresh += connection.execute(
                    "INSERT OR IGNORE INTO notices (id, made, body, state, due) "
                    "VALUES (?, ?, ?, 'waiting', ?)",
                    (key, _text(now), json.dumps(body), _text(now)),
                ).rowcount
            if fresh:
                connection.execute(
                    "UPDATE notices SET state = 'given up', reason = 'too many were waiting' "
                    "WHERE sequence IN (SELECT sequence FROM notices WHERE state = 'waiting' "
                    "ORDER BY sequence DESC LIMIT -1 OFFSET ?)",
                    (MOST,),
                )
                connection.execute(
                    "DELETE FROM notices WHERE state <> 'waiting' AND made < ?",
                    (_text(now - _KEPT),),
                )
        return fresh

    # The courier's side, as `lake.feed.Feed` has it for events.

    def due(self, limit: int = 50) -> list[Notice]:
        """Notices whose time has come, in the order that they were made."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT sequence, id, body, attempts FROM notices "
                "WHERE state = 'waiting' AND due <= ? ORDER BY sequence LIMIT ?",
                (_text(self._now()), limit),
            ).fetchall()
        return [Notice(row[0], row[1], json.loads(row[2]), row[3]) for row in rows]

    def next_delivery(self) -> datetime | None:
        """When the next notice is due; None when none waits."""
        with self._connection() as connection:
            row = connection.execute(
                "SELECT min(due) FROM notices WHERE state = 'waiting'"
            ).fetchone()
        return None if row[0] is None else datetime.fromisoformat(row[0])

    def hasten(self) -> None:
        """Let every notice that waits be due now, as after a listener was mended."""
        with self._connection() as connection:
            connection.execute(
                "UPDATE notices SET due = ? WHERE state = 'waiting'", (_text(self._now()),)
            )

    def delivered(self, sequence: int) -> None:
        """A listener has taken it."""
        self._set(sequence, "told", None)

    def give_up(self, sequence: int, reason: str) -> None:
        """A listener will not take it: no more attempts."""
        self._set(sequence, "given up", reason)

    def postpone(self, sequence: int, reason: str, wait: timedelta, *, all_of_them: bool) -> None:
        """It failed: try again later, and with it all others if they would fail too."""
        due = _text(self._now() + wait)
        with self._connection() as connection:
            connection.execute(
                "UPDATE notices SET attempts = attempts + 1, due = ?, reason = ? "
                "WHERE sequence = ?",
                (due, reason, sequence),
            )
            if all_of_them:
                connection.execute(
                    "UPDATE notices SET due = ?1 WHERE state = 'waiting' AND due < ?1", (due,)
                )

    def counts(self) -> dict[str, int]:
        """How many there are in each state."""
        with self._connection() as connection:
            rows = connection.execute("SELECT state, count(*) FROM notices GROUP BY state")
            return {str(row[0]): int(row[1]) for row in rows}

    def _set(self, sequence: int, state: str, reason: str | None) -> None:
        with self._connection() as connection:
            connection.execute(
                "UPDATE notices SET state = ?, reason = ? WHERE sequence = ?",
                (state, reason, sequence),
            )

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=30)) as connection, connection:
            yield connection


def _ending(
    ledger: Ledger, now: datetime, before: timedelta
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Grants whose end is near."""
    table = schema.requests
    with ledger.database.read() as connection:
        rows = connection.execute(
            sa.select(table).where(
                table.c.expires_at.is_not(None),
                table.c.ended_by.is_(None),
                table.c.expires_at > micros(now),
                table.c.expires_at <= micros(now + before),
                table.c.state.concat("").in_([state.value for state in _HELD]),
            )
        ).all()
    for row in rows:
        began = moment(max(row.filed_at, row.not_before or 0))
        ends = moment(row.expires_at)
        if ends - now <= min(before, (ends - began) / 2):
            yield f"expiring:{row.id}:{row.expires_at}", _body(row, "expiring")


def _bad(ledger: Ledger, since: datetime) -> Iterator[tuple[str, dict[str, Any]]]:
    """Requests that did not come to a good end since then."""
    table = schema.requests
    states = [state.value for state in _BAD]
    with ledger.database.read() as connection:
        rows = connection.execute(
            sa.select(table).where(
                sa.or_(
                    table.c.state.in_(states),
                    sa.and_(
                        table.c.state == RequestState.REFUSED.value,
                        table.c.source == Source.EXPIRY.value,
                    ),
                ),
                table.c.changed_at >= micros(since),
            )
        ).all()
    for row in rows:
        if row.state == RequestState.REFUSED.value:
            # It is tried again and again; what is new is only the first time.
            yield f"ending_refused:{row.id}", _body(row, "ending_refused")
        else:
            what = _BAD[RequestState(row.state)]
            yield f"{what}:{row.id}:{row.changed_at}", _body(row, what)


def _body(row: Any, what: str) -> dict[str, Any]:
    ends = row.expires_at
    return {
        "event": "request",
        "what": what,
        "request": row.id,
        "kind": row.kind,
        "state": row.state,
        **about(row.identity),
        "source": row.source,
        "plan": row.plan_hash,
        "expires_at": None if ends is None else rfc3339(moment(ends)),
        "changed_at": rfc3339(moment(row.changed_at)),
    }


def _text(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
