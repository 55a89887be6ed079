"""The warehouse as a past sync published it: found by time, built once, kept for later questions.

Here belongs turning the lake's history back into files and building on them with the steps of
`build`; what changed between two moments is `diff`'s and `changes`'. The state at a time is that
of the last sync that had ended by then: every later change is undone. Statuses of that sync come
from the books, so that what was not known then is not known in the answer either.

    <data directory>/past/                     0700
      <sync id>-<code>.duckdb                  a warehouse, at most KEPT of them
      building-<random>/                       one that is being built, with its lock
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from entra_pipeline import tables
from entra_pipeline.access import build, past_access
from entra_pipeline.access.edition import edition
from entra_pipeline.access.questions import Warehouse
from entra_pipeline.lake import Books, DataDirectory, Lake, SyncRecord, TableStatus
from entra_pipeline.lake.books import aged, rfc3339
from entra_pipeline.lake.events import Events
from entra_pipeline.tables import Status

# Warehouses of the past that are kept, the most lately asked: a few moments are compared at a
# time, and each is as large as the published one.
KEPT: Final = 6
_BUILDING: Final = "building-"
_LOCK: Final = "lock"
_YOUNG: Final = 60.0  # seconds

Say = Callable[[str], None]


class PastError(Exception):
    """Nothing is known of that time; the message says since when there is something."""


@dataclass(frozen=True)
class Moment:
    """A time that was asked for, and the sync whose published state was the latest then."""

    asked: datetime
    sync: SyncRecord

    @property
    def finished(self) -> datetime:
        """When the sync had ended; changes seen later are undone."""
        if self.sync.finished is None:
            raise PastError(f"sync {self.sync.sync_id} has not ended yet: ask again when it has")
        return self.sync.finished

    def to_json(self) -> dict[str, Any]:
        """`{"time", "sync": {"id", "started", "finished", "outcome"}}`."""
        return {
            "time": rfc3339(self.asked),
            "sync": {
                "id": self.sync.sync_id,
                "started": rfc3339(self.sync.started),
                "finished": rfc3339(self.finished),
                "outcome": str(self.sync.outcome),
            },
        }


def at(books: Books, moment: datetime) -> Moment:
    """The state that was published at a time. Raises PastError before the first sync."""
    sync = books.finished_at(moment)
    if sync is None:
        raise PastError(f"no sync had ended by {moment:%Y-%m-%d %H:%M:%S} UTC{_since(books)}")
    return Moment(moment, sync)


def after(books: Books, sync_id: str) -> Moment:
    """The state that a sync left. Raises PastError when there is none of that id, or it died."""
    sync = books.sync(sync_id)
    if sync is None:
        raise PastError(f"there is no sync {sync_id}{_since(books)}")
    if sync.finished is None or sync.outcome not in ("succeeded", "failed"):
        raise PastError(f"sync {sync_id} published nothing: it is {sync.outcome}")
    return Moment(sync.finished, sync)


def _since(books: Books) -> str:
    first = books.first_finished()
    if first is None or first.finished is None:
        return ": none has ended yet, so there is no past to ask"
    return f"; the first one ended at {rfc3339(first.finished)}: ask for that time or a later one"


def warehouse(
    directory: DataDirectory,
    moment: Moment,
    *,
    stale_after: Mapping[str, timedelta] | None = None,
    say: Say = lambda _: None,
) -> Path:
    """The warehouse of that moment's sync, built unless it is kept from an earlier question.

    `stale_after` are the ages at which tables count as stale, judged when the sync had ended.
    Raises PastError when no table's history reaches back so far, and what the lake raises.
    """
    folder = _folder(directory)
    kept = _kept(folder, moment)
    if not kept.exists():
        say(f"building the warehouse of sync {moment.sync.sync_id}; it is kept for later questions")
        with _workshop(folder) as bench:
            stage = bench / "stage.duckdb"
            _build(directory, moment, stale_after or {}, stage)
            stage.chmod(0o600)
            os.replace(stage, kept)
    os.utime(kept)
    _clear(folder, keep=kept)
    return kept


@contextlib.contextmanager
def access(
    directory: DataDirectory,
    moment: Moment,
    text: str,
    *,
    stale_after: Mapping[str, timedelta] | None = None,
) -> Iterator[Warehouse | None]:
    """A warehouse to ask for the access of the principal that a text names, and nothing else.

    It is made of the few rows that matter. None when the moment's whole warehouse is kept, and when
    it takes the whole to tell: then ask `warehouse`. Raises as that does.
    """
    folder = _folder(directory)
    kept = _kept(folder, moment)
    if kept.exists():
        yield None
        return
    known = _known(Lake(directory.lake), moment, statuses(directory, moment, stale_after or {}))
    with (
        _workshop(folder) as bench,
        past_access.opened(
            Lake(directory.lake),
            moment.finished,
            text,
            bench,
            statuses=known,
            syncs=Books(directory).syncs_until(moment.sync.sync_id),
            events=Events(directory.lake),
        ) as found,
    ):
        yield found


def tidy(directory: DataDirectory, *, unused: timedelta, before: datetime | None = None) -> int:
    """Remove kept warehouses that nobody asked for so long, and builds that died; how many.

    Those of syncs that began before a moment go too: their history is dropped.
    """
    folder = directory.path / "past"
    _clear_away(folder)
    oldest = time.time() - unused.total_seconds()
    first = "" if before is None else f"{before.astimezone(UTC):%Y%m%dT%H%M%S.%f}Z"
    gone = 0
    for path in folder.glob("*.duckdb"):
        with contextlib.suppress(FileNotFoundError):  # cleared away by another process
            if path.stat().st_mtime < oldest or path.name < first:
                path.unlink()
                gone += 1
    return gone


def statuses(
    directory: DataDirectory, moment: Moment, stale_after: Mapping[str, timedelta]
) -> dict[str, TableStatus]:
    """How complete each directory table was when the moment's sync had ended."""
    known = Books(directory).statuses_after(moment.sync.sync_id)
    found = {}
    for name in _directory_tables():
        status = known.get(name)
        if status is None:
            status = TableStatus(name, Status.NEVER, reason="no sync had read it yet")
        elif name in stale_after:
            status = aged(status, stale_after[name], moment.finished)
        found[name] = status
    return found


def _build(
    directory: DataDirectory, moment: Moment, stale_after: Mapping[str, timedelta], stage: Path
) -> None:
    """A whole warehouse from the tables as they were."""
    lake = Lake(directory.lake)
    known = _known(lake, moment, statuses(directory, moment, stale_after))
    paths = {}
    for name in known:
        found = _materialised(lake, name, moment.finished, stage.parent)
        if found is not None:
            paths[name] = found
    books = Books(directory)
    syncs = books.syncs_until(moment.sync.sync_id)
    events = Events(directory.lake)
    build.build(
        stage, paths, known, syncs=syncs, now=moment.finished, events=events, described=False
    )


def _known(lake: Lake, moment: Moment, known: dict[str, TableStatus]) -> dict[str, TableStatus]:
    """The statuses, but of tables whose history begins later nothing is known.

    Raises PastError when that is so of all.
    """
    for name, status in known.items():
        info = lake.info(name)
        if status.version is not None and (info is None or moment.finished < info.known_since):
            known[name] = replace(
                status,
                status=Status.NEVER,
                rows=None,
                version=None,
                reason="its history does not reach back to this time",
            )
    if not any(status.version is not None for status in known.values()):
        raise PastError(
            f"the history does not reach back to sync {moment.sync.sync_id}, which ended at "
            f"{rfc3339(moment.finished)}: ask for a later time"
        )
    return known


def _materialised(lake: Lake, name: str, moment: datetime, folder: Path) -> Sequence[str] | None:
    """Parquet files of a table as it was; None when nothing is known of it at that time."""
    info = lake.info(name)
    if info is None:
        return None
    rows = lake.as_of(name, moment)
    if rows is None:
        return None
    if not rows.num_rows:
        return []
    path = folder / f"{name}.parquet"
    pq.write_table(rows, path, compression="lz4", row_group_size=122_880)
    return [str(path)]


def _folder(directory: DataDirectory) -> Path:
    folder = directory.path / "past"
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    return folder


def _kept(folder: Path, moment: Moment) -> Path:
    """Where the moment's whole warehouse is if it is kept."""
    return folder / f"{moment.sync.sync_id}-{edition()}.duckdb"


def _directory_tables() -> list[str]:
    return [table.name for table in tables.TABLES.values() if table.group == "directory"]


@contextlib.contextmanager
def _workshop(folder: Path) -> Iterator[Path]:
    """A folder to build in, gone afterwards; those of killed processes are cleared away first."""
    _clear_away(folder)
    bench = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=folder))
    try:
        with FileLock(bench / _LOCK):
            yield bench
    finally:
        shutil.rmtree(bench, ignore_errors=True)


def _clear_away(folder: Path) -> None:
    """Remove what killed processes were building."""
    for left in folder.glob(f"{_BUILDING}*"):
        try:
            # Not one that was made this moment and whose maker has yet to lock it.
            if time.time() - left.stat().st_mtime > _YOUNG:
                with FileLock(left / _LOCK, timeout=0):
                    shutil.rmtree(left, ignore_errors=True)
        except (Timeout, OSError):
            continue  # somebody builds in it, or has cleared it away


def _clear(folder: Path, *, keep: Path) -> None:
    """Remove all but the warehouses that were asked last, and those that other code built."""
    found = {}
    for path in folder.glob("*.duckdb"):
        with contextlib.suppress(FileNotFoundError):  # cleared away by another process
            found[path] = path.stat().st_mtime
    current = [path for path in found if path.stem.endswith(edition())]
    lately = sorted(current, key=lambda path: (path == keep, found[path]), reverse=True)[:KEPT]
    for path in found:
        if path not in lately:
            path.unlink(missing_ok=True)
