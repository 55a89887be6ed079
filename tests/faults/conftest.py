"""Fixtures of the fault tests: the simulator that is spoiled, and what it gives undisturbed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from entra_pipeline.simulator.process import running
from tests.faults.bench import Bench, write_tenant


@pytest.fixture(scope="session")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tenant's files, for simulators that differ in what they grant."""
    directory = tmp_path_factory.mktemp("faults") / "tenant"
    write_tenant(directory)
    return directory


@pytest.fixture(params=["core", pytest.param("everything", marks=pytest.mark.soak)])
def bench(shared: Bench, request: pytest.FixtureRequest) -> Bench:
    """The bench, reading the core of the tenant in each sync or, in the long run, all of it."""
    shared.everything = request.param == "everything"
    return shared


@pytest.fixture(scope="session")
def shared(tenant: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One simulator and its undisturbed rows for all tests; they put faults in and nothing else."""
    with running(tenant=tenant) as simulator:
        yield Bench(simulator, tmp_path_factory.mktemp("bench"))
