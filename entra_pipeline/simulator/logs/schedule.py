"""When the events of an invented past happened: by arithmetic, without a list of them.

Event number `i` of a schedule belongs to day `i // per_day` since the epoch. Every day has exactly
`per_day` events, more of them in working hours. Times are whole ticks of 100 nanoseconds since the
epoch, which is what Graph can express. Nothing here knows what the events are.
"""

from bisect import bisect_left, bisect_right
from datetime import UTC, datetime
from functools import lru_cache

TICK = 10_000_000
"""Ticks a second."""
HOUR = 3600 * TICK
DAY = 24 * HOUR

_WEIGHTS = (4, 3, 3, 4, 8, 18, 42, 78, 104, 102, 92, 84, 76, 88, 86, 74, 52, 30, 18, 12, 9, 6, 4, 3)
"""How much happens in each hour (UTC) of a day, in thousandths."""


class Schedule:
    """The times of the events, ascending with their numbers."""

    def __init__(self, per_day: int) -> None:
        self.per_day = per_day
        total = sum(_WEIGHTS)
        self._starts = [per_day * sum(_WEIGHTS[:hour]) // total for hour in range(25)]

    def moment(self, number: int) -> int:
        """When the event happened, in ticks."""
        day, position = divmod(number, self.per_day)
        hour = bisect_right(self._starts, position) - 1
        first = self._starts[hour]
        offset = _offset(position - first, self._starts[hour + 1] - first)
        return day * DAY + hour * HOUR + offset

    def first_from(self, ticks: int) -> int:
        """The number of the first event that happened then or later."""
        if not self.per_day or ticks <= 0:
            return 0
        day, rest = divmod(ticks, DAY)
        hour, offset = divmod(rest, HOUR)
        first, end = self._starts[hour], self._starts[hour + 1]
        among = range(end - first)
        found = bisect_left(among, offset, key=lambda each: _offset(each, end - first))
        return day * self.per_day + first + found


def _offset(position: int, count: int) -> int:
    """Ticks into its hour of one of `count` events: each somewhere in a slot of its own."""
    within = (position * 2654435761 + 1540483477 & 0xFFFFFFFF) * HOUR >> 32
    return (position * HOUR + within) // count


def ticks_of(moment: str) -> int:
    """Ticks of a time in the form of `odata.filter.instant`: `2026-11-23T08:30:00.0000000`."""
    whole, _, fraction = moment.partition(".")
    seconds = datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()
    return int(seconds) * TICK + int(fraction.ljust(7, "0")[:7] or 0)


def second_of(ticks: int) -> str:
    """The time as Graph writes it with whole seconds: `2026-11-23T08:30:00Z`."""
    return _written(ticks // TICK)


def fraction_of(ticks: int) -> str:
    """The time as Graph writes it with all its digits: `2026-11-23T08:30:00.1234567Z`."""
    return f"{second_of(ticks)[:-1]}.{ticks % TICK:07d}Z"


@lru_cache(maxsize=4096)
def _written(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
