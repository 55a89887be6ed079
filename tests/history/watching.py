"""A reader beside the syncs: what somebody sees who asks all the time, whatever happens meanwhile.

Here: the thread that reads each new version of each table, from the lake and from the published
warehouse, and keeps the keys that it saw. What must have been there is judged when it is known,
after the round.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import pyarrow as pa

from entra_pipeline.lake import Lake
from entra_pipeline.tables import TABLES

Keys = frozenset[tuple[Any, ...]]

DIRECTORY = tuple(name for name, table in TABLES.items() if table.group == "directory")
# Between two looks at everything.
PAUSE_S = 0.2


def keys(name: str, rows: pa.Table) -> Keys:
    """The key of every row of a table."""
    columns = [rows.column(column).to_pylist() for column in TABLES[name].key]
    return frozenset(zip(*columns, strict=True))


class Watcher:
    """Reads a data directory until it is told to stop."""

    def __init__(self, path: Path) -> None:
        self._lake = Lake(path / "lake")
        self._link = path / "warehouse.duckdb"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._lock = threading.Lock()
        self._versions: dict[str, int] = {}
        self._opened: Path | None = None
        self._seen: list[tuple[str, str, Keys]] = []
        self._error: BaseException | None = None
        self.looks = 0

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(60)

    def taken(self) -> list[tuple[str, str, Keys]]:
        """(place, table, keys) of every version seen since this was asked last.

        Raises what reading raised: a reader must never be refused.
        """
        with self._lock:
            if self._error is not None:
                raise AssertionError("a concurrent reader was refused") from self._error
            seen, self._seen = self._seen, []
            return seen

    def _watch(self) -> None:
        try:
            while not self._stop.wait(PAUSE_S):
                self._look_at_lake()
                self._look_at_warehouse()
                self.looks += 1
        except BaseException as error:
            self._error = error

    def _look_at_lake(self) -> None:
        for name in DIRECTORY:
            if self._stop.is_set():
                return
            info = self._lake.info(name)
            if info is None or info.version == self._versions.get(name):
                continue
            self._versions[name] = info.version
            self._saw("lake", name, keys(name, self._lake.read(name, TABLES[name].key)))

    def _look_at_warehouse(self) -> None:
        if not self._link.exists():
            return
        path = self._link.resolve()
        if path == self._opened:
            return
        self._opened = path
        # By the link, as everybody opens it: it may lead to the next version by now.
        with duckdb.connect(str(self._link), read_only=True) as connection:
            for name in DIRECTORY:
                columns = ", ".join(f'"{column}"' for column in TABLES[name].key)
                found = connection.execute(f'SELECT {columns} FROM "{name}"').fetchall()
                self._saw("warehouse", name, frozenset(found))

    def _saw(self, place: str, name: str, found: Keys) -> None:
        with self._lock:
            self._seen.append((place, name, found))


def missed(
    seen: Iterable[tuple[str, str, Keys]],
    before: Mapping[str, Keys],
    after: Mapping[str, Keys],
    touched: frozenset[str],
) -> list[str]:
    """What somebody missed who looked: rows that were there before and after, not in between.

    `touched`: ids of objects whose rows may come and go within the round.
    """
    found = []
    for place, name, there in seen:
        stayed = {key for key in before[name] & after[name] if touched.isdisjoint(key)}
        if gone := stayed - there:
            found.append(f"{place}: {name} lacked {len(gone)} rows of {len(stayed)}: {min(gone)}")
    return found
