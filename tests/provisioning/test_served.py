"""Provisioning as it runs: a real daemon and real pages against a simulated tenant.

Few tests, because starting it all takes a while: what they show is said step by step.
"""

from __future__ import annotations

import os
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.orchestration import home as homes
from entra_pipeline.orchestration import serve
from entra_pipeline.orchestration.provision import DUE_JOB, INTERVAL_S, JOB, SENSOR
from entra_pipeline.simulator.process import Simulator
from tests.orchestration.graphql import ask, until
from tests.provisioning.program import Program
from tests.provisioning.tenant import Tenant

LOCATION = {"repositoryLocationName": "entra_pipeline", "repositoryName": "__repository__"}
START = """mutation($selector: SensorSelector!) { startSensor(sensorSelector: $selector) {
    __typename ... on PythonError { message } } }"""
TICKS = """query($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) {
    ... on Sensor { sensorState { status ticks(limit: 50) {
    status timestamp skipReason runIds error { message } } } } } }"""
LAUNCH = """mutation($params: ExecutionParams!) {
    launchPipelineExecution(executionParams: $params) { __typename
    ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } } } }"""
RUN = """query($runId: ID!) { runOrError(runId: $runId) { ... on Run { runId status
    eventConnection { events { ... on MessageEvent { message }
    ... on ExecutionStepFailureEvent { failureMetadata { description } error { message } }
    } } } } }"""
RUNS = """query($filter: RunsFilter) { runsOrError(filter: $filter) { ... on Runs { results {
    runId status } } } }"""
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


def launch(url: str, config: dict[str, Any]) -> Any:
    """Launch the job as the Launchpad does."""
    selector = {**LOCATION, "jobName": JOB}
    return ask(url, LAUNCH, params={"selector": selector, "runConfigData": config})[
        "launchPipelineExecution"
    ]


def ended(url: str, config: dict[str, Any]) -> Any:
    """Launch the job and wait for its end."""
    launched = launch(url, config)
    assert launched["__typename"] == "LaunchRunSuccess", launched

    def run() -> Any:
        found = ask(url, RUN, runId=launched["run"]["runId"])["runOrError"]
        return found if found["status"] in ENDED else None

    return until("the end of the run", run, 120)


def said(run: Any) -> str:
    return str(run["eventConnection"]["events"])


@pytest.mark.timeout(600)
def test_requests_are_carried_out_confirmed_and_taken_back_by_the_sensor_and_from_the_launchpad(
    written_to: Simulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, tenant = Program(written_to, tmp_path), Tenant(written_to)
    groups = list(tenant.plain())[12:16]
    users = [tenant.stranger(group) for group in groups]
    settings = program.settings()
    home = homes.prepare(tmp_path / "home")
    with serve.children(serve.environment(settings, os.environ), home) as served:
        # The form: nothing filled in, and a dry run unless told otherwise.
        assert launch(served.url, {})["__typename"] == "RunConfigValidationInvalid"
        form = {
            "grant": {
                "principal_id": users[0],
                "access": {"group": {"group_id": groups[0], "relation": "member"}},
                "reason": "ticket 4711",
            }
        }
        dry = ended(served.url, {"request": form})
        assert dry["status"] == "SUCCESS", said(dry)
        assert program.json("requests")["requests"] == []
        # Applied only once somebody has approved it.
        unapproved = ended(served.url, {"mode": "apply", "request": form})
        assert unapproved["status"] == "FAILURE"
        assert "is not approved" in said(unapproved)
        assert program.effects() == []
        (filed,) = program.json("requests", "--state", "planned")["requests"]
        program("approve", filed["id"], "--plan", filed["plan_hash"])
        approved = ended(served.url, {"mode": "apply", "request": form})
        assert approved["status"] == "SUCCESS", said(approved)
        assert program.effects() == [("add_group_member", groups[0], users[0])]
        assert program.json("show", filed["id"])["request"]["state"] == "done"

        # The sensor: one that was broken by hand is set aside, the others are carried out, and
        # what was granted for a while is taken back.
        selector = {**LOCATION, "sensorName": SENSOR}
        started = ask(served.url, START, selector=selector)["startSensor"]
        assert started["__typename"] == "Sensor", started
        broken = program.approved("grant", users[1], f"group:{groups[1]}:member")
        with sqlite3.connect(program.data / "ledger.sqlite") as ledger:
            ledger.execute("UPDATE requests SET document = '{}' WHERE id = ?", (broken,))
        ledger.close()
        end = datetime.now(UTC) + timedelta(seconds=75)
        short = program.approved(
            "grant", users[2], f"group:{groups[2]}:member", "--expires-at", end.isoformat()
        )
        lasting = program.approved("grant", users[3], f"group:{groups[3]}:member")
        began = time.monotonic()
        until("both grants", lambda: len(program.effects()) >= 3 or None, 180)
        took = time.monotonic() - began
        until("the end of the short grant", lambda: len(program.effects()) >= 4 or None, 180)
        with capsys.disabled():
            print(f"\nwritten {took:.1f} s after the approval")
        assert sorted(program.effects()[1:3]) == sorted(
            ("add_group_member", groups[n], users[n]) for n in (2, 3)
        )
        assert program.effects()[3] == ("remove_group_member", groups[2], users[2])
        slow = max(1.0, *(load / (os.cpu_count() or 1) for load in os.getloadavg()[:2]))
        assert took <= INTERVAL_S + 30 * slow

        def quiet() -> bool | None:
            runs = ask(served.url, RUNS, filter={"pipelineName": DUE_JOB})["runsOrError"]["results"]
            return True if {run["status"] for run in runs} <= ENDED else None

        until("the end of the runs", quiet, 120)
        states = {each["id"]: each for each in program.json("requests")["requests"]}
        assert states[lasting]["state"] == "done"
        assert states[short]["state"] == "done"
        assert states[states[short]["ended_by"]]["state"] == "done"
        assert states[broken]["state"] == "malformed"
        assert "cannot be read" in states[broken]["reasons"][0]
        ticks = ask(served.url, TICKS, selector=selector)["sensorOrError"]["sensorState"]["ticks"]
        assert {tick["status"] for tick in ticks} <= {"SUCCESS", "SKIPPED", "STARTED"}, ticks

        # With the gate closed by its file, the sensor asks for nothing.
        program("stop")
        program.approved("revoke", users[3], f"group:{groups[3]}:member")
        stopped = ended(
            served.url, {"mode": "apply", "request": {"filed": {"request_id": lasting}}}
        )
        assert stopped["status"] == "FAILURE"
        assert "stopped" in said(stopped)
        assert len(program.effects()) == 4
    kept = b"".join(
        path.read_bytes() for path in home.rglob("*") if path.is_file() and path.suffix != ".yaml"
    )
    names = [user["userPrincipalName"] for user in written_to.truth("users")]
    assert [name for name in names if name.encode() in kept] == []
    secret = program.env["ENTRA_WRITER_CLIENT_SECRET"].encode()
    assert secret not in kept
