"""Use as answers show it: used, unused or unknown, and the numbers behind.

Here: reading what a warehouse knows of the use of a page of holds, and judging it. What counts as a
sign of use is sql/evidence.sql; how the warehouse came to know is `usage`. A question starts here,
so this module imports nothing but DuckDB and the standard library.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import duckdb

from entra_pipeline.access.answers import UNKNOWN, UNUSED, USE_DAYS, USED, Feed, UsageBasis
from entra_pipeline.access.engine import script

# Columns of `judged` in the order of the fields of Use.
COLUMNS = "u.used, u.last, u.used_30d, u.used_90d, u.signal"


def basis(connection: duckdb.DuckDBPyConnection, days: int | None = None) -> UsageBasis:
    """What the warehouse's statements on use rest on."""
    rows = connection.execute(
        "SELECT feed, status, reason, since, until, as_of FROM usage_coverage ORDER BY feed"
    ).fetchall()
    feeds = tuple(Feed(*row[:5]) for row in rows)
    return UsageBasis(rows[0][5] if rows else None, days or USE_DAYS, feeds)


def judged(basis: UsageBasis) -> str:
    """SQL with the use of every hold in the temporary table `page`, over the days of the basis.

    Columns: pix, eix, state, used, last, used_30d, used_90d, signal.
    """
    moment = (basis.as_of or datetime.now(UTC)).astimezone(UTC)
    start = f"TIMESTAMPTZ '{(moment - timedelta(days=basis.days)).isoformat()}'"
    return (
        f"SELECT pix, eix, state, CASE WHEN last >= {start} THEN '{USED}' "
        f"WHEN since <= {start} THEN '{UNUSED}' ELSE '{UNKNOWN}' END AS used, "
        f"last, used_30d, used_90d, signal FROM ({script('evidence')})"
    )
