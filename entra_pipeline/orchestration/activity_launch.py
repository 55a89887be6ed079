"""Starting a reading of the activity logs in this process, as a Dagster run.

What `entra-pipeline activity` does; the counterpart of `launch` for syncs.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from entra_pipeline.extract.activity import ActivityProgress, Reading
from entra_pipeline.lake import DataDirectory
from entra_pipeline.lake.books import rfc3339
from entra_pipeline.lake.events import Events
from entra_pipeline.orchestration import activity as readings
from entra_pipeline.orchestration import home as homes
from entra_pipeline.orchestration import interrupts
from entra_pipeline.orchestration.dead_runs import close_dead_runs, data_tag
from entra_pipeline.orchestration.launch import run_here
from entra_pipeline.settings import Settings
from entra_pipeline.tables import EVENTS, get


@dataclass(frozen=True)
class ActivityReport:
    """What came of a run: how the reading of each log ended, and which steps failed."""

    run_id: str
    readings: tuple[Reading, ...]
    problems: tuple[str, ...]

    @property
    def succeeded(self) -> bool:
        """Whether nothing failed; a log that this tenant does not have is no failure."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """One JSON document: `run_id`, `logs` by name, `problems`."""
        return {
            "run_id": self.run_id,
            "outcome": "succeeded" if self.succeeded else "failed",
            "logs": [
                {
                    "table": reading.table,
                    "status": reading.status.value,
                    "reason": reading.reason,
                    "permission": reading.permission,
                    "events_new": reading.inserted,
                    "events_changed": reading.replaced,
                    "events_known": reading.repeated,
                    "windows": reading.windows,
                    "covered": [[rfc3339(a), rfc3339(b)] for a, b in reading.covered],
                    "gaps": [[rfc3339(a), rfc3339(b)] for a, b in reading.gaps],
                    **asdict(reading.counts),
                    "seconds": round(reading.duration_s, 3),
                    "notes": dict(reading.notes),
                }
                for reading in self.readings
            ],
            "problems": list(self.problems),
        }


def run_activity(
    settings: Settings,
    only: Collection[str] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    progress: readings.OnActivity | None = None,
    *,
    home: Path | None = None,
    verbose: bool = False,
) -> ActivityReport:
    """Read the logs in this process; those that failed included in what it returns.

    Without `since` each log is read from where it is covered. `progress` is called after each
    window. `home` is Dagster's home (None: DAGSTER_HOME, or the data directory's own).

    Raises:
        DirectoryError: the data directory is another tenant's, or another reading holds it.
        HomeError: Dagster's storage cannot be opened.
        KeyError: `only` names something that is no log.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the run has ended as failed.
    """
    # The composition root imports assets, which import this package.
    from entra_pipeline.definitions import build_definitions

    names = [get(name, EVENTS).name for name in only or EVENTS]
    directory = DataDirectory.claim(settings.data_dir, settings.tenant_id)
    with (
        interrupts.heard(),
        readings.reading_lock(directory),
        homes.open_instance(homes.prepare(homes.choose(settings, os.environ, home))) as instance,
    ):
        close_dead_runs(instance, directory.path, None, tag=readings.TAG, job_tag=readings.RUN_TAGS)
        events = Events(directory.lake)
        now = datetime.now(UTC)
        end = min(until or now, now)
        start = since or min(readings.unread(events, now)[0], end)
        days = readings.days_of((max(start, readings.FIRST), end))
        config = {
            "only": names,
            "since": since.isoformat() if since else "",
            "until": end.isoformat(),
            "go_on": since is None,
        }
        ended: list[Reading] = []

        def tell(said: ActivityProgress | Reading) -> None:
            if isinstance(said, Reading):
                ended.append(said)
            if progress is not None:
                progress(said)

        definitions = build_definitions(settings, on_activity=tell, holding_lock=True)
        run_id, problems = run_here(
            instance,
            definitions.resolve_job_def(readings.JOB),
            {readings.STEP: config},
            {readings.TAG: data_tag(directory.path), **readings.range_tags(days)},
            verbose=verbose,
        )
        return ActivityReport(run_id, tuple(ended), tuple(problems))
