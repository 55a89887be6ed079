"""A leaver's places in Exchange's lists: taken where Exchange lets them be, else kept and said."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.provisioning.ledger import Ledger
from entra_pipeline.provisioning.planning import Refusal
from entra_pipeline.provisioning.plans import Change, Plan
from entra_pipeline.provisioning.policy import Policy
from entra_pipeline.provisioning.states import OperationState, RequestState
from entra_pipeline.simulator.process import Simulator, running
from tests.provisioning.clock import Clock
from tests.provisioning.leaver import Leaver
from tests.provisioning.lists import EXCHANGE, Lists
from tests.provisioning.program import Program
from tests.provisioning.stage import Stage, staged
from tests.provisioning.test_effects import everything, told
from tests.provisioning.test_offboard import LEAVING
from tests.provisioning.test_offboard_rules import leaving
from tests.provisioning.walking import steps

BYPASS = {"BypassSecurityGroupManagerCheck": True}
_places = itertools.count(0, 2)


@pytest.fixture
def ledger_url(tmp_path: Path) -> Path:
    """What is the same in every database is looked at in one."""
    return tmp_path / "ledger.sqlite"


@pytest.fixture(scope="module")
def mailing() -> Iterator[Simulator]:
    roles = ("Privileged Authentication Administrator", "Exchange Administrator")
    with running(**{**EXCHANGE, "writer_roles": roles}, back_sync=0) as simulator:
        yield simulator


@pytest.fixture
def stage(ledger: Ledger, mailing: Simulator, tmp_path: Path, clock: Clock) -> Iterator[Stage]:
    policy = Policy.parse(LEAVING)
    with staged(ledger, mailing, tmp_path, clock, policy=policy, exchange=True) as opened:
        yield opened
    mailing.faults([])


@pytest.fixture
def lists(mailing: Simulator) -> Lists:
    return Lists(mailing)


def somebody(simulator: Simulator, *, managed: bool = True) -> Leaver:
    """A leaver who is no other test's, with a mailbox that Exchange names by its object id."""
    users = {user["id"]: user for user in simulator.truth("users")}
    while True:
        place = next(_places)
        leaver = Leaver(simulator, place, manager=place + 1 if managed else None)
        if users[leaver.id]["mail"] and int(leaver.id[:8], 16) % 3:
            return leaver


def managed_by(lists: Lists, group: str, *users: str) -> None:
    lists.ask("Set-DistributionGroup", group, ManagedBy=[*users], **BYPASS)


def some(lists: Lists, count: int) -> list[str]:
    return [key for key in lists.every() if lists.owners[key]][:count]


def planned(stage: Stage, user: str, **more: Any) -> Plan:
    filed = stage.ledger.file([leaving(user, **more)])
    plan = stage.plan(filed)
    assert isinstance(plan, Plan), plan
    return plan


def kept(plan: Plan, entitlement: str) -> Change:
    (found,) = (each for each in plan.delta.remains if each.entitlement_id == entitlement)
    return found


def about(plan: Plan, group: str) -> list[tuple[str, str | None]]:
    return [(e.action.value, e.principal_id) for e in plan.operations if e.target_id == group]


def test_memberships_end_and_what_only_the_leaver_manages_goes_to_the_manager(
    stage: Stage, lists: Lists
) -> None:
    leaver = somebody(stage.simulator)
    joined, shared, alone = some(lists, 3)
    if leaver.id not in lists.members[joined]:
        lists.ask("Add-DistributionGroupMember", joined, Member=leaver.id, **BYPASS)
    # Of neither of the two Graph knows: it has other owners, or none.
    managed_by(lists, shared, leaver.id, lists.stranger(shared))
    managed_by(lists, alone, leaver.id)
    seen = len(stage.simulator.effects())
    (filed,) = stage.approved(leaving(leaver.id))
    stage.run([filed.id])
    assert stage.ledger.request(filed.id).state is RequestState.DONE
    made = [
        (each["kind"], each["target"], each["principal"])
        for each in stage.simulator.effects(seen)
        if "exchange" in each["kind"] and each["target"] in (joined, shared, alone)
    ]
    assert sorted(made, key=lambda each: each[1]) == sorted(
        [
            ("add_exchange_owner", alone, leaver.manager),
            ("remove_exchange_owner", shared, leaver.id),
            ("remove_exchange_owner", alone, leaver.id),
            ("remove_exchange_member", joined, leaver.id),
        ],
        key=lambda each: each[1],
    )
    now = Lists(stage.simulator)
    assert leaver.id not in now.members[joined]
    assert leaver.id not in now.owners[shared]
    (row,) = now.ask("Get-DistributionGroup", alone, IncludeManagedByWithDisplayNames=True)
    (address,) = row["ManagedByWithDisplayNames"]
    assert address.startswith(f"{now.users[str(leaver.manager)]['mail']};")
    # Once more: nothing of Exchange's is left to take.
    again = planned(stage, leaver.id)
    assert not [each for each in again.operations if "exchange" in each.action]


def test_what_graph_alone_names_an_owner_stays_and_is_no_write(stage: Stage, lists: Lists) -> None:
    group, user = lists.with_owners(2)
    plan = planned(stage, user)
    assert ("remove_exchange_owner", user) in about(plan, group)
    assert "who manages a list is Exchange's" in (kept(plan, f"group:{group}:owner").why or "")
    lists.ask(
        "Set-DistributionGroup",
        group,
        ManagedBy={"@odata.type": "#Exchange.GenericHashTable", "Remove": [user]},
        **BYPASS,
    )
    plan = planned(stage, user)
    assert ("remove_exchange_owner", user) not in about(plan, group)
    assert kept(plan, f"group:{group}:owner").why


def test_where_exchange_is_not_configured_lists_stay_and_the_plan_says_why(
    ledger: Ledger, mailing: Simulator, tmp_path: Path, clock: Clock, lists: Lists
) -> None:
    leaver = somebody(mailing)
    group = next(key for key in some(lists, 9) if leaver.id not in lists.members[key])
    lists.ask("Add-DistributionGroupMember", group, Member=leaver.id, **BYPASS)
    with staged(ledger, mailing, tmp_path, clock, policy=Policy.parse(LEAVING)) as stage:
        plan = planned(stage, leaver.id)
        assert about(plan, group) == []
        why = kept(plan, f"group:{group}:member").why or ""
        assert "managed by Exchange, which is not configured here: set ENTRA_EXCHANGE=true" in why


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"path": "/value/0/IsDirSynced", "value": True}, "mastered on premises: change it there"),
        (
            {"path": "/value/0/RecipientTypeDetails", "value": "DynamicDistributionGroup"},
            "it is a DynamicDistributionGroup, whose members follow from a rule",
        ),
    ],
)
def test_lists_that_exchange_does_not_let_change_stay_and_hold_up_nothing(
    stage: Stage, lists: Lists, change: dict[str, Any], why: str
) -> None:
    leaver = somebody(stage.simulator)
    odd, plain = [key for key in some(lists, 12) if leaver.id not in lists.members[key]][:2]
    for group in (odd, plain):
        lists.ask("Add-DistributionGroupMember", group, Member=leaver.id, **BYPASS)
    match = {"path": "InvokeCommand", "body": f'"Get-DistributionGroup".*"Identity":"{odd}"'}
    stage.simulator.faults([{"match": match, "patch": [{"op": "replace", **change}]}])
    plan = planned(stage, leaver.id)
    assert about(plan, odd) == []
    assert why in (kept(plan, f"group:{odd}:member").why or "")
    assert about(plan, plain) == [("remove_exchange_member", leaver.id)]


def test_a_synced_list_stays_because_it_is_mastered_elsewhere(stage: Stage, lists: Lists) -> None:
    group, user = next(
        (key, each)
        for key, held in lists.groups.items()
        if held["onPremisesSyncEnabled"]
        for each in lists.members[key]
        if each in lists.users
    )
    plan = planned(stage, user)
    assert about(plan, group) == []
    assert "mastered on premises" in (kept(plan, f"group:{group}:member").why or "")


def test_what_exchange_refuses_to_write_is_told_and_the_rest_is_done(
    stage: Stage, lists: Lists
) -> None:
    leaver = somebody(stage.simulator)
    one, two = [key for key in some(lists, 12) if leaver.id not in lists.members[key]][:2]
    for group in (one, two):
        lists.ask("Add-DistributionGroupMember", group, Member=leaver.id, **BYPASS)
    (filed,) = stage.approved(leaving(leaver.id))
    text = "Ex6F9304|Microsoft.Exchange.Configuration.Tasks.TaskException|Not this one."
    body = {"error": {"code": "BadRequest", "message": "No.", "details": [{"message": text}]}}
    match = {"path": "InvokeCommand", "body": f"Remove-DistributionGroupMember.*{one}"}
    stage.simulator.faults([{"match": match, "respond": {"status": 400, "body": body}}])
    for _ in range(40):
        stage.worker().apply()
        stage.worker().verify()
        stage.clock.advance(seconds=31)
    failed = stage.ledger.request(filed.id)
    assert failed.state is RequestState.FAILED
    assert any(one in reason and "Not this one" in reason for reason in failed.reasons)
    states = {each.operation.target_id: each.state for each in steps(stage, filed)}
    assert states.pop(one) is OperationState.REFUSED
    assert set(states.values()) == {OperationState.VERIFIED}
    now = Lists(stage.simulator)
    assert (leaver.id in now.members[one], leaver.id in now.members[two]) == (True, False)


def test_lists_that_cannot_be_read_are_not_taken_for_none(stage: Stage) -> None:
    leaver = somebody(stage.simulator)
    body = {"error": {"code": "Forbidden", "message": "|System.Exception|Not for you."}}
    match = {"path": "InvokeCommand", "body": '"ManagedBy"'}
    stage.simulator.faults([{"match": match, "respond": {"status": 403, "body": body}}])
    filed = stage.ledger.file([leaving(leaver.id)])
    plan = stage.plan(filed)
    assert isinstance(plan, Refusal)
    assert "Not for you" in plan.reasons[filed[0].id][0]


def test_an_heir_without_a_mailbox_gets_no_list_and_the_plan_says_so(
    stage: Stage, lists: Lists
) -> None:
    leaver = somebody(stage.simulator)
    (alone,) = some(lists, 1)
    managed_by(lists, alone, leaver.id)
    mailless = next(
        key for key, user in lists.users.items() if not user["mail"] and user["accountEnabled"]
    )
    plan = planned(stage, leaver.id, hand_over_to=mailless)
    assert about(plan, alone) == []
    said = "its last owner, and it cannot be handed over"
    assert said in (kept(plan, f"group:{alone}:owner").why or "")
    assert "has no mail address" in (kept(plan, f"group:{alone}:owner").why or "")
    assert any(alone in warning and said in warning for warning in plan.warnings)


def test_of_who_manages_a_list_no_table_will_tell_and_the_plan_says_so(
    mailing: Simulator, tmp_path: Path, lists: Lists
) -> None:
    program = Program(mailing, tmp_path)
    program.env["ENTRA_EXCHANGE"] = "true"
    named = mailing.truth("group_owners")
    group, user = next(
        (key, each)
        for key in lists.every()
        for each in lists.owners[key]
        if len(lists.owners[key]) > 1 and each in named.get(key, ())
    )
    before = everything(program)
    key = program.asked("revoke", user, f"group:{group}:owner")
    plan = program.json("plan", key)["plan"]
    program("approve", key, "--plan", plan["hash"])
    program("apply", "--wait")
    assert program.effects() == [("remove_exchange_owner", group, user)]
    # Graph goes on naming the owner.
    assert told(plan["delta"]["lost"]) == before - everything(program) == set()
    assert any("who manages a list" in said for said in plan["delta"]["unknown"])
