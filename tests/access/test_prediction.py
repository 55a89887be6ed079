"""What facts would give and take, foretold and compared with the warehouse that is built then."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.access.prediction import EVERYTHING, Fact, Held, predict
from tests.access.tenant import Tenant
from tests.access.test_agreement import random_tenant
from tests.access.test_diff import everything

USERS = [f"u{i}" for i in range(6)]
GROUPS = [f"g{i}" for i in range(7)]
Row = dict[str, Any]


def told(held: tuple[Held, ...]) -> set[tuple[str, str, str]]:
    found = {(each.principal_id, each.entitlement_id, each.state) for each in held}
    assert len(found) == len(held)
    return found


def row_of(fact: Fact) -> tuple[str, Row]:
    """The table whose row says a fact, and what of the row does."""
    kind, _, rest = fact.entitlement_id.partition(":")
    eligible = fact.state == "eligible"
    who = fact.principal_id
    row: Row
    if kind == "role":
        role, scope = rest.split("@")
        table = "role_eligibility_schedule_instances" if eligible else "role_assignments"
        return table, {"principal_id": who, "role_definition_id": role, "directory_scope_id": scope}
    resource, _, part = rest.partition(":")
    if kind == "app":
        row = {"resource_id": resource, "app_role_id": part, "principal_id": who}
        return "app_role_assignments", row
    if kind == "license":
        row = {"user_id": who, "sku_id": rest, "source_group_id": "", "state": "Active"}
        return "license_assignments", row
    if eligible:
        row = {"group_id": resource, "principal_id": who, "access_id": part}
        return "group_eligibility_schedule_instances", row
    if part == "owner":
        return "group_owners", {"group_id": resource, "owner_id": who}
    return "group_members", {"group_id": resource, "member_id": who}


def come_true(tenant: Tenant, fact: Fact) -> None:
    """Write the fact into the tables, with what Entra makes of it for licences."""
    table, row = row_of(fact)
    rows: list[Row] = tenant.rows.setdefault(table, [])
    same = [each for each in rows if row.items() <= each.items()]
    if fact.adds and not same:
        rows.append(row if "member_id" in row or "owner_id" in row else {"id": repr(fact), **row})
        if "user_id" in row:
            del rows[-1]["id"]
    if not fact.adds:
        rows[:] = [each for each in rows if each not in same]
    group = str(row.get("group_id"))
    if table != "group_members" or fact.principal_id not in USERS:
        return
    licences = tenant.rows["license_assignments"]
    by_it = {"user_id": fact.principal_id, "sku_id": "e5", "source_group_id": group}
    if not fact.adds:
        licences[:] = [each for each in licences if not by_it.items() <= each.items()]
    elif any(each["source_group_id"] == group for each in licences) and not same:
        licences[:] = [each for each in licences if not by_it.items() <= each.items()]
        licences.append({**by_it, "state": "Active"})


def some_facts(seed: int, number: int) -> list[Fact]:
    pick = random.Random(seed)
    found: dict[tuple[str, str, str], Fact] = {}
    while len(found) < number:
        who = pick.choice([*USERS, *GROUPS])
        people = who in USERS
        group = pick.choice(GROUPS)
        what, state = pick.choice(
            [
                (f"group:{group}:member", "active"),
                (f"group:{group}:member", "active"),
                (f"group:{group}:member", "eligible"),
                (f"role:{pick.choice(['r0', 'r1'])}@/", pick.choice(["active", "eligible"])),
                (f"role:r0@/administrativeUnits/{group}", "active"),
                ("app:sp1:a0", "active"),
                *([(f"group:{group}:owner", "active"), ("license:e5", "active")] if people else []),
            ]
        )
        if what.startswith(f"group:{who}:"):
            continue
        found[what, who, state] = Fact(pick.random() < 0.6, what, who, state)
    return list(found.values())


def foretold(folder: Path, tenant: Tenant, facts: list[Fact], since: list[Fact]) -> None:
    tenant = copy.deepcopy(tenant)
    published = tenant.build(folder / "published" / "w.duckdb")
    for fact in since:
        come_true(tenant, fact)
    before = tenant.build(folder / "before" / "w.duckdb")
    for fact in facts:
        come_true(tenant, fact)
    after = tenant.build(folder / "after" / "w.duckdb")
    found = predict(published, facts, since=since, watch=["app:sp1:a0", "role:r0@/"])
    was, will_be = everything(before), everything(after)
    assert told(found.gained) == will_be - was
    assert told(found.lost) == was - will_be
    assert not [fact for fact in found.unseen if fact.adds]
    assert told(found.kept) <= will_be
    watch = {"app:sp1:a0", "role:r0@/"}
    new = {one[:2] for one in will_be - was if one[1] in watch}
    assert {(who, what) for who, (ids, _) in found.watched.items() for what in ids} == new
    for who, (_, held) in found.watched.items():
        assert held == {what for one, what, _ in will_be if one == who} & watch
    if not since:
        assert found.total == len(was)


@pytest.mark.parametrize(
    "seed",
    [*range(2), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 8))],
)
def test_what_is_foretold_comes_true(tmp_path: Path, seed: int) -> None:
    facts = some_facts(seed, 1 + seed % 5)
    foretold(tmp_path, random_tenant(seed), facts, some_facts(seed + 50, seed % 3))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 400))
def test_what_is_foretold_comes_true_many_times(tmp_path: Path, seed: int) -> None:
    facts = some_facts(seed, 1 + seed % 7)
    foretold(tmp_path, random_tenant(seed), facts, some_facts(seed + 1000, seed % 4))


def small() -> Tenant:
    tenant = Tenant().users("u0", "u1").groups("g0", "g1", "g2")
    tenant.members("g0", "u0").members("g1", "g0").app("s").app_role("s", "a", "g0", "g2")
    return tenant.members("g2", "u0").role("r", "g1")


def test_what_other_paths_still_bring_is_kept_and_what_is_unknown_is_said(tmp_path: Path) -> None:
    published = small().build(tmp_path / "w.duckdb")
    leaves = Fact(False, "group:g0:member", "u0")
    nobody = Fact(True, "group:g0:member", "who")
    there = Fact(True, "app:s:a", "g0")
    not_there = Fact(False, "app:s:a", "u1")
    found = predict(published, [leaves, nobody, there, not_there])
    assert told(found.lost) == {
        ("u0", "group:g0:member", "active"),
        ("u0", "group:g1:member", "active"),
        ("u0", "role:r@/", "active"),
    }
    assert told(found.kept) == {("u0", "app:s:a", "active")}
    assert found.gained == ()
    assert found.unseen == (nobody,)
    assert found.otherwise == (there, not_there)


def test_who_goes_loses_all_that_they_hold(tmp_path: Path) -> None:
    published = small().build(tmp_path / "w.duckdb")
    found = predict(published, [Fact(False, EVERYTHING, "u0")])
    assert told(found.lost) == {one for one in everything(published) if one[0] == "u0"}
    assert len(found.lost) == 5
    assert (found.gained, found.kept, found.unseen, found.otherwise) == ((), (), (), ())
    few = predict(published, [Fact(False, EVERYTHING, "u0")], most=2)
    assert (few.lost, few.lost_count) == (found.lost[:2], 5)
