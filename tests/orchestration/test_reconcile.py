"""The job that proves the increments right: its metric, its check, its word in the books."""

from __future__ import annotations

import dagster as dg
import pyarrow as pa
import pytest

from entra_pipeline.cli.tables import statuses
from entra_pipeline.definitions import build_definitions
from entra_pipeline.lake import Books, DataDirectory, Lake
from entra_pipeline.orchestration import specs
from entra_pipeline.orchestration.launch import run_sync
from entra_pipeline.settings import Settings
from entra_pipeline.simulator.process import Simulator
from entra_pipeline.tables import get
from tests.cli.program import cli

ONLY = ["users", "groups", "group_members", "domains"]


@pytest.fixture
def instance(settings: Settings) -> dg.DagsterInstance:
    """Dagster's records of this test alone."""
    return dg.DagsterInstance.ephemeral()


def run(
    settings: Settings, instance: dg.DagsterInstance, job: str, **config: object
) -> dg.ExecuteInProcessResult:
    """A run of the job's reading alone: nothing is derived."""
    definition = build_definitions(settings).resolve_job_def(job)
    return definition.execute_in_process(
        instance=instance,
        asset_selection=[*(specs.key(get(name)) for name in ONLY), specs.BOOKS],
        run_config={"ops": {"read_tables": {"config": {"only": ONLY, **config}}}},
    )


def increments(done: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (found,) = [e for e in done.get_asset_check_evaluations() if e.check_name == "increments"]
    return found


def test_differences_are_a_metric_a_check_and_a_word_in_the_books(
    settings: Settings, instance: dg.DagsterInstance, tenant: Simulator
) -> None:
    first = run(settings, instance, "sync")
    assert first.success
    assert increments(first).passed
    assert increments(first).metadata["tables_compared"].value == 0
    directory = DataDirectory.existing(settings.data_dir)
    lake, books = Lake(directory.lake), Books(directory)
    users, info = lake.read("users"), lake.info("users")
    assert info is not None
    place = users.column_names.index("display_name")
    wrong = users.slice(0, 1).set_column(place, "display_name", pa.array(["Mallory"]))
    lake.amend(
        get("users"),
        upserts=wrong.cast(users.schema),
        sync_id="tampered",
        as_of=info.as_of,
        cursor=info.cursor,
    )
    tenant.mutate(7, 20)
    done = run(settings, instance, "reconcile", reconcile=True, reconcile_pause_s=0.0)
    assert done.success  # it tells, and does not fail
    assert "Mallory" not in lake.read("users")["display_name"].to_pylist()
    check = increments(done)
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert check.metadata["differences"].value == 1
    assert "users" in check.metadata
    assert "groups" not in check.metadata
    made = {e.asset_key.path[-1]: e.metadata for e in _materialisations(done)}
    assert made["users"]["reconcile/differences"].value == 1
    assert made["groups"]["reconcile/differences"].value == 0
    assert made["groups"]["reconcile/rows"].value == made["groups"]["dagster/row_count"].value
    assert "reconcile/differences" not in made["domains"]
    assert books.reconciled()["users"].differences == 1
    assert books.syncs()[0].kind == "only"
    # The verdict stands until somebody looks again.
    assert not increments(run(settings, instance, "sync")).passed
    again = run(settings, instance, "reconcile", reconcile=True, reconcile_pause_s=0.0)
    assert increments(again).passed
    assert books.reconciled()["users"].differences == 0


def _materialisations(done: dg.ExecuteInProcessResult) -> list[dg.AssetMaterialization]:
    return [
        event.step_materialization_data.materialization
        for event in done.all_events
        if event.is_step_materialization
    ]


def test_the_job_compares_without_being_told_to() -> None:
    job = build_definitions().resolve_job_def("reconcile")
    assert job.run_config == {"ops": {"read_tables": {"config": {"reconcile": True}}}}


def test_the_command_compares_and_tells(tenant: Simulator, settings: Settings) -> None:
    run_sync(settings, only=ONLY)
    env = {**tenant.settings_env(), "ENTRA_DATA_DIR": str(settings.data_dir)}
    done = cli("sync", "--reconcile", "--json", "--only", *ONLY, env=env)
    assert done.code == 0, done.out
    compared = {row["table"]: row["differences"] for row in done.json["reconciled"]}
    assert compared == {"users": 0, "groups": 0, "group_members": 0}
    directory = DataDirectory.existing(settings.data_dir)
    status = {row["table"]: row for row in statuses(directory)["tables"]}
    assert status["users"]["reconciled"]["differences"] == 0
    assert status["users"]["reconciled"]["rows"] == status["users"]["rows"]
    assert status["domains"]["reconciled"] is None
