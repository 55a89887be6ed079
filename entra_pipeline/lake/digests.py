"""The digest of a table's content, made of parts: what changes few rows changes few of them.

Rows in key order fall into chunks. Where one begins is said by the row's own key, so that equal
content has equal chunks, however it came about. The digest is the sum of the chunks' hashes: each
file of a table has its own, and that of the table follows without reading the files that stay.

Pure functions on Arrow tables in key order, one row a key; nothing here reads or writes files.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from entra_pipeline.lake.rows import Ordered
from entra_pipeline.tables import Table

# Rows are hashed so many at a time, counted from where a chunk begins.
_SLICE: Final = 16_384
_TAIL: Final = 16  # bytes of each key value that say where a chunk begins: ids differ there
_MODULUS: Final = 2**256
_WORD: Final = np.dtype("<u8")
_FACTORS: Final = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], _WORD)


class Hasher:
    """Adds up the hashes of chunks: names, types and values count, descriptions do not.

    Only values count, not how Arrow happens to hold them: what lies below a null differs between
    rows from JSON, from Parquet and from a `take`.
    """

    def __init__(self, table: Table) -> None:
        self._seed = _seed(table)
        self._hash: Any = None
        self._held: list[pa.Table] = []
        self._rows = 0
        self._sum = 0

    def add(self, begins: bool, rows: pa.Table) -> None:
        """The next rows, all of one chunk, which begins with them or before."""
        if begins:
            self._end()
        self._held.append(rows)
        self._rows += rows.num_rows
        if self._rows >= _SLICE:
            self._add(ending=False)

    def close(self) -> int:
        """The sum of all chunks since the last call, the last of which ends here."""
        self._end()
        total, self._sum = self._sum, 0
        return total

    def _add(self, *, ending: bool) -> None:
        """Hashes what is held, as far as it makes whole slices or nothing follows."""
        if not self._rows:
            return
        if self._hash is None:
            self._hash = hashlib.sha256(self._seed)
        held = self._held[0] if len(self._held) == 1 else pa.concat_tables(self._held)
        end = self._rows if ending else self._rows - self._rows % _SLICE
        _hash_rows(self._hash.update, held.slice(0, end))
        self._rows -= end
        self._held = [held.slice(end)] if self._rows else []

    def _end(self) -> None:
        self._add(ending=True)
        if self._hash is not None:
            self._sum = (self._sum + int.from_bytes(self._hash.digest())) % _MODULUS
            self._hash = None


def chunks(table: Table, mean: int, pieces: Iterable[pa.Table]) -> Iterator[tuple[bool, pa.Table]]:
    """The rows of pieces, cut where chunks begin, and whether one does; `mean` rows each, about."""
    for piece in pieces:
        begins = _begins(table, mean, piece)
        bounds = [0, *(place for place in np.flatnonzero(begins).tolist() if place)]
        for start, end in itertools.pairwise([*bounds, piece.num_rows]):
            if end > start:
                yield bool(begins[start]), piece.slice(start, end - start)


def told(mean: int, total: int) -> str:
    """A sum of chunks as commits say it, with the size of chunks that it was made with."""
    return f"{mean}-{total % _MODULUS:064x}"


def is_made_with(digest: str, mean: int) -> bool:
    """Whether the digest is a sum of such chunks, so that parts can be taken off and added."""
    return digest.partition("-")[0] == str(mean)


def digest(table: Table, ordered: Ordered, like: str) -> str:
    """The digest of all rows, worked out as the other was."""
    mean, _, is_sum = like.partition("-")
    if not is_sum or not mean.isdigit():
        return _undivided(table, ordered)
    hasher = Hasher(table)
    for begins, rows in chunks(table, int(mean), ordered.slices()):
        hasher.add(begins, rows)
    return told(int(mean), hasher.close())


def _undivided(table: Table, ordered: Ordered) -> str:
    """The digest that commits said when a table was one file: one hash of everything."""
    hashing = hashlib.sha256(_seed(table))
    for piece in ordered.slices():
        _hash_rows(hashing.update, piece, brief=False)
    return hashing.hexdigest()


def _seed(table: Table) -> bytes:
    return repr([(field.name, str(field.type)) for field in table.schema()]).encode()


def _begins(table: Table, mean: int, rows: pa.Table) -> npt.NDArray[np.bool_]:
    """Which rows begin a chunk: one in so many, by their keys alone."""
    mixed = np.zeros(rows.num_rows, _WORD)
    for name in table.key:
        for word, factor in zip(_tails(rows.column(name)), _FACTORS, strict=True):
            mixed ^= word
            mixed *= factor
            mixed ^= mixed >> np.uint64(32)
    mixed *= _FACTORS[0]  # so that the last byte counts everywhere
    found: npt.NDArray[np.bool_] = (mixed >> np.uint64(32)) % np.uint64(mean) == 0
    return found


def _tails(column: Any) -> list[npt.NDArray[np.uint64]]:
    """The last bytes of each text as two numbers."""
    array = column.cast(pa.string()).combine_chunks()
    count = len(array)
    _, offsets, values = array.buffers()
    if not count or values is None:
        return [np.zeros(count, _WORD)] * 2
    bounds = np.frombuffer(offsets, np.int32, count + 1, 4 * array.offset)
    lengths = np.diff(bounds)
    length = int(lengths[0])
    if length >= _TAIL and (lengths == length).all():
        ends = [int(bounds[1]) - _TAIL, int(bounds[1]) - _TAIL // 2]
        return [np.ndarray((count,), _WORD, values, end, (length,)) for end in ends]
    data = np.frombuffer(values, np.uint8)
    tails = np.zeros((count, _TAIL), np.uint8)
    for back in range(1, _TAIL + 1):
        there = np.flatnonzero(lengths >= back)
        tails[there, _TAIL - back] = data[bounds[1:][there] - back]
    return [*tails.view(_WORD).T]


def _hash_rows(update: Callable[[Any], None], rows: pa.Table, *, brief: bool = True) -> None:
    """Hashes rows slice by slice; `brief`: of columns that are all null only that they are."""
    even = rows.combine_chunks()
    for start in range(0, even.num_rows, _SLICE):
        for column in even.slice(start, _SLICE).columns:
            for chunk in column.chunks:
                if brief and chunk.null_count == len(chunk):
                    update(b"null")
                else:
                    _hash(update, chunk)


def _hash(update: Callable[[Any], None], array: Any) -> None:
    """Hashes the values of one array, whatever its type."""
    kind = array.type
    nulls = array.null_count
    update(f"{len(array)} {nulls}".encode())
    if nulls:
        update(np.packbits(array.is_valid().to_numpy(zero_copy_only=False)))
    if pa.types.is_struct(kind):
        for part in array.flatten():
            _hash(update, part)
        return
    if pa.types.is_list(kind):
        update(pc.fill_null(pc.list_value_length(array), 0).to_numpy())
        _hash(update, array.flatten())
        return
    if nulls:
        array = pc.fill_null(array, pa.scalar("" if pa.types.is_string(kind) else 0).cast(kind))
    if pa.types.is_string(kind):
        _, offsets, values = array.buffers()
        if not len(array) or offsets is None:
            return
        bounds = np.frombuffer(offsets, np.int32, len(array) + 1, 4 * array.offset)
        update(np.diff(bounds))
        if values is not None:
            update(memoryview(values)[bounds[0] : bounds[-1]])
    elif pa.types.is_boolean(kind):
        update(np.packbits(array.to_numpy(zero_copy_only=False)))
    else:
        update(np.ascontiguousarray(array.to_numpy()))
