"""Ctrl-C that always ends: politely at first, and whatever hangs is left behind.

A sync may be waiting for an answer that does not come, in threads that nothing can interrupt. It
survives being killed at any moment, so it need not wait for them long.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from entra_pipeline.cli import output
from entra_pipeline.cli.exits import ExitCode

GRACE_S = 10.0


@contextmanager
def ends_on_ctrl_c() -> Iterator[None]:
    """Inside: the first ctrl-c asks, and after a grace ends the process; a second ends it at once.

    Dagster puts handlers of its own in place while steps run, so signals are watched where every
    handler's go: the wake-up descriptor.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    former = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading,), name="ctrl-c", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(former)
        os.close(writing)


def _leave() -> None:
    if sys.stderr.isatty():
        # The live display, which nobody closes now, had hidden the cursor.
        sys.stderr.write("\x1b[?25h\n")
        sys.stderr.flush()
    os._exit(ExitCode.INTERRUPTED)


def _watch(reading: int) -> None:
    asked = 0
    while byte := os.read(reading, 1):
        if byte[0] not in {signal.SIGINT, signal.SIGTERM}:
            continue
        asked += 1
        if asked > 1:
            _leave()
        output.say("Stopping; ctrl-c again stops at once.")
        timer = threading.Timer(GRACE_S, _leave)
        timer.daemon = True
        timer.start()
    os.close(reading)
