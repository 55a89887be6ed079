"""The seam to the SQL engine: connections with bounded memory and threads, and the SQL files.

Everything that is particular to DuckDB's Python interface and not to a question or a build step
belongs here. The statements themselves are in the .sql files beside this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import duckdb

# A build of 1 M users, 300 k groups and 14 M memberships stays below this without spilling; the
# rest of the machine belongs to the sync that is still running.
BUILD_MEMORY = "2GB"


def script(name: str) -> str:
    """The text of `sql/<name>.sql`."""
    return files(__package__).joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


@contextmanager
def writing(
    stage: Path, *, memory: str = BUILD_MEMORY, threads: int | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a warehouse that is being built, in one transaction; nobody else has it open.

    `memory` is DuckDB's own limit (`2GB`); past it, it spills beside the stage file. An error
    leaves the stage as it was.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory,
        "temp_directory": f"{stage}.spill",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    if threads:
        config["threads"] = threads
    with duckdb.connect(str(stage), config=config) as connection:
        connection.execute("SET TimeZone = 'UTC'; BEGIN")
        yield connection
        connection.execute("COMMIT")


def quote(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
