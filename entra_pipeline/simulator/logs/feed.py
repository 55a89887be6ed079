"""One log: an invented past and what was recorded, as one series of encoded events in time.

A `Feed` finds events by time and hands them out in pieces; it knows neither HTTP nor what an event
says. The invented past is made when asked for, so that its length costs nothing.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from entra_pipeline.simulator.logs.schedule import TICK, Schedule

BLOCK = 250
"""Events that are invented together."""
_KEPT_BLOCKS = 16
_LATE_ONES = 20
"""One event in so many is late, when any are."""

Invent = Callable[[int, bool], Sequence[bytes]]
"""Encodes a block by its number; the second argument says whether to show policies."""


class Recorded:
    """Events of the present, in the order they happened."""

    def __init__(self) -> None:
        self.ticks: list[int] = []
        self.rows: list[bytes] = []

    def stamp(self, ticks: int) -> int:
        """A time for the next event, later than that of the one before."""
        return max(ticks, self.ticks[-1] + 1) if self.ticks else ticks

    def add(self, ticks: int, row: bytes) -> None:
        """Record an event; its time must come from `stamp`."""
        self.ticks.append(ticks)
        self.rows.append(row)


@dataclass(slots=True)
class Span:
    """What is left of a window: numbers of invented and of recorded events, ends excluded.

    `now` (ticks) is when the walk began: what becomes visible later is not part of it.
    """

    first: int
    end: int
    recorded_first: int
    recorded_end: int
    now: int

    def __bool__(self) -> bool:
        return self.first < self.end or self.recorded_first < self.recorded_end


class Feed:
    """The events of one log.

    `beginning`: when the invented past begins, in ticks. `lag` and `late` are ticks: every event
    becomes visible `lag` after it happened, one in twenty up to `late` later still. `resolution`:
    ticks to which events' times are rounded down when shown.
    """

    def __init__(
        self,
        schedule: Schedule,
        invent: Invent,
        recorded: Recorded,
        *,
        beginning: int,
        lag: int = 0,
        late: int = 0,
        resolution: int = 1,
    ) -> None:
        self._schedule = schedule
        self._invent = invent
        self._recorded = recorded
        self._beginning = beginning
        self._lag = lag
        self._late = late
        self._resolution = resolution
        self._blocks: OrderedDict[tuple[int, bool], Sequence[bytes]] = OrderedDict()

    def span(self, first: int, last: int, now: int) -> Span:
        """The events shown with times from `first` to `last`, both included, and visible `now`."""
        unit = self._resolution
        start = -(-first // unit) * unit
        stop = min(last // unit * unit + unit, now - self._lag + 1)
        invented = max(start, self._beginning)
        find, held = self._schedule.first_from, self._recorded.ticks
        return Span(
            find(invented),
            max(find(invented), find(stop)),
            bisect_left(held, start),
            max(bisect_left(held, start), bisect_left(held, stop)),
            now,
        )

    def take(self, span: Span, count: int, *, ascending: bool, policies: bool) -> list[bytes]:
        """Take up to `count` events off the span, in order of time.

        There may be fewer although the span is not used up: some are not visible yet.
        """
        if span.recorded_first >= span.recorded_end:
            return self._take_invented(span, count, ascending, policies)
        if span.first >= span.end:
            return self._take_recorded(span, count, ascending)
        return self._take_both(span, count, ascending, policies)

    def _take_invented(
        self, span: Span, count: int, ascending: bool, policies: bool
    ) -> list[bytes]:
        if ascending:
            low, high = span.first, min(span.first + count, span.end)
            span.first = high
        else:
            low, high = max(span.end - count, span.first), span.end
            span.end = low
        if (
            not self._late
            or low >= high
            or self._all_arrived(self._schedule.moment(high - 1), span)
        ):
            rows = self._rows(low, high, policies)
        else:
            moment = self._schedule.moment
            rows = [
                row
                for number, row in zip(
                    range(low, high), self._rows(low, high, policies), strict=True
                )
                if self._arrived(moment(number), number, span)
            ]
        if not ascending:
            rows.reverse()
        return rows

    def _take_recorded(self, span: Span, count: int, ascending: bool) -> list[bytes]:
        if ascending:
            low, high = span.recorded_first, min(span.recorded_first + count, span.recorded_end)
            span.recorded_first = high
        else:
            low, high = max(span.recorded_end - count, span.recorded_first), span.recorded_end
            span.recorded_end = low
        ticks = self._recorded.ticks
        rows = [
            self._recorded.rows[number]
            for number in range(low, high)
            if self._arrived(ticks[number], number, span)
        ]
        if not ascending:
            rows.reverse()
        return rows

    def _take_both(self, span: Span, count: int, ascending: bool, policies: bool) -> list[bytes]:
        """Like the others, where both kinds are left: the next ones of each, joined by time."""
        moment, ticks = self._schedule.moment, self._recorded.ticks
        if ascending:
            invented = range(span.first, min(span.first + count, span.end))
            recorded = range(
                span.recorded_first, min(span.recorded_first + count, span.recorded_end)
            )
        else:
            invented = range(max(span.end - count, span.first), span.end)
            recorded = range(max(span.recorded_end - count, span.recorded_first), span.recorded_end)
        both = [(moment(number), 0, number) for number in invented]
        both += [(ticks[number], 1, number) for number in recorded]
        both.sort(reverse=not ascending)
        rows: list[bytes] = []
        encoded = self._rows(invented.start, invented.stop, policies)
        for at, kind, number in both[:count]:
            if kind:
                row = self._recorded.rows[number]
                if ascending:
                    span.recorded_first = number + 1
                else:
                    span.recorded_end = number
            else:
                row = encoded[number - invented.start]
                if ascending:
                    span.first = number + 1
                else:
                    span.end = number
            if self._arrived(at, number, span):
                rows.append(row)
        return rows

    # Arriving

    def _all_arrived(self, newest: int, span: Span) -> bool:
        return newest + self._lag + self._late <= span.now

    def _arrived(self, ticks: int, number: int, span: Span) -> bool:
        """Whether the event has become visible; a few take longer, each its own time."""
        if self._all_arrived(ticks, span):
            return True
        chance = (number + 1) * 0x9E3779B97F4A7C15 >> 20 & 0xFFFF
        extra = self._late * (chance % 997) // 997 if chance % _LATE_ONES == 0 else 0
        return ticks + self._lag + extra <= span.now

    # Inventing

    def _rows(self, low: int, high: int, policies: bool) -> list[bytes]:
        rows: list[bytes] = []
        while low < high:
            number, skipped = divmod(low, BLOCK)
            end = min(high, (number + 1) * BLOCK)
            rows += self._block(number, policies)[skipped : skipped + end - low]
            low = end
        return rows

    def _block(self, number: int, policies: bool) -> Sequence[bytes]:
        key = (number, policies)
        held = self._blocks.get(key)
        if held is None:
            held = self._blocks[key] = self._invent(number, policies)
            if len(self._blocks) > _KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(key)
        return held


def ticks(seconds: float) -> int:
    """Seconds as ticks."""
    return round(seconds * TICK)
