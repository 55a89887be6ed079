"""A person's word on what could not be found out: was it written or not?

Here: taking that word, with who gave it. Not here: finding out by reading (`applying`), which comes
first and always wins where it can tell.
"""

from __future__ import annotations

from enum import StrEnum

import sqlalchemy as sa

from entra_pipeline.provisioning.errors import TransitionError
from entra_pipeline.provisioning.ledger import rows, schema
from entra_pipeline.provisioning.ledger.rows import Filed
from entra_pipeline.provisioning.ledger.store import Ledger
from entra_pipeline.provisioning.ledger.writing import transaction
from entra_pipeline.provisioning.states import OperationState, RequestState
from entra_pipeline.provisioning.values import Identity, IdentityKind


class Word(StrEnum):
    """What a person found."""

    WRITTEN = "written"
    """It happened: what the request asked for is so."""
    NOT_WRITTEN = "not_written"
    """It did not happen: it is to be tried again."""
    GIVEN_UP = "given_up"
    """It did not happen, and is not to be tried again."""


_OPERATION = {
    Word.WRITTEN: OperationState.WRITTEN,
    Word.NOT_WRITTEN: OperationState.RETRYABLE,
    Word.GIVEN_UP: OperationState.REFUSED,
}


def resolve(ledger: Ledger, key: str, word: Word, by: Identity) -> Filed:
    """Take a person's word on an ambiguous request. TransitionError for one that is not."""
    if by.kind is IdentityKind.SYSTEM:
        raise TransitionError("a program cannot say what could not be found out")
    operations = schema.operations
    with transaction(ledger.database, ledger.clock()) as tx:
        (filed,) = rows.filed(tx.connection, [key])
        if filed.state is not RequestState.AMBIGUOUS:
            raise TransitionError(f"request {key} is {filed.state}: there is nothing to resolve")
        open_ones = tx.connection.execute(
            sa.select(operations.c.id, operations.c.state)
            .where(
                operations.c.request_id == key,
                operations.c.plan_hash == filed.plan_hash,
                operations.c.state.in_(
                    [
                        OperationState.AMBIGUOUS.value,
                        OperationState.PLANNED.value,
                        OperationState.RETRYABLE.value,
                    ]
                ),
            )
            .order_by(operations.c.position)
        ).all()
        left = False
        for row in open_ones:
            if row.state != OperationState.AMBIGUOUS.value:
                left = True
                continue
            state = _OPERATION[word]
            values = {"state": state.value, "changed_at": tx.now}
            if word is Word.WRITTEN:
                # Not known to be ours: an expiry takes back only what certainly is.
                values |= {"written_at": tx.now, "added": False}
            tx.update(operations, state.value, row.id, values, by=by.key)
        if word is Word.GIVEN_UP:
            to, reasons = RequestState.FAILED, [f"given up by {by.key}"]
        elif word is Word.NOT_WRITTEN or left:
            to, reasons = RequestState.APPROVED, []
        else:
            to, reasons = RequestState.DONE, []
        rows.move(tx, filed, to, reasons=reasons, by=by.key, due_at=tx.now)
        return rows.filed(tx.connection, [key])[0]
