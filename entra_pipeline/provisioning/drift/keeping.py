"""Working out and keeping `grant_changes`: what a sync does about drift.

One commit holds the new rows and how far the tables' histories were gone through. So what a sync
left undone, killed or failed, the next one does, and nothing is done twice: the id of a row follows
from the change.

Not here: the rules (`causes`), what they go by (`evidence`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from entra_pipeline.lake import Lake
from entra_pipeline.lake.events import Events
from entra_pipeline.lake.feed_model import Event
from entra_pipeline.provisioning.drift import causes, evidence, undone
from entra_pipeline.provisioning.drift.sources import SOURCES, Source, changed
from entra_pipeline.tables import LEDGER, TABLES
from entra_pipeline.tables.model import TIME

TABLE: Final = LEDGER["grant_changes"]
FIRST: Final = timedelta(days=30)
"""How far back the first time goes, and how long unknown causes may become known: Microsoft keeps
audits no longer."""
RECENT: Final = timedelta(days=30)
"""What the warehouse holds of them; the lake has all."""

_CHANGED: Final = """
CREATE OR REPLACE TEMP TABLE changed (
    id VARCHAR, sync_id VARCHAR, seen_after TIMESTAMPTZ, seen_at TIMESTAMPTZ,
    source_table VARCHAR, row_key VARCHAR, operation VARCHAR, principal_id VARCHAR,
    resource_id VARCHAR, entitlement_id VARCHAR, state VARCHAR, assigned VARCHAR,
    ends TIMESTAMPTZ, through VARCHAR
)
"""
_RESOURCE: Final = "regexp_extract(entitlement_id, '^[a-z]+:([^:@]+)', 1)"

ReadBefore = Callable[[str, datetime], datetime | None]
"""When a table had been read before that time; None when nobody knows."""
Heard = Callable[[datetime], Sequence[Event]]
"""What the event feed has heard of what happened since then."""


@dataclass(frozen=True)
class Known:
    """What the ledger says, and what the settings name.

    `ledger`: whether all that the ledger did up to now is in the lake, or there is no ledger.
    """

    ledger: bool
    automation: Sequence[str] = ()


def classify(
    root: Path,
    *,
    read_before: ReadBefore,
    known: Known,
    sync_id: str,
    heard_since: Heard = lambda _: (),
    now: datetime | None = None,
) -> int:
    """Find out what made the direct grants change that changed since the last time; how many did.

    `root`: the lake. Whoever calls holds the data directory's lock. Nothing is written, and no
    table is opened, when nothing changed and no evidence came in.
    """
    now = (now or datetime.now(UTC)).astimezone(UTC)
    lake, books, events = Lake(root), evidence.book(root), Events(root)
    info = books.info(TABLE.name)
    done = _done(None if info is None else info.cursor)
    todo = _todo(lake, done, now)
    heard = events.info(evidence.AUDITS)
    news = {"events": None if heard is None else heard.version, "ledger": known.ledger}
    again = done.get("open") and any(done.get(name) != value for name, value in news.items())
    last = datetime.fromisoformat(done["compared"]) if done["compared"] else now - FIRST
    compare = known.ledger and undone.due(books, last) and undone.until(lake, now) > last
    if not todo and not again and not compare:
        return 0
    spans = [] if heard is None else list(heard.covered)
    with duckdb.connect(config={"memory_limit": "1GiB"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(_CHANGED)
        for source, since in todo:
            _gather(connection, lake, source, since, read_before)
        _facts(connection, spans, known, now)
        if again:
            _reopen(connection, books, datetime.fromisoformat(done["open"]), now)
        if compare:
            until = undone.until(lake, now)
            undone.find(connection, lake, books, last, until, sync_id)
            last = until
        count = _count(connection, "changed")
        if count:
            _settle(connection, lake, books, events, heard_since)
            rows = _rows(connection, books)
        else:
            rows = TABLE.schema().empty_table()
        left = _open(connection, books, done, again=bool(again), settled=bool(count), now=now)
    tables = {**done["tables"]}
    for source, _ in todo:
        found = lake.info(source.table)
        tables[source.table] = found.changed_as_of.isoformat() if found else None
    cursor = json.dumps(
        {"tables": tables, "open": left, "compared": last.isoformat(), **news}, sort_keys=True
    )
    if info is None:
        books.commit(TABLE, rows, sync_id=sync_id, as_of=now, cursor=cursor)
    else:
        books.evolve(TABLE.name)
        books.amend(TABLE, upserts=rows, sync_id=sync_id, as_of=now, cursor=cursor)
    return count


def maintain(root: Path, before: datetime | None, sync_id: str, now: datetime) -> int:
    """Remove files that nobody needs, and changes seen before then; how many of these there were.

    Whoever calls holds the data directory's lock.
    """
    books = evidence.book(root)
    info = books.info(TABLE.name)
    if info is None:
        return 0
    if before is None:
        books.maintain(TABLE.name)
        return 0
    limit = f"drift_{evidence.stamp(before)}"
    ids = books.read(TABLE.name, ["id"])
    old = ids.filter(pc.less(ids.column("id"), pa.scalar(limit)))
    if old.num_rows:
        books.amend(
            TABLE,
            upserts=TABLE.schema().empty_table(),
            deletes=old,
            sync_id=sync_id,
            as_of=now,
            cursor=info.cursor,
        )
    books.maintain(TABLE.name, keep=now - before, now=now)
    return old.num_rows


def recent_files(books: Lake, now: datetime) -> list[str]:
    """The files of `grant_changes` that the warehouse shows."""
    return evidence.recent(books, now - RECENT)


def _done(cursor: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {} if cursor is None else json.loads(cursor)
    return {"tables": {}, "open": None, "compared": None, **found}


def _todo(lake: Lake, done: dict[str, Any], now: datetime) -> list[tuple[Source, datetime]]:
    """The tables with changes that were not gone through, and from when on."""
    found = []
    for source in SOURCES:
        info = lake.info(source.table)
        if info is None or info.changes_version is None:
            continue
        said = done["tables"].get(source.table)
        since = now - FIRST if said is None else datetime.fromisoformat(said)
        if info.changed_as_of > since:
            found.append((source, since))
    return found


def _gather(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    source: Source,
    since: datetime,
    read_before: ReadBefore,
) -> None:
    """Add a table's changes since a moment to `changed`."""
    table = TABLES[source.table]
    rows = evidence.history(lake, table, source.columns, since, before=source.lists is not None)
    times = [row.as_py() for row in rows.column("at").unique()]
    before = [read_before(table.name, at) for at in times]
    dates = pa.table({"seen": pa.array(times, TIME), "before": pa.array(before, TIME)})
    connection.register("history", rows)
    connection.register("dates", dates)
    connection.execute(
        f"""
        INSERT INTO changed BY NAME
        SELECT 'drift_' || format('{{:015x}}', epoch_us(seen_at)) || '_' || left(md5(concat_ws(
                   '|', source_table, row_key, entitlement_id, operation)), 16) AS id,
               c.*, d.before AS seen_after, NULL AS through
        FROM ({changed(source, table.key, "history")}) c JOIN dates d ON d.seen = c.seen_at
        WHERE principal_id IS NOT NULL AND entitlement_id IS NOT NULL
        """
    )
    connection.unregister("history")
    connection.unregister("dates")


def _facts(
    connection: duckdb.DuckDBPyConnection,
    spans: Sequence[tuple[datetime, datetime]],
    known: Known,
    now: datetime,
) -> None:
    """Relations of a row or a few: what the audits cover, what is known of the ledger, the time."""
    given: dict[str, Any] = {
        "spans": pa.table(
            {
                "start": pa.array([span[0] for span in spans], TIME),
                "stop": pa.array([span[1] for span in spans], TIME),
            }
        ),
        "ledger_known": pa.table({"known": [known.ledger]}),
        "now_is": pa.table({"moment": pa.array([now], TIME)}),
    }
    for name, rows in given.items():
        connection.register("given", rows)
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM given")
        connection.unregister("given")
    evidence.known(connection, known.automation)


def _reopen(
    connection: duckdb.DuckDBPyConnection, books: Lake, since: datetime, now: datetime
) -> None:
    """Add to `changed` what was unknown and may be known now."""
    files = evidence.recent(books, max(since, now - FIRST))
    if not files:
        return
    connection.execute(
        f"""
        INSERT INTO changed BY NAME
        SELECT g.id, g.seen_by AS sync_id, g.seen_after, g.seen_at, g.source_table, g.row_key,
               g.change AS operation, g.principal_id, lower({_RESOURCE}) AS resource_id,
               g.entitlement_id, g.state, g.through
        FROM {evidence.parquet(files)} g
        WHERE g.cause = 'unknown' AND (SELECT known FROM ledger_known)
          AND EXISTS (SELECT 1 FROM spans s WHERE s.start <= g.seen_after AND s.stop >= g.seen_at)
          AND g.id NOT IN (SELECT id FROM changed)
        """
    )


def _settle(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    books: Lake,
    events: Events,
    heard_since: Heard,
) -> None:
    first, last = connection.execute(
        "SELECT min(coalesce(seen_after, seen_at - INTERVAL 1 DAY)), max(seen_at) FROM changed"
    ).fetchall()[0]
    since, until = first - evidence.BEFORE, last + evidence.AFTER
    evidence.properties(connection, lake, since)
    evidence.activations(connection, lake)
    feed = [each for each in heard_since(since) if each.time < until]
    evidence.audits(connection, lake, events, feed, since, until)
    evidence.ledger(connection, books)
    evidence.used(connection, books, since)
    causes.settle(connection)


def _open(
    connection: duckdb.DuckDBPyConnection,
    books: Lake,
    done: dict[str, Any],
    *,
    again: bool,
    settled: bool,
    now: datetime,
) -> str | None:
    """When the earliest change was seen whose cause is unknown and may yet be known."""
    oldest: list[datetime] = []
    if settled:
        row = connection.execute(
            "SELECT min(seen_at) FROM verdict WHERE cause = 'unknown' AND seen_after IS NOT NULL"
        ).fetchone()
        oldest += [row[0]] if row and row[0] else []
    if done["open"] is not None:
        since = max(datetime.fromisoformat(done["open"]), now - FIRST)
        if not again:
            oldest.append(since)
        elif files := evidence.recent(books, since):
            row = connection.execute(
                f"SELECT min(seen_at) FROM {evidence.parquet(files)} WHERE cause = 'unknown' "
                "AND seen_after IS NOT NULL AND seen_at >= ?"
                + (" AND id NOT IN (SELECT id FROM verdict)" if settled else ""),
                [since],
            ).fetchone()
            oldest += [row[0]] if row and row[0] else []
    return min(oldest).astimezone(UTC).isoformat() if oldest else None


def _rows(connection: duckdb.DuckDBPyConnection, books: Lake) -> pa.Table:
    """What is to be kept: what is known already stays, even where evidence has gone meanwhile."""
    names = ", ".join(column.name for column in TABLE.columns)
    first = connection.execute("SELECT min(id) FROM verdict").fetchall()[0][0]
    files = evidence.paths_since(books, first)
    kept = (
        f"WHERE id NOT IN (SELECT id FROM {evidence.parquet(files)} WHERE cause <> 'unknown')"
        if files
        else ""
    )
    rows: Any = connection.sql(f"SELECT {names} FROM verdict {kept} ORDER BY id").to_arrow_table()
    found: pa.Table = rows
    return found


def _count(connection: duckdb.DuckDBPyConnection, name: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {name}").fetchone()
    return int(row[0]) if row else 0
