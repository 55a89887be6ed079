"""The whole product against the naive walk, on random tenants.

Each tenant is loaded by the simulator, synced over HTTP and published; the naive answer reads the
simulator's raw JSON. Who-can of every entitlement, access of every principal and explanations
must be the same: rows, states, directness and the number of simple paths.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from entra_pipeline.access.answers import Entitlement, Principal
from entra_pipeline.access.questions import Warehouse
from entra_pipeline.simulator.process import running
from tests.oracle.naive import EVERYONE, Naive
from tests.oracle.random_tenant import Maker
from tests.support import sync

ALL_USERS = "all_users"


def raw(sim: Any, stems: list[str]) -> dict[str, Any]:
    """What the simulator really holds, in Graph's JSON."""
    return {
        stem: requests.get(f"{sim.info.http_graph_url}/_sim/tenant/{stem}", timeout=30).json()
        for stem in stems
    }


def read(sim: Any, maker: Maker) -> Naive:
    """The naive walk over what the simulator holds now."""
    return Naive(raw(sim, sorted(maker.objects)), raw(sim, sorted(maker.links)), datetime.now(UTC))


def compare(warehouse: Warehouse, naive: Naive, *, explained: int) -> None:
    """Every question on which the two must agree."""
    truth = {
        (ALL_USERS if who == EVERYONE else who, what, state): value
        for (who, what, state), value in naive.effective().items()
    }
    by_entitlement: dict[tuple[str, str, str], tuple[bool, int]] = {}
    for entitlement_id in sorted({what for _, what, _ in truth}):
        entitlement = warehouse.find_entitlement(entitlement_id)
        assert isinstance(entitlement, Entitlement), f"{entitlement_id} is unknown"
        answer = warehouse.who_can(entitlement)
        for row in answer.principals:
            key = (row.principal_id, entitlement_id, row.state)
            assert key not in by_entitlement, f"{key} is listed twice"
            by_entitlement[key] = (row.direct, row.paths)
    assert by_entitlement == truth

    by_principal: dict[tuple[str, str, str], tuple[bool, int]] = {}
    for principal_id in sorted({who for who, _, _ in truth}):
        principal = warehouse.find_principal(principal_id)
        assert isinstance(principal, Principal), f"{principal_id} is unknown"
        for held in warehouse.access(principal).entitlements:
            by_principal[principal_id, held.entitlement_id, held.state] = (held.direct, held.paths)
    assert by_principal == truth

    for who, what in sorted({(who, what) for who, what, _ in truth if who != ALL_USERS})[
        :: max(1, len(truth) // explained)
    ]:
        principal = warehouse.find_principal(who)
        entitlement = warehouse.find_entitlement(what)
        assert isinstance(principal, Principal)
        assert isinstance(entitlement, Entitlement)
        explanation = warehouse.explain(principal, entitlement)
        assert not explanation.truncated
        walked = sorted(
            (
                "eligible" if any(step.state == "eligible" for step in path) else "active",
                (path[0].source.id, *(step.target.id for step in path[:-1])),
            )
            for path in explanation.paths
        )
        expected = sorted((state, trail[:-1]) for state, trail in naive.paths(who, what))
        assert walked == expected, f"paths from {who} to {what}"


def check(seed: int, folder: Path) -> None:
    """One random tenant, from JSON files to answers."""
    maker = Maker(seed)
    maker.write(folder / "tenant")
    with running(tenant=folder / "tenant", http=True) as sim:
        synced = sync(sim, folder / "data", pim_groups=maker.groups)
        bad = {
            name: (str(s.status), s.reason)
            for name, s in synced.statuses.items()
            if str(s.status) != "complete"
        }
        assert not bad
        with Warehouse.open(synced.warehouse) as warehouse:
            compare(warehouse, read(sim, maker), explained=40)


@pytest.mark.parametrize(
    "seed",
    [*range(2), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 6))],
)
def test_a_random_tenant_answers_like_the_naive_walk(seed: int, tmp_path: Path) -> None:
    check(seed, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 300))
def test_two_hundred_random_tenants_answer_like_the_naive_walk(seed: int, tmp_path: Path) -> None:
    check(seed, tmp_path)
