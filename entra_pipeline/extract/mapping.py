"""From Graph's structs to a table's rows, column by column.

Here: the struct type that a reader asks the parser for, and the generic mapping by the registry's
paths (flatten, rename, convert). Not here: columns that the registry calls computed; the readers
work those out and hand them in.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa

from entra_pipeline.extract import values
from entra_pipeline.extract.arrow import Array, Structs
from entra_pipeline.extract.arrow import compute as pc
from entra_pipeline.extract.notes import WITHOUT_KEY, Notes
from entra_pipeline.extract.parse import ODATA_TYPE
from entra_pipeline.tables import Table

LINK = pa.struct([pa.field(ODATA_TYPE, pa.string()), pa.field("id", pa.string())])
"""What `$select=id` leaves of a directory object inside a relationship."""

LINKS = pa.list_(LINK)


def shape(
    table: Table,
    further: Mapping[str, pa.DataType] | None = None,
    *,
    without: Collection[str] = (),
) -> pa.StructType:
    """The struct type of one object of `table` in Graph's JSON.

    `further`: properties and relationships that the table has no column for (children, links);
    `without`: columns that are not asked for this time.
    """
    declared = table.raw_schema()
    heads = {
        column.graph.partition(".")[0]
        for column in table.columns
        if column.graph is not None and column.name in without
    }
    fields = [field for field in declared if field.name not in heads]
    present = {field.name for field in fields}
    fields += [pa.field(n, t) for n, t in (further or {}).items() if n not in present]
    return pa.struct(fields)


def child(table: Table) -> pa.DataType:
    """The list type of a property that holds the rows of `table`."""
    return pa.list_(pa.struct(list(table.raw_schema())))


def select(table: Table, *further: str, without: Collection[str] = ()) -> str:
    """The value of `$select` for a table's columns and further properties."""
    heads = [
        column.graph.partition(".")[0]
        for column in table.columns
        if column.graph is not None and not column.navigation and column.name not in without
    ]
    return ",".join(dict.fromkeys([*heads, *further]))


def rows(
    table: Table,
    items: Structs,
    notes: Notes,
    computed: Mapping[str, Array] | None = None,
    *,
    encoded: Collection[str] = (),
) -> pa.RecordBatch:
    """Rows of `table`, in the order of its columns, from objects in Graph's form.

    `computed`: columns that are not read by path (or that replace what the path gives), each as
    long as `items`. A declared column that neither of both has is null. Rows whose key is not
    whole are left out and counted: nothing could refer to them. `encoded`: text columns to give
    dictionary-encoded, which the lake decodes.
    """
    given = computed or {}
    schema = table.schema()
    arrays: list[Array] = []
    for column, field in zip(table.columns, table.schema(), strict=True):
        array = given.get(column.name)
        if array is None:
            found = _at(items, column.graph) if column.graph else None
            array = _nulls(len(items), field.type) if found is None else found
        array = convert(array, field.type, notes)
        if column.name in encoded:
            array = array.dictionary_encode()
            schema = schema.set(len(arrays), field.with_type(array.type))
        arrays.append(array)
    batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
    return _with_whole_keys(batch, table, notes)


def together(table: Table, batches: Sequence[pa.RecordBatch]) -> pa.Table:
    """The batches as one table, without copying."""
    schema = batches[0].schema if batches else table.schema()
    return pa.Table.from_batches(list(batches), schema=schema)


def children(items: Structs, name: str, owner: str = "id") -> tuple[Structs, Array]:
    """The structs in the list property `name` of all items, and for each its owner's id."""
    lists = pc.struct_field(items, name)
    owners = pc.struct_field(items, owner).take(pc.list_parent_indices(lists))
    return lists.flatten(), owners


def convert(array: Array, kind: pa.DataType, notes: Notes) -> Array:
    """An array in Graph's form as the declared type: times read, struct fields renamed."""
    if array.type.equals(kind):
        return array
    if pa.types.is_timestamp(kind) and pa.types.is_string(array.type):
        return values.instants(array, notes)
    if pa.types.is_struct(kind):
        parts = [
            convert(array.field(index), kind.field(index).type, notes)
            for index in range(kind.num_fields)
        ]
        return pa.StructArray.from_arrays(
            parts, fields=[kind.field(i) for i in range(kind.num_fields)], mask=array.is_null()
        )
    if pa.types.is_list(kind) and pa.types.is_list(array.type):
        # The offsets stay as they are, also those of a slice; only the elements change.
        return pa.Array.from_buffers(
            kind,
            len(array),
            array.buffers()[:2],
            offset=array.offset,
            children=[convert(array.values, kind.value_type, notes)],
        )
    if pa.types.is_integer(kind):
        return values.integers(array, kind, notes)
    return array.cast(kind)


@lru_cache(maxsize=256)
def _nulls(length: int, kind: Any) -> Array:
    """Nulls, shared by all full pages: fifteen absent texts would take 60 bytes a row."""
    return pa.nulls(length, kind)


def _at(items: Structs, path: str) -> Array | None:
    kind = items.type
    names = path.split(".")
    for name in names:
        if not pa.types.is_struct(kind) or kind.get_field_index(name) < 0:
            return None
        kind = kind.field(name).type
    # struct_field, unlike StructArray.field, gives null where a parent is null.
    return pc.struct_field(items, names)


def _with_whole_keys(batch: pa.RecordBatch, table: Table, notes: Notes) -> pa.RecordBatch:
    whole = None
    for name in table.key:
        column = batch.column(name)
        if column.null_count:
            valid = column.is_valid()
            whole = valid if whole is None else pc.and_(whole, valid)
    if whole is None:
        return batch
    notes.add(WITHOUT_KEY, len(whole) - (pc.sum(whole).as_py() or 0))
    return batch.filter(whole)
