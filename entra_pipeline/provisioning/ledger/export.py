"""The ledger as tables of the lake, for SQL: who asked, who approved, what was done.

Here: the rows, and which of them changed since the last time. Not here: when that is done (each
sync), and their columns (`tables.provisioning`). Left out is whatever may name people: reasons,
notes, results, documents, names of machines' users.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import sqlalchemy as sa

from entra_pipeline.lake import Lake
from entra_pipeline.provisioning.ledger import schema
from entra_pipeline.provisioning.ledger.rows import MANY
from entra_pipeline.provisioning.ledger.schema import moment
from entra_pipeline.provisioning.ledger.store import Ledger
from entra_pipeline.tables import LEDGER, Table

Row = dict[str, Any]
_AT_ONCE: Final = 10_000
_MOST_CHANGES: Final = 200_000
"""After more entries of the audit, reading everything is faster."""
_ID: Final = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
_ACCESS: Final = re.compile(rf"(direct|pim_active|pim_eligible):({_ID}):(\S+)")
_ACCOUNT: Final = re.compile(rf"[a-z_]+:({_ID})")
_SIGNED_IN: Final = re.compile(rf"entra:({_ID})(?:@.*)?")


def to_lake(ledger: Ledger, lake: Lake, *, sync_id: str, as_of: datetime) -> None:
    """Make the ledger's tables what they are now; the lake knows them as `tables.LEDGER`.

    Only what changed since the last time is read: the audit tells of every change, and each table
    keeps the entry that it is as of. From another ledger, or from one that was put back to an
    earlier state, everything is read.
    """
    with ledger.database.read() as connection:  # one state for all of them
        head = connection.execute(
            sa.select(schema.ledger.c.audit_seq, schema.ledger.c.audit_hash)
        ).one()
        for name, source in _SOURCES.items():
            table = LEDGER[name]
            info = lake.info(name)
            since = None if info is None else _since(connection, head.audit_seq, info.cursor)
            keys = None if since is None else _changed(connection, name, since)
            found = _arrow(table, source, connection, keys)
            cursor = f"{head.audit_seq}:{head.audit_hash}"
            if keys is None:
                lake.commit(table, found, sync_id=sync_id, as_of=as_of, cursor=cursor)
            else:
                lake.amend(table, upserts=found, sync_id=sync_id, as_of=as_of, cursor=cursor)
            if lake.is_cluttered(name):
                lake.maintain(name)


def _since(connection: sa.Connection, newest: int, cursor: str | None) -> int | None:
    """The entry of the audit that a table is as of; None: it has to be made anew."""
    number, _, known = (cursor or "").partition(":")
    if not number.isdecimal() or newest - int(number) > _MOST_CHANGES:
        return None
    entry = schema.audit.c
    stored = connection.execute(sa.select(entry.hash).where(entry.seq == int(number))).scalar()
    return int(number) if stored == known else None


def _changed(connection: sa.Connection, name: str, since: int) -> list[Any]:
    """Keys of the rows that the audit has told of since then."""
    entry, attempts = schema.audit.c, schema.attempts.c
    column = entry.seq if name == "audit" else entry.row
    told = connection.execute(sa.select(column).where(entry.seq > since)).scalars().all()
    if name == "audit":
        return list(told)
    keys: dict[str, dict[str, None]] = {}
    for row in told:
        of, _, key = row.partition("/")
        keys.setdefault(of, {})[key] = None
    found = keys.get(name, {})
    if name == "operations":
        tried = list(keys.get("attempts", {}))
        for start in range(0, len(tried), MANY):
            part = attempts.id.in_(tried[start : start + MANY])
            query = sa.select(attempts.operation_id).where(part)
            found |= dict.fromkeys(connection.execute(query).scalars())
    return list(found)


@dataclass(frozen=True)
class _Source:
    """Where the rows of a table come from: the query, its key, and what a row becomes."""

    key: sa.Column[Any]
    query: sa.Select[Any]
    row: Callable[[Any], Row]

    def rows(self, connection: sa.Connection, keys: Sequence[Any] | None) -> Iterator[Row]:
        """The rows of these keys; None: of all."""
        if keys is None:
            # Not all at once: there may be millions.
            result = connection.execution_options(yield_per=_AT_ONCE).execute(self.query)
            yield from map(self.row, result)
            return
        for start in range(0, len(keys), MANY):
            part = self.query.where(self.key.in_(keys[start : start + MANY]))
            yield from map(self.row, connection.execute(part))


def _arrow(
    table: Table, source: _Source, connection: sa.Connection, keys: Sequence[Any] | None
) -> pa.Table:
    parts = [table.schema().empty_table()]
    rows = source.rows(connection, keys)
    while part := list(itertools.islice(rows, _AT_ONCE)):
        parts.append(pa.Table.from_pylist(part, table.schema()))
    return pa.concat_tables(parts)


def _request(row: Any) -> Row:
    return {
        **_same(row, "id", "kind", "state", "source", "batch_id", "plan_hash", "tier"),
        **_same(row, "ended_by"),
        **_times(row, "filed_at", "not_before", "expires_at", "changed_at"),
        **about(row.identity),
        "asked_by_kind": row.asked_by.partition(":")[0],
        "asked_by": _signed_in(row.asked_by),
    }


def _plan(row: Any) -> Row:
    delta = _object(row.document).get("delta", {})
    return {
        **_same(row, "hash", "batch_id", "approvals_needed"),
        **_times(row, "made_at"),
        "gained": delta.get("gained_count", 0),
        "lost": delta.get("lost_count", 0),
        "is_known": not delta.get("unknown"),
    }


def _operation(row: Any) -> Row:
    access = about(row.identity)
    del access["mode"]
    return {
        **_same(row, "id", "request_id", "plan_hash", "position", "action", "target_id"),
        **_same(row, "state", "tier", "added"),
        **_times(row, "written_at", "changed_at"),
        **access,
        "attempts": row.tried or 0,
        "client_request_id": row.latest,
    }


def _approval(row: Any) -> Row:
    return {
        **_same(row, "id", "plan_hash", "verdict"),
        "said_at": moment(row.at),
        "approver_kind": row.identity_kind,
        "approver": _signed_in(f"{row.identity_kind}:{row.subject}"),
    }


def _review(row: Any) -> Row:
    by = row.closed_by
    return {
        **_same(row, "id", "request_id", "finding"),
        **_times(row, "opened_at", "closed_at"),
        "closed_by_kind": None if by is None else by.partition(":")[0],
        "closed_by": None if by is None else _signed_in(by),
    }


def _entry(row: Any) -> Row:
    return {
        **_same(row, "seq", "kind", "previous", "hash"),
        "written_at": moment(row.at),
        "row": row.about,
    }


def _without(table: sa.Table, *names: str) -> sa.Select[Any]:
    """A table's columns but the large ones that nobody is told of."""
    return sa.select(*(column for column in table.c if column.name not in names))


def _tried() -> sa.Select[Any]:
    """Operations, each with its latest attempt."""
    operations, attempts = schema.operations, schema.attempts
    others = attempts.alias()
    latest = (
        sa.select(sa.func.max(others.c.number))
        .where(others.c.operation_id == operations.c.id)
        .scalar_subquery()
    )
    last = sa.and_(attempts.c.operation_id == operations.c.id, attempts.c.number == latest)
    return (
        _without(operations, "result")
        .add_columns(attempts.c.number.label("tried"), attempts.c.id.label("latest"))
        .select_from(operations.outerjoin(attempts, last))
    )


def _entries() -> sa.Select[Any]:
    entry = schema.audit.c
    about = entry.row.label("about")
    return sa.select(entry.seq, entry.at, entry.kind, about, entry.previous, entry.hash)


_SOURCES: Final[Mapping[str, _Source]] = {
    "requests": _Source(
        schema.requests.c.id, _without(schema.requests, "document", "reasons"), _request
    ),
    "plans": _Source(schema.plans.c.hash, sa.select(schema.plans), _plan),
    "operations": _Source(schema.operations.c.id, _tried(), _operation),
    "approvals": _Source(schema.approvals.c.id, sa.select(schema.approvals), _approval),
    "reviews": _Source(schema.reviews.c.id, _without(schema.reviews, "reason"), _review),
    "audit": _Source(schema.audit.c.seq, _entries(), _entry),
}


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
