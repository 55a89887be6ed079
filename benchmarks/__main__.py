"""``make bench``: all benchmarks, their bounds, and docs/performance.md.

Options: ``--quick`` (a small tenant once, nothing written; its bounds say little), ``--only NAME``
(sync, incremental, past, activity, provisioning, dagster, access or sdk: this part anew, the
document from it and what the others measured last). Exit status 1 when a bound is not held.
"""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks import (
    activity,
    bench_access,
    dagster_cost,
    increment,
    past,
    provisioning,
    sdk,
    sync,
)
from benchmarks.harness import ROOT
from benchmarks.report import Bound, Part, Table, bounds_table, today, write

PARTS = {
    "sync": sync.main,
    "dagster": dagster_cost.main,
    "access": bench_access.main,
    "incremental": increment.main,
    "past": past.main,
    "activity": activity.main,
    "provisioning": provisioning.main,
    "sdk": sdk.main,
}

KEPT = ROOT / ".bench" / "measured"


def main() -> int:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=sorted(PARTS))
    arguments = parser.parse_args()
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - started:6.0f} s] {line}", file=sys.stderr, flush=True)

    tables: list[Table] = []
    bounds: list[Bound] = []
    for name, part in PARTS.items():
        if arguments.only in (None, name):
            say(f"== {name}")
            more_tables, more_bounds = part(say, quick=arguments.quick)
            tables += more_tables
            bounds += more_bounds
            if not arguments.quick:
                Part(today(), more_tables, more_bounds).save(KEPT / f"{name}.json")
    for table in (*tables, bounds_table(bounds)):
        print(table.markdown())
    kept = [KEPT / f"{name}.json" for name in PARTS]
    if not arguments.quick and all(path.exists() for path in kept):
        write(ROOT / "docs" / "performance.md", [Part.load(path) for path in kept])
    return 0 if all(bound.held for bound in bounds) else 1


if __name__ == "__main__":
    sys.exit(main())
