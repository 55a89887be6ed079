"""A year of daily syncs in a data directory, made in minutes.

``python -m benchmarks.past_year SOURCE TARGET [--days N]``: SOURCE is a data directory after one
sync. TARGET gets a lake and books as that sync N days ago and one on each day since would have left
them: every day rows come, go and change in the tables that change every day in a tenant. Some rows
of SOURCE come only in the course of the year, and others go, so every row is a real one.

An amendment of each table for each day would take most of an hour, because each writes the table
anew. So only the histories are written day by day, by the code that amendments use, and each table
twice: as it was at first, and as all the changes leave it. That undoing them leads back to the
first state is checked.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from entra_pipeline.access import build
from entra_pipeline.access.publish import publish, stage_path
from entra_pipeline.lake import Books, CommitInfo, DataDirectory, Lake, TableStatus, layout
from entra_pipeline.lake import log as delta_log
from entra_pipeline.lake.books import rfc3339
from entra_pipeline.lake.diff import compared
from entra_pipeline.lake.digests import digest, told
from entra_pipeline.lake.history import History
from entra_pipeline.lake.rows import even, in_order
from entra_pipeline.lake.upkeep import tidy
from entra_pipeline.lake.version import Files
from entra_pipeline.tables import TABLES, Status, Table

DAYS = 365
# Days between two rounds of maintenance: the log is summed up, and small files become one.
TIDIED_EVERY = 15


@dataclass(frozen=True)
class Rate:
    """What happens to a table each day, as parts of its rows; updates change one column."""

    come: float
    go: float
    update: float = 0.0
    column: str = ""


# Some 2,500 changes a day at 100,000 users.
RATES = {
    "users": Rate(0.0004, 0.0003, 0.003, "job_title"),
    "groups": Rate(0.0003, 0.0002, 0.001, "description"),
    "group_members": Rate(0.0004, 0.0003),
    "group_owners": Rate(0.0003, 0.0003),
    "license_assignments": Rate(0.0005, 0.0004),
    "app_role_assignments": Rate(0.0005, 0.0004),
    "role_assignments": Rate(0.001, 0.001),
    "devices": Rate(0.0005, 0.0004, 0.005, "operating_system_version"),
}


def main(source: Path, target: Path, days: int) -> dict[str, Any]:
    """Write the year; how many changes, how large, how long it took."""
    started = time.perf_counter()
    given = Lake(source / "lake")
    tenant = json.loads((source / "tenant.json").read_text())["tenant_id"]
    directory = DataDirectory.claim(target, tenant)
    lake = Lake(directory.lake)
    today = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    moments = [today - timedelta(days=days - n) for n in range(days + 1)]
    ids = [
        f"{moment - timedelta(minutes=1):%Y%m%dT%H%M%S.%f}Z-{n:08x}"
        for n, moment in enumerate(moments)
    ]
    names = [name for name, table in TABLES.items() if given.info(name) and not table.slow]
    changes = {}
    clock = iter([moments[0] - timedelta(minutes=1), moments[0] + timedelta(minutes=9)])
    books = Books(directory, now=lambda: next(clock))
    with directory.lock(command="benchmark"):
        ids[0] = books.begin_sync("sync", names)
        for name in names:
            table, rows = TABLES[name], given.read(name)
            if name in RATES:
                changes[name] = _year(lake, table, rows, RATES[name], moments, ids)
            else:
                lake.commit(table, rows, sync_id=ids[0], as_of=moments[0])
        _record(books, directory, lake, names, moments, ids)
        statuses = Books(directory).statuses()
        stage = stage_path(directory)
        build.build(stage, {name: lake.files(name) for name in names}, statuses)
        publish(stage, directory)
    return {
        "wall_s": time.perf_counter() - started,
        "changes": changes,
        "syncs": len(ids),
        "first": moments[0].isoformat(),
        "tables_mib": _mib(directory.lake, names),
        "histories_mib": _mib(directory.lake, [f"{n}_changes" for n in names]),
        "books_mib": directory.books.stat().st_size / 2**20,
    }


def _mib(lake: Path, folders: list[str]) -> float:
    files = (p for folder in folders for p in (lake / folder).rglob("*") if p.is_file())
    return sum(path.stat().st_size for path in files) / 2**20


def _year(
    lake: Lake, table: Table, rows: pa.Table, rate: Rate, moments: list[datetime], ids: list[str]
) -> int:
    """The first state of a table, its history, its last state; how many changes there were."""
    days = _Days(table, rows, rate, len(moments) - 1)
    first = lake.commit(table, days.first(), sync_id=ids[0], as_of=moments[0]).info
    history = History(lake.root, table)
    named: int | None = None
    count = 0
    for n, (before, after) in enumerate(days, start=1):
        told = [step.changes for step in compared(table, [before], [after]) if step.changes]
        with history.writer(n) as file:
            for changes in told:
                file.write(history.dated(changes, ids[n], moments[n]))
                count += changes.num_rows
            if file.rows:
                named = history.append(file, named, moments[n])
        if named is not None and n % TIDIED_EVERY == 0:
            named, _ = history.tidy(named, None)
            tidy(history.folder, timedelta(0))
    _finish(lake, table, days.last(), first, named, count, moments[-1], ids[-1])
    lake.maintain(table.name, grace=timedelta(0))
    undone = lake.as_of(table.name, moments[0])
    if undone is None or digest(table, in_order(table, undone), like=first.digest) != first.digest:
        raise RuntimeError(f"{table.name}: the history does not lead back to the first state")
    return count


class _Days:
    """Which rows come, go and change on each day."""

    def __init__(self, table: Table, rows: pa.Table, rate: Rate, days: int) -> None:
        self._rows = rows
        self._rate = rate
        self._days = days
        self._rng = np.random.default_rng(sum(table.name.encode()))
        total = rows.num_rows
        come, go, self._updates = (
            round(part * total) for part in (rate.come, rate.go, rate.update)
        )
        if (come + go) * days + self._updates > total:
            raise ValueError(f"{table.name}: {total} rows are too few for {days} days")
        shuffled = self._rng.permutation(total)
        self._coming = shuffled[: come * days].reshape(days, come)
        self._going = shuffled[come * days : (come + go) * days].reshape(days, go)
        self._staying = shuffled[(come + go) * days :]
        self._place = rows.column_names.index(rate.column) if rate.column else -1
        self._values: list[Any] = rows.column(rate.column).to_pylist() if rate.column else []
        self._then: list[Any] = [*self._values]

    def first(self) -> pa.Table:
        """The rows before the first day."""
        there = np.ones(self._rows.num_rows, dtype=np.bool_)
        there[self._coming] = False
        return self._rows.filter(pa.array(there))

    def __iter__(self) -> Iterator[tuple[pa.Table, pa.Table]]:
        """For each day the rows that are to change, as they were and as they are then."""
        for day in range(self._days):
            chosen = self._rng.choice(self._staying, self._updates, replace=False)
            before = self._taken(np.concatenate([chosen, self._going[day]]))
            for at in chosen if self._values else ():
                self._values[at] = f"{(self._then[at] or '')[:40]} ({day})"
            yield before, self._taken(np.concatenate([chosen, self._coming[day]]))

    def last(self) -> pa.Table:
        """The rows after the last day."""
        there = np.ones(self._rows.num_rows, dtype=np.bool_)
        there[self._going] = False
        return self._taken(np.flatnonzero(there))

    def _taken(self, places: Any) -> pa.Table:
        places = np.sort(places).astype(np.int64)  # the rows lie in key order
        rows = self._rows.take(pa.array(places))
        if self._values:
            field = self._rows.schema.field(self._place)
            values = pa.array([self._values[at] for at in places], field.type)
            rows = rows.set_column(self._place, field, values)
        return rows


def _finish(
    lake: Lake,
    table: Table,
    rows: pa.Table,
    first: CommitInfo,
    named: int | None,
    changes: int,
    moment: datetime,
    sync_id: str,
) -> None:
    """The last state, in a commit that names the history."""
    each = layout.rows_each(rows.num_rows, layout.FILE_ROWS)
    chunk = int(first.digest.partition("-")[0])
    with Files(lake.root / table.name, table, chunk, each, layout.names((), 0, 0)) as data:
        for piece in even([rows], rows.num_rows):
            data.write(piece)
        added, files = data.finish()
    info = replace(
        first,
        version=first.version + 1,
        rows=rows.num_rows,
        sync_id=sync_id,
        as_of=moment,
        full_as_of=moment,
        digest=told(chunk, sum(int(file.digest, 16) for file in files)),
        files=tuple(files),
        changed_as_of=moment,
        changes_version=named,
        changes_since=changes,
    )
    stored = delta_log.opened(lake.root / table.name)
    delta_log.replace_files(lake.root / table.name, stored, table, added, None, info)


def _record(
    books: Books,
    directory: DataDirectory,
    lake: Lake,
    names: list[str],
    moments: list[datetime],
    ids: list[str],
) -> None:
    """How each sync ended: it read every table and took ten minutes.

    The first is written as any sync is, the others are like it: a transaction for each table of
    each would take longer than all the rest.
    """
    for name in names:
        info = lake.info(name)
        rows = None if info is None else info.rows
        status = TableStatus(name, Status.COMPLETE, rows=rows, as_of=moments[0], version=0)
        books.record(ids[0], status)
    books.finish_sync(ids[0], "succeeded")
    with closing(sqlite3.connect(directory.books)) as connection, connection:
        connection.row_factory = sqlite3.Row
        (sync,) = connection.execute("SELECT * FROM syncs").fetchall()
        statuses = connection.execute("SELECT * FROM table_status ORDER BY entry").fetchall()
        for n, moment in enumerate(moments[1:], start=1):
            times = {
                "sync_id": ids[n],
                "started": rfc3339(moment - timedelta(minutes=1)),
                "finished": rfc3339(moment + timedelta(minutes=9)),
            }
            _insert(connection, "syncs", {**dict(sync), **times})
            for status_row in statuses:
                row = {**dict(status_row), "sync_id": ids[n], "as_of": rfc3339(moment)}
                del row["entry"]
                _insert(connection, "table_status", row)


def _insert(connection: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    names = ", ".join(f'"{name}"' for name in row)
    marks = ", ".join("?" for _ in row)
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--days", type=int, default=DAYS)
    arguments = parser.parse_args()
    print(json.dumps(main(arguments.source, arguments.target, arguments.days)))
