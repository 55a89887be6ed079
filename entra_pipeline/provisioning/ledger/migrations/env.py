"""What Alembic runs: migrations happen on the connection that the ledger was opened with."""

from __future__ import annotations

from alembic import context

from entra_pipeline.provisioning.ledger.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
