"""Faults of the wire while a sync reads what changed.

Each table ends up whole, with the rows of an undisturbed full read, or says why not and holds
what was published before; and the next sync makes good whatever is left.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.simulator.process import running
from entra_pipeline.tables import Status
from tests.extract.support import Rig
from tests.faults.bench import Rule, error, on, respond

TABLES = (
    "users",
    "groups",
    "group_members",
    "service_principals",
    "service_principal_owners",
    "app_role_assignments",
    "applications",
    "credentials",
    "devices",
    "device_owners",
    "role_assignments",
    "role_assignment_schedule_instances",
    "group_eligibility_schedule_instances",
    "domains",
    "deleted_items",
)
SKIPTOKEN = "delta.*skiptoken"
FAULTS: dict[str, tuple[Rule, ...]] = {
    "throttled": (on("delta", respond(429, error("TooManyRequests"), Retry_After="0"), times=3),),
    "failing for a moment": (on("/v1.0/", respond(503, error("serviceNotAvailable")), times=2),),
    "a feed that fails for good": (on("/groups/delta", respond(400, error("Request_BadRequest"))),),
    "a reset": (on("servicePrincipals/delta", {"reset": True}, nth=1),),
    "a reset in a batch": (on(r"\$batch", {"reset": True}, nth=1),),
    "a cut body": (on("/users/delta", {"truncate_at": 300}, nth=1),),
    "a cut body of a batch": (on(r"\$batch", {"truncate_at": 300}, nth=1),),
    "a page token that expired": (
        on(SKIPTOKEN, respond(400, error("Directory_ExpiredPageToken")), nth=1),
    ),
    "a link that died": (on("/applications/delta", respond(400, error("syncStateNotFound"))),),
    "a feed that begins anew": (
        on(
            "/devices/delta.*deltatoken=[^l]",
            respond(
                410,
                error("resyncRequired"),
                Location="{base}/v1.0/devices/delta?$deltatoken=",
            ),
        ),
    ),
    "refused audits": (on("directoryAudits", respond(403, error("Authorization_RequestDenied"))),),
    "audits that fail": (on("directoryAudits", respond(400, error("UnknownError"))),),
    "one item of each batch throttled": (
        on("appRoleAssignedTo", respond(429, error("TooManyRequests"), Retry_After="0"), every=5),
    ),
    "one application refused": (
        on("appRoleAssignedTo", respond(403, error("Authorization_RequestDenied")), nth=2),
    ),
    "a refusal of filters by id": (on("id in ", respond(400, error("Request_BadRequest"))),),
    "no small list in a batch": (on("/domains", respond(500, error("UnknownError")), times=1),),
}


ALWAYS = (
    "failing for a moment",
    "a reset in a batch",
    "a page token that expired",
    "a link that died",
    "refused audits",
)
"""The others in the long run only: each takes three syncs of a tenant of its own."""


@pytest.mark.parametrize(
    "fault",
    [each if each in ALWAYS else pytest.param(each, marks=pytest.mark.soak) for each in FAULTS],
)
def test_faults_while_changes_are_read_leave_no_wrong_row(
    tmp_path: Path, certificates: Path, fault: str
) -> None:
    options: dict[str, Any] = {"delta_page": 5, "tls_dir": certificates}
    with running(users=60, groups=30, seed=8, **options) as simulator:
        rig = Rig(simulator, tmp_path, max_wait_seconds=1)
        rig.sync(*TABLES)
        simulator.mutate(4, 120)
        before = {name: rig.digest(name) for name in TABLES}
        simulator.faults(list(FAULTS[fault]))
        statuses = rig.sync(*TABLES)
        assert simulator.stats()["faults_fired"] >= 1
        simulator.faults([])
        truth = Rig(simulator, tmp_path / "truth")
        truth.sync(*TABLES)
        for name, status in statuses.items():
            if status.status is Status.COMPLETE:
                assert rig.digest(name) == truth.digest(name), name
            elif status.status is not Status.PARTIAL:
                assert status.reason, name
                assert rig.digest(name) == before[name], name
        again = rig.sync(*TABLES)
        assert {status.status for status in again.values()} == {Status.COMPLETE}
        for name in TABLES:
            assert rig.digest(name) == truth.digest(name), name
        truth.close()
        rig.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where simulators find the keys that the first of them made."""
    return tmp_path_factory.mktemp("certificates")
