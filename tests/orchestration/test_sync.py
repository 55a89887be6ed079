"""A sync as a Dagster run: what it leaves in the lake, the books, the warehouse and Dagster."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from entra_pipeline.definitions import build_definitions
from entra_pipeline.extract.extraction import Progress
from entra_pipeline.lake import Books, DataDirectory, DirectoryBusyError, Lake, Outcome
from entra_pipeline.orchestration import jobs
from entra_pipeline.orchestration.launch import SyncReport, run_sync
from entra_pipeline.orchestration.session import Sync
from entra_pipeline.settings import Settings
from entra_pipeline.simulator.process import Simulator
from entra_pipeline.tables import Status
from tests.support import settings_for


@dataclass
class Done:
    """A sync and what it said on the way."""

    settings: Settings
    report: SyncReport
    progress: list[Progress]

    @property
    def instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.from_config(str(self.settings.data_dir / ".dagster"))


@pytest.fixture(scope="module")
def done(tenant: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Done:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DAGSTER_HOME", raising=False)
        settings = settings_for(tenant, tmp_path_factory.mktemp("done") / "data")
        progress: list[Progress] = []
        report = run_sync(settings, progress=progress.append)
    return Done(settings, report, progress)


def test_a_sync_succeeds_and_reports_every_table_but_the_slow_ones(done: Done) -> None:
    assert done.report.problems == ()
    assert done.report.outcome is Outcome.SUCCEEDED
    assert set(done.report.statuses) == set(jobs.table_names(slow=False))
    assert {s.status for s in done.report.statuses.values()} == {Status.COMPLETE}
    document = json.loads(json.dumps(done.report.to_json()))
    assert document["sync"]["requests"] >= document["sync"]["round_trips"] > 0
    assert document["sync"]["outcome"] == "succeeded"
    assert [t["table"] for t in document["tables"]] == sorted(done.report.statuses)


def test_progress_is_told_while_it_goes(done: Done) -> None:
    assert {p.table for p in done.progress if p.status} == set(done.report.statuses)


def test_the_published_warehouse_answers_and_knows_its_sync(done: Done) -> None:
    with duckdb.connect(str(done.settings.data_dir / "warehouse.duckdb"), read_only=True) as file:
        assert file.sql("SELECT count(*) FROM users").fetchall() == [
            (done.report.statuses["users"].rows,)
        ]
        assert file.sql("SELECT sync_id, outcome FROM syncs").fetchall() == [
            (done.report.sync_id, "succeeded")
        ]
        grants = file.sql("SELECT count(*) FROM grants").fetchall()[0][0]
    assert grants > 0
    assert list((done.settings.data_dir / "warehouse").glob("stage*")) == []


def test_dagster_shows_the_run_its_tables_and_its_checks(done: Done) -> None:
    with done.instance as instance:
        run = instance.get_run_by_id(done.report.run_id)
        assert run is not None
        assert run.status is dg.DagsterRunStatus.SUCCESS
        assert run.job_name == "sync"
        assert run.remote_job_origin is not None
        assert run.remote_job_origin.location_name == "entra_pipeline"
        for name, status in done.report.statuses.items():
            event = instance.get_latest_materialization_event(dg.AssetKey(name))
            assert event is not None, name
            assert event.asset_materialization is not None
            metadata = event.asset_materialization.metadata
            assert metadata["dagster/row_count"].value == status.rows
            assert metadata["status"].value == "complete"
            assert metadata["cost/round_trips"].value == status.round_trips
        for name in ("principals", "grants", "table_status", "warehouse"):
            assert instance.get_latest_materialization_event(dg.AssetKey(name)) is not None
        events = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        evaluated = [e.dagster_event.event_specific_data for e in events if e.dagster_event]
        failed = {(e.asset_key.path[-1], e.check_name) for e in evaluated if not e.passed}
        assert {check for _, check in failed} <= {"references"}
        assert len(evaluated) > 3 * len(done.report.statuses)


def test_dagsters_records_hold_nobodys_name_and_no_secret(done: Done, tenant: Simulator) -> None:
    users = tenant.truth("users")
    people = {user["userPrincipalName"].encode() for user in users}
    people |= {user["displayName"].encode() for user in users if " " in user["displayName"]}
    secret = tenant.info.client_secret.encode()
    home = done.settings.data_dir / ".dagster"
    files = [path for path in home.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files)
    for path in files:
        content = path.read_bytes()
        assert secret not in content, path
        assert not [person for person in people if person in content], path


def test_a_second_sync_is_told_who_holds_the_directory_and_leaves_no_run(
    done: Done, tmp_path: Path
) -> None:
    directory = DataDirectory.claim(done.settings.data_dir, done.settings.tenant_id)
    with (
        directory.lock(command="the first sync"),
        pytest.raises(DirectoryBusyError, match="the first sync"),
    ):
        run_sync(done.settings)
    with done.instance as instance:
        assert instance.get_runs_count() == 1


def test_only_some_tables_can_be_read_and_what_is_derived_follows(
    tenant: Simulator, settings: Settings
) -> None:
    first = run_sync(settings, only=["users"])
    assert set(first.statuses) == {"users"}
    assert first.outcome is Outcome.SUCCEEDED
    assert first.record.kind == "only"
    assert first.record.tables == ("users",)
    slow = run_sync(settings, only=["user_registration_details", "users"])
    assert set(slow.statuses) == {"users", "user_registration_details"}
    with duckdb.connect(str(settings.data_dir / "warehouse.duckdb"), read_only=True) as file:
        statuses = dict(file.sql('SELECT "table", status FROM table_status').fetchall())
    assert statuses["users"] == "complete"
    assert statuses["groups"] == "never"


def test_a_home_of_somebodys_choice_is_used(settings: Settings, tmp_path: Path) -> None:
    report = run_sync(settings, only=["organization"], home=tmp_path / "home")
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        assert instance.has_run(report.run_id)
    assert not (settings.data_dir / ".dagster").exists()


def test_a_reading_that_is_abandoned_half_way_leaves_no_thread_behind(
    tenant: Simulator, settings: Settings
) -> None:
    """An interrupt may come between two statuses; the frame then lives on in a traceback."""
    directory = DataDirectory.claim(settings.data_dir, settings.tenant_id)
    books, before = Books(directory), set(threading.enumerate())
    with directory.lock():
        sync = Sync(
            settings=settings,
            directory=directory,
            lake=Lake(directory.lake),
            books=books,
            sync_id=books.begin_sync("test", ["users", "groups"]),
            run_id="a-run",
            publishes=False,
        )
        abandoned = sync.read(["users", "groups"], full=False, accept_shrink=frozenset())
        assert next(abandoned).table in {"users", "groups"}
        sync.close()
    left = set(threading.enumerate()) - before
    assert [thread.name for thread in left if not thread.daemon] == []
    abandoned.close()


def test_checks_can_be_run_by_themselves_on_what_is_stored(done: Done) -> None:
    key = dg.AssetKey("group_members")
    job = build_definitions(done.settings).resolve_implicit_global_asset_job_def()
    names = ["schema", "key", "references"]
    with done.instance as instance:
        result = job.get_subset(
            asset_selection=set(), asset_check_selection={dg.AssetCheckKey(key, n) for n in names}
        ).execute_in_process(instance=instance)
    evaluated = {e.check_name: e.passed for e in result.get_asset_check_evaluations()}
    assert evaluated == dict.fromkeys(names, True)
    assert result.asset_materializations_for_node("read_tables") == []
