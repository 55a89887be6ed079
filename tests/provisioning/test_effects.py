"""What a plan says it means for effective access is what it comes to; what is not known is said."""

from __future__ import annotations

import itertools
import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from entra_pipeline.simulator.process import Simulator, running
from tests.provisioning.program import ALONE, Program
from tests.provisioning.tenant import Tenant
from tests.support import sync

FREE = """\
version: 1
os_user_approves: true
separate: {requester: false, beneficiary: false}
approvals: {control: 1, sensitive: 1, ordinary: 1}
longest: {control: null}
limits: {plan: {}, hour: {}, day: {}}
"""
_numbers = itertools.count(1)
Held = set[tuple[str, str, str]]


@pytest.fixture(scope="module")
def simulator() -> Any:
    with running(users=60, groups=40, seed=23, writer=True) as found:
        yield found


@pytest.fixture
def program(simulator: Simulator, tmp_path: Path) -> Program:
    made = Program(simulator, tmp_path)
    made.policy(FREE)
    return made


def everything(program: Program) -> Held:
    """(principal, entitlement, state) of all effective access, as of a sync now."""
    sync(program.simulator, program.data)
    with duckdb.connect(str((program.data / "warehouse.duckdb").resolve()), read_only=True) as read:
        rows = read.execute("SELECT principal_id, entitlement_id, state FROM effective_grants")
        return {tuple(row) for row in rows.fetchall()}


def told(changes: list[dict[str, Any]]) -> Held:
    return {(each["principal_id"], each["entitlement_id"], each["state"]) for each in changes}


def new_groups(program: Program, number: int) -> list[str]:
    """Groups that nobody is in and that hold nothing."""
    requests = [
        {
            "kind": "create_group",
            "display_name": f"New {next(_numbers)}",
            "reason": "ticket 4711",
        }
        for _ in range(number)
    ]
    file = program.folder / "groups.json"
    file.write_text(json.dumps({"requests": requests}))
    found = program.json("plan", str(file))
    program("approve", found["batch"], "--plan", found["plan"]["hash"])
    program("apply", "--wait")
    shown = [program.json("show", each["id"]) for each in found["requests"]]
    return [each["operations"][0]["result"]["id"] for each in shown]


def some_requests(tenant: Tenant, pick: random.Random, number: int) -> list[dict[str, str]]:
    """Grants and revokes that nothing stands against: of members, owners and app roles."""
    groups, (app, role) = list(tenant.plain()), tenant.custom_app()
    found: dict[tuple[str, str], dict[str, str]] = {}
    while len(found) < number:
        group, user = pick.choice(groups), pick.choice(tenant.users)
        form = pick.choice(["join", "join", "nest", "leave", "app", "owner"])
        kind, who, what = "grant", user, f"group:{group}:member"
        if form == "nest":
            who = pick.choice([each for each in groups if each != group])
        elif form == "leave":
            if not tenant.members.get(group):
                continue
            kind, who = "revoke", pick.choice(tenant.members[group])
        elif form == "app":
            what = f"app:{app}:{role}"
            who = pick.choice([user, group])
        elif form == "owner":
            what = f"group:{group}:owner"
        found.setdefault(
            (who, what),
            {"kind": kind, "principal_id": who, "access": what, "reason": "by chance"},
        )
    return list(found.values())


def comes_true(program: Program, seed: int, plans: int) -> int:
    """Random plans, one after the other, each against the sync after it; the changes in all."""
    pick = random.Random(seed)
    was, changes = everything(program), 0
    for number in range(plans):
        requests = some_requests(Tenant(program.simulator), pick, pick.randint(1, 6))
        file = program.folder / f"{seed}-{number}.json"
        file.write_text(json.dumps({"requests": requests}))
        found = program.json("plan", str(file), code=None)
        if found["plan"] is None:
            continue  # a person who is a guest, say, cannot own the group
        program("approve", found["batch"], "--plan", found["plan"]["hash"])
        program("apply", "--wait")
        is_now = everything(program)
        delta = found["plan"]["delta"]
        assert told(delta["gained"]) == is_now - was
        assert told(delta["lost"]) == was - is_now
        assert (delta["gained_count"], delta["lost_count"]) == (
            len(is_now - was),
            len(was - is_now),
        )
        assert delta["unknown"] == []
        assert told(delta["remains"]) <= is_now
        changes += len(is_now ^ was)
        was = is_now
    return changes


def test_what_plans_foretell_is_what_the_next_sync_finds(program: Program) -> None:
    assert comes_true(program, seed=1, plans=2) > 3


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 15))
def test_what_plans_foretell_is_what_the_next_sync_finds_many_times(
    program: Program, seed: int
) -> None:
    assert comes_true(program, seed=seed, plans=20) > 20


def test_what_was_written_since_the_sync_counts_and_what_it_cannot_know_is_said(
    program: Program,
) -> None:
    tenant = Tenant(program.simulator)
    app, role = tenant.custom_app()
    (group,) = new_groups(program, 1)
    user = tenant.users[7]
    first = program.json("plan", program.asked("grant", user, f"group:{group}:member"))["plan"]
    assert told(first["delta"]["gained"]) == {(user, f"group:{group}:member", "active")}
    assert first["delta"]["unknown"] == ["what comes through groups, as nothing was synced yet"]
    assert "facts_as_of" not in first
    before = everything(program)
    program.approved("grant", user, f"group:{group}:member")
    program("apply", "--wait")
    # The warehouse does not know of the membership: the ledger does.
    key = program.asked("grant", group, f"app:{app}:{role}")
    plan = program.json("plan", key)["plan"]
    assert (user, f"app:{app}:{role}", "active") in told(plan["delta"]["gained"]) | before
    assert {one[0] for one in told(plan["delta"]["gained"])} >= {group}
    assert plan["delta"]["unknown"] == []
    shown = program("plan", key).out
    assert f"+ {group}  app:{app}:{role}" in shown
    (made,) = new_groups(program, 1)
    key = program.asked("grant", user, f"group:{made}:member")
    plan = program.json("plan", key)["plan"]
    assert told(plan["delta"]["gained"]) == {(user, f"group:{made}:member", "active")}
    assert plan["delta"]["unknown"] == [
        f"what the last sync did not see means: {user} and group:{made}:member"
    ]


def test_facts_that_are_too_old_or_not_whole_are_said(program: Program) -> None:
    tenant = Tenant(program.simulator)
    group = next(tenant.plain())
    everything(program)
    key = program.asked("grant", tenant.stranger(group), f"group:{group}:member")
    assert program.json("plan", key)["plan"]["delta"]["unknown"] == []
    with duckdb.connect(str((program.data / "warehouse.duckdb").resolve())) as warehouse:
        warehouse.execute(
            "UPDATE table_status SET as_of = ? WHERE \"table\" = 'group_members'",
            [datetime.now(UTC) - timedelta(hours=25)],
        )
        warehouse.execute(
            "UPDATE table_status SET status = 'partial' WHERE \"table\" = 'role_assignments'"
        )
    unknown = program.json("plan", key)["plan"]["delta"]["unknown"]
    assert unknown == [
        "what depends on role_assignments (partial)",
        "what depends on group_members (read longer ago than the policy wants: sync)",
    ]
    program.policy(f"{FREE}oldest_facts: 3d\n")
    unknown = program.json("plan", key)["plan"]["delta"]["unknown"]
    assert unknown == ["what depends on role_assignments (partial)"]


def test_limits_count_effective_access_and_the_way_past_is_what_people_approve(
    program: Program,
) -> None:
    tenant = Tenant(program.simulator)
    inner = next(each for each in tenant.plain() if tenant.members.get(each))
    outer, *groups = new_groups(program, 3)
    everything(program)
    key = program.asked("grant", inner, f"group:{outer}:member")
    gained = program.json("plan", key)["plan"]["delta"]["gained_count"]
    assert gained > 1
    program.policy(f"{ALONE}limits: {{plan: {{gained: {gained - 1}}}, hour: {{}}, day: {{}}}}\n")
    refused = program.json("plan", key, code=1)["refused"]
    (said,) = refused[0]["reasons"]
    assert f"{gained} pieces of effective access would be gained by this plan" in said
    assert f"--most-gained {gained}" in said
    program("plan", key, "--most-gained", str(gained - 1), code=1)
    found = program.json("plan", key, "--most-gained", str(gained))["plan"]
    assert found["limits"] == {"gained": gained}
    assert (
        f"Asks leave for up to {gained}" in program("plan", key, "--most-gained", f"{gained}").out
    )
    program("approve", key, "--plan", found["hash"])
    # Within the hour, what is approved and not yet written counts as well; so at each approval.
    program.policy(f"{ALONE}limits: {{plan: {{}}, hour: {{gained: {gained + 1}}}, day: {{}}}}\n")
    user = tenant.stranger(outer)
    one, two = (program.asked("grant", user, f"group:{each}:owner") for each in groups)
    hashes = [program.planned(each) for each in (one, two)]
    program("approve", one, "--plan", hashes[0])
    late = program("approve", two, "--plan", hashes[1], code=1)
    assert "would be gained within one hour" in late.err
    assert "within one hour" in program.json("plan", two, code=1)["refused"][0]["reasons"][0]


def test_nobody_comes_to_hold_both_sides_of_a_conflict_not_even_through_groups(
    program: Program,
) -> None:
    tenant = Tenant(program.simulator)
    paying, ordering, team, fourth = new_groups(program, 4)
    user, other = tenant.users[3:5]
    sides = f"[[group:{paying}:member], [group:{ordering}:member]]"

    def rule(more: str = "") -> None:
        program.policy(f"{FREE}conflicts:\n- name: payments\n  sides: {sides}\n{more}")

    def exception(left: timedelta) -> str:
        until = (datetime.now(UTC) + left).isoformat()
        return f"  exceptions: [{{principal: {user}, until: {until}, reason: cover}}]\n"

    rule()
    key = program.asked("grant", user, f"group:{paying}:member")
    blind = program.json("plan", key, code=1)["refused"][0]["reasons"][0]
    assert "is not known: what comes through groups, as nothing was synced yet. Sync" in blind
    everything(program)
    for who, what in ((user, paying), (team, ordering), (other, team)):
        program.approved("grant", who, f"group:{what}:member")
    program("apply", "--wait")
    # Through the team: the ledger knows what the warehouse does not yet.
    key = program.asked("grant", user, f"group:{team}:member")
    (said,) = program.json("plan", key, code=1)["refused"][0]["reasons"]
    both = f"group:{paying}:member and group:{ordering}:member"
    assert said == f"{user} would hold both sides of 'payments': {both}"
    rule(exception(timedelta(days=2)))
    (said,) = program.json("plan", key, code=1)["refused"][0]["reasons"]
    assert "their exception ends" in said
    short = program.asked("grant", user, f"group:{team}:member", "--duration", "1d")
    assert program.json("plan", short)["plan"]["operations"]
    rule(exception(timedelta(days=-1)))
    (said,) = program.json("plan", short, code=1)["refused"][0]["reasons"]
    assert "their exception ended" in said
    # Who holds neither of them may have one; a whole group that has both may not.
    rule()
    assert program.json("plan", program.asked("grant", other, f"group:{fourth}:member"))["plan"]
    (said,) = program.json("plan", program.asked("grant", team, f"group:{paying}:member"), code=1)[
        "refused"
    ][0]["reasons"][:1]
    assert "would hold both sides of 'payments'" in said
