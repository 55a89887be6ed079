"""Rows of the ledger as values, and moving a request from state to state."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from entra_pipeline.provisioning import canonical
from entra_pipeline.provisioning.errors import NotFoundError, TransitionError
from entra_pipeline.provisioning.ledger import schema
from entra_pipeline.provisioning.ledger.schema import moment
from entra_pipeline.provisioning.ledger.writing import Transaction
from entra_pipeline.provisioning.states import REQUEST_MOVES, RequestState
from entra_pipeline.provisioning.values import Identity, Request, Tier

MANY: Final = 500
"""Keys that are looked up at once."""

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"


@dataclass(frozen=True)
class Filed:
    """A request as the ledger has it."""

    id: str
    request: Request
    state: RequestState
    reasons: tuple[str, ...]
    batch_id: str
    plan_hash: str | None
    tier: Tier | None
    filed_at: datetime
    due_at: datetime
    changed_at: datetime
    ended_by: str | None
    claimed_by: str | None


@dataclass(frozen=True)
class Approval:
    """What somebody said of a plan."""

    id: str
    plan_hash: str
    verdict: str
    identity: Identity
    note: str | None
    at: datetime


def move(
    tx: Transaction,
    filed: Filed,
    to: RequestState,
    *,
    reasons: Sequence[str] | None = None,
    by: str | None = None,
    **values: Any,
) -> None:
    """A new state. TransitionError for one that does not follow; `by`: who did it."""
    if to not in REQUEST_MOVES.get(filed.state, frozenset()):
        raise TransitionError(f"request {filed.id} is {filed.state}: it cannot become {to}")
    if reasons is not None:
        values["reasons"] = canonical.text(list(reasons))
    content = {"from": filed.state.value, "to": to.value}
    if by is not None:
        content["by"] = by
    tx.update(
        schema.requests,
        to.value,
        filed.id,
        {**values, "state": to.value, "changed_at": tx.now},
        **content,
    )


def filed(connection: sa.Connection, keys: Sequence[str]) -> list[Filed]:
    """Requests by id, in that order. NotFoundError if there is none of an id."""
    table = schema.requests
    rows: dict[str, Any] = {}
    for start in range(0, len(keys), MANY):
        part = keys[start : start + MANY]
        query = sa.select(table).where(table.c.id.in_(part))
        rows.update({row.id: row for row in connection.execute(query)})
    if missing := [key for key in keys if key not in rows]:
        raise NotFoundError(f"there is no request {missing[0]}: `requests` lists them")
    return [as_filed(rows[key]) for key in keys]


def new_id(kind: str, now: int, place: int = 0) -> str:
    """A new id: `kind`, then the time, the place within a batch (below 65,536) and chance, so that
    ids are in the order of filing."""
    number = (now << 60) | (place << 44) | secrets.randbits(44)
    digits = []
    for _ in range(24):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return f"{kind}_{''.join(reversed(digits))}"


def as_filed(row: Any) -> Filed:
    """A row of `requests`."""
    return Filed(
        id=row.id,
        request=Request.model_validate_json(row.document),
        state=RequestState(row.state),
        reasons=tuple(json.loads(row.reasons)),
        batch_id=row.batch_id,
        plan_hash=row.plan_hash,
        tier=None if row.tier is None else Tier(row.tier),
        filed_at=moment(row.filed_at),
        due_at=moment(row.due_at),
        changed_at=moment(row.changed_at),
        ended_by=row.ended_by,
        claimed_by=row.claimed_by,
    )


def as_approval(row: Any) -> Approval:
    """A row of `approvals`."""
    return Approval(
        row.id,
        row.plan_hash,
        row.verdict,
        Identity(kind=row.identity_kind, subject=row.subject, machine=row.machine),
        row.note,
        moment(row.at),
    )
