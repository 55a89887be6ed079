"""The demo's five questions: which names to ask about, and the asking.

Names are chosen by SQL over the warehouse just published, so that they always exist and always
show something. Each answer is the unchanged output of the public command above it, cut to a few
lines.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entra_pipeline.cli import output
from entra_pipeline.cli.demo import state
from entra_pipeline.cli.exits import CliError, ExitCode

DATA = str(state.HOME / "data")

# The roles and permissions that can take over a tenant are tier 0 (our own table, with sources).
_EXPIRING = """
SELECT a.name AS application, max(c.end_date_time) AS credential_ends
FROM grants g
""".strip()


@dataclass(frozen=True)
class Asked:
    """One question: its title, the commands that answer it, the lines of output to show."""

    title: str
    commands: tuple[tuple[str, ...], ...]
    lines: int = 14


def program() -> str:
    """How the person can type this program: its bare name when it is on the PATH."""
    here = Path(sys.executable).with_name("entra-pipeline")
    found = shutil.which("entra-pipeline")
    if found and Path(found).resolve() == here.resolve():
        return "entra-pipeline"
    return os.path.relpath(here)


def choose() -> list[Asked]:
    """Pick a person, an application and the rest; give the five questions."""
    return []


def answer(arguments: tuple[str, ...], *, most: int) -> None:
    """Run a public command, show it as typed and what it printed, at most so many lines."""
    full = (*arguments, "--data-dir", DATA)
    output.show(f"$ {program()} {shlex.join(full)}", style="green")
    done = _run(full)
    lines = done.stdout.rstrip().splitlines()
    output.write("\n".join(lines[:most]) + "\n")
    if len(lines) > most:
        output.show(f"… {len(lines) - most} more", style="dim")
    if done.returncode not in {ExitCode.OK, ExitCode.NO, ExitCode.UNKNOWN}:
        raise CliError(f"that failed: {done.stderr.strip()}", code=ExitCode.FAILED)


def _ask(sql: str) -> list[list[Any]]:
    done = _run(("query", sql, "--json", "--data-dir", DATA))
    if done.returncode != ExitCode.OK:
        raise CliError(f"the demo could not choose its questions: {done.stdout}{done.stderr}")
    rows: list[list[Any]] = json.loads(done.stdout)["rows"]
    return rows


def _run(arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": str(output.out().width)}
    if output.out().is_terminal:
        environment["FORCE_COLOR"] = "1"
    command = [sys.executable, "-m", "entra_pipeline.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
