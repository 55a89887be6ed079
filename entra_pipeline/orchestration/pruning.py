"""Old runs of Dagster's: which of them may go, and what goes with them.

A run leaves a row, tags, an event log (with SQLite a file of its own, about 2 MB), its part of the
index of asset events, and a row for every check. Dagster's own `delete_run` leaves the check rows,
and the log's file at its full size; so the parts are removed here one by one, the run's row last:
killed in between, the next time ends it.

Ticks of schedules and sensors are not removed here: Dagster's daemon does it, by `retention` in
dagster.yaml.

Trade: the names of tables and columns are Dagster's own and not part of its public interface.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import dagster as dg
import sqlalchemy as db
from dagster._core.storage.event_log import SqlEventLogStorage, SqliteEventLogStorage
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    SqlEventLogStorageTable,
)

from entra_pipeline.orchestration.dead_runs import data_tag
from entra_pipeline.orchestration.jobs import WRITES_TAG
from entra_pipeline.orchestration.session import DATA_TAG

_ENDED: Final = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]
_INDEX: Final = "index"
_PAGE: Final = 200


def prune_runs(instance: dg.DagsterInstance, data_dir: Path, before: datetime) -> int:
    """Remove this data directory's runs that ended before the moment; how many.

    Runs that have not ended never go, nor does the one that made an asset's latest
    materialisation. Runs of other data directories, and of other programs in the same storage, are
    left alone. Of partitioned assets the latest event of each partition stays, so that the days
    that were read are still shown as read.
    """
    kept = _makers(instance)
    doomed = [run_id for run_id in _ended(instance, data_dir, before) if run_id not in kept]
    for run_id in doomed:
        _remove_events(instance, run_id)
        instance.run_storage.delete_run(run_id)
    _sweep(instance, before)
    return len(doomed)


def _makers(instance: dg.DagsterInstance) -> set[str]:
    """The runs that made the latest materialisation of some asset."""
    entries = (record.asset_entry for record in instance.get_asset_records())
    latest = (entry.last_materialization_record for entry in entries)
    return {record.run_id for record in latest if record is not None}


def _ended(instance: dg.DagsterInstance, data_dir: Path, before: datetime) -> Iterator[str]:
    """Ids of runs of this data directory that ended before the moment."""
    own = data_tag(data_dir)
    found: set[str] = set()
    for tags in ({DATA_TAG: own}, {WRITES_TAG: "lake"}):
        filters = dg.RunsFilter(tags=tags, statuses=_ENDED, updated_before=before)
        cursor = None
        while page := instance.get_run_records(filters, limit=_PAGE, cursor=cursor):
            cursor = page[-1].dagster_run.run_id
            # Without a data directory's tag: it ended before it had opened one.
            found |= {
                run.dagster_run.run_id
                for run in page
                if run.dagster_run.tags.get(DATA_TAG, own) == own
            }
    yield from sorted(found)


def _remove_events(instance: dg.DagsterInstance, run_id: str) -> None:
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        storage.delete_events(run_id)
        return
    if isinstance(storage, SqliteEventLogStorage):
        _unlink(Path(storage.path_for_shard(run_id)))
    with storage.index_connection() as connection:
        _remove_rows(connection, run_id)
    if storage.supports_global_concurrency_limits:
        storage.free_concurrency_slots_for_run(run_id)


def _remove_rows(connection: db.Connection, run_id: str) -> None:
    events = SqlEventLogStorageTable
    newer = events.alias("newer")
    is_latest_of_its_partition = db.and_(
        events.c.partition.is_not(None),
        events.c.dagster_event_type == dg.DagsterEventType.ASSET_MATERIALIZATION.value,
        ~db.exists().where(
            newer.c.asset_key == events.c.asset_key,
            newer.c.partition == events.c.partition,
            newer.c.dagster_event_type == events.c.dagster_event_type,
            newer.c.id > events.c.id,
        ),
    )
    rows = connection.execute(
        db.select(events.c.id).where(events.c.run_id == run_id, ~is_latest_of_its_partition)
    )
    ids = [row[0] for row in rows]
    for some in _some(ids):
        connection.execute(
            AssetEventTagsTable.delete().where(AssetEventTagsTable.c.event_id.in_(some))
        )
        connection.execute(events.delete().where(events.c.id.in_(some)))
    connection.execute(
        AssetCheckExecutionsTable.delete().where(AssetCheckExecutionsTable.c.run_id == run_id)
    )


def _sweep(instance: dg.DagsterInstance, before: datetime) -> None:
    """Remove old logs whose runs are gone, as deleting runs in Dagster's pages leaves them."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        return
    oldest = min(before.timestamp(), time.time())
    folder = Path(storage.path_for_shard(_INDEX)).parent
    for path in folder.glob("*.db"):
        if (
            path.stem != _INDEX
            and path.stat().st_mtime < oldest
            and not instance.has_run(path.stem)
        ):
            _unlink(path)


def _unlink(path: Path) -> None:
    for part in ("", "-wal", "-shm"):
        path.with_name(path.name + part).unlink(missing_ok=True)


def _some(ids: list[Any]) -> Iterable[list[Any]]:
    for start in range(0, len(ids), _PAGE):
        yield ids[start : start + _PAGE]
