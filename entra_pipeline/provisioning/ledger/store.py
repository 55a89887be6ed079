"""The ledger: what was asked for, planned, approved, done and confirmed.

Here: filing, planning, approving, cancelling, and looking things up. Not here: the work on approved
requests (`work`), and whether something should be allowed (`guards`, `policy`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import sqlalchemy as sa

from entra_pipeline.provisioning import canonical
from entra_pipeline.provisioning.errors import (
    LedgerError,
    NotFoundError,
    RequestError,
    TransitionError,
)
from entra_pipeline.provisioning.ledger import reviewing, rows, schema
from entra_pipeline.provisioning.ledger.database import Database, sqlite_url
from entra_pipeline.provisioning.ledger.rows import Approval, Filed
from entra_pipeline.provisioning.ledger.schema import micros
from entra_pipeline.provisioning.ledger.writing import Transaction, transaction
from entra_pipeline.provisioning.plans import Plan, plan_of
from entra_pipeline.provisioning.states import OperationState, RequestState
from entra_pipeline.provisioning.values import Identity, IdentityKind, Request, Source, Tier

LARGEST_BATCH: Final = 10_000
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class Ledger:
    """The ledger of one tenant. Safe for many threads and processes. Close it when done.

    `url`: a database's, or the path of a SQLite file. Raises LedgerError where it cannot be opened
    or is another tenant's.
    """

    def __init__(self, url: str | Path, tenant_id: str, *, clock: Clock = utc_now) -> None:
        if isinstance(url, Path):
            url = sqlite_url(url)
        self.tenant_id = tenant_id.lower()
        self.database = Database(url, tenant_id)
        self.clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    # ---- filing --------------------------------------------------------------------------------

    def file(self, requests: Sequence[Request]) -> list[Filed]:
        """File requests as one batch, to be planned and approved together.

        Filing the same again (the same idempotency key and content) gives what was filed the first
        time. The same key with other content is a RequestError, and nothing is filed.
        """
        keys = [request.idempotency_key for request in requests]
        if not 0 < len(keys) <= LARGEST_BATCH:
            raise RequestError(f"a batch has 1 to {LARGEST_BATCH} requests, this one {len(keys)}")
        if len(set(keys)) != len(keys):
            raise RequestError("two requests of a batch have the same idempotency key")
        table = schema.requests
        with transaction(self.database, self.clock()) as tx:
            known = {
                row.idempotency_key: row
                for row in tx.connection.execute(
                    sa.select(table).where(table.c.idempotency_key.in_(keys))
                )
            }
            batch = rows.new_id("batch", tx.now)
            new, ids = [], []
            for request in requests:
                document = canonical.text(request.document())
                if (earlier := known.get(request.idempotency_key)) is not None:
                    if earlier.document != document:
                        raise RequestError(
                            f"idempotency key {request.idempotency_key} was used for {earlier.id},"
                            " which asks for something else: give this request a key of its own"
                        )
                    ids.append(earlier.id)
                    continue
                ids.append(rows.new_id("req", tx.now, len(ids)))
                new.append(self._row(ids[-1], batch, request, document, tx.now))
            tx.insert(table, "filed", new)
            return rows.filed(tx.connection, ids)

    def _row(
        self, key: str, batch: str, request: Request, document: str, now: int
    ) -> dict[str, Any]:
        begins = None if request.not_before is None else micros(request.not_before)
        return {
            "id": key,
            "kind": request.kind,
            "identity": request.body.identity,
            "state": RequestState.FILED.value,
            "document": document,
            "reasons": "[]",
            "source": request.source.value,
            "asked_by": request.asked_by.key,
            "idempotency_key": request.idempotency_key,
            "batch_id": batch,
            "plan_hash": None,
            "tier": None,
            "filed_at": now,
            "not_before": begins,
            "expires_at": None if request.expires_at is None else micros(request.expires_at),
            "rank": 0 if request.source is Source.EXPIRY else 1,
            "due_at": now if begins is None else max(now, begins),
            "ended_by": None,
            "changed_at": now,
        }

    # ---- looking up ----------------------------------------------------------------------------

    def request(self, key: str) -> Filed:
        """One request. NotFoundError if there is none of that id."""
        with self.database.read() as connection:
            return rows.filed(connection, [key])[0]

    def batch(self, batch_id: str) -> list[Filed]:
        """The requests that were filed together."""
        with self.database.read() as connection:
            query = sa.select(schema.requests).where(schema.requests.c.batch_id == batch_id)
            return [rows.as_filed(row) for row in connection.execute(query.order_by("id"))]

    def requests(
        self,
        *,
        states: Iterable[RequestState] = (),
        kind: str | None = None,
        source: Source | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[Filed]:
        """The latest requests first; `before`: older than that one, to page on."""
        table = schema.requests
        query = sa.select(table).order_by(table.c.id.desc()).limit(limit)
        if chosen := [state.value for state in states]:
            query = query.where(table.c.state.in_(chosen))
        if kind is not None:
            query = query.where(table.c.kind == kind)
        if source is not None:
            query = query.where(table.c.source == source.value)
        if before is not None:
            query = query.where(table.c.id < before)
        with self.database.read() as connection:
            return [rows.as_filed(row) for row in connection.execute(query)]

    def plan(self, plan_hash: str) -> Plan:
        """The plan of that hash; a beginning of at least eight characters that is one plan's will
        do. NotFoundError if there is none, or several."""
        table = schema.plans
        with self.database.read() as connection:
            found = connection.execute(
                sa.select(table.c.hash, table.c.document)
                .where(table.c.hash.startswith(plan_hash, autoescape=True))
                .limit(2)
            ).all()
        if len(plan_hash) < 8 or len(found) != 1:
            what = "several plans begin" if len(found) > 1 else "no plan begins"
            raise NotFoundError(f"{what} with {plan_hash!r}: give the whole hash of the plan")
        plan = plan_of(found[0].document)
        if plan.hash != found[0].hash:
            raise LedgerError(f"plan {found[0].hash} was changed in the ledger: run verify-audit")
        return plan

    def approvals(self, plan_hash: str) -> list[Approval]:
        """What was said of a plan, the earliest first."""
        table = schema.approvals
        with self.database.read() as connection:
            query = sa.select(table).where(table.c.plan_hash == plan_hash).order_by(table.c.at)
            return [rows.as_approval(row) for row in connection.execute(query)]

    # ---- planning ------------------------------------------------------------------------------

    def save_plan(self, batch_id: str, plan: Plan) -> list[Filed]:
        """Keep the plan of a batch's requests; they wait for its approvals, if it needs any.

        Made again with the same outcome, it is the same plan, and its approvals stand.
        """
        if plan.tenant_id != self.tenant_id:
            raise LedgerError(f"the plan is for tenant {plan.tenant_id}, not {self.tenant_id}")
        with transaction(self.database, self.clock()) as tx:
            found = rows.filed(tx.connection, list(plan.requests))
            for filed in found:
                document = canonical.digest(canonical.text(filed.request.document()))
                if plan.requests[filed.id] != document or filed.batch_id != batch_id:
                    raise LedgerError(f"the plan was not made of request {filed.id} as it is")
            self._keep(tx, batch_id, plan)
            approved = self._is_approved(tx.connection, plan.hash, plan.approvals_needed)
            state = RequestState.APPROVED if approved else RequestState.PLANNED
            tiers: dict[str, int] = {}
            for operation in plan.operations:
                tiers[operation.request_id] = min(
                    operation.tier, tiers.get(operation.request_id, Tier.ORDINARY)
                )
            for filed in found:
                rows.move(
                    tx,
                    filed,
                    RequestState.PLANNED,
                    reasons=(),
                    plan_hash=plan.hash,
                    tier=int(tiers.get(filed.id, Tier.ORDINARY)),
                )
                if state is RequestState.APPROVED:
                    rows.move(tx, rows.filed(tx.connection, [filed.id])[0], state)
            if state is RequestState.APPROVED:
                reviewing.open_for(tx, found)
            return rows.filed(tx.connection, list(plan.requests))

    def _keep(self, tx: Transaction, batch_id: str, plan: Plan) -> None:
        if tx.connection.execute(
            sa.select(schema.plans.c.hash).where(schema.plans.c.hash == plan.hash)
        ).scalar():
            return
        tx.insert(
            schema.plans,
            "planned",
            [
                {
                    "hash": plan.hash,
                    "batch_id": batch_id,
                    "document": canonical.text(plan.document()),
                    "approvals_needed": plan.approvals_needed,
                    "made_at": tx.now,
                }
            ],
        )
        tx.insert(
            schema.operations,
            "planned",
            [
                {
                    "id": f"{plan.hash[:24]}-{operation.position}",
                    "request_id": operation.request_id,
                    "plan_hash": plan.hash,
                    "position": operation.position,
                    "action": operation.action.value,
                    "identity": operation.identity,
                    "target_id": operation.target_id,
                    "state": OperationState.PLANNED.value,
                    "tier": int(operation.tier),
                    "added": False,
                    "result": None,
                    "written_at": None,
                    "verify_at": None,
                    "verify_until": None,
                    "agreeing": 0,
                    "changed_at": tx.now,
                }
                for operation in plan.operations
            ],
        )

    def refuse(self, reasons: Mapping[str, Sequence[str]]) -> list[Filed]:
        """Have requests refused, each with its reasons; they may be planned again."""
        with transaction(self.database, self.clock()) as tx:
            for filed in rows.filed(tx.connection, list(reasons)):
                rows.move(tx, filed, RequestState.REFUSED, reasons=reasons[filed.id])
            return rows.filed(tx.connection, list(reasons))

    # ---- people --------------------------------------------------------------------------------

    def approve(self, plan_hash: str, by: Identity, note: str | None = None) -> list[Filed]:
        """Approve a plan. Once it has the approvals that it needs, its requests may run.

        The same somebody approving twice counts once. TransitionError when none of its requests
        waits for approval.
        """
        return self._verdict(plan_hash, by, "approve", note)

    def reject(self, plan_hash: str, by: Identity, note: str | None = None) -> list[Filed]:
        """Reject a plan: its requests have ended."""
        return self._verdict(plan_hash, by, "reject", note)

    def _verdict(self, plan_hash: str, by: Identity, verdict: str, note: str | None) -> list[Filed]:
        if by.kind is IdentityKind.SYSTEM:
            raise TransitionError("a program approves nothing")
        table = schema.requests
        with transaction(self.database, self.clock()) as tx:
            plan = tx.connection.execute(
                sa.select(schema.plans).where(schema.plans.c.hash == plan_hash)
            ).one_or_none()
            if plan is None:
                raise NotFoundError(f"there is no plan {plan_hash}: `plan` prints the hash")
            found = tx.connection.execute(
                sa.select(table).where(table.c.plan_hash == plan_hash).order_by(table.c.id)
            ).all()
            waiting = [r for r in map(rows.as_filed, found) if r.state is RequestState.PLANNED]
            if not waiting:
                states = sorted({str(row.state) for row in found}) or ["of another plan by now"]
                raise TransitionError(
                    f"plan {plan_hash[:12]} does not wait for approval: its requests are "
                    f"{', '.join(states)}"
                )
            tx.insert(
                schema.approvals,
                verdict,
                [
                    {
                        "id": rows.new_id("appr", tx.now),
                        "plan_hash": plan_hash,
                        "verdict": verdict,
                        "identity_kind": by.kind.value,
                        "subject": by.subject,
                        "machine": by.machine,
                        "note": note,
                        "at": tx.now,
                    }
                ],
            )
            if verdict == "reject":
                for filed in waiting:
                    rows.move(tx, filed, RequestState.REJECTED, reasons=[note] if note else [])
            elif self._is_approved(tx.connection, plan_hash, plan.approvals_needed):
                for filed in waiting:
                    rows.move(tx, filed, RequestState.APPROVED)
            return rows.filed(tx.connection, [filed.id for filed in waiting])

    def cancel(self, key: str, by: Identity, reasons: Sequence[str] | None = None) -> Filed:
        """Take a request back that has not begun. TransitionError once it has."""
        with transaction(self.database, self.clock()) as tx:
            (filed,) = rows.filed(tx.connection, [key])
            rows.move(tx, filed, RequestState.CANCELLED, reasons=reasons, by=by.key)
            return rows.filed(tx.connection, [key])[0]

    @staticmethod
    def _is_approved(connection: sa.Connection, plan_hash: str, needed: int) -> bool:
        table = schema.approvals
        said = connection.execute(
            sa.select(table.c.identity_kind, table.c.subject, table.c.machine, table.c.verdict)
            .where(table.c.plan_hash == plan_hash)
            .distinct()
        ).all()
        if any(row.verdict == "reject" for row in said):
            return False
        return len(said) >= needed

    # ---- the kill switch -----------------------------------------------------------------------

    def stop(self, by: Identity, reason: str) -> None:
        """Have every writer stop before its next call."""
        said = canonical.text({"by": by.key, "reason": reason, "at": self.clock()})
        with transaction(self.database, self.clock()) as tx:
            tx.connection.execute(schema.ledger.update().values(stopped=said))
            tx.note("stopped", {"by": by.key, "reason": reason})

    def resume(self, by: Identity) -> None:
        """Let writers go on."""
        with transaction(self.database, self.clock()) as tx:
            tx.connection.execute(schema.ledger.update().values(stopped=None))
            tx.note("resumed", {"by": by.key})

    def stopped(self) -> Mapping[str, str] | None:
        """Who stopped all writing, why and when; None when nobody did."""
        with self.database.read() as connection:
            said = connection.execute(sa.select(schema.ledger.c.stopped)).scalar()
        return None if said is None else json.loads(said)
