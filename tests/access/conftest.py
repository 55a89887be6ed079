"""Building a hand-written tenant and asking it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from entra_pipeline.access.questions import Warehouse
from tests.access.tenant import Tenant

Open = Callable[[Tenant], Warehouse]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """A function that builds a tenant's warehouse and opens it."""
    warehouses: list[Warehouse] = []

    def build_and_open(tenant: Tenant) -> Warehouse:
        stage = tmp_path / str(len(warehouses)) / "stage.duckdb"
        warehouses.append(Warehouse.open(tenant.build(stage)))
        return warehouses[-1]

    yield build_and_open
    for warehouse in warehouses:
        warehouse.close()
