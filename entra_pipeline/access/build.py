"""Building warehouse.duckdb: directory tables in, entitlement graph, counts and macros out.

Here belong the steps, one function each, so that an orchestrator can run and show them one by
one. A step takes the path of the stage file, a warehouse that nobody else has open, does its
part and closes it again; rows never pass between steps. `publish` (its own module) is what makes
a finished stage visible.

    load → principals → entitlements → grants → closure → counts → usage → finish

A stage can also begin as a copy of the published warehouse (`refresh`): the steps are the same, and
do their part for what changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa

from entra_pipeline import tables
from entra_pipeline.access import closure as nesting
from entra_pipeline.access import counts as counting
from entra_pipeline.access import refresh as refreshing
from entra_pipeline.access import usage as using
from entra_pipeline.access.edition import edition
from entra_pipeline.access.engine import KEPT_BYTES, hold, literal, quote, release, script, writing

if TYPE_CHECKING:
    from entra_pipeline.lake.books import SyncRecord, TableStatus
    from entra_pipeline.lake.events import Events

# Tables whose rows the graph needs; the others are copied into the warehouse for readers.
FORMAT = 2
# group_members is by far the largest table: it is stored once, in numbers, and shown by a view.
IN_NUMBERS = refreshing.IN_NUMBERS
_BOOKS = ("syncs", "table_status")
# The views of sources.sql.
_SOURCES = (
    "direct_holds",
    "licensed",
    "role_pim",
    "group_pim",
    "named_ids",
    "all_named_ids",
    "listed_principals",
)
_KINDS: dict[str, Mapping[str, str]] = {}
# Numbers in an order of their own: equal tables give equal numbers, whatever thread came first.
_NUMBERED = """
CREATE TABLE internal.entitlements AS
SELECT (row_number() OVER (ORDER BY kind, resource_id, permission, scope) - 1)::INTEGER AS eix, *
FROM made_entitlements
"""


def load(
    stage: Path,
    files: Mapping[str, Sequence[str]],
    statuses: Mapping[str, TableStatus],
    *,
    syncs: Iterable[SyncRecord] = (),
    now: datetime | None = None,
    lake: refreshing.Source | None = None,
) -> None:
    """Start a stage: copy directory and bookkeeping tables into it.

    `files` gives the Parquet files of each table's current version. A table without files is
    empty; whether that means "none" is for `statuses` to say. `syncs` and `statuses` come from the
    books. `now` stands in as the reading time of tables whose status has none. Only a stage that
    was given the `lake` whose files these are can be refreshed when it is published.
    """
    _clear(stage)
    stage.parent.mkdir(parents=True, exist_ok=True)
    size = sum(os.path.getsize(file) for paths in files.values() for file in paths)
    with writing(stage, expected_bytes=size) as connection:
        connection.execute("CREATE SCHEMA internal")
        for table in tables.TABLES.values():
            if table.group == "directory" and table.name != IN_NUMBERS:
                _copy(connection, table, files.get(table.name, ()), "TABLE", table.name)
            elif table.name == IN_NUMBERS:
                # Read by the next step straight from the files: their rows need no second home.
                _copy(connection, table, files.get(table.name, ()), "VIEW", "internal.read_members")
        for table in tables.BESIDE.values():
            _copy(connection, table, files.get(table.name, ()), "TABLE", table.name)
        for name in _BOOKS:
            _copy(connection, tables.get(name), (), "TABLE", name)
        connection.execute(
            'CREATE TABLE internal.reading_times ("table" VARCHAR, as_of TIMESTAMPTZ)'
        )
        _keep_books(connection, statuses, syncs, reading_times(statuses, now))
        connection.execute(
            "CREATE TABLE internal.warehouse AS SELECT ? AS format, ? AS code, 0 AS touched, "
            "(SELECT coalesce(max(sync_id), '') FROM syncs) AS ordered_by, ?::TIMESTAMPTZ AS built",
            [FORMAT, edition(), now or datetime.now(UTC)],
        )
        if lake is not None:
            refreshing.note(connection, lake)
        connection.execute(script("sources"))
    if stage.exists() and stage.stat().st_size <= KEPT_BYTES:
        hold(stage)


def refresh(
    stage: Path,
    published: Path,
    lake: refreshing.Source,
    statuses: Mapping[str, TableStatus],
    *,
    syncs: Iterable[SyncRecord] = (),
    now: datetime | None = None,
    longest: timedelta | None = None,
    beside: Callable[[], Mapping[str, Sequence[str]]] = dict,
) -> bool:
    """Start a stage from the published warehouse and what changed in the lake since.

    False, and no stage, when that cannot be done, would not be cheaper than `load`, or when the
    last whole build is longer ago than `longest`: the log says why. `beside`: gives the files of
    the tables beside those of Graph (`tables.BESIDE`); called when they are needed, which is late.
    The steps that follow are those of a whole build.
    """
    _clear(stage)
    times = reading_times(statuses, now)
    oldest = None if longest is None else (now or datetime.now(UTC)) - longest
    if not refreshing.begin(stage, published, lake, statuses, times, built_after=oldest):
        return False
    files = beside()
    with writing(stage) as connection:
        for name in (*_BOOKS, "internal.reading_times"):
            connection.execute(f"DELETE FROM {name}")
        for name in tables.BESIDE:
            connection.execute(f"DELETE FROM {name}")
            if paths := files.get(name):
                listed = ", ".join(map(literal, paths))
                connection.execute(
                    f"INSERT INTO {name} BY NAME SELECT * FROM read_parquet([{listed}])"
                )
        _keep_books(connection, statuses, syncs, times)
    return True


def reading_times(
    statuses: Mapping[str, TableStatus], now: datetime | None = None
) -> dict[str, datetime]:
    """When each table was read: what a window of PIM must still be open at."""
    otherwise = now or datetime.now(UTC)
    return {
        name: (statuses[name].as_of if name in statuses else None) or otherwise
        for name in tables.TABLES
    }


def principals(stage: Path) -> int:
    """Principals, memberships and nesting, in numbers. Returns how many principals there are."""
    with writing(stage) as connection:
        if refreshing.is_under_way(connection):
            if refreshing.has_work(connection):
                refreshing.principals(connection)
        else:
            for part in (
                "principals",
                "dangling",
                "everybody",
                "pim_members",
                "memberships",
                "nesting",
            ):
                connection.execute(script(part))
        return _count(connection, "internal.principals")


def entitlements(stage: Path) -> int:
    """Resources and entitlements. Returns how many entitlements there are."""
    with writing(stage) as connection:
        if refreshing.is_under_way(connection):
            if refreshing.has_work(connection):
                refreshing.entitlements(connection)
        else:
            connection.execute(script("named"))
            connection.execute(script("resources"))
            connection.execute("CREATE TABLE resources AS SELECT * FROM made_resources")
            connection.execute(script("entitlements"))
            connection.execute(_NUMBERED)
        return _count(connection, "internal.entitlements")


def grants(stage: Path) -> int:
    """Direct holds. Returns how many there are, memberships of groups included."""
    with writing(stage) as connection:
        if refreshing.is_under_way(connection):
            if refreshing.has_work(connection):
                refreshing.grants(connection)
        else:
            connection.execute("CREATE TEMP VIEW holds AS SELECT * FROM internal.direct_holds")
            connection.execute("CREATE TEMP VIEW licensed_users AS SELECT * FROM internal.licensed")
            connection.execute(script("grants"))
            connection.execute(script("holds"))
        return _count(connection, "internal.grants") + _count(
            connection, "internal.members_by_group"
        )


def closure(stage: Path, *, row_budget: int = nesting.ROW_BUDGET) -> int:
    """Which groups are inside which. Returns the number of stored rows."""
    with writing(stage) as connection:
        if refreshing.is_under_way(connection):
            if not refreshing.has_work(connection):
                return _count(connection, "internal.closure")
            refreshing.forget_closure(connection)
        return close(connection, row_budget=row_budget)


def close(
    connection: duckdb.DuckDBPyConnection,
    edges: str = "internal.nesting",
    *,
    row_budget: int = nesting.ROW_BUDGET,
) -> int:
    """Make `internal.closure` of a table of edges. Returns the number of stored rows."""
    found = nesting.close(
        connection.execute(f"SELECT member_ix, group_ix, state FROM {edges}").fetchall(),
        row_budget=row_budget,
    )
    condensed = bool(found.component)
    _store(
        connection,
        "condensed_closure" if condensed else "closure",
        {
            "group_ix": np.frombuffer(found.group, np.int32),
            "member_ix": np.frombuffer(found.member, np.int32),
            "state": np.frombuffer(found.state, np.int8),
            "depth": np.frombuffer(found.depth, np.int32),
            "paths": np.frombuffer(found.paths, np.int64),
            "exact": np.frombuffer(found.exact, np.int8).astype(bool),
            "on_cycle": np.frombuffer(found.on_cycle, np.int8).astype(bool),
        },
        "group_ix, member_ix, state",
    )
    if condensed:
        _store(
            connection,
            "components",
            {
                "ix": np.array(list(found.component), np.int32),
                "representative": np.array(list(found.component.values()), np.int32),
            },
            "ix",
        )
        connection.execute(script("closure"))
    return len(found)


def counts(stage: Path) -> int:
    """How many principals hold each entitlement. Returns the number of entitlements."""
    with writing(stage) as connection:
        if refreshing.is_under_way(connection):
            if not refreshing.has_work(connection):
                return _count(connection, "internal.counts")
            return refreshing.counts(connection)
        return counting.count(connection)


def usage(stage: Path, events: Events | None = None) -> int:
    """Who used what, by the events in the lake; without them all use is unknown.

    Returns how many pairs of principal and application there are.
    """
    with writing(stage) as connection:
        if refreshing.is_under_way(connection):
            refreshing.forget_usage(connection)
        return using.build(connection, events)


def finish(stage: Path, *, described: bool = True) -> None:
    """Views, macros and descriptions; afterwards the stage is a warehouse, ready to publish.

    The descriptions, a third of the time that it takes to build little, are for analysts' tools:
    a warehouse that only this program asks can do without.
    """
    with writing(stage) as connection:
        for view in _SOURCES:
            connection.execute(f"DROP VIEW internal.{view}")
        if refreshing.is_under_way(connection):
            refreshing.finish(connection)
        else:
            connection.execute("DROP VIEW internal.read_members")
            connection.execute(script("views"))
            connection.execute(script("effective"))
            connection.execute(script("questions"))
            connection.execute(script("explain"))
            connection.execute(script("usage_views"))
            if described:
                _describe(connection)
    abandon(stage)


def abandon(stage: Path) -> None:
    """Close the stage if steps have kept it open; whoever stops before `finish` calls this."""
    release(stage)


def build(
    stage: Path,
    files: Mapping[str, Sequence[str]],
    statuses: Mapping[str, TableStatus],
    *,
    syncs: Iterable[SyncRecord] = (),
    now: datetime | None = None,
    events: Events | None = None,
    lake: refreshing.Source | None = None,
    described: bool = True,
) -> None:
    """All steps, one after the other: the whole build without an orchestrator."""
    load(stage, files, statuses, syncs=syncs, now=now, lake=lake)
    complete(stage, events, described=described)


def complete(stage: Path, events: Events | None = None, *, described: bool = True) -> None:
    """All steps after `load` or `refresh`."""
    principals(stage)
    entitlements(stage)
    grants(stage)
    closure(stage)
    counts(stage)
    usage(stage, events)
    finish(stage, described=described)


def _clear(stage: Path) -> None:
    release(stage)
    for leftover in (stage, Path(f"{stage}.wal")):
        leftover.unlink(missing_ok=True)


def _copy(
    connection: duckdb.DuckDBPyConnection,
    table: tables.Table,
    files: Sequence[str],
    form: str,
    name: str,
) -> None:
    """The table as declared, from its files; columns that older files lack are null."""
    kinds = _kinds(connection, table)
    if not files:
        if form == "TABLE":
            columns = ", ".join(f"{quote(column)} {kind}" for column, kind in kinds.items())
            connection.execute(f"CREATE TABLE {quote(name)} ({columns})")
        else:
            columns = ", ".join(f"NULL::VARCHAR AS {quote(column)}" for column in kinds)
            connection.execute(f"CREATE VIEW {name} AS SELECT {columns} WHERE false")
        return
    source = f"read_parquet([{', '.join(map(literal, files))}])"
    present = {row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    columns = ", ".join(
        f"{quote(column)}::{kind} AS {quote(column)}"
        if column in present
        else f"NULL::{kind} AS {quote(column)}"
        for column, kind in kinds.items()
    )
    target = quote(name) if form == "TABLE" else name
    connection.execute(f"CREATE {form} {target} AS SELECT {columns} FROM {source}")


def _kinds(connection: duckdb.DuckDBPyConnection, table: tables.Table) -> Mapping[str, str]:
    """DuckDB's types of a table's columns, in order; they are the same on every connection."""
    if table.name not in _KINDS:
        connection.register("nothing", table.schema().empty_table())
        described = connection.execute("DESCRIBE nothing").fetchall()
        connection.unregister("nothing")
        _KINDS[table.name] = {row[0]: row[1] for row in described}
    return _KINDS[table.name]


def _store(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    columns: dict[str, Any],
    order: str,
) -> None:
    """An internal table from columns of numbers, as numpy arrays."""
    connection.register("given", pa.table(columns))
    connection.execute(
        f"CREATE TABLE internal.{quote(name)} AS SELECT * FROM given ORDER BY {order}"
    )
    connection.unregister("given")


def _keep_books(
    connection: duckdb.DuckDBPyConnection,
    statuses: Mapping[str, TableStatus],
    syncs: Iterable[SyncRecord],
    times: Mapping[str, datetime],
) -> None:
    """Fill the bookkeeping tables, which are there and empty."""
    for name, rows in (
        ("syncs", [_sync_row(sync) for sync in syncs]),
        ("table_status", [_status_row(status) for status in statuses.values()]),
    ):
        connection.register("given", pa.Table.from_pylist(rows, tables.get(name).schema()))
        connection.execute(f"INSERT INTO {quote(name)} SELECT * FROM given")
        connection.unregister("given")
    connection.executemany("INSERT INTO internal.reading_times VALUES (?, ?)", list(times.items()))


def _sync_row(sync: SyncRecord) -> dict[str, Any]:
    return {
        "sync_id": sync.sync_id,
        "kind": sync.kind,
        "started": sync.started,
        "finished": sync.finished,
        "outcome": str(sync.outcome),
        "table_versions": [
            {"table": table, "version": version}
            for table, version in sorted(sync.table_versions.items())
        ],
        **asdict(sync.counters),
    }


def _status_row(status: TableStatus) -> dict[str, Any]:
    return {
        **{name: getattr(status, name) for name in _columns("table_status")},
        "status": str(status.status),
        "notes": [{"note": note, "count": count} for note, count in sorted(status.notes.items())],
    }


def _columns(name: str) -> list[str]:
    return [column.name for column in tables.get(name).columns]


def _describe(connection: duckdb.DuckDBPyConnection) -> None:
    """Put the registry's sentences into the warehouse, where an analyst's tools show them."""
    views = {
        row[0]
        for row in connection.execute(
            "SELECT view_name FROM duckdb_views() WHERE schema_name = 'main'"
        ).fetchall()
    }
    stored = {
        row[0]
        for row in connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main'"
        ).fetchall()
    }
    statements = []
    for table in (*tables.TABLES.values(), *tables.BESIDE.values()):
        if table.name not in views | stored:
            continue
        name = quote(table.name)
        if table.name in views:
            # DuckDB shows no comments on the columns of views.
            statements.append(f"COMMENT ON VIEW {name} IS {literal(table.doc)}")
            continue
        statements.append(f"COMMENT ON TABLE {name} IS {literal(table.doc)}")
        statements.extend(
            f"COMMENT ON COLUMN {name}.{quote(column.name)} IS {literal(column.doc)}"
            for column in table.columns
        )
    for statement in statements:
        connection.execute(statement)


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(row[0]) if row else 0
