"""`activity` reads sign-ins, directory audits and provisioning events; one Dagster run."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from entra_pipeline.cli import moments, options, output
from entra_pipeline.cli.exits import CliError, ExitCode
from entra_pipeline.cli.interrupt import ends_on_ctrl_c

if TYPE_CHECKING:
    from entra_pipeline.extract.activity import ActivityProgress, Reading

_STYLES = {"complete": "green", "failed": "bold red"}


def activity(
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Read from here on: 2026-11-01, 'yesterday', '14 days ago'.",
            show_default=False,
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="Read to here.", show_default="now"),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="TABLE…", help="These logs alone.")
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="", hidden=True)] = None,
    json_: options.Json = False,
) -> None:
    """Read sign-ins, directory audits and provisioning events.

    Goes on from where each log was left, and the first time takes all that Microsoft keeps (7 or
    30 days). What is there already is not asked for again, and an interrupted reading goes on
    where it was. Logs that licence, permissions or cloud do not give are marked so and are no
    failure; what was read of them before is kept.

    [bold]Examples[/]

      entra-pipeline activity

      entra-pipeline activity --since "14 days ago" --only sign_ins directory_audits

      entra-pipeline activity --since 2026-11-01 --until 2026-11-08 --json
    """
    from entra_pipeline.settings import Settings

    if more and not only:
        raise CliError(f"unexpected {more[0]!r}", remedy=f"Did you mean --only {' '.join(more)}?")
    wanted = _logs([*(only or []), *(more or [])])
    start = moments.parse(since) if since is not None else None
    end = moments.parse(until) if until is not None else None
    if start is not None and end is not None and start >= end:
        raise CliError("--since must be before --until", remedy=moments.FORMS)
    settings = Settings.load()
    with ActivityShown() as shown, ends_on_ctrl_c():
        shown.note("starting Dagster")
        from entra_pipeline.orchestration.activity_launch import run_activity

        report = run_activity(settings, wanted, start, end, shown)
    document = report.to_json()
    document["complete"] = report.succeeded and all(
        log["status"] == "complete" for log in document["logs"]
    )
    if output.is_json():
        output.print_json(document)
    else:
        _print(document)
    raise typer.Exit(ExitCode.OK if report.succeeded else ExitCode.FAILED)


def _logs(given: list[str]) -> list[str]:
    from entra_pipeline.tables import EVENTS, get

    names = [name for word in given for name in word.replace(",", " ").split()]
    for name in names:
        try:
            get(name, EVENTS)
        except KeyError as error:
            raise CliError(str(error.args[0]), remedy=f"Logs are {', '.join(EVENTS)}.") from None
    return names


def _print(document: dict[str, Any]) -> None:
    from rich.text import Text

    output.print_table(
        [
            output.Col("Log", style="bold"),
            output.Col("Status"),
            output.Col("New", right=True),
            output.Col("Known", right=True),
            output.Col("Covered from"),
            output.Col("to (UTC)"),
            output.Col("Gaps", right=True),
            output.Col("Reason", wrap=True),
        ],
        [
            [
                log["table"],
                Text(log["status"], style=_STYLES.get(log["status"], "yellow")),
                f"{log['events_new'] + log['events_changed']:,}",
                f"{log['events_known']:,}",
                output.moment(log["covered"][0][0]) if log["covered"] else "",
                output.moment(log["covered"][-1][1]) if log["covered"] else "",
                str(len(log["gaps"])),
                log["reason"] or "",
            ]
            for log in document["logs"]
        ],
    )
    for log in document["logs"]:
        for start, end in log["gaps"]:
            output.say(
                f"{log['table']}: nothing from {output.moment(start)} to {output.moment(end)} UTC",
                style="yellow",
            )
    requests = sum(log["requests"] for log in document["logs"])
    output.show(f"Reading {document['outcome']}: {output.count(requests, 'request')}", style="bold")
    for problem in document["problems"]:
        output.say(f"problem: {problem}", style="red")


class ActivityShown:
    """Shows the window being read; use as a context manager. Called from reading threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._said = 0.0
        self._status: Any = None

    def __enter__(self) -> Self:
        if output.err().is_terminal:
            self._status = output.err().status("starting")
            self._status.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.__exit__(kind, error, trace)

    def note(self, text: str) -> None:
        """Say what is being done."""
        with self._lock:
            if self._status is not None:
                self._status.update(text)
            else:
                seconds = time.monotonic() - self._started
                output.err().print(f"{seconds:6.1f} s  {text}", markup=False)

    def __call__(self, said: ActivityProgress | Reading) -> None:
        """Take one report: a window was read, or a log has ended."""
        from entra_pipeline.extract.activity import Reading

        if isinstance(said, Reading):
            new = output.count(said.inserted, "new event")
            self.note(f"{said.table:<20} {said.status!s:<11} {new}")
            return
        now = time.monotonic()
        # A log of a terminal is refreshed at will; one of a file gets a line every few seconds.
        if self._status is None and now - self._said < 5:
            return
        self._said = now
        self.note(
            f"{said.table:<20} {said.window[0]:%Y-%m-%d %H:%M} to {said.until:%Y-%m-%d %H:%M} UTC, "
            f"{output.count(said.events, 'event')}"
        )
