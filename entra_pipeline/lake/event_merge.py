"""What a commit of events writes: each id once, in the file of its day.

Belongs here: telling new events from those that are stored, and what takes the place of what.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
from deltalake.transaction import AddAction, RemoveAction

from entra_pipeline.lake import event_files
from entra_pipeline.lake.event_files import EventFile
from entra_pipeline.lake.rows import in_order
from entra_pipeline.tables import Table

# The stubs spell out overloads by element type; "whatever is declared" fits few of them.
pc: Any = pyarrow.compute


class Change:
    """What one day's part of a commit writes."""

    def __init__(self) -> None:
        self.adds: list[AddAction] = []
        self.removes: list[RemoveAction] = []
        self.inserted = self.replaced = self.repeated = 0


def merged(
    table: Table, folder: Path, day: str, part: pa.Table, files: Sequence[EventFile]
) -> Change:
    """What has to be written so that the day holds these events too, each id once."""
    key = table.key[0]
    times = pc.min_max(part.column(table.time)).as_py()
    inserted, replaced, repeated = part.num_rows, 0, 0
    change = Change()
    for file in files:
        if file.last < times["min"] or file.first > times["max"] or not part.num_rows:
            continue
        ids = part.column(key)
        if not pc.any(pc.is_in(event_files.ids(folder / file.path, key), value_set=ids)).as_py():
            continue
        there = pa.concat_tables(
            [
                batch.filter(pc.is_in(batch.column(key), value_set=ids))
                for batch in event_files.batches(folder / file.path, table.schema())
            ]
        )
        met = pc.is_in(ids, value_set=there.column(key))
        if _same(table, there, part.filter(met)):
            repeated += there.num_rows
            part = part.filter(pc.invert(met))
        else:
            # One of them differs: all that came take the place of those that were there.
            replaced += there.num_rows
            change.removes.append(event_files.removed(file))
            kept = event_files.without(folder / file.path, table, ids)
            if (add := event_files.write(folder, table, day, kept)) is not None:
                change.adds.append(add)
    if (add := event_files.write(folder, table, day, [part])) is not None:
        change.adds.append(add)
    change.inserted = inserted - replaced - repeated
    change.replaced, change.repeated = replaced, repeated
    return change


def by_day(table: Table, rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each UTC day, in order."""
    days = pc.cast(rows.column(table.time), pa.date32())
    found: list[date] = sorted(pc.unique(days).to_pylist())
    for day in found:
        yield day.isoformat(), rows if len(found) == 1 else rows.filter(pc.equal(days, day))


def distinct(table: Table, rows: pa.Table) -> pa.Table:
    """The rows by time, then id; of one id the last given. Gathered once: that costs the most."""
    ordered = in_order(table, rows)
    keys = rows.select([table.time, *table.key])
    if ordered.order is not None:
        keys = keys.take(ordered.order)
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names])
    if ordered.order is not None:
        order = pc.take(ordered.order, order)
    return pa.table(rows.take(order)).cast(table.schema())


def by_time(table: Table, rows: pa.Table) -> pa.Table:
    """The rows by time, then id."""
    keys = [(name, "ascending") for name in (table.time, *table.key)]
    return rows.take(pc.sort_indices(rows.select([name for name, _ in keys]), sort_keys=keys))


def _same(table: Table, there: pa.Table, here: pa.Table) -> bool:
    schema = pa.schema([pa.field(field.name, field.type) for field in table.schema()])
    one, other = (by_time(table, rows).cast(schema).combine_chunks() for rows in (there, here))
    return bool(one.equals(other))
