"""What Dagster is told: every table an asset with its documentation and checks, jobs, schedules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.api import create_execution_plan

from entra_pipeline import tables
from entra_pipeline.definitions import defs
from entra_pipeline.orchestration import jobs, specs
from entra_pipeline.tables import Table

GRAPH = defs.resolve_asset_graph()
EXTRACTED = [table for table in tables.TABLES.values() if table.group == "directory"]


def selected(job: str) -> set[str]:
    layer = defs.resolve_job_def(job).asset_layer
    return {key.path[-1] for key in layer.selected_asset_keys}


def test_definitions_load_without_any_setting_and_from_anywhere(tmp_path: Path) -> None:
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import dagster as dg; from entra_pipeline.definitions import defs; "
            "dg.Definitions.validate_loadable(defs); print('valid')",
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "valid\n"


@pytest.mark.parametrize("table", tables.TABLES.values(), ids=lambda table: table.name)
def test_every_table_is_an_asset_made_from_its_declaration(table: Table) -> None:
    node = GRAPH.get(dg.AssetKey(table.name))
    assert node.description == table.doc
    assert node.group_name == table.group
    assert node.owners == ["team:identity"]
    assert node.kinds
    assert node.code_version == str(table.version)
    assert node.freshness_policy is not None
    schema = node.metadata["dagster/column_schema"]
    assert [(c.name, c.description) for c in schema.columns] == [
        (c.name, c.doc) for c in table.columns
    ]


@pytest.mark.parametrize("table", tables.TABLES.values(), ids=lambda table: table.name)
def test_every_table_has_its_checks_and_those_that_protect_readers_block(table: Table) -> None:
    checks = {
        key.name: GRAPH.get_check_spec(key).blocking
        for key in GRAPH.get_check_keys_for_assets({dg.AssetKey(table.name)})
    }
    expected = {"schema": True, "key": True}
    if table.references:
        expected["references"] = False
    if table.group == "directory":
        expected["complete"] = False
    assert checks == expected


def test_sync_holds_everything_but_the_slow_tables_and_publishes() -> None:
    slow = {table.name for table in EXTRACTED if table.slow}
    assert slow == {
        "user_sign_in_activity",
        "user_registration_details",
        "synchronization_jobs",
    }
    assert selected("sync") == {*tables.TABLES, "books", "warehouse"} - slow
    assert selected("everything") == {*tables.TABLES, "books", "warehouse"}
    derived = {t.name for t in tables.TABLES.values() if t.group in ("access", "bookkeeping")}
    assert selected("slow") == {*slow, *derived, "books", "warehouse"}
    assert selected("access") == {*derived, "warehouse"}
    assert selected("reconcile") == selected("sync")
    assert selected("directory") == {*(table.name for table in EXTRACTED), "books"}


def test_the_smallest_publishing_job_is_chosen_for_tables() -> None:
    assert jobs.job_for([]) == "sync"
    assert jobs.job_for(["users", "groups"]) == "sync"
    assert jobs.job_for(["user_sign_in_activity"]) == "slow"
    assert jobs.job_for(["users", "user_sign_in_activity"]) == "everything"


def test_the_warehouse_waits_for_the_blocking_checks_of_what_is_derived() -> None:
    steps = {step.key: step for step in create_execution_plan(defs.resolve_job_def("sync")).steps}
    before = {
        handle.step_key
        for step_input in steps["warehouse"].step_inputs
        for handle in step_input.get_step_output_handle_dependencies()
    }
    assert {f"check_{table.name}" for table in specs.derived()} <= before


def test_schedules_start_switched_off_and_alerts_switched_on() -> None:
    repository = defs.get_repository_def()
    scheduled = {schedule.job_name for schedule in repository.schedule_defs}
    assert scheduled >= {"sync", "slow", "reconcile", "maintenance"}
    for schedule in repository.schedule_defs:
        assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    sensor = repository.get_sensor_def("failed_run_alert")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING


def test_a_run_can_be_asked_for_what_the_command_line_can_ask() -> None:
    fields = defs.resolve_job_def("sync").run_config_schema.config_type.fields["ops"]
    config = fields.config_type.fields["read_tables"].config_type.fields["config"].config_type
    assert set(config.fields) >= {"only", "full", "accept_shrink", "reconcile"}
    assert all(field.description for field in config.fields.values())


def test_no_setting_is_part_of_any_run_configuration() -> None:
    """Settings, and the secrets among them, are loaded inside a run: Dagster stores and shows
    run configuration."""
    for job in ("sync", "slow", "everything", "access", "directory"):
        config = defs.resolve_job_def(job).run_config_schema.config_type
        resource = config.fields["resources"].config_type.fields["sync"].config_type
        assert not getattr(resource.fields["config"].config_type, "fields", None), job
