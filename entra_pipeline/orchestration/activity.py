"""Readings of the activity logs as Dagster runs: days, the open session, and what a run is asked.

Runs are ranges of days, however many: one run reads them all, because what it costs is requests to
Microsoft, which allows five in ten seconds whoever asks. One reading at a time works on a data
directory; a second one waits (or, from the command line, is told so). Syncs go on beside it.

Not here: what windows are asked for and what counts as covered (`extract.activity`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from typing import Final

import dagster as dg
from filelock import FileLock, Timeout

from entra_pipeline.extract.activity import (
    ActivityProgress,
    Reading,
    client_for,
    read_activity,
    unread_since,
)
from entra_pipeline.extract.activity.windows import KEPT
from entra_pipeline.lake import DataDirectory, DirectoryBusyError
from entra_pipeline.lake.events import Events
from entra_pipeline.lake.spans import Span, missing
from entra_pipeline.msgraph import GraphClient
from entra_pipeline.orchestration import interrupts, specs
from entra_pipeline.orchestration.dead_runs import UNFINISHED, close_dead_runs, data_tag
from entra_pipeline.settings import Settings
from entra_pipeline.tables import EVENTS, Status, Table

JOB: Final = "activity"
STEP: Final = "read_activity"
TAG: Final = "entra_pipeline/activity"
"""Of every run that reads activity, once it holds the lock: the data directory, as a hash."""
JOB_TAG: Final = "entra_pipeline/reads"
RUN_TAGS: Final = {JOB_TAG: "activity"}

DAY: Final = timedelta(days=1)
FIRST: Final = datetime(2026, 1, 1, tzinfo=UTC)
DAYS: Final = dg.DailyPartitionsDefinition(start_date=FIRST, timezone="UTC", end_offset=1)
"""Days of events, today's among them. Microsoft keeps 30 days: nothing older can be had any more,
and the first day must stay what it is for Dagster to know the later ones by their places."""

# Another reading ends sooner or later: 30 days of a large tenant take some hours.
LOCK_WAIT_S: Final = 12 * 3600.0

OnActivity = Callable[[ActivityProgress | Reading], None]
"""Called after each window, and when a log has ended."""


class LogsFailedError(RuntimeError):
    """Logs could not be read; the message names each with its reason."""


@dataclass
class Session:
    """An open reading; whoever has one holds the right to read activity."""

    settings: Settings
    events: Events
    client: GraphClient
    run_id: str
    on_progress: OnActivity | None = None

    def read(
        self, tables: Sequence[str], since: datetime | None, until: datetime | None
    ) -> Iterator[Reading]:
        """Read the logs one after the other; each as soon as it ended."""
        for table in tables:
            reading = read_activity(
                self.settings,
                self.client,
                self.events,
                sync_id=self.run_id,
                tables=[table],
                since=since,
                until=until,
                on_progress=self.on_progress,
            )[table]
            interrupts.check()
            if self.on_progress is not None:
                self.on_progress(reading)
            yield reading

    def whole_days(self, reading: Reading, days: Sequence[str], now: datetime) -> list[str]:
        """Those of the days that are covered, today's but for the minutes that come again."""
        late = timedelta(minutes=self.settings.activity_overlap_minutes)
        # A reading takes a while, and its end is dated from its last request.
        last = now - late - max(timedelta(minutes=1), timedelta(seconds=reading.duration_s))
        covered = list(reading.covered)
        return [
            day
            for day in days
            if not missing(_day(day, last, whole=reading.status is not Status.COMPLETE), covered)
        ]


@contextmanager
def reading_lock(directory: DataDirectory, wait: float = 0.0) -> Iterator[None]:
    """Hold the right to read activity into a directory.

    Raises:
        DirectoryBusyError: another process has it, and kept it for `wait` seconds.
    """
    lock = FileLock(directory.path / "activity.lock", timeout=max(wait, 0.5), mode=0o600)
    try:
        lock.acquire(poll_interval=0.2)
    except Timeout:
        raise DirectoryBusyError(
            f"another process reads activity into {directory.path}: wait for it to end, or stop it"
        ) from None
    try:
        yield
    finally:
        lock.release()


def activity_resource(
    load: Callable[[], Settings],
    *,
    on_progress: OnActivity | None = None,
    holding_lock: bool = False,
) -> dg.ResourceDefinition:
    """The resource `activity`; settings are loaded when a run begins, never when code is loaded.

    `holding_lock` says that this process took the lock before it started the run.
    """

    @dg.resource(description="The open reading of activity: data directory, lake and Graph client.")
    def activity(context: dg.InitResourceContext) -> Iterator[Session]:
        run, instance = context.run, context.instance
        if run is None or instance is None:
            raise RuntimeError("the resource 'activity' only exists inside a run")
        settings = load()
        directory = DataDirectory.claim(settings.data_dir, settings.tenant_id)
        with ExitStack() as stack:
            if not holding_lock:
                stack.enter_context(reading_lock(directory, LOCK_WAIT_S))
            instance.add_run_tags(run.run_id, {TAG: data_tag(directory.path)})
            close_dead_runs(instance, directory.path, run.run_id, tag=TAG, job_tag=RUN_TAGS)
            client = client_for(settings)
            stack.callback(client.close)
            yield Session(settings, Events(directory.lake), client, run.run_id, on_progress)

    return activity


def check_specs(table: Table) -> list[dg.AssetCheckSpec]:
    """The checks of a table of events. Its rows are checked as they are stored."""
    return [
        dg.AssetCheckSpec(
            "complete", asset=specs.key(table), description="The last reading got all it asked for."
        ),
        dg.AssetCheckSpec(
            "gaps",
            asset=specs.key(table),
            description=(
                "No time is missing since the first event read. Microsoft keeps events for 7 or "
                "30 days: what was not read by then cannot be had any more."
            ),
        ),
    ]


def build_job() -> dg.UnresolvedAssetJobDefinition:
    """The job that reads the logs; a sync does not."""
    return dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(*(specs.key(name) for name in EVENTS)),
        description="Read the activity logs of some days: sign-ins, audits, provisioning.",
        tags=RUN_TAGS,
        executor_def=dg.in_process_executor,
    )


def build_schedule(load: Callable[[], Settings]) -> dg.ScheduleDefinition:
    """Every quarter of an hour from where the logs are covered, unless a reading is under way."""

    def evaluate(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        waiting = dg.RunsFilter(tags=RUN_TAGS, statuses=[*UNFINISHED, dg.DagsterRunStatus.QUEUED])
        if context.instance.get_runs_count(waiting):
            return dg.SkipReason("a reading of the activity logs is under way")
        now = datetime.now(UTC)
        days = days_of(unread(Events(load().data_dir / "lake"), now))
        return dg.RunRequest(
            run_config={"ops": {STEP: {"config": {"go_on": True}}}}, tags=range_tags(days)
        )

    return dg.ScheduleDefinition(
        name="activity_every_quarter_hour",
        job_name=JOB,
        cron_schedule="7,22,37,52 * * * *",
        execution_timezone="UTC",
        execution_fn=evaluate,
        description="Reads the activity logs from where they were left.",
        default_status=dg.DefaultScheduleStatus.STOPPED,
    )


def beginning(day: str) -> datetime:
    """The first moment of a day that is given as text."""
    return datetime.combine(date.fromisoformat(day), clock_time(), UTC)


def _day(day: str, last: datetime, *, whole: bool) -> Span:
    """A day, or unless it has to be whole the part of it before `last`."""
    start = beginning(day)
    return start, start + DAY if whole else max(start, min(start + DAY, last))


def days_of(span: Span) -> list[str]:
    """The days that have a part of the span, in order."""
    start, end = (moment.astimezone(UTC) for moment in span)
    at, found = start.date(), [start.date().isoformat()]
    while datetime.combine(at := at + DAY, clock_time(), UTC) < end:
        found.append(at.isoformat())
    return found


def unread(events: Events, now: datetime) -> Span:
    """What a reading of all logs that goes on from what is covered would ask for.

    A log that was refused, and has nothing, is asked for the present alone.
    """
    starts = []
    for name in EVENTS:
        info = events.info(name)
        if info is not None and not info.covered and info.status is not Status.COMPLETE:
            continue
        starts.append(unread_since(info.covered if info else (), now))
    return max(min(starts, default=now), now - KEPT), now


def range_tags(days: Sequence[str]) -> dict[str, str]:
    """The tags by which Dagster knows the days of a run; one day is a run of that day."""
    if len(days) == 1:
        return {"dagster/partition": days[0]}
    return {
        "dagster/asset_partition_range_start": days[0],
        "dagster/asset_partition_range_end": days[-1],
    }
