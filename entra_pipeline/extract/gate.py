"""How many round trips are in flight, and whose turn is next.

Here: the slots that all readers of one extraction share. Not here: Graph's own limits (the
client's budget).
"""

import heapq
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class CancelledError(Exception):
    """The extraction was closed while a reader was at work."""


class Gate:
    """A number of slots, given to the waiter with the lowest priority number, then the first.

    Priorities exist for the long chains: every round trip that the list of users waits behind
    another table's is a round trip that the whole sync takes longer.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._condition = threading.Condition()
        self._waiting: list[tuple[int, int]] = []
        self._tickets = 0
        self._cancelled = False

    @contextmanager
    def slot(self, priority: int) -> Iterator[None]:
        """Hold a slot; raises CancelledError once the gate is cancelled."""
        self._enter(priority)
        try:
            yield
        finally:
            with self._condition:
                self._free += 1
                self._condition.notify_all()

    def check(self) -> None:
        """Raise CancelledError once the gate is cancelled."""
        if self._cancelled:
            raise CancelledError

    def cancel(self) -> None:
        """Let nobody in any more, and send those who wait away."""
        with self._condition:
            self._cancelled = True
            self._condition.notify_all()

    def _enter(self, priority: int) -> None:
        with self._condition:
            self._tickets += 1
            ticket = (priority, self._tickets)
            heapq.heappush(self._waiting, ticket)
            while not self._cancelled and not (self._free and self._waiting[0] == ticket):
                self._condition.wait()
            self._waiting.remove(ticket)
            heapq.heapify(self._waiting)
            if self._cancelled:
                raise CancelledError
            self._free -= 1
            if self._free:
                self._condition.notify_all()
