"""Questions about the past, after a year of daily syncs.

The year is made by `past_year` from one sync of a simulated tenant. Whole commands are measured,
Python's start included; the yardstick is the building of today's warehouse from the lake as every
sync does it, without it. "Cold": no warehouse of that day is kept from an earlier question.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.harness import (
    ROOT,
    Measured,
    measure,
    median,
    python,
    settings_env,
    simulator,
)
from benchmarks.past_year import DAYS
from benchmarks.report import Bound, Table

FULL, QUICK = (100_000, 30_000, DAYS), (5_000, 1_500, 40)
ASKED = 3
# What a year is made by: made by other code it is made anew.
_MADE_BY = ("entra_pipeline/lake", "entra_pipeline/tables", "entra_pipeline/access", "benchmarks")


def main(say: Callable[[str], None], *, quick: bool) -> tuple[list[Table], list[Bound]]:
    """Warehouses of days near and far, one principal's access, what changed in effect."""
    users, _, days = size = QUICK if quick else FULL
    with _year(size, say) as (home, made):
        year = home / "year"
        first = datetime.fromisoformat(made["first"])
        asked = {
            "the first day": first + timedelta(hours=6),
            "half way": first + timedelta(days=days // 2, hours=6),
            "yesterday": first + timedelta(days=days - 1, hours=6),
        }
        today = [measure(python("benchmarks.past_once", str(year))) for _ in range(ASKED)]
        rows: list[list[object]] = [_row("building today's warehouse", today)]
        built = median([run.wall_s for run in today])
        say(f"  today's warehouse: {built:.1f} s")
        worst = 0.0
        people = _principals(year)
        cold, kept = [], []
        for (day, moment), person in zip(asked.items(), people, strict=True):
            question = ["access", person, "--as-of", moment.isoformat(), "--json"]
            cold += [_command(year, question, cold=True) for _ in range(ASKED)]
            say(f"  access as of {day}: {cold[-1].wall_s:.1f} s")
            argv = ["warehouse", "--as-of", moment.isoformat(), "-o", str(home / "as_of.duckdb")]
            # The farthest back is the slowest: it alone is built twice.
            runs = [_command(year, argv, cold=True) for _ in range(1 if worst else 2)]
            worst = max(worst, median([run.wall_s for run in runs]) / built)
            rows.append(_row(f"`warehouse --as-of` {day}, cold", runs))
            say(f"  warehouse as of {day}: {runs[-1].wall_s:.1f} s")
            kept += [_command(year, question) for _ in range(ASKED)]
        rows.append(_row("`access --as-of`, cold", cold))
        rows.append(_row("`access --as-of`, its warehouse kept", kept))
        week = asked["yesterday"] - timedelta(days=7)
        between = ["diff", week.isoformat(), asked["yesterday"].isoformat()]
        comparing = {
            "cold": [_command(year, [*between, "--json"], cold=True)],
            "both warehouses kept": [_command(year, [*between, "--json"])],
        }
        for how, runs in comparing.items():
            rows.append(_row(f"`diff` of the last week, {how}", runs))
            say(f"  diff, {how}: {runs[-1].wall_s:.1f} s")
    title = (
        f"The past: {days} daily syncs at {users:,} users, {sum(made['changes'].values()):,} "
        f"changed rows; tables {made['tables_mib']:.0f} MiB, histories "
        f"{made['histories_mib']:.0f} MiB, books {made['books_mib']:.0f} MiB"
    )
    return [Table(title, ["what", "median s", "most s", "CPU s", "peak MiB"], rows)], [
        Bound("`warehouse --as-of` ÷ building today's", worst, 3.0),
        Bound("`access --as-of`, cold: median s", median([run.wall_s for run in cold]), 2.0),
        Bound("`access --as-of`, kept: median s", median([run.wall_s for run in kept]), 2.0),
    ]


@contextmanager
def _year(
    size: tuple[int, int, int], say: Callable[[str], None]
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A directory with the year in it, and what was said of its making.

    It is what is asked, not what is measured, so that the next run asks the same one again as long
    as the code that makes it stays.
    """
    folder = ROOT / ".bench" / "past"
    folder.mkdir(parents=True, exist_ok=True)
    home = folder / f"{'-'.join(map(str, size))}-{_code()}"
    for other in folder.iterdir():
        if other != home and other.name.startswith(("making", f"{size[0]}-")):
            shutil.rmtree(other)
    if home.exists():
        say("  the year is there from an earlier run")
    else:
        making = Path(tempfile.mkdtemp(prefix="making-", dir=folder))
        made = _make(making, size, say)
        (making / "made.json").write_text(json.dumps(made))
        making.rename(home)
    yield home, json.loads((home / "made.json").read_text())
    shutil.rmtree(home / "year" / "past", ignore_errors=True)
    (home / "as_of.duckdb").unlink(missing_ok=True)


def _code() -> str:
    sha = hashlib.sha256()
    for part in _MADE_BY:
        for path in sorted((ROOT / part).rglob("*")):
            if path.suffix in (".py", ".sql"):
                sha.update(path.read_bytes())
    return sha.hexdigest()[:12]


def _make(home: Path, size: tuple[int, int, int], say: Callable[[str], None]) -> dict[str, Any]:
    users, groups, days = size
    source, year = home / "source", home / "year"
    with simulator(users, groups, 0) as sim:
        measure(python("benchmarks.increment_once"), settings_env(sim, source))
    say("  a first sync is made")
    made = measure(python("benchmarks.past_year", str(source), str(year), f"--days={days}"))
    say(f"  {days} days are made in {made.wall_s:.0f} s")
    shutil.rmtree(source)
    return made.answer


def _principals(year: Path) -> list[str]:
    """Some people, those with the most direct grants and memberships among them."""
    with duckdb.connect(str(year / "warehouse.duckdb"), read_only=True) as connection:
        found = connection.execute(
            "SELECT member_id FROM group_members JOIN users ON id = member_id GROUP BY ALL "
            "ORDER BY count(*) DESC, member_id LIMIT 300"
        ).fetchall()
    return [str(row[0]) for row in found[::100]]


def _command(year: Path, argv: Sequence[str], *, cold: bool = False) -> Measured:
    """One whole command."""
    if cold:
        shutil.rmtree(year / "past", ignore_errors=True)
    return measure(
        [sys.executable, "-m", "entra_pipeline.cli", *argv], {"ENTRA_DATA_DIR": str(year)}
    )


def _row(what: str, runs: Sequence[Measured]) -> list[object]:
    return [
        what,
        f"{median([run.wall_s for run in runs]):.1f}",
        f"{max(run.wall_s for run in runs):.1f}",
        f"{median([run.cpu_s for run in runs]):.1f}",
        f"{max(run.peak_mib for run in runs):.0f}",
    ]
