"""What one reader learns that another needs: handed over in memory.

Here: values promised by a reader, given or refused once. Not here: what they mean.
"""

import threading
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any


class Facts:
    """Named values, each promised by one reader of this extraction. Safe for many threads."""

    def __init__(self, promised: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._futures: dict[str, Future[Any]] = {name: Future() for name in promised}

    def promised(self, name: str) -> bool:
        """Whether a reader of this extraction will give or refuse the fact."""
        return name in self._futures

    def give(self, name: str, value: Any) -> None:
        """Hand a value over; the first word stands."""
        with self._lock:
            future = self._futures.get(name)
            if future is not None and not future.done():
                future.set_result(value)

    def refuse(self, names: Iterable[str], reason: BaseException) -> None:
        """Those of the facts that were not given will never be."""
        with self._lock:
            for name in names:
                future = self._futures.get(name)
                if future is not None and not future.done():
                    future.set_exception(reason)

    def refuse_all(self, reason: BaseException) -> None:
        """Nothing more will be given."""
        self.refuse(list(self._futures), reason)

    def get(self, name: str) -> Any:
        """The value, waiting for it. Raises what made its reader fail."""
        return self._futures[name].result()

    def peek(self, name: str) -> Any:
        """The value if it is there already, else None."""
        future = self._futures.get(name)
        if future is None or not future.done() or future.exception() is not None:
            return None
        return future.result()
