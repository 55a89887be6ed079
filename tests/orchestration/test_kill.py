"""SIGKILL at any moment of a sync: what was published answers as before, the next sync repairs.

What can be asked to end, and ends in order, is in `test_interrupts`.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from entra_pipeline.lake import Books, DataDirectory, Lake, Outcome
from entra_pipeline.orchestration.dead_runs import UNFINISHED
from entra_pipeline.orchestration.launch import run_sync
from entra_pipeline.settings import Settings
from entra_pipeline.simulator.process import Simulator
from entra_pipeline.tables import TABLES
from tests.forking import CONTEXT
from tests.support import settings_for

# Dated by the sync itself, not by the tenant.
BOOKKEEPING = {"syncs", "table_status", "usage_coverage"}

Content = dict[str, list[tuple[object, ...]]]


def content(warehouse: Path) -> Content:
    """Every row of every table that the registry declares, bookkeeping aside."""
    with duckdb.connect(str(warehouse), read_only=True) as file:
        return {
            name: sorted(file.sql(f'SELECT * FROM "{name}"').fetchall(), key=repr)
            for name in TABLES
            if name not in BOOKKEEPING
        }


def stored(data_dir: Path) -> dict[str, str | None]:
    """The digest of each table in the lake."""
    lake = Lake(data_dir / "lake")
    found = {name: lake.info(name) for name, t in TABLES.items() if t.group == "directory"}
    return {name: info.digest if info else None for name, info in found.items()}


@dataclass
class Stages:
    """A tenant synced before it changed, the same synced after, and how long a sync takes."""

    simulator: Simulator
    before: Path
    before_content: Content
    after: Path
    after_content: Content
    seconds: float


@pytest.fixture(scope="module")
def stages(tenant: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Stages:
    path = tmp_path_factory.mktemp("stages")
    assert run_sync(settings_for(tenant, path / "before")).outcome is Outcome.SUCCEEDED
    tenant.mutate(seed=3, changes=40)
    # The undisturbed sync starts from the same state as the disturbed ones.
    shutil.copytree(path / "before", path / "after", symlinks=True)
    started = time.monotonic()
    assert run_sync(settings_for(tenant, path / "after")).outcome is Outcome.SUCCEEDED
    seconds = time.monotonic() - started
    before, after = (content(path / name / "warehouse.duckdb") for name in ("before", "after"))
    assert before != after
    return Stages(tenant, path / "before", before, path / "after", after, seconds)


def start(settings: Settings, simulator: Simulator) -> BaseProcess:
    """A sync in a process of its own, past its imports."""
    environment = {**simulator.settings_env(), "ENTRA_DATA_DIR": str(settings.data_dir)}
    said, says = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_sync, args=(says, environment), daemon=True)
    process.start()
    says.close()
    assert said.poll(60), "the sync did not begin"
    assert said.recv() == "begins"
    return process


def _sync(says: Connection, environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    os.chdir(environment["ENTRA_DATA_DIR"])
    settings = Settings.load()
    says.send("begins")
    run_sync(settings)


def kill_and_repair(stages: Stages, data_dir: Path, moment: float) -> bool:
    """Kill a sync after `moment` seconds and check what must hold; whether it was cut short."""
    shutil.copytree(stages.before, data_dir, symlinks=True)
    settings = settings_for(stages.simulator, data_dir)
    process = start(settings, stages.simulator)
    process.join(moment)
    process.kill()
    process.join()
    cut_short = process.exitcode == -signal.SIGKILL

    assert content(data_dir / "warehouse.duckdb") in (stages.before_content, stages.after_content)
    old, new, now = stored(stages.before), stored(stages.after), stored(data_dir)
    assert {name for name in now if now[name] not in (old[name], new[name])} == set()

    assert run_sync(settings).outcome is Outcome.SUCCEEDED
    assert content(data_dir / "warehouse.duckdb") == stages.after_content
    assert stored(data_dir) == new
    outcomes = [record.outcome for record in Books(DataDirectory.existing(data_dir)).syncs()]
    assert Outcome.RUNNING not in outcomes
    assert list((data_dir / "warehouse").glob("stage*")) == []
    with dg.DagsterInstance.from_config(str(data_dir / ".dagster")) as instance:
        assert instance.get_runs(dg.RunsFilter(statuses=list(UNFINISHED))) == []
        failed = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
    # A run that was killed before Dagster knew of it needs no closing.
    assert len(failed) <= int(cut_short)
    return cut_short


@pytest.mark.parametrize(
    "part",
    [
        pytest.param((0.1, 0.5), id="early"),
        pytest.param((0.5, 0.9), id="late", marks=pytest.mark.soak),
    ],
)
def test_a_killed_sync_leaves_what_was_published_and_the_next_one_repairs(
    stages: Stages, tmp_path: Path, part: tuple[float, float]
) -> None:
    moment = stages.seconds * random.Random(repr(part)).uniform(*part)
    kill_and_repair(stages, tmp_path / "data", moment)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_ten_random_moments(stages: Stages, tmp_path: Path) -> None:
    chance = random.Random(20)
    cut_short = [
        kill_and_repair(stages, tmp_path / str(n), stages.seconds * chance.uniform(0.0, 1.0))
        for n in range(10)
    ]
    assert sum(cut_short) >= 5


def test_a_run_that_vanished_is_closed_by_the_next_sync(stages: Stages, tmp_path: Path) -> None:
    """Killed while it waits for an answer of the tenant: surely in the middle of its steps."""
    data_dir = tmp_path / "data"
    shutil.copytree(stages.before, data_dir, symlinks=True)
    settings = settings_for(stages.simulator, data_dir)
    stages.simulator.faults([{"match": {"path": "/v1.0/devices"}, "delay_ms": 60_000}])
    try:
        process = start(settings, stages.simulator)
        home = str(data_dir / ".dagster")
        with dg.DagsterInstance.from_config(home) as instance:
            deadline = time.monotonic() + 60
            running: list[dg.DagsterRun] = []
            while not running and time.monotonic() < deadline:
                time.sleep(0.2)
                running = list(
                    instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
                )
            assert running
            time.sleep(1)
            process.kill()
            process.join()
            (run,) = running
    finally:
        stages.simulator.faults([])
    run_sync(settings, only=["organization"])
    with dg.DagsterInstance.from_config(home) as instance:
        closed = instance.get_run_by_id(run.run_id)
    assert closed is not None
    assert closed.status is dg.DagsterRunStatus.FAILURE
    syncs = {r.sync_id: r.outcome for r in Books(DataDirectory.existing(data_dir)).syncs()}
    assert list(syncs.values()).count(Outcome.DIED) == 1
