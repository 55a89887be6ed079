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


# What would show use of a hold, by the form of its entitlement: as in sql/evidence.sql.
NOTHING = f"""
SELECT p.pix, p.eix, p.state, '{UNKNOWN}' AS used, NULL::TIMESTAMPTZ AS last,
       NULL::BIGINT AS used_30d, NULL::BIGINT AS used_90d,
       CASE WHEN e.resource_kind = 'role' AND p.state = 1 THEN 'activations'
            WHEN e.resource_kind = 'role' THEN 'directory_changes'
            WHEN starts_with(e.entitlement_id, 'app:') AND e.purpose <> 'ownership'
                THEN 'sign_ins' END AS signal
FROM page p JOIN internal.entitlements e USING (eix)
"""


class Judgement:
    """What an open warehouse knows of use. Looked up once: a warehouse does not change."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        rows = connection.execute(
            "SELECT feed, status, reason, since, until, as_of FROM usage_coverage ORDER BY feed"
        ).fetchall()
        ((known,),) = connection.execute(
            "SELECT EXISTS (FROM internal.application_use) OR EXISTS (FROM internal.role_use)"
            " OR EXISTS (FROM internal.principal_use)"
        ).fetchall()
        self._as_of: datetime | None = rows[0][5] if rows else None
        self._feeds = tuple(Feed(*row[:5]) for row in rows)
        # Without a feed there is nothing to join: most of the time that judging takes.
        feeds = any(feed.since for feed in self._feeds if feed.feed != "user_sign_in_activity")
        self._evidence = script("evidence") if known or feeds else ""

    def basis(self, days: int | None = None) -> UsageBasis:
        """What statements on use over so many days rest on."""
        return UsageBasis(self._as_of, days or USE_DAYS, self._feeds)

    def sql(self, days: int | None = None) -> str:
        """SQL with the use of every hold in the temporary table `page`, over so many days.

        Columns: pix, eix, state, used, last, used_30d, used_90d, signal.
        """
        if not self._evidence or self._as_of is None:
            return NOTHING
        start = self._as_of.astimezone(UTC) - timedelta(days=days or USE_DAYS)
        moment = f"TIMESTAMPTZ '{start.isoformat()}'"
        return (
            f"SELECT pix, eix, state, CASE WHEN last >= {moment} THEN '{USED}' "
            f"WHEN since <= {moment} THEN '{UNUSED}' ELSE '{UNKNOWN}' END AS used, "
            f"last, used_30d, used_90d, signal FROM ({self._evidence})"
        )
