"""Fixtures of the extraction tests: simulated tenants and the reads made from them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.simulator.process import Simulator, running
from tests.extract.support import Rig


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    """A random tenant that no test changes."""
    with running(users=700, groups=260, seed=11) as started:
        yield started


@pytest.fixture
def undisturbed(simulator: Simulator) -> Iterator[Simulator]:
    """The random tenant, for tests that inject faults: they are gone afterwards."""
    simulator.reset_stats()
    yield simulator
    simulator.faults([])


@pytest.fixture
def rig(undisturbed: Simulator, tmp_path: Path) -> Iterator[Rig]:
    """An empty data directory for the random tenant."""
    made = Rig(undisturbed, tmp_path)
    yield made
    made.close()


@pytest.fixture
def changing() -> Iterator[Simulator]:
    """A tenant for one test alone, which may change it."""
    with running(users=120, groups=60, seed=5) as started:
        yield started


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where simulators find the keys that the first of them made."""
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture
def golden(tmp_path: Path, certificates: Path) -> Iterator[Callable[..., Rig]]:
    """`golden(users=[...], group_members={...}, without_permission=[...])`: a tenant by hand."""
    with ExitStack() as stack:

        def make(settings: dict[str, Any] | None = None, **given: Any) -> Rig:
            options = {
                name: given.pop(name)
                for name in ("license", "cloud", "without_permission", "with_permission")
                if name in given
            }
            directory = tmp_path / "tenant"
            directory.mkdir(exist_ok=True)
            tenant_id = "11111111-1111-4111-8111-111111111111"
            (directory / "tenant.json").write_text(json.dumps({"tenantId": tenant_id}))
            for name, content in given.items():
                (directory / f"{name}.json").write_text(json.dumps(content))
            simulator = stack.enter_context(
                running(tenant=directory, tls_dir=certificates, **options)
            )
            made = Rig(simulator, tmp_path, **(settings or {}))
            stack.callback(made.close)
            return made

        yield make
