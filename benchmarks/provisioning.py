"""Grants beside one call after another, grants under Graph's write quota, and the ledger's size.

The product reads what each grant rests on, writes, and reads five times afterwards; the loop only
writes. Round trips are the simulator's own count, planning included.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import cycle
from pathlib import Path
from typing import Any

from benchmarks.harness import Measured, measure, median, python, settings_env, simulator
from benchmarks.report import Bound, Table

LATENCY_MS = 50
# Grants, groups; users and groups of the tenant.
SPREAD, QUICK_SPREAD = (1_000, 200, 3_000, 1_000), (100, 20, 300, 100)
QUOTA, QUICK_QUOTA = (6_000, 300, 10_000, 3_000), (100, 20, 300, 100)
GRAPHS_QUOTA, PERIOD_S = 3_000, 150
LEDGERS, QUICK_LEDGERS = (1_000, 1_000_000), (1_000, 20_000)
RUNS = 3

POLICY = """version: 1
unapproved: [grant]
limits: {plan: {gained: 1000000}, hour: {gained: 1000000}, day: {gained: 1000000}}
"""

Say = Callable[[str], None]


def main(say: Say, *, quick: bool) -> tuple[list[Table], list[Bound]]:
    """The three comparisons, each with its bounds."""
    tables: list[Table] = []
    bounds: list[Bound] = []
    for table, held in (
        _spread(QUICK_SPREAD if quick else SPREAD, 1 if quick else RUNS, say),
        _quota(QUICK_QUOTA if quick else QUOTA, say),
        _ledger(QUICK_LEDGERS if quick else LEDGERS, say),
    ):
        tables.append(table)
        bounds += held
    return tables, bounds


def _spread(size: tuple[int, int, int, int], runs: int, say: Say) -> tuple[Table, list[Bound]]:
    grants, groups, users, all_groups = size
    ours: list[Measured] = []
    theirs: list[Measured] = []
    trips: list[int] = []
    with (
        tempfile.TemporaryDirectory() as name,
        simulator(users, all_groups, LATENCY_MS, writer=True, write_conflicts=True) as sim,
    ):
        # Each run grants what nobody has yet.
        chosen = _pairs(sim, grants * 2 * runs, groups)
        for n in range(runs):
            part = chosen[2 * n * grants : 2 * (n + 1) * grants]
            theirs.append(
                _once(sim, Path(name) / f"bare{n}", part[:grants], sim.token(writer=True))
            )
            sim.reset_stats()
            ours.append(_once(sim, Path(name) / f"data{n}", part[grants:]))
            trips.append(sim.stats()["round_trips"])
            _all_done(ours[-1], grants)
            say(f"  bare {theirs[-1].answer}, product {ours[-1].answer}, {trips[-1]} round trips")
    ratio = median(
        [b.answer["write_s"] / a.answer["write_s"] for a, b in zip(ours, theirs, strict=True)]
    )
    rows: list[list[object]] = [
        ["one call after another", *_figures(theirs, "write_s"), "", "", f"{grants:,}"],
        [
            "product",
            *_figures(ours, "write_s"),
            *_figures(ours, "confirm_s")[:1],
            *_figures(ours, "plan_s")[:1],
            f"{max(trips):,}",
        ],
    ]
    title = f"{grants:,} grants across {groups} groups, {LATENCY_MS} ms"
    heading = ["what", "written s", "CPU s", "confirmed s", "planned s", "round trips"]
    return Table(title, heading, rows), [
        Bound(f"{grants:,} grants: speed ÷ one call after another", ratio, 3.0, at_least=True),
        Bound(f"{grants:,} grants: round trips per effect", max(trips) / grants, 1.2),
    ]


def _quota(size: tuple[int, int, int, int], say: Say) -> tuple[Table, list[Bound]]:
    grants, groups, users, all_groups = size
    with (
        tempfile.TemporaryDirectory() as name,
        simulator(users, all_groups, LATENCY_MS, writer=True, write_quota=GRAPHS_QUOTA) as sim,
    ):
        done = _once(sim, Path(name) / "data", _pairs(sim, grants, groups))
        times = sorted(_seconds(effect["at"]) for effect in sim.effects())
        refused = sim.stats()["by_status"].get("429", 0)
    not_done = grants - done.answer["states"].get("done", 0)
    periods = int((times[-1] - times[0]) // PERIOD_S)
    within = sum(at - times[0] < periods * PERIOD_S for at in times)
    used = within / (periods * GRAPHS_QUOTA) if periods else None
    say(f"  {grants:,} grants under the quota: {done.answer}")
    row = [
        f"{grants:,}",
        f"{done.answer['write_s']:.0f}",
        f"{done.cpu_s:.1f}",
        periods,
        "" if used is None else f"{used:.0%}",
        refused,
        not_done,
    ]
    heading = ["grants", "written s", "CPU s", f"whole periods of {PERIOD_S} s"]
    heading += ["of the quota used in them", "refused (429)", "requests not done"]
    bounds = [Bound(f"{grants:,} grants under the quota: requests not done", not_done, 0)]
    if used is not None:
        bounds.append(Bound(f"{grants:,} grants: quota used", used, 0.9, at_least=True))
    return Table(f"Graph's write quota: {GRAPHS_QUOTA:,} in {PERIOD_S} s", heading, [row]), bounds


def _ledger(sizes: tuple[int, int], say: Say) -> tuple[Table, list[Bound]]:
    found: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        for size in sizes:
            done = measure(python("benchmarks.ledger_once", f"{name}/{size}.sqlite", str(size)))
            found[size] = done.answer["ms"]
            say(f"  ledger of {size:,}: {done.answer}")
    few, many = (found[size] for size in sizes)
    rows = [
        [what, f"{few[what]:.2f}", f"{many[what]:.2f}", f"{many[what] / few[what]:.2f}"]
        for what in few
    ]
    heading = ["what", *(f"ms at {size:,}" for size in sizes), "ratio"]
    return Table("A ledger of many requests", heading, rows), [
        Bound(f"ledger, {what}: {sizes[1]:,} requests ÷ {sizes[0]:,}", many[what] / few[what], 3.0)
        for what in few
    ]


def _once(sim: Any, folder: Path, pairs: Sequence[tuple[str, str]], token: str = "") -> Measured:
    folder.mkdir()
    (folder / "pairs.json").write_text(json.dumps(list(pairs)))
    (folder / "policy.yaml").write_text(POLICY)
    env = {
        **settings_env(sim, folder / "data"),
        "ENTRA_WRITER_CLIENT_ID": sim.info.writer_client_id,
        "ENTRA_WRITER_CLIENT_SECRET": sim.info.writer_client_secret,
        "ENTRA_PROVISIONING": "true",
        "ENTRA_POLICY_FILE": str(folder / "policy.yaml"),
    }
    more = ["--bare", token] if token else []
    return measure(python("benchmarks.provision_once", str(folder / "pairs.json"), *more), env)


def _pairs(sim: Any, count: int, groups: int) -> list[tuple[str, str]]:
    """Groups in turn, each with a user who is not in it yet, each pair once."""
    users = [user["id"] for user in sim.truth("users")]
    members = {group: set(held) for group, held in sim.truth("group_members").items()}
    plain = [
        group["id"]
        for group in sim.truth("groups")
        if group.get("securityEnabled")
        and not any(
            group.get(name)
            for name in (
                "mailEnabled",
                "groupTypes",
                "onPremisesSyncEnabled",
                "isAssignableToRole",
            )
        )
    ][:groups]
    if len(plain) < groups:
        raise RuntimeError(f"the tenant has {len(plain)} plain groups, {groups} are wanted")
    found = []
    people = cycle(users)
    for group in cycle(plain):
        user = next(user for user in people if user not in members.setdefault(group, set()))
        members[group].add(user)
        found.append((group, user))
        if len(found) == count:
            return found
    raise AssertionError


def _all_done(run: Measured, count: int) -> None:
    if run.answer["states"] != {"done": count}:
        raise RuntimeError(f"not everything was done: {run.answer}")


def _figures(runs: Sequence[Measured], name: str) -> list[str]:
    return [
        f"{median([run.answer[name] for run in runs]):.1f}",
        f"{median([run.cpu_s for run in runs]):.1f}",
    ]


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()
