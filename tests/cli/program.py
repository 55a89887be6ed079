"""Runs the command line as a script does: a real process, its streams, its exit code.

The process is forked from one that has loaded everything (`tests.forking`). What a fresh
interpreter loads, or does before a command begins, is tested with a process started for it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entra_pipeline.cli import main
from tests.forking import CONTEXT

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    """One finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on standard output; anything more, or nothing, is an error."""
        return json.loads(self.out)


def environment(**extra: str) -> dict[str, str]:
    """The environment without any setting of ours or of a terminal."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ENTRA_", "DAGSTER_", "AZURE_"))
        and name not in {"COLUMNS", "FORCE_COLOR", "NO_COLOR", "TERM"}
    }
    return {**kept, **extra}


def cli(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 120,
    before: Callable[[], object] | None = None,
) -> Done:
    """Run `entra-pipeline` with the arguments and wait for it.

    `before` is called in its process, before the command begins.

    Raises TimeoutError, with what it said, when it takes longer than `timeout` seconds.
    """
    given = {"PYTHONPATH": str(ROOT), **environment(**dict(env or {}))}
    with tempfile.TemporaryDirectory() as name:
        out, err = Path(name) / "out", Path(name) / "err"
        process = CONTEXT.Process(
            target=_become, args=(arguments, given, cwd or Path.cwd(), out, err, before)
        )
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"{arguments} takes longer than {timeout} s: {err.read_text()}")
        return Done(process.exitcode, out.read_text(), err.read_text())


def _become(
    arguments: tuple[str, ...],
    env: Mapping[str, str],
    cwd: Path,
    out: Path,
    err: Path,
    before: Callable[[], object] | None,
) -> None:
    code = 70
    try:
        for path, descriptor in ((out, 1), (err, 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
        os.environ.clear()
        os.environ.update(env)
        os.chdir(cwd)
        sys.argv = ["entra-pipeline", *arguments]
        if before is not None:
            before()
        main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Nothing of the parent's is to be ended or cleaned up by the child.
        os._exit(code)
