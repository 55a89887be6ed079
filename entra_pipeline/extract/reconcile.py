"""The proof that following changes is right: tables kept by them, beside a full read of the same.

The full read goes into a lake of its own, beside the real one. Then both are brought up to date by
what changed since, and compared row by row: all that moved while the full read went on has by then
reached both. What moves between the last rounds of the two, or is on its way through Graph's
replicas and logs, is no difference either: what differs is looked at again after a pause and
another round, and only what still differs, and has not moved, counts.

Afterwards the real tables hold what the full read found, differences mended, and count as read in
full.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa

from entra_pipeline.extract.extraction import Progress, run
from entra_pipeline.extract.outcome import suspicion
from entra_pipeline.lake import Books, Counters, DataDirectory, Lake, Reconciled, TableStatus
from entra_pipeline.lake.diff import compared
from entra_pipeline.msgraph import GraphClient
from entra_pipeline.settings import Settings
from entra_pipeline.tables import Status, get

FOLDER: Final = "reconcile"
"""Where the full read lies meanwhile, in the data directory; what a killed process left may go."""

_LOOKS: Final = 3

log = logging.getLogger(__name__)

Keys = frozenset[tuple[Any, ...]]


@dataclass(frozen=True)
class Reconciliation:
    """What came of it: a status for each table, and a verdict for each that could be compared."""

    statuses: dict[str, TableStatus]
    verdicts: dict[str, Reconciled]


class _Reading:
    """A lake that is kept by what changes, and what that cost by table."""

    def __init__(
        self, settings: Settings, client: GraphClient, lake: Lake, books: Books, sync_id: str
    ) -> None:
        self._settings = settings
        self._client = client
        self._books = books
        self.sync_id = sync_id
        self.lake = lake
        self.spent: dict[str, Counters] = {}

    def read(self, tables: Sequence[str], **more: Any) -> dict[str, TableStatus]:
        """One extraction."""
        statuses = run(
            self._settings, self._client, self.lake, self._books, self.sync_id, tables, **more
        )
        for name, status in statuses.items():
            self.spent[name] = _sum(self.spent.get(name, Counters()), status)
        return statuses


def reconcile(
    settings: Settings,
    client: GraphClient,
    directory: DataDirectory,
    lake: Lake,
    books: Books,
    sync_id: str,
    tables: Sequence[str],
    *,
    accept_shrink: frozenset[str] = frozenset(),
    on_progress: Callable[[Progress], None] | None = None,
    pause_s: float = 30.0,
) -> Reconciliation:
    """Bring the tables up to date, and compare those kept by what changed with a full read.

    Tables that are read in full anyway have no verdict, nor those of which one of the two could
    not be read, or had to be read in full this time. `pause_s`: between two looks at what differs.
    Whoever calls holds the data directory's lock.
    """
    before = {name: info for name in tables if (info := lake.info(name)) is not None}
    kept = [name for name in tables if name in before and before[name].cursor is not None]
    folder = directory.path / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    scratch = DataDirectory.claim(folder, directory.tenant_id)
    try:
        other_books = Books(scratch)
        other_id = other_books.begin_sync("reconcile", kept)
        real = _Reading(settings, client, lake, books, sync_id)
        other = _Reading(settings, client, Lake(scratch.lake), other_books, other_id)
        whole = other.read(kept, full=True) if kept else {}
        statuses = real.read(tables, accept_shrink=accept_shrink, on_progress=on_progress)

        def comparable(name: str) -> bool:
            ours, theirs = lake.info(name), other.lake.info(name)
            return (
                whole[name].status is Status.COMPLETE
                and statuses[name].status is Status.COMPLETE
                and ours is not None
                and theirs is not None
                and ours.full_as_of == before[name].full_as_of
            )

        judged = [name for name in kept if comparable(name)]
        differing = _differing(real, other, judged, statuses, pause_s)
        judged = [name for name in judged if comparable(name)]
        verdicts = {}
        for name in judged:
            found = other.lake.info(name)
            assert found is not None  # noqa: S101 - comparable
            count = len(differing.get(name, ()))
            verdicts[name] = Reconciled(name, datetime.now(UTC), found.rows, count, sync_id)
            if count:
                log.warning("%s: %d rows differ from a full read", name, count)
            statuses[name] = _taken_over(settings, real, other, statuses[name], accept_shrink)
            books.record_reconciled(sync_id, verdicts[name])
        for name in tables:
            total = _sum(real.spent[name], other.spent.get(name, Counters()))
            statuses[name] = replace(
                statuses[name], **{part.name: getattr(total, part.name) for part in fields(total)}
            )
            books.record(sync_id, statuses[name])
        return Reconciliation(statuses, verdicts)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _differing(
    real: _Reading,
    other: _Reading,
    tables: Sequence[str],
    statuses: dict[str, TableStatus],
    pause_s: float,
) -> dict[str, Keys]:
    """Keys of the rows that differ for no reason, by table."""
    found: dict[str, Keys] | None = None
    for look in range(_LOOKS):
        since = datetime.now(UTC)
        if look:
            time.sleep(pause_s)
            statuses.update(real.read(tables))
        other.read(tables)
        now = {name: _difference(real.lake, other.lake, name) for name in tables}
        if found is not None:
            now = {
                name: (keys & found[name])
                - _moved(real.lake, name, since)
                - _moved(other.lake, name, since)
                for name, keys in now.items()
            }
        found = now
        if not any(found.values()):
            break
    return found or {}


def _difference(one: Lake, other: Lake, name: str) -> Keys:
    """Keys of the rows that are not the same in both."""
    ours, theirs = one.info(name), other.info(name)
    if ours is not None and theirs is not None and ours.digest == theirs.digest:
        return frozenset()
    table = get(name)
    keys: set[tuple[Any, ...]] = set()
    for step in compared(table, [one.read(name)], [other.read(name)]):
        if step.changes is not None:
            keys |= _keys(table.key, step.changes)
    return frozenset(keys)


def _moved(lake: Lake, name: str, since: datetime) -> Keys:
    return frozenset(_keys(get(name).key, lake.changes(name, after=since)))


def _keys(key: Sequence[str], rows: pa.Table) -> set[tuple[Any, ...]]:
    return set(zip(*(rows.column(name).to_pylist() for name in key), strict=True))


def _taken_over(
    settings: Settings,
    real: _Reading,
    other: _Reading,
    status: TableStatus,
    accept_shrink: frozenset[str],
) -> TableStatus:
    """The table as the full read has it, committed in place of ours; its status."""
    name = status.table
    rows, found = other.lake.read(name), other.lake.info(name)
    assert found is not None  # noqa: S101 - comparable
    if name not in accept_shrink:
        doubt = suspicion(get(name), rows.num_rows, real.lake.info(name), settings)
        if doubt is not None:
            return replace(status, status=Status.QUARANTINED, reason=doubt)
    commit = real.lake.commit(
        get(name), rows, sync_id=real.sync_id, as_of=found.as_of, cursor=found.cursor
    )
    return replace(status, rows=commit.rows, version=commit.version, as_of=commit.info.as_of)


def _sum(one: Counters, other: Counters | TableStatus) -> Counters:
    return Counters(
        **{
            part.name: getattr(one, part.name) + getattr(other, part.name)
            for part in fields(Counters)
        }
    )
