"""Making a finished warehouse the current one, while others go on reading the one before.

Here belongs the swap and nothing of what is in the file. `warehouse.duckdb` is a link to
`warehouse/warehouse-<number>.duckdb`; replacing a link is one atomic act, numbers only grow, and
a version stays on disk for a while after it was replaced, for readers about to open it.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

# Seconds that a replaced version is kept. A reader holds an open file anyway; this is for one
# that has read the link and not opened the file yet, and for copies under way.
GRACE_SECONDS = 900.0
_VERSION = re.compile(r"warehouse-(\d+)\.duckdb")


class Home(Protocol):
    """What publication needs of the data directory."""

    @property
    def warehouse_link(self) -> Path:
        """Where readers find the current warehouse."""


@dataclass(frozen=True)
class PublishedWarehouse:
    """What has been published."""

    path: Path
    number: int
    bytes: int


def stage_path(directory: Home) -> Path:
    """Where to build: on the file system of the published versions, so that moving is atomic."""
    return _versions(directory.warehouse_link) / "building.duckdb"


def publish(
    stage: Path, directory: Home, *, grace_seconds: float = GRACE_SECONDS
) -> PublishedWarehouse:
    """Make `stage` the current warehouse. Whoever calls holds the data directory's lock.

    Durable once it returns; killed at any moment before, the version before stays current.
    """
    if not stage.exists():
        raise FileNotFoundError(f"there is no stage at {stage}: build it before publishing")
    link = directory.warehouse_link
    versions = _versions(link)
    versions.mkdir(parents=True, exist_ok=True, mode=0o700)
    _flush(stage)
    os.chmod(stage, 0o600)
    number = max(_numbers(versions), default=0) + 1
    path = versions / f"warehouse-{number:06d}.duckdb"
    os.replace(stage, path)
    _flush(versions)
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    # Relative, so that the data directory can be moved or mounted elsewhere.
    fresh.symlink_to(os.path.relpath(path, link.parent))
    os.replace(fresh, link)
    _flush(link.parent)
    _clear(versions, number, grace_seconds)
    shutil.rmtree(f"{stage}.spill", ignore_errors=True)
    return PublishedWarehouse(path, number, path.stat().st_size)


def _versions(link: Path) -> Path:
    return link.parent / "warehouse"


def _numbers(versions: Path) -> dict[int, Path]:
    """The published versions by number."""
    return {
        int(match[1]): entry
        for entry in versions.iterdir()
        if (match := _VERSION.fullmatch(entry.name))
    }


def _clear(versions: Path, current: int, grace_seconds: float) -> None:
    """Remove versions whose successor has been current for longer than the grace."""
    found = sorted(_numbers(versions).items())
    for (number, path), (_next, successor) in itertools.pairwise(found):
        if number < current and time.time() - successor.stat().st_ctime >= grace_seconds:
            path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Put a file's or a directory's content on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
