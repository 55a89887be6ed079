"""The read path against Microsoft's Python SDK: users, groups and members.

The SDK has an environment of its own (`sdk_environment`): its hundred packages are no business of
this project's. It would take the better part of an hour, some ten milliseconds for each member:
so it asks for nothing more after a minute, and the ratios are what they are at least.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import measure, python, settings_env, simulator
from benchmarks.report import Bound, Table
from benchmarks.sdk_environment import sdk_python

USERS, GROUPS, LATENCY_MS = 10_000, 3_000, 50
LIMIT_S = 60


def main(say: Callable[[str], None], *, quick: bool) -> tuple[list[Table], list[Bound]]:
    """One by one and gathered at 20; the product reads all its tables, once beside each."""
    if quick:
        return [], []
    rows: list[list[object]] = []
    bounds: list[Bound] = []
    names = ("graph_url", "authority_url", "tenant_id", "client_id", "client_secret", "ca_file")
    with tempfile.TemporaryDirectory() as name, simulator(USERS, GROUPS, LATENCY_MS) as sim:
        ready = Path(name) / "ready.json"
        ready.write_text(json.dumps({key: getattr(sim.info, key) for key in names}))
        for label, in_flight, least in (("sequential", 1, 5.0), ("gathered at 20", 20, 1.5)):
            say(f"  Microsoft's SDK, {label}")
            command = [str(sdk_python()), "-m", "benchmarks.sdk_loop", str(ready)]
            theirs = measure([*command, str(in_flight), str(LIMIT_S)])
            env = settings_env(sim, Path(name) / f"data{in_flight}")
            ours = measure(python("benchmarks.extract_once"), env)
            rows_read, groups = theirs.answer["rows"], theirs.answer["groups"]
            what = f"msgraph-sdk, {label}"
            if groups < GROUPS:
                what += f", stopped at {rows_read:,} rows and {groups:,} groups' members"
            for name_of, run in ((what, theirs), ("product, all tables and groups", ours)):
                figures = (f"{run.wall_s:.1f}", f"{run.cpu_s:.1f}", f"{run.peak_mib:.0f}")
                rows.append([name_of, *figures])
            ratio = theirs.wall_s / ours.wall_s
            bounds.append(
                Bound(f"msgraph-sdk {label} ÷ product, wall", ratio, least, at_least=True)
            )
    title = f"Beside Microsoft's SDK: {USERS:,} users, {GROUPS:,} groups, {LATENCY_MS} ms"
    return [Table(title, ["what", "wall s", "CPU s", "peak MiB"], rows)], bounds
