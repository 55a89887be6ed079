"""What reads say of what was written, and grants whose end has come.

Absence is not failure: what was written shows only after a while. So an effect is confirmed by
several reads in a row that agree, and denied only once its time is over.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from entra_pipeline.provisioning.ledger import rows, schema
from entra_pipeline.provisioning.ledger.rows import Filed
from entra_pipeline.provisioning.ledger.schema import micros, moment
from entra_pipeline.provisioning.ledger.steps import Step, as_step, operation_rows, plans_by_hash
from entra_pipeline.provisioning.ledger.store import Ledger
from entra_pipeline.provisioning.ledger.writing import Transaction, transaction
from entra_pipeline.provisioning.states import OperationState, RequestState

_O = OperationState
_MOST_LATE: Final = 4
"""So many times the reads that have to agree are made after the deadline, at most."""


@dataclass(frozen=True)
class Check:
    """An operation whose effect is to be read now."""

    step: Step
    filed: Filed
    agreeing: int
    until: datetime


class Confirming:
    """What is to be read, and recording what was."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def to_verify(self, limit: int) -> list[Check]:
        """Operations whose effect is to be read now, the longest waiting first."""
        operations = schema.operations
        with self._ledger.database.read() as connection:
            now = micros(self._ledger.clock())
            due = connection.execute(
                sa.select(operations)
                .where(operations.c.verify_at.is_not(None), operations.c.verify_at <= now)
                .order_by(operations.c.verify_at)
                .limit(limit)
            ).all()
            keys = list({row.request_id for row in due})
            filed = {each.id: each for each in rows.filed(connection, keys)}
            plans = plans_by_hash(connection, {row.plan_hash for row in due})
        return [
            Check(
                as_step(row, plans[row.plan_hash], 0),
                filed[row.request_id],
                row.agreeing,
                moment(row.verify_until),
            )
            for row in due
        ]

    def verified(
        self, reads: Mapping[str, tuple[bool | None, str | None]], *, needed: int, every: timedelta
    ) -> dict[str, OperationState | None]:
        """Record what reads said: (agrees, detail) by step id; None: it could not be read.

        `needed` reads in a row that agree make an operation verified; until the deadline, one
        that disagrees only begins the row anew. After it, an operation has diverged when as
        many in a row contradict it, and is unverified when as many could not be had, or when
        reads go on to say now this and now that. When all of a request's operations are
        confirmed it is done. Gives the states that were reached.
        """
        operations = schema.operations
        reached: dict[str, OperationState | None] = {}
        with transaction(self._ledger.database, self._ledger.clock()) as tx:
            found = operation_rows(tx.connection, list(reads))
            tx.insert(
                schema.verifications,
                "read",
                [
                    {
                        "id": str(uuid.uuid4()),
                        "operation_id": key,
                        "at": tx.now,
                        "agrees": agrees,
                        "detail": detail,
                    }
                    for key, (agrees, detail) in reads.items()
                    if found[key].verify_at is not None
                ],
            )
            touched = set()
            for key, (agrees, _) in reads.items():
                row = found[key]
                if row.verify_at is None:
                    continue  # another worker was faster
                agreeing = row.agreeing + 1 if agrees else (row.agreeing if agrees is None else 0)
                state = None
                if agreeing >= needed:
                    state = _O.VERIFIED
                elif tx.now >= row.verify_until and not agrees:
                    # What agrees is read to the end: nobody may have been there to read before.
                    state = _denied(tx.connection, key, row.verify_until, needed)
                values: dict[str, Any] = {"agreeing": agreeing}
                if state is None:
                    values["verify_at"] = tx.now + every // timedelta(microseconds=1)
                else:
                    values |= {"verify_at": None, "state": state.value, "changed_at": tx.now}
                tx.update(operations, "read" if state is None else state.value, key, values)
                reached[key] = state
                if state is not None:
                    touched.add(row.request_id)
            for key in sorted(touched):
                conclude(tx, key)
        return reached

    # ---- what ends -----------------------------------------------------------------------------

    def expiring(self, limit: int) -> list[Filed]:
        """Grants that were given and whose end has come, not yet being taken back."""
        requests = schema.requests
        given = [RequestState.WRITTEN.value, RequestState.DONE.value, RequestState.DIVERGED.value]
        with self._ledger.database.read() as connection:
            now = micros(self._ledger.clock())
            keys = connection.execute(
                sa.select(requests.c.id)
                .where(schema.expired(now, given))
                .order_by(requests.c.expires_at)
                .limit(limit)
            ).scalars()
            return rows.filed(connection, list(keys))

    def ended_by(self, key: str, ending: str, *, taken_back: bool = True) -> None:
        """Note which request takes a grant back; only the first is kept.

        `taken_back`: False when nothing is, because our write added nothing.
        """
        requests = schema.requests
        with transaction(self._ledger.database, self._ledger.clock()) as tx:
            (filed,) = rows.filed(tx.connection, [key])
            if filed.ended_by is None:
                values = {"ended_by": ending, "changed_at": tx.now}
                tx.update(requests, "ending", key, values, by=ending)
                if taken_back and filed.state is RequestState.WRITTEN:
                    self._unconfirmed(tx, filed)

    @staticmethod
    def _unconfirmed(tx: Transaction, filed: Filed) -> None:
        """Stop reading for what is about to be taken back: reads will contradict it from now on."""
        operations = schema.operations
        for step in tx.connection.execute(
            sa.select(operations.c.id).where(
                operations.c.request_id == filed.id, operations.c.verify_at.is_not(None)
            )
        ).scalars():
            values = {"verify_at": None, "state": _O.UNVERIFIED.value, "changed_at": tx.now}
            tx.update(operations, _O.UNVERIFIED.value, step, values)
        reasons = ["it ended before reads had confirmed it"]
        rows.move(tx, filed, RequestState.DONE, reasons=reasons)


def conclude(tx: Transaction, key: str) -> None:
    """Have a written request be done, or diverged, once reads have ended for all its operations."""
    operations = schema.operations
    (filed,) = rows.filed(tx.connection, [key])
    if filed.state is not RequestState.WRITTEN:
        return  # whoever still works on it concludes when it is written
    states = {
        OperationState(state)
        for state in tx.connection.execute(
            sa.select(operations.c.state).where(
                operations.c.request_id == key, operations.c.plan_hash == filed.plan_hash
            )
        ).scalars()
    }
    if states <= {_O.VERIFIED, _O.SKIPPED}:
        rows.move(tx, filed, RequestState.DONE)
    elif states <= {_O.VERIFIED, _O.DIVERGED, _O.UNVERIFIED, _O.SKIPPED}:
        reasons = ["reads show something else than was written: see `show`"]
        if _O.DIVERGED not in states:
            reasons = ["reads did not confirm what was written in time: see `show`"]
        rows.move(tx, filed, RequestState.DIVERGED, reasons=reasons)


def _denied(connection: sa.Connection, key: str, until: int, needed: int) -> OperationState | None:
    """What reads have come to once their time is over; None: one or two more may tell.

    One replica that is still behind is not proof either: denials have to agree as much as
    confirmations do.
    """
    table = schema.verifications
    rows = connection.execute(
        sa.select(table.c.at, table.c.agrees)
        .where(table.c.operation_id == key)
        .order_by(table.c.at.desc())
        .limit(_MOST_LATE * needed)
    ).all()
    said = [row.agrees for row in rows if row.agrees is not None][:needed]
    if len(said) == needed and not any(said):
        return _O.DIVERGED
    if len(rows) >= needed and all(row.agrees is None for row in rows[:needed]):
        return _O.UNVERIFIED
    late = sum(row.at >= until for row in rows)
    return _O.UNVERIFIED if late >= _MOST_LATE * needed else None
