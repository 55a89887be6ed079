"""Who of an extraction's readers is still asking, and who waits to write.

What changed is asked for in a second or so, mostly of waiting; writing it down takes as long again,
of computing. Done at once, each writer takes the interpreter from the readers at every answer, and
both last longer: so few changes are written when all have been asked for. Not for whole tables,
whose writing has time enough during minutes of asking.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

PATIENCE_S: Final = 3.0
"""For so long after the start of an extraction writers wait at most: one long chain of requests
must not hold up everything else, nor may a reader that needs what another has yet to write."""


class Asking:
    """Counts readers at work; each reader's thread says when it begins, ends, and writes."""

    def __init__(self) -> None:
        self._until = time.monotonic() + PATIENCE_S
        self._condition = threading.Condition()
        self._count = 0

    @contextmanager
    def begun(self) -> Iterator[None]:
        """A reader is at work."""
        self._add(1)
        try:
            yield
        finally:
            self._add(-1)

    @contextmanager
    def over(self) -> Iterator[None]:
        """A reader at work waits for what it wrote."""
        self._add(-1)
        try:
            yield
        finally:
            self._add(1)

    def wait(self) -> None:
        """Until nobody asks any more, or patience is at its end."""
        with self._condition:
            self._condition.wait_for(
                lambda: self._count <= 0, max(0.0, self._until - time.monotonic())
            )

    def hurry(self) -> None:
        """Wait no longer: the extraction is being closed."""
        with self._condition:
            self._until = 0.0
            self._count = -1_000_000
            self._condition.notify_all()

    def _add(self, number: int) -> None:
        with self._condition:
            self._count += number
            if self._count <= 0:
                self._condition.notify_all()
