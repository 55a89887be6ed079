"""Operations of the ledger with what their plan says of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from entra_pipeline.provisioning.errors import LedgerError
from entra_pipeline.provisioning.ledger import schema
from entra_pipeline.provisioning.ledger.rows import MANY
from entra_pipeline.provisioning.ledger.schema import moment
from entra_pipeline.provisioning.plans import Operation, Plan, plan_of
from entra_pipeline.provisioning.states import OperationState


@dataclass(frozen=True)
class Step:
    """One operation of a claimed request, as the ledger has it."""

    id: str
    operation: Operation
    state: OperationState
    changed_at: datetime
    added: bool = False
    result: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 0


def as_step(row: Any, plan: Plan, attempts: int) -> Step:
    """A row of `operations` with its part of the plan."""
    return Step(
        id=row.id,
        operation=plan.operations[row.position],
        state=OperationState(row.state),
        changed_at=moment(row.changed_at),
        added=row.added,
        result={} if row.result is None else json.loads(row.result),
        attempts=attempts,
    )


def plans_by_hash(connection: sa.Connection, hashes: Iterable[str]) -> dict[str, Plan]:
    """Plans by hash. LedgerError when one is not what was approved."""
    table = schema.plans
    found = {}
    for row in connection.execute(
        sa.select(table.c.hash, table.c.document).where(table.c.hash.in_(list(hashes)))
    ):
        plan = plan_of(row.document)
        if plan.hash != row.hash:
            raise LedgerError(f"plan {row.hash} was changed in the ledger: run verify-audit")
        found[row.hash] = plan
    return found


def attempts_made(connection: sa.Connection, steps: Sequence[str]) -> dict[str, int]:
    """How often each operation was tried, by id."""
    attempts = schema.attempts
    found: dict[str, int] = {}
    for start in range(0, len(steps), MANY):
        query = (
            sa.select(attempts.c.operation_id, sa.func.max(attempts.c.number))
            .where(attempts.c.operation_id.in_(steps[start : start + MANY]))
            .group_by(attempts.c.operation_id)
        )
        found.update({row[0]: row[1] for row in connection.execute(query)})
    return found


def operation_rows(connection: sa.Connection, steps: Sequence[str]) -> dict[str, Any]:
    """Rows of `operations` by id."""
    operations = schema.operations
    found: dict[str, Any] = {}
    for start in range(0, len(steps), MANY):
        query = sa.select(operations).where(operations.c.id.in_(steps[start : start + MANY]))
        found.update({row.id: row for row in connection.execute(query)})
    return found
