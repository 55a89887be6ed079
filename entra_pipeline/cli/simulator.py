"""`simulate`: hands its arguments to the simulator, which knows them best."""

from __future__ import annotations

import typer


def simulate(context: typer.Context) -> None:
    """A simulated tenant: sign-in and Microsoft Graph on this machine (--help lists the options).

    [bold]Example[/]

      entra-pipeline simulate --users 2000 --seed 7 --port 8443 --print-env
    """
    from entra_pipeline.simulator.server import run

    raise typer.Exit(run(context.args))
