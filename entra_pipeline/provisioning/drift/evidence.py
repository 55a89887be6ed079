"""What the lake has to say about changes: properties of objects, the ledger, directory audits.

Each function makes one relation in a connection, from as few files as will do: what it costs grows
with the changes. Not here: what follows from it (`causes`).
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import duckdb
import pyarrow as pa

from entra_pipeline.access.engine import literal
from entra_pipeline.lake import Lake
from entra_pipeline.lake.events import Events
from entra_pipeline.lake.feed_model import Event
from entra_pipeline.lake.history import History
from entra_pipeline.provisioning.drift.sources import OBJECTS
from entra_pipeline.tables import LEDGER, TABLES, Table
from entra_pipeline.tables.model import TIME

AUDITS: Final = "directory_audits"
BEFORE: Final = timedelta(minutes=30)
"""How long a change may not show in a read: replicas, and feeds of changes, are behind."""
AFTER: Final = timedelta(minutes=10)
"""How much later than the beginning of a read a change may be that it showed."""

_FEW: Final = 1_000
_GUID: Final = "[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_NAMING: Final = (
    "objectid",
    "templateid",
    "approle.id",
    "roledefinitionoriginid",
)
"""How names of modified properties end that hold the id of something else."""
_GIVES: Final = ("add", "assign", "create", "invite", "restore", "recover", "consent", "activate")
_TAKES: Final = (
    "remove",
    "delete",
    "unassign",
    "revoke",
    "hard",
    "soft",
    "permanently",
    "deactivate",
)


def history(
    lake: Lake, table: Table, columns: Sequence[str], after: datetime, *, before: bool = False
) -> pa.Table:
    """Columns of a table's changes later than a moment; none if there is no history."""
    info = lake.info(table.name)
    names = ["operation", "sync_id", "at", *columns, *(["before"] if before else [])]
    version = None if info is None else info.changes_version
    return History(lake.root, table).read(version, after=after, columns=names)


def paths(lake: Lake, name: str, ids: Collection[str] | None = None) -> list[str]:
    """The files of a table, or those that can have rows whose key begins with one of some ids."""
    info, files = lake.info(name), lake.files(name)
    if ids is None or info is None or not info.files or len(info.files) != len(files):
        return files
    firsts = [str(file.first[0]) for file in info.files]
    wanted: set[int] = set()
    for each in ids:
        # Rows with one id may go on in the files after the one that it begins in.
        start = max(bisect.bisect_left(firsts, each) - 1, 0)
        wanted.update(range(start, max(bisect.bisect_right(firsts, each), start + 1)))
    return [files[place] for place in sorted(wanted)]


def select(
    connection: duckdb.DuckDBPyConnection, name: str, files: Sequence[str], query: str, empty: str
) -> None:
    """Make a relation from files: `query` has `{files}`; `empty`: its columns when there are none.

    A column that files of an older version lack is null.
    """
    if files:
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {name} AS " + query.replace("{files}", parquet(files))
        )
    else:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} ({empty})")


def parquet(files: Sequence[str]) -> str:
    """SQL that reads files; columns that some lack are null there."""
    return f"read_parquet([{', '.join(map(literal, files))}], union_by_name = true)"


def properties(connection: duckdb.DuckDBPyConnection, lake: Lake, since: datetime) -> None:
    """`holders`: groups and units that changes name, and how their members come; `lost`: objects
    that were deleted lately; both as id, is_dynamic, is_synced.

    Of a group that is gone the history has the last word.
    """
    ids = [
        row[0] for row in connection.execute("SELECT DISTINCT resource_id FROM changed").fetchall()
    ]
    empty = "id VARCHAR, is_dynamic BOOLEAN, is_synced BOOLEAN"
    wanted = "lower(id) IN (SELECT resource_id FROM changed)"
    select(
        connection,
        "holders",
        paths(lake, "groups", ids),
        "SELECT lower(id) AS id, coalesce(is_dynamic, false) AS is_dynamic, "
        f"coalesce(on_premises_sync_enabled, false) AS is_synced FROM {{files}} WHERE {wanted}",
        empty,
    )
    select(
        connection,
        "units",
        paths(lake, "administrative_units", ids),
        "SELECT lower(id) AS id, lower(coalesce(membership_type, '')) = 'dynamic' AS is_dynamic, "
        f"false AS is_synced FROM {{files}} WHERE {wanted}",
        empty,
    )
    connection.execute("INSERT INTO holders SELECT * FROM units")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE lost ({empty})")
    for name in OBJECTS:
        table = TABLES[name]
        known = {column.name for column in table.columns}
        synced = ["on_premises_sync_enabled"] if "on_premises_sync_enabled" in known else []
        rows = history(lake, table, ["id", *synced], since)
        connection.register("deleted", rows)
        connection.execute(
            "INSERT INTO lost SELECT DISTINCT lower(id), false, "
            f"coalesce({synced[0] if synced else 'false'}, false) FROM deleted "
            "WHERE operation = 'delete' AND (lower(id) IN (SELECT resource_id FROM changed) "
            "OR lower(id) IN (SELECT lower(principal_id) FROM changed))"
        )
        connection.unregister("deleted")


def activations(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """`activated`: principal and entitlement of what PIM activated, of changes of roles and groups.

    What it took back lately is among the changes themselves.
    """
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE activated (principal_id VARCHAR, entitlement_id VARCHAR)"
    )
    asked = connection.execute(
        "SELECT count(*) FROM changed WHERE source_table IN "
        "('role_assignments', 'group_members', 'group_owners') AND operation = 'appeared'"
    ).fetchone()
    if not asked or not asked[0]:
        return
    for name, entitlement in (
        (
            "role_assignment_schedule_instances",
            "'role:' || role_definition_id || '@' "
            "|| coalesce(directory_scope_id, app_scope_id, '/')",
        ),
        (
            "group_assignment_schedule_instances",
            "'group:' || group_id || ':' || lower(access_id)",
        ),
    ):
        if files := lake.files(name):
            connection.execute(
                f"INSERT INTO activated SELECT principal_id, {entitlement} "
                f"FROM {parquet(files)} "
                "WHERE lower(assignment_type) = 'activated' "
                "AND principal_id IN (SELECT principal_id FROM changed)"
            )


def ledger(connection: duckdb.DuckDBPyConnection, books: Lake) -> None:
    """`ours`: what the ledger wrote about those principals and resources; `calls`: those of its
    calls that audits tell of (`told`)."""
    operations = books.files("operations")
    select(
        connection,
        "ours",
        operations,
        "SELECT id, request_id, action, lower(principal_id) AS principal_id, "
        "lower(target_id) AS target_id, lower(entitlement_id) AS entitlement_id, written_at, "
        "CASE WHEN regexp_matches(action, '^(add|assign|pim_assign|create|restore)_') "
        "THEN 'appeared' WHEN regexp_matches(action, '^(remove|pim_remove|delete)_') THEN 'gone' "
        "END AS operation FROM {files} WHERE written_at IS NOT NULL AND added AND ("
        "lower(principal_id) IN (SELECT lower(principal_id) FROM changed) "
        "OR lower(target_id) IN (SELECT resource_id FROM changed) "
        "OR lower(target_id) IN (SELECT lower(principal_id) FROM changed))",
        "id VARCHAR, request_id VARCHAR, action VARCHAR, principal_id VARCHAR, target_id VARCHAR, "
        "entitlement_id VARCHAR, written_at TIMESTAMPTZ, operation VARCHAR",
    )
    select(
        connection,
        "calls",
        operations,
        "SELECT id, request_id, written_at, lower(client_request_id) AS client_request_id "
        "FROM {files} WHERE lower(client_request_id) IN (SELECT correlation_id FROM told)",
        "id VARCHAR, request_id VARCHAR, written_at TIMESTAMPTZ, client_request_id VARCHAR",
    )


def used(connection: duckdb.DuckDBPyConnection, books: Lake, since: datetime) -> None:
    """`used`: operations and audits that earlier changes were put down to."""
    select(
        connection,
        "used",
        recent(books, since),
        "SELECT id, source_table, change AS operation, principal_id, entitlement_id, "
        "operation_id, audit_id "
        "FROM {files} WHERE (operation_id IS NOT NULL OR audit_id IS NOT NULL) "
        "AND principal_id IN (SELECT principal_id FROM changed)",
        "id VARCHAR, source_table VARCHAR, operation VARCHAR, principal_id VARCHAR, "
        "entitlement_id VARCHAR, operation_id VARCHAR, audit_id VARCHAR",
    )


def recent(books: Lake, since: datetime) -> list[str]:
    """The files of `grant_changes` that can have changes seen since a moment."""
    return paths_since(books, f"drift_{stamp(since)}")


def paths_since(books: Lake, first: str) -> list[str]:
    """The files of `grant_changes` with ids not before one."""
    info, files = books.info("grant_changes"), books.files("grant_changes")
    if info is None or not info.files or len(info.files) != len(files):
        return files
    firsts = [str(file.first[0]) for file in info.files]
    return files[max(bisect.bisect_right(firsts, first) - 1, 0) :]


def stamp(moment: datetime) -> str:
    """A moment as ids of changes begin with it: microseconds, so that ids sort by time."""
    return f"{round(moment.timestamp() * 1_000_000):015x}"


def audits(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    events: Events,
    feed: Sequence[Event],
    start: datetime,
    end: datetime,
) -> None:
    """`told`: successful audits of that time that name a changed principal; `about`: what each
    of them names. `feed`: what the event feed has heard of the same log, sooner than it is read.
    """
    naming = " OR ".join(f"lower(m.display_name) LIKE '%{name}'" for name in _NAMING)
    gives, takes = (f"({', '.join(repr(word) for word in words)})" for words in (_GIVES, _TAKES))
    files = events.files(AUDITS, start, end)
    row = connection.execute("SELECT count(*) FROM changed").fetchall()[0]
    # Looking for a few ids comes before taking texts apart; for very many it would cost more.
    few = row[0] <= _FEW
    named = (
        "AND list_has_any(list_transform(target_resources, lambda t: lower(t.id)), "
        "(SELECT list(DISTINCT name) FROM (SELECT lower(principal_id) AS name FROM changed "
        "UNION ALL SELECT resource_id FROM changed)))"
        if few
        else ""
    )
    select(
        connection,
        "heard",
        files,
        f"""
        SELECT id, activity_date_time AS happened, activity_display_name AS activity,
               lower(coalesce(logged_by_service, '')) AS service,
               lower(correlation_id) AS correlation_id,
               lower(initiated_by_user_id) AS user_id, lower(initiated_by_app_id) AS app_id,
               lower(initiated_by_service_principal_id) AS service_principal_id,
               list_distinct(list_concat(
                   list_transform(target_resources, lambda t: lower(t.id)),
                   flatten(list_transform(target_resources, lambda t: list_transform(
                       list_filter(coalesce(t.modified_properties, []), lambda m: {naming}),
                       lambda m: lower(regexp_extract(
                           concat_ws(' ', m.new_value, m.old_value), '{_GUID}'))
                   )))
               )) AS names
        FROM {{files}}
        WHERE activity_date_time >= {_time(start)} AND activity_date_time < {_time(end)}
          AND lower(coalesce(result, 'success')) <> 'failure' {named}
        """,
        "id VARCHAR, happened TIMESTAMPTZ, activity VARCHAR, service VARCHAR, "
        "correlation_id VARCHAR, user_id VARCHAR, app_id VARCHAR, service_principal_id VARCHAR, "
        "names VARCHAR[]",
    )
    if feed:
        _heard_too(connection, lake, feed)
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE about AS
        SELECT id, name FROM (SELECT id, unnest(names) AS name FROM heard)
        WHERE name IN (SELECT lower(principal_id) FROM changed)
           OR name IN (SELECT resource_id FROM changed);
        CREATE OR REPLACE TEMP TABLE told AS
        SELECT * EXCLUDE (names),
               split_part(lower(trim(activity)), ' ', 1) AS verb,
               CASE WHEN verb IN {gives} THEN 'appeared' WHEN verb IN {takes} THEN 'gone' END
                   AS operation
        FROM heard SEMI JOIN about USING (id);
        """
    )


def _heard_too(connection: duckdb.DuckDBPyConnection, lake: Lake, feed: Sequence[Event]) -> None:
    """Add to `heard` what the event feed knows and the log's table does not have yet."""
    rows: Any = pa.table(
        {
            "id": [each.id for each in feed],
            "happened": pa.array([each.time for each in feed], TIME),
            "activity": [each.activity for each in feed],
            "service": pa.array([(each.service or "").lower() for each in feed], pa.string()),
            "correlation_id": pa.array([each.correlation_id for each in feed], pa.string()),
            "kind": pa.array([each.actor_kind for each in feed], pa.string()),
            "actor": pa.array([(each.actor_id or "").lower() for each in feed], pa.string()),
            "names": pa.array(
                [[name.lower() for name in each.targets] for each in feed], pa.list_(pa.string())
            ),
        }
    )
    select(
        connection,
        "actors",
        lake.files("service_principals"),
        "SELECT lower(id) AS id, lower(app_id) AS app_id FROM {files}",
        "id VARCHAR, app_id VARCHAR",
    )
    connection.register("given", rows)
    connection.execute(
        """
        INSERT INTO heard BY NAME
        SELECT g.id, happened, activity, service, lower(correlation_id) AS correlation_id,
               CASE WHEN kind = 'user' THEN nullif(actor, '') END AS user_id,
               -- An application without a service principal here is known by its own id.
               CASE WHEN kind = 'application' THEN coalesce(a.app_id, nullif(actor, '')) END
                   AS app_id,
               CASE WHEN kind = 'application' THEN a.id END AS service_principal_id, names
        FROM given g LEFT JOIN actors a ON a.id = actor AND kind = 'application'
        WHERE g.id NOT IN (SELECT id FROM heard)
        """
    )
    connection.unregister("given")


def known(connection: duckdb.DuckDBPyConnection, ids: Iterable[str]) -> None:
    """`automata`: ids of users, applications and service principals that are known automation."""
    rows: Any = pa.table({"id": pa.array([each.lower() for each in ids], pa.string())})
    connection.register("given", rows)
    connection.execute("CREATE OR REPLACE TEMP TABLE automata AS SELECT * FROM given")
    connection.unregister("given")


def _time(moment: datetime) -> str:
    return f"TIMESTAMPTZ '{moment.isoformat()}'"


def book(root: Any) -> Lake:
    """The lake's tables that the ledger and drift are kept in."""
    return Lake(root, LEDGER)
