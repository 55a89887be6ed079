"""Reviews of emergency access."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "reviews",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("closed_by", sa.Text(), nullable=True),
        sa.Column("finding", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column(
            "told_at", sa.BigInteger(), nullable=True, comment="when the webhook took the alert"
        ),
        sa.Column(
            "tell_at",
            sa.BigInteger(),
            nullable=True,
            comment="when to try next; null: told, or nothing to tell",
        ),
        sa.Column("tell_tries", sa.Integer(), nullable=False),
        sa.Column("tell_problem", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["request_id"], ["requests.id"], name=op.f("fk_reviews_request_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
        sa.UniqueConstraint("request_id", name=op.f("uq_reviews_request_id")),
    )
    op.create_index(op.f("ix_reviews_closed_at_id"), "reviews", ["closed_at", "id"], unique=False)
    op.create_index(
        "ix_reviews_to_tell",
        "reviews",
        ["tell_at"],
        unique=False,
        sqlite_where=sa.text("tell_at IS NOT NULL"),
        postgresql_where=sa.text("tell_at IS NOT NULL"),
    )
