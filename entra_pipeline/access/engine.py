"""The seam to the SQL engine: connections with bounded memory and threads, and the SQL files.

Everything that is particular to DuckDB's Python interface and not to a question or a build step
belongs here. The statements themselves are in the .sql files beside this module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path

import duckdb

# DuckDB's own memory limit while building, by the size of what is built: within it, it also caches
# the file, so a generous limit for a small tenant would only take memory from the sync around it.
# 1 M users, 300 k groups and 14 M memberships make some 500 MB and stay within the most.
LEAST_MEMORY = 400 * 2**20
MOST_MEMORY = 2 * 2**30
MEMORY_PER_BYTE = 8
# A larger stage is let go between the steps of a whole build, and with it what DuckDB holds of it.
KEPT_BYTES = 32 * 2**20


# Stages that stay open between steps, by path.
_held: dict[str, duckdb.DuckDBPyConnection] = {}


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
    held = _held.get(str(stage))
    opened = held.cursor() if held is not None else _open(stage, expected_bytes, threads)
    with closing(opened) as connection:
        connection.execute("SET TimeZone = 'UTC'; BEGIN")
        yield connection
        connection.execute("COMMIT")


def hold(stage: Path, *, changes_little: bool = False) -> None:
    """Keep the stage open for the steps that follow, until `release`.

    Opening a warehouse reads its catalog, and closing one writes that and whatever changed: steps
    on little, or that change little, would spend most of their time so.
    """
    release(stage)
    connection = _open(stage)
    # All is written once, when it is released; until then what changed is in memory and in a log.
    connection.execute("SET checkpoint_threshold = '1TB'")
    if changes_little:
        # To find the best form for texts, over whole row groups of which a few rows changed, takes
        # twice the time of keeping them in dictionaries or plainly, and spares a tenth of the file.
        connection.execute("SET disabled_compression_methods = 'fsst,dict_fsst'")
    _held[str(stage)] = connection


def release(stage: Path) -> None:
    """Close a stage that was held: it is one whole file then."""
    if (connection := _held.pop(str(stage), None)) is not None:
        connection.close()


def _open(
    stage: Path, expected_bytes: int = 0, threads: int | None = None
) -> duckdb.DuckDBPyConnection:
    size = max(expected_bytes, stage.stat().st_size if stage.exists() else 0)
    memory = min(max(MEMORY_PER_BYTE * size, LEAST_MEMORY), MOST_MEMORY)
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{memory // 2**20}MiB",
        "temp_directory": f"{stage}.spill",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    if threads:
        config["threads"] = threads
    return duckdb.connect(str(stage), config=config)


def quote(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
