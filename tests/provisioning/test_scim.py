"""After grants to an application that Entra makes accounts in, its provisioning job is started."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.provisioning.gate import GateClosedError
from entra_pipeline.provisioning.ledger import Ledger, verify
from entra_pipeline.provisioning.reads import FactReader
from entra_pipeline.provisioning.scim import TRIES, Starter
from entra_pipeline.provisioning.values import AppAccess, Grant
from entra_pipeline.simulator.process import Simulator, running
from tests.provisioning.clock import Clock
from tests.provisioning.making import grant, person
from tests.provisioning.program import Program
from tests.provisioning.stage import Stage, staged
from tests.provisioning.walking import steps

START = "start_synchronization_job"


@pytest.fixture(scope="module")
def provisioned() -> Iterator[Simulator]:
    with running(users=120, groups=80, seed=11, writer=True) as simulator:
        yield simulator


@pytest.fixture
def stage(ledger: Ledger, provisioned: Simulator, tmp_path: Path, clock: Clock) -> Iterator[Stage]:
    with staged(ledger, provisioned, tmp_path, clock) as opened:
        yield opened
    provisioned.faults([])


def applications(simulator: Simulator, code: str) -> list[str]:
    """Applications with a job in that state, without roles of their own."""
    return [
        job["servicePrincipalId"]
        for job in simulator.truth("synchronization_jobs")
        if job["status"]["code"] == code
    ]


def strangers(simulator: Simulator, app: str, count: int) -> list[str]:
    held = {
        row["principalId"]
        for row in simulator.truth("app_role_assignments")
        if row["resourceId"] == app
    }
    return [user["id"] for user in simulator.truth("users") if user["id"] not in held][:count]


def to(app: str, user: str) -> Any:
    return grant(body=Grant(principal_id=user, access=AppAccess(service_principal_id=app)))


def start(stage: Stage) -> dict[str, str]:
    writer = stage.client.writer(stage.gate)
    return Starter(stage.ledger, FactReader(stage.client), writer, stage.gate).start()


def started(stage: Stage) -> list[str]:
    return [target for kind, target, _ in stage.effects() if kind == START]


def marks(stage: Stage, filed: Any) -> list[dict[str, Any]]:
    return [dict(step.result["provisioning_job"]) for each in filed for step in steps(stage, each)]


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
class TestStarter:
    def test_one_start_serves_all_grants_before_it_and_each_is_told(self, stage: Stage) -> None:
        (app,) = applications(stage.simulator, "Active")
        users = strangers(stage.simulator, app, 3)
        filed = stage.done(*(to(app, user) for user in users))
        assert start(stage) == {app: "started"}
        assert started(stage) == [app]
        assert start(stage) == {}
        found = marks(stage, filed)
        assert [mark["state"] for mark in found] == ["started"] * 3
        assert len({str(mark["started"]) for mark in found}) == 1
        assert verify(stage.ledger.database).findings == ()
        # Nothing but a grant of ours wants it: what is so already does not.
        stage.done(to(app, users[0]))
        assert start(stage) == {}

    def test_a_job_in_quarantine_is_told_of_and_left_alone(self, stage: Stage) -> None:
        (app,) = applications(stage.simulator, "Quarantine")
        filed = stage.done(to(app, strangers(stage.simulator, app, 1)[0]))
        assert start(stage) == {app: "quarantine"}
        assert start(stage) == {}
        assert started(stage) == []
        (mark,) = marks(stage, filed)
        assert "EncounteredQuarantineException" in mark["quarantine"][0]

    def test_an_application_without_a_job_has_none_started(self, stage: Stage) -> None:
        known = {job["servicePrincipalId"] for job in stage.simulator.truth("synchronization_jobs")}
        app = next(
            each["id"]
            for each in stage.simulator.truth("service_principals")
            if each["id"] not in known
            and not each["appRoles"]
            and each["servicePrincipalType"] == "Application"
        )
        filed = stage.done(to(app, strangers(stage.simulator, app, 1)[0]))
        assert start(stage) == {app: "none"}
        assert (started(stage), marks(stage, filed)) == ([], [{"state": "none"}])

    @pytest.mark.parametrize("status", [403, 409])
    def test_what_is_refused_right_after_an_application_was_made_is_tried_later(
        self, stage: Stage, status: int
    ) -> None:
        (app,) = applications(stage.simulator, "Active")
        filed = stage.done(to(app, strangers(stage.simulator, app, 1)[0]))
        body = {"error": {"code": "Authorization_RequestDenied", "message": "Not yet."}}
        rule = {
            "match": {"path": "synchronization/jobs/.*/start"},
            "respond": {"status": status, "body": body},
        }
        stage.simulator.faults([rule])
        assert start(stage) == {app: "waiting"}
        assert start(stage) == {}, "not before its time"
        stage.simulator.faults([])
        stage.clock.advance(seconds=61)
        assert start(stage) == {app: "started"}
        assert started(stage) == [app]
        assert marks(stage, filed)[0]["state"] == "started"

    def test_what_is_refused_for_good_is_given_up_with_what_it_needs(self, stage: Stage) -> None:
        (app,) = applications(stage.simulator, "Active")
        filed = stage.done(to(app, strangers(stage.simulator, app, 1)[0]))
        body = {"error": {"code": "Authorization_RequestDenied", "message": "No."}}
        rule = {
            "match": {"path": "synchronization/jobs/.*/start"},
            "respond": {"status": 403, "body": body},
        }
        stage.simulator.faults([rule])
        for _ in range(TRIES):
            start(stage)
            stage.clock.now += timedelta(minutes=17)
        assert start(stage) == {}
        (mark,) = marks(stage, filed)
        assert mark["state"] == "failed"
        assert "Synchronization.ReadWrite.All" in mark["said"]
        assert started(stage) == []

    def test_who_died_before_starting_is_followed_by_another(self, stage: Stage) -> None:
        from entra_pipeline.provisioning.ledger import jobs

        (app,) = applications(stage.simulator, "Active")
        stage.done(to(app, strangers(stage.simulator, app, 1)[0]))
        assert [each.resource_id for each in jobs.take(stage.ledger)] == [app]
        assert start(stage) == {}, "somebody else is at it"
        stage.clock.advance(minutes=6)
        assert start(stage) == {app: "started"}

    def test_nothing_is_started_when_writing_was_stopped(self, stage: Stage) -> None:
        (app,) = applications(stage.simulator, "Active")
        stage.done(to(app, strangers(stage.simulator, app, 1)[0]))
        stage.ledger.stop(person(3), "something is wrong")
        with pytest.raises(GateClosedError):
            start(stage)
        stage.ledger.resume(person(3))
        assert started(stage) == []
        assert start(stage) == {app: "started"}


def test_the_command_starts_it_once_and_shows_what_became_of_it(
    provisioned: Simulator, tmp_path: Path
) -> None:
    program = Program(provisioned, tmp_path)
    program.env["ENTRA_SCHEDULE_SCIM_PROVISIONING"] = "true"
    (app,) = applications(provisioned, "Active")
    first, second = strangers(provisioned, app, 2)
    zero = "00000000-0000-0000-0000-000000000000"
    keys = [program.approved("grant", user, f"app:{app}:{zero}") for user in (first, second)]
    told = program.json("apply", "--wait")
    assert told["jobs"] == {app: "started"}
    assert [kind for kind, _, _ in program.effects()].count(START) == 1
    for key in keys:
        (operation,) = program.json("show", key)["operations"]
        assert operation["result"]["provisioning_job"]["state"] == "started"
        assert "provisioning_job" in program("show", key).out
    assert program.json("verify-audit")["findings"] == []
    off = program.approved("grant", strangers(provisioned, app, 1)[0], f"app:{app}:{zero}")
    program("apply", "--wait", ENTRA_SCHEDULE_SCIM_PROVISIONING="false")
    assert [kind for kind, _, _ in program.effects()].count(START) == 1
    assert program.json("show", off)["operations"][0]["result"] == {}
