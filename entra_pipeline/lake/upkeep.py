"""Keeping Delta tables small: files that nobody needs any more, and entries of the log.

Whatever is removed here was superseded for longer than a grace, so that a reader that opened a
version a moment ago still finds all of it. Call these while holding the data directory's lock.
"""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Final

from deltalake import DeltaTable

# A checkpoint of the log is written when more entries than this came after the last one: opening a
# table reads all of them.
_ENTRIES: Final = 20
# So many old files may lie about after a sync: to learn which can go, the log is read.
_LEFT: Final = 8


def tidy(folder: Path, grace: timedelta, *, files: int = 1) -> int:
    """Removes data files and entries of the log that no version younger than the grace needs.

    Also what killed commits left behind. How many files there were. `files`: so many at least
    belong to the current version; where there are no more, nobody looks whether they do.
    """
    return _remove_data(folder, grace, files) + _trim_log(folder, grace)


def _remove_data(folder: Path, grace: timedelta, files: int) -> int:
    oldest = time.time() - grace.total_seconds()
    paths = [p for p in (folder / "_delta_log").glob("*.tmp") if p.stat().st_mtime < oldest]
    if len(list(folder.glob("*.parquet"))) > files:
        hours = max(0, int(grace.total_seconds() // 3600))
        # A dry run only lists: a real one would add commits of its own to the log, and the last
        # commit must be the one that says what the table holds.
        doomed = DeltaTable(folder).vacuum(
            retention_hours=hours, dry_run=True, enforce_retention_duration=False, full=True
        )
        paths += [folder / path for path in doomed if path.endswith(".parquet")]
    return remove(paths)


def is_cluttered(folder: Path, grace: timedelta, current: set[str]) -> bool:
    """Whether `tidy` is worth its while for a table whose current files have these names."""
    oldest = time.time() - grace.total_seconds()
    left = [p for p in folder.glob("*.parquet") if p.name not in current]
    old = sum(path.stat().st_mtime <= oldest for path in left)
    return old >= max(_LEFT, 2 * len(current)) or is_log_long(folder)


def is_log_long(folder: Path) -> bool:
    """Whether the log of a table has grown since it was summed up."""
    log = folder / "_delta_log"
    newest = max(_versions(log, ".checkpoint.parquet"), default=-1)
    return sum(version > newest for version in _versions(log, ".json")) > _ENTRIES


def remove(paths: list[Path]) -> int:
    """Removes the files; how many."""
    for path in paths:
        path.unlink(missing_ok=True)
    return len(paths)


def _trim_log(folder: Path, grace: timedelta) -> int:
    """Sums up the log where it grew long and removes the entries before.

    All versions that were current within the grace can still be opened, and the entry of the
    current one, which says what the table holds, always stays: a summary has no such words.
    """
    log = folder / "_delta_log"
    summaries = _versions(log, ".checkpoint.parquet")
    entries = _versions(log, ".json")
    if is_log_long(folder):
        DeltaTable(folder).create_checkpoint()
        summaries = _versions(log, ".checkpoint.parquet")
    oldest = time.time() - grace.total_seconds()
    old = [version for version, path in summaries.items() if path.stat().st_mtime <= oldest]
    needed = max(old, default=0)
    return remove(
        [path for found in (entries, summaries) for v, path in found.items() if v < needed]
    )


def _versions(log: Path, suffix: str) -> dict[int, Path]:
    """Entries or summaries of the log by version."""
    found = {path: path.name.removesuffix(suffix) for path in log.glob(f"*{suffix}")}
    return {int(stem): path for path, stem in found.items() if stem.isdigit()}
