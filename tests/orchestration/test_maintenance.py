"""Maintenance: what is too old goes, also from Dagster's records; what is in use stays."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import StepMaterializationData

from entra_pipeline.definitions import build_definitions, defs
from entra_pipeline.lake import Books, DataDirectory, DirectoryBusyError, Lake
from entra_pipeline.orchestration import home as homes
from entra_pipeline.orchestration.dead_runs import data_tag
from entra_pipeline.orchestration.launch import run_sync
from entra_pipeline.orchestration.maintenance import maintain
from entra_pipeline.orchestration.pruning import prune_runs
from entra_pipeline.orchestration.session import DATA_TAG
from entra_pipeline.settings import Settings
from entra_pipeline.simulator.process import Simulator
from tests.cli.program import cli
from tests.support import settings_for

JOB = defs.resolve_job_def("access")
LATER = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """Dagster's records as we keep them: SQLite, a file for each run."""
    with homes.open_instance(homes.prepare(tmp_path / "home")) as instance:
        yield instance


def ran(
    instance: dg.DagsterInstance,
    data: Path,
    *,
    asset: str | None = None,
    partition: str | None = None,
    ended: bool = True,
) -> str:
    """A run of that data directory that made an asset, or none; its id."""
    run = instance.create_run_for_job(
        JOB, tags={"entra_pipeline/writes": "lake", DATA_TAG: data_tag(data)}
    )
    instance.report_dagster_event(
        dg.DagsterEvent(
            event_type_value=dg.DagsterEventType.RUN_START.value, job_name=run.job_name
        ),
        run.run_id,
    )
    if asset is not None:
        made = dg.AssetMaterialization(asset, partition=partition, tags={"why": "test"})
        instance.report_dagster_event(
            dg.DagsterEvent(
                event_type_value=dg.DagsterEventType.ASSET_MATERIALIZATION.value,
                job_name=run.job_name,
                event_specific_data=StepMaterializationData(made),
            ),
            run.run_id,
        )
    if ended:
        instance.report_dagster_event(
            dg.DagsterEvent(
                event_type_value=dg.DagsterEventType.RUN_SUCCESS.value, job_name=run.job_name
            ),
            run.run_id,
        )
    return run.run_id


def log_of(tmp_path: Path, run_id: str) -> Path:
    return tmp_path / "home" / "history" / "runs" / f"{run_id}.db"


def test_ended_runs_go_with_their_logs_and_running_ones_stay(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    ended, running = ran(instance, tmp_path), ran(instance, tmp_path, ended=False)
    elsewhere = ran(instance, tmp_path / "elsewhere")
    assert log_of(tmp_path, ended).exists()
    assert prune_runs(instance, tmp_path, datetime.now(UTC) - timedelta(hours=1)) == 0
    assert prune_runs(instance, tmp_path, LATER) == 1
    assert {run.run_id for run in instance.get_runs()} == {running, elsewhere}
    assert list(log_of(tmp_path, ended).parent.glob(f"{ended}*")) == []
    assert instance.all_logs(running)
    assert instance.all_logs(elsewhere)
    assert prune_runs(instance, tmp_path, LATER) == 0


def test_the_run_that_made_an_assets_latest_version_stays(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    first = ran(instance, tmp_path, asset="users")
    latest = ran(instance, tmp_path, asset="users")
    seldom = ran(instance, tmp_path, asset="synchronization_jobs")
    for _ in range(3):
        ran(instance, tmp_path)
    assert prune_runs(instance, tmp_path, LATER) == 4
    assert {run.run_id for run in instance.get_runs()} == {latest, seldom}
    assert not instance.has_run(first)
    event = instance.get_latest_materialization_event(dg.AssetKey("users"))
    assert event is not None
    assert event.run_id == latest


def test_days_that_were_read_are_still_known_to_be_read(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    for day in ("2026-11-01", "2026-11-02", "2026-11-01", "2026-11-03"):
        ran(instance, tmp_path, asset="sign_ins", partition=day)
    key = dg.AssetKey("sign_ins")
    assert prune_runs(instance, tmp_path, LATER) == 3
    assert set(instance.get_materialized_partitions(key)) == {
        "2026-11-01",
        "2026-11-02",
        "2026-11-03",
    }
    records = instance.fetch_materializations(key, limit=10).records
    assert len(records) == 3  # of the day that was read twice only the second


def test_logs_whose_run_was_deleted_in_the_pages_are_swept_away(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    deleted, kept = ran(instance, tmp_path), ran(instance, tmp_path, ended=False)
    instance.delete_run(deleted)
    left = log_of(tmp_path, deleted)
    assert left.exists()
    then = time.time() - 86_400
    for path in left.parent.glob("*.db"):
        os.utime(path, (then, then))
    prune_runs(instance, tmp_path, datetime.now(UTC) - timedelta(hours=1))
    assert not left.exists()
    assert log_of(tmp_path, kept).exists()
    assert (left.parent / "index.db").exists()


@pytest.fixture(scope="module")
def synced(tenant: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A directory after two syncs, with a change between them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DAGSTER_HOME", raising=False)
        settings = settings_for(tenant, tmp_path_factory.mktemp("synced") / "data")
        only = ["users", "groups", "group_members"]
        run_sync(settings, only=only)
        tenant.mutate(5, 40)
        run_sync(settings, only=only)
    return settings


def test_the_job_maintains_and_says_what_it_did(synced: Settings) -> None:
    settings = synced.model_copy(update={"dagster_run_days": 0})
    job = build_definitions(settings).resolve_job_def("maintenance")
    lake = Lake(DataDirectory.existing(settings.data_dir).lake)
    before = lake.changes("users")
    with homes.open_instance(settings.data_dir / ".dagster") as instance:
        done = job.execute_in_process(instance=instance)
        assert done.success
        run = instance.get_run_by_id(done.run_id)
        assert run is not None
        assert run.tags["entra_pipeline/writes"] == "lake"
        assert run.tags[DATA_TAG] == data_tag(settings.data_dir)
        outputs = [e for e in done.all_events if e.is_successful_output]
        metadata = outputs[0].step_output_data.metadata
        assert metadata["dagster_runs_removed"].value == 0
        assert metadata["bytes_after"].value > 0
    assert lake.changes("users").equals(before)
    assert not DataDirectory.existing(settings.data_dir).is_locked()


def test_history_and_books_go_as_old_as_the_setting_says(synced: Settings) -> None:
    directory = DataDirectory.existing(synced.data_dir)
    books, lake = Books(directory), Lake(directory.lake)
    statuses = books.statuses()
    syncs = books.syncs()
    with directory.lock():
        assert books.prune(syncs[0].started) == 0  # the one before it ended then
        assert books.prune(LATER) == 1
    assert [sync.sync_id for sync in books.syncs()] == [syncs[0].sync_id]
    assert books.statuses() == statuses
    info = lake.info("users")
    assert info is not None
    with directory.lock():
        done = maintain(synced.model_copy(update={"history_days": 0}), directory, None)
    assert done.problems == {}
    assert done.known_since["users"] == info.known_since


def test_a_sync_under_way_is_left_alone(synced: Settings, tenant: Simulator) -> None:
    directory = DataDirectory.existing(synced.data_dir)
    env = {**tenant.settings_env(), "ENTRA_DATA_DIR": str(synced.data_dir)}
    with directory.lock(command="a sync"):
        done = cli("maintain", "--json", env=env)
    assert done.code == 3
    assert "a sync" in done.json["error"]["message"]
    with directory.lock(), pytest.raises(DirectoryBusyError), directory.lock():
        pass


def test_the_command_does_the_same_without_dagster(synced: Settings, tenant: Simulator) -> None:
    env = {**tenant.settings_env(), "ENTRA_DATA_DIR": str(synced.data_dir)}
    # No sign-in is needed for it.
    del env["ENTRA_CLIENT_SECRET"]
    done = cli("maintain", "--json", env=env)
    assert done.code == 0, done.out + done.err
    document = done.json
    assert document["problems"] == []
    assert {"users", "groups", "group_members"} <= {t["table"] for t in document["tables"]}
    assert json.dumps(document)
    people = cli("maintain", env=env)
    assert people.code == 0
    assert "Dagster runs removed" in people.out
