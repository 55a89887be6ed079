"""Starting a sync in this process, as a Dagster run: what `entra-pipeline sync` does.

The run is recorded in Dagster's instance like any other, with the code location it belongs to, so
that pages, sensors and freshness see it. The data directory's lock is taken before the run is
created: a second sync is told who holds it and leaves no failed run behind.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.execution.api import execute_run_iterator
from dagster._core.remote_origin import RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.workspace.load import location_origin_from_module_name
from dagster_shared.error import SerializableErrorInfo

from entra_pipeline.lake import Books, DataDirectory, Outcome, Reconciled, SyncRecord, TableStatus
from entra_pipeline.lake.books import rfc3339
from entra_pipeline.orchestration import home as homes
from entra_pipeline.orchestration import interrupts, jobs
from entra_pipeline.orchestration.dead_runs import close_dead_runs, data_tag
from entra_pipeline.orchestration.resources import READ_STEP
from entra_pipeline.orchestration.session import DATA_TAG, SYNC_TAG, OnProgress
from entra_pipeline.settings import Settings

MODULE: Final = "entra_pipeline.definitions"
LOCATION: Final = "entra_pipeline"
REPOSITORY: Final = "__repository__"


class SyncNotStartedError(RuntimeError):
    """The run ended before it opened its sync; the message says why."""


@dataclass(frozen=True)
class SyncReport:
    """What a sync did: its record in the books, its tables, and what failed beside tables."""

    run_id: str
    record: SyncRecord
    statuses: Mapping[str, TableStatus]
    problems: tuple[str, ...] = field(default=())
    reconciled: Mapping[str, Reconciled] = field(default_factory=dict)

    @property
    def sync_id(self) -> str:
        """The id of the sync in the books."""
        return self.record.sync_id

    @property
    def outcome(self) -> Outcome:
        """How the sync ended."""
        return self.record.outcome

    def to_json(self) -> dict[str, Any]:
        """One JSON document: `sync`, `tables` by name, `problems`."""
        record = self.record
        return {
            "sync": {
                "id": record.sync_id,
                "run_id": self.run_id,
                "kind": record.kind,
                "started": rfc3339(record.started),
                "finished": rfc3339(record.finished) if record.finished else None,
                "outcome": record.outcome.value,
                **asdict(record.counters),
            },
            "tables": [
                {
                    **asdict(status),
                    "status": status.status.value,
                    "as_of": rfc3339(status.as_of) if status.as_of else None,
                    "notes": dict(status.notes),
                }
                for _, status in sorted(self.statuses.items())
            ],
            "problems": list(self.problems),
            "reconciled": [
                {"table": name, "rows": found.rows, "differences": found.differences}
                for name, found in sorted(self.reconciled.items())
            ],
        }


def run_sync(
    settings: Settings,
    only: Collection[str] | None = None,
    full: bool = False,
    accept_shrink: Iterable[str] = (),
    progress: OnProgress | None = None,
    *,
    reconcile: bool = False,
    home: Path | None = None,
    verbose: bool = False,
) -> SyncReport:
    """Sync in this process and return what came of it, failed tables included.

    `only` names the tables to read (None: all but the slow ones); what is derived is always built
    and published. `progress` is called from reading threads; if it has a method `note`, that is
    called with a line for each later step. `reconcile`: compare the tables that are kept by what
    changed with a full read. `home` is Dagster's home (None: DAGSTER_HOME, or the
    data directory's own). Dagster's log stays off standard error unless `verbose`.

    Raises:
        DirectoryError: the data directory is another tenant's, or another sync holds it.
        HomeError: Dagster's storage cannot be opened.
        SyncNotStartedError: the run failed before it could begin.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the run and the sync, if they had begun, have ended.
    """
    # The composition root imports assets, which import this package.
    from entra_pipeline.definitions import build_definitions

    wanted = sorted(only or ())
    directory = DataDirectory.claim(settings.data_dir, settings.tenant_id)
    with (
        interrupts.heard(),
        directory.lock(),
        homes.open_instance(homes.prepare(homes.choose(settings, os.environ, home))) as instance,
    ):
        close_dead_runs(instance, directory.path, None)
        definitions = build_definitions(settings, on_progress=progress, holding_lock=True)
        job = definitions.resolve_job_def(jobs.job_for(wanted))
        config = {"only": wanted, "full": full, "accept_shrink": sorted(accept_shrink)}
        config["reconcile"] = reconcile
        tags = {DATA_TAG: data_tag(directory.path)}
        run_id, problems = run_here(instance, job, {READ_STEP: config}, tags, verbose=verbose)
        finished = instance.get_run_by_id(run_id)
        sync_id = finished.tags.get(SYNC_TAG) if finished else None
        return _report(Books(directory), run_id, sync_id, problems)


def run_here(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    config: Mapping[str, Mapping[str, Any]],
    tags: Mapping[str, str],
    *,
    verbose: bool = False,
) -> tuple[str, list[str]]:
    """Run a job in this process; the run's id and a line for each step that failed.

    `config` is that of its steps, by name. Raises KeyboardInterrupt after Ctrl-C or SIGTERM
    that kept the run from its end.
    """
    level = "DEBUG" if verbose else "CRITICAL"
    run = instance.create_run_for_job(
        job,
        run_config={
            "ops": {step: {"config": {**given}} for step, given in config.items()},
            "loggers": {"console": {"config": {"log_level": level}}},
        },
        tags={**job.run_tags, **tags},
        remote_job_origin=_origin(job.name),
    )
    interrupts.check()
    try:
        events = [
            event
            for event in execute_run_iterator(InMemoryJob(job), run, instance)
            if event.is_failure or event.event_type is dg.DagsterEventType.RUN_SUCCESS
        ]
    except DagsterExecutionInterruptedError:
        raise KeyboardInterrupt from None
    if not any(event.event_type is dg.DagsterEventType.RUN_SUCCESS for event in events):
        # Dagster ended the run in order; whoever pressed Ctrl-C expects to see it. An interrupt
        # that came when the run had done its work leaves nothing to be told.
        interrupts.check()
    return run.run_id, [
        _problem(event)
        for event in events
        if event.is_failure and event.event_type is not dg.DagsterEventType.RUN_FAILURE
    ]


def _report(books: Books, run_id: str, sync_id: str | None, problems: list[str]) -> SyncReport:
    record = next((r for r in books.syncs() if r.sync_id == sync_id), None)
    if record is None:
        raise SyncNotStartedError("; ".join(problems) or "the sync did not begin")
    statuses = {
        name: status for name, status in books.statuses().items() if status.sync_id == sync_id
    }
    reconciled = {n: found for n, found in books.reconciled().items() if found.sync_id == sync_id}
    return SyncReport(run_id, record, statuses, tuple(problems), reconciled)


def _problem(event: dg.DagsterEvent) -> str:
    """One line about a step that failed, with the innermost reason that Dagster kept."""
    error = _innermost(event)
    text = str(event.message if error is None else error.message)
    # The class without the package it lives in, and one line of what may be several.
    text = re.sub(r"^[\w.]+\.(\w+): ", r"\1: ", " ".join(text.split()))
    return f"{event.step_key}: {text}" if event.step_key else text


def _innermost(event: dg.DagsterEvent) -> SerializableErrorInfo | None:
    error: SerializableErrorInfo | None = getattr(event.event_specific_data, "error", None)
    while error is not None and error.cause is not None:
        error = error.cause
    return error


def _origin(job_name: str) -> RemoteJobOrigin:
    """Where the pages find the job of this run: the code location that `serve` also loads."""
    location = location_origin_from_module_name(MODULE, None, None, LOCATION)
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, REPOSITORY), job_name)
