"""Use joined to access, while a warehouse is built: from feeds and their gaps to tables of use.

Here: which moment counts, what each feed covers then, and the build step. Sums of events are
`sums`; how a hold is judged used, unused or unknown is sql/evidence.sql.

The moment is when the sync began that the warehouse is of, so a warehouse of the past counts from
the moment that the published one counted from, and from what had been read then.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import duckdb
import pyarrow as pa

from entra_pipeline import tables
from entra_pipeline.access.engine import literal, script
from entra_pipeline.access.sums import FEEDS, DaySums, Period
from entra_pipeline.lake.events import Events
from entra_pipeline.tables import Status

RECENT: Final = timedelta(days=30)
LONG: Final = timedelta(days=90)
# A feed is never read up to the moment: events come late, and it may be read once a day. One that
# ends longer before the moment covers no period that ends with it.
BEHIND: Final = timedelta(hours=26)
# The same for the users' own record, which is read once a day and takes hours in a large tenant.
BEHIND_RECORD: Final = timedelta(hours=50)
RECORD: Final = "user_sign_in_activity"


@dataclass(frozen=True)
class Coverage:
    """What a feed covers at the moment: a row of `usage_coverage`."""

    feed: str
    as_of: datetime
    status: str
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def covers(self, period: timedelta) -> bool:
        """Whether no event within the period means that there was none."""
        return self.since is not None and self.since <= self.as_of - period


def of_feed(feed: str, events: Events | None, moment: datetime) -> Coverage:
    """What a table of events covers, by what had been read at the moment."""
    info = events.info_at(feed, moment) if events is not None else None
    if info is None:
        return Coverage(feed, moment, str(Status.NEVER), "it was not read")
    spans = [(start, min(end, moment)) for start, end in info.covered if start < moment]
    status, reason = str(info.status), info.reason
    if not spans:
        return Coverage(feed, moment, status, reason or "no period was read whole")
    since, until = spans[-1]
    if moment - until > BEHIND:
        reason = reason or f"it ends more than {BEHIND.total_seconds() / 3600:.0f} hours before"
        return Coverage(feed, moment, status, reason, None, until)
    return Coverage(feed, moment, status, reason, since, until)


def build(
    connection: duckdb.DuckDBPyConnection,
    events: Events | None,
    *,
    only: Collection[str] | None = None,
) -> int:
    """Fill the tables of use of a stage that has its principals. Returns the rows of `usage`.

    `only`: ids of the principals that will be asked about, if not everybody's use is wanted.
    """
    moment = _moment(connection)
    coverage = {feed: of_feed(feed, events, moment) for feed in FEEDS}
    _write(connection, [*coverage.values(), _record(connection, moment)])
    for name, feed, kinds in (
        ("signed", "sign_ins", "true"),
        ("changed", "directory_audits", "kind = 'change'"),
        ("activated", "directory_audits", "kind = 'activation'"),
    ):
        source = f"sums_of_{feed}"
        if name != "activated":
            _sums(connection, source, feed, events, coverage, only)
        connection.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM {source} WHERE {kinds}")
    connection.execute(script("usage"))
    ((rows,),) = connection.execute("SELECT count(*) FROM internal.application_use").fetchall()
    return int(rows)


def _sums(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    feed: str,
    events: Events | None,
    coverage: Mapping[str, Coverage],
    only: Collection[str] | None,
) -> None:
    """A temporary table of what a feed says of the last ninety days."""
    known, statement = coverage[feed], None
    if events is not None and known.until is not None:
        sums = DaySums(events, feed)
        start = known.as_of - LONG
        if start < known.until:
            period = Period(start, known.as_of - RECENT, known.until)
            statement = sums.statement(period)
    if statement is not None and only is not None:
        who = ", ".join(map(literal, only))
        statement = f"SELECT * FROM ({statement}) WHERE who IN ({who})"
    connection.execute(
        f"CREATE TEMP TABLE {name} AS "
        + (
            statement
            or "SELECT NULL::VARCHAR AS who, NULL::VARCHAR AS what, NULL::VARCHAR AS kind, "
            "NULL::VARCHAR AS capacity, 0::BIGINT AS used_30d, 0::BIGINT AS used_90d, "
            "NULL::TIMESTAMPTZ AS last WHERE false"
        )
    )


def _moment(connection: duckdb.DuckDBPyConnection) -> datetime:
    """When the sync began that the stage is of; without one, when its tables were read."""
    ((moment,),) = connection.execute(
        "SELECT coalesce((SELECT max(started) FROM syncs),"
        " (SELECT max(as_of) FROM internal.reading_times))"
    ).fetchall()
    return moment.astimezone(UTC) if moment is not None else datetime.now(UTC)


def _record(connection: duckdb.DuckDBPyConnection, moment: datetime) -> Coverage:
    """What the users' own record of their last sign-ins covers."""
    rows = connection.execute(
        'SELECT status, reason, as_of FROM table_status WHERE "table" = ?', [RECORD]
    ).fetchall()
    if not rows:
        return Coverage(RECORD, moment, str(Status.NEVER), "it was not read")
    ((status, reason, until),) = rows
    if status != Status.COMPLETE or until is None:
        return Coverage(RECORD, moment, status, reason)
    until = min(until.astimezone(UTC), moment)
    if moment - until > BEHIND_RECORD:
        hours = BEHIND_RECORD.total_seconds() / 3600
        reason = f"it was read more than {hours:.0f} hours before"
        return Coverage(RECORD, moment, status, reason)
    # Since ever: it says of each user when they last signed in.
    return Coverage(RECORD, moment, status, reason, datetime(1970, 1, 1, tzinfo=UTC), until)


def _write(connection: duckdb.DuckDBPyConnection, rows: list[Coverage]) -> None:
    schema = tables.get("usage_coverage").schema()
    given = [
        {
            "feed": row.feed,
            "as_of": row.as_of,
            "status": row.status,
            "reason": row.reason,
            "since": row.since,
            "until": row.until,
            "covers_30d": row.covers(RECENT),
            "covers_90d": row.covers(LONG),
        }
        for row in rows
    ]
    connection.register("given", pa.Table.from_pylist(given, schema))
    # It is there already, and empty, in a warehouse that is refreshed.
    connection.execute("CREATE TABLE IF NOT EXISTS usage_coverage AS SELECT * FROM given LIMIT 0")
    connection.execute("INSERT INTO usage_coverage SELECT * FROM given")
    connection.unregister("given")
