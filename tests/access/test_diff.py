"""What was gained and lost between two warehouses, against the full expansion of both."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import duckdb
import pytest

from entra_pipeline.access import build
from entra_pipeline.access.diff import Difference, Line, diff
from entra_pipeline.tables import Status
from tests.access.tenant import NOW, SYNC, Tenant
from tests.access.test_agreement import random_tenant

Held = set[tuple[str, str, str]]


def everything(path: Path) -> Held:
    """(principal, entitlement, state) of all effective access."""
    with duckdb.connect(str(path), read_only=True) as connection:
        rows = connection.execute(
            "SELECT principal_id, entitlement_id, state FROM effective_grants"
        ).fetchall()
    return {tuple(row) for row in rows}


def grants(path: Path) -> Held:
    """(principal, entitlement, state) of all direct holds."""
    with duckdb.connect(str(path), read_only=True) as connection:
        rows = connection.execute("SELECT principal_id, entitlement_id, state FROM grants")
        return {tuple(row) for row in rows.fetchall()}


def unknown(path: Path) -> set[str]:
    """Ids that are named and that no table has."""
    with duckdb.connect(str(path), read_only=True) as connection:
        rows = connection.execute("SELECT id FROM principals WHERE kind = 'unknown'").fetchall()
    return {row[0] for row in rows}


def told(difference: Difference, change: str) -> list[tuple[str, str, str]]:
    return [
        (line.principal.id, line.entitlement_id, line.state)
        for line in difference.lines
        if line.change == change
    ]


def built(home: Path, before: Tenant, after: Tenant) -> tuple[Path, Path]:
    return before.build(home / "before" / "w.duckdb"), after.build(home / "after" / "w.duckdb")


def changed(tenant: Tenant, seed: int, changes: int) -> Tenant:
    """The tenant with some rows gone and some pointing elsewhere."""
    pick = random.Random(seed)
    other = copy.deepcopy(tenant)
    ids = [f"u{i}" for i in range(6)] + [f"g{i}" for i in range(7)]
    for _ in range(changes):
        table = pick.choice(sorted(t for t, rows in other.rows.items() if rows))
        rows = other.rows[table]
        row = rows.pop(pick.randrange(len(rows)))
        held_by = {"group_members": "member_id", "role_assignments": "principal_id"}.get(table)
        if held_by:
            fresh = {**row, held_by: pick.choice(ids), "id": f"new{pick.random()}"}
            if table == "group_members":
                del fresh["id"]
                if fresh["member_id"] == fresh["group_id"]:
                    continue
            if fresh not in rows:
                rows.append(fresh)
    return other


def check(before: Path, after: Path) -> None:
    found = diff(before, after)
    was, is_now = everything(before), everything(after)
    gained, lost = told(found, "gained"), told(found, "lost")
    assert len(gained) == len(set(gained))
    assert len(lost) == len(set(lost))
    assert set(gained) == is_now - was
    assert set(lost) == was - is_now
    assert (found.gained, found.lost) == (len(gained), len(lost))
    facts_before, facts_after = grants(before), grants(after)
    gone = unknown(before) ^ unknown(after)
    for line in found.lines:
        assert line.causes, f"{line} has no cause"
        for cause in line.causes:
            fact = (cause.principal.id, cause.entitlement_id, cause.state)
            if cause.kind == "license":
                assert line.principal.id == cause.principal.id
                assert line.entitlement_id == cause.entitlement_id
                continue
            here, there = (
                (facts_after, facts_before)
                if line.change == "gained"
                else (facts_before, facts_after)
            )
            assert fact in here, f"{cause} is no fact where {line.change}"
            # What is no principal any more on one side passes on less from there.
            assert fact not in there or fact[0] in gone or cause.kind == "grant"


@pytest.mark.parametrize(
    "seed",
    [*range(2), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 6))],
)
def test_lines_are_exactly_the_difference_of_the_full_expansions(tmp_path: Path, seed: int) -> None:
    before = random_tenant(seed)
    after = changed(before, seed, changes=1 + seed % 6)
    check(*built(tmp_path, before, after))


@pytest.mark.parametrize("seed", [0, pytest.param(2, marks=pytest.mark.soak)])
def test_so_are_those_of_two_tenants_that_share_little(tmp_path: Path, seed: int) -> None:
    check(*built(tmp_path, random_tenant(seed), random_tenant(seed + 1)))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 500))
def test_lines_are_the_difference_of_the_full_expansions_many_times(
    tmp_path: Path, seed: int
) -> None:
    before = random_tenant(seed)
    check(*built(tmp_path, before, changed(before, seed, changes=1 + seed % 9)))


def test_condensed_cycles_are_compared_too(tmp_path: Path) -> None:
    paths = []
    groups = [f"g{i}" for i in range(12)]
    for name, holders in (("before", ["g3"]), ("after", ["g3", "g7", "u1"])):
        tenant = Tenant().users("u0", "u1").groups(*groups).role("r", *holders[:1])
        for outer, inner in zip(groups, [*groups[1:], groups[0]], strict=True):
            tenant.members(outer, inner)
        tenant.members("g0", "u0")
        if name == "after":
            tenant.members("g5", "u1")
        tenant.build(tmp_path / name / "whole.duckdb")
        stage = tmp_path / name / "w.duckdb"
        files = {table: [str(tmp_path / name / f"{table}.parquet")] for table in tenant.rows}
        build.load(stage, files, tenant.statuses, syncs=[SYNC], now=NOW)
        build.principals(stage)
        build.entitlements(stage)
        build.grants(stage)
        build.closure(stage, row_budget=10)
        build.counts(stage)
        build.usage(stage)
        build.finish(stage)
        paths.append(stage)
    check(*paths)
    gained = told(diff(*paths), "gained")
    assert ("u1", "role:r@/", "active") in gained
    assert len(gained) == 13


def only(difference: Difference, **wanted: Any) -> Line:
    found = [
        line
        for line in difference.lines
        if all(
            (line.principal.id if name == "principal" else getattr(line, name)) == value
            for name, value in wanted.items()
        )
    ]
    assert len(found) == 1, found
    return found[0]


def test_a_role_gained_through_nesting_names_the_nesting(tmp_path: Path) -> None:
    def tenant() -> Tenant:
        return Tenant().users("anna", "bo").groups("team", "admins").role("r", "admins")

    before = tenant().members("team", "anna")
    after = tenant().members("team", "anna").members("admins", "team")
    found = diff(*built(tmp_path, before, after))
    line = only(found, principal="anna", entitlement_id="role:r@/")
    assert (line.change, line.state, line.certain) == ("gained", "active", True)
    (cause,) = line.causes
    assert (cause.kind, cause.principal.id, cause.entitlement_id) == (
        "nesting",
        "team",
        "group:admins:member",
    )
    assert (cause.source_table, cause.source_id) == ("group_members", "admins/team")
    assert found.lost == 0
    back = diff(tmp_path / "after" / "w.duckdb", tmp_path / "before" / "w.duckdb")
    lost = only(back, principal="anna", entitlement_id="role:r@/")
    assert (lost.change, lost.causes) == ("lost", line.causes)


def test_a_second_way_to_the_same_is_neither_gained_nor_lost(tmp_path: Path) -> None:
    def tenant() -> Tenant:
        return Tenant().users("anna").groups("a").members("a", "anna").role("r", "a")

    found = diff(*built(tmp_path, tenant(), tenant().role("r", "anna")))
    assert (found.lines, found.gained, found.lost) == ((), 0, 0)
    assert found.complete


def test_activation_is_a_gain_beside_the_eligible_hold(tmp_path: Path) -> None:
    def tenant() -> Tenant:
        return Tenant().users("anna").role("r").eligible_role("r", "anna")

    found = diff(*built(tmp_path, tenant(), tenant().role("r", "anna")))
    assert told(found, "gained") == [("anna", "role:r@/", "active")]
    assert told(found, "lost") == []


def test_what_was_not_known_is_no_certain_gain(tmp_path: Path) -> None:
    before = Tenant().users("anna").unread("role_assignments", Status.FORBIDDEN, "no permission")
    after = Tenant().users("anna").role("r", "anna")
    found = diff(*built(tmp_path, before, after))
    line = only(found, principal="anna", entitlement_id="role:r@/")
    assert (line.change, line.certain) == ("gained", False)
    assert not found.complete
    assert found.to_json()["missing"] == [
        {
            "side": "from",
            "table": "role_assignments",
            "status": "forbidden",
            "reason": "no permission",
        }
    ]


def test_one_principal_one_entitlement_and_a_limit_choose_lines(tmp_path: Path) -> None:
    before = Tenant().users("anna", "bo").groups("g").role("r")
    after = Tenant().users("anna", "bo").groups("g").role("r", "anna", "bo").members("g", "bo")
    paths = built(tmp_path, before, after)
    assert {x.principal.id for x in diff(*paths, principal="bo").lines} == {"bo"}
    assert len(diff(*paths, entitlement="role:r@/").lines) == 2
    cut = diff(*paths, limit=1)
    # The most privileged first.
    assert [line.entitlement_id for line in cut.lines] == ["role:r@/"]
    assert cut.to_json()["truncated"] is True
    assert cut.gained == 3


def test_the_difference_of_a_warehouse_to_itself_is_nothing(tmp_path: Path) -> None:
    path = random_tenant(3).build(tmp_path / "w.duckdb")
    assert diff(path, path).to_json() == {
        "gained": 0,
        "lost": 0,
        "changes": [],
        "truncated": False,
        "complete": True,
        "missing": [],
    }
