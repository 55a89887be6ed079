"""Rows made ready for storing: conformed to a declaration, sorted by key, free of duplicates.

Pure functions on Arrow tables. The order and the digest make equal content equal bytes, whatever
order Graph sent it in; nothing here reads or writes files.
"""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from entra_pipeline.lake.errors import RowsError
from entra_pipeline.tables import Table

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

# The digest is taken over slices of this many rows, so that it does not depend on how the rows
# came in chunks.
_SLICE: Final = 65_536


def conform(table: Table, rows: pa.Table) -> pa.Table:
    """The rows with exactly the declared columns, in the declared order and types.

    Raises RowsError for missing or undeclared columns, for values that do not fit the declared
    type, and for rows without a key: a reader must not invent or lose any of these unnoticed.
    """
    schema = table.schema()
    given, declared = set(rows.column_names), set(schema.names)
    if given != declared:
        raise RowsError(
            f"rows for table {table.name}: missing columns {sorted(declared - given)}, undeclared "
            f"columns {sorted(given - declared)}; mend the row mapping or the declaration"
        )
    rows = rows.select(schema.names)
    for name in table.key:
        if missing := rows.column(name).null_count:
            raise RowsError(
                f"rows for table {table.name}: {missing} have no {name}, which is part of the key; "
                "the reader must drop and count such rows"
            )
    if rows.schema.equals(schema, check_metadata=True):
        return rows
    columns = []
    for field in schema:
        column = rows.column(field.name)
        if column.type != field.type:
            try:
                column = column.cast(field.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
                raise RowsError(
                    f"rows for table {table.name}: column {field.name} is {column.type}, which "
                    f"does not fit the declared {field.type}; mend the row mapping ({error})"
                ) from error
        columns.append(column)
    return pa.table(columns, schema=schema)


def in_order(table: Table, rows: pa.Table) -> tuple[pa.Table, int]:
    """The rows sorted by key, one a key, and how many were dropped as duplicates.

    Of rows with one key the last given stays: Graph repeats an object that moved between pages,
    and the later sight of it is the truer one.
    """
    if rows.num_rows < 2:
        return rows, 0
    order = pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in table.key])
    positions = order.to_numpy()
    if not np.array_equal(positions, np.arange(len(positions), dtype=positions.dtype)):
        rows = rows.take(order)
    del order, positions
    same = np.ones(rows.num_rows - 1, dtype=np.bool_)
    for name in table.key:
        column = rows.column(name)
        same &= pc.equal(column.slice(0, len(column) - 1), column.slice(1)).to_numpy()
    duplicates = int(np.count_nonzero(same))
    if duplicates:
        rows = rows.filter(pa.array(np.append(~same, True)))
    return rows, duplicates


class _Hash(io.RawIOBase):
    """A file that only hashes what is written to it."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        self.sha256.update(data)
        return memoryview(data).nbytes


def digest(rows: pa.Table) -> str:
    """A hash (64 hex digits) of names, types and values, for rows that are in order.

    Descriptions do not count. Measured at 1.6 GB/s, so it costs less than the sorting.
    """
    hashing = _Hash()
    bare = rows.cast(pa.schema([pa.field(f.name, f.type) for f in rows.schema]))
    with pa.PythonFile(hashing, mode="w") as sink, pa.ipc.new_stream(sink, bare.schema) as stream:
        for start in range(0, bare.num_rows, _SLICE):
            piece = bare.slice(start, _SLICE).combine_chunks()
            for batch in piece.to_batches():
                stream.write_batch(batch)
    return hashing.sha256.hexdigest()
