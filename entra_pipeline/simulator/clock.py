"""The simulator's time: real time plus whatever `/_sim/clock` has added.

Everything that ages (tokens, page tokens, delta links, throttle windows) asks this clock, so that
a test can let seven days pass in a millisecond.
"""

import time
from datetime import UTC, datetime
from email.utils import formatdate


class Clock:
    """Real time, moved forward on request. Never moves back."""

    def __init__(self) -> None:
        self._advanced = 0.0
        self._date = (0, b"")

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once. Raises ValueError for a negative number."""
        if seconds < 0:
            raise ValueError(f"advance_s is {seconds}: the clock only moves forward")
        self._advanced += seconds

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._advanced

    def now(self) -> datetime:
        """The moment as an aware UTC datetime."""
        return datetime.fromtimestamp(self.time(), UTC)

    def monotonic(self) -> float:
        """Seconds on a clock that is good for intervals."""
        return time.monotonic() + self._advanced

    def http_date(self) -> bytes:
        """The `Date` header's value; formatted once a second."""
        second = int(self.time())
        if self._date[0] != second:
            self._date = (second, formatdate(second, usegmt=True).encode())
        return self._date[1]

    def stamp(self) -> str:
        """The moment in the form Graph writes: `2026-11-23T08:30:00Z`."""
        return self.now().strftime("%Y-%m-%dT%H:%M:%SZ")
