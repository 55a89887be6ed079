"""What differs between two states of a table, and one state made from the other.

Pure functions on Arrow tables in key order, one row a key; nothing here reads or writes files. All
of it works column by column on slices of some megabytes, never on Python rows: comparing two states
of 1.6 million memberships takes half a second.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from entra_pipeline.tables import Table

# So many rows are compared at a time: what a comparison needs beside them stays small.
_WINDOW: Final = 16_384
# Rows are few beside others of which there are so many times more: then they are looked up one by
# one, and the others are not sorted again.
_FEW: Final = 16
_GOES: Final = 2**62  # in the place of a row's number, behind all of them

Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Operation(StrEnum):
    """What happened to a row."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True)
class Step:
    """The next rows of the new state, and what differs there from the former one.

    Either the changes, or the rows that were looked at: the former ones and those in their place.
    """

    rows: pa.Table
    changes: pa.Table | None = None  # as `change_fields` has them
    looked_at: tuple[pa.Table, pa.Table] | None = None


class Changes:
    """What differs, of step after step, given to `tell` in key order.

    Few rows cost as much to compare as thousands do, so they are gathered.
    """

    def __init__(self, table: Table, tell: Callable[[pa.Table], object]) -> None:
        self._table, self._tell = table, tell
        self._held: list[tuple[pa.Table, pa.Table]] = []

    def add(self, step: Step) -> bool:
        """Whether something differs in the step."""
        if step.changes is not None:
            self._tell(step.changes)
            return True
        if step.looked_at is None or step.looked_at[0].equals(step.looked_at[1]):
            return False
        self._held.append(step.looked_at)
        if sum(old.num_rows + new.num_rows for old, new in self._held) > _WINDOW:
            self.close()
        return True

    def close(self) -> None:
        """Tells what is still held."""
        if not self._held:
            return
        old, new = (
            pa.concat_tables(parts).combine_chunks() for parts in zip(*self._held, strict=True)
        )
        self._held = []
        changes = _changes(self._table, old, new)
        if changes is not None:
            self._tell(changes)


def change_fields(table: Table) -> pa.Schema:
    """What is said of one changed row: `operation`, `changed`, the row, `before`.

    The row is the one after; for a delete as it was. `changed` (names of columns) and `before`
    (the former row but for its key) are null unless the row was updated. A table of nothing but key
    columns knows no updates and has no `before`.
    """
    columns = [field.remove_metadata() for field in table.schema()]
    values = [field for field in columns if field.name not in table.key]
    fields = [
        pa.field("operation", pa.string(), nullable=False),
        pa.field("changed", pa.list_(pa.string())),
        *columns,
    ]
    if values:
        fields.append(pa.field("before", pa.struct(values)))
    return pa.schema(fields)


def matches(key: Sequence[str], left: pa.Table, right: pa.Table) -> tuple[Places, Places]:
    """Where the rows of one key lie in the one table and in the other, in key order.

    Each table has a key at most once; both lie in key order.
    """
    left, right = left.select(key), right.select(key)
    if left.num_rows == right.num_rows and left.equals(right):
        everywhere = np.arange(left.num_rows)
        return everywhere, everywhere
    order, repeated = _sorted_together(key, left, right)
    first = np.flatnonzero(repeated)
    return order[first], order[first + 1] - left.num_rows


def merge(key: Sequence[str], left: pa.Table, right: pa.Table) -> pa.Table:
    """The rows of both, which have no key in common, in key order."""
    if not left.num_rows or not right.num_rows:
        return left if left.num_rows else right
    order, _ = _sorted_together(key, left.select(key), right.select(key))
    return pa.concat_tables([left, right]).take(arrow(order))


def differing(one: Any, other: Any) -> Mask:
    """For two arrays of one type and length: where their values differ. Null equals null."""
    if one.equals(other):
        return np.zeros(len(one), dtype=np.bool_)
    has_one, has_other = _mask(one.is_valid()), _mask(other.is_valid())
    found: Mask = has_one != has_other
    if pa.types.is_struct(one.type):
        for part, other_part in zip(one.flatten(), other.flatten(), strict=True):
            found |= differing(part, other_part)
    elif pa.types.is_list(one.type):
        length = pc.fill_null(pc.list_value_length(one), 0).to_numpy()
        found |= length != pc.fill_null(pc.list_value_length(other), 0).to_numpy()
        comparable = np.flatnonzero(~found & (length > 0))
        taken = arrow(comparable)
        inner = differing(one.take(taken).flatten(), other.take(taken).flatten())
        found[np.repeat(comparable, length[comparable])[inner]] = True
    else:
        found |= _mask(pc.fill_null(pc.not_equal(one, other), False))
        if pa.types.is_floating(one.type):
            both = pc.and_(pc.is_nan(one), pc.is_nan(other))
            found &= ~_mask(pc.fill_null(both, False))
    return found


class Former:
    """The former state, taken piece by piece in key order."""

    def __init__(self, key: Sequence[str], pieces: Iterable[pa.Table]) -> None:
        self._key = key
        self._pieces = iter(pieces)
        self._ahead = next(self._pieces, None)

    def until(self, last: pa.Table) -> pa.Table | None:
        """What is left of the rows up to the key of the one row given; None if nothing is."""
        wanted = tuple(last.column(name)[0].as_py() for name in self._key)
        taken = []
        while self._ahead is not None:
            columns: list[Any] = [self._ahead.column(name) for name in self._key]
            end = bisect.bisect_right(
                range(self._ahead.num_rows),
                wanted,
                key=lambda row: tuple(column[row].as_py() for column in columns),
            )
            taken.append(self._ahead.slice(0, end))
            if end < self._ahead.num_rows:
                self._ahead = self._ahead.slice(end)
                break
            self._ahead = next(self._pieces, None)
        return pa.concat_tables(taken) if taken else None

    def rest(self) -> Iterator[pa.Table]:
        """All rows that are left."""
        while self._ahead is not None:
            yield self._ahead
            self._ahead = next(self._pieces, None)


def compared(table: Table, former: Iterable[pa.Table], rows: Iterable[pa.Table]) -> Iterator[Step]:
    """The new state as given, with what differs from the former one."""
    before = Former(table.key, former)
    for piece in rows:
        told = []
        for start in range(0, piece.num_rows, _WINDOW):
            part = piece.slice(start, _WINDOW)
            old = before.until(part.slice(part.num_rows - 1))
            told.append(_changes(table, part.slice(0, 0) if old is None else old, part))
        known = [changes for changes in told if changes is not None]
        yield Step(piece, pa.concat_tables(known) if known else None)
    for old in before.rest():
        nothing = old.slice(0, 0)
        yield Step(nothing, _changes(table, old, nothing))


@dataclass(frozen=True)
class Amendment:
    """What to do to a state: rows to put in, in key order, and which of the others go."""

    upserts: pa.Table
    deletes: pa.Table | None = None  # columns whose values rows to go have
    within: tuple[str, Any] | None = None  # a column, values that rows to go have there

    def is_empty(self) -> bool:
        """Whether it asks for nothing."""
        return not self.upserts.num_rows and self.deletes is None and self.within is None


def amended(key: Sequence[str], former: Iterable[pa.Table], amendment: Amendment) -> Iterator[Step]:
    """The former state with the amendment, with the rows that it has to do with."""
    coming = Former(key, [amendment.upserts] if amendment.upserts.num_rows else [])
    for piece in former:
        upserts = coming.until(piece.slice(piece.num_rows - 1))
        if upserts is None:
            upserts = amendment.upserts.slice(0, 0)
        gone = _gone(key, piece, amendment)
        few = _FEW * upserts.num_rows <= piece.num_rows
        if few:
            places, there = _found(key, piece, upserts)
            gone[places[there]] = True
        else:
            gone[matches(key, piece, upserts)[0]] = True
        going = np.flatnonzero(gone)
        if not len(going) and not upserts.num_rows:
            yield Step(piece)
            continue
        looked_at = piece.take(arrow(going)), upserts
        if few and _FEW * len(going) <= piece.num_rows:
            yield Step(_spliced(piece, going, upserts, places), looked_at=looked_at)
        else:
            rows = merge(key, piece.filter(pa.array(~gone)), upserts)
            yield Step(rows, looked_at=looked_at)
    for upserts in coming.rest():
        yield Step(upserts, looked_at=(upserts.slice(0, 0), upserts))


def _found(key: Sequence[str], rows: pa.Table, few: pa.Table) -> tuple[Places, Mask]:
    """Where the keys of few rows lie among those of others or would lie, and whether they do."""
    columns: list[Any] = [rows.column(name) for name in key]
    places = np.zeros(few.num_rows, np.int64)
    there = np.zeros(few.num_rows, np.bool_)
    if not few.num_rows:
        return places, there

    def at(row: int) -> tuple[Any, ...]:
        return tuple(column[row].as_py() for column in columns)

    # Where the value of the first column begins and ends: only between is the whole key looked at.
    first, wanted_first = columns[0], few.column(key[0])
    search: Callable[..., Any] = pc.search_sorted  # type: ignore[attr-defined] # not in its stubs
    starts = search(first, wanted_first, side="left").to_numpy().tolist()
    ends = search(first, wanted_first, side="right").to_numpy().tolist()
    for number, wanted in enumerate(zip(*few.select(key).to_pydict().values(), strict=True)):
        place = bisect.bisect_left(
            range(rows.num_rows), wanted, lo=starts[number], hi=ends[number], key=at
        )
        places[number] = place
        there[number] = place < rows.num_rows and at(place) == wanted
    return places, there


def _spliced(rows: pa.Table, going: Places, few: pa.Table, places: Places) -> pa.Table:
    """The rows without those that go, the few others put in at their places."""
    parts, at = [], 0
    news = [(place, number) for number, place in enumerate(places.tolist())]
    for place, number in sorted([*news, *((row, _GOES) for row in going.tolist())]):
        if place > at:
            parts.append(rows.slice(at, place - at))
            at = place
        if number < _GOES:
            parts.append(few.slice(number, 1))
        else:
            at = place + 1
    return pa.concat_tables([*parts, rows.slice(at)]).combine_chunks()


def _gone(key: Sequence[str], rows: pa.Table, amendment: Amendment) -> Mask:
    """Which rows the amendment deletes by what it says of their columns."""
    gone = np.zeros(rows.num_rows, dtype=np.bool_)
    if amendment.within is not None:
        column, values = amendment.within
        gone |= _is_in(rows.column(column), values)
    deletes = amendment.deletes
    if deletes is None:
        return gone
    if {*deletes.column_names} == {*key} and _FEW * deletes.num_rows <= rows.num_rows:
        # The rows are in the order of their keys: a few are looked up, all are not looked at.
        few = deletes.select(key).sort_by([(name, "ascending") for name in key])
        places, there = _found(key, rows, few)
        gone[places[there]] = True
    else:
        gone |= equal_to(rows, deletes)
    return gone


def equal_to(rows: pa.Table, others: pa.Table) -> Mask:
    """Which rows equal one of the others in all of the columns that those have."""
    found = np.zeros(rows.num_rows, dtype=np.bool_)
    if not others.num_rows:
        return found
    near = np.arange(rows.num_rows)
    for name in others.column_names:
        column = rows.column(name)
        if len(near) < rows.num_rows:
            column = column.take(arrow(near))
        near = near[_is_in(column, others.column(name))]
    if others.num_columns > 1 and len(near):
        numbered = rows.select(others.column_names).take(arrow(near))
        numbered = numbered.append_column("", pa.array(near))
        near = numbered.join(others, others.column_names, join_type="left semi")[""].to_numpy()
    found[near] = True
    return found


def _changes(table: Table, old: pa.Table, new: pa.Table) -> pa.Table | None:
    """What differs between two parts that cover the same keys; None when nothing does."""
    schema = change_fields(table)
    at_old, at_new = matches(table.key, old, new)
    deleted, inserted = _others(old.num_rows, at_old), _others(new.num_rows, at_new)
    values = [name for name in new.column_names if name not in table.key]
    was, now = old, new
    if len(at_old) < old.num_rows:
        was = old.take(arrow(at_old))
    if len(at_new) < new.num_rows:
        now = new.take(arrow(at_new))
    found = [differing(_whole(was.column(name)), _whole(now.column(name))) for name in values]
    updated = np.flatnonzero(np.logical_or.reduce(found)) if found else np.arange(0)
    parts = []
    if len(updated):
        where = arrow(updated)
        was, now = was.take(where), now.take(where)
        which = np.stack([mask[updated] for mask in found], axis=1)
        offsets = np.concatenate(([0], np.cumsum(which.sum(axis=1)))).astype(np.int32)
        columns: Any = pa.array(values, pa.string()).take(arrow(np.nonzero(which)[1]))
        parts.append(
            _told(
                Operation.UPDATE,
                schema,
                now,
                changed=pa.ListArray.from_arrays(arrow(offsets), columns),
                before=pa.StructArray.from_arrays(
                    [_whole(was.column(name)) for name in values],
                    fields=list(schema.field("before").type),
                ),
            )
        )
    if len(deleted):
        parts.append(_told(Operation.DELETE, schema, old.take(arrow(deleted))))
    if len(inserted):
        parts.append(_told(Operation.INSERT, schema, new.take(arrow(inserted))))
    if not parts:
        return None
    told = pa.concat_tables(parts)
    if len(parts) > 1:
        told = told.sort_by([(name, "ascending") for name in table.key])
    return told


def _told(
    operation: Operation, schema: pa.Schema, rows: pa.Table, changed: Any = None, before: Any = None
) -> pa.Table:
    given = {
        "operation": pa.repeat(pa.scalar(operation.value), rows.num_rows),
        "changed": changed,
        "before": before,
    }
    columns = [
        rows.column(field.name)
        if field.name not in given
        else pa.nulls(rows.num_rows, field.type)
        if given[field.name] is None
        else given[field.name]
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _sorted_together(key: Sequence[str], left: pa.Table, right: pa.Table) -> tuple[Places, Mask]:
    """The key order of both, left before right, and where the next row has the same key."""
    keys = pa.concat_tables([left, right])
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in key])
    ordered = keys.take(order)
    same = np.ones(max(ordered.num_rows - 1, 0), dtype=np.bool_)
    for column in ordered.columns:
        same &= _mask(pc.equal(column.slice(0, len(same)), column.slice(1)))
    return order.to_numpy().astype(np.int64), same


def _others(count: int, places: Places) -> Places:
    """All places but those."""
    left = np.ones(count, dtype=np.bool_)
    left[places] = False
    return np.flatnonzero(left)


def _is_in(column: Any, values: Any) -> Mask:
    return _mask(pc.is_in(column, value_set=_whole(values)))


def arrow(places: Any) -> Any:
    """Places in a table as Arrow takes them."""
    return pa.array(places)


def _mask(found: Any) -> Mask:
    mask: Mask = (
        found.to_numpy(zero_copy_only=False) if isinstance(found, pa.Array) else (found.to_numpy())
    )
    return mask


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
