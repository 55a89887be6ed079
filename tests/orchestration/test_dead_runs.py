"""Which unfinished runs count as dead, for whoever holds the data directory's lock."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from entra_pipeline.definitions import defs
from entra_pipeline.orchestration.dead_runs import close_dead_runs, data_tag
from entra_pipeline.orchestration.session import DATA_TAG

JOB = defs.resolve_job_def("access")
WRITES = {"entra_pipeline/writes": "lake"}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def started(instance: dg.DagsterInstance, tags: dict[str, str]) -> str:
    run = instance.create_run_for_job(JOB, tags={**WRITES, **tags})
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.RUN_START.value, job_name=run.job_name
    )
    instance.report_dagster_event(event, run.run_id)
    assert status(instance, run.run_id) is dg.DagsterRunStatus.STARTED
    return run.run_id


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def server(path: Path) -> dict[str, str]:
    return {".dagster/grpc_info": json.dumps({"host": "localhost", "socket": str(path)})}


def test_runs_that_held_this_directorys_lock_are_dead_and_others_are_not_touched(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    dead = started(instance, {DATA_TAG: data_tag(here)})
    own = started(instance, {DATA_TAG: data_tag(here)})
    elsewhere = started(instance, {DATA_TAG: data_tag(there)})
    assert close_dead_runs(instance, here, own) == 1
    assert status(instance, dead) is dg.DagsterRunStatus.FAILURE
    assert status(instance, own) is dg.DagsterRunStatus.STARTED
    assert status(instance, elsewhere) is dg.DagsterRunStatus.STARTED
    assert close_dead_runs(instance, here, own) == 0


def test_a_run_that_died_before_it_had_the_lock_is_known_by_its_code_server(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(tmp_path / "alive.sock"))
        alive.listen()
        with socket.socket(socket.AF_UNIX) as closed:
            closed.bind(str(tmp_path / "closed.sock"))
        waiting = started(instance, server(tmp_path / "alive.sock"))
        refused = started(instance, server(tmp_path / "closed.sock"))
        gone = started(instance, server(tmp_path / "gone.sock"))
        untold = started(instance, {})
        assert close_dead_runs(instance, tmp_path, None) == 2
    assert status(instance, waiting) is dg.DagsterRunStatus.STARTED
    assert status(instance, untold) is dg.DagsterRunStatus.STARTED
    assert status(instance, refused) is dg.DagsterRunStatus.FAILURE
    assert status(instance, gone) is dg.DagsterRunStatus.FAILURE


def test_the_tag_of_a_directory_does_not_tell_its_path(tmp_path: Path) -> None:
    assert data_tag(tmp_path) == data_tag(Path(str(tmp_path)))
    assert data_tag(tmp_path / "a") != data_tag(tmp_path / "b")
    assert tmp_path.name not in data_tag(tmp_path)
