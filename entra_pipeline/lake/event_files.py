"""The Parquet files of a table of events: each of one day, written once, read part by part.

Belongs here: one file's rows, in and out, and what the log says of a file. What a commit adds and
removes is `event_merge`'s to say, and which commits there are `events`'.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction

from entra_pipeline.lake.event_metadata import rfc3339
from entra_pipeline.tables import Table

DAY: Final = "day"
"""The partition column of the stored Delta tables."""

# The stubs spell out overloads by element type; "whatever is declared" fits few of them.
pc: Any = pyarrow.compute

_BATCH: Final = 16_384


@dataclass(frozen=True)
class EventFile:
    """A file of the current version."""

    path: str  # relative to the table's folder
    size: int
    day: str
    rows: int
    first: datetime
    last: datetime


def listed(table: Table, stored: DeltaTable | None, day: str | None = None) -> list[EventFile]:
    """The files of the current version, of one day or of all, by day and first event."""
    if stored is None:
        return []
    added = pa.table(stored.get_add_actions(flatten=True))
    found = [
        EventFile(
            path=row["path"],
            size=row["size_bytes"],
            day=str(row[f"partition.{DAY}"]),
            rows=row["num_records"],
            first=_aware(row[f"min.{table.time}"]),
            last=_aware(row[f"max.{table.time}"]),
        )
        for row in added.to_pylist()
    ]
    found.sort(key=lambda file: (file.day, file.first, file.path))
    return found if day is None else [file for file in found if file.day == day]


def stored_schema(table: Table) -> pa.Schema:
    """The declared schema with descriptions for other readers, and the day."""
    fields = [
        field.with_metadata({"comment": column.doc})
        for field, column in zip(table.schema(), table.columns, strict=True)
    ]
    comment = {"comment": f"UTC date of {table.time}."}
    return pa.schema([*fields, pa.field(DAY, pa.date32(), nullable=False, metadata=comment)])


def ids(path: Path, key: str) -> pa.ChunkedArray[Any]:
    """One column of a file."""
    with pq.ParquetFile(path) as file:
        return file.read(columns=[key]).column(0)


def batches(path: Path, schema: pa.Schema) -> Iterator[pa.Table]:
    """A file's rows, part by part, in that schema; columns that it lacks are null."""
    with pq.ParquetFile(path) as file:
        present = [name for name in schema.names if name in file.schema_arrow.names]
        for batch in file.iter_batches(_BATCH, columns=present):
            columns = [
                batch.column(field.name).cast(field.type)
                if field.name in present
                else pa.nulls(batch.num_rows, field.type)
                for field in schema
            ]
            yield pa.table(columns, schema=schema)


def without(path: Path, table: Table, ids: Any) -> Iterator[pa.Table]:
    """A file's rows but those of some ids."""
    for batch in batches(path, table.schema()):
        yield batch.filter(pc.invert(pc.is_in(batch.column(table.key[0]), value_set=ids)))


def write(
    folder: Path, table: Table, day: str, pieces: Iterable[pa.Table], *, data_change: bool = True
) -> AddAction | None:
    """The rows as one Parquet file, on disk before the log can name it; None if there are none."""
    name = f"{DAY}={day}/part-{uuid.uuid4()}.zstd.parquet"
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    schema = pa.schema([pa.field(f.name, f.type, f.nullable) for f in table.schema()])
    rows = 0
    first: datetime | None = None
    last: datetime | None = None
    try:
        with path.open("wb") as file:
            with pq.ParquetWriter(file, schema, compression="zstd", compression_level=1) as writer:
                for piece in pieces:
                    if not piece.num_rows:
                        continue
                    writer.write_table(piece.cast(schema))
                    times = pc.min_max(piece.column(table.time)).as_py()
                    first = times["min"] if first is None else min(first, times["min"])
                    last = times["max"] if last is None else max(last, times["max"])
                    rows += piece.num_rows
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    if first is None or last is None:
        path.unlink()
        return None
    stats = {
        "numRecords": rows,
        "minValues": {table.time: rfc3339(first)},
        "maxValues": {table.time: rfc3339(last)},
    }
    return AddAction(
        path=name,
        size=path.stat().st_size,
        partition_values={DAY: day},
        modification_time=int(path.stat().st_mtime * 1000),
        data_change=data_change,
        stats=json.dumps(stats),
    )


def removed(file: EventFile, *, data_change: bool = True) -> RemoveAction:
    """The action that takes the file out of the table."""
    return RemoveAction(
        file.path,
        data_change,
        int(time.time() * 1000),
        size=file.size,
        partition_values={DAY: file.day},
    )


def day_of(path: str) -> str:
    """The day in a file's path."""
    return path.partition("=")[2].partition("/")[0]


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
