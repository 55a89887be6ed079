"""Limits of the directory: how many of a thing there may be, and what that refuses."""

from collections.abc import Iterator

import pytest

from entra_pipeline.simulator.process import running
from entra_pipeline.simulator.tenant import dump
from tests.simulator.conftest import guid
from tests.simulator.writing import ADA, BOB, GUARDED, PORTAL, READER_ROLE, Writing, tenant

ROLE_GROUP = {
    "displayName": "One more",
    "isAssignableToRole": True,
    "mailEnabled": False,
    "mailNickname": "more",
    "securityEnabled": True,
}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writing]:
    """As many role-assignable groups and assignments of Ada's as there may be."""
    made = tenant()
    for number in range(499):
        key = guid(10_000 + number)
        made.objects["groups"][key] = {
            "id": key,
            "displayName": f"Role group {number}",
            "groupTypes": [],
            "isAssignableToRole": True,
            "mailEnabled": False,
            "securityEnabled": True,
        }
    for number in range(1500):
        key = f"held-{number}"
        made.objects["app_role_assignments"][key] = {
            "id": key,
            "appRoleId": guid(20_000 + number),
            "principalId": ADA,
            "principalType": "User",
            "resourceId": PORTAL,
        }
    directory = tmp_path_factory.mktemp("full")
    dump(made, directory)
    with running(tenant=directory, writer=True) as simulator:
        yield Writing(simulator)


def test_there_are_500_role_assignable_groups_at_most(full: Writing) -> None:
    status, code, _ = full.refused("POST", "/groups", ROLE_GROUP)
    assert (status, code) == (400, "Directory_QuotaExceeded")
    full.done("DELETE", f"/groups/{guid(10_000)}")
    full.done("POST", "/groups", ROLE_GROUP, 201)
    assert full.refused("POST", "/groups", ROLE_GROUP)[0] == 400


def test_a_principal_has_1500_app_role_assignments_at_most(full: Writing) -> None:
    path = f"/servicePrincipals/{PORTAL}/appRoleAssignedTo"
    body = {"principalId": ADA, "resourceId": PORTAL, "appRoleId": READER_ROLE}
    status, code, _ = full.refused("POST", path, body)
    assert (status, code) == (403, "Directory_QuotaExceeded")
    full.done("DELETE", f"{path}/held-7")
    full.done("POST", path, body, 201)


def test_a_restricted_unit_opens_to_a_role_for_that_unit(full: Writing) -> None:
    members = f"/groups/{GUARDED}/members/$ref"
    assert full.refused("POST", members, full.ref(BOB))[0] == 403
    writer = next(
        row["id"]
        for row in full.simulator.truth("service_principals")
        if row["appId"] == full.simulator.info.writer_client_id
    )
    unit = next(
        row["id"]
        for row in full.simulator.truth("administrative_units")
        if row.get("isMemberManagementRestricted")
    )
    role = {
        "principalId": writer,
        "roleDefinitionId": "fe930be7-5e62-47db-91af-98c3a49a38b1",
        "directoryScopeId": f"/administrativeUnits/{unit}",
    }
    full.done("POST", "/roleManagement/directory/roleAssignments", role, 201)
    full.done("POST", members, full.ref(BOB))
