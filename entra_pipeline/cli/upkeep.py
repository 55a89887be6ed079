"""Looking after the data directory: `maintain`, `backup`, `verify`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from entra_pipeline.cli import options, output
from entra_pipeline.cli.exits import ExitCode
from entra_pipeline.cli.warehouse import existing


def maintain(json_: options.Json = False, data_dir: options.DataDir = None) -> None:
    """Drop what is older than the retention settings, and tidy up files; what a job does nightly.

    History, syncs, activity, Dagster's runs and files that nobody reads any more. Waits for nobody:
    while a sync runs it ends with exit code 3.

    [bold]Example[/]

      entra-pipeline maintain --json
    """
    from entra_pipeline.orchestration import home as homes
    from entra_pipeline.orchestration.maintenance import maintain as work
    from entra_pipeline.settings import Settings

    settings = Settings.for_data_only()
    if data_dir is not None:
        settings = settings.model_copy(update={"data_dir": data_dir})
    directory = existing(data_dir)
    home = homes.choose(settings, os.environ)
    with directory.lock():
        if (home / homes.CONFIG).exists():
            with homes.open_instance(home) as instance:
                done = work(settings, directory, instance)
        else:
            done = work(settings, directory, None)
    document = done.to_json()
    if output.is_json():
        output.print_json(document)
    else:
        removed = sum(
            table["files_removed"] for table in (*document["tables"], *document["events"])
        )
        output.print_fields(
            [
                ("Files removed", removed),
                ("Events forgotten", sum(kept.forgotten for kept in done.events.values())),
                ("Syncs forgotten", done.syncs),
                ("Dagster runs removed", done.runs),
                ("Past warehouses removed", done.warehouses),
                ("Size", f"{_megabytes(done.bytes_after)}, was {_megabytes(done.bytes_before)}"),
            ]
        )
        for part, why in done.problems.items():
            output.say(f"problem: {part}: {why}", style="red")
    raise typer.Exit(ExitCode.FAILED if done.problems else ExitCode.OK)


def backup(
    target: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new directory.", show_default=False)
    ],
    json_: options.Json = False,
    data_dir: options.DataDir = None,
) -> None:
    """Copy the data directory to a new place, whole, also while a sync runs.

    The copy is a data directory itself: ask it with --data-dir, or restore it by putting it where
    ENTRA_DATA_DIR points. It holds people's data as the original does.

    [bold]Example[/]

      entra-pipeline backup /backup/entra-2026-11-23
    """
    from entra_pipeline.lake.backup import backup as copy

    done = copy(existing(data_dir), target)
    if output.is_json():
        output.print_json({"target": str(target), **vars(done)})
    else:
        tables, files = output.count(done.tables, "table"), output.count(done.files, "file")
        output.say(f"{tables} in {files} ({_megabytes(done.bytes)}) copied to {target}")


def verify(json_: options.Json = False, data_dir: options.DataDir = None) -> None:
    """Read all of the data directory and tell whether it is whole; exit 3 if it is not.

    Rows and hashes of every table, histories back to where they begin, books, warehouse. After
    restoring a backup, or when a disk is in doubt.
    """
    from entra_pipeline.lake.inspection import inspect

    found = inspect(existing(data_dir))
    broken = [part for part in found if part.problem is not None]
    if output.is_json():
        output.print_json({"whole": not broken, "parts": [vars(part) for part in found]})
    else:
        for part in broken:
            output.say(f"{part.part}: {part.problem}", style="red")
        parts = output.count(len(found), "part")
        output.show(f"{parts} read, {len(broken)} not whole" if broken else f"{parts} read, whole")
    raise typer.Exit(ExitCode.FAILED if broken else ExitCode.OK)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
