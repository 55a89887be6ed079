"""Which span of time to ask for next: pure.

Graph's logs are read in closed windows. Small ones survive throttling and timeouts, large ones
spare requests where little happens: five are allowed in ten seconds, for all logs together.
Source: https://learn.microsoft.com/graph/throttling-limits#reports-service-limits
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from datetime import time as clock_time
from typing import Final

from entra_pipeline.lake.spans import Span, missing

SMALLEST: Final = timedelta(minutes=1)
LARGEST: Final = timedelta(days=1)
KEPT: Final = timedelta(days=30)
"""How long Microsoft keeps events at most."""
KEPT_BY_ALL: Final = timedelta(days=7)
"""How long it keeps them for every tenant; without P1 or P2 no longer.
Source: https://learn.microsoft.com/entra/identity/monitoring-health/reference-reports-data-retention"""


class Pace:
    """The size of the next window."""

    def __init__(self, start: timedelta) -> None:
        self._start = start
        self.size = start

    def trouble(self) -> bool:
        """The window could not be read: half of it next. False when it was the smallest already."""
        if self.size <= SMALLEST:
            return False
        self.size = max(self.size / 2, SMALLEST)
        return True

    def read(self, pages: int) -> None:
        """A window was read, in so many pages: a larger one next, if there is room."""
        limit = LARGEST if pages <= 1 else max(self._start, self.size)
        if pages <= 1 or self.size < self._start:
            self.size = min(self.size * 2, limit)


def unread_since(covered: Sequence[Span], now: datetime) -> datetime:
    """The first moment that a reading which goes on from what is covered would ask for."""
    oldest = now - KEPT
    if not covered:
        return oldest
    todo = to_read((covered[0][0], now), list(covered), now)
    return todo[0][0] if todo else now


def to_read(whole: Span, covered: list[Span], now: datetime) -> list[Span]:
    """What of `whole` has to be asked for: not what is covered, nor what no tenant keeps."""
    start, end = max(whole[0], now - KEPT), min(whole[1], now)
    return missing((start, end), covered) if start < end else []


def window(todo: list[Span], size: timedelta) -> Span:
    """The next window: the oldest, as nothing else may be gone soon; never over midnight.

    A rest of up to half a window is taken along: the usual reading, of the overlap and what
    happened since the last one, is then one request.
    """
    start, end = todo[0]
    midnight = datetime.combine(start.astimezone(UTC).date(), clock_time(), UTC) + LARGEST
    last = min(end, midnight)
    return start, last if last - start <= 1.5 * size else start + size


def claim(
    asked: Span, *, begun: datetime, ended: datetime, seen: datetime | None, late: timedelta
) -> Span | None:
    """What of a window that was read can be called whole.

    Not its last part, where events may still appear (`late` is how late they do), and not what
    the source may have forgotten: Graph tells nobody how long this tenant's events are kept. An
    event that it gave (`seen` is the oldest) proves that it still has all later ones.
    """
    certain = ended - KEPT_BY_ALL
    start = max(asked[0], certain if seen is None else min(certain, seen))
    end = min(asked[1], begun - late)
    return (start, end) if start < end else None
