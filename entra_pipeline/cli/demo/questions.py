"""The demo's five questions, and how each is asked: by the public command, shown as typed.

The answers are the unchanged output of those commands, cut to a few lines. The people and
applications named are the simulated tenant's own figures.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from entra_pipeline.cli import output
from entra_pipeline.cli.demo import state
from entra_pipeline.cli.exits import CliError, ExitCode

#: Relative, as a person in the same directory would type it.
DATA = str(state.HOME / "data")

# Tier 0 can take over the tenant; `entra-pipeline tables entitlements` says what a tier is.
EXPIRING = """
SELECT sp.display_name AS application, string_agg(DISTINCT e.slug, ', ') AS can,
       c.kind AS credential, c.end_date_time AS ends, ends < now() AS expired
FROM effective_grants g
JOIN entitlements e USING (entitlement_id)
JOIN service_principals sp ON sp.id = g.principal_id
LEFT JOIN applications a ON a.app_id = sp.app_id
JOIN credentials c ON c.owner_id IN (sp.id, a.id)
WHERE e.tier = 0 AND c.end_date_time < now() + INTERVAL 60 DAY
GROUP BY ALL ORDER BY expired, ends
"""

GUESTS = """
SELECT p.name AS guest, p.enabled, count(DISTINCT g.entitlement_id) AS entitlements,
       string_agg(DISTINCT e.display_name, ', ') FILTER (e.tier <= 1) AS privileged
FROM principals p
JOIN effective_grants g ON g.principal_id = p.id
JOIN entitlements e USING (entitlement_id)
WHERE p.kind = 'guest'
GROUP BY ALL ORDER BY privileged IS NULL, entitlements DESC, guest
"""


@dataclass(frozen=True)
class Asked:
    """One question: its title and the commands that answer it, each with the lines to show."""

    title: str
    commands: tuple[tuple[tuple[str, ...], int], ...]


def questions() -> list[Asked]:
    """Give the five questions about the simulated tenant."""
    from entra_pipeline.simulator.generate import DEMO_APPLICATION_NAME, DEMO_USER_UPN

    admin = "Global Administrator"
    application = f"{DEMO_APPLICATION_NAME}: Reader"
    return [
        Asked(
            "Who is a Global Administrator, or can become one?",
            ((("who-can", admin, "--limit", "0"), 16),),
        ),
        Asked(
            f"What can {DEMO_USER_UPN} reach, and why?",
            (
                (("access", DEMO_USER_UPN, "--limit", "0"), 24),
                (("explain", DEMO_USER_UPN, admin), 12),
            ),
        ),
        Asked(
            f"Who gets into {DEMO_APPLICATION_NAME} as a reader, and by which paths?",
            (
                (("who-can", application, "--limit", "0"), 12),
                (("explain", DEMO_USER_UPN, application), 16),
            ),
        ),
        Asked(
            "Which applications that could take over the tenant have credentials about to end?",
            ((("query", EXPIRING, "--limit", "0"), 12),),
        ),
        Asked(
            "Which guests have access, and to what that is privileged?",
            ((("query", GUESTS, "--limit", "0"), 12),),
        ),
    ]


def program() -> str:
    """Say how the person can type this program: its bare name when that finds this one."""
    here = Path(sys.executable).with_name("entra-pipeline")
    found = shutil.which("entra-pipeline")
    if found and Path(found).resolve() == here.resolve():
        return "entra-pipeline"
    return min(os.path.relpath(here), str(here), key=len)


def answer(arguments: tuple[str, ...], *, most: int) -> None:
    """Run a public command; show it as typed and what it printed, at most so many lines."""
    from rich.markup import escape

    full = (*arguments, "--data-dir", DATA)
    typed = f"$ {program()} {' '.join(map(_quoted, full))}"
    output.show(f"[green]{escape(typed)}[/]", breaks=False)
    done = _run(full)
    if done.returncode not in {ExitCode.OK, ExitCode.NO, ExitCode.UNKNOWN}:
        raise CliError(f"that failed: {done.stderr.strip()}", code=ExitCode.FAILED)
    lines = done.stdout.rstrip().splitlines()
    output.write("\n".join(lines[:most]) + "\n")
    if len(lines) > most:
        output.show(f"[dim]… {len(lines) - most:,} more lines[/]")
    output.show("")


def _quoted(word: str) -> str:
    """Quote a word for a shell, in the way that leaves SQL readable."""
    if word and not set(word) - _BARE:
        return word
    if not set(word) & set('"$`\\!'):
        return f'"{word}"'
    return "'" + word.replace("'", "'\\''") + "'"


_BARE = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./-_")


def _run(arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    if output.out().is_terminal:
        environment |= {"COLUMNS": str(output.out().width), "FORCE_COLOR": "1"}
    command = [sys.executable, "-m", "entra_pipeline.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
