"""A simulated tenant of our own to change, break and kill syncs of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from entra_pipeline.settings import Settings
from entra_pipeline.simulator.process import Simulator, running
from tests.support import settings_for


@pytest.fixture(scope="module")
def tenant() -> Iterator[Simulator]:
    """A small tenant that tests of this module may change; each leaves no fault behind."""
    with running(users=40, groups=25, seed=11) as simulator:
        yield simulator


@pytest.fixture
def settings(tenant: Simulator, tmp_path: Path) -> Settings:
    """Settings that sync the tenant into a directory of the test's own."""
    return settings_for(tenant, tmp_path / "data")
