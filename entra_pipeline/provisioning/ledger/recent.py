"""What plans have changed lately, or are about to: for judging the next one.

Here: sums over plans, and operations that a sync may not have seen yet. Not here: judging them
(`guards`).
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from entra_pipeline.provisioning.ledger import schema
from entra_pipeline.provisioning.ledger.schema import micros
from entra_pipeline.provisioning.ledger.store import Ledger
from entra_pipeline.provisioning.plans import Action
from entra_pipeline.provisioning.states import OperationState, RequestState

_O = OperationState
_TRUE = [state.value for state in (_O.WRITTEN, _O.VERIFIED, _O.UNVERIFIED)]
_PENDING = [state.value for state in (RequestState.APPROVED, RequestState.RUNNING)]


@dataclass(frozen=True)
class Done:
    """An operation on access or an account: of which kind of request, and what it is about."""

    kind: str
    action: str
    identity: str
    target_id: str | None


def written(ledger: Ledger, since: datetime, but: Collection[str] = ()) -> list[Done]:
    """What was written since then, in order, and after it grants that are about to be written.

    `but`: requests that do not count.
    """
    ops, requests = schema.operations, schema.requests
    kinds = requests.c.kind.in_(["grant", "revoke", "offboard"])
    columns = (requests.c.id, requests.c.kind, ops.c.action, ops.c.identity, ops.c.target_id)
    joined = sa.select(*columns).join(requests, requests.c.id == ops.c.request_id)
    done = joined.where(
        ops.c.state.in_(_TRUE),
        ops.c.written_at >= micros(since),
        sa.or_(kinds, ops.c.action == Action.DELETE_USER.value),
    ).order_by(ops.c.written_at, ops.c.position)
    pending = joined.where(
        requests.c.kind == "grant",
        requests.c.state.in_(_PENDING),
        requests.c.plan_hash == ops.c.plan_hash,
    ).order_by(requests.c.id, ops.c.position)
    with ledger.database.read() as connection:
        rows = [*connection.execute(done), *connection.execute(pending)]
    return [
        Done(row.kind, row.action, row.identity, row.target_id) for row in rows if row.id not in but
    ]


def changed(ledger: Ledger, since: datetime, but: str | None = None) -> tuple[int, int]:
    """Effective access gained and lost by plans that were written since then, wholly or in part,
    or are approved and not written yet. `but`: the hash of a plan that does not count.

    Offboardings have limits of their own (`leavers`)."""
    ops, requests, plans = schema.operations, schema.requests, schema.plans
    recent = sa.select(ops.c.plan_hash).where(ops.c.written_at >= micros(since))
    pending = sa.select(requests.c.plan_hash).where(requests.c.state.in_(_PENDING))
    leaving = sa.select(requests.c.plan_hash).where(
        requests.c.kind == "offboard", requests.c.plan_hash.is_not(None)
    )
    query = sa.select(plans.c.hash, plans.c.document).where(
        plans.c.hash.in_(recent.union(pending.where(requests.c.plan_hash.is_not(None)))),
        plans.c.hash.not_in(leaving),
    )
    gained = lost = 0
    with ledger.database.read() as connection:
        for key, text in connection.execute(query):
            if key == but:
                continue
            delta = json.loads(text).get("delta", {})
            gained += int(delta.get("gained_count", 0))
            lost += int(delta.get("lost_count", 0))
    return gained, lost


def leavers(ledger: Ledger, since: datetime, but: Collection[str] = ()) -> int:
    """How many people were offboarded since then, wholly or in part, or are about to be.

    `but`: requests that do not count.
    """
    ops, requests = schema.operations, schema.requests
    begun = sa.select(ops.c.request_id).where(ops.c.written_at >= micros(since))
    query = sa.select(requests.c.id, requests.c.identity).where(
        requests.c.kind == "offboard",
        sa.or_(requests.c.state.in_(_PENDING), requests.c.id.in_(begun)),
    )
    with ledger.database.read() as connection:
        rows = connection.execute(query).all()
    return len({row.identity for row in rows if row.id not in but})
