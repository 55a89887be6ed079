"""The job `provision` and its sensor, without the pages: what they refuse, what they carry out."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from entra_pipeline.definitions import build_definitions
from entra_pipeline.orchestration.provision import DUE_JOB, JOB, SENSOR
from entra_pipeline.simulator.process import Simulator
from tests.provisioning.program import Program
from tests.provisioning.tenant import Tenant


@pytest.fixture
def program(written_to: Simulator, tmp_path: Path) -> Program:
    return Program(written_to, tmp_path)


@pytest.fixture
def tenant(written_to: Simulator) -> Tenant:
    return Tenant(written_to)


def launch(program: Program, config: dict[str, Any], job: str = JOB) -> dg.ExecuteInProcessResult:
    definitions = build_definitions(program.settings())
    return definitions.resolve_job_def(job).execute_in_process(
        run_config=config, raise_on_error=False
    )


def reason(result: dg.ExecuteInProcessResult) -> str:
    (failed,) = (event for event in result.all_events if event.is_step_failure)
    data = failed.step_failure_data
    assert data.user_failure_data is not None
    return str(data.user_failure_data.description)


def member(user: str, group: str, **more: Any) -> dict[str, Any]:
    access = {"group": {"group_id": group, "relation": "member"}}
    return {"grant": {"principal_id": user, "access": access, "reason": "ticket 1", **more}}


def tick(program: Program, failures: int = 0) -> Any:
    """What the sensor says, after so many runs that failed just now."""
    definitions = build_definitions(program.settings())
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(failures):
            job = definitions.resolve_job_def(DUE_JOB)
            assert not job.execute_in_process(instance=instance, raise_on_error=False).success
        context = dg.build_sensor_context(instance=instance, definitions=definitions)
        return definitions.resolve_sensor_def(SENSOR)(context)


def test_with_the_gate_closed_neither_the_launchpad_nor_the_sensor_writes(
    program: Program, tenant: Tenant
) -> None:
    group = list(tenant.plain())[20]
    key = program.approved("grant", tenant.stranger(group), f"group:{group}:member")
    program.env["ENTRA_PROVISIONING"] = "false"
    for config in (
        {"mode": "apply", "request": member(tenant.stranger(group), group)},
        {"mode": "apply", "request": {"filed": {"request_id": key}}},
    ):
        assert "provisioning is off" in reason(launch(program, config))
    assert "provisioning is off" in reason(launch(program, {}, DUE_JOB))
    skipped = tick(program)
    assert isinstance(skipped, dg.SkipReason)
    assert "provisioning is off" in str(skipped.skip_message)
    assert program.effects() == []
    program.env["ENTRA_PROVISIONING"] = "true"
    assert isinstance(tick(program), dg.SensorResult)
    program("stop")
    assert "stopped" in str(tick(program).skip_message)
    assert program.effects() == []


def test_the_same_form_is_the_same_request_until_it_has_ended(
    program: Program, tenant: Tenant
) -> None:
    group = list(tenant.plain())[21]
    config = {"mode": "apply", "request": member(tenant.stranger(group), group, duration="8h")}
    for _ in range(2):
        assert "is not approved: entra-pipeline approve req_" in reason(launch(program, config))
    (filed,) = program.json("requests")["requests"]
    assert filed["source"] == "launchpad"
    program("approve", filed["id"], "--plan", filed["plan_hash"])
    assert launch(program, config).success
    assert len(program.effects()) == 1
    assert "is not approved" in reason(launch(program, config))
    assert len(program.json("requests")["requests"]) == 2
    assert len(program.effects()) == 1


def test_a_form_that_cannot_be_carried_out_says_why_and_files_nothing(
    program: Program, tenant: Tenant
) -> None:
    dynamic = tenant.group(groupTypes=["DynamicMembership"])
    refused = launch(program, {"request": member(tenant.users[0], dynamic)})
    assert "its rule decides who is a member" in reason(refused)
    wrong = launch(program, {"mode": "apply", "request": member("anna", dynamic)})
    assert "principal_id: Value error, 'anna' is not an object id" in reason(wrong)
    gone = launch(program, {"mode": "apply", "request": {"filed": {"request_id": "req_x"}}})
    assert "there is no request req_x" in reason(gone)
    assert program.json("requests")["requests"] == []


def test_what_expired_is_taken_back_before_anything_is_given(
    program: Program, tenant: Tenant
) -> None:
    first, second, late = list(tenant.plain())[22:25]
    users = [tenant.stranger(group) for group in (first, second, late)]
    end = datetime.now(UTC) + timedelta(seconds=20)
    ends = ("--expires-at", end.isoformat())
    later = ("--not-before", (end - timedelta(milliseconds=1)).isoformat())
    program.approved("grant", users[0], f"group:{first}:member", *ends)
    given = program.approved("grant", users[1], f"group:{second}:member", *later)
    passed = program.approved("grant", users[2], f"group:{late}:member", *later, *ends)
    program("apply")
    assert len(program.effects()) == 1
    time.sleep(max(0.0, (end - datetime.now(UTC)).total_seconds()))
    done = launch(program, {}, DUE_JOB)
    assert done.success
    assert program.effects() == [
        ("add_group_member", first, users[0]),
        ("remove_group_member", first, users[0]),
        ("add_group_member", second, users[1]),
    ]
    assert program.json("show", given)["request"]["state"] == "done"
    stale = program.json("show", passed)["request"]
    assert stale["state"] == "stale"
    assert stale["reasons"] == ["its end has passed before it was given"]
    assert "nothing is due" in str(tick(program).skip_message)


def test_runs_that_fail_do_not_pile_up(program: Program, tenant: Tenant) -> None:
    group = list(tenant.plain())[26]
    program.approved("grant", tenant.stranger(group), f"group:{group}:member")
    assert isinstance(tick(program), dg.SensorResult)
    del program.env["ENTRA_WRITER_CLIENT_SECRET"]
    waits = [str(tick(program, failures=number).skip_message) for number in (1, 3)]
    assert "after runs that failed, the next in " in waits[0]
    first, third = (int(text.rpartition("in ")[2].split()[0]) for text in waits)
    assert first <= 30 < 60 < third <= 120
    assert program.effects() == []
