"""Permissions, licences and clouds: what is closed says so in Graph's words."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from entra_pipeline.simulator.entity_sets import ENTITY_SETS
from entra_pipeline.simulator.permissions import GRANTED, suffices
from entra_pipeline.simulator.process import running
from tests.simulator.conftest import ADA, BOB, EVE, PORTAL, SECRET, STAFF, Client

DENIED = (403, "Authorization_RequestDenied")
PIM = (
    "/roleManagement/directory/roleAssignmentScheduleInstances",
    "/roleManagement/directory/roleEligibilityScheduleInstances",
    f"/identityGovernance/privilegedAccess/group/eligibilityScheduleInstances"
    f"?$filter=groupId eq '{STAFF}'",
    f"/identityGovernance/privilegedAccess/group/assignmentScheduleInstances"
    f"?$filter=groupId eq '{STAFF}'",
)


def test_the_granted_permissions_open_every_set() -> None:
    assert all(suffices(GRANTED, entity_set.permissions) for entity_set in ENTITY_SETS)


@pytest.mark.parametrize(
    ("dropped", "closed", "still_open"),
    [
        (
            ("User.Read.All", "Directory.Read.All"),
            (
                "/users",
                f"/users/{ADA}",
                "/users/delta",
                "/users/00000000-0000-4000-8000-999999999999",
            ),
            ("/groups",),
        ),
        (
            ("Group.Read.All", "GroupMember.Read.All", "Directory.Read.All"),
            ("/groups", f"/groups/{STAFF}/members", "/groups/delta"),
            ("/users",),
        ),
        (
            ("Application.Read.All", "Directory.Read.All"),
            ("/applications", "/servicePrincipals", f"/servicePrincipals/{PORTAL}/owners"),
            ("/users",),
        ),
        (
            ("AuditLog.Read.All",),
            ("/reports/authenticationMethods/userRegistrationDetails",),
            ("/users",),
        ),
        (("Policy.Read.All",), ("/identity/conditionalAccess/policies",), ("/users",)),
        (
            ("RoleManagement.Read.Directory", "Directory.Read.All"),
            ("/roleManagement/directory/roleAssignments", "/directoryRoles"),
            (PIM[0], PIM[1]),
        ),
        (
            ("RoleManagement.Read.Directory", "RoleEligibilitySchedule.Read.Directory"),
            (PIM[1],),
            (PIM[0], "/roleManagement/directory/roleAssignments"),
        ),
        (("PrivilegedEligibilitySchedule.Read.AzureADGroup",), (PIM[2],), (PIM[3],)),
        (
            ("Synchronization.Read.All",),
            (f"/servicePrincipals/{PORTAL}/synchronization/jobs",),
            ("/servicePrincipals",),
        ),
        (
            ("UserAuthenticationMethod.Read.All",),
            (f"/users/{ADA}/authentication/methods",),
            (f"/users/{ADA}",),
        ),
        (("Directory.Read.All",), ("/oauth2PermissionGrants",), ("/users", "/organization")),
    ],
)
def test_a_missing_permission_closes_what_needs_it(
    golden_directory: Path,
    dropped: Sequence[str],
    closed: Sequence[str],
    still_open: Sequence[str],
) -> None:
    with running(tenant=golden_directory, without_permission=dropped) as simulator:
        client = Client(simulator)
        for path in closed:
            assert client.refusal(path) == DENIED, path
        for path in still_open:
            assert client.get(path).status_code == 200, path
        items = [{"id": "1", "method": "GET", "url": closed[0]}]
        answer = client.post("/$batch", {"requests": items}).json()["responses"][0]
        assert answer["status"] == 403


def test_one_sufficient_permission_is_enough(golden_directory: Path) -> None:
    with running(tenant=golden_directory, without_permission=["User.Read.All"]) as simulator:
        assert Client(simulator).get("/users").status_code == 200


def test_members_that_may_not_be_read_show_type_and_id(golden_directory: Path) -> None:
    dropped = ["User.Read.All", "Directory.Read.All"]
    with running(tenant=golden_directory, without_permission=dropped) as simulator:
        rows = Client(simulator).rows(f"/groups/{STAFF}/members?$select=id,displayName")
    assert rows[0]["id"] == ADA
    assert rows[0].get("displayName") is None
    assert rows[1]["displayName"] == "Nested"


def test_hidden_members_need_a_permission_of_their_own(
    golden_directory: Path, small: Client
) -> None:
    path = f"/groups/{SECRET}/members?$select=id"
    assert small.ids(path) == [EVE]
    with running(tenant=golden_directory, without_permission=["Member.Read.Hidden"]) as simulator:
        client = Client(simulator)
        assert client.ids(path) == []
        expanded = client.get(f"/groups/{SECRET}?$expand=members($select=id)").json()
        assert expanded["members"] == []


def test_sign_in_activity_needs_the_audit_permission(golden_directory: Path) -> None:
    path = "/users?$select=id,signInActivity"
    with running(tenant=golden_directory, without_permission=["AuditLog.Read.All"]) as simulator:
        client = Client(simulator)
        assert client.refusal(path) == (403, "Authentication_MSGraphPermissionMissing")
        assert client.get("/users?$select=id").status_code == 200


@pytest.mark.parametrize(
    ("license", "open_paths", "closed"),
    [
        (
            "free",
            ("/users?$select=id", "/roleManagement/directory/roleAssignments"),
            {
                **dict.fromkeys(PIM, (400, "AadPremiumLicenseRequired")),
                "/auditLogs/signIns": (
                    403,
                    "Authentication_RequestFromNonPremiumTenantOrB2CTenant",
                ),
                "/users?$select=signInActivity": (
                    403,
                    "Authentication_RequestFromNonPremiumTenantOrB2CTenant",
                ),
                f"/users/{BOB}?$select=signInActivity": (
                    403,
                    "Authentication_RequestFromNonPremiumTenantOrB2CTenant",
                ),
            },
        ),
        (
            "p1",
            ("/auditLogs/signIns", "/users?$select=signInActivity"),
            dict.fromkeys(PIM, (400, "AadPremiumLicenseRequired")),
        ),
        ("p2", (*PIM, "/auditLogs/signIns", "/users?$select=signInActivity"), {}),
    ],
)
def test_licences_open_and_close(
    golden_directory: Path,
    license: str,
    open_paths: Sequence[str],
    closed: dict[str, tuple[int, str]],
) -> None:
    with running(tenant=golden_directory, license=license) as simulator:
        client = Client(simulator)
        for path in open_paths:
            assert client.get(path).status_code == 200, path
        for path, refusal in closed.items():
            assert client.refusal(path) == refusal, path


@pytest.mark.parametrize(
    ("cloud", "absent", "present"),
    [
        (
            "china",
            (
                "/auditLogs/directoryAudits",
                "/auditLogs/provisioning",
                "/directory/administrativeUnits/delta",
            ),
            (*PIM[:2], "/auditLogs/signIns"),
        ),
        (
            "govsg",
            (
                *PIM,
                "/auditLogs/signIns",
                "/identity/conditionalAccess/policies",
                f"/servicePrincipals/{PORTAL}/synchronization/jobs",
            ),
            ("/users", "/users/delta"),
        ),
        ("delos", PIM, ("/directory/administrativeUnits/delta",)),
        ("usgov", (), (*PIM, "/auditLogs/directoryAudits")),
    ],
)
def test_clouds_lack_what_they_lack(
    golden_directory: Path, cloud: str, absent: Sequence[str], present: Sequence[str]
) -> None:
    with running(tenant=golden_directory, cloud=cloud) as simulator:
        client = Client(simulator)
        for path in absent:
            answer = client.get(path)
            assert answer.status_code == 400, path
            assert "Resource not found for the segment" in answer.json()["error"]["message"]
        for path in present:
            assert client.get(path).status_code == 200, path
