"""Reading a day of sign-ins beside downloading the same pages bare.

One connection on both sides, as Graph's limit leaves no use for more. A day of a quarter as
many is read for comparison: memory should not follow the number of events.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import Measured, measure, median, python, settings_env, simulator
from benchmarks.report import Bound, Table

USERS, GROUPS = 10_000, 3_000
A_DAY, A_QUICK_DAY = 1_000_000, 40_000
RUNS = 2


def main(say: Callable[[str], None], *, quick: bool) -> tuple[list[Table], list[Bound]]:
    """A day of few events and one of many, each beside the bare download."""
    a_day = A_QUICK_DAY if quick else A_DAY
    runs = 1 if quick else RUNS
    rows: list[list[object]] = []
    peak: dict[int, float] = {}
    speed = 0.0
    for count in (a_day // 4, a_day):
        ours, theirs = beside_bare(count, runs, say)
        peak[count] = max(run.peak_mib for run in ours)
        speed = median([b.wall_s / a.wall_s for a, b in zip(ours, theirs, strict=True)])
        rows += [_row("product", count, ours), _row("bare download", count, theirs)]
    return [
        Table(
            "Reading a day of sign-ins",
            ["what", "sign-ins", "wall s", "CPU s", "peak MiB", "round trips", "MB", "stored MB"],
            rows,
        )
    ], [
        Bound(f"{a_day:,} sign-ins: speed ÷ bare download", speed, 0.5, at_least=True),
        Bound(
            "sign-ins: peak memory ÷ that of a quarter as many",
            peak[a_day] / peak[a_day // 4],
            1.25,
        ),
    ]


def beside_bare(
    count: int, runs: int, say: Callable[[str], None]
) -> tuple[list[Measured], list[Measured]]:
    """A tenant of so many sign-ins a day: one read into a new lake, and downloaded, in turn."""
    ours: list[Measured] = []
    theirs: list[Measured] = []
    with (
        tempfile.TemporaryDirectory() as name,
        simulator(USERS, GROUPS, 0, sign_ins_per_day=count, audit_days=3) as sim,
    ):
        for n in range(runs):
            record = Path(name) / "windows"
            env = settings_env(sim, Path(name) / f"data{n}")
            ours.append(_read(("read", "--record", str(record)), env))
            # The simulator draws a day's events within some of the number asked for.
            if abs(ours[-1].answer["events"] - count) > count // 1000:
                raise RuntimeError(f"{count} events were to be read: {ours[-1].answer}")
            theirs.append(
                measure(python("benchmarks.activity_once", "bare", str(record), sim.token()))
            )
            say(f"  {count:,} sign-ins: {ours[-1].wall_s:.1f} s, bare {theirs[-1].wall_s:.1f} s")
    return ours, theirs


def _read(args: tuple[str, ...], env: dict[str, str]) -> Measured:
    done = measure(python("benchmarks.activity_once", *args), env)
    if done.answer["status"] != "complete":
        raise RuntimeError(f"the log was not read: {done.answer}")
    return done


def _row(label: str, events: int, runs: list[Measured]) -> list[object]:
    said: dict[str, Any] = runs[-1].answer
    return [
        label,
        f"{events:,}",
        f"{median([run.wall_s for run in runs]):.1f}",
        f"{median([run.cpu_s for run in runs]):.1f}",
        f"{max(run.peak_mib for run in runs):.0f}",
        said["round_trips"],
        f"{said['bytes'] / 1e6:.0f}",
        f"{said['stored'] / 1e6:.0f}" if "stored" in said else "",
    ]
