"""A backfill of fourteen days of activity, launched in Dagster's pages, killed, and completed.

Webserver, daemon and code server are the real ones; one test, because starting them takes a while.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.lake.events import Events
from entra_pipeline.orchestration import home as homes
from entra_pipeline.orchestration import serve
from entra_pipeline.simulator.process import Simulator, running
from tests.activity.support import everything
from tests.orchestration.test_served import ask, until
from tests.support import settings_for

DAY = timedelta(days=1)
LAUNCH = """mutation($params: LaunchBackfillParams!) {
    launchPartitionBackfill(backfillParams: $params) { __typename
    ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
BACKFILL = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status runs { id status } } } }"""
MATERIALIZED = """query { assetNodeOrError(assetKey: {path: ["sign_ins"]}) { ... on AssetNode {
    partitionStats { numMaterialized } } } }"""


@pytest.fixture(scope="module")
def busy() -> Iterator[Simulator]:
    """A tenant with a month of sign-ins; events come twice and in no order."""
    with running(
        users=60,
        groups=8,
        seed=22,
        sign_ins_per_day=400,
        audit_days=20,
        log_lag=0,
        log_repeats=5,
        log_disorder=True,
    ) as simulator:
        yield simulator


def children_of(pid: int) -> list[int]:
    """The processes that a process started, and those that they started."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children_of(int(child))]
    return found


@pytest.mark.soak  # at Microsoft's pace of five requests in ten seconds it takes minutes
@pytest.mark.timeout(420)
def test_a_backfill_that_is_killed_is_completed_without_a_loss_or_an_event_twice(
    busy: Simulator, tmp_path: Path
) -> None:
    settings = settings_for(busy, tmp_path / "data", activity_window_minutes=1440)
    home = homes.prepare(tmp_path / "home")
    last = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first = last - 14 * DAY
    days = [(first + number * DAY).date().isoformat() for number in range(14)]
    events = Events(settings.data_dir / "lake")

    with serve.children(serve.environment(settings, os.environ), home) as served:

        def launch() -> str:
            params = {"assetSelection": [{"path": ["sign_ins"]}], "partitionNames": days}
            answer = ask(served.url, LAUNCH, params=params)["launchPartitionBackfill"]
            assert answer["__typename"] == "LaunchBackfillSuccess", answer
            return str(answer["backfillId"])

        def told(backfill: str) -> dict[str, Any]:
            found: dict[str, Any] = ask(served.url, BACKFILL, id=backfill)
            return dict(found["partitionBackfillOrError"])

        def ended(backfill: str) -> dict[str, Any] | None:
            found = told(backfill)
            return found if found["status"].startswith(("COMPLETED", "FAILED")) else None

        backfill = launch()
        until("some days are read", lambda: events.covered("sign_ins") or None, 180)
        time.sleep(1)
        # The worker of the run dies, not the server that started it.
        workers = children_of(served.processes["code server"].pid)
        assert workers
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        killed = until("the first backfill's end", lambda: ended(backfill), 180)
        assert killed["status"] == "COMPLETED_FAILED"
        assert [run["status"] for run in killed["runs"]] == ["FAILURE"]
        (before,) = events.covered("sign_ins")
        assert first <= before[0] < before[1] < last
        busy.reset_stats()

        backfill = launch()
        done = until("the second backfill's end", lambda: ended(backfill), 180)
        assert done["status"] == "COMPLETED_SUCCESS", served.log
        assert [run["status"] for run in done["runs"]] == ["SUCCESS"]
        node = ask(served.url, MATERIALIZED)["assetNodeOrError"]
        assert node["partitionStats"]["numMaterialized"] == 14

    assert events.covered("sign_ins") == [(first, last)]
    stored = events.read("sign_ins", first, last).column("id").to_pylist()
    truth = {
        key
        for key, event in everything(busy, "sign_ins").items()
        if first <= datetime.fromisoformat(event["createdDateTime"]) < last
    }
    assert len(stored) == len(set(stored)) > 5000
    assert set(stored) == truth
