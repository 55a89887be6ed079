"""Who owns a list is Exchange's to say: Graph's owners of it are no drift."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from entra_pipeline.simulator.process import Simulator, running
from tests.provisioning.tenant import Tenant
from tests.provisioning.test_drift_evidence import Watched, exported


@pytest.fixture(scope="module")
def changing() -> Iterator[Simulator]:
    with running(users=60, groups=40, seed=31, license="p2") as simulator:
        yield simulator


@pytest.fixture
def watched(changing: Simulator, tmp_path: Path) -> Iterator[Watched]:
    made = Watched(changing, tmp_path)
    try:
        made.sync()
        yield made
    finally:
        made.rig.close()


def test_graphs_owner_of_a_list_is_no_access_that_came_back(
    watched: Watched, changing: Simulator
) -> None:
    tenant = Tenant(changing)
    mine, theirs = [group for group in tenant.plain() if tenant.owners.get(group)][:2]
    at = datetime.now(UTC) - timedelta(hours=1)
    # Exchange's was taken and Graph still names somebody; Graph's was taken, and is back.
    exported(watched, tenant.owners[mine][0], f"group:{mine}:owner", "remove_exchange_owner", at)
    back = tenant.owners[theirs][0]
    revoked = exported(watched, back, f"group:{theirs}:owner", "remove_group_owner", at)
    watched.sync("group_owners")
    found = [(row["entitlement_id"], row["reverts"]) for row in watched.rows()]
    assert found == [(f"group:{theirs}:owner", revoked)]
