"""Which groups are inside which: reach, fewest steps and number of simple paths.

A pure function over the nesting edges, which are few even where memberships are many. Here
belongs the arithmetic of nesting with its bounds, and no SQL. Why not a recursive query: besides
depth, the number of *simple* paths is wanted, by state, also on cycles; one walk gives all three
and they cannot disagree.

An edge runs from a member group to the group that it is in. Its state is ACTIVE, or ELIGIBLE
when the membership still has to be activated; a path is eligible when any of its edges is.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

ACTIVE: Final = 0
ELIGIBLE: Final = 1

# Rows that the closure may have before nesting cycles are condensed. Real tenants need some ten
# thousand; a cycle of 2,000 groups alone would need four million.
ROW_BUDGET: Final = 2_000_000
# Simple paths that are walked one by one, from one group and in all. Only cycles need walking:
# without a cycle paths are counted by addition, however many they are.
WALK_BUDGET: Final = 20_000
TOTAL_WALK_BUDGET: Final = 3_000_000
# A number of paths is given exactly up to here.
PATHS_LIMIT: Final = 1_000_000

Edges = Mapping[int, Sequence[tuple[int, int]]]


@dataclass
class Closure:
    """The rows of the closure, as columns: one row per outer group, inner group and state.

    `depth` is the fewest membership steps, `paths` the number of simple paths (up to
    PATHS_LIMIT), `exact` 0 where `paths` is only a lower bound, `on_cycle` 1 where the outer group
    is also inside the inner. With `component`, groups that are mutually inside each other stand
    for one another: the map gives each such group its representative, and rows are only about
    representatives.
    """

    group: array[int] = field(default_factory=lambda: array("i"))
    member: array[int] = field(default_factory=lambda: array("i"))
    state: array[int] = field(default_factory=lambda: array("b"))
    depth: array[int] = field(default_factory=lambda: array("i"))
    paths: array[int] = field(default_factory=lambda: array("q"))
    exact: array[int] = field(default_factory=lambda: array("b"))
    on_cycle: array[int] = field(default_factory=lambda: array("b"))
    component: dict[int, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.group)

    def add(
        self, group: int, member: int, state: int, depth: int, paths: int, exact: bool, cycle: bool
    ) -> None:
        """Append one row."""
        self.group.append(group)
        self.member.append(member)
        self.state.append(state)
        self.depth.append(depth)
        self.paths.append(min(paths, PATHS_LIMIT))
        self.exact.append(exact)
        self.on_cycle.append(cycle)


def close(edges: Iterable[tuple[int, int, int]], *, row_budget: int = ROW_BUDGET) -> Closure:
    """The closure of `(member group, group, state)` edges.

    Past `row_budget` rows, groups that reach each other by active memberships are condensed to
    one representative. Depth then counts a condensed cycle as no step, so it is the least it can
    be, and path numbers through it are lower bounds.
    """
    up = _adjacency(edges)
    closure = _close(up, row_budget)
    if closure is not None:
        return closure
    component = {
        group: members[0]
        for members in _components(
            {m: [(g, s) for g, s in out if s == ACTIVE] for m, out in up.items()}
        )
        if len(members) > 1
        for group in members
    }
    condensed = _adjacency(
        (component.get(member, member), component.get(group, group), state)
        for member, out in up.items()
        for group, state in out
    )
    # Groups condensed into one are inexact together with everything that passes through them.
    closure = _close(condensed, None, inexact=frozenset(component.values()))
    assert closure is not None  # noqa: S101 - only a budget makes it None
    closure.component = component
    return closure


def _adjacency(edges: Iterable[tuple[int, int, int]]) -> dict[int, list[tuple[int, int]]]:
    """Edges by member, each once; a group that is its own member adds nothing."""
    found: dict[int, dict[tuple[int, int], None]] = {}
    for member, group, state in edges:
        if member != group:
            found.setdefault(member, {})[group, state] = None
    return {member: sorted(out) for member, out in found.items()}


def _close(
    up: Edges, row_budget: int | None, inexact: frozenset[int] = frozenset()
) -> Closure | None:
    """The closure without condensing; None when it would exceed the budget."""
    closure = Closure()
    position: dict[int, int] = {}
    cycle_of: dict[int, int] = {}
    mutual = 0
    for number, members in enumerate(_components(up)):
        mutual += len(members) * (len(members) - 1)
        for group in members:
            position[group] = number
            if len(members) > 1:
                cycle_of[group] = number
    if row_budget is not None and mutual > row_budget:
        return None
    walks_left = TOTAL_WALK_BUDGET
    for start in sorted(up):
        cone = _cone(up, start)
        if row_budget is not None and len(closure) + len(cone) > row_budget:
            return None
        if cycle_of and (start in cycle_of or any(group in cycle_of for group in cone)):
            walk = _walk(up, start, min(WALK_BUDGET, walks_left))
            walks_left -= walk.steps
            rows, exact = walk.rows, walk.complete
            if not exact:
                # Everything that some walk reaches is kept; that it is reached is certain for
                # active rows, and its number of paths is at least one.
                rows = {
                    key: (depth, walk.rows.get(key, (depth, 1))[1])
                    for key, depth in _breadth_first(up, start).items()
                }
        else:
            inner_first = sorted(cone, key=position.__getitem__, reverse=True)
            rows, exact = _add_up(up, (start, *inner_first)), True
        home = cycle_of.get(start)
        through = not inexact.isdisjoint(cone) or start in inexact
        for (group, state), (depth, paths) in sorted(rows.items()):
            on_cycle = home is not None and cycle_of.get(group) == home
            closure.add(group, start, state, depth, paths, exact and not through, on_cycle)
    return closure


def _cone(up: Edges, start: int) -> set[int]:
    """Every group that `start` is inside of, at any depth; not itself."""
    seen = {start}
    waiting = [start]
    while waiting:
        for group, _state in up.get(waiting.pop(), ()):
            if group not in seen:
                seen.add(group)
                waiting.append(group)
    seen.discard(start)
    return seen


Rows = dict[tuple[int, int], tuple[int, int]]


def _add_up(up: Edges, inner_first: Sequence[int]) -> Rows:
    """Depth and paths by (group, state) where no cycle is near: the sum over the steps into each.

    `inner_first` holds the first group of the walk and its cone, every group after those inside.
    """
    start = inner_first[0]
    rows: Rows = {(start, ACTIVE): (0, 1)}
    for member in inner_first:
        for state in (ACTIVE, ELIGIBLE):
            if (here := rows.get((member, state))) is None:
                continue
            depth, paths = here
            for group, hop in up.get(member, ()):
                key = group, state | hop
                old_depth, old_paths = rows.get(key, (depth + 1, 0))
                rows[key] = min(old_depth, depth + 1), min(old_paths + paths, PATHS_LIMIT)
    del rows[start, ACTIVE]
    return rows


@dataclass
class _Walk:
    rows: Rows
    steps: int
    complete: bool


def _walk(up: Edges, start: int, budget: int) -> _Walk:
    """Depth and paths by (group, state), by walking every simple path from `start`."""
    rows: Rows = {}
    on_path = {start}
    steps = 0
    # One frame per group on the path: the group, the state so far, its steps still to take.
    frames: list[tuple[int, int, Iterator[tuple[int, int]]]] = [
        (start, ACTIVE, iter(up.get(start, ())))
    ]
    while frames:
        here, state, out = frames[-1]
        for group, hop in out:
            if group in on_path:
                continue
            if steps >= budget:
                return _Walk(rows, steps, False)
            steps += 1
            key = group, state | hop
            depth, paths = rows.get(key, (len(frames), 0))
            rows[key] = min(depth, len(frames)), paths + 1
            on_path.add(group)
            frames.append((group, state | hop, iter(up.get(group, ()))))
            break
        else:
            frames.pop()
            on_path.discard(here)
    return _Walk(rows, steps, True)


def _breadth_first(up: Edges, start: int) -> dict[tuple[int, int], int]:
    """Fewest steps to each (group, state) by any walk that does not come back to `start`."""
    found = {(start, ACTIVE): 0}
    level = [(start, ACTIVE)]
    while level:
        following = []
        for member, state in level:
            for group, hop in up.get(member, ()):
                key = group, state | hop
                if group != start and key not in found:
                    found[key] = found[member, state] + 1
                    following.append(key)
        level = following
    del found[start, ACTIVE]
    return found


def _components(up: Edges) -> Iterator[list[int]]:
    """Strongly connected components, outermost first (Tarjan, without recursion)."""
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    waiting: set[int] = set()
    for root in sorted(up):
        if root in order:
            continue
        frames = [(root, iter(up.get(root, ())))]
        order[root] = low[root] = len(order)
        stack.append(root)
        waiting.add(root)
        while frames:
            group, out = frames[-1]
            for outer, _state in out:
                if outer not in order:
                    order[outer] = low[outer] = len(order)
                    stack.append(outer)
                    waiting.add(outer)
                    frames.append((outer, iter(up.get(outer, ()))))
                    break
                if outer in waiting:
                    low[group] = min(low[group], order[outer])
            else:
                frames.pop()
                if frames:
                    inner = frames[-1][0]
                    low[inner] = min(low[inner], low[group])
                if low[group] == order[group]:
                    members = []
                    while True:
                        member = stack.pop()
                        waiting.discard(member)
                        members.append(member)
                        if member == group:
                            break
                    yield sorted(members)
