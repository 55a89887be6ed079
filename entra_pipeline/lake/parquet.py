"""Parquet files of the lake: written once, whole on disk before a log names them, and read back.

Which file belongs to which version is the Delta log's to say (`store`, `history`).
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

# At most so many rows in a row group: what DuckDB reads as one unit of parallel work. Row groups
# are encoded in memory, so wide rows make smaller ones, of about 16 MiB.
ROW_GROUP: Final = 122_880
_GROUP_BYTES: Final = 16 * 2**20
_SAMPLE: Final = 512


class Writer:
    """One Parquet file in the making. The file appears with the first row group.

    Within `with` it is removed again if its making fails: a full disk should not fill further with
    each attempt.

    `key`: columns by whose values the rows differ and are in order. A dictionary of the last of
    those would hold about as many values as there are rows, as would those of other columns whose
    texts hardly repeat, and ranges of the other columns' values would be no help to a reader:
    without them, files are written and read in two thirds of the time.
    """

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema,
        prefix: str = "part-00000",
        *,
        key: Sequence[str] = (),
    ) -> None:
        self._path = folder / f"{prefix}-{uuid.uuid4()}.zstd.parquet"
        self._schema = schema
        self._key = key
        self._file: IO[bytes] | None = None
        self._parquet: Any = None
        self._held: list[pa.Table] = []
        self._held_rows = 0
        self._bytes_a_row = 0.0
        self.rows = 0

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.discard()

    def write(self, rows: pa.Table) -> None:
        """Adds rows that have the schema's columns. They are held until they make a row group."""
        if not rows.num_rows:
            return
        self._bytes_a_row = self._bytes_a_row or rows.nbytes / rows.num_rows
        most = min(ROW_GROUP, _GROUP_BYTES / max(self._bytes_a_row, 1))
        if self._held and self._held_rows + rows.num_rows > most:
            self._flush()
        self._held.append(rows)
        self._held_rows += rows.num_rows
        self.rows += rows.num_rows

    def _flush(self) -> None:
        """Writes what is held."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb")
            form: dict[str, Any] = {"compression": "zstd", "compression_level": 1}
            if self._key:
                others = [
                    name
                    for name in self._schema.names
                    if name != self._key[-1] and _repeats(self._held[0].column(name))
                ]
                form |= {"use_dictionary": others, "write_statistics": list(self._key)}
            self._parquet = pq.ParquetWriter(self._file, self._schema, **form)
        rows = self._held[0] if len(self._held) == 1 else pa.concat_tables(self._held)
        self._parquet.write_table(rows.cast(self._schema), row_group_size=ROW_GROUP)
        self._held, self._held_rows, self._bytes_a_row = [], 0, 0.0

    def finish(self, extremes: Mapping[str, tuple[Any, Any]]) -> list[AddAction]:
        """Makes the file durable; the action that adds it to a table, none if it has no rows.

        `extremes`: smallest and largest value of columns, as JSON has them, for readers that skip.
        """
        if self._held:
            self._flush()
        if self._file is None:
            return []
        self._parquet.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        said = self._path.stat()
        stats = {
            "numRecords": self.rows,
            "minValues": {name: low for name, (low, _) in extremes.items()},
            "maxValues": {name: high for name, (_, high) in extremes.items()},
        }
        return [
            AddAction(
                path=self._path.name,
                size=said.st_size,
                partition_values={},
                modification_time=int(said.st_mtime * 1000),
                data_change=True,
                stats=json.dumps(stats),
            )
        ]

    def discard(self) -> None:
        """Removes the file."""
        self._held = []
        if self._file is None:
            return
        with contextlib.suppress(Exception):  # there is no room for the file's end, perhaps
            self._parquet.close()
        self._file.close()
        self._path.unlink(missing_ok=True)


def _repeats(column: Any) -> bool:
    """Whether a dictionary of its values is worth having, by the first of them."""
    if not pa.types.is_string(column.type):
        return True
    some = column.slice(0, _SAMPLE)
    return len(some) < _SAMPLE or 2 * pc.count_distinct(some).as_py() < _SAMPLE


def read(path: str, schema: pa.Schema) -> pa.Table:
    """One Parquet file in the given schema; columns that it lacks are null."""
    with contextlib.closing(pq.ParquetFile(path, memory_map=True)) as file:
        stored = {*file.schema_arrow.names}
        present = [name for name in schema.names if name in stored]
        return _fitted(file.read(columns=present), schema)


def pieces(path: str, schema: pa.Schema) -> Iterator[pa.Table]:
    """As `read`, one row group after the other."""
    with contextlib.closing(pq.ParquetFile(path, memory_map=True)) as file:
        stored = {*file.schema_arrow.names}
        present = [name for name in schema.names if name in stored]
        for group in range(file.num_row_groups):
            # Handing the columns of a small group to threads costs more than reading them.
            large = file.metadata.row_group(group).num_rows > ROW_GROUP // 4
            yield _fitted(file.read_row_group(group, columns=present, use_threads=large), schema)


def _fitted(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    if rows.schema.equals(schema):
        return rows.cast(schema) if schema.metadata or rows.schema.metadata else rows
    columns = [
        rows.column(field.name).cast(field.type)
        if field.name in rows.column_names
        else pa.nulls(rows.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
