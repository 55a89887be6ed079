"""Arrow batches to a file or a pipe, one batch in memory at a time.

A file appears under its name only when it is whole.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from entra_pipeline.cli import output
from entra_pipeline.cli.exits import CliError, ExitCode

if TYPE_CHECKING:
    import pyarrow as pa

    from entra_pipeline.access.questions import Warehouse


class Format(StrEnum):
    """What an export is written as."""

    CSV = "csv"
    PARQUET = "parquet"
    JSON = "json"


def write(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, kind: Format, file: Path | None
) -> int:
    """Write all batches, which have this schema; return the number of rows.

    Without a file they go to standard output, which a terminal refuses for Parquet.
    """
    if file is None and kind is Format.PARQUET and sys.stdout.isatty():
        raise CliError(
            "parquet is not for a terminal", remedy="Give -o FILE, or pipe it somewhere."
        )
    try:
        with _sink(file) as sink:
            match kind:
                case Format.CSV:
                    return _csv(batches, schema, sink)
                case Format.PARQUET:
                    return _parquet(batches, schema, sink)
                case Format.JSON:
                    return _json(batches, sink)
    except BrokenPipeError:
        output.leave_broken_pipe()
    except OSError as error:
        raise CliError(
            f"cannot write {file or 'standard output'}: {error.strerror or error}",
            code=ExitCode.FAILED,
        ) from error


def opened(
    warehouse: Warehouse, what: str, *, ordered: bool = False
) -> tuple[Iterator[pa.RecordBatch], pa.Schema]:
    """Give the rows of a table, a view or a query, and their schema. Nothing is read yet.

    `ordered` gives tables and views in an order of their values, so that equal content makes equal
    files. The order of a query is its own.
    """
    import pyarrow as pa

    from entra_pipeline.access import export

    if what == "effective_grants":
        return export.effective_grants(warehouse.path, ordered=ordered), export.SCHEMA
    sql = what
    if what.isidentifier():
        sql = f'SELECT * FROM "{what}"' + (" ORDER BY ALL" if ordered else "")
    batches = warehouse.batches(sql)
    first = next(batches, None)
    if first is None:
        # No rows, no types: the names are enough for whoever reads an empty file.
        names = warehouse.query(sql).columns
        return iter(()), pa.schema([(name, pa.null()) for name in names])
    return chain([first], batches), first.schema


@contextmanager
def _sink(file: Path | None) -> Iterator[IO[bytes]]:
    if file is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with replacing(file) as sink:
        yield sink


@contextmanager
def replacing(file: Path) -> Iterator[IO[bytes]]:
    """Open a file to write that takes the place of one of that name when it is whole."""
    if file.is_dir():
        raise CliError(f"{file} is a directory", remedy="Give the name of a file with -o.")
    if not file.parent.is_dir():
        raise CliError(f"{file.parent} is not a directory", remedy="Make it first.")
    if file.exists() and not file.is_file():
        # A device or a named pipe cannot be replaced by a finished file.
        with file.open("wb") as sink:
            yield sink
        return
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as sink:
            yield sink
        os.chmod(name, _ordinary_mode())
        os.replace(name, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _ordinary_mode() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _csv(batches: Iterable[pa.RecordBatch], schema: pa.Schema, sink: IO[bytes]) -> int:
    import pyarrow as pa
    import pyarrow.csv

    flat = pa.schema([pa.field(field.name, _flat(field.type)) for field in schema])
    rows = 0
    with pa.csv.CSVWriter(sink, flat) as writer:
        for batch in batches:
            columns = [
                column if column.type == field.type else _as_text(column)
                for column, field in zip(batch.columns, flat, strict=True)
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=flat))
            rows += batch.num_rows
    return rows


def _flat(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if pa.types.is_nested(kind) or pa.types.is_timestamp(kind):
        return pa.string()
    return kind


def _as_text(column: pa.Array[Any]) -> pa.Array[Any]:
    """Write times as RFC 3339 and lists and structs as JSON: CSV has neither."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(column.type):
        utc: Any = column.cast(pa.timestamp("us"))
        text = pc.strftime(utc, format="%Y-%m-%dT%H:%M:%SZ")
        whole: pa.Array[Any] = pc.replace_substring(text, ".000000Z", "Z")
        return whole
    values = (
        None if value is None else json.dumps(value, ensure_ascii=False, default=output.plain)
        for value in column.to_pylist()
    )
    return pa.array(values, pa.string())


def _parquet(batches: Iterable[pa.RecordBatch], schema: pa.Schema, sink: IO[bytes]) -> int:
    import pyarrow.parquet as pq

    rows = 0
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def _json(batches: Iterable[pa.RecordBatch], sink: IO[bytes]) -> int:
    rows = 0
    for batch in batches:
        for row in batch.to_pylist():
            sink.write(b",\n" if rows else b"[\n")
            sink.write(_object(row))
            rows += 1
    sink.write(b"\n]\n" if rows else b"[]\n")
    return rows


def _object(row: dict[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False, default=output.plain).encode()
