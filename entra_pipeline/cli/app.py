"""The application: its commands in the order of `--help`, and how the process ends.

Each family of commands has its module; this one only puts them together and turns errors into
messages and exit codes. Modules of commands import nothing of the domain when they are imported.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from entra_pipeline.cli import (
    activity,
    events,
    options,
    output,
    past,
    questions,
    running,
    simulator,
    tables,
    tenant,
    upkeep,
)
from entra_pipeline.cli.demo import command as demo
from entra_pipeline.cli.exits import CliError, ExitCode
from entra_pipeline.cli.provisioning import (
    asking,
    deciding,
    drifting,
    kinds,
    reviewing,
    showing,
    working,
)

START = "Try it without a tenant"
TENANT = "Connect a tenant"
RUN = "Bring the data up to date"
ASK = "Ask"
PAST = "Look back"
CHANGE = "Change the tenant"

app = typer.Typer(
    name="entra-pipeline",
    help="Who has access to what in Microsoft Entra ID, and why.",
    epilog=(
        "Exit codes: 0 yes or done, 1 a certain no, 2 usage or configuration, 3 failed, "
        "4 not known because a needed table is incomplete."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _help(function: Callable[..., None]) -> str:
    """Give a command's docstring with each paragraph on one line: the terminal breaks it."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    return "\n\n".join(re.sub(r"\n(?! )", " ", paragraph) for paragraph in paragraphs)


def _add(
    name: str,
    panel: str | None,
    function: Callable[..., None],
    *,
    to: typer.Typer = app,
    **more: Any,
) -> None:
    @functools.wraps(function)
    def command(*arguments: Any, **options: Any) -> None:
        try:
            function(*arguments, **options)
        except KeyboardInterrupt:
            # Typer's own answer has been 1 at times, which is a certain no here.
            raise typer.Exit(ExitCode.INTERRUPTED) from None

    to.command(name, rich_help_panel=panel, help=_help(function), **more)(command)


_add("demo", START, demo.demo)
_add(
    "simulate",
    START,
    simulator.simulate,
    # The simulator parses for itself, --help included.
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    },
)
_add("doctor", TENANT, tenant.doctor)
_add("login", TENANT, tenant.login)
_add("logout", TENANT, tenant.logout)
_add("sync", RUN, running.sync)
_add("activity", RUN, activity.activity)
_add("status", RUN, tables.status)
_add("maintain", RUN, upkeep.maintain)
_add("backup", RUN, upkeep.backup)
_add("verify", RUN, upkeep.verify)
_add("events", RUN, events.events)
_add("serve", RUN, running.serve)
_add("access", ASK, questions.access, cls=options.UnusedCommand)
_add("who-can", ASK, questions.who_can, cls=options.UnusedCommand)
_add("explain", ASK, questions.explain)
_add("query", ASK, questions.query)
_add("export", ASK, tables.export)
_add("changes", PAST, past.changes)
_add("drift", PAST, drifting.drift)
_add("diff", PAST, past.diff)
_add("warehouse", PAST, past.warehouse)
_add("tables", ASK, tables.tables)

request = typer.Typer(cls=kinds.Kinds, no_args_is_help=True, rich_markup_mode="rich")
app.add_typer(
    request,
    name="request",
    rich_help_panel=CHANGE,
    help="Ask for a change: filed in the ledger, written nowhere yet.",
)
_add("grant", None, asking.grant, to=request)
_add("revoke", None, asking.revoke, to=request)
_add("offboard", None, asking.offboard, to=request)
_add("file", None, asking.file, to=request)
_add("from-drift", None, drifting.from_drift, to=request)
_add("plan", CHANGE, deciding.plan)
_add("approve", CHANGE, deciding.approve)
_add("reject", CHANGE, deciding.reject)
_add("cancel", CHANGE, deciding.cancel)
_add("resolve", CHANGE, deciding.resolve)
_add("apply", CHANGE, working.apply)
_add("requests", CHANGE, showing.requests)
_add("show", CHANGE, showing.show)
_add("reviews", CHANGE, reviewing.reviews)
review = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
app.add_typer(review, name="review", rich_help_panel=CHANGE, help="The review of emergency access.")
_add("close", None, reviewing.close, to=review)
_add("stop", CHANGE, working.stop)
_add("resume", CHANGE, working.resume)
_add("verify-audit", CHANGE, working.verify_audit)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        output.write(f"entra-pipeline {version('entra-pipeline')}\n")
        raise typer.Exit


class _CurrentStderr(logging.Handler):
    """Writes to what standard error is now: the live display takes its place while it draws."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        sys.stderr.write(self.format(record) + "\n")


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Log to standard error, and show tracebacks.")
    ] = False,
) -> None:
    handler = _CurrentStderr()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if verbose else logging.WARNING)
    # Other people's debug lines may hold addresses with ids in them; ours never do.
    for noisy in ("urllib3", "msal", "asyncio", "filelock"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    output.use_tracebacks(verbose)


def main() -> NoReturn:
    """Run the command line of this process; the console script `entra-pipeline`."""
    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        signal.default_int_handler(number, frame)

    # Ends like ctrl-c: children are stopped, locks let go, the run is closed.
    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and not ignored
        signal.signal(signal.SIGINT, interrupt)
    try:
        app(prog_name="entra-pipeline")
    except KeyboardInterrupt:
        # Before a command had begun, or when it had ended.
        code: int = ExitCode.INTERRUPTED
    except SystemExit as ended:
        if not isinstance(ended.code, int):
            raise
        code = ended.code
    except CliError as error:
        output.report(error)
        code = error.code
    except Exception as error:
        if output.tracebacks() and not interrupted:
            raise
        if interrupted:
            # Libraries answer with errors of their own, pydantic while its models are made.
            code = ExitCode.INTERRUPTED
        else:
            known = _unexpected(error)
            output.report(known)
            code = known.code
    else:
        code = ExitCode.OK
    if code == ExitCode.INTERRUPTED:
        output.say("Interrupted.")
    _end(int(code))


def _end(code: int) -> NoReturn:
    """End the process; at once if Dagster is loaded, whose objects take 0.7 s to be freed.

    Nothing is left to do by then: what a command opened, it has closed.
    """
    if "dagster" not in sys.modules:
        sys.exit(code)
    logging.shutdown()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        # Nobody reads any more; as the interpreter itself ends in that case.
        code = code or 120
    os._exit(code)


def _unexpected(error: Exception) -> CliError:
    """Map the domain's own errors; anything else is ours to mend and says where it happened."""
    from entra_pipeline.lake.errors import OtherTenantError
    from entra_pipeline.settings import SettingsError

    if isinstance(error, SettingsError):
        return CliError(
            "the settings are not right:\n" + "\n".join(f"  {line}" for line in error.messages),
            remedy="`entra-pipeline doctor` checks them; .env.example lists them all.",
            details={"settings": list(error.messages)},
        )
    if isinstance(error, OtherTenantError):
        return CliError(str(error))
    kind = type(error)
    if kind.__module__.startswith("entra_pipeline"):
        return CliError(str(error) or kind.__name__, code=ExitCode.FAILED)
    return CliError(
        f"unexpected {kind.__name__}: {error}",
        code=ExitCode.FAILED,
        remedy="`entra-pipeline --verbose …` shows where it happened.",
    )
