"""A table that fails: its neighbours go on, the run ends failed, somebody is told once."""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg
import duckdb
import pytest
from pydantic import SecretStr

from entra_pipeline.lake import Outcome
from entra_pipeline.orchestration import alerts
from entra_pipeline.orchestration.launch import SyncReport, run_sync
from entra_pipeline.settings import Settings
from entra_pipeline.simulator.process import Simulator
from entra_pipeline.tables import Status
from tests.orchestration.listener import listening
from tests.support import settings_for

# The devices' list answers with something that no retry mends.
BROKEN = {
    "match": {"method": "GET", "path": "/devices"},
    "when": "before",
    "respond": {
        "status": 400,
        "body": {"error": {"code": "BadRequest", "message": "planted by the test"}},
    },
}
READ = ["organization", "devices", "subscribed_skus"]


@dataclass
class Failed:
    """The sync that failed, after one that did not."""

    settings: Settings
    before: SyncReport
    report: SyncReport


@pytest.fixture(scope="module")
def failed(tenant: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Failed:
    settings = settings_for(tenant, tmp_path_factory.mktemp("failed") / "data")
    before = run_sync(settings, only=READ)
    tenant.faults([BROKEN])
    try:
        report = run_sync(settings, only=READ)
    finally:
        tenant.faults([])
    return Failed(settings, before, report)


def instance_of(settings: Settings) -> dg.DagsterInstance:
    return dg.DagsterInstance.from_config(str(settings.data_dir / ".dagster"))


def test_a_failed_table_does_not_fail_its_neighbours(failed: Failed) -> None:
    assert failed.before.outcome is Outcome.SUCCEEDED
    statuses = failed.report.statuses
    assert statuses["devices"].status is Status.FAILED
    assert statuses["organization"].status is Status.COMPLETE
    assert statuses["subscribed_skus"].status is Status.COMPLETE
    assert failed.report.outcome is Outcome.FAILED
    with duckdb.connect(
        str(failed.settings.data_dir / "warehouse.duckdb"), read_only=True
    ) as warehouse:
        published = dict(
            warehouse.sql('SELECT "table", (status, rows) FROM table_status').fetchall()
        )
        kept = warehouse.sql("SELECT count(*) FROM devices").fetchall()[0][0]
        last = warehouse.sql("SELECT max(sync_id) FROM syncs").fetchall()[0][0]
    assert last == failed.report.sync_id
    assert published["devices"][0] == "failed"
    assert kept == failed.before.statuses["devices"].rows > 0


def test_the_run_fails_in_its_last_step_after_everything_else_was_published(
    failed: Failed,
) -> None:
    with instance_of(failed.settings) as instance:
        run = instance.get_run_by_id(failed.report.run_id)
        assert run is not None
        assert run.status is dg.DagsterRunStatus.FAILURE
        steps = instance.get_run_step_stats(failed.report.run_id)
        bad = [s.step_key for s in steps if s.status and s.status.value != "SUCCESS"]
        assert bad == ["warehouse_every_table_settled"]
    (problem,) = failed.report.problems
    assert problem.startswith("warehouse_every_table_settled")


def test_a_table_that_was_not_refreshed_is_observed_and_not_materialised(failed: Failed) -> None:
    with instance_of(failed.settings) as instance:
        key = dg.AssetKey("devices")
        last = instance.get_latest_materialization_event(key)
        assert last is not None
        assert last.run_id == failed.before.run_id
        (seen,) = instance.fetch_observations(key, limit=1).records
        assert seen.run_id == failed.report.run_id
        assert seen.asset_observation is not None
        assert seen.asset_observation.metadata["status"].value == "failed"
        (check,) = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(key, "complete"), limit=1
        )
        assert check.status.value == "FAILED"


@pytest.mark.parametrize(
    ("answers", "posts"), [((204,), 1), ((503, 204), 2)], ids=["taken", "taken at the second try"]
)
def test_an_alert_is_posted_until_it_is_taken_and_never_again(
    failed: Failed, answers: tuple[int, ...], posts: int
) -> None:
    with listening(answers) as listener, instance_of(failed.settings) as instance:
        settings = failed.settings.model_copy(update={"alert_webhook_url": SecretStr(listener.url)})
        run = instance.get_run_by_id(failed.report.run_id)
        assert run is not None
        alerts.deliver(alerts.describe(run, ["warehouse_every_table_settled"], settings), settings)
        assert len(listener.got) == posts
        told = listener.got[-1]
    assert told["event"] == "run_failed"
    assert told["run_id"] == failed.report.run_id
    assert told["sync_id"] == failed.report.sync_id
    assert [(t["table"], t["status"]) for t in told["tables"]] == [("devices", "failed")]
    assert "devices failed" in told["text"]


def test_an_alert_that_is_refused_is_an_error_that_keeps_the_address_secret(
    failed: Failed,
) -> None:
    with listening([403]) as listener, instance_of(failed.settings) as instance:
        settings = failed.settings.model_copy(update={"alert_webhook_url": SecretStr(listener.url)})
        run = instance.get_run_by_id(failed.report.run_id)
        assert run is not None
        with pytest.raises(alerts.AlertNotDeliveredError) as raised:
            alerts.deliver(alerts.describe(run, [], settings), settings)
        assert len(listener.got) == 1
    assert "hunter2" not in str(raised.value)
    assert "403" in str(raised.value)
