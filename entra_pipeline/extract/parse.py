"""Graph's JSON pages as Arrow structs.

Here: one page (or several answers of a batch) to one Arrow struct array of a declared type, by
`pyarrow.json`, and the tolerant way for a page whose values are not of the declared types.
Not here: which types are declared (`shape`) and what becomes of the structs (`mapping`).

Why two ways: `pyarrow.json` parses in C++ without the interpreter's lock but refuses a page as a
whole for a single value of another type. Such a page is decoded again value by value; what does
not fit becomes null and is counted. A tenant's odd object must never cost the table.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from entra_pipeline.extract.arrow import Array, Lists, Structs
from entra_pipeline.extract.arrow import json as pj
from entra_pipeline.extract.notes import MISMATCHED, Notes

ODATA_TYPE = "@odata.type"


class PageParser:
    """Parses Graph's collection answers whose items have the given struct type.

    `item`: field names are Graph's property names; timestamps are declared as text (Graph sends
    up to seven fractional digits, which Arrow's parser does not read).
    """

    def __init__(self, item: pa.StructType) -> None:
        self.item = item
        self._schema = pa.schema([("value", pa.list_(item))])
        self._fields = {field.name: field.type for field in item}

    def page(self, body: bytes, notes: Notes) -> Structs:
        """The items of one collection answer, in its order."""
        return self.answers([body], notes)[0]

    def answers(self, bodies: Sequence[bytes], notes: Notes) -> tuple[Structs, Array]:
        """The items of several collection answers one after the other, parsed at once.

        Returns (items, lengths): lengths[i], int32, is the number of items of bodies[i].
        """
        try:
            lists = self._fast(bodies)
        except pa.ArrowInvalid:
            lists = pa.array([self._tolerant(body, notes) for body in bodies], pa.list_(self.item))
        items = lists.flatten()
        lengths = lists.value_lengths().fill_null(0)
        if items.null_count:
            return self._without_nulls(lists, notes)
        return items, lengths

    def _fast(self, bodies: Sequence[bytes]) -> Lists:
        text = bodies[0] if len(bodies) == 1 else b"\n".join(bodies)
        # A newline inside a body would end the object for the parser unless told otherwise; one
        # block holds all, so that no object is ever cut.
        multi_line = b"\n" in text if len(bodies) == 1 else any(b"\n" in body for body in bodies)
        table = pj.read_json(
            pa.BufferReader(text),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(text) + 64),
            parse_options=pj.ParseOptions(
                explicit_schema=self._schema,
                newlines_in_values=multi_line,
                unexpected_field_behavior="ignore",
            ),
        )
        column = table.column(0)
        if table.num_rows != len(bodies) or column.num_chunks != 1:
            raise pa.ArrowInvalid("one object per answer expected")
        return column.chunk(0)

    def _tolerant(self, body: bytes, notes: Notes) -> list[dict[str, Any]]:
        decoded = msgspec.json.decode(body)
        value = decoded.get("value") if isinstance(decoded, dict) else None
        items: list[dict[str, Any]] = []
        for item in value if isinstance(value, list) else []:
            if isinstance(item, dict):
                items.append(_fields(item, self._fields, notes))
            else:
                notes.add(MISMATCHED)
        return items

    def _without_nulls(self, lists: Lists, notes: Notes) -> tuple[Structs, Array]:
        rows = lists.to_pylist()
        kept = [[item for item in row or [] if item is not None] for row in rows]
        notes.add(MISMATCHED, sum(len(row or []) for row in rows) - sum(map(len, kept)))
        lists = pa.array(kept, pa.list_(self.item))
        return lists.flatten(), lists.value_lengths()


def _fields(
    item: Mapping[str, Any], types: Mapping[str, pa.DataType], notes: Notes
) -> dict[str, Any]:
    return {
        name: None if (value := item.get(name)) is None else _fit(value, kind, notes)
        for name, kind in types.items()
    }


def _fit(value: Any, kind: pa.DataType, notes: Notes) -> Any:
    """The value if it is of the declared type, else null, counted."""
    if pa.types.is_string(kind) and isinstance(value, str):
        return value
    if pa.types.is_boolean(kind) and isinstance(value, bool):
        return value
    if pa.types.is_integer(kind) and type(value) in (int, float):
        limit = 2 ** (kind.bit_width - 1)
        if -limit <= value < limit and value == int(value):
            return int(value)
    if pa.types.is_floating(kind) and type(value) in (int, float):
        return float(value)
    if pa.types.is_struct(kind) and isinstance(value, dict):
        return _fields(value, {field.name: field.type for field in kind}, notes)
    if pa.types.is_list(kind) and isinstance(value, list):
        element = kind.value_type
        fitted = (_fit(each, element, notes) for each in value if each is not None)
        return [each for each in fitted if each is not None]
    notes.add(MISMATCHED)
    return None
