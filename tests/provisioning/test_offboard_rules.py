"""What stands against an offboarding, what it leaves and says why, and who files one by itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from entra_pipeline.definitions import build_definitions
from entra_pipeline.orchestration.provision import JOB, LEAVERS_SENSOR
from entra_pipeline.provisioning.approving import against_approval
from entra_pipeline.provisioning.leavers import LeaversUnreadError, file_leavers
from entra_pipeline.provisioning.ledger import Ledger
from entra_pipeline.provisioning.planning import Refusal
from entra_pipeline.provisioning.plans import Plan
from entra_pipeline.provisioning.policy import OffboardRule, Policy
from entra_pipeline.provisioning.reads import FactReader
from entra_pipeline.provisioning.service import Provisioning
from entra_pipeline.provisioning.states import OperationState, RequestState
from entra_pipeline.provisioning.values import Offboard, Request, Source
from entra_pipeline.simulator.process import Simulator, running
from tests.provisioning.clock import Clock
from tests.provisioning.leaver import Leaver
from tests.provisioning.making import grant, person
from tests.provisioning.people import administrators, plain_users, synced
from tests.provisioning.program import Program
from tests.provisioning.stage import Stage, staged
from tests.provisioning.test_offboard import LEAVING
from tests.provisioning.walking import steps
from tests.support import sync

ROLE = "Privileged Authentication Administrator"
_places = itertools.count(0, 2)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    more = ("User-LifeCycleInfo.Read.All",)
    with running(
        users=200, groups=60, seed=11, writer=True, writer_roles=(ROLE,), with_permission=more
    ) as found:
        yield found


@pytest.fixture
def program(simulator: Simulator, tmp_path: Path) -> Program:
    made = Program(simulator, tmp_path)
    made.policy(LEAVING)
    return made


@pytest.fixture
def stage(ledger: Ledger, simulator: Simulator, tmp_path: Path, clock: Clock) -> Iterator[Stage]:
    with staged(ledger, simulator, tmp_path, clock, policy=Policy.parse(LEAVING)) as opened:
        yield opened


def somebody(simulator: Simulator, *, managed: bool = True) -> Leaver:
    """A leaver who is no other test's."""
    place = next(_places)
    return Leaver(simulator, place, manager=place + 1 if managed else None)


def planned(program: Program, policy: str, *requests: Request) -> Plan | Refusal:
    program.policy(policy)
    with Provisioning(program.settings()) as opened:
        filed = opened.file(requests)
        return opened.plan(filed[0].batch_id)[1]


def refused(program: Program, policy: str, *requests: Request) -> str:
    found = planned(program, policy, *requests)
    assert isinstance(found, Refusal), found
    return "; ".join(reason for said in found.reasons.values() for reason in said)


def leaving(user: str, **more: Any) -> Request:
    heir = more.pop("hand_over_to", None)
    return grant(body=Offboard(user_id=user, hand_over_to=heir), **more)


def test_the_policy_has_to_let_it_and_its_own_limits_hold(program: Program) -> None:
    leaver = somebody(program.simulator)
    leaver.give(8)
    sync(program.simulator, program.data)
    rest = LEAVING.replace("offboard: {}\n", "")

    def why(more: str, *others: Request) -> str:
        return refused(program, f"{rest}{more}\n", leaving(leaver.id), *others)

    assert "has no `offboard` entry" in why("")
    assert "does not let" in why("offboard: {}\nkinds: {offboard: {ask: []}}")
    assert "a plan of its own" in why("offboard: {}", leaving(leaver.manager or ""))
    said = why(f"offboard: {{}}\nprotected: {{principals: [{leaver.id}]}}")
    assert f"principal {leaver.id} is protected" in said
    assert "would be lost by this plan, the policy's limit is 2" in why("offboard: {lost: 2}")
    # The limits of other plans are not those of an offboarding.
    tight = "limits: {plan: {lost: 1}, hour: {lost: 1}, day: {lost: 1}}"
    found = planned(program, f"{rest}offboard: {{}}\n{tight}\n", leaving(leaver.id))
    assert isinstance(found, Plan), found
    assert found.delta.lost_count > 5
    assert "0 people are offboarded within one day" in why("offboard: {people_a_day: 0}")


def test_people_a_day_are_counted_and_other_plans_are_not_held_up(program: Program) -> None:
    first, second = somebody(program.simulator), somebody(program.simulator)
    rules = LEAVING.replace("offboard: {}", "offboard: {people_a_day: 1}")
    program.policy(rules)
    with Provisioning(program.settings()) as opened:
        (filed,) = opened.file([leaving(first.id)])
        (other,) = opened.file([leaving(second.id)])
        _, plan = opened.plan(filed.id)
        _, waiting = opened.plan(other.id)
        assert isinstance(plan, Plan)
        assert isinstance(waiting, Plan)
        opened.approve(filed.id, plan.hash, person(5), None)
        # At the approval as well, for both were planned before.
        with pytest.raises(Exception, match="1 people are offboarded within one day"):
            opened.approve(other.id, waiting.hash, person(5), None)
        assert opened.preview_filed(filed.id) is not None
    assert "1 people are offboarded" in refused(program, rules, leaving(second.id))


def test_the_last_two_global_administrators_are_not_offboarded(program: Program) -> None:
    found = administrators(program.simulator)
    role = "62e90394-69f5-4237-9190-012177145e10"
    holders = {
        row["principalId"]
        for row in program.simulator.truth("role_assignments")
        if row["roleDefinitionId"] == role and row["directoryScopeId"] == "/"
    }
    result = planned(program, LEAVING, leaving(found[0]))
    if len(holders) - 1 >= 2:
        assert isinstance(result, Plan)
        assert int(result.tier) == 0
        conditions = [each.fact for each in result.operations[0].preconditions]
        assert "role.others" in conditions
        leaver = somebody(program.simulator)
        for holder in sorted(holders - {found[0]})[1:]:
            for row in program.simulator.truth("role_assignments"):
                if (row["principalId"], row["roleDefinitionId"]) == (holder, role):
                    url = f"roleManagement/directory/roleAssignments/{row['id']}"
                    leaver.graph("DELETE", url)
    said = refused(program, LEAVING, leaving(found[0]))
    assert "only 1 Global Administrators would be left: there must be 2" in said


def test_without_a_manager_what_only_the_leaver_owns_stays_and_the_plan_says_so(
    program: Program,
) -> None:
    leaver = somebody(program.simulator, managed=False)
    if leaver.simulator.truth("managers").get(leaver.id):
        leaver.graph("DELETE", f"users/{leaver.id}/manager/$ref")
    owned = next(leaver.last_ownerships())
    access = f"group:{owned}:owner"
    plan = planned(program, LEAVING, leaving(leaver.id))
    assert isinstance(plan, Plan), plan
    (kept,) = (each for each in plan.delta.remains if each.entitlement_id == access)
    assert "there is no manager" in (kept.why or "")
    assert any(access in said and "stays with" in said for said in plan.warnings)
    assert owned not in {each.target_id for each in plan.operations}
    heir = somebody(program.simulator).id
    plan = planned(program, LEAVING, leaving(leaver.id, hand_over_to=heir))
    assert isinstance(plan, Plan), plan
    about = [(e.action.value, e.principal_id) for e in plan.operations if e.target_id == owned]
    assert about == [("add_group_owner", heir), ("remove_group_owner", leaver.id)]
    leaver.graph("PATCH", f"users/{heir}", {"accountEnabled": False})
    plan = planned(program, LEAVING, leaving(leaver.id, hand_over_to=heir))
    assert isinstance(plan, Plan), plan
    assert any("is disabled; name somebody" in said for said in plan.warnings)


def test_what_came_after_the_sync_is_taken_too_and_what_is_mastered_elsewhere_is_said(
    program: Program,
) -> None:
    leaver = somebody(program.simulator)
    sync(program.simulator, program.data)
    group = next(leaver.memberships())
    plan = planned(program, LEAVING, leaving(leaver.id))
    assert isinstance(plan, Plan), plan
    assert group in {each.target_id for each in plan.operations}
    assert any("changed since the last sync" in said for said in plan.delta.unknown)
    local = synced(program.simulator)
    plan = planned(program, LEAVING, leaving(local))
    assert isinstance(plan, Plan), plan
    assert plan.operations[0].action == "revoke_sessions"
    assert any("mastered on premises: change it there" in said for said in plan.warnings)
    said = refused(program, LEAVING, leaving("00000000-0000-4000-8000-00000000dead"))
    assert "there is no user" in said


def test_devices_that_somebody_owns_stay_and_the_plan_says_so(program: Program) -> None:
    device, owner = next(
        (device, owner)
        for device, owners in program.simulator.truth("device_owners").items()
        for owner in owners
        if owner in plain_users(program.simulator)
    )
    plan = planned(program, LEAVING, leaving(owner))
    assert isinstance(plan, Plan), plan
    access = f"device:{device}:owner"
    (kept,) = (each for each in plan.delta.remains if each.entitlement_id == access)
    assert "owners of devices are not changed here" in (kept.why or "")
    assert device not in {each.target_id for each in plan.operations}


def test_what_cannot_be_read_is_not_taken_for_nothing(program: Program) -> None:
    leaver = somebody(program.simulator)
    body = {"error": {"code": "Authorization_RequestDenied", "message": "Not for you."}}
    for path in (rf"users/{leaver.id}/memberOf", "roleEligibilityScheduleInstances"):
        rule = {"match": {"method": "GET", "path": path}, "respond": {"status": 403, "body": body}}
        program.simulator.faults([rule])
        try:
            said = refused(program, LEAVING, leaving(leaver.id))
        finally:
            program.simulator.faults([])
        assert "what it rests on cannot be read" in said
        assert "Not for you" in said


def test_one_operation_that_is_refused_holds_up_no_other(stage: Stage) -> None:
    leaver = somebody(stage.simulator)
    leaver.give(9)
    seen = len(stage.simulator.effects())
    (filed,) = stage.approved(leaving(leaver.id))
    groups = [
        each.operation.target_id
        for each in steps(stage, filed)
        if each.operation.action == "remove_group_member"
    ]
    body = {"error": {"code": "Authorization_RequestDenied", "message": "Not this one."}}
    path = rf"groups/{groups[0]}/members/"
    rule = {"match": {"method": "DELETE", "path": path}, "respond": {"status": 403, "body": body}}
    stage.simulator.faults([rule])
    try:
        for _ in range(40):
            worker = stage.worker()
            worker.apply()
            worker.verify()
            stage.clock.advance(seconds=31)
    finally:
        stage.simulator.faults([])
    found = stage.ledger.request(filed.id)
    assert found.state is RequestState.FAILED
    assert "1 of " in found.reasons[0]
    assert any(str(groups[0]) in reason and "Not this one" in reason for reason in found.reasons)
    states = {each.operation.target_id: each.state for each in steps(stage, filed)}
    assert states.pop(groups[0]) is OperationState.REFUSED
    assert set(states.values()) == {OperationState.VERIFIED}
    taken = [each for each in stage.simulator.effects(seen) if each["principal"] == leaver.id]
    assert len(taken) == len({(e["kind"], e["target"], str(e["details"])) for e in taken})


def test_what_stays_unavailable_is_given_up_and_the_rest_is_done(stage: Stage) -> None:
    leaver = somebody(stage.simulator)
    leaver.give(4)
    (filed,) = stage.approved(leaving(leaver.id))
    group = next(
        each.operation.target_id
        for each in steps(stage, filed)
        if each.operation.action == "remove_group_member"
    )
    busy = {"error": {"code": "ServiceUnavailable", "message": "Try later."}}
    match = {"method": "DELETE", "path": rf"groups/{group}/members/"}
    stage.simulator.faults([{"match": match, "respond": {"status": 503, "body": busy}}])
    try:
        for _ in range(26):
            stage.worker().apply()
            stage.clock.advance(seconds=31)
    finally:
        stage.simulator.faults([])
    found = stage.ledger.request(filed.id)
    assert found.state is RequestState.FAILED
    (said,) = (reason for reason in found.reasons if str(group) in reason)
    assert "given up after 10 tries" in said
    states = {each.operation.target_id: each.state for each in steps(stage, filed)}
    assert states.pop(group) is OperationState.REFUSED
    assert set(states.values()) <= {OperationState.WRITTEN, OperationState.ALREADY}


def test_the_launchpad_plans_it_without_a_name(program: Program) -> None:
    leaver = somebody(program.simulator)
    leaver.give(2)
    asked = {"offboard": {"user_id": leaver.id, "reason": "ticket 4711"}}
    job = build_definitions(program.settings()).resolve_job_def(JOB)
    done = job.execute_in_process(run_config={"request": asked}, raise_on_error=False)
    assert done.success
    assert program.effects()[-1][0] != "revoke_sessions"


def test_an_answer_that_comes_late_waits_and_the_account_comes_first(stage: Stage) -> None:
    leaver = somebody(stage.simulator)
    leaver.give(5)
    seen = len(stage.simulator.effects())
    (filed,) = stage.approved(leaving(leaver.id))
    busy = {"error": {"code": "ServiceUnavailable", "message": "Try later."}}
    path = rf"users/{leaver.id}$"
    rule = {"match": {"method": "PATCH", "path": path}, "respond": {"status": 503, "body": busy}}
    stage.simulator.faults([rule])
    assert stage.worker().apply() == {filed.id: RequestState.APPROVED}
    stage.simulator.faults([])
    # As long as the account can sign in, nothing else is begun.
    assert stage.simulator.effects(seen) == []
    stage.clock.advance(seconds=31)
    stage.run([filed.id])
    assert stage.ledger.request(filed.id).state is RequestState.DONE
    kinds = [each["kind"] for each in stage.simulator.effects(seen)]
    assert kinds[:2] == ["update_user", "revoke_sessions"]


def test_an_heir_who_does_not_show_yet_is_waited_for(stage: Stage) -> None:
    leaver = somebody(stage.simulator)
    group = next(leaver.last_ownerships())
    seen = len(stage.simulator.effects())
    (filed,) = stage.approved(leaving(leaver.id))
    stage.simulator.stale_reads(3600)
    try:
        assert stage.worker().apply() == {filed.id: RequestState.APPROVED}
    finally:
        stage.simulator.stale_reads(0)
    owners = [e["kind"] for e in stage.simulator.effects(seen) if e["target"] == group]
    assert owners == ["add_group_owner"]
    stage.clock.advance(seconds=31)
    stage.run([filed.id])
    assert stage.ledger.request(filed.id).state is RequestState.DONE
    owners = [e["kind"] for e in stage.simulator.effects(seen) if e["target"] == group]
    assert owners == ["add_group_owner", "remove_group_owner"]


# ---- the date of leaving -------------------------------------------------------------------------

RULE = OffboardRule(file_from_leave_date=True)
HELD = ("User-LifeCycleInfo.Read.All",)


def leaves_on(leaver: Leaver, date: datetime | None) -> None:
    text = None if date is None else date.strftime("%Y-%m-%dT%H:%M:%SZ")
    leaver.graph("PATCH", f"users/{leaver.id}", {"employeeLeaveDateTime": text})


def test_a_date_of_leaving_files_one_request_and_a_change_of_it_takes_that_back(
    stage: Stage,
) -> None:
    leaver, later = somebody(stage.simulator), somebody(stage.simulator)
    now = stage.clock().replace(microsecond=0)
    soon = now + timedelta(days=3)
    leaves_on(leaver, soon)
    leaves_on(later, now + timedelta(days=60))
    reader = FactReader(stage.client)

    def look(rule: OffboardRule = RULE) -> tuple[list[str], list[str]]:
        found = file_leavers(stage.ledger, reader, HELD, rule)
        return list(found.filed), list(found.cancelled)

    with pytest.raises(LeaversUnreadError, match="grant the reading application"):
        file_leavers(stage.ledger, reader, (), RULE)
    ((key,), gone) = look()
    assert gone == []
    filed = stage.ledger.request(key)
    assert (filed.state, filed.request.not_before) == (RequestState.FILED, soon)
    assert filed.request.body == Offboard(user_id=leaver.id)
    assert look() == ([], [])
    # What is filed for a date still stands when less far ahead is looked.
    assert look(OffboardRule(ahead=timedelta(days=1))) == ([], [])
    leaves_on(leaver, soon + timedelta(days=1))
    (second,), gone = look()
    assert gone == [key]
    leaves_on(leaver, None)
    assert look() == ([], [second])
    leaves_on(leaver, soon)
    ((third,), gone) = look()
    assert gone == []
    assert third not in (key, second)
    # What people took back stays so.
    stage.ledger.cancel(third, person())
    assert look() == ([], [])
    leaves_on(leaver, None)
    leaves_on(later, None)


def test_it_is_approved_by_somebody_and_waits_for_its_date(program: Program) -> None:
    leaver = somebody(program.simulator)
    leaver.give(3)
    rules = LEAVING.replace("offboard: {}", "offboard: {file_from_leave_date: true}")
    program.policy(rules.replace("requester: false", "requester: true"))
    seen = len(program.simulator.effects())
    leaves_on(leaver, datetime.now(UTC) + timedelta(days=2))
    try:
        definitions = build_definitions(program.settings())
        with dg.DagsterInstance.ephemeral() as instance:
            context = dg.build_sensor_context(instance=instance, definitions=definitions)
            sensor = definitions.resolve_sensor_def(LEAVERS_SENSOR)
            told = [str(sensor(context).skip_message) for _ in range(2)]  # type: ignore[union-attr]
        assert told[0].startswith("1 requests filed, 0 cancelled")
        assert told[1].startswith("0 requests filed, 0 cancelled")
        with Provisioning(program.settings()) as opened:
            (filed,) = opened.ledger.requests(source=Source.LEAVE_DATE)
            opened.carry_out(wait=False, most_seconds=30)
            assert opened.ledger.request(filed.id).state is RequestState.FILED
            _, plan = opened.plan(filed.id)
            assert isinstance(plan, Plan), plan
            batch = [opened.ledger.request(filed.id)]
            assert against_approval(opened.policy, plan, batch, [], person(5)) == []
            opened.approve(filed.id, plan.hash, person(5), None)
            opened.carry_out(wait=False, most_seconds=30)
            assert opened.ledger.request(filed.id).state is RequestState.APPROVED
            # Its date has come; but it was moved meanwhile, which the worker sees before it begins.
            leaves_on(leaver, None)
            opened.carry_out(wait=False, most_seconds=30)
            assert opened.ledger.request(filed.id).state is RequestState.CANCELLED
    finally:
        leaves_on(leaver, None)
    assert {e["kind"] for e in program.simulator.effects(seen)} == {"update_user"}
    assert {e["details"]["properties"][0] for e in program.simulator.effects(seen)} == {
        "employeeLeaveDateTime"
    }
