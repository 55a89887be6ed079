"""A copy of a data directory that is whole, taken at any time, also while a sync runs.

Why not any copy: files of a table are named by its log, books are SQLite in write-ahead mode, and
a copy that walks the directory meets each at another moment. Here every table is copied at one
version of its own, which stays readable for hours after a newer one took its place; the history at
the version that the table names; and the books by SQLite's own means, before the tables. So the
copy is at worst what a sync that was killed leaves: tables newer than the books say, which
questions about the past undo and the next sync goes on from.

Passwords are copied as they are kept: sealed.

Left out: warehouses of the past (they are built again when asked for), Dagster's records, locks,
and the signed-in administrator's token.

The copy is itself a data directory: restoring it is putting it in place of the lost one.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from deltalake import DeltaTable

from entra_pipeline.lake import log
from entra_pipeline.lake.directory import DataDirectory
from entra_pipeline.lake.errors import DirectoryError, LakeError
from entra_pipeline.lake.metadata import load

# A file may go between being named and being copied, when its version is about as old as the
# grace. Then the version is no longer the current one, and the current one is taken.
_ATTEMPTS: Final = 5
_MARK: Final = "tenant.json"
_SEALED: Final = "sealed"
_PARTS: Final = ("_changes", "_checkpoints")


@dataclass(frozen=True)
class Copied:
    """What a copy holds."""

    tables: int
    files: int
    bytes: int


def backup(directory: DataDirectory, target: Path) -> Copied:
    """Copies the data directory to a directory that does not exist yet, or is empty.

    Durable once it returns. Killed before, the target is not taken for a data directory: what marks
    it is written last. Raises DirectoryError when the target is in use or cannot be written.
    """
    target = target.absolute()
    if target.is_relative_to(directory.path):
        raise DirectoryError(
            f"{target} lies in the data directory itself: give a place outside of {directory.path}"
        )
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise DirectoryError(f"{target} is not empty: give a new directory for each backup")
        target.chmod(0o700)
        tables = _copy_all(directory, target)
        _flush(target)
    except OSError as error:
        raise DirectoryError(
            f"backup to {target}: {error.strerror or type(error).__name__}; mend it, or give "
            "another place"
        ) from error
    files = [path.lstat().st_size for path in target.rglob("*") if not path.is_dir()]
    return Copied(tables, len(files), sum(files))


def _copy_all(directory: DataDirectory, target: Path) -> int:
    for database in sorted(directory.path.glob("*.sqlite")):
        _copy_database(database, target / database.name)
    # After the ledger, so that what it names is there.
    for sealed in sorted((directory.path / _SEALED).glob("*.age")):
        (target / _SEALED).mkdir(mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError):  # of a write that did not happen
            _copy_file(sealed, target / _SEALED / sealed.name)
    (target / "lake").mkdir(mode=0o700)
    (target / "warehouse").mkdir(mode=0o700)
    names = {folder.name for folder in directory.lake.iterdir() if (folder / "_delta_log").is_dir()}
    tables = sorted(
        name
        for name in names
        if not any(name.endswith(part) and name.removesuffix(part) in names for part in _PARTS)
    )
    copied = sum(
        _again(lambda name=name: _copy_table(directory.lake, name, target / "lake"))  # type: ignore[misc]
        for name in tables
    )
    if directory.warehouse_link.is_symlink():
        _again(lambda: _copy_warehouse(directory, target))
    _flush(target)
    _copy_file(directory.path / _MARK, target / _MARK)
    return copied


def _again(work: Callable[[], int]) -> int:
    for _ in range(_ATTEMPTS - 1):
        try:
            return work()
        except (FileNotFoundError, _GoneError):
            continue
    return work()


class _GoneError(LakeError):
    """The log of the version that was being copied has been trimmed meanwhile."""


def _copy_table(lake: Path, name: str, target: Path) -> int:
    """A table at its current version, with its history and checkpoints; how many tables (1)."""
    for part in ("", *_PARTS):
        shutil.rmtree(target / f"{name}{part}", ignore_errors=True)  # of an attempt before
    version = log.latest(lake / name)
    if version is None or log.opened(lake / name) is None:
        return 0  # killed during its first commit
    try:
        info = load(lake, name, version)
    except LakeError:
        info = None  # a table of events: no history
    _copy_version(lake / name, version, target / name)
    if info is not None and info.changes_version is not None:
        _copy_version(lake / f"{name}_changes", info.changes_version, target / f"{name}_changes")
    folder = f"{name}_checkpoints"
    for file in {file for c in info.checkpoints for file in c.files} if info is not None else ():
        (target / folder).mkdir(exist_ok=True)
        _copy_file(lake / folder / file, target / folder / file)
    return 1


def _copy_version(folder: Path, version: int, target: Path) -> None:
    """One version of a Delta table: what of the log leads to it, and its files."""
    try:
        added: Any = pa.table(DeltaTable(folder, version=version).get_add_actions())
    except Exception as error:
        if (folder / "_delta_log" / f"{version:020}.json").exists():
            raise
        raise _GoneError(f"{folder.name}: version {version} is gone") from error
    entries = folder / "_delta_log"
    summaries = [
        number
        for path in entries.glob("*.checkpoint*.parquet")
        if (number := int(path.name.partition(".")[0])) <= version
    ]
    first = max(summaries, default=0)
    (target / "_delta_log").mkdir(parents=True)
    for path in sorted(entries.iterdir()):
        stem, _, kind = path.name.partition(".")
        if not stem.isdigit() or not first <= int(stem) <= version:
            continue
        if kind == "json" or (int(stem) == first and kind.startswith("checkpoint")):
            _copy_file(path, target / "_delta_log" / path.name)
    for name in added["path"].to_pylist():
        (target / name).parent.mkdir(exist_ok=True)
        _copy_file(folder / name, target / name)


def _copy_warehouse(directory: DataDirectory, target: Path) -> int:
    link = os.readlink(directory.warehouse_link)
    source = directory.path / link
    _copy_file(source, target / "warehouse" / source.name)
    (target / directory.warehouse_link.name).symlink_to(Path("warehouse") / source.name)
    return 1


def _copy_database(source: Path, target: Path) -> None:
    """SQLite's own copy: whole at one moment, whoever writes meanwhile."""
    with (
        closing(sqlite3.connect(source, timeout=30)) as one,
        closing(sqlite3.connect(target)) as other,
    ):
        one.backup(other)
    target.chmod(0o600)


def _copy_file(source: Path, target: Path) -> None:
    """A file with its times (so that tools which copy what is newer see no change), on disk."""
    shutil.copy2(source, target)
    _flush(target)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
