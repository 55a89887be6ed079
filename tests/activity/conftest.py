"""Fixtures of the activity tests: a simulated tenant with logs, and readings of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.simulator.process import Simulator, running
from tests.activity.support import Log


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where simulators find the keys that the first of them made."""
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="session")
def busy(tls: Path) -> Iterator[Simulator]:
    """A tenant whose logs nobody changes: four days of them."""
    with running(
        users=150,
        groups=20,
        seed=5,
        sign_ins_per_day=700,
        audits_per_day=200,
        provisionings_per_day=60,
        audit_days=4,
        log_lag=0,
        tls_dir=tls,
    ) as simulator:
        yield simulator


@pytest.fixture
def log(busy: Simulator, tmp_path: Path) -> Iterator[Log]:
    """An empty data directory for that tenant."""
    made = Log(busy, tmp_path)
    yield made
    busy.faults([])
    made.close()


@pytest.fixture
def tenant(tmp_path: Path, tls: Path) -> Iterator[Callable[..., Log]]:
    """`tenant(sign_ins_per_day=…, license=…)`: a simulator of one's own, and readings of it."""
    with ExitStack() as stack:

        def make(settings: dict[str, Any] | None = None, **options: Any) -> Log:
            simulator = stack.enter_context(
                running(users=60, groups=8, seed=6, tls_dir=tls, **options)
            )
            made = Log(simulator, tmp_path, **(settings or {}))
            stack.callback(made.close)
            return made

        yield make
