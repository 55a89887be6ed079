"""Nesting arithmetic: against brute force on small graphs, within bounds on large ones."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from entra_pipeline.access.closure import ACTIVE, ELIGIBLE, Closure, close

Key = tuple[int, int, int]


def brute(edges: set[Key]) -> dict[Key, tuple[int, int]]:
    """Least steps and number of simple paths by (group, member group, state), by trying all."""
    found: dict[Key, tuple[int, int]] = {}

    def go(path: list[int], state: int) -> None:
        for member, group, hop in edges:
            if member == path[-1] and group not in path:
                key = (group, path[0], max(state, hop))
                depth, paths = found.get(key, (len(path), 0))
                found[key] = (min(depth, len(path)), paths + 1)
                go([*path, group], max(state, hop))

    for start in {member for member, _, _ in edges}:
        go([start], ACTIVE)
    return found


def rows(closure: Closure) -> dict[Key, tuple[int, int]]:
    keys = list(zip(closure.group, closure.member, closure.state, strict=True))
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, zip(closure.depth, closure.paths, strict=True), strict=True))


node = st.integers(0, 6)
graphs = st.sets(st.tuples(node, node, st.sampled_from([ACTIVE, ACTIVE, ELIGIBLE])), max_size=14)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(graphs)
def test_closure_has_every_simple_path_and_no_other(edges: set[Key]) -> None:
    closure = close(edges)
    assert rows(closure) == brute({e for e in edges if e[0] != e[1]})
    assert all(closure.exact)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(graphs)
def test_cycles_are_marked_where_two_groups_are_inside_each_other(edges: set[Key]) -> None:
    closure = close(edges)
    pairs = set(zip(closure.group, closure.member, strict=True))
    for group, member, on_cycle in zip(
        closure.group, closure.member, closure.on_cycle, strict=True
    ):
        assert bool(on_cycle) == ((member, group) in pairs)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(graphs)
def test_condensing_keeps_who_is_inside_whom_by_active_membership(edges: set[Key]) -> None:
    whole = {(g, m) for (g, m, s) in brute({e for e in edges if e[0] != e[1]}) if s == ACTIVE}
    condensed = close(edges, row_budget=0)
    nodes = {n for e in edges for n in e[:2]}
    stands_for: dict[int, list[int]] = {}
    for one in nodes:
        stands_for.setdefault(condensed.component.get(one, one), []).append(one)
    spread = {
        (g, m)
        for group, member, state in rows(condensed)
        if state == ACTIVE
        for g in stands_for[group]
        for m in stands_for[member]
    } | {(g, m) for same in stands_for.values() for g in same for m in same if g != m}
    assert spread == whole


def test_a_cycle_of_two_thousand_groups_that_everything_reaches_stays_small_and_quick() -> None:
    size = 2_000
    edges = [(i, (i + 1) % size, ACTIVE) for i in range(size)]
    edges += [(size + i, i % size, ACTIVE) for i in range(50_000)]
    began = time.monotonic()
    closure = close(edges)
    assert time.monotonic() - began < 20
    assert len(closure) == 50_000
    assert len(closure.component) == size
    assert not any(closure.exact)


def test_paths_without_cycles_are_counted_without_walking_them() -> None:
    # A ladder of forty rungs has 2**39 paths from end to end.
    edges = [
        (2 * i + a, 2 * (i + 1) + b, ACTIVE) for i in range(40) for a in (0, 1) for b in (0, 1)
    ]
    closure = close(edges)
    assert rows(closure)[(80, 0, ACTIVE)] == (40, 1_000_000)
    assert rows(closure)[(20, 0, ACTIVE)] == (10, 2**9)


def test_a_dense_cycle_says_that_its_paths_are_a_lower_bound() -> None:
    edges = [(a, b, ACTIVE) for a in range(14) for b in range(14) if a != b]
    closure = close(edges)
    assert not any(closure.exact)
    assert {depth for depth, _ in rows(closure).values()} == {1}
    assert len(closure) == 14 * 13
