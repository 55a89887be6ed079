"""Reviews of emergency access: given before anybody approved it, looked at by somebody since.

A review is opened in the transaction that lets the request run, so that nothing is given without
one, and stays open until somebody closes it. Here: the rows, and who is to be told of them. Not
here: who may close one (`approving`), and telling (`telling`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from entra_pipeline.provisioning.errors import NotFoundError, TransitionError
from entra_pipeline.provisioning.ledger import rows, schema
from entra_pipeline.provisioning.ledger.rows import Filed
from entra_pipeline.provisioning.ledger.schema import micros, moment
from entra_pipeline.provisioning.ledger.writing import Transaction, transaction
from entra_pipeline.provisioning.values import Identity, IdentityKind

if TYPE_CHECKING:
    from entra_pipeline.provisioning.ledger.store import Ledger

FIRST_PAUSE: Final = timedelta(seconds=15)
LONGEST_PAUSE: Final = timedelta(minutes=15)


class Finding(StrEnum):
    """What somebody found who looked at emergency access afterwards."""

    JUSTIFIED = "justified"
    """It was right to take it: the approval after the fact."""
    NOT_JUSTIFIED = "not_justified"


@dataclass(frozen=True)
class Review:
    """One review; open while `closed_at` is None. `tell_problem`: why the alert was not taken."""

    id: str
    request_id: str
    opened_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    finding: str | None
    reason: str | None
    told_at: datetime | None
    tell_tries: int
    tell_problem: str | None


def open_for(tx: Transaction, filed: Iterable[Filed]) -> None:
    """Open a review of each emergency among requests that may run now, and of each only one."""
    table = schema.reviews
    for each in filed:
        if not each.request.emergency:
            continue
        known = sa.select(table.c.id).where(table.c.request_id == each.id)
        if tx.connection.execute(known).scalar() is not None:
            continue
        row: dict[str, Any] = dict.fromkeys(table.columns.keys())
        row |= {
            "id": rows.new_id("rev", tx.now),
            "request_id": each.id,
            "opened_at": tx.now,
            "tell_at": tx.now,
            "tell_tries": 0,
        }
        tx.insert(table, "review_opened", [row])


def close(ledger: Ledger, key: str, finding: Finding, by: Identity, reason: str) -> Review:
    """Close a review. TransitionError when it is closed already."""
    if by.kind is IdentityKind.SYSTEM:
        raise TransitionError("a program closes no review")
    table = schema.reviews
    with transaction(ledger.database, ledger.clock()) as tx:
        found = _one(tx.connection, key)
        if found.closed_at is not None:
            raise TransitionError(f"review {key} was closed by {found.closed_by} already")
        values = {
            "closed_at": tx.now,
            "closed_by": by.key,
            "finding": finding.value,
            "reason": reason,
            "tell_at": None,
        }
        tx.update(table, "review_closed", found.id, values, by=by.key, finding=finding.value)
        return _one(tx.connection, found.id)


def one(ledger: Ledger, key: str) -> Review:
    """One review, by its own id or its request's. NotFoundError if there is none."""
    with ledger.database.read() as connection:
        return _one(connection, key)


def of_requests(ledger: Ledger, keys: Iterable[str]) -> dict[str, Review]:
    """Reviews by the id of their request."""
    table = schema.reviews
    wanted = list(keys)
    found: dict[str, Review] = {}
    with ledger.database.read() as connection:
        for start in range(0, len(wanted), rows.MANY):
            part = wanted[start : start + rows.MANY]
            for row in connection.execute(sa.select(table).where(table.c.request_id.in_(part))):
                found[row.request_id] = _review(row)
    return found


def listed(
    ledger: Ledger, *, closed: bool = False, before: str | None = None, limit: int | None = 100
) -> list[Review]:
    """Open reviews, the latest first; with `closed` all. `before`: older than that one."""
    table = schema.reviews
    query = sa.select(table).order_by(table.c.id.desc())
    if not closed:
        query = query.where(table.c.closed_at.is_(None))
    if before is not None:
        query = query.where(table.c.id < before)
    if limit is not None:
        query = query.limit(limit)
    with ledger.database.read() as connection:
        return [_review(row) for row in connection.execute(query)]


# ---- who is to be told ---------------------------------------------------------------------------


def to_tell(ledger: Ledger, lasts: timedelta) -> list[tuple[Review, Filed]]:
    """Open reviews that nobody has been told of and whose turn it is; no other worker gets them
    for as long as an attempt `lasts`."""
    table = schema.reviews
    now = micros(ledger.clock())
    with ledger.database.read() as connection:
        due = sa.select(table.c.id).where(table.c.tell_at.is_not(None), table.c.tell_at <= now)
        if connection.execute(due.limit(1)).scalar() is None:
            return []
    with transaction(ledger.database, ledger.clock()) as tx:
        keys = list(tx.connection.execute(due.order_by(table.c.tell_at).limit(50)).scalars())
        tx.connection.execute(
            table.update()
            .where(table.c.id.in_(keys))
            .values(tell_at=tx.now + lasts // timedelta(microseconds=1))
        )
        found = [_one(tx.connection, key) for key in keys]
        filed = rows.filed(tx.connection, [each.request_id for each in found])
    return list(zip(found, filed, strict=True))


def told(ledger: Ledger, key: str, problem: str | None) -> None:
    """Note that the webhook took an alert; or why not, and when to try again."""
    table = schema.reviews
    with transaction(ledger.database, ledger.clock()) as tx:
        found = _one(tx.connection, key)
        values: dict[str, Any] = {"tell_tries": found.tell_tries + 1, "tell_problem": problem}
        if problem is None:
            values |= {"told_at": tx.now, "tell_at": None}
        elif found.closed_at is None:
            pause = min(FIRST_PAUSE * 2 ** min(found.tell_tries, 10), LONGEST_PAUSE)
            values["tell_at"] = tx.now + pause // timedelta(microseconds=1)
        tx.connection.execute(table.update().where(table.c.id == key).values(**values))


def _one(connection: sa.Connection, key: str) -> Review:
    table = schema.reviews
    query = sa.select(table).where(sa.or_(table.c.id == key, table.c.request_id == key))
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no review {key}: `reviews` lists them")
    return _review(row)


def _review(row: Any) -> Review:
    return Review(
        id=row.id,
        request_id=row.request_id,
        opened_at=moment(row.opened_at),
        closed_at=None if row.closed_at is None else moment(row.closed_at),
        closed_by=row.closed_by,
        finding=row.finding,
        reason=row.reason,
        told_at=None if row.told_at is None else moment(row.told_at),
        tell_tries=row.tell_tries,
        tell_problem=row.tell_problem,
    )
