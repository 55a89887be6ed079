"""Setting aside what cannot be read, so that it holds up nothing behind it.

A row that another program wrote, or that was changed by hand, must not keep a worker from the rest.
Here: finding such requests among those whose turn it is, and saying why. And among the approved:
those whose plan was made under another policy than today's, which are to be planned again, and
grants whose end has passed, which are not to be given any more.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from entra_pipeline.provisioning import canonical
from entra_pipeline.provisioning.ledger import schema
from entra_pipeline.provisioning.ledger.store import Ledger
from entra_pipeline.provisioning.ledger.writing import Transaction, transaction
from entra_pipeline.provisioning.plans import FORMAT, Action, plan_of
from entra_pipeline.provisioning.states import OperationState, RequestState
from entra_pipeline.provisioning.values import Request

_LOOKED_AT = 2_000


def divert(ledger: Ledger, policy_hash: str, known: Collection[Action]) -> dict[str, str]:
    """Set aside what is due and cannot be carried out as it stands; reasons by request id.

    `known`: the kinds of writes that this program has.
    """
    requests = schema.requests
    with transaction(ledger.database, ledger.clock()) as tx:
        rows = tx.connection.execute(
            sa.select(
                requests.c.id,
                requests.c.document,
                requests.c.plan_hash,
                requests.c.expires_at,
            )
            .where(
                requests.c.state == RequestState.APPROVED.value,
                requests.c.due_at <= tx.now,
            )
            .order_by(requests.c.rank, requests.c.due_at, requests.c.id)
            .limit(_LOOKED_AT)
        ).all()
        found: dict[str, str] = {}
        judged = {
            each: _plan(tx, each, known) for each in dict.fromkeys(row.plan_hash for row in rows)
        }
        for row in rows:
            malformed, made_under = judged[row.plan_hash]
            malformed = malformed or _malformed(row.document)
            if malformed is not None:
                _move(tx, row.id, RequestState.MALFORMED, malformed)
                found[row.id] = malformed
                continue
            stale = None
            if made_under != policy_hash:
                stale = "the policy has changed since it was planned: plan it again"
            if row.expires_at is not None and row.expires_at <= tx.now:
                stale = "its end has passed before it was given"
            if stale is not None and not _begun(tx, row):
                _move(tx, row.id, RequestState.STALE, stale)
                found[row.id] = stale
        found |= _under_way(tx)
        return found


def _under_way(tx: Transaction) -> dict[str, str]:
    """Set aside what was carried out, cannot be read any more, and would have to be now."""
    requests, operations = schema.requests, schema.operations
    state = requests.c.state
    given = [RequestState.DONE.value, RequestState.DIVERGED.value]
    found = {}
    for condition in (
        sa.and_(state == RequestState.RUNNING.value, requests.c.claimed_until <= tx.now),
        state == RequestState.WRITTEN.value,
        schema.expired(tx.now, given),
    ):
        query = sa.select(requests.c.id, requests.c.document).where(condition).limit(_LOOKED_AT)
        for row in tx.connection.execute(query).all():
            if (malformed := _malformed(row.document)) is None:
                continue
            reason = f"{malformed}; what it wrote is neither confirmed nor taken back by itself"
            _move(tx, row.id, RequestState.MALFORMED, reason)
            for step in tx.connection.execute(
                sa.select(operations.c.id).where(
                    operations.c.request_id == row.id, operations.c.verify_at.is_not(None)
                )
            ).scalars():
                values = {"verify_at": None, "changed_at": tx.now}
                tx.update(operations, "set_aside", step, values)
            found[row.id] = reason
    return found


@functools.lru_cache(maxsize=2 * _LOOKED_AT)
def _malformed(document: str) -> str | None:
    """What is wrong with a request; once for the same text, as it is looked at in every round."""
    try:
        Request.model_validate_json(document)
    except ValidationError as error:
        places = {".".join(map(str, each["loc"])) or "request" for each in error.errors()}
        return f"the request cannot be read: {', '.join(sorted(places))}"
    return None


def _plan(
    tx: Transaction, plan_hash: str | None, known: Collection[Action]
) -> tuple[str | None, str | None]:
    """What is wrong with a plan, and the policy that it was made under."""
    plans = schema.plans
    document = tx.connection.execute(
        sa.select(plans.c.document).where(plans.c.hash == plan_hash)
    ).scalar()
    if document is None:
        return "it was approved without a plan", None
    try:
        plan = plan_of(document)
    except ValidationError:
        return "its plan cannot be read by this version", None
    if plan.hash != plan_hash:
        return "its plan is not the one that was approved: run verify-audit", None
    if plan.format != FORMAT:
        return f"its plan is of format {plan.format}, this version carries out {FORMAT}", None
    if unknown := sorted({each.action for each in plan.operations} - set(known)):
        return f"this version cannot carry out {', '.join(unknown)}", None
    return None, plan.policy_hash


def _begun(tx: Transaction, row: Any) -> bool:
    operations = schema.operations
    return (
        tx.connection.execute(
            sa.select(operations.c.id)
            .where(
                operations.c.request_id == row.id,
                operations.c.plan_hash == row.plan_hash,
                operations.c.state != OperationState.PLANNED.value,
            )
            .limit(1)
        ).scalar()
        is not None
    )


def _move(tx: Transaction, key: str, state: RequestState, reason: str) -> None:
    values = {
        "state": state.value,
        "reasons": canonical.text([reason]),
        "changed_at": tx.now,
    }
    tx.update(schema.requests, state.value, key, values)
