"""The ledger's tables, for SQLite and Postgres alike.

Times are whole microseconds since 1970 UTC, so that both databases order and compare them alike.
Documents are canonical JSON (`canonical.text`) in text columns: hashes are taken over the very
characters that are stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import sqlalchemy as sa

REVISION: Final = "0003"
"""The migration that this program's tables are of."""

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Micros = sa.BigInteger

ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("tenant_id", sa.Text, nullable=False),
    sa.Column("made_at", Micros, nullable=False),
    sa.Column("audit_seq", sa.BigInteger, nullable=False),
    sa.Column("audit_hash", sa.Text, nullable=False),
    sa.Column(
        "stopped", sa.Text, comment="who stopped all writing, when and why; null: not stopped"
    ),
)

requests = sa.Table(
    "requests",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("identity", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("reasons", sa.Text, nullable=False, default="[]"),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("asked_by", sa.Text, nullable=False),
    sa.Column("idempotency_key", sa.Text, nullable=False, unique=True),
    sa.Column("batch_id", sa.Text, nullable=False),
    sa.Column("plan_hash", sa.Text),
    sa.Column("tier", sa.Integer),
    sa.Column("filed_at", Micros, nullable=False),
    sa.Column("not_before", Micros),
    sa.Column("expires_at", Micros),
    sa.Column(
        "rank", sa.Integer, nullable=False, comment="0: takes back what expired; 1: the rest"
    ),
    sa.Column("due_at", Micros, nullable=False),
    sa.Column("ended_by", sa.Text, comment="the request that takes this one's grant back"),
    sa.Column("changed_at", Micros, nullable=False),
    sa.Column("claimed_by", sa.Text),
    sa.Column("claimed_until", Micros),
    sa.Index(None, "state", "rank", "due_at", "id"),
    # For lists, the latest first, when there are a million.
    sa.Index(None, "state", "id"),
    sa.Index(None, "kind", "id"),
    sa.Index(None, "batch_id"),
    sa.Index(None, "filed_at"),
    sa.Index(
        "ix_requests_expiring",
        "expires_at",
        sqlite_where=sa.text("expires_at IS NOT NULL AND ended_by IS NULL"),
        postgresql_where=sa.text("expires_at IS NOT NULL AND ended_by IS NULL"),
    ),
)

plans = sa.Table(
    "plans",
    metadata,
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("batch_id", sa.Text, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("approvals_needed", sa.Integer, nullable=False),
    sa.Column("made_at", Micros, nullable=False),
    sa.Index(None, "batch_id"),
)

approvals = sa.Table(
    "approvals",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("plan_hash", sa.Text, sa.ForeignKey("plans.hash"), nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("identity_kind", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("machine", sa.Text),
    sa.Column("note", sa.Text),
    sa.Column("at", Micros, nullable=False),
    sa.Index(None, "plan_hash"),
)

operations = sa.Table(
    "operations",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("request_id", sa.Text, sa.ForeignKey("requests.id"), nullable=False),
    sa.Column("plan_hash", sa.Text, sa.ForeignKey("plans.hash"), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("identity", sa.Text, nullable=False),
    sa.Column("target_id", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("tier", sa.Integer, nullable=False),
    sa.Column("added", sa.Boolean, nullable=False, comment="our write made it so, not another's"),
    sa.Column("result", sa.Text),
    sa.Column("written_at", Micros),
    sa.Column("verify_at", Micros, comment="when to read next; null: nothing to confirm"),
    sa.Column("verify_until", Micros),
    sa.Column("agreeing", sa.Integer, nullable=False, default=0),
    sa.Column("changed_at", Micros, nullable=False),
    sa.Index(None, "request_id", "position"),
    sa.Index(
        "ix_operations_to_verify",
        "verify_at",
        sqlite_where=sa.text("verify_at IS NOT NULL"),
        postgresql_where=sa.text("verify_at IS NOT NULL"),
    ),
    sa.Index(None, "written_at"),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True, comment="also the client-request-id of the call"),
    sa.Column("operation_id", sa.Text, sa.ForeignKey("operations.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("worker", sa.Text, nullable=False),
    sa.Column("began_at", Micros, nullable=False),
    sa.Column("ended_at", Micros),
    sa.Column("outcome", sa.Text),
    sa.Column("detail", sa.Text),
    sa.Index(None, "operation_id", "number"),
)

verifications = sa.Table(
    "verifications",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("operation_id", sa.Text, sa.ForeignKey("operations.id"), nullable=False),
    sa.Column("at", Micros, nullable=False),
    sa.Column("agrees", sa.Boolean, comment="null: could not be read"),
    sa.Column("detail", sa.Text),
    sa.Index(None, "operation_id", "at"),
)

reviews = sa.Table(
    "reviews",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("request_id", sa.Text, sa.ForeignKey("requests.id"), nullable=False, unique=True),
    sa.Column("opened_at", Micros, nullable=False),
    sa.Column("closed_at", Micros),
    sa.Column("closed_by", sa.Text),
    sa.Column("finding", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("told_at", Micros, comment="when the webhook took the alert"),
    sa.Column("tell_at", Micros, comment="when to try next; null: told, or nothing to tell"),
    sa.Column("tell_tries", sa.Integer, nullable=False, default=0),
    sa.Column("tell_problem", sa.Text),
    sa.Index(None, "closed_at", "id"),
    sa.Index(
        "ix_reviews_to_tell",
        "tell_at",
        sqlite_where=sa.text("tell_at IS NOT NULL"),
        postgresql_where=sa.text("tell_at IS NOT NULL"),
    ),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", Micros, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("row", sa.Text, nullable=False, comment="table and key of the row that it is about"),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("previous", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Index(None, "row", "seq"),
)

AUDITED: Final = (requests, plans, approvals, operations, attempts, verifications, reviews)
"""Tables whose every row has to be what the audit says it became."""

NOT_EVIDENCE: Final = frozenset(
    {"claimed_by", "claimed_until", "told_at", "tell_at", "tell_tries", "tell_problem"}
)
"""Columns that say who works on a row just now, or has been told of it: they change without a
trace."""


def expired(now: int, states: Iterable[str]) -> sa.ColumnElement[bool]:
    """The condition of requests in these states whose end has come and which nothing takes back.

    States as an expression: without statistics, SQLite would go by their index, and nearly all
    requests of an old ledger are in one of them. Few have an end that nothing has met yet.
    """
    return sa.and_(
        requests.c.expires_at.is_not(None),
        requests.c.ended_by.is_(None),
        requests.c.expires_at <= now,
        requests.c.state.concat("").in_(list(states)),
    )


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    """A time as the ledger stores it."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(stored: int) -> datetime:
    """A stored time, in UTC."""
    return _EPOCH + timedelta(microseconds=stored)
