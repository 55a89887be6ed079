"""Access on a very large tenant: build, questions, whole command, export, publication.

The tenant comes from `access_data` as Parquet, without HTTP. Building is compared with writing
the very tables that the warehouse ends up with, computing nothing; both start from files in the
page cache, in processes of their own, in turn.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.access_once import built
from benchmarks.harness import ROOT, Measured, measure, median, python
from benchmarks.report import Bound, Table

FULL = {"users": 1_000_000, "groups": 300_000, "memberships": 14_000_000}
QUICK = {"users": 50_000, "groups": 15_000, "memberships": 700_000}
COMMANDS = 5


def main(say: Callable[[str], None], *, quick: bool) -> tuple[list[Table], list[Bound]]:
    """All pieces and their bounds. The full tenant needs some 3 GB of disk and ten minutes."""
    size = QUICK if quick else FULL
    with tempfile.TemporaryDirectory(dir=_scratch()) as name:
        home = Path(name)
        say(f"  writing {size['memberships']:,} memberships as Parquet")
        _write(home, size)
        runs: dict[str, list[Measured]] = {"build": [], "copy": [], "load": []}
        for _ in range(1 if quick else 2):
            for piece, done in runs.items():
                done.append(_piece(piece, home))
                say(f"  {piece}: {done[-1].wall_s:.1f} s, {done[-1].cpu_s:.1f} CPU s")
        asked = _piece("questions", home)
        ids = asked.answer.pop("ids")
        commands = _commands(home, ids["principal"], ids["entitlement"])
        say("  publishing")
        published = _piece("publish", home) if quick else _small_publication(say)
        say("  exporting")
        exported = _piece("export", home)
        say(f"  export: {exported.answer['rows']:,} rows in {exported.wall_s:.0f} s")
    return _tables(size, runs, asked, commands, published, exported), [
        Bound(
            "access: build / writing the same tables without computing",
            _wall(runs["build"]) / _wall(runs["copy"]),
            3.0,
        ),
        *(
            Bound(f"{question}: median ms in process", asked.answer[question]["median_ms"], 100)
            for question in ("access", "who_can, any entitlement", "explain")
        ),
        *(
            Bound(f"the command `{command}`: median s", seconds, 1.0)
            for command, seconds in commands.items()
        ),
        Bound("export of effective_grants: peak MiB", exported.peak_mib, 1024),
        Bound(
            "publications under three readers, no error, never back",
            published.answer["published"],
            50,
            at_least=True,
        ),
    ]


def _scratch() -> Path:
    path = ROOT / ".bench"
    path.mkdir(exist_ok=True)
    return path


def _write(home: Path, size: dict[str, int]) -> None:
    """In a process of its own: a child's peak memory starts at its parent's."""
    options = [f"--{name}={value}" for name, value in size.items()]
    measure(python("benchmarks.access_data", str(home), *options))


def _piece(name: str, home: Path) -> Measured:
    return measure(python("benchmarks.access_once", name, str(home)))


def _wall(runs: list[Measured]) -> float:
    return median([run.wall_s for run in runs])


def _small_publication(say: Callable[[str], None]) -> Measured:
    """Fifty publications of an ordinary warehouse: copying a huge one would measure disks."""
    with tempfile.TemporaryDirectory(dir=_scratch()) as name:
        home = Path(name)
        _write(home, QUICK)
        _piece("build", home)
        published = _piece("publish", home)
        say(f"  readers opened it {published.answer['opened']} times")
        return published


def _commands(home: Path, principal: str, entitlement: str) -> dict[str, float]:
    """Median wall seconds of whole commands, Python's start included."""
    directory = home / "data"
    (directory / "warehouse").mkdir(parents=True)
    (directory / "tenant.json").write_text('{"format": 1, "tenant_id": "benchmark"}')
    file = directory / "warehouse" / "warehouse-000001.duckdb"
    file.hardlink_to(built(home))
    (directory / "warehouse.duckdb").symlink_to("warehouse/warehouse-000001.duckdb")
    found = {}
    for name, argv in {
        "access": ["access", principal, "--json"],
        "who-can": ["who-can", entitlement, "--json", "--limit", "100"],
        "explain": ["explain", principal, entitlement, "--json"],
    }.items():
        taken = []
        for _ in range(COMMANDS):
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "entra_pipeline.cli", *argv],
                env={"PATH": "/usr/bin:/bin", "HOME": str(home), "ENTRA_DATA_DIR": str(directory)},
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            taken.append(time.perf_counter() - began)
            if done.returncode not in (0, 1):
                raise RuntimeError(f"{name} ended {done.returncode}: {done.stderr[-2000:]}")
        found[name] = median(taken)
    shutil.rmtree(directory)
    return found


def _tables(
    size: dict[str, int],
    runs: dict[str, list[Measured]],
    asked: Measured,
    commands: dict[str, float],
    published: Measured,
    exported: Measured,
) -> list[Table]:
    what = {
        "build": "building the warehouse from Parquet",
        "copy": "writing the same tables, computing nothing",
        "load": "writing the input tables as they are, computing nothing",
    }
    last = runs["build"][-1].answer
    tenant = (
        f"{size['users']:,} users, {size['groups']:,} groups, {size['memberships']:,} memberships,"
        f" {last['effective']:,} effective rows, {last['closure']:,} closure rows"
    )
    building = [
        [
            what[name],
            f"{_wall(done):.1f}",
            f"{median([run.cpu_s for run in done]):.1f}",
            f"{max(run.peak_mib for run in done):.0f}",
            f"{done[-1].answer['mib']:.0f}",
        ]
        for name, done in runs.items()
    ]
    building += [[f"— {name}", f"{s:.1f}", "", "", ""] for name, s in last["steps"].items()]
    asking = [
        [question, f"{figures['median_ms']:.0f}", f"{figures['max_ms']:.0f}"]
        for question, figures in asked.answer.items()
    ]
    asking += [[f"the command `{name}`", f"{1000 * s:.0f}", ""] for name, s in commands.items()]
    rest = [
        [
            f"exporting effective_grants, {exported.answer['rows']:,} rows",
            f"{exported.wall_s:.0f} s",
            f"{exported.peak_mib:.0f}",
        ],
        [
            f"one publication, median of {published.answer['published']}, under three readers",
            f"{published.answer['median_ms']:.0f} ms",
            f"{published.peak_mib:.0f}",
        ],
    ]
    return [
        Table(
            f"Access: building at {tenant}",
            ["what", "wall s", "CPU s", "peak MiB", "file MiB"],
            building,
        ),
        Table("Access: questions at that size", ["question", "median ms", "most ms"], asking),
        Table("Access: export and publication", ["what", "time", "peak MiB"], rest),
    ]
