"""The first version: requests, plans, approvals, operations, attempts, verifications, audit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table."""

    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "row", sa.Text(), nullable=False, comment="table and key of the row that it is about"
        ),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_row_seq"), "audit", ["row", "seq"], unique=False)
    op.create_table(
        "ledger",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("audit_seq", sa.BigInteger(), nullable=False),
        sa.Column("audit_hash", sa.Text(), nullable=False),
        sa.Column(
            "stopped",
            sa.Text(),
            nullable=True,
            comment="who stopped all writing, when and why; null: not stopped",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger")),
    )
    op.create_table(
        "plans",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("approvals_needed", sa.Integer(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_plans")),
    )
    op.create_index(op.f("ix_plans_batch_id"), "plans", ["batch_id"], unique=False)
    op.create_table(
        "requests",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("plan_hash", sa.Text(), nullable=True),
        sa.Column("tier", sa.Integer(), nullable=True),
        sa.Column("filed_at", sa.BigInteger(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column(
            "rank", sa.Integer(), nullable=False, comment="0: takes back what expired; 1: the rest"
        ),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column(
            "ended_by",
            sa.Text(),
            nullable=True,
            comment="the request that takes this one's grant back",
        ),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("claimed_until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_requests")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_requests_idempotency_key")),
    )
    op.create_index(op.f("ix_requests_batch_id"), "requests", ["batch_id"], unique=False)
    op.create_index(
        "ix_requests_expiring",
        "requests",
        ["expires_at"],
        unique=False,
        sqlite_where=sa.text("expires_at IS NOT NULL AND ended_by IS NULL"),
        postgresql_where=sa.text("expires_at IS NOT NULL AND ended_by IS NULL"),
    )
    op.create_index(op.f("ix_requests_filed_at"), "requests", ["filed_at"], unique=False)
    op.create_index(
        op.f("ix_requests_state_rank_due_at_id"),
        "requests",
        ["state", "rank", "due_at", "id"],
        unique=False,
    )
    op.create_table(
        "approvals",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("plan_hash", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("identity_kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["plan_hash"], ["plans.hash"], name=op.f("fk_approvals_plan_hash")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
    )
    op.create_index(op.f("ix_approvals_plan_hash"), "approvals", ["plan_hash"], unique=False)
    op.create_table(
        "operations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("plan_hash", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("target_id", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tier", sa.Integer(), nullable=False),
        sa.Column(
            "added", sa.Boolean(), nullable=False, comment="our write made it so, not another's"
        ),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("written_at", sa.BigInteger(), nullable=True),
        sa.Column(
            "verify_at",
            sa.BigInteger(),
            nullable=True,
            comment="when to read next; null: nothing to confirm",
        ),
        sa.Column("verify_until", sa.BigInteger(), nullable=True),
        sa.Column("agreeing", sa.Integer(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["plan_hash"], ["plans.hash"], name=op.f("fk_operations_plan_hash")
        ),
        sa.ForeignKeyConstraint(
            ["request_id"], ["requests.id"], name=op.f("fk_operations_request_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operations")),
    )
    op.create_index(
        op.f("ix_operations_request_id_position"),
        "operations",
        ["request_id", "position"],
        unique=False,
    )
    op.create_index(
        "ix_operations_to_verify",
        "operations",
        ["verify_at"],
        unique=False,
        sqlite_where=sa.text("verify_at IS NOT NULL"),
        postgresql_where=sa.text("verify_at IS NOT NULL"),
    )
    op.create_index(op.f("ix_operations_written_at"), "operations", ["written_at"], unique=False)
    op.create_table(
        "attempts",
        sa.Column(
            "id", sa.Text(), nullable=False, comment="also the client-request-id of the call"
        ),
        sa.Column("operation_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("began_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["operation_id"], ["operations.id"], name=op.f("fk_attempts_operation_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
    )
    op.create_index(
        op.f("ix_attempts_operation_id_number"),
        "attempts",
        ["operation_id", "number"],
        unique=False,
    )
    op.create_table(
        "verifications",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("operation_id", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("agrees", sa.Boolean(), nullable=True, comment="null: could not be read"),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["operation_id"], ["operations.id"], name=op.f("fk_verifications_operation_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verifications")),
    )
    op.create_index(
        op.f("ix_verifications_operation_id_at"),
        "verifications",
        ["operation_id", "at"],
        unique=False,
    )
