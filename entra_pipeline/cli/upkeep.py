"""Looking after the data directory: `maintain`."""

from __future__ import annotations

import os

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
        removed = sum(table["files_removed"] for table in document["tables"])
        output.print_fields(
            [
                ("Files removed", removed),
                ("Syncs forgotten", done.syncs),
                ("Dagster runs removed", done.runs),
                ("Past warehouses removed", done.warehouses),
                ("Size", f"{_megabytes(done.bytes_after)}, was {_megabytes(done.bytes_before)}"),
            ]
        )
        for part, why in done.problems.items():
            output.say(f"problem: {part}: {why}", style="red")
    raise typer.Exit(ExitCode.FAILED if done.problems else ExitCode.OK)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
