"""What an answer shows: defaults, selections, expansions, types."""

import pytest

from entra_pipeline.simulator.schema import USER_DEFAULTS
from tests.simulator.conftest import (
    ADA,
    BOB,
    EVE,
    GLOBAL_ADMINISTRATOR,
    GONE,
    GUEST,
    LAPTOP,
    NESTED,
    PORTAL,
    PORTAL_APP,
    ROBOT,
    STAFF,
    TEAM,
    Client,
)


def test_users_show_eleven_properties_unless_asked(small: Client) -> None:
    for path in ("/users", f"/users/{ADA}"):
        document = small.get(path).json()
        row = document["value"][0] if "value" in document else document
        assert {name for name in row if not name.startswith("@")} == set(USER_DEFAULTS)


def test_a_selection_shows_exactly_what_was_selected(small: Client) -> None:
    rows = small.rows("/users?$select=id,department,accountEnabled")
    assert rows[0] == {"id": ADA, "department": "R&D", "accountEnabled": True}
    assert rows[1] == {"id": BOB, "department": None, "accountEnabled": False}


def test_groups_hold_back_what_must_be_selected(small: Client) -> None:
    plain = small.get(f"/groups/{STAFF}").json()
    assert "assignedLicenses" not in plain
    assert "groupTypes" in plain
    selected = small.get(f"/groups/{STAFF}?$select=assignedLicenses,isArchived").json()
    assert selected["assignedLicenses"] == []
    assert selected["isArchived"] is None


@pytest.mark.parametrize(
    "path",
    [
        "/users?$select=id,favouriteColour",
        "/groups?$select=userPrincipalName",
        f"/users/{ADA}?$select=nope",
        f"/groups/{STAFF}/members?$select=nope",
        "/users?$expand=nope",
        "/users?$expand=manager($select=nope)",
    ],
)
def test_an_unknown_property_is_refused_by_name(small: Client, path: str) -> None:
    answer = small.get(path)
    assert answer.status_code == 400
    assert "Could not find a property named" in answer.json()["error"]["message"]


def test_an_undeclared_property_of_the_tenant_can_be_selected(small: Client) -> None:
    assert small.get(f"/users/{EVE}?$select=extension_badge").json()["extension_badge"] == "42"


@pytest.mark.parametrize("name", ["aboutMe", "skills", "birthday"])
def test_some_properties_are_for_single_users_only(small: Client, name: str) -> None:
    assert small.refusal(f"/users?$select=id,{name}") == (501, "NotImplemented")
    assert small.get(f"/users/{ADA}?$select=id,{name}").status_code == 200


def test_a_derived_type_names_itself_among_its_base_type(small: Client) -> None:
    types = {row["id"]: row.get("@odata.type") for row in small.rows("/users?$select=id")}
    assert types[GUEST] == "#microsoft.graph.agentUser"
    assert types[ADA] is None


def test_members_say_what_they_are_and_omit_service_principals(small: Client) -> None:
    rows = small.rows(f"/groups/{STAFF}/members?$select=id")
    assert rows == [
        {"@odata.type": "#microsoft.graph.user", "id": ADA},
        {"@odata.type": "#microsoft.graph.group", "id": NESTED},
        {"@odata.type": "#microsoft.graph.device", "id": LAPTOP},
    ]


def test_beta_members_and_expansion_include_service_principals(small: Client) -> None:
    beta = small.rows(f"{small.base}/beta/groups/{STAFF}/members?$select=id")
    assert [row["id"] for row in beta] == [ADA, NESTED, ROBOT, LAPTOP]
    owners = small.rows(f"{small.base}/beta/groups/{STAFF}/owners?$select=id")
    assert [row["id"] for row in owners] == [ADA, ROBOT]
    group = small.get(f"/groups/{STAFF}?$select=id&$expand=members($select=id)").json()
    assert [row["id"] for row in group["members"]] == [ADA, NESTED, ROBOT, LAPTOP]


def test_expansion_stops_at_twenty_without_a_link(generated: Client) -> None:
    links = generated.simulator.truth("group_members")
    rows = generated.rows("/groups?$select=id&$expand=members($select=id)&$top=999")
    assert any(len(links.get(row["id"], [])) > 20 for row in rows)
    for row in rows:
        expected = links.get(row["id"], [])[:20]
        assert [member["id"] for member in row["members"]] == expected
        assert not any(name.startswith("members@") for name in row)


def test_a_manager_is_expanded_where_there_is_one(small: Client) -> None:
    rows = {
        row["id"]: row.get("manager")
        for row in small.rows("/users?$select=id&$expand=manager($select=id,displayName)")
    }
    assert rows[BOB] == {"@odata.type": "#microsoft.graph.user", "id": ADA, "displayName": "Ada"}
    assert rows[ADA] is None


def test_one_expansion_a_request(small: Client) -> None:
    answer = small.get("/groups?$expand=members($select=id),owners($select=id)")
    assert answer.status_code == 400


def test_role_assignments_expand_a_principal_or_null(small: Client) -> None:
    rows = small.rows("/roleManagement/directory/roleAssignments?$expand=principal")
    principals = {row["principalId"]: row["principal"] for row in rows}
    assert principals[ADA]["@odata.type"] == "#microsoft.graph.user"
    assert principals[GONE] is None
    roles = small.rows("/roleManagement/directory/roleAssignments?$expand=roleDefinition")
    assert roles[0]["roleDefinition"]["id"] == GLOBAL_ADMINISTRATOR


def test_role_policies_expand_two_levels(small: Client) -> None:
    rows = small.rows(
        "/policies/roleManagementPolicyAssignments?$filter=scopeId eq '/' and "
        "scopeType eq 'DirectoryRole'&$expand=policy($expand=rules)"
    )
    assert rows[0]["roleDefinitionId"] == GLOBAL_ADMINISTRATOR
    assert rows[0]["policy"]["rules"]


def test_applications_expand_federated_credentials_but_do_not_show_them(small: Client) -> None:
    plain = small.get(f"/applications/{PORTAL_APP}").json()
    assert "federatedIdentityCredentials" not in plain
    rows = small.rows("/applications?$select=id&$expand=federatedIdentityCredentials")
    assert rows[0]["federatedIdentityCredentials"][0]["name"] == "ci"
    path = f"/applications/{PORTAL_APP}/federatedIdentityCredentials"
    assert small.rows(path)[0]["issuer"] == "https://ci.example"


def test_the_key_of_a_credential_is_shown_only_when_selected(small: Client) -> None:
    plain = small.get(f"/servicePrincipals/{ROBOT}").json()["keyCredentials"][0]
    assert plain["key"] is None
    selected = small.get(f"/servicePrincipals/{ROBOT}?$select=keyCredentials").json()
    assert selected["keyCredentials"][0]["key"] == "c2VjcmV0"


def test_metadata_none_leaves_out_contexts_and_types(small: Client) -> None:
    answer = small.get(
        f"/groups/{STAFF}/members?$select=id",
        {"Accept": "application/json;odata.metadata=none"},
    ).json()
    assert set(answer) == {"value"}
    assert answer["value"][0] == {"id": ADA}


def test_a_cast_lists_one_type(small: Client) -> None:
    rows = small.rows(f"/groups/{STAFF}/members/microsoft.graph.user?$select=id,mail")
    assert rows == [{"id": ADA, "mail": "ada@golden.example"}]
    path = f"/groups/{TEAM}/members/microsoft.graph.group"
    assert small.refusal(path) == (400, "Request_UnsupportedQuery")


def test_assignments_expanded_on_service_principals(small: Client) -> None:
    rows = small.rows("/servicePrincipals?$select=id&$expand=appRoleAssignedTo")
    held = {row["id"]: [each["id"] for each in row["appRoleAssignedTo"]] for row in rows}
    assert held == {ROBOT: [], PORTAL: ["ara-1", "ara-2"]}
