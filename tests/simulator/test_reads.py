"""Single objects, and the reads that other people's collectors make."""

from typing import Any

import pytest

from entra_pipeline.simulator import schema
from entra_pipeline.simulator.entity_sets import BY_TYPE, ENTITY_SETS
from entra_pipeline.simulator.model import EntitySet
from entra_pipeline.simulator.navigations import NAVIGATIONS
from entra_pipeline.simulator.process import running
from tests.simulator.conftest import (
    ADA,
    BOB,
    EVE,
    EVENTUAL,
    GLOBAL_ADMINISTRATOR,
    GONE,
    LAPTOP,
    NESTED,
    PORTAL,
    PORTAL_APP,
    ROBOT,
    STAFF,
    TEAM,
    TENANT_ID,
    UNIT,
    Client,
    guid,
)


@pytest.mark.parametrize(
    ("path", "object_id"),
    [
        (f"/users/{ADA}", ADA),
        ("/users/ada@golden.example", ADA),
        ("/users('ada@golden.example')", ADA),
        ("/users(userPrincipalName='ADA@golden.example')", ADA),
        (f"/Users/{ADA}", ADA),
        (f"/groups/{STAFF}", STAFF),
        (f"/groups('{STAFF}')", STAFF),
        (f"/servicePrincipals(appId='{guid(141)}')", PORTAL),
        (f"/applications(appId='{guid(141)}')", PORTAL_APP),
        (f"/devices(deviceId='{guid(151)}')", LAPTOP),
        (f"/directory/administrativeUnits/{UNIT}", UNIT),
        (f"/organization/{TENANT_ID}", TENANT_ID),
        ("/domains/golden.example", "golden.example"),
        (f"/roleManagement/directory/roleDefinitions/{GLOBAL_ADMINISTRATOR}", GLOBAL_ADMINISTRATOR),
        ("/roleManagement/directory/roleAssignments/ra-1", "ra-1"),
        ("/oauth2PermissionGrants/g-1", "g-1"),
        (f"/directoryObjects/{ADA}", ADA),
        (f"/directory/deletedItems/{GONE}", GONE),
        (f"/users/{BOB}/manager", ADA),
        (f"/servicePrincipals/{PORTAL}/appRoleAssignedTo/ara-2", "ara-2"),
        (f"/servicePrincipals/{PORTAL}/synchronization/jobs/job-1", "job-1"),
        (f"/applications/{PORTAL_APP}/federatedIdentityCredentials/ci", guid(241)),
    ],
)
def test_one_object_by_its_keys(small: Client, path: str, object_id: str) -> None:
    answer = small.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.json()["id"] == object_id
    assert answer.json()["@odata.context"].endswith("/$entity")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"/users/{guid(999)}", 404, "Request_ResourceNotFound"),
        ("/users/nobody@golden.example", 404, "Request_ResourceNotFound"),
        ("/groups/not-a-guid", 400, "Request_BadRequest"),
        (f"/groups/{guid(999)}/members", 404, "Request_ResourceNotFound"),
        (f"/users/{ADA}/manager", 404, "Request_ResourceNotFound"),
        (f"/users/{GONE}", 404, "Request_ResourceNotFound"),
        (f"/users/{ADA}/nothing", 400, "BadRequest"),
        ("/nothing", 400, "BadRequest"),
        ("/servicePrincipals(nope='x')", 400, "BadRequest"),
        ("/appRoleAssignments", 400, "Request_BadRequest"),
        (f"/directoryObjects/{guid(999)}", 404, "Request_ResourceNotFound"),
    ],
)
def test_what_is_not_there(small: Client, path: str, status: int, code: str) -> None:
    assert small.refusal(path) == (status, code)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"/users/{ADA}/memberOf/microsoft.graph.group", [STAFF, TEAM]),
        (f"/users/{BOB}/transitiveMemberOf/microsoft.graph.group", [NESTED, STAFF]),
        (f"/groups/{NESTED}/transitiveMembers/microsoft.graph.user", [BOB, ADA]),
        (f"/groups/{NESTED}/memberOf", [STAFF]),
        (f"/groups/{STAFF}/owners", [ADA, ROBOT]),
        (f"/servicePrincipals/{ROBOT}/memberOf", [STAFF]),
        (f"/devices/{LAPTOP}/memberOf", [STAFF]),
        (f"/users/{ADA}/ownedObjects", [STAFF, PORTAL_APP]),
        (f"/users/{BOB}/ownedObjects", [PORTAL]),
        (f"/servicePrincipals/{ROBOT}/ownedObjects", [STAFF]),
        (f"/users/{ADA}/ownedDevices", [LAPTOP]),
        (f"/users/{BOB}/registeredDevices", [LAPTOP]),
        (f"/users/{ADA}/directReports", [BOB]),
        (f"/devices/{LAPTOP}/registeredOwners", [ADA]),
        (f"/devices/{LAPTOP}/registeredUsers", [BOB]),
        (f"/applications/{PORTAL_APP}/owners", [ADA]),
        (f"/servicePrincipals/{PORTAL}/owners", [BOB]),
        (f"/directory/administrativeUnits/{UNIT}/members", [ADA]),
        (f"/servicePrincipals/{PORTAL}/appRoleAssignedTo", ["ara-1", "ara-2"]),
        (f"/groups/{STAFF}/appRoleAssignments", ["ara-1"]),
        (f"/servicePrincipals/{PORTAL}/oauth2PermissionGrants", ["g-1"]),
        (f"/servicePrincipals/{PORTAL}/synchronization/jobs", ["job-1"]),
        (f"/users/{ADA}/authentication/methods", ["m-1"]),
        ("/directory/deletedItems/microsoft.graph.user", [GONE]),
        ("/directory/deletedItems/microsoft.graph.group", []),
        ("/contacts", [guid(71)]),
        ("/directoryRoleTemplates", [GLOBAL_ADMINISTRATOR]),
    ],
)
def test_the_other_end_of_a_navigation(small: Client, path: str, expected: list[str]) -> None:
    assert small.ids(path) == expected


def test_a_users_app_roles_include_those_of_groups_directly_above(small: Client) -> None:
    rows = small.rows(f"/users/{ADA}/appRoleAssignments")
    assert [(row["id"], row["principalType"]) for row in rows] == [
        ("ara-2", "User"),
        ("ara-1", "Group"),
    ]
    assert small.ids(f"/users/{BOB}/appRoleAssignments") == []
    filtered = f"/users/{ADA}/appRoleAssignments?$filter=resourceId eq {PORTAL}"
    assert len(small.rows(filtered)) == 2


def test_membership_covers_groups_roles_and_units(small: Client) -> None:
    kinds = {
        row["id"]: row["@odata.type"].rpartition(".")[2]
        for row in small.rows(f"/users/{ADA}/memberOf?$select=id")
    }
    role = small.rows("/directoryRoles")[0]
    assert kinds == {
        STAFF: "group",
        TEAM: "group",
        role["id"]: "directoryRole",
        UNIT: "administrativeUnit",
    }
    assert role["roleTemplateId"] == GLOBAL_ADMINISTRATOR
    by_template = small.get(f"/directoryRoles(roleTemplateId='{GLOBAL_ADMINISTRATOR}')").json()
    assert by_template["id"] == role["id"]


def test_scoped_role_members_of_a_unit(small: Client) -> None:
    rows = small.rows(f"/directory/administrativeUnits/{UNIT}/scopedRoleMembers")
    assert rows[0]["roleMemberInfo"]["id"] == GONE
    assert rows[0]["roleId"] == small.rows("/directoryRoles")[0]["id"]


def test_stored_helpers_do_not_show(small: Client) -> None:
    job = small.rows(f"/servicePrincipals/{PORTAL}/synchronization/jobs")[0]
    method = small.rows(f"/users/{ADA}/authentication/methods")[0]
    assert "servicePrincipalId" not in job
    assert "userId" not in method
    assert method["@odata.type"] == "#microsoft.graph.fido2AuthenticationMethod"
    assert "signInActivity" not in small.get(f"/users/{ADA}").json()


def test_objects_by_id_leave_out_the_unknown(small: Client) -> None:
    body: dict[str, Any] = {"ids": [ADA, guid(999), STAFF, ROBOT], "types": ["user", "group"]}
    rows = small.post("/directoryObjects/getByIds?$select=id", body).json()["value"]
    assert [row["id"] for row in rows] == [ADA, STAFF]
    del body["types"]
    rows = small.post("/directoryObjects/microsoft.graph.getByIds", body).json()["value"]
    assert [row["id"] for row in rows] == [ADA, STAFF, ROBOT]
    assert "accountEnabled" not in rows[0]
    too_many = {"ids": [ADA] * 1001}
    assert small.post("/directoryObjects/getByIds", too_many).status_code == 400


def test_groups_of_a_principal_are_computed(small: Client) -> None:
    body = {"securityEnabledOnly": False}
    found = small.post(f"/users/{BOB}/getMemberGroups", body).json()["value"]
    assert set(found) == {NESTED, STAFF}
    checked = small.post(f"/users/{EVE}/checkMemberGroups", {"groupIds": [STAFF]}).json()
    assert checked["value"] == []
    objects = small.post(f"/directoryObjects/{ADA}/getMemberObjects", body).json()["value"]
    assert UNIT in objects


def test_licences_are_detailed(generated: Client) -> None:
    user = next(row for row in generated.simulator.truth("users") if row["assignedLicenses"])
    rows = generated.rows(f"/users/{user['id']}/licenseDetails")
    assert [row["skuId"] for row in rows] == [each["skuId"] for each in user["assignedLicenses"]]
    assert all(row["skuPartNumber"] and row["servicePlans"] for row in rows)


def test_a_property_has_an_address(small: Client) -> None:
    assert small.get(f"/users/{ADA}/displayName").json()["value"] == "Ada"
    assert small.get(f"/users/{ADA}/mailboxSettings").json()["userPurpose"] == "user"
    assert small.get(f"/groups/{STAFF}/onPremisesSyncBehavior").json()["isCloudManaged"] is True


def test_references_are_links(small: Client) -> None:
    rows = small.get(f"/groups/{TEAM}/members/$ref").json()["value"]
    assert rows == [{"@odata.id": f"{small.base}/v1.0/directoryObjects/{ADA}"}]
    assert small.get(f"/users/{BOB}/manager/$ref").json()["@odata.id"].endswith(ADA)


def test_deleted_items_need_a_type_and_sort_only_when_advanced(small: Client) -> None:
    assert small.refusal("/directory/deletedItems")[0] == 400
    path = "/directory/deletedItems/microsoft.graph.user?$orderby=deletedDateTime"
    assert small.refusal(path) == (400, "Request_UnsupportedQuery")
    assert small.ids(f"{path}&$count=true", EVENTUAL) == [GONE]


@pytest.mark.parametrize(("method", "status"), [("PATCH", 403), ("DELETE", 403), ("PUT", 405)])
def test_who_may_only_read_changes_nothing(small: Client, method: str, status: int) -> None:
    answer = small.session.request(method, f"{small.base}/v1.0/users/{ADA}", json={}, timeout=10)
    assert answer.status_code == status
    assert small.get(f"/users/{ADA}").status_code == 200


def test_a_new_object_is_not_found_until_it_is_replicated() -> None:
    with running(users=40, groups=20, seed=4, replication_lag=600) as simulator:
        client = Client(simulator)
        before = set(client.ids("/users?$select=id"))
        for seed in range(20):
            simulator.mutate(seed=seed, changes=40)
            new = {row["id"] for row in simulator.truth("users")} - before
            if new:
                break
        path = f"/users/{new.pop()}"
        assert client.refusal(path) == (404, "Request_ResourceNotFound")
        simulator.advance(601)
        assert client.get(path).status_code == 200


def test_mutations_show_everywhere_at_once() -> None:
    with running(users=60, groups=30, seed=3) as simulator:
        client = Client(simulator)
        for seed in range(5):
            for row in client.rows("/groups?$select=id&$expand=members($select=id)&$top=999"):
                client.ids(f"/groups/{row['id']}/members?$select=id&$top=999")
            client.rows("/users?$select=id,displayName,accountEnabled,department&$top=999")
            simulator.mutate(seed=seed, changes=80)
            users = {row["id"]: row for row in simulator.truth("users")}
            shown = client.rows("/users?$select=id,displayName,accountEnabled,department&$top=999")
            assert [row["id"] for row in shown] == list(users)
            assert all(
                row[name] == users[row["id"]][name]
                for row in shown
                for name in ("displayName", "accountEnabled", "department")
            )
            robots = {row["id"] for row in simulator.truth("service_principals")}
            links = simulator.truth("group_members")
            for row in client.rows("/groups?$select=id&$expand=members($select=id)&$top=999"):
                held = links.get(row["id"], [])
                assert [each["id"] for each in row["members"]] == held[:20]
                found = client.ids(f"/groups/{row['id']}/members?$select=id&$top=999")
                assert found == [each for each in held if each not in robots]


@pytest.mark.parametrize("entity_set", ENTITY_SETS, ids=lambda each: each.path)
def test_rows_show_declared_properties_only(generated: Client, entity_set: EntitySet) -> None:
    path = f"/{entity_set.path}"
    if entity_set.need_filter:
        name = sorted(entity_set.need_filter)[0]
        value = "/"
        if name != "scopeId":
            truth = generated.simulator.truth(entity_set.collection)
            value = truth[0][name] if truth else guid(0)
        path += f"?$filter={name} eq '{value}'"
    declared = schema.properties(entity_set.type)
    for row in generated.rows(path):
        shown = {name for name in row if not name.startswith("@")}
        assert shown <= set(declared)
        for navigation in NAVIGATIONS.get(entity_set.type, {}).values():
            assert navigation.name not in shown


@pytest.mark.parametrize("kind", ["user", "group", "servicePrincipal", "application", "device"])
def test_every_navigation_answers(generated: Client, kind: str) -> None:
    entity_set = BY_TYPE[kind]
    obj = generated.simulator.truth(entity_set.collection)[0]
    for navigation in NAVIGATIONS[kind].values():
        answer = generated.get(f"/{entity_set.path}/{obj['id']}/{navigation.name}")
        assert answer.status_code in ((200, 404) if navigation.single else (200,)), navigation.name
        if answer.status_code == 200 and not navigation.single:
            for row in answer.json()["value"]:
                if navigation.type == "directoryObject":
                    name = row["@odata.type"].rpartition(".")[2]
                    assert set(row) - {"@odata.type"} <= set(schema.properties(name))
                elif navigation.type != "authenticationMethod":
                    assert set(row) <= set(schema.properties(navigation.type))
        if navigation.name.lower() in entity_set.expand:
            expanded = f"/{entity_set.path}?$select=id&$expand={navigation.name}&$top=5"
            assert generated.get(expanded).status_code == 200, navigation.name
