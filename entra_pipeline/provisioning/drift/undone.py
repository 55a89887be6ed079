"""What the ledger wrote and somebody undid before any sync saw it.

Access that was revoked and given back between two syncs changes no row of any table, so no history
tells of it. Here: comparing what the ledger has confirmed with what the tables have, once for each
write, as soon as a table was read late enough to show it. Not here: who it was (`causes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import duckdb

from entra_pipeline.lake import Lake
from entra_pipeline.provisioning.drift import evidence
from entra_pipeline.provisioning.drift.sources import SOURCES, Source
from entra_pipeline.tables import TABLES

_BY_FORM: Final = {
    "group_members": "entitlement_id LIKE 'group:%:member' AND mode = 'direct'",
    "group_owners": "entitlement_id LIKE 'group:%:owner' AND mode = 'direct'",
    "app_role_assignments": "entitlement_id LIKE 'app:%'",
    "role_assignments": "entitlement_id LIKE 'role:%' AND mode = 'direct'",
    "license_assignments": "entitlement_id LIKE 'license:%'",
}
"""Which confirmed writes a table must show. What PIM gives ends by itself."""
_WATCHED: Final = tuple(source for source in SOURCES if source.table in _BY_FORM)


def until(lake: Lake, now: datetime) -> datetime:
    """Writes confirmed by then have to show in every table that was read."""
    times = [info.as_of for each in _WATCHED if (info := lake.info(each.table)) is not None]
    return min([*times, now]) - evidence.AFTER


def due(books: Lake, since: datetime) -> bool:
    """Whether the ledger may have anything to compare."""
    info = books.info("operations")
    return info is not None and info.rows > 0 and info.changed_as_of > since


def find(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    books: Lake,
    since: datetime,
    last: datetime,
    sync_id: str,
) -> None:
    """Add to `changed` what is not as the ledger's last word on it, confirmed between the two."""
    operations, requests = books.files("operations"), books.files("requests")
    if not operations or not requests:
        return
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE confirmed AS
        SELECT o.principal_id, o.entitlement_id, o.written_at, r.mode,
               CASE WHEN regexp_matches(o.action, '^(add|assign)_') THEN 'appeared'
                    WHEN regexp_matches(o.action, '^remove_') THEN 'gone' END AS operation
        FROM {evidence.parquet(operations)} o
        JOIN {evidence.parquet(requests)} r ON r.id = o.request_id
        WHERE o.state = 'verified' AND o.added AND o.written_at IS NOT NULL
          AND o.principal_id IS NOT NULL AND o.entitlement_id IS NOT NULL
          -- Owners of lists are Exchange's: Graph's, of whom the tables tell, do not follow.
          AND NOT ends_with(o.action, '_exchange_owner')
          AND o.principal_id || o.entitlement_id IN (
              SELECT principal_id || entitlement_id FROM {evidence.parquet(operations)}
              WHERE state = 'verified' AND changed_at > $1 AND changed_at <= $2
                AND principal_id IS NOT NULL)
        QUALIFY row_number() OVER (
            PARTITION BY o.principal_id, o.entitlement_id, r.mode ORDER BY o.written_at DESC) = 1
        """,
        [since, last],
    )
    for source in _WATCHED:
        _compare(connection, lake, books, source, since, sync_id)


def _compare(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    books: Lake,
    source: Source,
    since: datetime,
    sync_id: str,
) -> None:
    wanted = _BY_FORM[source.table]
    ids = connection.execute(
        f"SELECT DISTINCT split_part(entitlement_id, ':', 2), principal_id FROM confirmed "
        f"WHERE {wanted}"
    ).fetchall()
    info = lake.info(source.table)
    if not ids or info is None:
        return
    table = TABLES[source.table]
    # The key begins with the group, or of licences with the user; other tables are read whole.
    place = {"group_members": 0, "group_owners": 0, "license_assignments": 1}.get(source.table)
    keys = None if place is None else [str(row[place]) for row in ids]
    row_key = " || '/' || ".join(table.key)
    evidence.select(
        connection,
        "present",
        evidence.paths(lake, source.table, keys),
        f"SELECT lower({source.principal}) AS principal_id, "
        f"lower({source.entitlement}) AS entitlement_id, min({row_key}) AS row_key "
        f"FROM {{files}} WHERE {source.direct} "
        f"AND lower({source.principal}) IN (SELECT lower(principal_id) FROM confirmed) "
        "GROUP BY ALL",
        "principal_id VARCHAR, entitlement_id VARCHAR, row_key VARCHAR",
    )
    told = _told(evidence.recent(books, since))
    connection.execute(
        f"""
        INSERT INTO changed BY NAME
        SELECT 'drift_' || format('{{:015x}}', epoch_us($2::TIMESTAMPTZ)) || '_' || left(md5(
                   concat_ws('|', '{source.table}', c.principal_id, c.entitlement_id,
                             epoch_us(c.written_at))), 16) AS id,
               $1 AS sync_id, c.written_at AS seen_after, $2::TIMESTAMPTZ AS seen_at,
               '{source.table}' AS source_table,
               coalesce(p.row_key, c.entitlement_id || '/' || c.principal_id) AS row_key,
               CASE c.operation WHEN 'gone' THEN 'appeared' ELSE 'gone' END AS operation,
               c.principal_id, lower(regexp_extract(c.entitlement_id, '^[a-z]+:([^:@]+)', 1))
                   AS resource_id,
               c.entitlement_id, 'active' AS state, NULL AS through
        FROM (SELECT * FROM confirmed WHERE {wanted}) c
        LEFT JOIN present p ON p.principal_id = lower(c.principal_id)
                           AND p.entitlement_id = lower(c.entitlement_id)
        WHERE (c.operation = 'gone') = (p.principal_id IS NOT NULL)
          AND NOT EXISTS (
              SELECT 1 FROM ({told}) t
              WHERE t.principal_id = c.principal_id AND t.entitlement_id = c.entitlement_id
                AND t.operation <> c.operation AND t.seen_at > c.written_at)
        """,
        [sync_id, info.as_of],
    )


def _told(files: Sequence[str]) -> str:
    """SQL: the changes that tables told of themselves, now or before."""
    now = "SELECT principal_id, entitlement_id, operation, seen_at FROM changed"
    if not files:
        return now
    return (
        f"{now} UNION ALL SELECT principal_id, entitlement_id, change, seen_at "
        f"FROM {evidence.parquet(files)}"
    )
