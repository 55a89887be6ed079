"""App roles and directory roles: given, taken away, refused."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.simulator.writing import (
    ADA,
    BOB,
    DAEMON_ROLE,
    EVE,
    GLOBAL_ADMINISTRATOR,
    HELPER,
    LAPTOP,
    NOBODY,
    OLD_ROLE,
    PORTAL,
    PORTAL_APP,
    READER_ROLE,
    REPORTS_READER,
    ROBOT,
    ROLE_GROUP,
    STAFF,
    TEAM,
    UNIT,
    USER_ADMINISTRATOR,
    ZERO,
    Writing,
    writing,
)

ASSIGNED_TO = f"/servicePrincipals/{PORTAL}/appRoleAssignedTo"
ROLES = "/roleManagement/directory/roleAssignments"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writing]:
    """Each test leaves what it found."""
    with writing(tmp_path_factory.mktemp("writing")) as client:
        yield client


@pytest.fixture
def client(shared: Writing) -> Writing:
    shared.news()
    return shared


def app_role(principal: str, role: str = READER_ROLE, resource: str = PORTAL) -> dict[str, str]:
    return {"principalId": principal, "resourceId": resource, "appRoleId": role}


@pytest.mark.parametrize(
    ("principal", "role", "side", "kind"),
    [
        (ADA, READER_ROLE, "users", "User"),
        (STAFF, READER_ROLE, "groups", "Group"),
        (ROBOT, DAEMON_ROLE, "servicePrincipals", "ServicePrincipal"),
    ],
)
def test_an_app_role_is_given_and_taken_from_either_side(
    client: Writing, principal: str, role: str, side: str, kind: str
) -> None:
    row = client.done("POST", ASSIGNED_TO, app_role(principal, role), 201)
    assert (row["principalType"], row["appRoleId"], row["resourceId"]) == (kind, role, PORTAL)
    assert row["id"] in client.ids(ASSIGNED_TO)
    own = f"/{side}/{principal}/appRoleAssignments"
    status, code, message = client.refused("POST", own, app_role(principal, role))
    assert (status, code) == (400, "Request_BadRequest")
    assert message == "Permission being assigned already exists on the object"
    client.done("DELETE", f"{own}/{row['id']}")
    assert client.refused("DELETE", f"{ASSIGNED_TO}/{row['id']}")[0] == 404
    again = client.done("POST", own, app_role(principal, role), 201)
    client.done("DELETE", f"{ASSIGNED_TO}/{again['id']}")
    names = [kind for kind, _, _ in client.news()]
    assert names == ["assign_app_role", "remove_app_role"] * 2
    assert [row["details"]["app_role_id"] for row in client.simulator.effects()[-2:]] == [role] * 2


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (app_role(NOBODY), "Not a valid reference update."),
        (app_role(LAPTOP), "Not a valid reference update."),
        (app_role(ADA, ZERO), "was not found on application"),
        (app_role(ADA, OLD_ROLE), "was not found on application"),
        (app_role(ADA, DAEMON_ROLE), "was not found on application"),
        (app_role(ROBOT, READER_ROLE), "was not found on application"),
        (app_role(TEAM), "security-enabled"),
        (app_role(ADA, resource=ROBOT), "does not match"),
        ({"principalId": ADA, "resourceId": PORTAL}, "appRoleId"),
        (app_role("ada"), "principalId"),
    ],
)
def test_app_roles_that_are_refused(client: Writing, body: dict[str, str], text: str) -> None:
    status, _, message = client.refused("POST", ASSIGNED_TO, body)
    assert status == 400
    assert text in message


def test_without_roles_the_default_one_is_given(client: Writing) -> None:
    path = f"/servicePrincipals/{ROBOT}/appRoleAssignedTo"
    row = client.done("POST", path, app_role(BOB, ZERO, ROBOT), 201)
    assert client.refused("POST", path, app_role(BOB, READER_ROLE, ROBOT))[0] == 400
    client.done("DELETE", f"{path}/{row['id']}")


def test_what_a_group_gives_is_not_taken_from_its_member(client: Writing) -> None:
    row = client.done("POST", ASSIGNED_TO, app_role(STAFF), 201)
    shown = client.ids(f"/users/{ADA}/appRoleAssignments")
    assert shown == [row["id"]]
    assert client.refused("DELETE", f"/users/{ADA}/appRoleAssignments/{row['id']}")[0] == 404
    client.done("DELETE", f"{ASSIGNED_TO}/{row['id']}")


def role(principal: str, definition: str = REPORTS_READER, scope: str = "/") -> dict[str, Any]:
    return {
        "@odata.type": "#microsoft.graph.unifiedRoleAssignment",
        "principalId": principal,
        "roleDefinitionId": definition,
        "directoryScopeId": scope,
    }


@pytest.mark.parametrize("scope", ["/", f"/administrativeUnits/{UNIT}", f"/{PORTAL_APP}"])
@pytest.mark.parametrize("principal", [ADA, ROLE_GROUP, ROBOT])
def test_a_role_is_given_and_taken_at_every_scope(
    client: Writing, principal: str, scope: str
) -> None:
    row = client.done("POST", ROLES, role(principal, scope=scope), 201)
    held = client.rows(f"{ROLES}?$filter=principalId eq '{principal}'")
    assert [(each["id"], each["directoryScopeId"]) for each in held] == [(row["id"], scope)]
    instances = client.rows(
        "/roleManagement/directory/roleAssignmentScheduleInstances"
        f"?$filter=principalId eq '{principal}'"
    )
    assert [(each["assignmentType"], each["endDateTime"]) for each in instances] == [
        ("Assigned", None)
    ]
    status, _, message = client.refused("POST", ROLES, role(principal, scope=scope))
    assert status == 400
    assert message.startswith("A conflicting object with one or more")
    client.done("DELETE", f"{ROLES}/{row['id']}")
    assert client.refused("DELETE", f"{ROLES}/{row['id']}")[0] == 404
    assert client.rows(f"{ROLES}?$filter=principalId eq '{principal}'") == []
    assert client.news() == [
        ("assign_role", REPORTS_READER, principal),
        ("remove_role", REPORTS_READER, principal),
    ]
    details = client.simulator.effects()[-1]["details"]
    assert details["scope"] == scope


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (role(NOBODY), 404),
        (role(ADA, NOBODY), 404),
        (role(STAFF), 400),
        (role(LAPTOP), 400),
        (role(ADA, scope="tenant"), 400),
        (role(ADA, scope=f"/administrativeUnits/{NOBODY}"), 404),
        (role(ADA, scope=f"/{NOBODY}"), 404),
        ({**role(ADA), "directoryScopeId": None}, 400),
        ({"principalId": ADA}, 400),
    ],
)
def test_roles_that_are_refused(client: Writing, body: dict[str, Any], status: int) -> None:
    assert client.refused("POST", ROLES, body)[0] == status


def test_roles_show_in_the_older_form_in_delta_and_in_the_log(client: Writing) -> None:
    link = client.get("/directoryRoles/delta?$deltatoken=latest").json()["@odata.deltaLink"]
    before = len(client.activities())
    row = client.done("POST", ROLES, role(EVE, GLOBAL_ADMINISTRATOR), 201)
    path = f"/directoryRoles(roleTemplateId='{GLOBAL_ADMINISTRATOR}')/members"
    assert EVE in client.ids(path)
    (news,) = client.get(link).json()["value"]
    assert [each["id"] for each in news["members@delta"]] == [EVE]
    client.done("DELETE", f"{ROLES}/{row['id']}")
    assert EVE not in client.ids(path)
    assert {"Add member to role", "Remove member from role"} <= set(client.activities()[before:])


def test_the_same_role_may_be_held_elsewhere(client: Writing) -> None:
    rows = [
        client.done("POST", ROLES, role(HELPER, USER_ADMINISTRATOR, scope), 201)
        for scope in ("/", f"/administrativeUnits/{UNIT}")
    ]
    for row in rows:
        client.done("DELETE", f"{ROLES}/{row['id']}")


def test_without_pim_a_role_has_no_instance(tmp_path_factory: pytest.TempPathFactory) -> None:
    with writing(tmp_path_factory.mktemp("free"), license="p1") as client:
        client.done("POST", ROLES, role(ADA), 201)
        assert client.simulator.truth("role_assignment_schedule_instances") == []
        assert client.activities() == ["Add member to role"]
