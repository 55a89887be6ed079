"""The read path against its floor and a hand-written loop.

Every comparison is made in this run, on this machine, against the same simulator process, the
two sides in turn; the figures are medians.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness import Measured, measure, median, python, settings_env, simulator
from benchmarks.report import Bound, Table

Say = Callable[[str], None]
LISTED = "users,groups,group_members,service_principals,applications,devices"


@dataclass
class Side:
    """The runs of one side of a comparison."""

    runs: list[Measured] = field(default_factory=list)

    @property
    def wall(self) -> float:
        """Median seconds."""
        return median([run.wall_s for run in self.runs])

    @property
    def cpu(self) -> float:
        """Median CPU seconds."""
        return median([run.cpu_s for run in self.runs])

    @property
    def peak(self) -> float:
        """The highest peak memory, MiB."""
        return max(run.peak_mib for run in self.runs)

    @property
    def last(self) -> dict[str, Any]:
        """What the last run said of itself."""
        return self.runs[-1].answer


@dataclass
class Comparison:
    """One tenant at one latency: the product and the floor in turn."""

    product: Side = field(default_factory=Side)
    floor: Side = field(default_factory=Side)
    simulator_cpu: list[float] = field(default_factory=list)

    @property
    def wall_ratio(self) -> float:
        """Product to floor, pair by pair."""
        pairs = zip(self.product.runs, self.floor.runs, strict=True)
        return median([ours.wall_s / bare.wall_s for ours, bare in pairs])


def against_floor(sim: Any, folder: Path, runs: int, say: Say) -> Comparison:
    """Extract into a new lake and replay the very same requests, in turn."""
    found = Comparison()
    recording = folder / "requests.jsonl"
    warm = {**settings_env(sim, folder / "warm")}
    measure(python("benchmarks.extract_once", "--record", str(recording)), warm)
    token = sim.token()
    for n in range(runs):
        before = sim.stats()["cpu_s"]
        found.floor.runs.append(measure(python("benchmarks.replay", str(recording), token)))
        found.simulator_cpu.append(sim.stats()["cpu_s"] - before)
        if found.floor.last["failures"]:
            raise RuntimeError(f"the floor's requests failed: {found.floor.last['failures']}")
        env = settings_env(sim, folder / f"data{n}")
        found.product.runs.append(measure(python("benchmarks.extract_once"), env))
        if found.product.last["statuses"] != ["complete"]:
            raise RuntimeError(f"a table is not complete: {found.product.last}")
        say(
            f"  run {n + 1}: product {found.product.runs[-1].wall_s:.1f} s, "
            f"floor {found.floor.runs[-1].wall_s:.1f} s"
        )
    return found


def membership_trips(sim: Any) -> float:
    """Group pages, and the pages of groups with 20 members or more by twenties."""
    groups = len(sim.truth("groups"))
    sizes = [len(members) for members in sim.truth("group_members").values()]
    pages = sum(math.ceil(size / 999) for size in sizes if size >= 20)
    return math.ceil(groups / 999) + pages / 20


def main(say: Say, *, quick: bool) -> tuple[list[Table], list[Bound]]:
    """All comparisons; `quick` leaves out the large tenant."""
    tenants = [(10_000, 3_000)] if quick else [(10_000, 3_000), (100_000, 30_000)]
    runs = 1 if quick else 3
    rows: list[list[object]] = []
    bounds: list[Bound] = []
    found: dict[tuple[int, int], Comparison] = {}
    for users, groups in tenants:
        for latency in (0, 50):
            say(f"{users:,} users, {groups:,} groups, {latency} ms")
            with (
                tempfile.TemporaryDirectory() as name,
                simulator(users, groups, latency) as sim,
            ):
                folder = Path(name)
                compared = found[users, latency] = against_floor(sim, folder, runs, say)
                for label, side in (("product", compared.product), ("floor", compared.floor)):
                    said = side.last
                    rows.append(
                        [
                            f"{users:,} / {groups:,}",
                            latency,
                            label,
                            f"{side.wall:.2f}",
                            f"{side.cpu:.2f}",
                            f"{side.peak:.0f}",
                            said["round_trips"],
                            said.get("requests", ""),
                            said.get("units", ""),
                            f"{said['bytes'] / 1e6:.0f}",
                        ]
                    )
                if latency == 50:
                    allowed = 1.1 * membership_trips(sim)
                    spent = compared.product.last["by_table"]
                    used = sum(
                        spent[table]["round_trips"]
                        for table in ("groups", "group_members")
                        if table in spent
                    )
                    bounds.append(
                        Bound(f"memberships, round trips, {users:,} users", used, allowed)
                    )
                if latency == 0:
                    bounds.append(
                        Bound(
                            f"simulator's CPU ÷ bare loop's CPU, {users:,} users",
                            median(compared.simulator_cpu) / compared.floor.cpu,
                            1.0,
                        )
                    )
                if users == 10_000 and latency == 0:
                    more_rows, more = against_hand(sim, folder, runs, say)
                    rows += more_rows
                    bounds += more
    largest = tenants[-1][0]
    for latency, most in ((50, 2.0), (0, 3.0)):
        bounds.append(
            Bound(
                f"extract to lake ÷ floor, {largest:,} users, {latency} ms, wall",
                found[largest, latency].wall_ratio,
                most,
            )
        )
    if not quick:
        small, large = found[10_000, 0].product, found[100_000, 0].product
        grown = (large.last["bytes"] - small.last["bytes"]) / 2**20
        bounds.append(Bound("peak memory at 100,000 users, MiB", large.peak, 1024))
        bounds.append(
            Bound("growth of peak memory ÷ growth of JSON", (large.peak - small.peak) / grown, 0.5)
        )
    heading = ["tenant", "latency ms", "what", "wall s", "CPU s", "peak MiB", "round trips"]
    heading += ["requests", "units", "MB"]
    return [Table("The read path and its yardsticks", heading, rows)], bounds


def against_hand(
    sim: Any, folder: Path, runs: int, say: Say
) -> tuple[list[list[object]], list[Bound]]:
    """CPU beside a loop that downloads the same objects' pages and discards them."""
    say("  a hand-written loop")
    token = sim.token()
    hand, ours = Side(), Side()
    for n in range(runs):
        hand.runs.append(
            measure(python("benchmarks.handwritten", sim.info.http_graph_url, token, "8"))
        )
        env = settings_env(sim, folder / f"listed{n}")
        ours.runs.append(measure(python("benchmarks.extract_once", "--only", LISTED), env))
    rows: list[list[object]] = [
        [
            "10,000 / 3,000",
            0,
            label,
            f"{side.wall:.2f}",
            f"{side.cpu:.2f}",
            f"{side.peak:.0f}",
            side.last["round_trips"],
            "",
            "",
            f"{side.last['bytes'] / 1e6:.0f}",
        ]
        for label, side in (("hand-written loop", hand), ("product, the same tables", ours))
    ]
    return rows, [Bound("product ÷ hand-written loop, CPU", ours.cpu / hand.cpu, 3.0)]
