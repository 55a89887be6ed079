"""The demo's course: tenant, sync, report, questions, what next. Everything stays in `.demo/`."""

from __future__ import annotations

import os
import time
from typing import Annotated, Any

import typer

from entra_pipeline.cli import output
from entra_pipeline.cli.demo import questions, state
from entra_pipeline.cli.exits import CliError, ExitCode


def demo(
    users: Annotated[
        int, typer.Option("--users", min=30, max=1_000_000, help="Users of the simulated tenant.")
    ] = 2000,
    groups: Annotated[
        int, typer.Option("--groups", min=25, max=300_000, help="Groups of the simulated tenant.")
    ] = 600,
) -> None:
    """A simulated tenant of 2,000 users, synced and asked five questions. Needs no settings.

    Takes about a minute, keeps everything in .demo/ and leaves nothing running. `serve` shows the
    same data in Dagster's pages afterwards.
    """
    from entra_pipeline.cli.running import everything, print_report, run

    started = time.monotonic()
    planned = state.Demo(state.HOME.absolute(), state.Parameters(users=users, groups=groups))
    with planned.lock():
        planned.clear()
        parameters = planned.parameters
        output.say(
            f"Starting a simulated tenant: {parameters.users:,} users, {parameters.groups:,} groups"
        )
        with planned.tenant() as simulator:
            demo = planned.record(state.port_of(simulator))
            settings = demo.use(simulator)
            output.say(f"Reading it from {simulator.info.graph_url} through Dagster")
            report = run(settings, only=everything(), more_follows=True)
        _heading("What was read")
        print_report(report)
        if report["sync"]["outcome"] != "succeeded":
            raise CliError(
                "the demo's sync did not succeed; the table above says why",
                code=ExitCode.FAILED,
                remedy=f"What was read is kept in {state.HOME}/.",
            )
        for number, asked in enumerate(questions.questions(), start=1):
            _heading(f"{number}. {asked.title}")
            for arguments, most in asked.commands:
                questions.answer(arguments, most=most)
    _closing(report, time.monotonic() - started)


def _heading(text: str) -> None:
    output.show("")
    output.show(text, style="bold cyan")
    output.show("")


def _closing(report: dict[str, Any], seconds: float) -> None:
    program = questions.program()
    data = os.path.relpath(state.HOME / "data")
    _heading("Where it is")
    for path, what in (
        ("warehouse.duckdb", "every table and answer, for any DuckDB client"),
        ("lake/", "the tables as Delta Lake (Parquet)"),
        (".dagster/", "the record of Dagster's runs"),
    ):
        output.show(f"  {data}/{path:<18}{what}")
    _heading("What to try next")
    at = f"--data-dir {data}"
    for command, why in (
        ("serve", "Dagster's pages, the simulated tenant beside them: launch a sync there"),
        ("tables", "what can be queried"),
        (f'query "FROM users LIMIT 5" {at}', "SQL on all of it"),
        (f"export effective_grants -f parquet -o effective.parquet {at}", "all access, as a file"),
        ("doctor", "once your own tenant is in .env (README: connect your tenant)"),
    ):
        output.show(f"  {program} {command}\n      {why}", breaks=False)
    output.show("")
    output.show(f"Done in {seconds:.0f} s; nothing is left running.")
    raise typer.Exit(ExitCode.OK)
