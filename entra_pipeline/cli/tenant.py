"""Connecting a tenant: `doctor` (would a sync run?), `login` and `logout` (device code)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import typer

from entra_pipeline.cli import options, output
from entra_pipeline.cli.exits import CliError, ExitCode

if TYPE_CHECKING:
    from entra_pipeline.settings import Settings, SettingsError

_MARKS = {
    "ok": "[green]ok     [/]",
    "warning": "[yellow]warning[/]",
    "failed": "[bold red]failed [/]",
    "skipped": "[dim]skipped[/]",
}


def doctor(json_: options.Json = False) -> None:
    """Check everything a sync needs, one line each, with the remedy. Exit 2 if it could not run.

    [bold]Example[/]

      entra-pipeline doctor --json
    """
    from entra_pipeline.doctor import diagnose
    from entra_pipeline.settings import Settings, SettingsError

    try:
        settings = Settings.load()
        document = diagnose(settings, dagster_storage=lambda: _dagster_storage(settings)).to_json()
    except SettingsError as error:
        document = _settings_are_wrong(error)
    if output.is_json():
        output.print_json(document)
    else:
        _print(document["checks"])
        verdict = "A sync can run." if document["can_sync"] else "A sync cannot run yet."
        output.show(verdict, style="bold")
    raise typer.Exit(ExitCode.OK if document["can_sync"] else ExitCode.USAGE)


def login() -> None:
    """Sign in as an administrator by device code; the token is kept for `sync` (0600)."""
    from entra_pipeline.msgraph import device_code
    from entra_pipeline.settings import Auth, Settings

    settings = Settings.load()
    if settings.auth is not Auth.DEVICE_CODE:
        raise CliError(
            "signing in by hand is for ENTRA_AUTH=device_code only",
            remedy="Set ENTRA_AUTH=device_code, or leave `login` out: other credentials need none.",
        )

    def show(code: device_code.DeviceCode) -> None:
        output.err().print(
            f"Open {code.url} and enter {code.user_code} within {code.expires_in_s // 60} minutes.",
            markup=False,
        )

    device_code.login(settings, show)
    output.say("Signed in. Try: entra-pipeline doctor")


def logout() -> None:
    """Forget the signed-in administrator: the kept token is removed."""
    from entra_pipeline.msgraph.device_code import logout as sign_out
    from entra_pipeline.settings import Settings

    gone = sign_out(Settings.for_data_only())
    output.say("Signed out; the kept token is gone." if gone else "Nobody was signed in.")


def _dagster_storage(settings: Settings) -> str:
    """Open Dagster's storage, as a sync would, and name it; HomeError says why it cannot be."""
    from entra_pipeline.orchestration import home as homes

    home = homes.choose(settings, os.environ)
    if not (home / homes.CONFIG).exists():
        return f"{home}: the first sync makes it"
    with homes.open_instance(home) as instance:
        return f"{home}: {type(instance.run_storage).__name__}"


def _settings_are_wrong(error: SettingsError) -> dict[str, Any]:
    checks = [
        {"name": "settings", "state": "failed", "summary": message, "remedy": None}
        for message in error.messages
    ]
    return {"checks": checks, "can_sync": False}


def _print(checks: list[dict[str, Any]]) -> None:
    from rich.markup import escape

    for check in checks:
        output.show(
            f"{_MARKS[check['state']]}  {escape(check['name'])}: {escape(check['summary'])}"
        )
        if check["remedy"]:
            output.show(f"         [dim]{escape(check['remedy'])}[/]")


def not_configured() -> CliError:
    """Say that neither a tenant nor a demo is there."""
    return CliError(
        "no tenant is configured: ENTRA_TENANT_ID is not set",
        remedy=(
            "Copy .env.example to .env and fill it in (README: connect your tenant), "
            "or run `entra-pipeline demo` first."
        ),
    )
