"""What a table's status is: the meaning of failures, and the suspicion of empty answers.

Here: pure decisions. Not here: reading, committing, recording.
"""

from collections.abc import Collection
from dataclasses import dataclass

from entra_pipeline.extract.source import IncompleteError
from entra_pipeline.extract.turns import CancelledError
from entra_pipeline.lake import CommitInfo, LakeError
from entra_pipeline.msgraph import GraphError
from entra_pipeline.msgraph.errors import ForbiddenError, UnlicensedError, UnsupportedError
from entra_pipeline.settings import Settings
from entra_pipeline.tables import Status, Table

LICENSES = {"p1": "Microsoft Entra ID P1", "p2": "Microsoft Entra ID P2"}


class DependencyError(Exception):
    """A table could not be read because another one could not: the text says which and why."""


class SuspectError(Exception):
    """A list came back with so few objects that it is not believed: the text says why."""


@dataclass(frozen=True)
class Verdict:
    """A status with its reason, and the permission that is missing where one is."""

    status: Status
    reason: str | None = None
    permission: str | None = None


def verdict(error: BaseException, table: Table, granted: Collection[str] = ()) -> Verdict:
    """What a failed read means for a table.

    `granted`: the application permissions in the token, to name the one that is missing.
    The reason carries Graph's code and request id, and no personal data.
    """
    if isinstance(error, DependencyError) and error.__cause__ is not None:
        cause = verdict(error.__cause__, table, granted)
        status = Status.FAILED if cause.status is Status.PARTIAL else cause.status
        return Verdict(status, f"{error}: {cause.reason}", cause.permission)
    if isinstance(error, UnlicensedError):
        needed = LICENSES.get(table.license or "", "a licence that the tenant does not have")
        return Verdict(Status.UNLICENSED, f"needs {needed} ({error})")
    if isinstance(error, UnsupportedError):
        return Verdict(Status.UNSUPPORTED, f"this cloud does not have the API ({error})")
    if isinstance(error, ForbiddenError):
        permission = next(iter(table.missing_permissions(granted)), None)
        return Verdict(
            Status.FORBIDDEN,
            f"the application needs the permission {permission} ({error})"
            if permission
            else f"Graph refuses although every permission is granted ({error})",
            permission,
        )
    if isinstance(error, IncompleteError):
        return Verdict(Status.PARTIAL, str(error))
    if isinstance(error, SuspectError):
        return Verdict(Status.QUARANTINED, str(error))
    if isinstance(error, CancelledError):
        return Verdict(Status.FAILED, "the sync was stopped before the table was read")
    if isinstance(error, GraphError | LakeError | DependencyError | OSError):
        return Verdict(Status.FAILED, str(error))
    # The text of an unforeseen error may quote data.
    return Verdict(Status.FAILED, f"unexpected {type(error).__name__}{_at(error)}")


def _at(error: BaseException) -> str:
    """The last place in this program that the error passed through."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if module.startswith("entra_pipeline"):
            place = f" in {module}.{trace.tb_frame.f_code.co_name}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return place


def suspicion(
    table: Table, rows: int, previous: CommitInfo | None, settings: Settings
) -> str | None:
    """Why so few rows are not believed; None when they are.

    A list that comes back empty, or smaller by more than the limit of the settings, is more
    often a mistake on the way than a truth, and publishing it would say "nobody has access".
    """
    if previous is None or rows >= previous.rows:
        return None
    way_past = f"if that is right: sync --accept-shrink {table.name}"
    if rows == 0:
        return f"came back empty, {previous.rows} rows before; {way_past}"
    shrunk = 100 * (previous.rows - rows) / previous.rows
    if previous.rows >= settings.shrink_floor_rows and shrunk > settings.shrink_limit_percent:
        return (
            f"came back with {rows} rows, {previous.rows} before: {shrunk:.0f} % fewer, "
            f"{settings.shrink_limit_percent} % are believed; {way_past}"
        )
    return None
