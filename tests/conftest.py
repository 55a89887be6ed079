"""What every test may ask for: a simulated tenant, and a data directory synced from it.

`synced` goes the way of the product without Dagster (extract, build, publish): it is made once a
process and only to be read. A test that syncs, mutates or spoils makes its own with
`tests.support`.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from entra_pipeline.simulator.process import Simulator
    from tests.support import Synced


def pytest_configure(config: pytest.Config) -> None:
    """Leave the long counts out unless somebody asks by -m."""
    if not config.option.markexpr:
        config.option.markexpr = "not soak"
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what runs in the background so, and whatever the tests start inherits it.
        signal.signal(signal.SIGINT, signal.default_int_handler)


# The folders with few but long tests, which start whole processes.
_LONG = ("orchestration", "cli", "faults", "oracle", "access", "extract")
# Minutes of mostly waiting, for processes or for the pace at which audits may be read.
_LONGEST = (
    ("provisioning", "test_served.py"),
    ("orchestration", "test_feed_served.py"),
    ("provisioning", "test_drift_evidence.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that no worker begins one when the others are done (make test)."""

    def place(item: pytest.Item) -> int:
        parts = item.path.parts
        if parts[-2:] in _LONGEST:
            return -1
        return next((n for n, name in enumerate(_LONG) if name in parts), len(_LONG))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Simulators are forked. What is loaded by now stays: no use to look there for garbage."""
    from entra_pipeline.simulator.process import start_by
    from tests.simulating import forked

    start_by(forked)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def pytest_unconfigure() -> None:
    """DuckDB complains about what the interpreter's end does not free."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    """A small tenant with everything in it (licence P2, all permissions); do not change it."""
    # Imported when asked for: most tests need neither a simulator nor the whole product.
    from entra_pipeline.simulator.process import running

    with running(users=60, groups=40, seed=7) as simulator:
        yield simulator


@pytest.fixture(scope="session")
def synced(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Synced:
    """A data directory synced from `simulator`; only to be read."""
    from tests.support import sync

    return sync(simulator, tmp_path_factory.mktemp("synced") / "data")
