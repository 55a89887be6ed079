"""Work on approved requests: who does it, what was tried, and what came of it.

Belongs here: claiming, the durable steps around each write, and what a crash leaves. Does not
belong here: confirmation and endings (`confirming`), and any call to Graph.

A worker holds a request for a while (its lease), which it renews. Whoever's lease has ended writes
nothing any more: every step checks it in the transaction that records the step.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from entra_pipeline.provisioning import canonical
from entra_pipeline.provisioning.errors import LedgerError, TransitionError
from entra_pipeline.provisioning.ledger import rows, schema
from entra_pipeline.provisioning.ledger.confirming import conclude
from entra_pipeline.provisioning.ledger.rows import MANY, Filed
from entra_pipeline.provisioning.ledger.schema import micros
from entra_pipeline.provisioning.ledger.steps import (
    Step,
    as_step,
    attempts_made,
    operation_rows,
    plans_by_hash,
)
from entra_pipeline.provisioning.ledger.store import Ledger
from entra_pipeline.provisioning.ledger.writing import Transaction, transaction
from entra_pipeline.provisioning.plans import Plan
from entra_pipeline.provisioning.states import (
    OPERATION_MOVES,
    OperationState,
    RequestState,
)

LEASE: Final = timedelta(minutes=5)
_O = OperationState
_LOOK_AHEAD: Final = 8
"""So many times more candidates than wanted are looked at, because some are another's."""


class LostClaimError(LedgerError):
    """Another worker has the request by now: whoever gets this must not write."""


@dataclass(frozen=True)
class Claim:
    """A request that this worker alone may carry out, until its lease ends."""

    worker: str
    filed: Filed
    plan: Plan
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Outcome:
    """What came of one attempt: the operation's state from then on, and why.

    `added`: our write made it so. `result`: what later steps need (such as an id that Graph gave);
    never a secret, never personal data. `soon`: what is to be tried again needs no waiting;
    `wait`: it needs more than usual.
    """

    state: OperationState
    detail: str | None = None
    added: bool = False
    result: Mapping[str, Any] | None = None
    soon: bool = False
    wait: timedelta | None = None


class Work:
    """The work of one worker, known by a name of its own."""

    def __init__(self, ledger: Ledger, worker: str, *, lease: timedelta = LEASE) -> None:
        self._ledger = ledger
        self.worker = worker
        self._lease = lease

    # ---- claiming ------------------------------------------------------------------------------

    def claim(self, limit: int) -> list[Claim]:
        """Requests whose time has come, to be carried out by this worker alone; at most `limit`.

        What takes back comes before what gives. A request that touches an object that another
        worker is changing waits; so does a tier-0 request while another one runs.
        """
        requests, operations = schema.requests, schema.operations
        with transaction(self._ledger.database, self._ledger.clock()) as tx:
            self._recover(tx)
            busy, tier0 = self._busy(tx)
            candidates = tx.connection.execute(
                sa.select(requests)
                .where(requests.c.state == RequestState.APPROVED.value, requests.c.due_at <= tx.now)
                .order_by(requests.c.rank, requests.c.due_at, requests.c.id)
                .limit(limit * _LOOK_AHEAD)
            ).all()
            targets: dict[str, set[str]] = {}
            if candidates:
                for row in tx.connection.execute(
                    sa.select(operations.c.request_id, operations.c.target_id)
                    .join(requests, requests.c.id == operations.c.request_id)
                    .where(
                        operations.c.plan_hash == requests.c.plan_hash,
                        requests.c.id.in_([row.id for row in candidates]),
                    )
                ):
                    targets.setdefault(row.request_id, set()).add(row.target_id)
            taken: list[str] = []
            for row in candidates:
                if len(taken) == limit:
                    break
                if busy & targets.get(row.id, set()) or (row.tier == 0 and tier0):
                    continue
                tier0 = tier0 or row.tier == 0
                # The condition is what makes it ours alone, whoever else looks at this moment.
                done = tx.connection.execute(
                    requests.update()
                    .where(requests.c.id == row.id, requests.c.state == RequestState.APPROVED.value)
                    .values(
                        state=RequestState.RUNNING.value,
                        claimed_by=self.worker,
                        claimed_until=tx.now + self._micros(),
                        changed_at=tx.now,
                    )
                )
                if done.rowcount == 1:
                    content = {"from": "approved", "to": "running", "worker": self.worker}
                    tx.tell("running", requests, row.id, content)
                    taken.append(row.id)
            return self._claims(tx.connection, taken)

    def _busy(self, tx: Transaction) -> tuple[set[str], bool]:
        """The objects that other workers may be changing, and whether a tier-0 request runs."""
        requests, operations = schema.requests, schema.operations
        running = requests.c.state == RequestState.RUNNING.value
        targets = tx.connection.execute(
            sa.select(operations.c.target_id)
            .join(requests, requests.c.id == operations.c.request_id)
            .where(
                running,
                requests.c.claimed_by != self.worker,
                operations.c.plan_hash == requests.c.plan_hash,
                operations.c.target_id.is_not(None),
            )
            .distinct()
        )
        tier0 = tx.connection.execute(
            sa.select(sa.func.count()).select_from(requests).where(running, requests.c.tier == 0)
        ).scalar_one()
        return {row.target_id for row in targets}, tier0 > 0

    def renew(self, ids: Iterable[str]) -> None:
        """Hold requests for another lease. LostClaimError if one is another's by now."""
        with transaction(self._ledger.database, self._ledger.clock()) as tx:
            self._hold(tx, set(ids))

    def _hold(self, tx: Transaction, ids: set[str]) -> None:
        requests = schema.requests
        keys = sorted(ids)
        done = 0
        for start in range(0, len(keys), MANY):
            done += tx.connection.execute(
                requests.update()
                .where(requests.c.id.in_(keys[start : start + MANY]), *self._ours(tx))
                .values(claimed_until=tx.now + self._micros())
            ).rowcount
        if done != len(keys):
            raise LostClaimError(f"{len(keys) - done} of {len(keys)} requests are another's by now")

    def _ours(self, tx: Transaction) -> tuple[sa.ColumnElement[bool], ...]:
        """The conditions of what this worker holds."""
        requests = schema.requests
        return (
            requests.c.claimed_by == self.worker,
            requests.c.claimed_until > tx.now,
            requests.c.state == RequestState.RUNNING.value,
        )

    def _recover(self, tx: Transaction) -> None:
        """What workers left that are gone: running requests become approved again.

        An operation whose write had begun is ambiguous from then on: it is found out by reading.
        """
        requests, operations = schema.requests, schema.operations
        left = tx.connection.execute(
            sa.select(requests.c.id, requests.c.plan_hash, requests.c.claimed_by).where(
                requests.c.state == RequestState.RUNNING.value, requests.c.claimed_until <= tx.now
            )
        ).all()
        for row in left:
            begun = tx.connection.execute(
                sa.select(operations.c.id).where(
                    operations.c.request_id == row.id,
                    operations.c.plan_hash == row.plan_hash,
                    operations.c.state == _O.WRITING.value,
                )
            ).scalars()
            for key in begun.all():
                values = {"state": _O.AMBIGUOUS.value, "changed_at": tx.now}
                tx.update(operations, "ambiguous", key, values, left_by=row.claimed_by)
            values = {
                "state": RequestState.APPROVED.value,
                "claimed_by": None,
                "claimed_until": None,
                "changed_at": tx.now,
            }
            tx.update(requests, "left", row.id, values, worker=row.claimed_by)

    # ---- around a write ------------------------------------------------------------------------

    def begin(self, steps: Sequence[Step]) -> dict[str, str]:
        """Say, durably, that these operations are about to be written; step to attempt id.

        An attempt's id is also what the call tells Graph as `client-request-id`. LostClaimError
        when a request is another worker's by now: then nothing may be written.
        """
        operations = schema.operations
        attempts = {step.id: str(uuid.uuid4()) for step in steps}
        with transaction(self._ledger.database, self._ledger.clock()) as tx:
            self._hold(tx, {step.operation.request_id for step in steps})
            self._move(tx, {step.id: _O.WRITING for step in steps})
            numbers = attempts_made(tx.connection, list(attempts))
            for step in steps:
                tx.tell("writing", operations, step.id)
            tx.insert(
                schema.attempts,
                "begun",
                [
                    {
                        "id": attempt,
                        "operation_id": step,
                        "number": numbers.get(step, 0) + 1,
                        "worker": self.worker,
                        "began_at": tx.now,
                        "ended_at": None,
                        "outcome": None,
                        "detail": None,
                    }
                    for step, attempt in attempts.items()
                ],
            )
        return attempts

    def end(
        self,
        outcomes: Mapping[str, Outcome],
        attempts: Mapping[str, str],
        *,
        verify_in: timedelta | None = None,
        verify_for: timedelta = timedelta(0),
    ) -> None:
        """Say what came of operations (by step id), and of the attempts where there was one.

        `verify_in`: when what was written, or was so already, is read for the first time;
        `verify_for`: for how long it may take to show.
        """
        operations = schema.operations
        with transaction(self._ledger.database, self._ledger.clock()) as tx:
            self._move(tx, {step: outcome.state for step, outcome in outcomes.items()})
            for step, outcome in outcomes.items():
                values: dict[str, Any] = {}
                if outcome.state in (_O.WRITTEN, _O.ALREADY):
                    values |= {"added": outcome.added}
                    if outcome.state is _O.WRITTEN:
                        values["written_at"] = tx.now
                    if verify_in is not None:
                        values["verify_at"] = tx.now + verify_in // timedelta(microseconds=1)
                        values["verify_until"] = tx.now + verify_for // timedelta(microseconds=1)
                if outcome.result is not None:
                    values["result"] = canonical.text(outcome.result)
                if values:
                    tx.connection.execute(
                        operations.update().where(operations.c.id == step).values(**values)
                    )
                content = {} if outcome.detail is None else {"detail": outcome.detail}
                tx.tell(outcome.state.value, operations, step, content)
                if (attempt := attempts.get(step)) is not None:
                    tx.update(
                        schema.attempts,
                        "ended",
                        attempt,
                        {
                            "ended_at": tx.now,
                            "outcome": outcome.state.value,
                            "detail": outcome.detail,
                        },
                    )

    def settle(self, key: str, state: RequestState, reasons: Sequence[str] = ()) -> Filed:
        """Let go of a request, in the state that it has come to.

        LostClaimError when it is another worker's by now.
        """
        if self.settle_all({key: (state, reasons)}):
            raise LostClaimError(f"request {key} is another's by now")
        with self._ledger.database.read() as connection:
            return rows.filed(connection, [key])[0]

    def settle_all(self, ends: Mapping[str, tuple[RequestState, Sequence[str]]]) -> set[str]:
        """Let go of requests, each in the state that it has come to, with its reasons.

        In one transaction, for each of its own would have to reach the disk. Those that are
        another worker's by now stay as they are, and are told.
        """
        requests = schema.requests
        with transaction(self._ledger.database, self._ledger.clock()) as tx:
            ours: set[str] = set()
            keys = sorted(ends)
            for start in range(0, len(keys), MANY):
                query = sa.select(requests.c.id).where(
                    requests.c.id.in_(keys[start : start + MANY]), *self._ours(tx)
                )
                ours |= set(tx.connection.execute(query).scalars())
            for filed in rows.filed(tx.connection, sorted(ours)):
                state, reasons = ends[filed.id]
                free = {"claimed_by": None, "claimed_until": None}
                rows.move(tx, filed, state, reasons=reasons, **free)
                # Another worker may have confirmed all of it before this one was through.
                conclude(tx, filed.id)
        return set(ends) - ours

    def postpone(self, key: str, until: datetime, reasons: Sequence[str] = ()) -> None:
        """Let go of a request that may be tried again from then on; `reasons` for people."""
        requests = schema.requests
        with transaction(self._ledger.database, self._ledger.clock()) as tx:
            self._hold(tx, {key})
            values = {
                "state": RequestState.APPROVED.value,
                "reasons": canonical.text(list(reasons)),
                "due_at": micros(until),
                "claimed_by": None,
                "claimed_until": None,
                "changed_at": tx.now,
            }
            tx.update(requests, "postponed", key, values)

    # ---- rows ----------------------------------------------------------------------------------

    def steps(self, key: str) -> tuple[Step, ...]:
        """The operations of a request's current plan, in order."""
        with self._ledger.database.read() as connection:
            claims = self._claims(connection, [key])
        return claims[0].steps if claims else ()

    def _claims(self, connection: sa.Connection, keys: Sequence[str]) -> list[Claim]:
        filed = rows.filed(connection, keys)
        plans = plans_by_hash(connection, {each.plan_hash for each in filed if each.plan_hash})
        found: dict[str, list[Any]] = {}
        operations = schema.operations
        for start in range(0, len(keys), MANY):
            for row in connection.execute(
                sa.select(operations)
                .where(operations.c.request_id.in_(keys[start : start + MANY]))
                .order_by(operations.c.request_id, operations.c.position)
            ):
                found.setdefault(row.request_id, []).append(row)
        numbers = attempts_made(connection, [row.id for part in found.values() for row in part])
        return [
            Claim(
                self.worker,
                each,
                plans[each.plan_hash],
                tuple(
                    as_step(row, plans[each.plan_hash], numbers.get(row.id, 0))
                    for row in found.get(each.id, [])
                    if row.plan_hash == each.plan_hash
                ),
            )
            for each in filed
            if each.plan_hash
        ]

    def _move(self, tx: Transaction, states: Mapping[str, OperationState]) -> None:
        """New states of operations; whoever calls tells the audit."""
        operations = schema.operations
        before = operation_rows(tx.connection, list(states))
        by_state: dict[OperationState, list[str]] = {}
        for key, state in states.items():
            was = OperationState(before[key].state)
            if state not in OPERATION_MOVES.get(was, frozenset()):
                raise TransitionError(f"operation {key} is {was}: it cannot become {state}")
            by_state.setdefault(state, []).append(key)
        for state, keys in by_state.items():
            for start in range(0, len(keys), MANY):
                tx.connection.execute(
                    operations.update()
                    .where(operations.c.id.in_(keys[start : start + MANY]))
                    .values(state=state.value, changed_at=tx.now)
                )

    def _micros(self) -> int:
        return self._lease // timedelta(microseconds=1)
