"""Roles, eligibility, applications and the demo's figures of a generated tenant."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from entra_pipeline.simulator.generate import (
    DEMO_ADMIN_UPN,
    DEMO_APPLICATION_NAME,
    DEMO_CONNECTOR_NAME,
    DEMO_GUEST_UPN,
    DEMO_USER_UPN,
    generate,
)
from entra_pipeline.simulator.tenant import Tenant

NOW = datetime(2026, 11, 23, tzinfo=UTC)
GLOBAL_ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"
APPLICATION_ADMINISTRATOR = "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3"
GRAPH_APP_ID = "00000003-0000-0000-c000-000000000000"
Row = dict[str, Any]


@pytest.fixture(scope="module")
def tenant() -> Tenant:
    return generate(now=NOW)


@pytest.fixture(scope="module", params=[(60, 40), (2000, 600)], ids=["60 users", "2000 users"])
def demo(request: pytest.FixtureRequest) -> Tenant:
    users, groups = request.param
    return generate(users, groups, now=NOW)


def only(rows: list[Row]) -> Row:
    assert len(rows) == 1
    return rows[0]


def user(tenant: Tenant, upn: str) -> Row:
    return only([u for u in tenant.objects["users"].values() if u["userPrincipalName"] == upn])


def named(tenant: Tenant, collection: str, name: str) -> Row:
    return only([o for o in tenant.objects[collection].values() if o["displayName"] == name])


def app_access(tenant: Tenant, app: Row) -> set[tuple[str, str | None]]:
    """(principal id, value of the app role) of everyone assigned to an application."""
    values = {role["id"]: role["value"] for role in app["appRoles"]}
    return {
        (row["principalId"], values.get(row["appRoleId"]))
        for row in tenant.objects["app_role_assignments"].values()
        if row["resourceId"] == app["id"]
    }


def holds(tenant: Tenant, collection: str, principal: str) -> set[tuple[str, str]]:
    return {
        (row["roleDefinitionId"], row["directoryScopeId"])
        for row in tenant.objects[collection].values()
        if row["principalId"] == principal and row.get("memberType", "Direct") == "Direct"
    }


# Roles


def test_built_in_roles_have_their_true_ids(tenant: Tenant) -> None:
    roles = tenant.objects["role_definitions"]
    assert sum(role["isBuiltIn"] for role in roles.values()) >= 40
    assert sum(not role["isBuiltIn"] for role in roles.values()) == 3
    for role_id, name in (
        (GLOBAL_ADMINISTRATOR, "Global Administrator"),
        ("e8611ab8-c189-46e8-94e1-60213ab1f814", "Privileged Role Administrator"),
        ("fe930be7-5e62-47db-91af-98c3a49a38b1", "User Administrator"),
        ("f2ef992c-3afb-46b9-b7cf-a126ee74c451", "Global Reader"),
    ):
        assert roles[role_id]["displayName"] == name
        assert roles[role_id]["templateId"] == role_id


def test_roles_are_held_at_every_scope_by_every_kind_of_principal(tenant: Tenant) -> None:
    rows = tenant.objects["role_assignments"].values()
    assert {tenant.kind_of(row["principalId"]) for row in rows} == {
        "user",
        "group",
        "servicePrincipal",
        None,
    }
    scopes = Counter(
        "unit"
        if row["directoryScopeId"].startswith("/administrativeUnits/")
        else tenant.kind_of(row["directoryScopeId"][1:]) or row["directoryScopeId"]
        for row in rows
    )
    assert set(scopes) == {"/", "unit", "application", "group"}
    for row in rows:
        unit = row["directoryScopeId"].removeprefix("/administrativeUnits/")
        assert unit.startswith("/") or unit in tenant.objects["administrative_units"]


def test_only_role_assignable_groups_hold_roles(tenant: Tenant) -> None:
    for collection in ("role_assignments", "role_eligibility_schedule_instances"):
        for row in tenant.objects[collection].values():
            group = tenant.objects["groups"].get(row["principalId"])
            assert group is None or group["isAssignableToRole"]


def test_active_roles_appear_as_assignments_and_as_instances(tenant: Tenant) -> None:
    instances = tenant.objects["role_assignment_schedule_instances"].values()
    direct = {row["roleAssignmentOriginId"] for row in instances if row["memberType"] == "Direct"}
    assert direct == set(tenant.objects["role_assignments"])
    activated = [row for row in instances if row["assignmentType"] == "Activated"]
    assert activated
    assert all(row["endDateTime"] for row in activated)


def test_derived_instances_are_those_of_the_groups_members(tenant: Tenant) -> None:
    derived: dict[str, set[str]] = {}
    for row in tenant.objects["role_assignment_schedule_instances"].values():
        if row["memberType"] == "Group":
            derived.setdefault(row["roleAssignmentOriginId"], set()).add(row["principalId"])
    expected = {
        row["id"]: set(tenant.links["group_members"][row["principalId"]])
        for row in tenant.objects["role_assignments"].values()
        if row["principalId"] in tenant.links["group_members"]
    }
    assert derived == expected
    assert len(derived) > 2


def test_eligible_members_are_not_members_unless_they_activated(tenant: Tenant) -> None:
    active = {
        (row["groupId"], row["principalId"])
        for row in tenant.objects["group_assignment_schedule_instances"].values()
        if row["assignmentType"] == "activated"
    }
    eligible = {
        (row["groupId"], row["principalId"])
        for row in tenant.objects["group_eligibility_schedule_instances"].values()
        if row["accessId"] == "member"
    }
    both = {pair for pair in eligible if pair[1] in tenant.links["group_members"].get(pair[0], ())}
    assert both == active & eligible
    assert both
    assert eligible - both


def test_restricted_units_mark_their_members(tenant: Tenant) -> None:
    unit = only(
        [
            u
            for u in tenant.objects["administrative_units"].values()
            if u["isMemberManagementRestricted"]
        ]
    )
    marked = {u["id"] for u in tenant.objects["users"].values() if u["isManagementRestricted"]}
    assert marked == set(tenant.links["administrative_unit_members"][unit["id"]])
    assert marked


# Applications


def test_microsoft_graph_offers_its_true_permissions(tenant: Tenant) -> None:
    graph = only(
        [s for s in tenant.objects["service_principals"].values() if s["appId"] == GRAPH_APP_ID]
    )
    roles = {role["value"]: role["id"] for role in graph["appRoles"]}
    scopes = {scope["value"]: scope["id"] for scope in graph["oauth2PermissionScopes"]}
    assert roles["User.Read.All"] == "df021288-bdef-4463-88db-98f22de89214"
    assert roles["RoleManagement.ReadWrite.Directory"] == "9e3f62cf-ca93-4989-b6ce-bf83c28f9fe8"
    assert scopes["User.Read"] == "e1fe6dd8-ba31-4d61-89e7-88639da4683d"
    assert len(roles) >= 80
    assert graph["appOwnerOrganizationId"] == "f8cdef31-a31e-4b4a-93e4-5f571e91255a"


def test_managed_identities_name_their_azure_resource(tenant: Tenant) -> None:
    identities = [
        s
        for s in tenant.objects["service_principals"].values()
        if s["servicePrincipalType"] == "ManagedIdentity"
    ]
    explicit = Counter(identity["alternativeNames"][0] for identity in identities)
    assert set(explicit) == {"isExplicit=True", "isExplicit=False"}
    for identity in identities:
        assert identity["alternativeNames"][1].startswith("/subscriptions/")
        assert identity["appOwnerOrganizationId"] is None
        user_assigned = "userAssignedIdentities" in identity["alternativeNames"][1]
        assert user_assigned == (identity["alternativeNames"][0] == "isExplicit=True")


def test_every_registration_has_its_service_principal(tenant: Tenant) -> None:
    principals = {s["appId"]: s for s in tenant.objects["service_principals"].values()}
    for application in tenant.objects["applications"].values():
        principal = principals[application["appId"]]
        assert principal["appOwnerOrganizationId"] == tenant.tenant_id
        assert principal["appRoles"] == application["appRoles"]


def test_credentials_have_ended_end_soon_and_end_late(tenant: Tenant) -> None:
    days = [
        (datetime.fromisoformat(credential["endDateTime"]) - NOW) / timedelta(days=1)
        for application in tenant.objects["applications"].values()
        for credential in application["passwordCredentials"] + application["keyCredentials"]
    ]
    assert sum(d < 0 for d in days) >= 3
    assert sum(0 < d < 30 for d in days) >= 3
    assert sum(d > 180 for d in days) >= 3
    assert all(
        credential.get("secretText") is None and credential.get("key") is None
        for application in tenant.objects["applications"].values()
        for credential in application["passwordCredentials"] + application["keyCredentials"]
    )


def test_some_applications_trust_tokens_from_elsewhere(tenant: Tenant) -> None:
    assert any(a["federatedIdentityCredentials"] for a in tenant.objects["applications"].values())


def test_assignments_reach_users_groups_and_applications(tenant: Tenant) -> None:
    rows = tenant.objects["app_role_assignments"].values()
    kinds = Counter(row["principalType"] for row in rows)
    assert set(kinds) == {"User", "Group", "ServicePrincipal"}
    per_resource = Counter(row["resourceId"] for row in rows)
    assert max(per_resource.values()) > 100
    sizes = [
        len(tenant.links["group_members"].get(row["principalId"], ()))
        for row in rows
        if row["principalType"] == "Group"
    ]
    assert max(sizes) > 1000
    required = Counter(
        s["appRoleAssignmentRequired"] for s in tenant.objects["service_principals"].values()
    )
    assert required[True] > 10 < required[False]


def test_consents_have_graphs_leading_space(tenant: Tenant) -> None:
    scopes = [row["scope"] for row in tenant.objects["oauth2_permission_grants"].values()]
    assert any(scope.startswith(" ") for scope in scopes)
    assert any(not scope.startswith(" ") for scope in scopes)


def test_one_provisioning_job_is_in_quarantine(tenant: Tenant) -> None:
    states = Counter(
        job["status"]["code"] for job in tenant.objects["synchronization_jobs"].values()
    )
    assert states["Quarantine"] == 1
    assert states["Active"] > 0
    for job in tenant.objects["synchronization_jobs"].values():
        assert job["servicePrincipalId"] in tenant.objects["service_principals"]


# The demo's figures


def test_the_demo_user_is_in_a_group_four_levels_up_on_two_ways(demo: Tenant) -> None:
    members = demo.links["group_members"]
    way = [
        named(demo, "groups", name)["id"]
        for name in (
            "SG-Finance-Applications",
            "SG-Payroll-Staff",
            "SG-Payroll-Operations",
            "SG-Payroll-Clerks-EMEA",
        )
    ] + [user(demo, DEMO_USER_UPN)["id"]]
    for outer, inner in pairwise(way):
        assert inner in members[outer]
    leads = named(demo, "groups", "SG-Finance-Leads")["id"]
    assert leads in members[way[0]]
    assert way[-1] in members[leads]
    loop = [named(demo, "groups", f"SG-Loop-{letter}")["id"] for letter in "AB"]
    assert loop[1] in members[loop[0]]
    assert loop[0] in members[loop[1]]


def test_the_demo_user_reaches_payroll_directly_and_by_a_group(demo: Tenant) -> None:
    maya = user(demo, DEMO_USER_UPN)["id"]
    payroll = named(demo, "service_principals", DEMO_APPLICATION_NAME)
    access = app_access(demo, payroll)
    clerks = named(demo, "groups", "SG-Payroll-Clerks-EMEA")["id"]
    assert payroll["appRoleAssignmentRequired"]
    assert (maya, "Payroll.Reader") in access
    assert (maya, "Payroll.Approver") in access
    assert (clerks, "Payroll.Reader") in access
    assert maya in demo.links["service_principal_owners"][payroll["id"]]
    registration = named(demo, "applications", DEMO_APPLICATION_NAME)
    assert maya in demo.links["application_owners"][registration["id"]]
    approvers = named(demo, "groups", "SG-Payroll-Approvers")["id"]
    assert maya in demo.links["group_owners"][approvers]
    assert maya not in demo.links["group_members"][approvers]


def test_the_demo_user_can_become_a_global_administrator(demo: Tenant) -> None:
    maya = user(demo, DEMO_USER_UPN)["id"]
    group = named(demo, "groups", "PAG-Global-Admins")
    assert group["isAssignableToRole"]
    assert (GLOBAL_ADMINISTRATOR, "/") in holds(demo, "role_assignments", group["id"])
    assert maya not in demo.links["group_members"][group["id"]]
    assert any(
        row["principalId"] == maya and row["accessId"] == "member"
        for row in demo.objects["group_eligibility_schedule_instances"].values()
        if row["groupId"] == group["id"]
    )
    assert holds(demo, "role_assignments", maya) == set()
    assert len(holds(demo, "role_eligibility_schedule_instances", maya)) == 2


def test_the_demo_guest_is_privileged(demo: Tenant) -> None:
    guest = user(demo, DEMO_GUEST_UPN)
    group = named(demo, "groups", "PAG-Application-Operations")["id"]
    assert guest["userType"] == "Guest"
    assert guest["accountEnabled"]
    assert guest["id"] in demo.links["group_members"][group]
    assert (APPLICATION_ADMINISTRATOR, "/") in holds(demo, "role_assignments", group)
    assert (GLOBAL_ADMINISTRATOR, "/") in holds(
        demo, "role_eligibility_schedule_instances", guest["id"]
    )


def test_the_demo_administrator_is_one(demo: Tenant) -> None:
    admin = user(demo, DEMO_ADMIN_UPN)["id"]
    assert (GLOBAL_ADMINISTRATOR, "/") in holds(demo, "role_assignments", admin)


def test_the_demo_connector_is_too_powerful_and_its_secret_ends_soon(demo: Tenant) -> None:
    connector = named(demo, "service_principals", DEMO_CONNECTOR_NAME)["id"]
    graph = named(demo, "service_principals", "Microsoft Graph")
    held = {value for principal, value in app_access(demo, graph) if principal == connector}
    assert "RoleManagement.ReadWrite.Directory" in held
    ends = [
        datetime.fromisoformat(secret["endDateTime"])
        for secret in named(demo, "applications", DEMO_CONNECTOR_NAME)["passwordCredentials"]
    ]
    assert min(ends) < NOW < max(ends) < NOW + timedelta(days=10)
