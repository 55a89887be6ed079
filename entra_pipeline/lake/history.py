"""The history of a table: what every commit after the first changed, row by row.

A Delta table of its own, `<table>_changes`, beside the table. A commit appends to it first; the
table's commit then names the version of the history that counts. What a killed commit appended is
named by nobody: readers read the named version, the next append drops the rest.

Each commit's changes are one file whose name begins with the version of the table that the commit
made: the files' order is the order of the commits. `at` never goes backwards along it.

Also here: the state of a past moment, which is the present one less what came later. Only the first
later change of a row matters, because it says what the row was before it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from entra_pipeline.lake import log, parquet
from entra_pipeline.lake.diff import Amendment, Operation, amended, arrow, change_fields
from entra_pipeline.lake.rows import even
from entra_pipeline.tables import Table
from entra_pipeline.tables.model import TIME

# One writer at a time holds the data directory's lock: a conflict is a fault to show.
_ONCE: Final = CommitProperties(max_commit_retries=0)
# Files of fewer rows are small; so many of them become one. Reading one takes 3 ms.
_SMALL: Final = 50_000
_MANY: Final = 32
# Trimming rewrites the file that lies across the limit, so it waits until there is this much to go.
_TRIMMED: Final = timedelta(days=1)


def change_schema(table: Table) -> pa.Schema:
    """The columns of the history of a table.

    `operation`: insert, update or delete. `sync_id`, `at`: the sync that saw it and when that read
    the table. `changed`: names of the columns of an update that changed. Then all columns of the
    table: the row after, for a delete the row as it was. `before`: all columns but the key as they
    were before an update; not there if the table has none but the key.
    """
    operation, *others = change_fields(table)
    return pa.schema(
        [
            operation,
            pa.field("sync_id", pa.string(), nullable=False),
            pa.field("at", TIME, nullable=False),
            *others,
        ]
    )


class History:
    """The history of one table of a lake at `root`."""

    def __init__(self, root: Path, table: Table) -> None:
        self.folder = root / f"{table.name}_changes"
        self._table = table
        self._schema = change_schema(table)

    def writer(self, version: int) -> parquet.Writer:
        """A file for what the commit that makes this version of the table changes."""
        return parquet.Writer(self.folder, self._schema, f"{version:012}")

    def dated(self, changes: pa.Table, sync_id: str, at: datetime) -> pa.Table:
        """Changes (`diff`) with the sync that saw them and its time."""
        given: dict[str, Any] = {"sync_id": pa.scalar(sync_id), "at": pa.scalar(at, TIME)}
        columns = [
            pa.repeat(given[field.name], changes.num_rows)
            if field.name in given
            else changes.column(field.name)
            for field in self._schema
        ]
        return pa.table(columns, schema=self._schema)

    def append(self, file: parquet.Writer, named: int | None, at: datetime) -> int:
        """Adds a file to the named version of the history, or begins it; the version that is made.

        Whatever came after the named version is dropped: the commit that it belonged to was killed.
        """
        actions = file.finish({"at": _extremes(at, at)})
        schema = Schema.from_arrow(self._schema)
        stored = log.opened(self.folder)
        if stored is None:
            create_table_with_add_actions(
                str(self.folder),
                schema,
                [*actions],
                name=self.folder.name,
                description=f"What changed in {self._table.name}, by sync.",
                commit_properties=_ONCE,
            )
            return 0
        if named is None:
            self._overwrite(stored, actions)
        else:
            self._settle(stored, named)
            if stored.schema() == schema:
                stored.create_write_transaction(
                    [*actions], "append", schema, commit_properties=_ONCE
                )
            else:  # columns were declared since: all of it has them from now on, as null
                self._overwrite(stored, [*self._merged(self._stored(stored), None), *actions])
        return self._latest()

    def tidy(self, named: int, until: datetime | None) -> tuple[int, datetime | None]:
        """Drops changes up to the moment, and makes one file of many small ones.

        The version to name from now on, the same if there was nothing to do; the moment if changes
        were dropped, which waits until it is worth it.
        """
        stored = DeltaTable(self.folder)
        self._settle(stored, named)
        files = self._stored(stored)
        # Not for a few minutes' worth each time: the file that lies across is rewritten.
        if until is not None and not any(file.low < until - _TRIMMED for file in files):
            until = None
        merged = _small(files) if until is None else [f for f in files if f.low <= until]
        if merged:
            now = int(datetime.now(UTC).timestamp() * 1000)
            removed = [RemoveAction(file.path.name, True, now, file.size, {}) for file in merged]
            stored.create_write_transaction(
                [*removed, *self._merged(merged, until)],
                "append",
                stored.schema(),
                commit_properties=_ONCE,
            )
        return self._latest(), until

    def is_scattered(self) -> bool:
        """Whether there are so many files that `tidy` may have some to gather."""
        return sum(1 for _ in self.folder.glob("*.parquet")) >= _MANY

    def read(
        self,
        named: int | None,
        *,
        after: datetime | None = None,
        until: datetime | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """The changes with `at` after the one moment and not after the other, as committed."""
        schema = self._schema
        if columns is not None:
            schema = pa.schema([schema.field(name) for name in columns])
        parts = [schema.empty_table()]
        for path in self._files(named, after, until):
            rows = parquet.read(path, schema)
            parts.append(_between(rows, after, until))
        return pa.concat_tables(parts)

    def changes(
        self, named: int | None, after: datetime | None, until: datetime | None
    ) -> pa.Table:
        """As `read`, in order of time, then key; changes of one row as they happened."""
        rows = self.read(named, after=after, until=until)
        return rows.sort_by([(name, "ascending") for name in ("at", *self._table.key)])

    def undo(
        self,
        named: int | None,
        pieces: Iterable[pa.Table],
        columns: Sequence[str],
        *,
        after: datetime,
        until: datetime | None = None,
    ) -> Iterator[pa.Table]:
        """A state after the one moment from that after the other (None: now), both in pieces.

        `columns` are those of the pieces, which come in key order and have the key.
        """
        key = list(self._table.key)
        values = [name for name in columns if name not in key]
        told = ["operation", "at", *columns]
        if values:
            told.append("before")
        later = self.read(named, after=after, until=until, columns=told)
        if not later.num_rows:
            yield from pieces
            return
        first = _first(later, key)
        was = _as_before(first, columns, values, self._table.schema())
        amendment = Amendment(was, deletes=first.select(key))
        for step in amended(key, pieces, amendment):
            yield step.rows

    def paths(self, named: int | None) -> list[str]:
        """The files of the named version of the history, in the order of the commits."""
        if named is None:
            return []
        files = DeltaTable(self.folder, version=named).file_uris()
        return sorted(files, key=lambda file: Path(file).name)

    def _latest(self) -> int:
        return log.latest(self.folder) or 0

    def _settle(self, stored: DeltaTable, named: int) -> None:
        """Drops what came after the named version."""
        if stored.version() != named:
            stored.restore(named, commit_properties=_ONCE)

    def _overwrite(self, stored: DeltaTable, added: Sequence[AddAction]) -> None:
        stored.create_write_transaction(
            [*added], "overwrite", Schema.from_arrow(self._schema), commit_properties=_ONCE
        )

    def _merged(self, files: Sequence[_File], after: datetime | None) -> list[AddAction]:
        """One file of the changes in several that are later than the moment."""
        found = (
            _between(piece, after, None)
            for file in files
            for piece in parquet.pieces(str(file.path), self._schema)
        )
        # In the place of the last one.
        prefix = files[-1].path.name.partition("-")[0]
        with parquet.Writer(self.folder, self._schema, prefix) as writer:
            for piece in even(found, 0):
                writer.write(piece)
            low = files[0].low if after is None else max(after, files[0].low)
            return writer.finish({"at": _extremes(low, files[-1].high)})

    def _files(
        self, named: int | None, after: datetime | None, until: datetime | None
    ) -> list[str]:
        """The files that can have changes of that time, in the order of the commits."""
        if named is None:
            return []
        return [
            str(file.path)
            for file in self._stored(DeltaTable(self.folder, version=named))
            if (after is None or file.high > after) and (until is None or file.low <= until)
        ]

    def _stored(self, stored: DeltaTable) -> list[_File]:
        """The files of the version opened, in the order of the commits."""
        found: Any = pa.table(stored.get_add_actions(flatten=True))
        files = [
            _File(
                path=self.folder / file["path"],
                rows=file["num_records"],
                size=file["size_bytes"],
                low=_moment(file["min.at"]),
                high=_moment(file["max.at"]),
            )
            for file in found.to_pylist()
        ]
        return sorted(files, key=lambda file: file.path.name)


@dataclass(frozen=True)
class _File:
    """A file of the history."""

    path: Path
    rows: int
    size: int  # in bytes
    low: datetime  # no change in it is earlier
    high: datetime  # no change in it is later


def _small(files: Sequence[_File]) -> list[_File]:
    """Small files that follow one another, if there are many such."""
    for small, run in itertools.groupby(files, lambda file: file.rows < _SMALL):
        found = list(run)
        if small and len(found) >= _MANY:
            return found
    return []


def _extremes(first: datetime, last: datetime) -> tuple[str, str]:
    """Milliseconds not after the one and not before the other: Delta's statistics know no finer."""
    low = first.astimezone(UTC)
    high = last.astimezone(UTC) + timedelta(microseconds=999)
    return _stamp(low), _stamp(high)


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def _moment(value: Any) -> datetime:
    moment: datetime = value
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _between(rows: pa.Table, after: datetime | None, until: datetime | None) -> pa.Table:
    if "at" not in rows.column_names or not rows.num_rows:
        return rows
    for moment, wanted in ((after, pc.greater), (until, pc.less_equal)):
        if moment is not None:
            kept = wanted(rows.column("at"), pa.scalar(moment, TIME))
            if not pc.all(kept).as_py():
                rows = rows.filter(kept)
    return rows


def _first(changes: pa.Table, key: Sequence[str]) -> pa.Table:
    """Of changes in the order of the commits the first of each row, in key order."""
    # The sort is stable: changes of one row stay in their order.
    order = pc.sort_indices(changes, sort_keys=[(name, "ascending") for name in key])
    keys = changes.select(key).take(order)
    again = np.ones(max(changes.num_rows - 1, 0), dtype=np.bool_)
    for column in keys.columns:
        again &= pc.equal(column.slice(0, len(again)), column.slice(1)).to_numpy()
    return changes.take(order.filter(arrow(np.append(True, ~again))))


def _as_before(
    changes: pa.Table, columns: Sequence[str], values: Sequence[str], schema: pa.Schema
) -> pa.Table:
    """The rows before each change, in the order given; none for those that an insert made."""
    changes = changes.filter(
        pc.not_equal(changes.column("operation"), pa.scalar(Operation.INSERT.value))
    )
    rows = changes.select(columns)
    if not values:
        return rows
    updated = pc.equal(changes.column("operation"), pa.scalar(Operation.UPDATE.value))
    before = changes.column("before")
    for name in values:
        place = rows.column_names.index(name)
        was = pc.struct_field(before, name)
        field = schema.field(name)
        rows = rows.set_column(place, field, _either(updated, was, rows.column(name)))
    return rows


def _either(which: Any, one: Any, other: Any) -> Any:
    """Values of the one column where `which` is true, else of the other; of any type."""
    both = pa.chunked_array([*one.chunks, *other.chunks], other.type)
    count = len(other)
    places = np.arange(count) + np.where(which.to_numpy(), 0, count)
    return both.take(arrow(places))
