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
from entra_pipeline.extract.values import KIND

_PENDING = 1 << 17


class Ids:
    """Different texts, numbered in the order in which they were first seen."""

    def __init__(self) -> None:
        self._known: Array = pa.array([], pa.string())

    def __len__(self) -> int:
        return len(self._known)

    def numbers(self, texts: Array) -> Array:
        """The number of each text, int32; unknown ones get the next."""
        # Each look-up hashes all known texts: so only once, and for the different texts alone.
        encoded = texts.dictionary_encode()
        found = pc.index_in(encoded.dictionary, value_set=self._known)
        if found.null_count:
            unknown = found.is_null()
            new = encoded.dictionary.filter(unknown)
            numbers = found.fill_null(0).to_numpy().copy()
            first = len(self._known)
            numbers[unknown.to_numpy(zero_copy_only=False)] = np.arange(
                first, first + len(new), dtype=np.int32
            )
            self._known = pa.concat_arrays([self._known, new])
            found = pa.array(numbers)
        return found.take(encoded.indices)

    def find(self, texts: Array) -> npt.NDArray[np.int32]:
        """The numbers of those texts that are known."""
        numbers: npt.NDArray[np.int32] = (
            pc.index_in(texts, value_set=self._known).drop_null().to_numpy()
        )
        return numbers

    def ranked(self) -> tuple[Array, npt.NDArray[np.int32]]:
        """The texts in order, and each number's place in that order."""
        order = pc.sort_indices(self._known)
        ranks = np.empty(len(order), np.int32)
        ranks[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
        return self._known.take(order), ranks


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
        self._kinds: list[Array] = []

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

    def _settle(self) -> None:
        if self._pending:
            holders, members, kinds = (
                pa.concat_arrays(column) for column in zip(*self._pending, strict=True)
            )
            self._holder_numbers.append(self._holders.numbers(holders).to_numpy())
            self._member_numbers.append(self._members.numbers(members).to_numpy())
            self._kinds.append(kinds.dictionary_encode())
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
        if not self._kinds:
            return schema.empty_table(), 0, 0
        holder = np.concatenate(self._holder_numbers)
        member = np.concatenate(self._member_numbers)
        kind: Array = pa.chunked_array(self._kinds).unify_dictionaries().combine_chunks()
        kind_codes, kind_names = kind.indices.to_numpy(), kind.dictionary
        self._holder_numbers, self._member_numbers, self._kinds = [], [], []
        keep = np.ones(len(holder), bool)
        strangers = dropped = 0
        if only_holders is not None:
            keep = np.isin(holder, self._holders.find(only_holders))
            strangers = len(keep) - int(keep.sum())
        if without_members is not None:
            unwelcome = np.isin(member, self._members.find(without_members)) & keep
            dropped = int(unwelcome.sum())
            keep &= ~unwelcome
        if not keep.all():
            holder, member, kind_codes = holder[keep], member[keep], kind_codes[keep]
        holders, holder_ranks = self._holders.ranked()
        members, member_ranks = self._members.ranked()
        pairs = holder_ranks[holder].astype(np.int64) * max(1, len(members)) + member_ranks[member]
        pairs, first = np.unique(pairs, return_index=True)
        width = max(1, len(members))
        columns = [
            _encoded((pairs // width).astype(np.int32), holders),
            _encoded((pairs % width).astype(np.int32), members),
            _encoded(kind_codes[first].astype(np.int8), kind_names).cast(KIND),
        ]
        table = pa.table(
            [pa.chunked_array([column]) for column in columns], names=list(schema.names)
        )
        return table, strangers, dropped


def _encoded(numbers: npt.NDArray[np.signedinteger], texts: Array) -> Array:
    return pa.DictionaryArray.from_arrays(pa.array(numbers), texts)
