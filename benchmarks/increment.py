"""Syncs of what changed, beside whole ones of the same tenant.

Each sync is a process of its own and does what the job does from the lock to the tidying, only
without Dagster's steps and the checks of its assets. At one latency and several sizes, because the
cost should grow with the change and not with the tenant; the largest size is the lake's alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.amend_once import CHANGED, TABLES
from benchmarks.harness import ROOT, Measured, measure, median, python, settings_env, simulator
from benchmarks.report import Bound, Table

TENANTS, QUICK_TENANTS = [(10_000, 3_000), (100_000, 30_000)], [(2_000, 600)]
# Users, groups, memberships of the tables that only the lake sees.
LAKES = [(10_000, 3_000, 100_000), (100_000, 30_000, 1_000_000), (1_000_000, 300_000, 10_000_000)]
QUICK_LAKES = [(2_000, 700, 20_000)]
LATENCY_MS = 50
CHANGES = 1_000
FEW = 30  # what a quarter of an hour brings to a tenant of a hundred thousand
RUNS = 3

Say = Callable[[str], None]


@dataclass
class Tenant:
    """The syncs of one tenant, by kind."""

    users: int
    groups: int
    changes: int
    whole: list[Measured] = field(default_factory=list)  # each into a new data directory
    unchanged: list[Measured] = field(default_factory=list)
    few: list[Measured] = field(default_factory=list)
    changed: list[Measured] = field(default_factory=list)
    full: list[Measured] = field(default_factory=list)  # `sync --full` of a directory that has all

    @property
    def kinds(self) -> dict[str, list[Measured]]:
        """Under the words of the table."""
        return {
            "first sync": self.whole,
            "sync, nothing changed": self.unchanged,
            f"sync, {FEW} changes": self.few,
            f"sync, {self.changes:,} changes": self.changed,
            "sync --full": self.full,
        }


def main(say: Say, *, quick: bool) -> tuple[list[Table], list[Bound]]:
    """All sizes; the bounds are those of the largest tenant."""
    found = [
        _tenant(users, groups, 1 if quick else RUNS, say)
        for users, groups in (QUICK_TENANTS if quick else TENANTS)
    ]
    rows = [_row(tenant, what, runs) for tenant in found for what, runs in tenant.kinds.items()]
    heading = ["tenant", "what", "wall s", "asking s", "read s", "warehouse s", "CPU s"]
    heading += ["peak MiB", "round trips", "requests", "MB", "data files", "MB written"]
    title = f"Syncs of what changed, {LATENCY_MS} ms"
    return [
        Table(title, heading, rows),
        _lakes(QUICK_LAKES if quick else LAKES, say),
    ], _bounds(found[-1])


def _tenant(users: int, groups: int, runs: int, say: Say) -> Tenant:
    # Few enough that no table shrinks as no real one does.
    found = Tenant(users, groups, min(CHANGES, users // 10))
    say(f"{users:,} users, {groups:,} groups, {LATENCY_MS} ms")
    for n in range(runs):
        # A tenant each time: audits of the changes of the time before would be read again.
        with (
            tempfile.TemporaryDirectory(dir=_scratch()) as name,
            simulator(users, groups, LATENCY_MS) as sim,
        ):
            env = settings_env(sim, Path(name) / f"data{n}")
            found.whole.append(_sync(env))
            found.unchanged.append(_sync(env))
            sim.mutate(seed=100 + n, changes=FEW)
            found.few.append(_sync(env))
            sim.mutate(seed=n, changes=found.changes)
            found.changed.append(_sync(env))
            if n == 0:
                found.full.append(_sync(env, "--full"))
            say(
                "  wall s: "
                + ", ".join(f"{what} {done[-1].wall_s:.1f}" for what, done in found.kinds.items())
            )
    return found


def _sync(env: dict[str, str], *args: str) -> Measured:
    done = measure(python("benchmarks.increment_once", *args), env)
    if done.answer["statuses"] != ["complete"]:
        raise RuntimeError(f"a table is not complete: {done.answer}")
    return done


def _middle(runs: Sequence[Measured], name: str) -> float:
    return median([run.answer[name] for run in runs])


def _row(tenant: Tenant, what: str, runs: Sequence[Measured]) -> list[object]:
    said: dict[str, Any] = runs[-1].answer
    return [
        f"{tenant.users:,} / {tenant.groups:,}",
        what,
        *(f"{_middle(runs, name):.2f}" for name in ("wall_s", "asking_s", "read_s", "warehouse_s")),
        f"{median([run.cpu_s for run in runs]):.2f}",
        f"{max(run.peak_mib for run in runs):.0f}",
        max(run.answer["round_trips"] for run in runs),
        said["requests"],
        f"{said['bytes'] / 1e6:.1f}",
        max(run.answer["files"] for run in runs),
        f"{_middle(runs, 'written_bytes') / 1e6:.1f}",
    ]


def _bounds(tenant: Tenant) -> list[Bound]:
    where = f"{tenant.users:,} users"
    whole = _middle(tenant.whole, "wall_s")
    unchanged, changed = tenant.unchanged, tenant.changed
    return [
        Bound(f"nothing changed, round trips, {where}", _most(unchanged, "round_trips"), 20),
        Bound(f"nothing changed, data files written, {where}", _most(unchanged, "files"), 0),
        Bound(
            f"{tenant.changes:,} changes, round trips, {where}", _most(changed, "round_trips"), 60
        ),
        Bound(
            f"{tenant.changes:,} changes, asking Graph ÷ first sync, {where}",
            _middle(changed, "asking_s") / whole,
            0.05,
        ),
        Bound(
            f"{tenant.changes:,} changes, whole ÷ first sync, {where}",
            _middle(changed, "wall_s") / whole,
            0.25,
        ),
    ]


def _most(runs: Sequence[Measured], name: str) -> float:
    return float(max(run.answer[name] for run in runs))


def _lakes(sizes: Sequence[tuple[int, int, int]], say: Say) -> Table:
    rows: list[list[object]] = []
    for users, groups, memberships in sizes:
        with tempfile.TemporaryDirectory(dir=_scratch()) as name:
            options = (f"--users={users}", f"--groups={groups}", f"--memberships={memberships}")
            only = ("--only", *TABLES)
            measure(python("benchmarks.access_data", name, *options, *only))
            done = measure(python("benchmarks.amend_once", name))
        for table, cost in done.answer.items():
            few, many = (cost["amended"][str(count)] for count in CHANGED)
            rows.append(
                [
                    f"{table}, {cost['rows']:,} rows",
                    f"{cost['commit']['cpu_s']:.2f}",
                    f"{cost['nothing']['cpu_s']:.3f}",
                    f"{few['cpu_s']:.3f}",
                    f"{few['written_mib']:.2f}",
                    f"{many['cpu_s']:.2f}",
                    f"{many['written_mib']:.1f}",
                    f"{done.peak_mib:.0f}",
                ]
            )
            say(f"  {rows[-1][0]}: {CHANGED[0]} changed rows cost {few['cpu_s']:.3f} s of CPU")
    titles = [f"{count:,} changed" for count in CHANGED]
    return Table(
        "The lake alone: changed rows, spread at random over tables of different sizes, CPU s",
        ["table", "whole", "nothing changed"]
        + [part for title in titles for part in (title, "MiB written")]
        + ["peak MiB"],
        rows,
    )


def _scratch() -> Path:
    path = ROOT / ".bench"
    path.mkdir(exist_ok=True)
    return path
