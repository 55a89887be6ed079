"""How many round trips are in flight, and whose turn is next.

Here: the few threads in which all requests of one extraction happen. Not here: Graph's own limits
(the client's budget).

Why threads of its own rather than a semaphore around each reader's requests: what a thread
allocates it mostly keeps (Arrow's and the C library's allocators hold memory by thread). Thirty
readers that fetch and parse for themselves hold 170 MB more than ten threads that do it for them.
"""

import heapq
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class CancelledError(Exception):
    """The extraction was closed while a reader was at work."""


class Turns:
    """A number of threads that work through calls, lowest priority number first, then oldest.

    Priorities exist for the long chains: every round trip that the list of users waits behind
    another table's is a round trip that the whole sync takes longer.
    """

    def __init__(
        self,
        slots: int,
        name: str = "extract-fetch",
        *,
        gate: Callable[[], object] = lambda: None,
    ) -> None:
        """`gate`: returns when calls may be made; asked before each."""
        self.slots = slots
        self._gate = gate
        self._name = name
        self._condition = threading.Condition()
        self._waiting: list[tuple[int, int, Future[Any], Callable[[], Any]]] = []
        self._tickets = 0
        self._cancelled = False
        self._closed = False
        self._threads: list[threading.Thread] = []

    def submit(
        self, priority: int, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """Have a call made when its turn comes. Raises CancelledError once cancelled."""
        future: Future[T] = Future()
        with self._condition:
            if self._cancelled or self._closed:
                raise CancelledError
            if not self._threads:
                self._start()
            self._tickets += 1
            heapq.heappush(
                self._waiting,
                (priority, self._tickets, future, lambda: call(*args, **kwargs)),
            )
            self._condition.notify()
        return future

    def call(self, priority: int, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call when its turn comes and wait for what it gives or raises."""
        return self.submit(priority, call, *args, **kwargs).result()

    def check(self) -> None:
        """Raise CancelledError once cancelled."""
        if self._cancelled:
            raise CancelledError

    def cancel(self) -> None:
        """Make no further calls; those that wait raise CancelledError."""
        with self._condition:
            self._cancelled = True
            waiting, self._waiting = self._waiting, []
            self._condition.notify_all()
        for _, _, future, _ in waiting:
            future.set_exception(CancelledError())

    def close(self) -> None:
        """Wait for the calls under way and end the threads."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        # Only now: whoever makes an extraction and never starts it has no thread to end.
        self._threads = [
            threading.Thread(target=self._work, name=f"{self._name}-{number}")
            for number in range(self.slots)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while True:
            with self._condition:
                while not self._waiting and not self._closed:
                    self._condition.wait()
                if not self._waiting:
                    return
            self._gate()
            with self._condition:
                if not self._waiting:  # another thread took it, or all were cancelled
                    continue
                _, _, future, call = heapq.heappop(self._waiting)
            try:
                result = call()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
            # Nothing of the call may outlive it here: a page of JSON is megabytes.
            del future, call
            result = None
