"""From what a person typed to an open warehouse, a principal, an entitlement.

The one place where the domain's "not found" becomes a message with candidates and a remedy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entra_pipeline.cli import moments, output
from entra_pipeline.cli.exits import CliError, ExitCode

if TYPE_CHECKING:
    from entra_pipeline.access.answers import Entitlement, NotFound, Principal
    from entra_pipeline.access.past import Moment
    from entra_pipeline.access.questions import Warehouse
    from entra_pipeline.lake import DataDirectory

DEMO_DATA = Path(".demo") / "data"

_PRINCIPAL_NAMES = (
    "Principals are named by object id, user principal name, mail, application id or unique name."
)
_ENTITLEMENT_NAMES = "Entitlements are named by id or by the name that `access` shows."


def data_dir(given: Path | None) -> Path:
    """Give the data directory: the option, else ENTRA_DATA_DIR, else ./data."""
    from entra_pipeline.settings import Settings

    if given is not None:
        return given
    return Settings.for_data_only().data_dir


@contextmanager
def open_warehouse(given: Path | None, when: Moment | None = None) -> Iterator[Warehouse]:
    """Open the published warehouse, or that of a moment; errors become messages."""
    from entra_pipeline.access.questions import Warehouse

    # By its name, not through `lake`: that would load Arrow and Delta Lake for half a second.
    directory = data_dir(given)
    link = directory / "warehouse.duckdb"
    if when is not None:
        link = past_warehouse(given, when)
    elif not link.exists():
        raise _nothing_published(existing(directory))
    with _errors(), Warehouse.open(link) as warehouse:
        yield warehouse


@contextmanager
def _errors() -> Iterator[None]:
    """What a warehouse refuses, as messages."""
    from entra_pipeline.access.questions import CursorError, QueryError, WarehouseError

    try:
        yield
    except CursorError as error:
        raise CliError(str(error)) from error
    except QueryError as error:
        raise CliError(
            f"the query is refused: {error}",
            remedy="Queries only read, and only the warehouse; `entra-pipeline tables` lists it.",
        ) from error
    except WarehouseError as error:
        raise CliError(str(error)) from error


@contextmanager
def open_for(given: Path | None, principal: str, when: Moment | None) -> Iterator[Warehouse]:
    """Open a warehouse to ask what one principal holds; of the past only what that takes."""
    if when is not None:
        from entra_pipeline.access import past

        with (
            _past_errors(),
            past.access(existing(given), when, principal, stale_after=_limits()) as few,
        ):
            if few is not None:
                with _errors():
                    yield few
                return
    with open_warehouse(given, when) as warehouse:
        yield warehouse


def look_back(given: Path | None, as_of: str | None) -> Moment | None:
    """Give the moment that `--as-of` names, and say which sync's state it is; None without it."""
    if as_of is None:
        return None
    when = moment_of(existing(given), as_of)
    output.say(
        f"As of {output.moment(when.asked)} UTC: sync {when.sync.sync_id}, "
        f"ended {output.moment(when.finished)} UTC",
        style="dim",
    )
    return when


def moment_of(directory: DataDirectory, text: str) -> Moment:
    """Give the moment that a text means, a time or the id of a sync."""
    from entra_pipeline.access import past
    from entra_pipeline.lake import Books

    books = Books(directory)
    try:
        if moments.SYNC_ID.fullmatch(text.strip()):
            return past.after(books, text.strip())
        return past.at(books, moments.parse(text))
    except past.PastError as error:
        raise CliError(str(error), remedy=moments.FORMS) from error


def dated(when: Moment | None) -> dict[str, Any]:
    """Give what an answer about the past says first: `as_of`, the time and the sync."""
    return {} if when is None else {"as_of": when.to_json()}


def past_warehouse(given: Path | None, when: Moment) -> Path:
    """Give the file of a moment's warehouse, built unless it is kept."""
    from entra_pipeline.access import past

    with _past_errors():
        return past.warehouse(existing(given), when, stale_after=_limits(), say=_aloud)


@contextmanager
def _past_errors() -> Iterator[None]:
    """What is not known of a time, as messages."""
    from entra_pipeline.access import past

    try:
        yield
    except past.PastError as error:
        raise CliError(str(error), remedy=moments.FORMS) from error


def _limits() -> Mapping[str, timedelta]:
    from entra_pipeline.orchestration.staleness import limits

    return limits()


def _aloud(text: str) -> None:
    output.say(f"{text[:1].upper()}{text[1:]} …", style="dim")


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


def _nothing_published(directory: DataDirectory) -> CliError:
    running = f" A sync is running: {directory.holder()}." if directory.is_locked() else ""
    return CliError(
        f"{directory.path} has no warehouse yet: no sync has finished.{running}",
        remedy="`entra-pipeline status` says how far it came; `entra-pipeline sync` makes one.",
    )


def find_principal(warehouse: Warehouse, text: str) -> Principal:
    """Give the one principal that the text names, or list candidates."""
    from entra_pipeline.access.answers import NotFound

    found = warehouse.find_principal(text)
    if isinstance(found, NotFound):
        raise _not_found(found, _PRINCIPAL_NAMES)
    return found


def find_entitlement(warehouse: Warehouse, text: str) -> Entitlement:
    """Give the one entitlement that the text names, or list candidates."""
    from entra_pipeline.access.answers import NotFound

    found = warehouse.find_entitlement(text)
    if isinstance(found, NotFound):
        raise _not_found(found, _ENTITLEMENT_NAMES)
    return found


def _not_found(answer: NotFound, accepted: str) -> CliError:
    document = answer.to_json()
    certain = answer.ambiguous or document["complete"]
    remedy: str | None = "`entra-pipeline status` says what is missing, and why."
    if certain:
        remedy = None if answer.ambiguous else accepted
    return CliError(
        answer.message,
        code=ExitCode.USAGE if certain else ExitCode.UNKNOWN,
        remedy=remedy,
        candidates=[_candidate(row) for row in document["candidates"]],
        details={"complete": document["complete"], "missing": document["missing"]},
    )


def _candidate(row: dict[str, Any]) -> dict[str, Any]:
    """Give principals and entitlements the same three fields, beside their own."""
    if "entitlement_id" in row:
        return {"id": row["entitlement_id"], "kind": row["resource"]["kind"], **row}
    return row
