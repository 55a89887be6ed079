"""Opening the ledger's database, bringing it to today's schema, and its transactions.

SQLite in the data directory by default, Postgres by URL. Whoever writes holds the one row of table
`ledger` for the length of a transaction: so the audit is one chain, and nothing that is decided by
reading can change before it is written. Transactions are short and never wait for Graph.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from entra_pipeline.provisioning.errors import LedgerError, OtherTenantError, SchemaError
from entra_pipeline.provisioning.ledger import schema

_WAIT_S: Final = 60
GENESIS: Final = "0" * 64
"""What the first entry of the audit follows."""


def sqlite_url(path: Path) -> str:
    """The URL of a ledger in a file."""
    return f"sqlite:///{path}"


class Database:
    """The ledger's database: `read()` and `write()` give connections in a transaction.

    Raises LedgerError when it cannot be opened, OtherTenantError and SchemaError when it is not
    this tenant's or of a newer program.
    """

    def __init__(self, url: str, tenant_id: str) -> None:
        self.engine = _engine(url)
        self.sqlite = self.engine.dialect.name == "sqlite"
        try:
            self._migrate()
            self._claim(tenant_id)
        except sa.exc.SQLAlchemyError as error:
            self.engine.dispose()
            raise LedgerError(
                f"the ledger at {self.engine.url.render_as_string()} cannot be opened: "
                f"{type(error.__cause__ or error).__name__}. Is ENTRA_LEDGER_URL right, and may "
                "its user make tables?"
            ) from None

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that only reads, of one moment."""
        options = {} if self.sqlite else {"isolation_level": "REPEATABLE READ"}
        with self.engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that may write; there is one at a time. Durable when the block ends."""
        with (
            self.engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            if not self.sqlite:
                connection.execute(
                    sa.select(schema.ledger.c.id).where(schema.ledger.c.id == 1).with_for_update()
                )
            yield connection

    def _migrate(self) -> None:
        if self._revision() == schema.REVISION:
            return
        # A fifth of a second, needed once in a ledger's life.
        from alembic import command
        from alembic.config import Config
        from alembic.runtime.migration import MigrationContext

        with self.engine.connect().execution_options(writes=True) as connection, connection.begin():
            if not self.sqlite:  # two programs that start together
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(7312846150)"))
            found = MigrationContext.configure(connection).get_current_revision()
            if found == schema.REVISION:
                return
            if found is not None and found > schema.REVISION:
                raise SchemaError(
                    f"the ledger is of version {found}, this program knows {schema.REVISION}: "
                    "use the newer program"
                )
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
            config.attributes["connection"] = connection
            command.upgrade(config, schema.REVISION)

    def _revision(self) -> str | None:
        """The migration that the ledger is of; None for one that has no tables yet."""
        with self.engine.connect() as connection, connection.begin():
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
            return None if found is None else str(found)

    def _claim(self, tenant_id: str) -> None:
        wanted = tenant_id.lower()
        with self.engine.connect().execution_options(writes=True) as connection, connection.begin():
            if not self.sqlite:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(7312846150)"))
            found = connection.execute(sa.select(schema.ledger.c.tenant_id)).scalar()
            if found is None:
                connection.execute(
                    schema.ledger.insert().values(
                        id=1,
                        tenant_id=wanted,
                        made_at=schema.micros(datetime.now(UTC)),
                        audit_seq=0,
                        audit_hash=GENESIS,
                    )
                )
            elif found != wanted:
                self.engine.dispose()
                raise OtherTenantError(
                    f"the ledger belongs to tenant {found}, the settings name {wanted}: "
                    "give each tenant a ledger of its own (ENTRA_LEDGER_URL or ENTRA_DATA_DIR)"
                )


def _engine(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise LedgerError(
            "ENTRA_LEDGER_URL is not a database URL: postgresql://user:password@host/name"
        ) from None
    kind = parsed.get_backend_name()
    if kind == "postgresql":
        return sa.create_engine(
            parsed.set(drivername="postgresql+psycopg2"),
            pool_pre_ping=True,
            pool_size=4,
            connect_args={"connect_timeout": 10},
        )
    if kind != "sqlite":
        raise LedgerError(f"a ledger is kept in SQLite or Postgres, not in {kind}")
    path = Path(parsed.database or "")
    if not path.exists():  # for its owner alone before anything is in it
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    engine = sa.create_engine(parsed, connect_args={"timeout": _WAIT_S})
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # we begin transactions ourselves
    for pragma in (
        "journal_mode=WAL",
        # A state has to be on disk before the call that it announces.
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={_WAIT_S * 1000}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: sa.Connection) -> None:
    # A transaction that reads first and writes later may find that another wrote in between.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
