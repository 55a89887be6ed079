"""The ledger as tables of the lake, for SQL: who asked, who approved, what was done.

Here: the rows. Not here: when that is done (each sync), and their columns (`tables.provisioning`).
Left out is whatever may name people: reasons, notes, results, documents, names of machines' users.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import sqlalchemy as sa

from entra_pipeline.lake import Lake
from entra_pipeline.provisioning.ledger import schema
from entra_pipeline.provisioning.ledger.schema import moment
from entra_pipeline.provisioning.ledger.store import Ledger
from entra_pipeline.tables import LEDGER

Row = dict[str, Any]
_ID: Final = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
_ACCESS: Final = re.compile(rf"(direct|pim_active|pim_eligible):({_ID}):(\S+)")
_ACCOUNT: Final = re.compile(rf"[a-z_]+:({_ID})")
_SIGNED_IN: Final = re.compile(rf"entra:({_ID})(?:@.*)?")


def to_lake(ledger: Ledger, lake: Lake, *, sync_id: str, as_of: datetime) -> None:
    """Make the ledger's tables what they are now; the lake knows them as `tables.LEDGER`."""
    for name, rows in _ROWS.items():
        table = LEDGER[name]
        found = pa.Table.from_pylist(rows(ledger), table.schema())
        lake.commit(table, found, sync_id=sync_id, as_of=as_of)
        lake.maintain(name)


def _requests(ledger: Ledger) -> list[Row]:
    return [
        {
            **_same(row, "id", "kind", "state", "source", "batch_id", "plan_hash", "tier"),
            **_same(row, "ended_by"),
            **_times(row, "filed_at", "not_before", "expires_at", "changed_at"),
            **about(row.identity),
            "asked_by_kind": row.asked_by.partition(":")[0],
            "asked_by": _signed_in(row.asked_by),
        }
        for row in _all(ledger, sa.select(schema.requests))
    ]


def _plans(ledger: Ledger) -> list[Row]:
    found = []
    for row in _all(ledger, sa.select(schema.plans)):
        delta = _object(row.document).get("delta", {})
        found.append(
            {
                **_same(row, "hash", "batch_id", "approvals_needed"),
                **_times(row, "made_at"),
                "gained": delta.get("gained_count", 0),
                "lost": delta.get("lost_count", 0),
                "is_known": not delta.get("unknown"),
            }
        )
    return found


def _operations(ledger: Ledger) -> list[Row]:
    attempts = schema.attempts
    latest = {
        row.operation_id: row
        for row in _all(ledger, sa.select(attempts).order_by(attempts.c.number))
    }
    found = []
    for row in _all(ledger, sa.select(schema.operations)):
        tried, access = latest.get(row.id), about(row.identity)
        del access["mode"]
        found.append(
            {
                **_same(row, "id", "request_id", "plan_hash", "position", "action", "target_id"),
                **_same(row, "state", "tier", "added"),
                **_times(row, "written_at", "changed_at"),
                **access,
                "attempts": 0 if tried is None else tried.number,
                "client_request_id": None if tried is None else tried.id,
            }
        )
    return found


def _approvals(ledger: Ledger) -> list[Row]:
    return [
        {
            **_same(row, "id", "plan_hash", "verdict"),
            "said_at": moment(row.at),
            "approver_kind": row.identity_kind,
            "approver": _signed_in(f"{row.identity_kind}:{row.subject}"),
        }
        for row in _all(ledger, sa.select(schema.approvals))
    ]


def _audit(ledger: Ledger) -> list[Row]:
    table = schema.audit
    columns = (table.c.seq, table.c.at, table.c.kind, table.c.row, table.c.previous, table.c.hash)
    return [
        {
            **_same(row, "seq", "kind", "previous", "hash"),
            "written_at": moment(row.at),
            "row": row[3],
        }
        for row in _all(ledger, sa.select(*columns))
    ]


_ROWS: Final[Mapping[str, Callable[[Ledger], list[Row]]]] = {
    "requests": _requests,
    "plans": _plans,
    "operations": _operations,
    "approvals": _approvals,
    "audit": _audit,
}


def _all(ledger: Ledger, query: sa.Select[Any]) -> list[Any]:
    with ledger.database.read() as connection:
        return list(connection.execute(query))


def _same(row: Any, *names: str) -> Row:
    return {name: getattr(row, name) for name in names}


def _times(row: Any, *names: str) -> Row:
    stored = {name: getattr(row, name) for name in names}
    return {name: None if value is None else moment(value) for name, value in stored.items()}


def about(identity: str) -> Row:
    """Whom and what a request is about, where that is ids alone."""
    if found := _ACCESS.fullmatch(identity):
        return {"mode": found[1], "principal_id": found[2], "entitlement_id": found[3]}
    account = _ACCOUNT.fullmatch(identity)
    return {
        "mode": None,
        "principal_id": None if account is None else account[1],
        "entitlement_id": None,
    }


def _signed_in(key: str) -> str | None:
    found = _SIGNED_IN.fullmatch(key)
    return None if found is None else found[1]


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
