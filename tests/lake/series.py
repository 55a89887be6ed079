"""A table that is committed and amended at random, beside what should have become of it."""

import random
from datetime import timedelta
from pathlib import Path

import pyarrow as pa

from entra_pipeline.lake import Lake
from entra_pipeline.tables import Table
from tests.lake.states import (
    NOON,
    TABLES,
    Row,
    State,
    any_row,
    arrow,
    differences,
    moment,
    rows_of,
    state_of,
)


class Series:
    """A table that is committed and amended at random, and what should have become of it."""

    def __init__(
        self, root: Path, table: Table, seed: int, spread: int = 12, **settings: int
    ) -> None:
        self.lake, self.table, self.spread = Lake(root, TABLES, **settings), table, spread
        self.chosen = random.Random(seed)
        self.states: list[State] = []
        self.told: list[Row] = []
        self.known = 0  # the first state that the history reaches back to

    def step(self) -> None:
        """One more commit or amendment."""
        number = len(self.states)
        before = self.states[-1] if self.states else {}
        if number == 0 or self.chosen.random() < 0.3:
            after = self._commit(number, before)
        else:
            after = self._amend(number, before)
        if number:
            said = {"sync_id": f"s{number}", "at": moment(number)}
            self.told += [{**said, **row} for row in differences(self.table, before, after)]
        self.states.append(after)

    def _commit(self, number: int, before: State) -> State:
        after = {k: v for k, v in before.items() if self.chosen.random() < 0.8}
        rows = [any_row(self.chosen, self.table, self.spread) for _ in range(5 * self.spread // 12)]
        after |= state_of(self.table, rows)
        shuffled = rows_of(after)
        self.chosen.shuffle(shuffled)
        self.lake.commit(
            self.table,
            arrow(self.table, shuffled),
            sync_id=f"s{number}",
            as_of=moment(number),
            cursor=str(number),
        )
        return after

    def _amend(self, number: int, before: State) -> State:
        chosen, table = self.chosen, self.table
        upserts = [any_row(chosen, table, self.spread) for _ in range(chosen.choice([0, 1, 3, 20]))]
        if before and chosen.random() < 0.5:
            upserts.append(chosen.choice(rows_of(before)))  # said again, nothing new
        names = chosen.choice([(), (table.key[0],), (table.key[1],), table.key, table.key[::-1]])
        deletes = [
            {name: any_row(chosen, table, self.spread)[name] for name in names} for _ in range(4)
        ]
        column = chosen.choice(table.key)
        values = [any_row(chosen, table, self.spread)[column] for _ in range(2)]
        within = (column, pa.array(values, pa.string())) if chosen.random() < 0.3 else None
        self.lake.amend(
            table,
            upserts=arrow(table, upserts),
            deletes=pa.Table.from_pylist(deletes) if names else None,
            within=within,
            sync_id=f"s{number}",
            as_of=moment(number),
            cursor=str(number),
        )
        after = {
            key: row
            for key, row in before.items()
            if not (names and {name: row[name] for name in names} in deletes)
            and not (within and row[column] in values)
        }
        return after | state_of(table, upserts)

    def check(self) -> None:
        """That the lake says the same, of now and of every moment."""
        lake, table = self.lake, self.table
        last = len(self.states) - 1
        assert lake.read(table.name).to_pylist() == rows_of(self.states[-1])
        info = lake.info(table.name)
        assert info is not None
        assert (info.rows, info.sync_id, info.cursor, info.as_of, info.first_as_of) == (
            len(self.states[-1]),
            f"s{last}",
            str(last),
            moment(last),
            NOON,
        )
        since = moment(self.known)
        assert info.known_since == since
        assert lake.changes(table.name, after=since).to_pylist() == [
            row for row in self.told if row["at"] > since
        ]
        assert lake.as_of(table.name, since - timedelta(microseconds=1)) is None
        for number, state in list(enumerate(self.states))[self.known :]:
            for later in (timedelta(0), timedelta(minutes=14)):
                found = lake.as_of(table.name, moment(number) + later)
                assert found is not None
                assert found.to_pylist() == rows_of(state), number
                assert found.schema.equals(table.schema())
