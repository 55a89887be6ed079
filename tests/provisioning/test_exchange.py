"""Distribution lists and mail-enabled security groups, changed through Exchange."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.doctor import diagnose
from entra_pipeline.provisioning.ledger import Ledger
from entra_pipeline.provisioning.states import OperationState as O
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.values import Grant, GroupAccess, Mode, Revoke
from entra_pipeline.simulator.process import Simulator, running
from tests.provisioning.clock import Clock
from tests.provisioning.lists import EXCHANGE, Lists
from tests.provisioning.making import grant
from tests.provisioning.program import Program
from tests.provisioning.stage import Stage, staged
from tests.provisioning.tenant import Tenant
from tests.provisioning.walking import refused, walk


@pytest.fixture(scope="module")
def mailing() -> Iterator[Simulator]:
    with running(**EXCHANGE, back_sync=0, exchange_redirect=True) as simulator:
        yield simulator


@pytest.fixture
def stage(ledger: Ledger, mailing: Simulator, tmp_path: Path, clock: Clock) -> Iterator[Stage]:
    with staged(ledger, mailing, tmp_path, clock, exchange=True) as opened:
        yield opened
    mailing.faults([])
    mailing.stale_reads(0)


@pytest.fixture
def program(mailing: Simulator, tmp_path: Path) -> Program:
    made = Program(mailing, tmp_path)
    made.env["ENTRA_EXCHANGE"] = "true"
    return made


def test_a_member_is_granted_and_revoked_without_knowing_of_exchange(
    program: Program, mailing: Simulator
) -> None:
    lists = Lists(mailing)
    group = lists.some()
    user = lists.stranger(group)
    key = program.asked("grant", user, f"group:{group}:member")
    shown = program("plan", key)
    assert f"+ add_exchange_member    {group}  {user}  tier 2" in shown.out
    program("approve", key, "--plan", shown.out.split("Hash: ")[1].split()[0])
    done = program.json("apply", "--wait")
    assert done["requests"] == [{"id": key, "state": "done"}]
    assert program.effects() == [("add_exchange_member", group, user)]
    (operation,) = program.json("show", key)["operations"]
    assert (operation["state"], operation["added"]) == ("verified", True)
    effect = mailing.effects()[-1]
    assert effect["request_id"] == operation["tries"][0]["client_request_id"]
    program.approved("revoke", user, f"group:{group}:member")
    program("apply", "--wait")
    assert program.effects()[1:] == [("remove_exchange_member", group, user)]
    assert program.json("verify-audit")["findings"] == []


def test_without_exchange_it_is_refused_and_the_remedy_is_told(
    program: Program, mailing: Simulator
) -> None:
    lists = Lists(mailing)
    group = lists.some()
    key = program.asked("grant", lists.stranger(group), f"group:{group}:member")
    refused = program("plan", key, code=1, ENTRA_EXCHANGE="false")
    said = " ".join((refused.out + refused.err).split())
    assert "managed by Exchange, which is not configured here: set ENTRA_EXCHANGE=true" in said
    assert "Exchange.ManageAsApp" in said
    assert "Exchange Administrator" in said
    assert program.effects() == []


SQLITE = pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)


@pytest.mark.parametrize("relation", ["member", "owner"])
@pytest.mark.parametrize("secure", [True, False])
@SQLITE
def test_given_twice_and_taken_twice_each_is_written_once(
    stage: Stage, relation: Any, secure: bool
) -> None:
    lists = Lists(stage.simulator)
    group = next(lists.every(secure=secure))
    user = lists.stranger(group)
    access = GroupAccess(group_id=group, relation=relation)
    given = Grant(principal_id=user, access=access)
    taken = Revoke(principal_id=user, access=access)
    walk(
        stage,
        (given, O.WRITTEN),
        (given, O.ALREADY),
        (taken, O.WRITTEN),
        (taken, O.ALREADY),
        (given, O.WRITTEN),
        (taken, O.WRITTEN),
    )
    kinds = [f"{how}_exchange_{relation}" for how in ("add", "remove") * 2]
    assert stage.effects() == [(kind, group, user) for kind in kinds]


@SQLITE
def test_who_owns_a_list_under_an_old_name_is_known_by_the_address(stage: Stage) -> None:
    lists = Lists(stage.simulator)
    group = next(lists.every(secure=True))
    held = set(lists.owners[group])
    # Every third mailbox has a name of its own instead of its object id.
    old = next(
        key
        for key, user in lists.users.items()
        if int(key[:8], 16) % 3 == 0 and user["mail"] and key not in held
    )
    access = GroupAccess(group_id=group, relation="owner")
    given, taken = (kind(principal_id=old, access=access) for kind in (Grant, Revoke))
    walk(stage, (given, O.WRITTEN))
    (row,) = lists.ask("Get-DistributionGroup", group)
    assert old not in row["ManagedBy"]
    assert lists.users[old]["displayName"] in row["ManagedBy"]
    walk(stage, (given, O.ALREADY), (taken, O.WRITTEN))
    # Nobody else was put out.
    assert set(Lists(stage.simulator).owners[group]) == held


@SQLITE
def test_the_last_owner_stays_also_when_the_other_went_after_the_plan(stage: Stage) -> None:
    lists = Lists(stage.simulator)
    group, first = lists.with_owners(2)
    second, *others = [each for each in lists.owners[group] if each != first]
    access = GroupAccess(group_id=group, relation="owner")
    for each in others:
        stage.done(grant(body=Revoke(principal_id=each, access=access)))
    (mine,) = stage.approved(grant(body=Revoke(principal_id=first, access=access)))
    (theirs,) = stage.approved(grant(body=Revoke(principal_id=second, access=access)))
    stage.run([mine.id])
    stage.run([theirs.id])
    stale = stage.ledger.request(theirs.id)
    assert stale.state is RequestState.STALE
    assert stale.reasons == (f"the last owner of group {group} would go",)
    said = refused(stage, Revoke(principal_id=second, access=access))
    assert said == f"{second} is the last owner of group {group}: name another one first"
    for each in (first, *others):
        stage.done(grant(body=Grant(principal_id=each, access=access)))


@SQLITE
def test_what_exchange_cannot_do_is_refused_before_anything_is_written(stage: Stage) -> None:
    simulator = stage.simulator
    lists, tenant = Lists(simulator), Tenant(simulator)
    group = next(lists.every(secure=False))
    access = GroupAccess(group_id=group)
    mailless = next(key for key, user in lists.users.items() if not user["mail"])
    team = next(g["id"] for g in tenant.groups if "Unified" in g["groupTypes"])
    app = tenant.service_principals[0]["id"]
    owner = GroupAccess(group_id=group, relation="owner")
    other = next(key for key in lists.every(secure=False) if key != group)
    synced = next(key for key, each in lists.groups.items() if each["onPremisesSyncEnabled"])
    user = lists.stranger(group)
    for body, said in (
        (Grant(principal_id=mailless, access=access), "has no mail address"),
        (Grant(principal_id=team, access=access), "of groups only distribution lists"),
        (Grant(principal_id=app, access=access), "a serviceprincipal cannot be member of a list"),
        (Grant(principal_id=group, access=access), "cannot be in itself"),
        (Grant(principal_id=other, access=owner), "only mail-enabled security groups can own"),
        (Grant(principal_id=user, access=GroupAccess(group_id=synced)), "mastered on premises"),
        (
            Grant(principal_id=user, access=access, mode=Mode.PIM_ELIGIBLE),
            "managed by Exchange, which has no PIM",
        ),
    ):
        assert said in refused(stage, body)
    assert stage.effects() == []


@SQLITE
def test_a_grant_for_a_while_is_taken_back_by_exchange_too(stage: Stage) -> None:
    lists = Lists(stage.simulator)
    group = next(lists.every(secure=False))
    user, held = lists.stranger(group), lists.members[group][0]
    access = GroupAccess(group_id=group)
    end = stage.clock() + timedelta(hours=8)
    stage.done(
        grant(body=Grant(principal_id=user, access=access), expires_at=end),
        grant(body=Grant(principal_id=held, access=access), expires_at=end),
    )
    stage.clock.now = end
    swept = stage.sweep()
    assert (len(swept.approved), len(swept.nothing)) == (1, 1)
    stage.run(swept.approved)
    assert stage.effects() == [
        ("add_exchange_member", group, user),
        ("remove_exchange_member", group, user),
    ]


@SQLITE
def test_a_role_that_exchange_has_not_heard_of_is_told_as_the_remedy(
    stage: Stage, tmp_path: Path
) -> None:
    lists = Lists(stage.simulator)
    group = next(lists.every(secure=False))
    access = GroupAccess(group_id=group)
    (filed,) = stage.approved(grant(body=Grant(principal_id=lists.stranger(group), access=access)))
    text = "Ex6F9304|System.Management.Automation.CommandNotFoundException|The term is not known."
    body = {"error": {"code": "NotFound", "message": "No.", "details": [{"message": text}]}}
    rule = {
        "match": {"path": "InvokeCommand", "body": "Add-DistributionGroupMember"},
        "respond": {"status": 404, "body": body},
    }
    stage.simulator.faults([rule])
    stage.run([filed.id])
    failed = stage.ledger.request(filed.id)
    assert failed.state is RequestState.FAILED
    assert "the directory role Exchange Administrator" in failed.reasons[0]
    assert stage.effects() == []


def test_the_doctor_tells_what_keeps_lists_from_being_changed(tmp_path: Path) -> None:
    with running(users=20, groups=10, seed=3, writer=True) as simulator:
        program = Program(simulator, tmp_path)
        only_read = program.settings(ENTRA_EXCHANGE="true", ENTRA_PROVISIONING="false")
        (line,) = [check for check in diagnose(only_read).checks if check.name == "exchange"]
        assert "a directory role such as Global Reader" in line.summary
        off = {check.name: check for check in diagnose(program.settings()).checks}
        assert off["exchange"].state == "skipped"
        assert "not configured" in off["exchange"].summary
        assert "writer: add_exchange_member" not in off
        checks = diagnose(program.settings(ENTRA_EXCHANGE="true")).checks
        found = {check.name: check for check in checks}
        assert "a directory role such as Global Reader" in found["exchange"].summary
        for kind in ("add", "remove"):
            for relation in ("member", "owner"):
                summary = found[f"writer: {kind}_exchange_{relation}"].summary
                assert summary.endswith("a directory role such as Exchange Administrator")
    without = {**EXCHANGE, "users": 20, "groups": 10}
    with running(**without, writer_without_permission=("Exchange.ManageAsApp",)) as simulator:
        program = Program(simulator, tmp_path)
        checks = diagnose(program.settings(ENTRA_EXCHANGE="true")).checks
        found = {check.name: check for check in checks}
        assert found["exchange"].state == "ok"
        summary = found["writer: add_exchange_owner"].summary
        assert summary == "cannot be carried out, missing: Exchange.ManageAsApp"
