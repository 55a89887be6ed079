"""Ctrl-C and SIGTERM that cannot get lost while a run is under way.

Python turns a signal into an exception wherever the main thread happens to be, and whoever is
there may lose it: DuckDB answers with a RuntimeError of its own, finalisers print it and go on,
Dagster forgets what comes while it takes a run down. The wake-up descriptor hears every signal
that has a handler in Python, whoever's it is. What was heard there is asked for between steps and
at the end. This module knows nothing of Dagster.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

# How long to wait for the thread that listens: it only has to get its turn.
_TURN_S: Final = 5.0

_listener: _Listener | None = None


@contextmanager
def heard(tell: Callable[[int], None] | None = None) -> Iterator[None]:
    """Inside: an interrupt is remembered; what is raised after one is a KeyboardInterrupt.

    `tell` is called from a thread with how many there were so far, as each one comes. Inside
    another `heard`, and outside the main thread (where Python runs no handlers), does nothing.
    """
    global _listener
    if _listener is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    listener = _Listener(tell)
    handler = signal.getsignal(signal.SIGTERM)
    former = signal.set_wakeup_fd(listener.writing, warn_on_full_buffer=False)
    try:
        _listener = listener
        if handler is signal.SIG_DFL:
            # Ends the process on the spot, before anything could be closed in order.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        yield
    except Exception:
        if listener.asked():
            raise KeyboardInterrupt from None
        raise
    finally:
        _listener = None
        if handler is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, handler)
        signal.set_wakeup_fd(former)
        listener.close()


def asked() -> bool:
    """Whether an interrupt came since `heard` was entered; never, outside it."""
    return _listener is not None and _listener.asked()


def check() -> None:
    """Raise KeyboardInterrupt when an interrupt came, also when its exception was lost since."""
    if asked():
        raise KeyboardInterrupt


class _Listener:
    """Reads the numbers of signals from a pipe, in a thread."""

    def __init__(self, tell: Callable[[int], None] | None) -> None:
        self._tell = tell
        self._count = 0
        self._turn = threading.Event()
        self._lock = threading.Lock()
        reading, self.writing = os.pipe()
        os.set_blocking(self.writing, False)
        threading.Thread(
            target=self._listen, args=(reading,), name="interrupts", daemon=True
        ).start()

    def asked(self) -> bool:
        # No signal has the number 0: when it has come through, so has all that was before it.
        with self._lock:
            self._turn.clear()
            os.write(self.writing, b"\0")
            self._turn.wait(_TURN_S)
        return self._count > 0

    def close(self) -> None:
        os.close(self.writing)

    def _listen(self, reading: int) -> None:
        while byte := os.read(reading, 1):
            if byte == b"\0":
                self._turn.set()
            elif byte[0] in {signal.SIGINT, signal.SIGTERM}:
                self._count += 1
                if self._tell is not None:
                    self._tell(self._count)
        os.close(reading)
