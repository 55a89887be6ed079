"""What syncs did and how complete each table is: the readable copy in the warehouse.

The durable record is lake's Books; these are the tables that it is published as.
"""

import pyarrow as pa

from entra_pipeline.tables.model import (
    INT64,
    TEXT,
    TIME,
    Reference,
    Table,
    computed,
    structs,
)

FLOAT = pa.float64()

SYNCS = Table(
    name="syncs",
    doc="One row a sync.",
    group="bookkeeping",
    key=("sync_id",),
    columns=(
        computed("sync_id", TEXT, "Id of the sync; ids sort by time."),
        computed("kind", TEXT, "What was asked for, such as full or only."),
        computed("started", TIME, "When it began."),
        computed("finished", TIME, "When it ended; null while it runs."),
        computed("outcome", TEXT, "running, succeeded, failed or died."),
        computed(
            "table_versions",
            structs(table=TEXT, version=INT64),
            "Version of each table in the lake when the sync ended.",
        ),
        computed("requests", INT64, "Graph requests; each item of a batch counts."),
        computed("round_trips", INT64, "HTTP round trips; a batch counts once."),
        computed("units", INT64, "Graph resource units spent."),
        computed("bytes", INT64, "Bytes received."),
        computed("retries", INT64, "Requests sent again."),
        computed("throttled_s", FLOAT, "Seconds waited because Graph throttled."),
    ),
)

TABLE_STATUS = Table(
    name="table_status",
    doc="How complete each table is, as of the last sync that dealt with it.",
    group="bookkeeping",
    key=("table",),
    references=(Reference(("sync_id",), "syncs"),),
    columns=(
        computed("table", TEXT, "Name of the table."),
        computed(
            "status",
            TEXT,
            "complete, partial, unlicensed, forbidden, unsupported, quarantined, stale, failed, "
            "never or not_configured.",
        ),
        computed("rows", INT64, "Published rows; null when there never were any."),
        computed("as_of", TIME, "When the published rows were read."),
        computed("reason", TEXT, "Why the table is not complete."),
        computed("permission", TEXT, "The permission that is missing."),
        computed("sync_id", TEXT, "The sync that said so."),
        computed("version", INT64, "Published version in the lake."),
        computed("duration_s", FLOAT, "Seconds that it took."),
        computed("requests", INT64, "Graph requests; each item of a batch counts."),
        computed("round_trips", INT64, "HTTP round trips; a batch counts once."),
        computed("units", INT64, "Graph resource units spent."),
        computed("bytes", INT64, "Bytes received."),
        computed("retries", INT64, "Requests sent again."),
        computed("throttled_s", FLOAT, "Seconds waited because Graph throttled."),
        computed("notes", structs(note=TEXT, count=INT64), "Oddities met in the data, counted."),
    ),
)

TABLES = (SYNCS, TABLE_STATUS)
