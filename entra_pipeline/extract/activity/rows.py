"""Graph's events as rows.

Here: the parser of a log's pages, and values that Graph encodes twice. Not here: what every table
shares (`mapping`, `parse`).
"""

from __future__ import annotations

import msgspec
import pyarrow as pa

from entra_pipeline.extract import mapping
from entra_pipeline.extract.arrow import Array, Structs
from entra_pipeline.extract.arrow import compute as pc
from entra_pipeline.extract.notes import Notes
from entra_pipeline.extract.parse import PageParser
from entra_pipeline.tables import Table

WITHOUT_TIME = "events_without_time"
ENCODED_TWICE = frozenset({"oldValue", "newValue"})

_text = msgspec.json.Decoder(str)


class EventRows:
    """Makes rows of one table from the pages of its log. Safe for many threads."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._parser = PageParser(mapping.shape(table))
        self._changed = [
            (column.name, column.graph.split("."))
            for column in table.columns
            if column.graph is not None and "old_value" in str(column.type)
        ]

    def page(self, body: bytes, notes: Notes) -> pa.RecordBatch:
        """The rows of one page. Events without an id or a time are left out and counted."""
        items: Structs = self._parser.page(body, notes)
        computed = {name: plain(pc.struct_field(items, path)) for name, path in self._changed}
        batch = mapping.rows(self._table, items, notes, computed)
        times = batch.column(self._table.time)
        if times.null_count:
            notes.add(WITHOUT_TIME, times.null_count)
            batch = batch.filter(times.is_valid())
        return batch


def plain(array: Array) -> Array:
    """The array with the values of changed properties decoded, however deep they sit.

    A value is JSON inside JSON: the text Sales comes as `"Sales"` with its quotes, null as null or
    as nothing. Lists, objects and numbers stay JSON, as does what only looks like it.
    """
    kind = array.type
    if pa.types.is_struct(kind):
        parts = [
            _decoded(array.field(at))
            if kind.field(at).name in ENCODED_TWICE
            else plain(array.field(at))
            for at in range(kind.num_fields)
        ]
        fields = [kind.field(at) for at in range(kind.num_fields)]
        return pa.StructArray.from_arrays(parts, fields=fields, mask=array.is_null())
    if pa.types.is_list(kind):
        return pa.Array.from_buffers(
            kind,
            len(array),
            array.buffers()[:2],
            offset=array.offset,
            children=[plain(array.values)],
        )
    return array


def _decoded(texts: Array) -> Array:
    encoded = texts.dictionary_encode()
    values = pa.array([_plain(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return values.take(encoded.indices)


def _plain(text: str) -> str:
    if not text.startswith('"'):
        return text
    try:
        return _text.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return text
