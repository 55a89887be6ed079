"""Pairs of ids in little memory: who is a member of what, by the million.

Here: ids as numbers, and the finished, sorted table. Not here: where the pairs come from.

Why: an id is 36 characters. A million and a half memberships name some 130,000 different ids;
as numbers they take 14 MB where text takes 120 MB.
"""

import threading

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from entra_pipeline.extract.arrow import Array
from entra_pipeline.extract.arrow import compute as pc

_PENDING = 1 << 17


class Ids:
    """Different texts, numbered in the order in which they were first seen."""

    def __init__(self) -> None:
        self._known: Array = pa.array([], pa.string())

    def __len__(self) -> int:
        return len(self._known)

    def numbers(self, texts: Array) -> npt.NDArray[np.int32]:
        """The number of each text; unknown ones get the next, nulls -1."""
        if not len(texts):
            return np.empty(0, np.int32)
        # One dictionary over both, so that known texts keep their numbers: hashing all of them
        # again is cheaper than looking a hundred thousand up in a table made for the occasion.
        both: Array = pa.chunked_array([self._known, texts]).dictionary_encode()
        found = both.chunk(both.num_chunks - 1)
        self._known = found.dictionary
        numbers: npt.NDArray[np.int32] = found.indices.fill_null(-1).to_numpy()
        return numbers

    def among(self, texts: Array) -> npt.NDArray[np.bool_]:
        """For each number, whether its text is one of these."""
        found: npt.NDArray[np.bool_] = pc.is_in(self._known, value_set=texts).to_numpy(
            zero_copy_only=False
        )
        return found

    def ranked(self) -> tuple[Array, npt.NDArray[np.int32]]:
        """The texts in order, and each number's place in that order."""
        return _ranked(self._known)


class Memberships:
    """Pairs of (holder, member) with the member's kind. Safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = Ids()
        self._members = Ids()
        self._pending: list[tuple[Array, Array, Array]] = []
        self._pending_rows = 0
        self._holder_numbers: list[npt.NDArray[np.int32]] = []
        self._member_numbers: list[npt.NDArray[np.int32]] = []
        self._kind_ids = Ids()
        self._kind_numbers: list[npt.NDArray[np.int8]] = []

    def add(self, holders: Array, members: Array, kinds: Array) -> None:
        """Take pairs; kinds as text, encoded or not. Pairs without an id are left out."""
        kinds = kinds.cast(pa.string())
        if members.null_count:
            there = members.is_valid()
            holders, members, kinds = (a.filter(there) for a in (holders, members, kinds))
        with self._lock:
            self._pending.append((holders, members, kinds))
            self._pending_rows += len(members)
            if self._pending_rows >= max(_PENDING, len(self._members) // 2):
                self._settle()

    def member_numbers(self, members: Array) -> npt.NDArray[np.int32]:
        """A number for each id, equal for equal ones, -1 for null; for `add_numbered`."""
        with self._lock:
            return self._members.numbers(members)

    def add_numbered(
        self,
        holders: Array,
        places: npt.NDArray[np.int64],
        members: npt.NDArray[np.int32],
        kinds: Array,
    ) -> None:
        """As `add`, for members whose numbers were asked for; places[i] is the holder's of i."""
        if (members < 0).any():
            there = members >= 0
            places, members, kinds = places[there], members[there], kinds.filter(pa.array(there))
        with self._lock:
            self._holder_numbers.append(self._holders.numbers(holders)[places])
            self._member_numbers.append(members)
            self._kind_numbers.append(
                self._kind_ids.numbers(kinds.cast(pa.string())).astype(np.int8)
            )

    def _settle(self) -> None:
        if self._pending:
            holders, members, kinds = (
                pa.concat_arrays(column) for column in zip(*self._pending, strict=True)
            )
            self._holder_numbers.append(self._holders.numbers(holders))
            self._member_numbers.append(self._members.numbers(members))
            self._kind_numbers.append(self._kind_ids.numbers(kinds).astype(np.int8))
            self._pending, self._pending_rows = [], 0

    def table(
        self,
        schema: pa.Schema,
        *,
        only_holders: Array | None = None,
        without_members: Array | None = None,
    ) -> tuple[pa.Table, int, int]:
        """The pairs sorted, each once, ids dictionary-encoded; and how many were left out.

        `only_holders`: drop pairs of others (vanished since); `without_members`: drop these
        members. Returns (table, pairs of other holders, pairs of dropped members).
        """
        self._settle()
        if not self._holder_numbers:
            return schema.empty_table(), 0, 0
        holder, self._holder_numbers = np.concatenate(self._holder_numbers), []
        member, self._member_numbers = np.concatenate(self._member_numbers), []
        kind, self._kind_numbers = np.concatenate(self._kind_numbers), []
        strangers = dropped = 0
        keep: npt.NDArray[np.bool_] | None = None
        if only_holders is not None:
            keep = self._holders.among(only_holders)[holder]
            strangers = len(keep) - int(np.count_nonzero(keep))
        if without_members is not None:
            unwelcome = self._members.among(without_members)[member]
            unwelcome &= True if keep is None else keep
            dropped = int(np.count_nonzero(unwelcome))
            keep = ~unwelcome if keep is None else keep & ~unwelcome
        if keep is not None and not keep.all():
            holder, member, kind = holder[keep], member[keep], kind[keep]
        holders, holder_ranks = self._holders.ranked()
        members, member_ranks = self._members.ranked()
        kinds, kind_ranks = self._kind_ids.ranked()
        # Holder, member and kind in one number each: sorting numbers takes milliseconds. In
        # place, because each step on millions of rows would take a dozen megabytes more.
        rows = holder_ranks.astype(np.int64)[holder]
        del holder
        rows *= max(1, len(members))
        rows += member_ranks[member]
        del member
        rows *= len(kinds)
        rows += kind_ranks[kind]
        rows.sort()
        kind = (rows % len(kinds)).astype(np.int8)
        rows //= len(kinds)
        is_repeated = rows[1:] == rows[:-1]
        if is_repeated.any():
            is_first = np.append(True, ~is_repeated)
            rows, kind = rows[is_first], kind[is_first]
        member = (rows % max(1, len(members))).astype(np.int32)
        rows //= max(1, len(members))
        columns = [
            _encoded(rows.astype(np.int32), holders),
            _encoded(member, members),
            _encoded(kind, kinds),
        ]
        table = pa.table(
            [pa.chunked_array([column]) for column in columns], names=list(schema.names)
        )
        return table, strangers, dropped


def _ranked(texts: Array) -> tuple[Array, npt.NDArray[np.int32]]:
    """Different texts in order, and the place of each in that order."""
    order = pc.sort_indices(texts)
    ranks = np.empty(len(order), np.int32)
    ranks[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
    return texts.take(order), ranks


def _encoded(numbers: npt.NDArray[np.signedinteger], texts: Array) -> Array:
    return pa.DictionaryArray.from_arrays(pa.array(numbers), texts)
