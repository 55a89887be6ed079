"""The files of a version of a table in the making: rows in, files with ranges of keys out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake.transaction import AddAction

from entra_pipeline.lake import digests, layout, log, parquet
from entra_pipeline.lake.diff import Changes, Step
from entra_pipeline.lake.metadata import StoredFile
from entra_pipeline.tables import Table


class Files:
    """Files of at least `rows_each` rows (None: one file), which begin where chunks do.

    `names`: how their names begin. Within `with` they are removed again if their making fails.
    """

    def __init__(
        self,
        folder: Path,
        table: Table,
        mean: int,
        rows_each: int | None,
        names: Iterator[str],
    ) -> None:
        self._folder, self._table, self._names = folder, table, names
        self._mean, self._rows_each = mean, rows_each
        self._schema = log.commented(table)
        self._hasher = digests.Hasher(table)
        self._writer: parquet.Writer | None = None
        self._first: tuple[Any, ...] = ()
        self._last: pa.Table | None = None
        self._done: list[tuple[parquet.Writer, AddAction, StoredFile]] = []

    def __enter__(self) -> Files:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.discard()

    def write(self, rows: pa.Table) -> None:
        """Adds rows, the next in key order."""
        key = self._table.key
        for begins, part in digests.chunks(self._table, self._mean, [rows]):
            if begins and self._rows_each is not None and self._rows >= self._rows_each:
                self._end()
            if self._writer is None:
                self._first = tuple(part.column(name)[0].as_py() for name in key)
                self._writer = parquet.Writer(
                    self._folder, self._schema, next(self._names), key=key
                )
            self._hasher.add(begins, part)
            self._writer.write(part)
            self._last = part

    def finish(self) -> tuple[list[AddAction], list[StoredFile]]:
        """Makes the files durable; the actions that add them to the table, and what they hold."""
        self._end()
        return [action for _, action, _ in self._done], [file for *_, file in self._done]

    def discard(self) -> None:
        """Removes the files."""
        for writer in (*(writer for writer, *_ in self._done), self._writer):
            if writer is not None:
                writer.discard()

    @property
    def _rows(self) -> int:
        return 0 if self._writer is None else self._writer.rows

    def _end(self) -> None:
        """Ends the file in the making, if there is one."""
        writer, last = self._writer, self._last
        if writer is None or last is None:
            return
        key = self._table.key[0]  # the only column whose extremes follow from the order
        (action,) = writer.finish({key: (self._first[0], last.column(key)[-1].as_py())})
        stored = StoredFile(action.path, writer.rows, f"{self._hasher.close():064x}", self._first)
        self._done.append((writer, action, stored))
        self._writer = None


@dataclass(frozen=True)
class Replacement:
    """Files of a version whose rows change, and what they become."""

    start: int  # number of the first of the files
    stop: int  # number of the one after the last
    rows_each: int | None  # rows of a new file, at least; None: all rows make one file
    steps: Iterable[Step]


class Version:
    """A version in the making: files that stay, and new ones in the place of others.

    `former`: the files that the numbers of replacements count. Within `with` the new ones are
    removed again if their making fails.
    """

    def __init__(self, folder: Path, table: Table, mean: int, former: Sequence[StoredFile]) -> None:
        self._folder, self._table, self._mean, self._former = folder, table, mean, former
        self._new: list[tuple[int, int, Files]] = []

    def __enter__(self) -> Version:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.discard()

    def replace(self, part: Replacement, changes: Changes | None) -> None:
        """Writes the new files, the next in order; none if there is nothing to tell of.

        `changes` are told what differs. None: rows are written whether they differ or not.
        """
        names = layout.names(self._former, part.start, part.stop)
        files = Files(self._folder, self._table, self._mean, part.rows_each, names)
        self._new.append((part.start, part.stop, files))
        changed = changes is None
        held: list[pa.Table] = []
        for step in part.steps:
            if changes is not None and changes.add(step):
                changed = True
            held.append(step.rows)
            # The rows of one file can wait until it is known whether it has to be written.
            if changed or part.rows_each is not None:
                for rows in held:
                    files.write(rows)
                held = []
        if not changed:
            files.discard()
            self._new.pop()

    def finish(self) -> tuple[list[AddAction], list[StoredFile], list[StoredFile]]:
        """Makes the new files durable: their actions; the version's files; those replaced."""
        actions: list[AddAction] = []
        files: list[StoredFile] = []
        gone: list[StoredFile] = []
        at = 0
        for start, stop, new in self._new:
            added, stored = new.finish()
            actions += added
            files += [*self._former[at:start], *stored]
            gone += self._former[start:stop]
            at = stop
        return actions, [*files, *self._former[at:]], gone

    def discard(self) -> None:
        """Removes the new files."""
        for *_, files in self._new:
            files.discard()
