"""From what a person typed to an open warehouse, a principal, an entitlement.

The one place where the domain's "not found" becomes a message with candidates and a remedy.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from entra_pipeline.cli.exits import CliError, ExitCode

if TYPE_CHECKING:
    from entra_pipeline.access.questions import Warehouse
    from entra_pipeline.lake import DataDirectory

DEMO_DATA = Path(".demo") / "data"


def data_dir(given: Path | None) -> Path:
    """Give the data directory: the option, else ENTRA_DATA_DIR, else ./data."""
    from entra_pipeline.settings import Settings

    if given is not None:
        return given
    return Settings.for_data_only().data_dir


def open_warehouse(given: Path | None) -> Warehouse:
    """Open the published warehouse, or say which command makes one."""
    from entra_pipeline.access.questions import NoWarehouse, Warehouse

    directory = data_dir(given)
    try:
        return Warehouse.open(directory)
    except NoWarehouse as error:
        raise nothing_yet(directory) from error


def existing(given: Path | None) -> DataDirectory:
    """Give the data directory as it is on disk, or say which command makes one."""
    from entra_pipeline.lake import DataDirectory

    directory = data_dir(given)
    if not (directory / "tenant.json").exists():
        raise nothing_yet(directory)
    return DataDirectory.existing(directory)


def nothing_yet(directory: Path) -> CliError:
    """Say that nothing was synced into the directory, and what to run."""
    remedy = "Run `entra-pipeline sync` (a real tenant) or `entra-pipeline demo` (a simulated one)."
    if (DEMO_DATA / "tenant.json").exists() and directory.resolve() != DEMO_DATA.resolve():
        remedy = (
            f"For the demo's data add --data-dir {DEMO_DATA}; "
            "for your tenant run `entra-pipeline sync`."
        )
    return CliError(f"there is no data in {directory} yet", remedy=remedy)


def find(warehouse: Warehouse, what: str, text: str) -> Any:
    """Find the one principal or entitlement that the text names, or list candidates."""
    from entra_pipeline.access.questions import Ambiguous, Unknown

    look = warehouse.find_principal if what == "principal" else warehouse.find_entitlement
    try:
        return look(text)
    except Ambiguous as error:
        raise CliError(
            f"{text!r} is the name of several {what}s",
            remedy="Name one by its id.",
            candidates=error.candidates,
        ) from error
    except Unknown as error:
        raise _unknown(warehouse, what, text, error.candidates) from error


def _unknown(
    warehouse: Warehouse, what: str, text: str, candidates: list[dict[str, Any]]
) -> CliError:
    complete, missing = warehouse.completeness(what)
    details = {"complete": complete, "missing": missing}
    if not complete:
        names = ", ".join(row["table"] for row in missing)
        return CliError(
            f"no {what} {text!r} is known, but not everything could be read: {names}",
            code=ExitCode.UNKNOWN,
            remedy="`entra-pipeline status` says why; candidates, if any, are listed above.",
            candidates=candidates,
            details=details,
        )
    accepted = (
        "its object id, user principal name, mail, application id or unique display name"
        if what == "principal"
        else "its id or the name that `entra-pipeline access` shows"
    )
    return CliError(
        f"there is no {what} {text!r}",
        remedy=("Did you mean one of these? " if candidates else "") + f"Give {accepted}.",
        candidates=candidates,
        details=details,
    )
