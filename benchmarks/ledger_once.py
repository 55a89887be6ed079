"""A ledger of so many requests, and how long claiming and listing take in it.

Arguments: the file to make, and how many requests. A few of them wait to be carried out, filed,
planned and approved by the product; the rest have a past, copied row by row from one that was
carried out, with new ids, older than those. Said: the middle of several runs, in milliseconds.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.harness import median
from entra_pipeline.provisioning import canonical
from entra_pipeline.provisioning.actions import HANDLERS
from entra_pipeline.provisioning.ledger import Filed, Ledger, looking
from entra_pipeline.provisioning.ledger.confirming import Confirming
from entra_pipeline.provisioning.ledger.diverting import divert
from entra_pipeline.provisioning.ledger.work import Outcome, Work
from entra_pipeline.provisioning.plans import Action, Inverse, Operation, Plan
from entra_pipeline.provisioning.states import OperationState, RequestState
from entra_pipeline.provisioning.values import (
    Grant,
    GroupAccess,
    Identity,
    IdentityKind,
    Request,
    Tier,
)

TENANT = "7f7a8f6e-bd42-447b-b21c-a1ee1f88ea6d"
DUE = 500
CLAIMED = 20
RUNS = 9
_S = RequestState
ASKER = Identity(kind=IdentityKind.ENTRA, subject=str(uuid.UUID(int=1)))


def main(path: Path, count: int) -> dict[str, Any]:
    """Make it, then ask it."""
    began = time.perf_counter()
    with Ledger(path, TENANT) as ledger:
        _carried_out(ledger)
        _past(ledger, count - DUE)
        _approved(ledger, range(1, 1 + DUE))
        made = time.perf_counter() - began
        states = (_S.DONE, _S.FAILED)
        worker = Work(ledger, "measured")

        def claim() -> None:
            if len(worker.claim(CLAIMED)) != CLAIMED:
                raise RuntimeError("too few were to be claimed")

        asked: dict[str, Callable[[], object]] = {
            "claiming": claim,
            "what is due": lambda: looking.waiting(ledger),
            "setting aside": lambda: divert(ledger, "p" * 64, HANDLERS.keys()),
            "what is to be confirmed": lambda: Confirming(ledger).to_verify(500),
            "listing": lambda: looking.listed(ledger),
            "listing a common state": lambda: looking.listed(ledger, states=[_S.DONE]),
            "listing a rare state": lambda: looking.listed(ledger, states=[_S.REJECTED]),
            "listing two states": lambda: looking.listed(ledger, states=states),
            "finding by key": lambda: looking.latest_of_key(ledger, "past-7"),
            "listing a kind": lambda: looking.listed(ledger, kind="create_user"),
        }
        found = {what: _middle(ask) for what, ask in asked.items()}
    return {"ms": found, "made_s": made, "mib": path.stat().st_size / 2**20}


def _middle(ask: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        ask()
        times.append((time.perf_counter() - began) * 1000)
    return median(times)


def _approved(ledger: Ledger, numbers: range) -> list[Filed]:
    """Filed together, planned and approved."""
    filed = ledger.file(
        [
            Request(
                body=Grant(
                    principal_id=str(uuid.UUID(int=number)),
                    access=GroupAccess(group_id=str(uuid.UUID(int=10**6 + number))),
                ),
                asked_by=ASKER,
                reason="measured",
                idempotency_key=f"measured-{number:08}",
            )
            for number in numbers
        ]
    )
    operations = []
    for position, each in enumerate(filed):
        body = each.request.body
        assert isinstance(body, Grant)
        assert isinstance(body.access, GroupAccess)
        arguments = {"group_id": body.access.group_id, "segment": "users"}
        operations.append(
            Operation(
                position=position,
                request_id=each.id,
                action=Action.ADD_GROUP_MEMBER,
                identity=body.identity,
                target_id=body.access.group_id,
                principal_id=body.principal_id,
                arguments=arguments,
                tier=Tier.ORDINARY,
                inverse=Inverse(action=Action.REMOVE_GROUP_MEMBER, arguments=arguments),
            )
        )
    plan = Plan(
        tenant_id=TENANT,
        policy_hash="p" * 64,
        requests={e.id: canonical.digest(canonical.text(e.request.document())) for e in filed},
        operations=tuple(operations),
        approvals_needed=0,
    )
    return ledger.save_plan(filed[0].batch_id, plan)


def _carried_out(ledger: Ledger) -> None:
    """The one request that all of the past are copies of."""
    _approved(ledger, range(1))
    work = Work(ledger, "first")
    (claim,) = work.claim(1)
    (step,) = claim.steps
    attempts = work.begin([step])
    second = timedelta(seconds=1)
    written = {step.id: Outcome(OperationState.WRITTEN, added=True)}
    work.end(written, attempts, verify_in=timedelta(0), verify_for=second)
    work.settle(claim.filed.id, RequestState.WRITTEN)
    reads: dict[str, tuple[bool | None, str | None]] = {step.id: (True, None)}
    Confirming(ledger).verified(reads, needed=1, every=second)


# Some of every hundred failed. As many in any ledger, and the oldest: rejected, and accounts.
_STATE = "CASE WHEN n <= 100 THEN 'rejected' WHEN n % 100 = 7 THEN 'failed' ELSE state END"
_CHANGED = {
    "requests": {
        "id": "'req_00' || printf('%022d', n)",
        "idempotency_key": "'past-' || n",
        "state": _STATE,
        "kind": "CASE WHEN n BETWEEN 101 AND 200 THEN 'create_user' ELSE kind END",
        "filed_at": "filed_at - 1000000 * (:count - n)",
        "due_at": "due_at - 1000000 * (:count - n)",
        "changed_at": "changed_at - 1000000 * (:count - n)",
        "batch_id": "'batch_' || (n / 10)",
    },
    "operations": {
        "id": "'op_' || n",
        "request_id": "'req_00' || printf('%022d', n)",
        "written_at": "written_at - 1000000 * (:count - n)",
    },
    "attempts": {"id": "'attempt_' || n", "operation_id": "'op_' || n"},
    "verifications": {"id": "'read_' || n", "operation_id": "'op_' || n"},
    "audit": {"seq": "seq + n"},
}


def _past(ledger: Ledger, count: int) -> None:
    """Copies in the database itself: a million through the product would take an hour."""
    with ledger.database.write() as connection:
        for table, changed in _CHANGED.items():
            columns = [c.name for c in ledger_table(table).columns]
            values = ", ".join(changed.get(name, name) for name in columns)
            last = " WHERE seq = (SELECT max(seq) FROM audit)" if table == "audit" else ""
            connection.execute(
                sa.text(
                    f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers"
                    f" WHERE n < :count) INSERT INTO {table} ({', '.join(columns)})"
                    f" SELECT {values} FROM numbers, (SELECT * FROM {table}{last} LIMIT 1)"
                ),
                {"count": count},
            )
        # The chain goes on from the newest entry, as the audit's own head does.
        connection.execute(sa.text("UPDATE ledger SET audit_seq = (SELECT max(seq) FROM audit)"))


def ledger_table(name: str) -> sa.Table:
    """A table of the ledger."""
    from entra_pipeline.provisioning.ledger import schema

    return schema.metadata.tables[name]


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
