"""Looking whether a data directory is whole: every table, its history, the books, the warehouse.

For a copy that was restored, or a disk that is doubted. Reads everything and changes nothing. What
the rows mean (references, completeness) is `orchestration.verify`'s.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass

import duckdb
import pyarrow.parquet as pq

from entra_pipeline import tables as registry
from entra_pipeline.lake.digests import digest
from entra_pipeline.lake.directory import DataDirectory
from entra_pipeline.lake.errors import LakeError
from entra_pipeline.lake.events import Events
from entra_pipeline.lake.rows import conform, in_order
from entra_pipeline.lake.store import Lake
from entra_pipeline.tables import Table


@dataclass(frozen=True)
class Inspected:
    """One part of a data directory."""

    part: str
    rows: int | None = None
    problem: str | None = None  # None: it is whole


class _BrokenError(LakeError):
    """The part is not whole; the message says what is wrong."""


def inspect(
    directory: DataDirectory,
    tables: Mapping[str, Table] = {**registry.TABLES, **registry.BESIDE},
    events: Mapping[str, Table] = registry.EVENTS,
) -> list[Inspected]:
    """Every part that there is, with what is wrong with it."""
    lake, logs = Lake(directory.lake, tables), Events(directory.lake, events)
    found: list[Inspected] = []

    def look(part: str, work: Callable[[], int | None]) -> None:
        try:
            found.append(Inspected(part, work()))
        except _BrokenError as error:
            found.append(Inspected(part, problem=str(error)))
        except Exception as error:
            # Texts of other people's errors may quote data; ours name table and reason.
            why = str(error) if isinstance(error, LakeError) else type(error).__name__
            found.append(Inspected(part, problem=f"cannot be read: {why}"))

    for name, table in tables.items():
        if (directory.lake / name / "_delta_log").is_dir():
            look(name, lambda table=table: _table(lake, table))  # type: ignore[misc]
    for name in events:
        if (directory.lake / name / "_delta_log").is_dir():
            look(name, lambda name=name: _events(logs, name))  # type: ignore[misc]
    for path in sorted(directory.path.glob("*.sqlite")):
        look(path.name, lambda path=path: _database(str(path)))  # type: ignore[misc]
    if directory.warehouse_link.is_symlink():
        look(directory.warehouse_link.name, lambda: _warehouse(str(directory.warehouse_link)))
    return found


def _table(lake: Lake, table: Table) -> int:
    """Rows as many and with the hash that the commit says; a history that leads back to its start.

    A table of an older declaration has its hash over other columns, and is only counted.
    """
    info = lake.info(table.name)
    if info is None:
        return 0  # killed during its first commit
    rows = lake.read(table.name)
    if rows.num_rows != info.rows:
        raise _BrokenError(f"{rows.num_rows} rows, {info.rows} were committed")
    same = info.declaration == table.version
    ordered = in_order(table, conform(table, rows))
    if same and digest(table, ordered, like=info.digest) != info.digest:
        raise _BrokenError("its rows are not those that were committed")
    del rows, ordered
    changes = lake.changes(table.name)
    if lake.as_of(table.name, info.known_since, table.key) is None:
        raise _BrokenError("its history does not reach back as far as it says")
    for checkpoint in info.checkpoints:
        if lake.as_of(table.name, checkpoint.at, table.key) is None:
            raise _BrokenError("a checkpoint of its history cannot be read")
    return info.rows + changes.num_rows


def _events(events: Events, name: str) -> int:
    info = events.info(name)
    if info is None:
        return 0
    rows = sum(_count(path) for path in events.files(name))
    if rows != info.rows:
        raise _BrokenError(f"{rows} events, {info.rows} were committed")
    return rows


def _count(path: str) -> int:
    """Rows of a file, all of it read."""
    with pq.ParquetFile(path) as file:
        return sum(batch.num_rows for batch in file.iter_batches())


def _database(path: str) -> None:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        said = connection.execute("PRAGMA integrity_check").fetchall()
    if said != [("ok",)]:
        raise _BrokenError("SQLite finds it damaged (PRAGMA integrity_check)")


def _warehouse(path: str) -> int:
    with duckdb.connect(path, read_only=True) as connection:
        names = connection.sql(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal ORDER BY ALL"
        ).fetchall()
        return sum(
            connection.sql(f'SELECT count(*) FROM "{schema}"."{name}"').fetchall()[0][0]
            for schema, name in names
        )
