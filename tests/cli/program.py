"""Runs the command line as a script does: a real process, its streams, its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
) -> Done:
    """Run `entra-pipeline` with the arguments and wait for it."""
    done = subprocess.run(
        [sys.executable, "-m", "entra_pipeline.cli", *arguments],
        env={"PYTHONPATH": str(ROOT), **environment(**dict(env or {}))},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)
