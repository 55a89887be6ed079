"""``make bench``: all benchmarks, their bounds, and docs/performance.md.

Options: ``--quick`` (the small tenant once, nothing written), ``--only NAME`` (sync, dagster,
access, sdk). Exit status 1 when a bound is not held.
"""

from __future__ import annotations

import argparse
import sys
import time

from benchmarks import bench_access, dagster_cost, sdk, sync
from benchmarks.harness import ROOT
from benchmarks.report import Bound, Table, bounds_table, write

PARTS = {
    "sync": sync.main,
    "dagster": dagster_cost.main,
    "access": bench_access.main,
    "sdk": sdk.main,
}


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
    for table in (*tables, bounds_table(bounds)):
        print(table.markdown())
    if not arguments.quick and arguments.only is None:
        write(ROOT / "docs" / "performance.md", tables, bounds)
    return 0 if all(bound.held for bound in bounds) else 1


if __name__ == "__main__":
    sys.exit(main())
