"""The one resource: an open sync, for as long as a run lasts.

With the in-process executor a resource lives from before the first step to after the last, so the
lock, the books and the repair of what died are in one place for every run, whether the command
line, the pages, a schedule or GraphQL started it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import dagster as dg

from entra_pipeline.extract import reconcile
from entra_pipeline.lake import Books, DataDirectory, Lake, Outcome
from entra_pipeline.orchestration import jobs, specs
from entra_pipeline.orchestration.dead_runs import close_dead_runs, data_tag
from entra_pipeline.orchestration.session import DATA_TAG, SYNC_TAG, OnProgress, Sync
from entra_pipeline.settings import Settings

# A run from the queue waits for a sync that somebody started by hand, and not for ever.
LOCK_WAIT_S: Final = 900.0

READ_STEP: Final = "read_tables"
_PUBLISHING: Final = frozenset({jobs.SYNC, jobs.SLOW, jobs.EVERYTHING, jobs.ACCESS, jobs.RECONCILE})


def sync_resource(
    load: Callable[[], Settings],
    *,
    on_progress: OnProgress | None = None,
    holding_lock: bool = False,
) -> dg.ResourceDefinition:
    """The resource `sync`; settings are loaded when a run begins, never when code is loaded.

    `holding_lock` says that this process took the data directory's lock before it started the run.
    """

    @dg.resource(description="The open sync: data directory, lake, books and Graph client.")
    def sync(context: dg.InitResourceContext) -> Iterator[Sync]:
        run, instance = context.run, context.instance
        if run is None or instance is None:
            raise RuntimeError("the resource 'sync' only exists inside a run")
        settings = load()
        directory = DataDirectory.claim(settings.data_dir, settings.tenant_id)
        with ExitStack() as stack:
            if not holding_lock:
                stack.enter_context(
                    directory.lock(wait=LOCK_WAIT_S, command=f"Dagster run {run.run_id[:8]}")
                )
            instance.add_run_tags(run.run_id, {DATA_TAG: data_tag(directory.path)})
            close_dead_runs(instance, directory.path, run.run_id)
            books = Books(directory)
            books.close_dead_syncs(holding_lock=True)
            # Again at the end: an interrupt may come as the sync begins.
            stack.callback(books.close_dead_syncs, holding_lock=True)
            _remove(directory.warehouses.glob("stage-*"))
            _remove(directory.path.glob(reconcile.FOLDER))
            kind, planned = _kind(run), _planned(run)
            sync_id = books.begin_sync(kind, planned)
            instance.add_run_tags(run.run_id, {SYNC_TAG: sync_id})
            opened = Sync(
                settings=settings,
                directory=directory,
                lake=Lake(directory.lake),
                books=books,
                sync_id=sync_id,
                run_id=run.run_id,
                publishes=_publishes(run),
                on_progress=on_progress,
            )
            outcome = Outcome.FAILED
            try:
                yield opened
                outcome = opened.outcome
            finally:
                try:
                    opened.close()
                    _remove(directory.warehouses.glob(f"{opened.stage.name}*"))
                finally:
                    books.finish_sync(sync_id, outcome)
                opened.tidy()

    return sync


def _remove(leftovers: Iterable[Path]) -> None:
    for path in leftovers:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _config(run: dg.DagsterRun) -> Mapping[str, Any]:
    given: Any = run.run_config
    for part in ("ops", READ_STEP, "config"):
        given = given.get(part) or {}
    config: Mapping[str, Any] = given
    return config


def _kind(run: dg.DagsterRun) -> str:
    """What was asked for, in a word: the job, or the option that narrows or widens it."""
    config = _config(run)
    if config.get("only") or run.asset_selection is not None:
        return "only"
    if config.get("reconcile"):
        return jobs.RECONCILE
    return "full" if config.get("full") else run.job_name


def _planned(run: dg.DagsterRun) -> list[str]:
    """The names of the tables that a run is to read, as far as its selection says."""
    if run.asset_selection is not None:
        selected = run.asset_selection
        names = [t.name for t in specs.extracted() if specs.key(t) in selected]
    else:
        names = jobs.tables_of(run.job_name)
    only = set(_config(run).get("only") or names)
    return [name for name in names if name in only]


def _publishes(run: dg.DagsterRun) -> bool:
    if run.asset_selection is not None:
        return specs.WAREHOUSE in run.asset_selection
    return run.job_name in _PUBLISHING
