"""Building a hand-written tenant and asking it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from entra_pipeline.access.questions import Warehouse
from tests.access.tenant import Tenant

Open = Callable[[Tenant], Warehouse]


def _opening(home: Path) -> Iterator[Open]:
    warehouses: list[Warehouse] = []

    def build_and_open(tenant: Tenant) -> Warehouse:
        stage = home / str(len(warehouses)) / "stage.duckdb"
        warehouses.append(Warehouse.open(tenant.build(stage)))
        return warehouses[-1]

    yield build_and_open
    for warehouse in warehouses:
        warehouse.close()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """A function that builds a tenant's warehouse and opens it."""
    yield from _opening(tmp_path)


@pytest.fixture(scope="module")
def opened_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """The same, for warehouses that a whole module shares."""
    yield from _opening(tmp_path_factory.mktemp("warehouses"))
