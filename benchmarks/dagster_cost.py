"""What Dagster itself costs: the same sync with and without it, and its start alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import Measured, measure, median, python, settings_env, simulator
from benchmarks.report import Bound, Table

RUNS = 3


def main(say: Callable[[str], None], *, quick: bool) -> tuple[list[Table], list[Bound]]:
    """CPU seconds an asset, beyond Dagster's start and the work itself."""
    found: dict[str, list[Measured]] = {"dagster": [], "plain": [], "start": []}
    with tempfile.TemporaryDirectory() as name, simulator(2_000, 600, 0) as sim:
        for n in range(1 if quick else RUNS):
            for kind, runs in found.items():
                env = settings_env(sim, Path(name) / f"{kind}{n}")
                runs.append(measure(python("benchmarks.sync_once", kind), env))
                say(f"  {kind}: {runs[-1].cpu_s:.1f} CPU s")
    cpu = {kind: median([run.cpu_s for run in runs]) for kind, runs in found.items()}
    wall = {kind: median([run.wall_s for run in runs]) for kind, runs in found.items()}
    assets = found["start"][0].answer["assets"]
    each = (cpu["dagster"] - cpu["plain"] - cpu["start"]) / assets
    rows = [[kind, f"{wall[kind]:.1f}", f"{cpu[kind]:.1f}"] for kind in found]
    return (
        [
            Table(
                f"A whole sync of 2,000 users, {assets} assets: Dagster's own cost",
                ["what", "wall s", "CPU s"],
                rows,
            )
        ],
        [Bound("Dagster's CPU seconds an asset, beyond its start", each, 0.2)],
    )
