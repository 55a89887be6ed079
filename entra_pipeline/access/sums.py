"""Events summed by day: what a year of sign-ins comes down to for questions about use.

Here: making, finding and clearing away the sums of whole days, and summing what lies between two
moments from them. What use means is `usage`'s. A day of a million sign-ins is read once, when it is
over; afterwards its sums are read, a few megabytes. The days at either end of a period are only
partly in it, so those are read from the events themselves, and every number is exact. Whole days
that are settled, which every sync of a day would add up again, are added up once.

    lake/_usage/<table>/<day>-<hash>.parquet     who, what, kind, capacity, count, last
    lake/_usage/<table>/days-<hash>.parquet      who, what, kind, capacity, recent, count, last

The hash is over the names of the day's files of events, which no two contents share: sums whose
events changed are not found any more, and are made anew. That of several days is over the names of
their sums.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from pathlib import Path
from typing import Final

import duckdb

from entra_pipeline.access.engine import literal, script
from entra_pipeline.lake.events import DAY, Events
from entra_pipeline.tables import EVENTS

FOLDER: Final = "_usage"
# Part of the hash: another way of summing makes other sums.
_FORM: Final = 1
# Sums that a newer content replaced may be about to be read by another process.
_GRACE: Final = 3600.0  # seconds
# Several days' sums are for the periods of one day; they are used no more on the next.
_UNUSED: Final = 86_400.0  # seconds
# The last whole days are left out of them: events that come late change those.
_SETTLED: Final = timedelta(days=2)
_MEMORY: Final = "400MB"
_DAYS: Final = "days-"
FEEDS: Final = ("sign_ins", "directory_audits")


@dataclass(frozen=True)
class Period:
    """Events from `start` to before `end`; those from `recent` on are also counted apart."""

    start: datetime
    recent: datetime
    end: datetime

    def partial(self, day: date) -> bool:
        """Whether a moment that counts lies within the day rather than at its ends."""
        first, after = midnight(day), midnight(day) + timedelta(days=1)
        return any(first < moment < after for moment in (self.start, self.recent, self.end))


def midnight(day: date) -> datetime:
    """The first moment of a day, UTC."""
    return datetime.combine(day, clock_time(), UTC)


class DaySums:
    """The sums of one table of events."""

    def __init__(self, events: Events, table: str) -> None:
        self._events = events
        self._table = table
        self._folder = events.root / FOLDER / table

    def statement(self, period: Period) -> str | None:
        """SQL with one row for who, what, kind and capacity: used_30d, used_90d and last.

        Makes the sums that it needs. None when there are no events in the period.
        """
        days = self._days(period)
        if not days:
            return None
        split: list[str] = []
        summed: list[tuple[date, Path]] = []
        for day, files in days.items():
            if period.partial(day):
                split += files
            else:
                summed.append((day, self._sums(day, files)))
        recent = literal(period.recent.date().isoformat())
        parts = []
        settled = [path for day, path in summed if midnight(day) < period.end - _SETTLED]
        lately = [path for day, path in summed if midnight(day) >= period.end - _SETTLED]
        if settled:
            parts.append(
                f"SELECT * FROM read_parquet([{literal(str(self._added(settled, recent)))}])"
            )
        if lately:
            parts.append(_counted(lately, recent))
        if split:
            parts.append(self._read(split, period))
        union = " UNION ALL ".join(f"({part})" for part in parts)
        return (
            "SELECT who, what, kind, capacity, sum(recent)::BIGINT AS used_30d, "
            f"sum(number)::BIGINT AS used_90d, max(last) AS last FROM ({union}) GROUP BY ALL"
        )

    def clear(self) -> int:
        """Remove sums of days that are forgotten or have other events now; how many."""
        if not self._folder.is_dir():
            return 0
        current = {
            self._path(day, files).name
            for day, files in _by_day(self._events.files(self._table)).items()
        }
        gone, oldest = 0, time.time() - _GRACE
        for path in self._folder.iterdir():
            unused = _UNUSED if path.name.startswith(_DAYS) else 0.0
            with suppress(FileNotFoundError):
                if path.name not in current and path.stat().st_mtime < oldest - unused:
                    path.unlink()
                    gone += 1
        return gone

    def _days(self, period: Period) -> dict[date, list[str]]:
        """The files of each day that has events in the period; whole days, all of them."""
        files = _by_day(self._events.files(self._table, midnight(period.start.date())))
        last = period.end - timedelta(microseconds=1)
        return {
            day: paths for day, paths in files.items() if period.start.date() <= day <= last.date()
        }

    def _sums(self, day: date, files: Sequence[str]) -> Path:
        path = self._path(day, files)
        if path.exists():
            return path
        whole = Period(midnight(day), midnight(day), midnight(day) + timedelta(days=1))
        statement = self._read(files, whole)
        self._store(
            path,
            f"SELECT DATE {literal(day.isoformat())} AS day, who, what, kind, capacity, number, "
            f"last FROM ({statement}) ORDER BY who, what, kind, capacity",
        )
        return path

    def _added(self, sums: Sequence[Path], recent: str) -> Path:
        """The sums of several days as one; those from the day `recent` on also counted apart."""
        sha = hashlib.sha256("\n".join([str(_FORM), recent, *(p.name for p in sums)]).encode())
        path = self._folder / f"{_DAYS}{sha.hexdigest()[:16]}.parquet"
        try:
            os.utime(path)
        except FileNotFoundError:
            self._store(
                path,
                "SELECT who, what, kind, capacity, sum(recent)::BIGINT AS recent, "
                f"sum(number)::BIGINT AS number, max(last) AS last FROM ({_counted(sums, recent)}) "
                "GROUP BY ALL ORDER BY who, what, kind, capacity",
            )
        return path

    def _store(self, path: Path, statement: str) -> None:
        """A file of the rows of a statement, under its name only when it is whole."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}.tmp")
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": _MEMORY,
            "temp_directory": f"{fresh}.spill",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        try:
            with duckdb.connect(":memory:", config=config) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                connection.execute(
                    f"COPY ({statement}) TO {literal(str(fresh))} "
                    "(FORMAT parquet, COMPRESSION zstd)"
                )
            os.replace(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)

    def _read(self, files: Iterable[str], period: Period) -> str:
        """SQL over events themselves: who, what, kind, capacity, recent, number, last."""
        names = ", ".join(map(literal, files))
        moment = EVENTS[self._table].time
        return (
            script(f"{self._table}_sums")
            .replace("$events", f"read_parquet([{names}], union_by_name = true)")
            .replace(
                "$within", f"{moment} >= {_time(period.start)} AND {moment} < {_time(period.end)}"
            )
            .replace("$recent", f"{moment} >= {_time(period.recent)}")
        )

    def _path(self, day: date, files: Iterable[str]) -> Path:
        names = sorted(Path(file).name for file in files)
        sha = hashlib.sha256("\n".join([str(_FORM), *names]).encode())
        return self._folder / f"{day.isoformat()}-{sha.hexdigest()[:16]}.parquet"


def clear_sums(events: Events) -> int:
    """Remove the sums of every table that no day of events has any more; how many."""
    return sum(DaySums(events, feed).clear() for feed in FEEDS)


def _counted(sums: Iterable[Path], recent: str) -> str:
    """SQL over sums of days: who, what, kind, capacity, recent, number, last."""
    paths = ", ".join(literal(str(path)) for path in sums)
    return (
        "SELECT who, what, kind, capacity, "
        f"CASE WHEN day >= DATE {recent} THEN number ELSE 0 END AS recent, "
        f"number, last FROM read_parquet([{paths}])"
    )


def _by_day(files: Iterable[str]) -> dict[date, list[str]]:
    found: dict[date, list[str]] = {}
    for file in files:
        day = date.fromisoformat(Path(file).parent.name.removeprefix(f"{DAY}="))
        found.setdefault(day, []).append(file)
    return dict(sorted(found.items()))


def _time(moment: datetime) -> str:
    return f"TIMESTAMPTZ {literal(moment.astimezone(UTC).isoformat())}"
