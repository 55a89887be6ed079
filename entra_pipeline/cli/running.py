"""`sync` brings the data up to date; `serve` shows Dagster's pages and runs its daemon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entra_pipeline.cli import options, output
from entra_pipeline.cli.exits import CliError, ExitCode
from entra_pipeline.cli.interrupt import ends_on_ctrl_c
from entra_pipeline.cli.progress import SyncProgress

if TYPE_CHECKING:
    from entra_pipeline.settings import Settings


def sync(
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="TABLE…", help="These tables and what is derived of them."),
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="", hidden=True)] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Read everything anew instead of only what changed.")
    ] = False,
    reconcile: Annotated[
        bool,
        typer.Option(
            "--reconcile", help="Compare tables kept by what changed with a full read of them."
        ),
    ] = False,
    accept_shrink: Annotated[
        list[str] | None,
        typer.Option(
            "--accept-shrink",
            metavar="TABLE",
            help="Publish this table although it came back empty or much smaller.",
        ),
    ] = None,
    json_: options.Json = False,
) -> None:
    """Read the tenant and publish the warehouse; one Dagster run.

    Tables that the licence, the permissions or the cloud do not give are marked so and do not fail
    the sync; failed or quarantined ones do (exit 3), and keep their previous version.

    [bold]Examples[/]

      entra-pipeline sync

      entra-pipeline sync --only users groups group_members
    """
    from entra_pipeline.settings import Settings

    if more and not only:
        raise CliError(f"unexpected {more[0]!r}", remedy=f"Did you mean --only {' '.join(more)}?")
    wanted = table_names([*(only or []), *(more or [])])
    shrunken = table_names(accept_shrink or [], beside=True)
    settings = Settings.load()
    _refuse_early(settings)
    if full and reconcile:
        raise CliError("--full and --reconcile: one of them, each reads everything in full")
    document = run(settings, only=wanted, full=full, accept_shrink=shrunken, reconcile=reconcile)
    if output.is_json():
        output.print_json(document)
    else:
        print_report(document)
    raise typer.Exit(ExitCode.OK if document["sync"]["outcome"] == "succeeded" else ExitCode.FAILED)


def _refuse_early(settings: Settings) -> None:
    """Raise what the sync would raise about the data directory, without waiting for Dagster."""
    from entra_pipeline.lake import DataDirectory

    with DataDirectory.claim(settings.data_dir, settings.tenant_id).lock():
        return


def run(
    settings: Settings,
    *,
    only: list[str],
    full: bool = False,
    accept_shrink: Sequence[str] = (),
    reconcile: bool = False,
    more_follows: bool = False,
) -> dict[str, Any]:
    """Sync with progress on standard error; give the document that `--json` prints.

    An interrupt that comes when the work is done is none, unless `more_follows`.
    """
    from entra_pipeline.tables import TABLES

    quick = [table for table in TABLES.values() if table.reader and not table.slow]
    with SyncProgress(len(only) or len(quick)) as progress, ends_on_ctrl_c():
        progress.note("starting Dagster")
        from entra_pipeline.orchestration import interrupts
        from entra_pipeline.orchestration.launch import run_sync

        report = run_sync(
            settings, only or None, full, accept_shrink, progress, reconcile=reconcile
        )
        if more_follows:
            interrupts.check()
    document = report.to_json()
    settled = ("complete", "not_configured")
    missing = [row for row in document["tables"] if row["status"] not in settled]
    document["complete"] = not missing
    document["missing"] = [
        {key: row[key] for key in ("table", "status", "reason")} for row in missing
    ]
    return document


def everything() -> list[str]:
    """Name every table that is read from Graph, the slow ones too."""
    from entra_pipeline.tables import TABLES

    return [table.name for table in TABLES.values() if table.reader]


def print_report(document: dict[str, Any]) -> None:
    """Print what a sync left: tables, their completeness, and what they cost."""
    from entra_pipeline.cli.tables import print_statuses

    print_statuses(document["tables"])
    sync = document["sync"]
    throttled = f", {sync['throttled_s']:.0f} s throttled" if sync["throttled_s"] >= 1 else ""
    output.show(
        f"Sync {sync['outcome']}: {output.count(sync['requests'], 'request')} in "
        f"{output.count(sync['round_trips'], 'round trip')}, "
        f"{output.count(sync['units'], 'resource unit')}{throttled}",
        style="bold",
    )
    if compared := document["reconciled"]:
        differing = sum(row["differences"] for row in compared)
        names = ", ".join(row["table"] for row in compared if row["differences"])
        output.show(
            f"{output.count(len(compared), 'table')} compared with a full read: "
            + (f"{output.count(differing, 'row')} differed, in {names}" if differing else "equal")
        )
    for problem in document["problems"]:
        output.say(f"problem: {problem}", style="red")


def table_names(given: list[str], *, beside: bool = False) -> list[str]:
    """Check names of tables, also when several are given in one word with commas.

    `beside`: those of Exchange too, which a sync reads by itself.
    """
    from entra_pipeline.tables import EXCHANGE, TABLES, get

    names = [name for word in given for name in word.replace(",", " ").split()]
    for name in names:
        try:
            get(name, {**TABLES, **EXCHANGE} if beside else TABLES)
        except KeyError as error:
            raise CliError(
                str(error.args[0]), remedy="`entra-pipeline tables` lists them all."
            ) from None
    return names


def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port.")] = 3000,
) -> None:
    """Dagster's pages and daemon, until ctrl-c. Schedules start switched off.

    Serves your tenant when ENTRA_TENANT_ID is set; otherwise the demo's data, with the demo's
    simulated tenant running beside it so that a sync launched in the pages works.
    """
    from entra_pipeline.cli.demo import state
    from entra_pipeline.cli.tenant import not_configured
    from entra_pipeline.orchestration.serve import serve as serve_pages
    from entra_pipeline.settings import Settings

    if Settings.for_data_only().tenant_id:
        raise typer.Exit(serve_pages(Settings.load(), host=host, port=port, say=output.say))
    demo = state.read()
    if demo is None:
        raise not_configured()
    with demo.lock(), demo.tenant() as simulator:
        output.say(f"No tenant is configured: serving the demo, its tenant on port {demo.port}")
        settings = demo.use(simulator)
        code = serve_pages(settings, host=host, port=port, say=output.say)
    raise typer.Exit(code)
