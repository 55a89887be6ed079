"""Ctrl-C that always ends: politely at first, and whatever hangs is left behind.

A sync may be waiting for an answer that does not come, in threads that nothing can interrupt. It
survives being killed at any moment, so it need not wait for them long.
"""

from __future__ import annotations

import os
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

    Whatever is raised inside after the first one is a KeyboardInterrupt. What ends well all the
    same had its work done when it came.
    """
    from entra_pipeline.orchestration import interrupts

    timer = threading.Timer(GRACE_S, _leave)
    timer.daemon = True

    def asked(times: int) -> None:
        if times > 1:
            _leave()
        output.say("Stopping; ctrl-c again stops at once.")
        timer.start()

    with interrupts.heard(asked):
        yield
        timer.cancel()


def _leave() -> None:
    if sys.stderr.isatty():
        # The live display, which nobody closes now, had hidden the cursor.
        sys.stderr.write("\x1b[?25h\n")
        sys.stderr.flush()
    os._exit(ExitCode.INTERRUPTED)
