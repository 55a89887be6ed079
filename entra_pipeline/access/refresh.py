"""Bringing a copy of the published warehouse up to date, in place of building one anew.

Here belongs deciding whether that can be done, taking changed rows over into the copy, and the
steps of `build` for what those rows touch. The rules are the build's own: its statements are run
with names that stand for some rows of the tables in place of all.

    touched.<table>     rows that changed, as they were and as they are
    touched.ids         principals that those list or name
    touched.pairs       resource and principal whose holds those are about
    touched.resources   resources whose entitlements may be others now

Everything else keeps its rows and its numbers. The schema `touched` is there as long as the stage
is being refreshed: by that the steps of `build` know.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import duckdb
import pyarrow as pa

from entra_pipeline import tables
from entra_pipeline.access import counts as counting
from entra_pipeline.access.edition import edition
from entra_pipeline.access.engine import hold, quote, script, writing
from entra_pipeline.lake import CommitInfo, TableStatus

# group_members is stored in numbers only.
IN_NUMBERS: Final = "group_members"
# Rows that were touched since the warehouse was last built whole, as a part of all: beyond it a
# build costs about as much, and puts rows in order and numbers without gaps again.
MOST_TOUCHED: Final = 0.1
LEAST_LIMIT: Final = 20_000
# Whose completeness decides what is said of ids that no table lists.
_LISTING: Final = ("users", "groups", "service_principals", "devices", "contacts")
_WINDOWED: Final = (
    "group_assignment_schedule_instances",
    "group_eligibility_schedule_instances",
    "role_assignment_schedule_instances",
    "role_eligibility_schedule_instances",
)
_MOMENT: Final = timedelta(microseconds=1)

log = logging.getLogger(__name__)


class Source(Protocol):
    """What is asked of the lake."""

    def info(self, name: str) -> CommitInfo | None:
        """What the current version of a table says of itself."""

    def recent(self, name: str, since: int | None) -> pa.Table | None:
        """What it has itself added to a table's history after that version of it, if it knows."""

    def changes(self, name: str, *, after: datetime | None = None) -> pa.Table:
        """What changed in a table after a moment, in order."""


@dataclass(frozen=True)
class _Version:
    """The state of a table that a warehouse holds."""

    declaration: int
    changes_version: int | None
    changed_as_of: datetime


class NotRefreshableError(Exception):
    """The warehouse has to be built whole; the message says why."""


def note(connection: duckdb.DuckDBPyConnection, lake: Source) -> None:
    """Write down which state of each table a stage holds, so that it can be refreshed later."""
    connection.execute(
        'CREATE TABLE internal.versions ("table" VARCHAR, declaration INTEGER, '
        "changes_version BIGINT, changed_as_of TIMESTAMPTZ)"
    )
    _note(connection, lake)


def begin(
    stage: Path,
    published: Path,
    lake: Source,
    statuses: Mapping[str, TableStatus],
    reading_times: Mapping[str, datetime],
    *,
    built_after: datetime | None = None,
) -> bool:
    """Make the stage a copy of the published warehouse with the changed rows of its tables.

    False, and no stage, when it has to be built whole: the log says why. Bookkeeping tables are
    left as they were. The stage stays open (`engine.hold`) for the steps.
    """
    try:
        changes = _changes(published, lake, statuses, reading_times, built_after)
    except NotRefreshableError as reason:
        log.info("the warehouse is built whole: %s", reason)
        return False
    stage.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(published, stage)
    hold(stage, changes_little=True)
    with writing(stage) as connection:
        connection.execute("CREATE SCHEMA touched")
        for table in _directory():
            _take_over(connection, table, changes.get(table.name))
        _expired(connection, reading_times)
        touched = sum(rows.num_rows for rows in changes.values())
        connection.execute("UPDATE internal.warehouse SET touched = touched + ?", [touched])
        connection.execute("DELETE FROM internal.versions")
        _note(connection, lake)
        connection.execute(script("sources"))
        counted = " UNION ALL ".join(
            f"SELECT count(*) AS number FROM touched.{quote(table.name)}" for table in _directory()
        )
        connection.execute(
            f"CREATE TABLE touched.total AS SELECT sum(number) AS rows FROM ({counted})"
        )
    return True


def is_under_way(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the stage is being refreshed rather than built."""
    found = connection.execute(
        "SELECT 1 FROM duckdb_schemas() WHERE schema_name = 'touched' AND NOT internal"
    ).fetchone()
    return found is not None


def has_work(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether any row changed, so that anything but usage may be other than it was."""
    return connection.execute("SELECT 1 FROM touched.total WHERE rows > 0").fetchone() is not None


def principals(connection: duckdb.DuckDBPyConnection) -> None:
    """Principals, memberships and nesting, of what changed."""
    with _names(connection, "touched"):
        connection.execute(script("refresh_ids"))
    connection.execute(script("refresh_principals"))
    connection.execute(script("dangling"))
    # Now, while the old numbers of entitlements and principals are known.
    with _names(connection, "touched"):
        connection.execute(script("refresh_pairs"))
    connection.execute(script("pim_members"))
    connection.execute(script("refresh_members"))
    connection.execute(script("nesting"))


def entitlements(connection: duckdb.DuckDBPyConnection) -> None:
    """Resources and entitlements, of what changed. Their grants are gone until `grants`."""
    connection.execute(script("refresh_resources"))
    connection.execute(script("refresh_part"))
    with _names(connection, "part"):
        connection.execute(script("refresh_named"))
    with _names(connection, "defs"):
        connection.execute(script("resources"))
        connection.execute("CREATE TEMP TABLE new_resources AS SELECT * FROM made_resources")
    connection.execute("DELETE FROM resources r USING touched.resources t WHERE t.id = r.id")
    connection.execute("INSERT INTO resources SELECT * FROM new_resources")
    with _names(connection, "defs"):
        connection.execute(script("entitlements"))
        connection.execute(script("refresh_entitlements"))


def grants(connection: duckdb.DuckDBPyConnection) -> None:
    """Direct holds, of what changed."""
    connection.execute("CREATE TEMP VIEW holds AS SELECT * FROM touched.holds")
    # Of a group's licence that one user's row is about, not all who have it.
    connection.execute(
        "CREATE TEMP VIEW licensed_users AS SELECT l.* FROM internal.licensed l "
        "SEMI JOIN touched.pairs t ON t.resource_id = l.sku_id AND t.principal_id = l.user_id"
    )
    connection.execute(script("grants"))
    with _names(connection, "part"):
        connection.execute(script("refresh_grants"))


def forget_closure(connection: duckdb.DuckDBPyConnection) -> None:
    """Drop which groups are inside which."""
    for form, name in _stored(connection, "closure", "condensed_closure", "components"):
        connection.execute(f"DROP {form} internal.{name}")
    connection.execute("DROP TABLE IF EXISTS internal.component_members")


def counts(connection: duckdb.DuckDBPyConnection) -> int:
    """How many hold each entitlement, counted anew where that may be others. Returns how many
    entitlements there are."""
    connection.execute(script("refresh_counts"))
    return counting.recount(connection)


def forget_usage(connection: duckdb.DuckDBPyConnection) -> None:
    """Drop who used what."""
    for name in ("used_applications", "application_use", "role_use", "principal_use"):
        connection.execute(f"DROP TABLE internal.{name}")
    connection.execute("DELETE FROM usage_coverage")


def finish(connection: duckdb.DuckDBPyConnection) -> None:
    """Drop what only the refreshing needed."""
    for schema in ("defs", "part", "touched"):
        connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


def _directory() -> list[tables.Table]:
    return [table for table in tables.TABLES.values() if table.group == "directory"]


def _note(connection: duckdb.DuckDBPyConnection, lake: Source) -> None:
    rows = []
    for table in _directory():
        info = lake.info(table.name)
        if info is not None:
            rows.append((table.name, info.declaration, info.changes_version, info.changed_as_of))
    if rows:
        connection.executemany("INSERT INTO internal.versions VALUES (?, ?, ?, ?)", rows)


def _changes(
    published: Path,
    lake: Source,
    statuses: Mapping[str, TableStatus],
    reading_times: Mapping[str, datetime],
    built_after: datetime | None,
) -> dict[str, pa.Table]:
    """The changes of each table that has any since the warehouse was published."""
    if not published.exists():
        raise NotRefreshableError("none is published")
    with duckdb.connect(str(published), read_only=True) as connection:
        versions, touched = _held(connection, built_after)
        _judge(connection, statuses, reading_times)
    found: dict[str, pa.Table] = {}
    total = 0
    for table in _directory():
        info, held = lake.info(table.name), versions.get(table.name)
        if (info is None) != (held is None):
            raise NotRefreshableError(f"{table.name} was read for the first time")
        if info is None or held is None:
            continue
        if not held.declaration == info.declaration == table.version:
            raise NotRefreshableError(f"{table.name} has other columns now")
        total += info.rows
        if info.changes_version == held.changes_version:
            continue
        if info.known_since > held.changed_as_of:
            raise NotRefreshableError(f"the history of {table.name} does not reach back to it")
        rows = lake.recent(table.name, held.changes_version)
        if rows is None:
            # Two commits may have one time: the last one that is known is taken over once more.
            rows = lake.changes(table.name, after=held.changed_as_of - _MOMENT)
        if rows.num_rows:
            found[table.name] = rows
            touched += rows.num_rows
    if touched > max(total * MOST_TOUCHED, LEAST_LIMIT):
        raise NotRefreshableError(f"{touched} rows have changed since that was done last")
    return found


def _held(
    connection: duckdb.DuckDBPyConnection, built_after: datetime | None
) -> tuple[dict[str, _Version], int]:
    """The states of tables in a warehouse, and how many rows were touched since it was built."""
    try:
        ((code, touched, built),) = connection.execute(
            "SELECT code, touched, built FROM internal.warehouse"
        ).fetchall()
        rows = connection.execute(
            'SELECT "table", declaration, changes_version, changed_as_of FROM internal.versions'
        ).fetchall()
    except duckdb.Error:
        raise NotRefreshableError("the published one does not say what it was built from") from None
    if code != edition():
        raise NotRefreshableError("the published one was built by another version of this program")
    if built_after is not None and built < built_after:
        raise NotRefreshableError(f"that was done last on {built:%Y-%m-%d}")
    return {row[0]: _Version(row[1], row[2], row[3].astimezone(UTC)) for row in rows}, touched


def _judge(
    connection: duckdb.DuckDBPyConnection,
    statuses: Mapping[str, TableStatus],
    reading_times: Mapping[str, datetime],
) -> None:
    """Raise when something that all rows depend on is not as it was."""
    then = dict(connection.execute('SELECT "table", status FROM table_status').fetchall())
    for name in _LISTING:
        now = str(statuses[name].status) if name in statuses else "never"
        if (then.get(name, "never") == "complete") != (now == "complete"):
            raise NotRefreshableError(f"{name} is {now} and was {then.get(name, 'never')}")
    times = dict(connection.execute('SELECT "table", as_of FROM internal.reading_times').fetchall())
    for name in _WINDOWED:
        if times[name].astimezone(UTC) > reading_times[name]:
            raise NotRefreshableError(f"{name} was read earlier than what is published says")


def _take_over(
    connection: duckdb.DuckDBPyConnection, table: tables.Table, changes: pa.Table | None
) -> None:
    """Bring a table up to date; `touched.<table>` gets its changed rows, old and new."""
    name = quote(table.name)
    if changes is None:
        if table.name == IN_NUMBERS:
            connection.register("given", table.schema().empty_table())
            connection.execute(f"CREATE TABLE touched.{name} AS SELECT *, false AS gone FROM given")
            connection.unregister("given")
        else:
            connection.execute(f"CREATE TABLE touched.{name} AS SELECT * FROM main.{name} LIMIT 0")
        return
    columns = ", ".join(quote(column.name) for column in table.columns)
    key = ", ".join(quote(column) for column in table.key)
    same = " AND ".join(f"t.{quote(column)} = g.{quote(column)}" for column in table.key)
    wanted = ["operation", *(column.name for column in table.columns)]
    connection.register("changed", _last_of_each(table.key, changes.select(wanted)))
    if table.name == IN_NUMBERS:
        connection.execute(
            f"CREATE TABLE touched.{name} AS "
            f"SELECT {columns}, operation = 'delete' AS gone FROM changed"
        )
    else:
        connection.execute(
            f"CREATE TABLE touched.{name} AS SELECT t.* FROM main.{name} t SEMI JOIN changed g "
            f"ON {same}"
        )
        connection.execute(f"DELETE FROM main.{name} t USING changed g WHERE {same}")
        for target in ("main", "touched"):
            connection.execute(
                f"INSERT INTO {target}.{name} ({columns}) SELECT {columns} FROM changed "
                f"WHERE operation <> 'delete' ORDER BY {key}"
            )
    connection.unregister("changed")


def _last_of_each(key: Sequence[str], changes: pa.Table) -> pa.Table:
    """Of several changes of one row the last one, which is the one that counts."""
    order = changes.select(key).append_column("place", pa.array(range(changes.num_rows)))
    last = order.group_by(list(key)).aggregate([("place", "max")]).column("place_max")
    return changes if len(last) == changes.num_rows else changes.take(last)


def _expired(connection: duckdb.DuckDBPyConnection, reading_times: Mapping[str, datetime]) -> None:
    """Holds whose window has run out since count as changed, though their rows did not."""
    for name in _WINDOWED:
        connection.execute(
            f"INSERT INTO touched.{name} SELECT r.* FROM main.{name} r, internal.reading_times t "
            'WHERE t."table" = ? AND r.end_date_time > t.as_of AND r.end_date_time <= ?',
            [name, reading_times[name]],
        )


@contextmanager
def _names(connection: duckdb.DuckDBPyConnection, schema: str) -> Iterator[None]:
    """Names of tables without a schema mean those of that schema, if it has them."""
    connection.execute(f"SET search_path = '{schema},main'")
    yield
    connection.execute("SET search_path = 'main'")


def _stored(connection: duckdb.DuckDBPyConnection, *names: str) -> list[tuple[str, Any]]:
    """Which of the names are there in `internal`, each as a table or a view."""
    return connection.execute(
        "SELECT CASE table_type WHEN 'VIEW' THEN 'VIEW' ELSE 'TABLE' END, table_name "
        "FROM information_schema.tables "
        "WHERE table_schema = 'internal' AND list_contains(?, table_name)",
        [list(names)],
    ).fetchall()
