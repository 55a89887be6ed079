"""On random tenants every way of asking gives the same answer."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.access.export import SCHEMA, effective_grants
from entra_pipeline.access.questions import Warehouse
from tests.access.asking import entitlement, principal
from tests.access.tenant import ZERO, Tenant


def random_tenant(seed: int) -> Tenant:
    """A small tenant with nesting cycles, doubles, gone objects and both states everywhere."""
    pick = random.Random(seed)
    users = [f"u{i}" for i in range(6)]
    groups = [f"g{i}" for i in range(7)]
    holders = [*users, *groups, "sp0", "gone"]
    tenant = Tenant().users(*users).groups(*groups).app("sp0", required=False).app("sp1")
    for group in groups:
        tenant.members(group, *sorted(set(pick.choices(holders, k=3))))
        for holder in set(pick.choices(holders, k=pick.choice([0, 0, 1]))):
            tenant.eligible_member(group, holder)
        tenant.add("group_owners", group_id=group, owner_id=pick.choice(users), owner_kind="user")
    for role in ("r0", "r1"):
        tenant.role(role, *sorted(set(pick.choices(holders, k=3))))
        tenant.eligible_role(role, pick.choice(holders))
    for app_role in ("a0", ZERO):
        tenant.app_role("sp1", app_role, *sorted(set(pick.choices(holders, k=3))))
    tenant.add("subscribed_skus", sku_id="e5", sku_part_number="E5")
    for user in users:
        tenant.add(
            "license_assignments",
            user_id=user,
            sku_id="e5",
            source_group_id=pick.choice(["", "g0", "g1"]),
            state=pick.choice(["Active", "Error"]),
        )
    tenant.add(
        "oauth2_permission_grants",
        id="c",
        client_id="sp0",
        resource_id="sp1",
        consent_type="AllPrincipals",
        scopes=["Mail.Read"],
    )
    return tenant


def disagreements(warehouse: Warehouse, *, asked: int = 25) -> list[object]:
    """Answers that differ between the ways of asking; at most so many of each question."""
    pick = random.Random(0)

    def some(things: list[Any]) -> list[Any]:
        return pick.sample(things, min(asked, len(things)))

    whole = {
        tuple(row[:3]): tuple(row[3:])
        for row in warehouse.query(
            "SELECT entitlement_id, principal_id, state, direct, depth, paths FROM effective_grants"
        ).rows
    }
    assert len(whole) > 40
    found: list[object] = []
    who, access = {}, {}
    entitlements = [
        row[0] for row in warehouse.query("SELECT entitlement_id FROM entitlements ORDER BY 1").rows
    ]
    principals = [row[0] for row in warehouse.query("SELECT id FROM principals ORDER BY 1").rows]
    entitlements, principals = some(entitlements), some(principals)
    for text in entitlements:
        for row in warehouse.who_can(entitlement(warehouse, text)).principals:
            who[text, row.principal_id, row.state] = (row.direct, row.depth, row.paths)
    for text in principals:
        for held in warehouse.access(principal(warehouse, text)).entitlements:
            access[held.entitlement_id, text, held.state] = (held.direct, held.depth, held.paths)
    found += [("who_can", who[k], whole.get(k)) for k in who if who[k] != whole.get(k)]
    found += [("access", k, access[k], whole.get(k)) for k in access if access[k] != whole.get(k)]
    found += [("who_can lacks", k) for k in whole if k[0] in entitlements and k not in who]
    found += [("access lacks", k) for k in whole if k[1] in principals and k not in access]
    for text, holder in some(sorted({key[:2] for key in whole})):
        answer = warehouse.explain(principal(warehouse, holder), entitlement(warehouse, text))
        states = Counter(
            "eligible" if any(step.state == "eligible" for step in path) else "active"
            for path in answer.paths
        )
        listed = Counter(
            {
                s: whole[text, holder, s][2]
                for s in ("active", "eligible")
                if (text, holder, s) in whole
            }
        )
        if states != listed and not answer.truncated:
            found.append(("explain", text, holder, states, listed))
        for path in answer.paths:
            nodes = [path[0].source.id, *(step.target.id for step in path)]
            if len(set(nodes)) != len(nodes) or nodes[0] != holder:
                found.append(("no simple path", nodes))
    counted = {
        row[0]: row[1:]
        for row in warehouse.query(
            "SELECT entitlement_id, effective_active, effective_eligible, direct_active,"
            " direct_eligible FROM entitlement_counts"
        ).rows
    }
    for text, counts in counted.items():
        mine = [key for key in whole if key[0] == text]
        expected = tuple(
            sum(1 for key in mine if key[2] == state and (not direct or whole[key][0]))
            for direct in (False, True)
            for state in ("active", "eligible")
        )
        if counts != expected:
            found.append(("counts", text, counts, expected))
    return found


@pytest.mark.parametrize("seed", range(2))
def test_access_who_can_explain_counts_and_the_view_agree(tmp_path: Path, seed: int) -> None:
    with Warehouse.open(random_tenant(seed).build(tmp_path / "stage.duckdb")) as warehouse:
        assert disagreements(warehouse) == []


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 160))
def test_they_agree_on_many_tenants(tmp_path: Path, seed: int) -> None:
    with Warehouse.open(random_tenant(seed).build(tmp_path / "stage.duckdb")) as warehouse:
        assert disagreements(warehouse, asked=10_000) == []


def test_the_export_is_the_view_piece_by_piece(tmp_path: Path) -> None:
    path = random_tenant(1).build(tmp_path / "stage.duckdb")
    with Warehouse.open(path) as warehouse:
        whole = [tuple(row) for row in warehouse.query("SELECT * FROM effective_grants").rows]
    for piece_rows in (25, 10_000):
        exported = []
        for batch in effective_grants(path, piece_rows=piece_rows):
            assert batch.schema == SCHEMA
            exported += [tuple(row.values()) for row in batch.to_pylist()]
        assert sorted(exported, key=str) == sorted(whole, key=str)


def test_a_cycle_of_two_thousand_groups_does_not_take_the_build_down(tmp_path: Path) -> None:
    size = 2_000
    names = [f"g{i:04}" for i in range(size)]
    tenant = Tenant().users("u").groups(*names, "outside").members("g0000", "u", "outside")
    for one, other in zip(names, [*names[1:], names[0]], strict=True):
        tenant.members(other, one)
    tenant.role("ga", "g0003")
    path = tenant.build(tmp_path / "stage.duckdb")
    with Warehouse.open(path) as warehouse:
        assert len(warehouse.who_can(entitlement(warehouse, "role:ga@/")).principals) == size + 2
        held = warehouse.access(principal(warehouse, "u")).entitlements
        assert len(held) == size + 1
        answer = warehouse.explain(principal(warehouse, "u"), entitlement(warehouse, "role:ga@/"))
        nodes = [[path[0].source.id, *(step.target.id for step in path)] for path in answer.paths]
        assert nodes == [["u", "g0000", "g0001", "g0002", "g0003", "ga"]]
        far = warehouse.explain(
            principal(warehouse, "u"), entitlement(warehouse, "group:g0100:member")
        )
        assert [len(path) for path in far.paths] == [101]
        (counts,) = warehouse.query(
            "SELECT direct_active, effective_active FROM entitlement_counts"
            " WHERE entitlement_id = 'group:g1234:member'"
        ).rows
        assert counts == (1, size + 1)


def test_a_stage_left_by_a_killed_build_is_built_anew(tmp_path: Path) -> None:
    tenant = random_tenant(2)
    stage = tenant.build(tmp_path / "stage.duckdb")
    with Warehouse.open(stage) as warehouse:
        before = warehouse.query("SELECT * FROM effective_grants ORDER BY ALL").rows
    stage.write_bytes(stage.read_bytes()[:100_000])
    Path(f"{stage}.wal").write_bytes(b"half a log")
    with Warehouse.open(tenant.build(stage)) as warehouse:
        assert warehouse.query("SELECT * FROM effective_grants ORDER BY ALL").rows == before
