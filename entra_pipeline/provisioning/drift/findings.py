"""What people are told of drift, and the request that would repair one change.

A change is told when it was made beside the ledger (`out_of_band`), or when it undoes what the
ledger did, whoever made it. Not here: working causes out (`keeping`), filing (`ledger`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import duckdb

from entra_pipeline.lake.books import rfc3339
from entra_pipeline.provisioning import files
from entra_pipeline.provisioning.drift import evidence
from entra_pipeline.provisioning.drift.keeping import TABLE
from entra_pipeline.provisioning.errors import NotFoundError, RequestError

_INSTANCES: Final = "('role_assignment_schedule_instances', 'group_assignment_schedule_instances')"
_BASE: Final = "('role_assignments', 'group_members', 'group_owners')"
_COLUMNS: Final = tuple(column.name for column in TABLE.columns)


@dataclass(frozen=True)
class Finding:
    """A change as it is kept; `stands`: nothing changed about this access since.

    `last`: the latest change of the same access, itself if it stands.
    """

    row: Mapping[str, Any]
    stands: bool
    last: str

    @property
    def id(self) -> str:
        """The id of the change."""
        return str(self.row["id"])

    def to_json(self) -> dict[str, Any]:
        """All columns, times as text, and whether it stands."""
        told = {
            name: rfc3339(value) if isinstance(value, datetime) else value
            for name, value in self.row.items()
        }
        return {**told, "stands": self.stands}


@dataclass(frozen=True)
class Drift:
    """Changes beside the ledger since a time, the latest first; of how many nothing is known."""

    since: datetime
    found: tuple[Finding, ...]
    unknown: int
    with_objects: int = 0  # left out: what went because an object was deleted


def find(lake: Path, since: datetime, *, all_of_them: bool = False) -> Drift:
    """Out-of-band changes, and those that undo what the ledger did, seen since a time.

    Without `all_of_them` only those that still stand, and of what went with deleted objects only
    the number. What PIM's tables repeat of a role or a group is told once.
    """
    books = evidence.book(lake)
    paths = evidence.recent(books, since)
    if not paths:
        return Drift(since, (), 0)
    with _opened(paths) as connection:
        rows = _asked(
            connection,
            f"""
            SELECT * FROM kept k WHERE seen_at >= ?
              AND (cause = 'out_of_band' OR reverts IS NOT NULL)
              AND NOT (source_table IN {_INSTANCES} AND EXISTS (
                  SELECT 1 FROM kept b WHERE b.source_table IN {_BASE}
                    AND b.principal_id = k.principal_id AND b.change = k.change
                    AND b.entitlement_id = k.entitlement_id
                    AND abs(epoch(b.seen_at) - epoch(k.seen_at)) < 86400))
            ORDER BY id DESC
            """,
            [since],
        )
        unknown = connection.execute(
            "SELECT count(*) FROM kept WHERE cause = 'unknown' AND seen_at >= ?", [since]
        ).fetchall()[0][0]
    if all_of_them:
        return Drift(since, tuple(rows), int(unknown))
    found = tuple(each for each in rows if each.stands and each.row["through"] is None)
    gone = sum(each.row["through"] is not None for each in rows)
    return Drift(since, found, int(unknown), gone)


def one(lake: Path, key: str) -> Finding:
    """The change of that id, or of the only one that begins so. Raises NotFoundError."""
    books = evidence.book(lake)
    paths = evidence.paths_since(books, key)
    found: list[Finding] = []
    if paths and key.startswith("drift_"):
        with _opened(paths) as connection:
            found = _asked(
                connection, "SELECT * FROM kept WHERE starts_with(id, ?) ORDER BY id LIMIT 2", [key]
            )
    if len(found) != 1:
        many = "more than one change" if found else "no change"
        raise NotFoundError(f"there is {many} {key}: `entra-pipeline drift` names them")
    return found[0]


def repair(finding: Finding, mode: str | None = None) -> dict[str, Any]:
    """The fields of the request that takes the change back. RequestError where none can.

    What appeared is revoked, what went is granted again.
    """
    row = finding.row
    if not finding.stands:
        raise RequestError(
            f"{finding.id} is not so any more: {finding.last} came after it; repair that one"
        )
    if row["through"] is not None:
        raise RequestError(
            f"{finding.id}: the access went because an object was deleted ({row['through']}); "
            "a deleted user is brought back by `request restore-user`"
        )
    access = str(row["entitlement_id"])
    if files.access(access) is None:
        raise RequestError(
            f"{finding.id}: {access} is nothing that can be asked for here; change it where it is "
            "managed"
        )
    return {
        "kind": "revoke" if row["change"] == "appeared" else "grant",
        "principal_id": row["principal_id"],
        "access": access,
        "mode": mode or ("pim_eligible" if row["state"] == "eligible" else "direct"),
    }


def _opened(paths: Sequence[str]) -> duckdb.DuckDBPyConnection:
    """A connection in which `kept` is those files, each row with the latest of its access."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(
        "CREATE TEMP VIEW kept AS SELECT *, last_value(id) OVER ("
        "PARTITION BY principal_id, entitlement_id, state, "
        f"source_table IN {_INSTANCES} ORDER BY id "
        "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS last "
        f"FROM {evidence.parquet(paths)}"
    )
    return connection


def _asked(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any]
) -> list[Finding]:
    names = ", ".join((*_COLUMNS, "last"))
    rows = connection.execute(f"SELECT {names} FROM ({sql})", list(parameters)).fetchall()
    found = []
    for row in rows:
        told = dict(zip(_COLUMNS, row, strict=False))
        found.append(Finding(told, row[-1] == told["id"], str(row[-1])))
    return found
