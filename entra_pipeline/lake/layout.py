"""How a version of a table is spread over files, and which of them a change has to do with.

Each file holds the rows from its first key up to the first key of the next, and begins where a
chunk of the digest does (`digests`). A change is worked out in the files in whose range its keys
lie; all others stay as they are, under the names that they have.

Nothing here reads or writes files itself.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from entra_pipeline.lake.diff import Amendment, Mask, equal_to
from entra_pipeline.lake.metadata import StoredFile

# Rows of a file at least. Smaller files would make a change of a few rows cheaper, and reading all
# of a table dearer: opening a file and 50 columns in it costs as much as 2,000 rows of them.
FILE_ROWS: Final = 16_384
# Files of a large table: a change of one row is then a change of a hundredth of it, and a reader of
# everything opens few enough.
_FILES: Final = 128
# A file may grow or shrink by this factor before it is split, or joined with another.
_SLACK: Final = 4
# Names of files lengthen when they are split again and again; with these all are named anew.
_LONGEST: Final = 120
_DIGITS: Final = 5

Rows = Callable[[StoredFile, Sequence[str]], pa.Table]


@dataclass(frozen=True)
class Part:
    """Files that follow one another, what to do to their rows, and into what files to put them."""

    start: int  # number of the first of the files
    stop: int  # number of the one after them
    amendment: Amendment
    rows_each: int | None  # rows of a new file, at least; None: all rows make one file


def rows_each(total: int, least: int) -> int | None:
    """Rows of a file, at least, in a table of so many; None if it is one file."""
    each = max(least, total // _FILES)
    return each if total > 2 * each else None


def parts(
    files: Sequence[StoredFile],
    key: Sequence[str],
    amendment: Amendment,
    least: int,
    read: Rows,
) -> list[Part]:
    """The files that the amendment may change, in order; `read` gives columns of a file's rows."""
    upserts = _Named.of(files, key, amendment.upserts)
    deletes, within = amendment.deletes, amendment.within
    gone = [] if deletes is None else [_Named.of(files, key, deletes)]
    if within is not None:
        gone.append(_Named.of(files, key, pa.table({within[0]: within[1]})))
    total = sum(file.rows for file in files) + amendment.upserts.num_rows
    if not files:
        return [Part(0, len(files), amendment, rows_each(total, least))]
    each = max(least, total // _FILES)
    named = [upserts, *gone]
    touched = [n for n in range(len(files)) if any(part.lies_in(n) for part in named)]
    if unknown := [part for part in gone if part.cuts is None]:
        asked = sorted({name for part in unknown for name in part.rows.column_names})
        for n in sorted({*range(len(files))} - {*touched}):
            rows = read(files[n], asked)
            if any(part.mask(rows).any() for part in unknown):
                touched.append(n)
    # What is left of a chunk whose first row went belongs to the chunk before.
    headless = _headless(files, key, upserts, gone, [n for n in touched if n], read)
    spans = (_widened(files, n - (n in headless), n + 1, each) for n in touched)
    return [
        Part(
            start,
            stop,
            Amendment(
                upserts.between(start, stop),
                deletes=None if deletes is None else gone[0].between(start, stop),
                within=None
                if within is None
                else (within[0], gone[-1].between(start, stop).column(0)),
            ),
            each if sum(f.rows for f in files[start:stop]) > _SLACK * each else None,
        )
        for start, stop in _joined(spans)
    ]


def is_worn(files: Sequence[StoredFile]) -> bool:
    """Whether names became so long that all files should be written anew."""
    return any(len(file.name) > _LONGEST for file in files)


def misfits(files: Sequence[StoredFile], least: int) -> list[tuple[int, int, int | None]]:
    """Runs of files to write anew because some became far too large or small.

    Each as the numbers of the first and of the one after the last, and the rows of a new file.
    """
    each = max(least, sum(file.rows for file in files) // _FILES)
    spans = (
        _widened(files, n, n + 1, each)
        for n, file in enumerate(files)
        if file.rows > _SLACK * each or (file.rows * _SLACK < each and len(files) > 1)
    )
    return [
        (start, stop, rows_each(sum(file.rows for file in files[start:stop]), each))
        for start, stop in _joined(spans)
    ]


def names(files: Sequence[StoredFile], start: int, stop: int) -> Iterator[str]:
    """How names of files begin that come in the place of some: in order, between the others'.

    Whoever lists files by name then has them in key order.
    """
    before = "" if start == stop else files[start].name.split("-")[1]
    if before:
        yield f"part-{before}"
    if stop == len(files):
        first = int(before[:_DIGITS]) + 1 if before else 0
        yield from (f"part-{number:0{_DIGITS}}" for number in itertools.count(first))
    after = files[stop].name.split("-")[1]
    if after.startswith(before):
        before += "0" * (len(after) - len(before))
    yield from (f"part-{before}{number:0{_DIGITS}}" for number in itertools.count(1))


@dataclass(frozen=True)
class _Named:
    """Rows or values that an amendment names, in key order, and where those of each file lie."""

    rows: pa.Table
    cuts: Sequence[tuple[int, int]] | None  # None: the key does not begin with any of the columns

    @classmethod
    def of(cls, files: Sequence[StoredFile], key: Sequence[str], rows: pa.Table) -> _Named:
        leading = [*itertools.takewhile(lambda name: name in rows.column_names, key)]
        if not leading:
            return cls(rows, None)
        rows = rows.sort_by([(name, "ascending") for name in leading])
        columns: list[Any] = [rows.column(name) for name in leading]

        def place(within: Callable[..., int], first: tuple[Any, ...]) -> int:
            return within(
                range(rows.num_rows),
                first[: len(leading)],
                key=lambda row: tuple(column[row].as_py() for column in columns),
            )

        # Rows that share the beginning of a key may lie in several files.
        before = bisect.bisect_left if len(leading) == len(key) else bisect.bisect_right
        starts = [place(bisect.bisect_left, file.first) for file in files[1:]]
        stops = [place(before, file.first) for file in files[1:]]
        return cls(rows, [*zip([0, *starts], [*stops, rows.num_rows], strict=True)])

    def lies_in(self, number: int) -> bool:
        """Whether some lie in the range of that file."""
        return self.cuts is not None and self.cuts[number][0] < self.cuts[number][1]

    def between(self, start: int, stop: int) -> pa.Table:
        """Those that lie in the range of some files."""
        if self.cuts is None:
            return self.rows
        first, end = self.cuts[start][0], self.cuts[stop - 1][1]
        return self.rows.slice(first, end - first)

    def mask(self, rows: pa.Table) -> Mask:
        """Which of the rows equal one of these in all of the columns that these have."""
        return equal_to(rows, self.rows)


def _headless(
    files: Sequence[StoredFile],
    key: Sequence[str],
    upserts: _Named,
    gone: Sequence[_Named],
    numbers: Sequence[int],
    read: Rows,
) -> set[int]:
    """Of those files the ones whose first row goes."""
    found: set[int] = set()
    for part in gone if numbers else ():
        names = part.rows.column_names
        if {*names} <= {*key}:
            firsts = zip(*(files[n].first for n in numbers), strict=True)
            heads = pa.table(dict(zip(key, map(pa.array, firsts), strict=True)))
        else:
            heads = pa.concat_tables(read(files[n], names).slice(0, 1) for n in numbers)
        found |= {numbers[place] for place in np.flatnonzero(part.mask(heads)).tolist()}
    stays = set()
    for n in found:
        first = upserts.between(n, n + 1).slice(0, 1).select(key).to_pylist()
        if first and tuple(first[0].values()) == files[n].first:
            stays.add(n)
    return found - stays


def _widened(files: Sequence[StoredFile], start: int, stop: int, each: int) -> tuple[int, int]:
    """The files with so many of their neighbours that they are not far too small."""
    while sum(file.rows for file in files[start:stop]) * _SLACK < each:
        if stop < len(files):
            stop += 1
        elif start:
            start -= 1
        else:
            break
    return start, stop


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those that overlap as one."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if found and start < found[-1][1]:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        else:
            found.append((start, stop))
    return found
