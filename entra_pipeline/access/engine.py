"""The seam to the SQL engine: connections with bounded memory and threads, and the SQL files.

Everything that is particular to DuckDB's Python interface and not to a question or a build step
belongs here. The statements themselves are in the .sql files beside this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.resources import files
from pathlib import Path

import duckdb

# DuckDB's own memory limit while building, by the size of what is built: within it, it also caches
# the file, so a generous limit for a small tenant would only take memory from the sync around it.
# 1 M users, 300 k groups and 14 M memberships make some 500 MB and stay within the most.
LEAST_MEMORY = 400 * 2**20
MOST_MEMORY = 2 * 2**30
MEMORY_PER_BYTE = 8
KEPT_BYTES = 32 * 2**20


def script(name: str) -> str:
    """The text of `sql/<name>.sql`."""
    return files(__package__).joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


@contextmanager
def writing(
    stage: Path, *, expected_bytes: int = 0, threads: int | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a warehouse that is being built, in one transaction; nobody else has it open.

    Memory is limited by the size of the stage, or by `expected_bytes` before it has any; past the
    limit DuckDB spills beside the stage file. An error leaves the stage as it was.
    """
    size = max(expected_bytes, stage.stat().st_size if stage.exists() else 0)
    memory = min(max(MEMORY_PER_BYTE * size, LEAST_MEMORY), MOST_MEMORY)
    with _open(stage) as connection:
        # Set, not part of what opens: all who have the stage open must open it alike.
        connection.execute(f"SET memory_limit = '{memory // 2**20}MiB'")
        if threads:
            connection.execute(f"SET threads = {threads}")
        connection.execute("SET TimeZone = 'UTC'; BEGIN")
        yield connection
        connection.execute("COMMIT")


def kept_open(stage: Path) -> AbstractContextManager[object]:
    """Keeps a small stage open between its steps, until whoever asked for it closes this.

    DuckDB starts an engine for a file when the first connection of the process opens it, and ends
    it with the last one: some thirty milliseconds of CPU, more than most steps of a small tenant.
    A large stage is let go between steps, and with it what DuckDB holds of it in memory.
    """
    return _open(stage) if stage.stat().st_size <= KEPT_BYTES else nullcontext()


def _open(stage: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        str(stage),
        config={
            "temp_directory": f"{stage}.spill",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )


def quote(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
