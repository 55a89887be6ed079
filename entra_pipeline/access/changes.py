"""Which rows changed between two states: the history of the tables, filtered and put in order.

Here belongs choosing changes by table, principal or entitlement. Effective access that came or
went because of them is `diff`'s. A change is known since the sync that saw it; when exactly it was
made in the directory is for the audit log to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from entra_pipeline import tables
from entra_pipeline.access.answers import Json, Missing, plain
from entra_pipeline.access.past import Moment
from entra_pipeline.lake import Lake, TableStatus
from entra_pipeline.lake.books import rfc3339
from entra_pipeline.tables import Table

# Which rows are about an entitlement: by its form, the first part of its id and `member` or `owner`
# if that is the last, the tables and what their columns must be: parts of the id (1: after the
# first colon, 2: after the second), or a text.
_About = Mapping[str, Mapping[str, int | str]]
_PIM: Final = (
    "group_assignment_schedule_instances",
    "group_eligibility_schedule_instances",
)
_ROLE_TABLES: Final = (
    "role_assignments",
    "role_assignment_schedule_instances",
    "role_eligibility_schedule_instances",
)
_ABOUT: Final[Mapping[tuple[str, str], _About]] = {
    ("group", "member"): {
        "groups": {"id": 1},
        "group_members": {"group_id": 1},
        **{name: {"group_id": 1, "access_id": "member"} for name in _PIM},
    },
    ("group", "owner"): {
        "groups": {"id": 1},
        "group_owners": {"group_id": 1},
        **{name: {"group_id": 1, "access_id": "owner"} for name in _PIM},
    },
    ("app", "owner"): {
        "service_principals": {"id": 1},
        "service_principal_owners": {"service_principal_id": 1},
    },
    ("app", ""): {
        "service_principals": {"id": 1},
        "app_roles": {"resource_id": 1, "id": 2},
        "app_role_assignments": {"resource_id": 1, "app_role_id": 2},
    },
    ("application", "owner"): {
        "applications": {"id": 1},
        "application_owners": {"application_id": 1},
    },
    ("delegated", ""): {
        "delegated_permissions": {"resource_id": 1, "value": 2},
        "oauth2_permission_grants": {"resource_id": 1, "scopes": 2},
    },
    ("role", ""): {
        "role_definitions": {"id": 1},
        **{name: {"role_definition_id": 1, "directory_scope_id": 2} for name in _ROLE_TABLES},
    },
    ("license", ""): {"subscribed_skus": {"sku_id": 1}, "license_assignments": {"sku_id": 1}},
    ("unit", "member"): {
        "administrative_units": {"id": 1},
        "administrative_unit_members": {"unit_id": 1},
    },
    ("device", "owner"): {"devices": {"id": 1}, "device_owners": {"device_id": 1}},
}


@dataclass(frozen=True)
class Change:
    """One row that came, went or became another."""

    at: datetime  # when the sync read the table
    sync_id: str
    table: str
    operation: str  # insert, update or delete
    key: Json
    changed: tuple[str, ...] | None  # of updates: the columns
    row: Json  # after; of deletes the row as it was
    before: Json | None  # of updates: the changed columns as they were

    def to_json(self) -> Json:
        """All fields."""
        return {
            "at": rfc3339(self.at),
            "sync_id": self.sync_id,
            "table": self.table,
            "operation": self.operation,
            "key": self.key,
            "changed": None if self.changed is None else list(self.changed),
            "row": self.row,
            "before": self.before,
        }


@dataclass(frozen=True)
class Changes:
    """What changed between two states, the latest first."""

    since: Moment | None  # none: since anything is known
    until: Moment
    rows: tuple[Change, ...]
    truncated: bool  # there are earlier ones
    missing: tuple[Missing, ...]

    def to_json(self) -> Json:
        """`{"since", "until", "changes", "truncated", "complete", "missing"}`."""
        return {
            "since": None if self.since is None else self.since.to_json(),
            "until": self.until.to_json(),
            "changes": [row.to_json() for row in self.rows],
            "truncated": self.truncated,
            "complete": not self.missing,
            "missing": [asdict(one) for one in self.missing],
        }


def find(
    lake: Lake,
    statuses: Mapping[str, TableStatus],
    *,
    since: Moment | None,
    until: Moment,
    names: Sequence[str],
    principal: str | None = None,
    entitlement: str | None = None,
    limit: int | None = None,
) -> Changes:
    """The changes of those tables between the states of two moments, at most the latest `limit`.

    `statuses` are those of the later moment. `principal` and `entitlement` are ids: rows that name
    the principal anywhere, and rows that decide about the entitlement or describe it.
    """
    after = None if since is None else since.finished
    if entitlement is not None:
        about = _about(entitlement)
        names = [name for name in names if name in about]
    found: list[Change] = []
    missing = []
    total = 0
    for name in names:
        table = tables.get(name)
        if (lack := _lacking(lake, name, statuses.get(name), after)) is not None:
            missing.append(lack)
        rows = lake.changes(name, after=after, until=until.finished)
        if principal is not None:
            rows = rows.filter(_mentions(table, rows, principal))
        if entitlement is not None:
            rows = rows.filter(_concerns(rows, about[name]))
        total += rows.num_rows
        if limit is not None and rows.num_rows > limit:
            rows = rows.slice(rows.num_rows - limit)
        found.extend(_change(table, row) for row in rows.to_pylist())
    place = {name: number for number, name in enumerate(tables.TABLES)}
    found.sort(
        key=lambda change: (place[change.table], [str(part) for part in change.key.values()])
    )
    found.sort(key=lambda change: change.at, reverse=True)
    return Changes(since, until, tuple(found[:limit]), len(found[:limit]) < total, tuple(missing))


def mentioned(lake: Lake, text: str) -> list[str]:
    """The ids of principals that had that name in some row of the history, in order."""
    wanted = text.lower()
    ids: set[str] = set()
    for name in ("users", "groups", "service_principals", "devices", "contacts"):
        rows = lake.changes(name)
        for column in ("user_principal_name", "mail", "app_id", "display_name"):
            if column in rows.column_names:
                same: Any = pc.equal(pc.utf8_lower(rows.column(column)), pa.scalar(wanted))
                ids.update(map(str, rows.filter(pc.fill_null(same, False))["id"].to_pylist()))
    return sorted(ids)


def _lacking(
    lake: Lake, name: str, status: TableStatus | None, after: datetime | None
) -> Missing | None:
    """Why the changes of a table may not be all: it is not whole, or its history begins later."""
    if status is None or status.status != "complete":
        reason = None if status is None else status.reason
        return Missing(name, "never" if status is None else str(status.status), reason)
    info = lake.info(name)
    if after is not None and info is not None and info.known_since > after:
        return Missing(name, "never", f"its history begins at {rfc3339(info.known_since)}")
    return None


def _mentions(table: Table, rows: pa.Table, identity: str) -> Any:
    """Rows with that id in any column that holds ids, before or after."""
    columns: list[Any] = [
        rows.column(column.name)
        for column in table.columns
        if column.type == pa.string() and (column.name == "id" or column.name.endswith("_id"))
    ]
    found: Any = pa.array([False] * rows.num_rows, pa.bool_())
    for values in columns:
        found = pc.or_(found, pc.fill_null(pc.equal(values, pa.scalar(identity)), False))
    return found


def _about(entitlement_id: str) -> dict[str, dict[str, str]]:
    """By table, the values that the columns of its rows have if they are about the entitlement."""
    form, _, rest = entitlement_id.partition(":")
    last = rest.rpartition(":")[2]
    first, second = rest, ""
    for separator in ("@", ":"):
        if separator in rest:
            first, _, second = rest.partition(separator)
            break
    parts = {1: first, 2: second}
    about = _ABOUT.get((form, last)) or _ABOUT.get((form, ""), {})
    return {
        name: {
            column: parts[value] if isinstance(value, int) else value
            for column, value in columns.items()
        }
        for name, columns in about.items()
    }


def _concerns(rows: pa.Table, columns: Mapping[str, str]) -> Any:
    found: Any = pa.array([True] * rows.num_rows, pa.bool_())
    for name, value in columns.items():
        column: Any = rows.column(name)
        if isinstance(column.type, pa.ListType):
            same: Any = pa.array([value in (one or ()) for one in column.to_pylist()], pa.bool_())
        else:
            same = pc.equal(pc.utf8_lower(column), pa.scalar(value.lower()))
        found = pc.and_(found, pc.fill_null(same, False))
    return found


def _change(table: Table, row: Mapping[str, Any]) -> Change:
    changed = row["changed"]
    before = row.get("before") or {}
    return Change(
        at=row["at"],
        sync_id=row["sync_id"],
        table=table.name,
        operation=row["operation"],
        key=_plain(row, table.key),
        changed=None if changed is None else tuple(changed),
        row=_plain(row, [column.name for column in table.columns]),
        before=None if changed is None else _plain(before, changed),
    )


def _plain(row: Mapping[str, Any], names: Iterable[str]) -> Json:
    return {name: plain(row.get(name)) for name in names}
