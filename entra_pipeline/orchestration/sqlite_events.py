"""Dagster's SQLite event log with its connections kept open: same files, a third of the CPU.

Problem: Dagster's own class makes an engine, a connection and freshly compiled statements for
every single event, and since each connection is the last one, closing it moves the write-ahead log
into the database and waits for the disk. A sync writes some five hundred events: 1,600 commits,
2,000 connections, a quarter of a second of CPU for each asset.
Choice: one engine and one connection a file for the life of the process, and `synchronous=NORMAL`,
which in write-ahead mode survives any death of the process and can lose only the last moments of
history, never the file, when the machine itself goes down.
Trade: this leans on one private method of Dagster's class; where that is gone, or the home names
its own storage, Dagster's class is used as it is. Other processes use it anyway, on the same files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from dagster_shared.yaml_utils import load_yaml_from_path
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

_STORAGE_KEYS: Final = ("storage", "run_storage", "event_log_storage", "schedule_storage")


class SqliteEvents(SqliteEventLogStorage):
    """Dagster's SQLite event log, one open connection for each of its files."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: dict[str, Engine] = {}
        self._tables: set[str] = set()
        self._columns: set[str] = set()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """Make one from its configuration, as Dagster does."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engines.get(shard)
            if engine is None:
                engine = _engine(self.conn_string_for_shard(shard))
                self._initdb(engine)
                self._engines[shard] = engine
            with engine.connect() as connection, connection.begin():
                yield connection

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table; asked anew for every check, and none ever goes away."""
        if table_name not in self._tables:
            if not super().has_table(table_name):
                return False
            self._tables.add(table_name)
        return True

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        """The same of a column: for every asset read, and for every check of it that is stored."""
        if column_name not in self._columns:
            if not super()._has_asset_key_col_on_connection(conn, column_name):
                return False
            self._columns.add(column_name)
        return True

    def dispose(self) -> None:
        """Close the connections."""
        with self._db_lock:
            for engine in self._engines.values():
                engine.dispose()
            self._engines.clear()
        super().dispose()


def _engine(address: str) -> Engine:
    # The one connection is only ever used under the lock above, from whichever thread.
    engine = create_engine(
        address,
        poolclass=StaticPool,
        connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _set(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")

    return engine


def overrides(home: Path) -> dict[str, Any]:
    """What to lay over the home's `dagster.yaml`: our event log, if it names no storage itself."""
    said = load_yaml_from_path(str(home / "dagster.yaml"))
    if isinstance(said, Mapping) and any(key in said for key in _STORAGE_KEYS):
        return {}
    if not hasattr(SqliteEventLogStorage, "_connect"):
        return {}
    return {
        "event_log_storage": {
            "module": __name__,
            "class": SqliteEvents.__name__,
            # Where Dagster's default puts it.
            "config": {"base_dir": str(home / "history" / "runs")},
        }
    }
