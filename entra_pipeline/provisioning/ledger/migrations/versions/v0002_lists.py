"""Indexes for lists of requests by state and by kind."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the indexes."""
    op.create_index(op.f("ix_requests_state_id"), "requests", ["state", "id"], unique=False)
    op.create_index(op.f("ix_requests_kind_id"), "requests", ["kind", "id"], unique=False)
