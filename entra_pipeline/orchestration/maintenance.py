"""Looking after a data directory: what is too old goes, many small files become few.

The job `maintenance` and `entra-pipeline maintain` both call `maintain`, holding the data
directory's lock: syncs wait for it and it for them. How long things are kept is in the settings;
how each store lets go of something is its own business (`lake`, `access.past`, `pruning`).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import dagster as dg

from entra_pipeline.access import past
from entra_pipeline.access.sums import clear_sums
from entra_pipeline.extract.activity import Kept, maintain_activity
from entra_pipeline.lake import Books, DataDirectory, Lake
from entra_pipeline.lake import feed as event_feed
from entra_pipeline.lake.books import rfc3339
from entra_pipeline.lake.events import Events
from entra_pipeline.orchestration import jobs
from entra_pipeline.orchestration.dead_runs import close_dead_runs, data_tag
from entra_pipeline.orchestration.pruning import prune_runs
from entra_pipeline.orchestration.resources import LOCK_WAIT_S
from entra_pipeline.orchestration.session import DATA_TAG
from entra_pipeline.provisioning.drift import keeping as drift
from entra_pipeline.settings import Settings
from entra_pipeline.tables import TABLES

# A warehouse of the past is built again in seconds; it is as large as the published one.
_UNUSED: Final = timedelta(days=7)

log = logging.getLogger(__name__)


class MaintenanceFailedError(RuntimeError):
    """Some of the work could not be done; the message names each part with its reason."""


@dataclass
class Maintained:
    """What was done, in counts; never a row."""

    files: dict[str, int] = field(default_factory=dict)  # removed, by table
    known_since: dict[str, datetime] = field(default_factory=dict)  # start of history, by table
    events: dict[str, Kept] = field(default_factory=dict)  # of activity, by table
    warehouses: int = 0  # of the past, removed
    syncs: int = 0  # forgotten by the books
    runs: int = 0  # removed from Dagster's records
    problems: dict[str, str] = field(default_factory=dict)  # what failed, with the kind of error
    bytes_before: int = 0
    bytes_after: int = 0

    def to_json(self) -> dict[str, Any]:
        """One JSON document."""
        return {
            "tables": [
                {
                    "table": name,
                    "files_removed": self.files[name],
                    "known_since": rfc3339(self.known_since[name])
                    if name in self.known_since
                    else None,
                }
                for name in self.files
            ],
            "events": [
                {"table": name, "events_forgotten": kept.forgotten, "files_removed": kept.files}
                for name, kept in self.events.items()
            ],
            "past_warehouses_removed": self.warehouses,
            "syncs_forgotten": self.syncs,
            "dagster_runs_removed": self.runs,
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "problems": [{"part": part, "reason": why} for part, why in self.problems.items()],
        }


def maintain(
    settings: Settings, directory: DataDirectory, instance: dg.DagsterInstance | None
) -> Maintained:
    """Do all of it; what fails is told at the end and keeps nothing else from being done.

    Whoever calls holds the data directory's lock. Without an `instance` Dagster's records are left
    alone, as when there are none.
    """
    done = Maintained(bytes_before=size(directory.path))
    now = datetime.now(UTC)
    keep = timedelta(days=settings.history_days) if settings.history_days else None
    lake, books = Lake(directory.lake), Books(directory)

    def attempt(part: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            # Texts of other people's errors may quote data.
            done.problems[part] = type(error).__name__
            log.warning("%s: could not be maintained (%s)", part, type(error).__name__)
            log.debug("%s", part, exc_info=error)

    def table(name: str) -> None:
        done.files[name] = lake.maintain(name, keep=keep, now=now)
        if (info := lake.info(name)) is not None:
            done.known_since[name] = info.known_since

    def activity() -> None:
        done.events.update(maintain_activity(settings, directory, now=now))
        # What was forgotten must not live on in its sums.
        clear_sums(Events(directory.lake))

    def feed() -> None:
        if (heard := event_feed.existing(directory)) is not None:
            heard.forget(now - timedelta(days=settings.events_days))

    def warehouses() -> None:
        before = None if keep is None else now - keep
        done.warehouses = past.tidy(directory, unused=_UNUSED, before=before)

    def syncs() -> None:
        books.close_dead_syncs(holding_lock=True)
        if keep is not None:
            done.syncs = books.prune(now - keep)

    def runs() -> None:
        if instance is not None and settings.dagster_run_days:
            before = now - timedelta(days=settings.dagster_run_days)
            done.runs = prune_runs(instance, directory.path, before)

    def changes() -> None:
        before = None if keep is None else now - keep
        drift.maintain(directory.lake, before, "maintenance", now)

    for name in TABLES:
        if (directory.lake / name).is_dir():
            attempt(name, lambda name=name: table(name))  # type: ignore[misc]
    parts = {
        "activity": activity,
        "feed": feed,
        "drift": changes,
        "past": warehouses,
        "books": syncs,
        "dagster": runs,
    }
    for part, work in parts.items():
        attempt(part, work)
    done.bytes_after = size(directory.path)
    return done


def size(path: Path) -> int:
    """Bytes of the files below a directory."""
    total = 0
    for file in path.rglob("*"):
        try:
            total += file.lstat().st_size
        except FileNotFoundError:  # gone between the listing and the look
            continue
    return total


def build_maintenance_job(load: Callable[[], Settings]) -> dg.JobDefinition:
    """The job `maintenance`; `load` gives the settings when a run begins."""

    @dg.op(
        description=(
            "Drop history, events, syncs and Dagster runs that are older than the settings say, "
            "and files that nobody reads any more; make few files of many small ones."
        ),
        out=dg.Out(dg.Nothing),
    )
    def maintain_data_directory(context: dg.OpExecutionContext) -> None:
        settings = load()
        directory = DataDirectory.existing(settings.data_dir)
        command = f"Dagster run {context.run_id[:8]}"
        with directory.lock(wait=LOCK_WAIT_S, command=command):
            context.instance.add_run_tags(context.run_id, {DATA_TAG: data_tag(directory.path)})
            close_dead_runs(context.instance, directory.path, context.run_id)
            done = maintain(settings, directory, context.instance)
        context.add_output_metadata(
            {
                "files_removed": sum(done.files.values()),
                "events_forgotten": sum(kept.forgotten for kept in done.events.values()),
                "past_warehouses_removed": done.warehouses,
                "syncs_forgotten": done.syncs,
                "dagster_runs_removed": done.runs,
                "bytes_before": done.bytes_before,
                "bytes_after": done.bytes_after,
            }
        )
        if done.problems:
            raise MaintenanceFailedError(
                "; ".join(f"{part}: {why}" for part, why in done.problems.items())
            )

    @dg.job(
        name=jobs.MAINTENANCE,
        description="Drop what is older than the retention settings, and tidy up files.",
        tags=jobs.RUN_TAGS,
        executor_def=dg.in_process_executor,
    )
    def maintenance() -> None:
        maintain_data_directory()

    return maintenance
