"""Emergency access: given before anybody approved it, short, told, and reviewed by others."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from entra_pipeline.definitions import build_definitions
from entra_pipeline.orchestration.provision import JOB
from entra_pipeline.provisioning.approving import against_closing
from entra_pipeline.provisioning.errors import TransitionError
from entra_pipeline.provisioning.identities import LAUNCHPAD, os_user
from entra_pipeline.provisioning.ledger import Filed, Ledger, looking, reviewing, schema, verify
from entra_pipeline.provisioning.ledger.reviewing import Finding
from entra_pipeline.provisioning.plans import Plan
from entra_pipeline.provisioning.policy import Policy, PolicyError
from entra_pipeline.provisioning.service import NotApprovedError, Provisioning
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.values import Grant, GroupAccess, Identity, IdentityKind, Request
from entra_pipeline.simulator.process import Simulator
from tests.orchestration.listener import listening
from tests.provisioning.clock import Clock
from tests.provisioning.making import TENANT, grant, guid, person
from tests.provisioning.program import ALONE, Program
from tests.provisioning.stage import Stage
from tests.provisioning.tenant import Tenant
from tests.provisioning.walking import refused

KEY = person().key
RULE = f"version: 1\nemergency: {{who: ['{KEY}'], kinds: [group], longest: 4h}}\n"
SECRET = "a-secret-of-the-listener"


def urgent(stage: Stage, user: str, group: str, **more: Any) -> Request:
    body = Grant(principal_id=user, access=GroupAccess(group_id=group))
    ends = stage.clock() + timedelta(hours=2)
    return grant(**{"body": body, "emergency": True, "expires_at": ends, **more})


@pytest.fixture
def stage(stage: Stage) -> Stage:
    stage.policy = Policy.parse(RULE)
    return stage


def test_it_needs_an_entry_of_the_policy_and_keeps_within_it(stage: Stage, tenant: Tenant) -> None:
    group = list(tenant.plain())[10]
    user = tenant.stranger(group)
    body = Grant(principal_id=user, access=GroupAccess(group_id=group))
    until = stage.clock() + timedelta(hours=2)

    def why(rules: str, **more: Any) -> str:
        stage.policy = Policy.parse(rules)
        return refused(stage, body, **{"emergency": True, "expires_at": until, **more})

    assert "has no `emergency` entry" in why("version: 1")
    assert f"does not let {person(2).key} ask" in why(RULE, asked_by=person(2))
    assert "does not let" in why(RULE, asked_by=LAUNCHPAD)
    assert "no emergency access of kind group" in why(RULE.replace("[group]", "[role]"))
    late = stage.clock() + timedelta(hours=4, minutes=1)
    assert "lasts 4:00:00 at most" in why(RULE, expires_at=late)
    protected = f"{RULE}protected: {{groups: [{group}]}}\n"
    assert "is protected by the policy" in why(protected)
    assert stage.effects() == []
    with pytest.raises(ValueError, match="for grants that end"):
        urgent(stage, user, group, expires_at=None)
    with pytest.raises(PolicyError, match="longest"):
        Policy.parse(RULE.replace("4h", "25h"))


def test_it_is_given_at_once_taken_back_at_its_end_and_its_review_stays_open(
    stage: Stage, tenant: Tenant
) -> None:
    group = list(tenant.plain())[11]
    user = tenant.stranger(group)
    # `kinds` says who may ask beforehand; who may in an emergency is said by its own entry.
    stage.policy = Policy.parse(f"{RULE}kinds: {{grant: {{ask: []}}}}\n")
    (filed,) = stage.ledger.file([urgent(stage, user, group)])
    assert reviewing.listed(stage.ledger) == []
    plan = stage.plan([filed])
    assert isinstance(plan, Plan), plan
    assert plan.approvals_needed == 0
    assert "an emergency" in plan.warnings[0]
    stage.ledger.save_plan(filed.batch_id, plan)
    (review,) = reviewing.listed(stage.ledger)
    assert (review.request_id, review.closed_at) == (filed.id, None)
    stage.run([filed.id])
    assert looking.one(stage.ledger, filed.id).emergency is True
    stage.clock.advance(hours=2)
    (ending,) = stage.sweep().approved
    stage.run([ending])
    assert stage.effects() == [
        ("add_group_member", group, user),
        ("remove_group_member", group, user),
    ]
    assert [each.id for each in reviewing.listed(stage.ledger)] == [review.id]
    closed = reviewing.close(stage.ledger, filed.id, Finding.JUSTIFIED, person(2), "outage 812")
    assert (closed.closed_by, closed.finding) == (person(2).key, "justified")
    assert reviewing.listed(stage.ledger) == []
    assert [each.id for each in reviewing.listed(stage.ledger, closed=True)] == [review.id]
    with pytest.raises(TransitionError, match="already"):
        reviewing.close(stage.ledger, review.id, Finding.JUSTIFIED, person(3), "again")
    with pytest.raises(TransitionError, match="a program"):
        reviewing.close(stage.ledger, review.id, Finding.JUSTIFIED, LAUNCHPAD, "again")
    assert verify(stage.ledger.database).findings == ()
    with stage.ledger.database.write() as connection:
        connection.execute(schema.reviews.update().values(closed_by=person(4).key))
    (found,) = verify(stage.ledger.database).findings
    assert found.row == f"reviews/{review.id}"


def test_planned_anew_it_has_one_review(stage: Stage, tenant: Tenant) -> None:
    group = list(tenant.plain())[12]
    (filed,) = stage.ledger.file([urgent(stage, tenant.stranger(group), group)])
    plan = stage.plan([filed])
    assert isinstance(plan, Plan), plan
    stage.ledger.save_plan(filed.batch_id, plan)
    with stage.ledger.database.write() as connection:
        connection.execute(schema.requests.update().values(state="stale"))
    again = Plan.model_validate({**plan.document(), "warnings": ["another one"]})
    assert again.hash != plan.hash
    stage.ledger.save_plan(filed.batch_id, again)
    assert len(reviewing.listed(stage.ledger)) == 1
    assert stage.ledger.request(filed.id).state is RequestState.APPROVED


def asked(ledger: Ledger, by: Identity) -> Filed:
    end = ledger.clock() + timedelta(hours=1)
    return ledger.file([grant(asked_by=by, emergency=True, expires_at=end)])[0]


@pytest.mark.parametrize(
    ("policy", "requester", "by", "said"),
    [
        ("", person(1), person(2), None),
        ("", person(1), person(1), "you asked for it"),
        ("separate: {requester: false}", person(1), person(1), "you asked for it"),
        ("os_user_approves: true", os_user(), person(2), "cannot be told"),
        ("separate: {requester: false}", os_user(), person(2), None),
        ("", LAUNCHPAD, person(2), None),
        ("os_user_approves: true", LAUNCHPAD, os_user(), "is not known"),
        ("", person(1), os_user(), "people who are signed in"),
        (f"approvers: ['entra:{guid(903)}']", person(1), person(2), "does not let"),
        (
            "",
            person(1),
            Identity(kind=IdentityKind.ENTRA, subject=guid(1), machine=None),
            "was for you",
        ),
    ],
)
def test_who_may_close_a_review(
    ledger: Ledger, policy: str, requester: Identity, by: Identity, said: str | None
) -> None:
    rules = Policy.parse(f"version: 1\n{policy}")
    reasons = against_closing(rules, asked(ledger, requester), by)
    assert (reasons == []) if said is None else (said in "; ".join(reasons))


def test_ledgers_of_before_get_their_table(ledger_url: str | Path, clock: Clock) -> None:
    from alembic import command
    from alembic.config import Config

    from entra_pipeline.provisioning.ledger import database

    url = database.sqlite_url(ledger_url) if isinstance(ledger_url, Path) else ledger_url
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.begin() as connection:
        config = Config()
        folder = Path(database.__file__).parent / "migrations"
        config.set_main_option("script_location", str(folder))
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        assert not sa.inspect(connection).has_table("reviews")
    engine.dispose()
    with Ledger(ledger_url, TENANT, clock=clock) as opened:
        asked(opened, person())
        assert reviewing.listed(opened) == []
        assert verify(opened.database).findings == ()


# ---- the command line, the webhook, the Launchpad ------------------------------------------------

MACHINE = (
    f"{ALONE}emergency: {{who: ['{os_user().key}', launchpad], kinds: [group], longest: 4h}}\n"
)


@pytest.fixture
def program(written_to: Simulator, tmp_path: Path) -> Program:
    made = Program(written_to, tmp_path)
    made.policy(MACHINE)
    return made


def test_people_are_told_and_told_again_until_the_webhook_took_it(
    program: Program, tenant: Tenant
) -> None:
    group = list(tenant.plain())[13]
    user = tenant.stranger(group)
    with listening(answers=(500, 204)) as listener:
        program.env["ENTRA_ALERT_WEBHOOK_URL"] = listener.url
        program.env["ENTRA_EVENTS_WEBHOOK_SECRET"] = SECRET
        key = program.asked("grant", user, f"group:{group}:member", "--emergency")
        assert program.json("requests")["requests"][0]["emergency"] is True
        assert "nothing was given yet" in program("show", key).out
        plan = program.json("plan", key)
        assert plan["requests"][0]["state"] == "approved"
        (review,) = program.json("reviews")["reviews"]
        assert (review["request_id"], review["tell_tries"]) == (key, 1)
        assert review["tell_problem"] == "the webhook did not take the alert (HTTP 500)"
        program("apply", "--wait")
        assert program.effects() == [("add_group_member", group, user)]
        with Provisioning(program.settings()) as opened:
            assert opened.tell() == 0  # not its turn yet
            with opened.ledger.database.write() as connection:
                connection.execute(schema.reviews.update().values(tell_at=1))
            assert opened.tell() == 1
            assert opened.tell() == 0
    assert len(listener.got) == 2
    told = listener.got[1]
    assert (told["event"], told["request_id"], told["review_id"]) == (
        "emergency_access",
        key,
        review["id"],
    )
    assert (told["principal_id"], told["entitlement_id"]) == (user, f"group:{group}:member")
    assert "ticket 4711" not in json.dumps(told)
    headers = listener.headers[1]
    assert headers["Entra-Pipeline-Event"] == review["id"]
    stamp, _, signed = headers["Entra-Pipeline-Signature"].partition(",v1=")
    text = f"{stamp.removeprefix('t=')}.".encode() + listener.bodies[1]
    assert hmac.new(SECRET.encode(), text, hashlib.sha256).hexdigest() == signed
    assert abs(int(stamp.removeprefix("t=")) - time.time()) < 120
    (review,) = program.json("reviews")["reviews"]
    assert review["told_at"] is not None
    # An end of its own: as long as the policy says.
    shown = program.json("show", key)
    lasts = shown["request"]["expires_at"], shown["request"]["filed_at"]
    assert lasts[0][11:13] != lasts[1][11:13]


def test_whoever_asked_cannot_close_it_and_who_else_does_is_kept(
    program: Program, tenant: Tenant
) -> None:
    group = list(tenant.plain())[14]
    key = program.asked("grant", tenant.stranger(group), f"group:{group}:member", "--emergency")
    warned = program("plan", key)
    assert "nobody is told" in program("show", key).out, warned.out
    (review,) = program.json("reviews")["reviews"]
    assert program("review", "close", "rev_none", "--reason", "fine", code=2).err
    own = program("review", "close", review["id"], "--reason", "fine", code=1)
    assert "not closed:\n  you asked for it: somebody else has to look at it" in own.err
    assert len(program.json("reviews")["reviews"]) == 1
    with Provisioning(program.settings()) as opened:
        program.policy(f"{MACHINE}approvers: ['{person(9).key}']\n")
        with pytest.raises(NotApprovedError, match="does not let"):
            opened.close_review(review["id"], Finding.JUSTIFIED, person(8), "not me")
        opened.close_review(review["id"], Finding.NOT_JUSTIFIED, person(9), "ask the next time")
    program.policy(MACHINE)
    assert program.json("reviews")["reviews"] == []
    (closed,) = program.json("reviews", "--all")["reviews"]
    assert (closed["finding"], closed["closed_by"]) == ("not_justified", person(9).key)
    assert "not_justified" in program("reviews", "--all").out
    assert "ask the next time" in program("show", key).out
    assert program.json("verify-audit")["findings"] == []


def test_without_an_entry_the_command_says_so_before_anything_is_filed(
    program: Program, tenant: Tenant
) -> None:
    program.policy(ALONE)
    group = list(tenant.plain())[15]
    asking = ("grant", tenant.stranger(group), f"group:{group}:member", "--emergency")
    done = program("request", *asking, "--reason", "ticket 1", code=1)
    assert "the policy has no `emergency` entry" in done.err
    assert program.json("requests")["requests"] == []


def test_the_launchpad_gives_it_where_the_policy_lets_the_launchpad(
    program: Program, tenant: Tenant
) -> None:
    group = list(tenant.plain())[16]
    user = tenant.stranger(group)
    asked = {
        "principal_id": user,
        "access": {"group": {"group_id": group, "relation": "member"}},
        "duration": "1h",
        "emergency": True,
        "reason": "outage",
    }
    config = {"mode": "apply", "request": {"grant": asked}}

    def launch() -> dg.ExecuteInProcessResult:
        job = build_definitions(program.settings()).resolve_job_def(JOB)
        return job.execute_in_process(run_config=config, raise_on_error=False)

    program.policy(MACHINE.replace(", launchpad", ""))
    assert not launch().success
    assert program.effects() == []
    program.policy(MACHINE)
    assert launch().success
    assert program.effects() == [("add_group_member", group, user)]
    (review,) = program.json("reviews")["reviews"]
    assert review["asked_by"] == LAUNCHPAD.key
