"""Simulators forked from a process that has loaded them: most of their start is imports.

That one in an interpreter of its own starts as well is tested in `tests/simulator/test_server`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from entra_pipeline.simulator.process import Ended
from entra_pipeline.simulator.server import run
from tests.forking import CONTEXT


@contextmanager
def forked(options: Sequence[str], output: Path) -> Iterator[Ended]:
    """A simulator in a process of its own, past its imports."""
    # Its standard input: closed when this process ends in any way, and then it ends too.
    read, kept = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_simulate, args=(tuple(options), output, read), daemon=True)
    process.start()
    read.close()
    try:
        yield lambda: process.exitcode
    finally:
        process.kill()
        process.join()
        kept.close()


def _simulate(options: tuple[str, ...], output: Path, read: Connection) -> None:
    code = 70
    try:
        log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for descriptor, file in ((0, read.fileno()), (1, log), (2, log)):
            os.dup2(file, descriptor)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
        code = run(options)
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Nothing of the parent's is to be ended or cleaned up by the child.
        os._exit(code)
