"""Looking at the ledger for people: lists, and one request with all that became of it.

Reads columns rather than documents, so that what cannot be read any more can still be shown. Not
here: anything that is decided on.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from entra_pipeline.provisioning.errors import NotFoundError
from entra_pipeline.provisioning.ledger import schema
from entra_pipeline.provisioning.ledger.schema import micros, moment
from entra_pipeline.provisioning.ledger.store import Ledger
from entra_pipeline.provisioning.states import OperationState, RequestState

_KEYS_AT_ONCE = 100
_UNPLANNED = (RequestState.FILED, RequestState.STALE, RequestState.REFUSED)


@dataclass(frozen=True)
class Listed:
    """A request in a list."""

    id: str
    batch_id: str
    kind: str
    identity: str
    state: RequestState
    reasons: tuple[str, ...]
    asked_by: str
    source: str
    tier: int | None
    plan_hash: str | None
    filed_at: datetime
    due_at: datetime
    expires_at: datetime | None
    ended_by: str | None
    changed_at: datetime
    emergency: bool


@dataclass(frozen=True)
class Tried:
    """One attempt at an operation."""

    number: int
    began_at: datetime
    ended_at: datetime | None
    outcome: str | None
    detail: str | None
    client_request_id: str


@dataclass(frozen=True)
class Looked:
    """One operation of a request: where it stands, what was tried, how reads agreed.

    `result`: what it left behind, such as a new account's id, a free name, or the names and
    SHA-256 of sealed passwords.
    """

    id: str
    plan_hash: str
    position: int
    action: str
    identity: str
    target_id: str | None
    state: OperationState
    added: bool
    result: dict[str, Any]
    tries: tuple[Tried, ...]
    reads: int
    agreeing: int
    last_read: str | None


@dataclass(frozen=True)
class Waiting:
    """How much there is to do now.

    `due`: approved requests; `expiring`: grants to be taken back; `endings`: what takes them back,
    filed and not planned; `refused`: endings that were refused; `to_verify`: writes to be read.
    """

    due: int
    expiring: int
    endings: int
    refused: int
    to_verify: int

    @property
    def anything(self) -> bool:
        """Whether there is something to do that may succeed."""
        return bool(self.due or self.expiring or self.endings or self.to_verify)


def listed(
    ledger: Ledger,
    *,
    states: Iterable[RequestState] = (),
    kind: str | None = None,
    batch_id: str | None = None,
    before: str | None = None,
    limit: int | None = 100,
) -> list[Listed]:
    """The latest requests first; `before`: older than that one, to page on."""
    table = schema.requests
    query = sa.select(table).order_by(table.c.id.desc())
    if kind is not None:
        query = query.where(table.c.kind == kind)
    if batch_id is not None:
        query = query.where(table.c.batch_id == batch_id)
    if before is not None:
        query = query.where(table.c.id < before)
    if limit is not None:
        query = query.limit(limit)
    # Of each state by itself the latest: of several at once, a database would sort all there are.
    parts = [query.where(table.c.state == state.value) for state in dict.fromkeys(states)]
    with ledger.database.read() as connection:
        rows = [row for part in parts or [query] for row in connection.execute(part)]
    rows.sort(key=lambda row: str(row.id), reverse=True)
    return [_listed(row) for row in rows[:limit]]


def one(ledger: Ledger, key: str) -> Listed:
    """One request as a list would show it. NotFoundError if there is none."""
    table = schema.requests
    with ledger.database.read() as connection:
        row = connection.execute(sa.select(table).where(table.c.id == key)).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no request {key}: `requests` lists them")
    return _listed(row)


def document(ledger: Ledger, key: str) -> dict[str, Any] | None:
    """What was asked, as it was filed; None when it is no JSON any more."""
    table = schema.requests
    with ledger.database.read() as connection:
        text = connection.execute(sa.select(table.c.document).where(table.c.id == key)).scalar()
    try:
        found: dict[str, Any] = json.loads(text or "")
    except ValueError:
        return None
    return found


def latest_of_key(ledger: Ledger, key: str) -> tuple[Listed | None, int]:
    """The latest request whose idempotency key is `key`, `key-1`, `key-2` and so on, and the first
    number that is free (0: `key` itself is)."""
    table = schema.requests
    found: list[str] = []
    free = 0
    with ledger.database.read() as connection:
        # Each by its own key, for which there is an index: a prefix would read all there are.
        # Few are looked for at first, since of most there are few.
        while True:
            numbers = range(free, free + min(free + 1, _KEYS_AT_ONCE))
            wanted = [key if number == 0 else f"{key}-{number}" for number in numbers]
            ids = {
                row.idempotency_key: row.id
                for row in connection.execute(
                    sa.select(table.c.idempotency_key, table.c.id).where(
                        table.c.idempotency_key.in_(wanted)
                    )
                )
            }
            there = [ids[each] for each in itertools.takewhile(ids.__contains__, wanted)]
            found += there
            free += len(there)
            if len(there) < len(wanted):
                break
    return (one(ledger, max(found)) if found else None), free


def batch_of(ledger: Ledger, key: str) -> str:
    """The batch of a request's or a batch's own id. NotFoundError if there is neither."""
    table = schema.requests
    with ledger.database.read() as connection:
        found = connection.execute(
            sa.select(table.c.batch_id)
            .where(sa.or_(table.c.id == key, table.c.batch_id == key))
            .limit(1)
        ).scalar()
    if found is None:
        raise NotFoundError(f"there is no request or batch {key}: `requests` lists them")
    return str(found)


def operations(ledger: Ledger, key: str) -> list[Looked]:
    """The operations of a request, those of its latest plan last."""
    table, attempts, reads = schema.operations, schema.attempts, schema.verifications
    with ledger.database.read() as connection:
        rows = connection.execute(
            sa.select(table)
            .join(schema.plans, schema.plans.c.hash == table.c.plan_hash)
            .where(table.c.request_id == key)
            .order_by(schema.plans.c.made_at, table.c.position)
        ).all()
        tried = _by_operation(connection, attempts, attempts.c.number, rows)
        read = _by_operation(connection, reads, reads.c.at, rows)
    return [
        Looked(
            id=row.id,
            plan_hash=row.plan_hash,
            position=row.position,
            action=row.action,
            identity=row.identity,
            target_id=row.target_id,
            state=OperationState(row.state),
            added=row.added,
            result=_object(row.result),
            tries=tuple(
                Tried(
                    each.number,
                    moment(each.began_at),
                    None if each.ended_at is None else moment(each.ended_at),
                    each.outcome,
                    each.detail,
                    each.id,
                )
                for each in tried.get(row.id, ())
            ),
            reads=len(read.get(row.id, ())),
            agreeing=row.agreeing,
            last_read=next((each.detail for each in reversed(read.get(row.id, []))), None),
        )
        for row in rows
    ]


def waiting(ledger: Ledger) -> Waiting:
    """What could be done at this moment."""
    requests, ops = schema.requests, schema.operations
    now = micros(ledger.clock())
    count = sa.func.count()
    given = [RequestState.WRITTEN.value, RequestState.DONE.value, RequestState.DIVERGED.value]
    with ledger.database.read() as connection:
        due = connection.execute(
            sa.select(count).where(
                requests.c.state == RequestState.APPROVED.value, requests.c.due_at <= now
            )
        ).scalar_one()
        left = connection.execute(
            sa.select(count).where(
                requests.c.state == RequestState.RUNNING.value, requests.c.claimed_until <= now
            )
        ).scalar_one()
        expiring = connection.execute(
            sa.select(count).where(schema.expired(now, given))
        ).scalar_one()
        endings = {
            row[0]: int(row[1])
            for row in connection.execute(
                sa.select(requests.c.state, count)
                .where(
                    requests.c.state.in_([state.value for state in _UNPLANNED]),
                    requests.c.rank == 0,
                )
                .group_by(requests.c.state)
            )
        }
        to_verify = connection.execute(
            sa.select(count).where(ops.c.verify_at.is_not(None), ops.c.verify_at <= now)
        ).scalar_one()
    refused = endings.pop(RequestState.REFUSED.value, 0)
    return Waiting(due + left, expiring, sum(endings.values()), refused, to_verify)


def next_verification(ledger: Ledger) -> datetime | None:
    """When something written is to be read next."""
    column = schema.operations.c.verify_at
    with ledger.database.read() as connection:
        found = connection.execute(
            sa.select(sa.func.min(column)).where(column.is_not(None))
        ).scalar()
    return None if found is None else moment(found)


def _by_operation(
    connection: sa.Connection, table: sa.Table, order: Any, rows: Sequence[Any]
) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    keys = [row.id for row in rows]
    query = sa.select(table).where(table.c.operation_id.in_(keys)).order_by(order)
    for row in connection.execute(query):
        found.setdefault(row.operation_id, []).append(row)
    return found


def _object(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _listed(row: Any) -> Listed:
    return Listed(
        id=row.id,
        batch_id=row.batch_id,
        kind=row.kind,
        identity=row.identity,
        state=RequestState(row.state),
        reasons=tuple(json.loads(row.reasons)),
        asked_by=row.asked_by,
        source=row.source,
        tier=row.tier,
        plan_hash=row.plan_hash,
        filed_at=moment(row.filed_at),
        due_at=moment(row.due_at),
        expires_at=None if row.expires_at is None else moment(row.expires_at),
        ended_by=row.ended_by,
        changed_at=moment(row.changed_at),
        # As canonical JSON has it: within a text its quotes would be escaped.
        emergency='"emergency":true' in row.document,
    )
