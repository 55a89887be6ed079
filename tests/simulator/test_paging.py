"""Pages: complete, within limits, linked to the host that was asked, and mortal."""

from typing import Any

import pytest

from entra_pipeline.simulator.process import running
from tests.simulator.conftest import ADA, Client


@pytest.mark.parametrize(
    ("path", "collection"),
    [
        ("/users", "users"),
        ("/groups", "groups"),
        ("/servicePrincipals", "service_principals"),
        ("/applications", "applications"),
        ("/devices", "devices"),
        ("/contacts", "contacts"),
        ("/directory/administrativeUnits", "administrative_units"),
        ("/roleManagement/directory/roleDefinitions", "role_definitions"),
        ("/roleManagement/directory/roleAssignments", "role_assignments"),
        (
            "/roleManagement/directory/roleAssignmentScheduleInstances",
            "role_assignment_schedule_instances",
        ),
        (
            "/roleManagement/directory/roleEligibilityScheduleInstances",
            "role_eligibility_schedule_instances",
        ),
        ("/oauth2PermissionGrants", "oauth2_permission_grants"),
        ("/subscribedSkus", "subscribed_skus"),
        ("/organization", "organization"),
        ("/domains", "domains"),
        ("/identity/conditionalAccess/policies", "conditional_access_policies"),
        ("/reports/authenticationMethods/userRegistrationDetails", "user_registration_details"),
    ],
)
def test_a_walk_meets_every_object_once(generated: Client, path: str, collection: str) -> None:
    truth = [row["id"] for row in generated.simulator.truth(collection)]
    assert generated.ids(path) == truth
    if not path.startswith(("/subscribedSkus", "/organization", "/domains")):
        assert generated.ids(f"{path}?$top=7") == truth


def test_the_default_page_holds_a_hundred(generated: Client) -> None:
    assert len(generated.get("/users").json()["value"]) == 100


@pytest.mark.parametrize("top", ["0", "1000", "-1", "x"])
def test_a_page_size_out_of_bounds_is_refused(generated: Client, top: str) -> None:
    assert generated.get(f"/users?$top={top}").status_code == 400


def test_sign_in_logs_page_by_a_thousand(small: Client) -> None:
    assert small.get("/auditLogs/signIns?$top=1000").status_code == 200
    assert small.refusal("/auditLogs/signIns?$top=1001")[1] == "Request_UnsupportedQuery"


def test_links_lead_back_to_the_address_that_was_asked(generated: Client) -> None:
    secure = Client(generated.simulator, secure=True)
    for client in (generated, secure):
        page = client.get("/users?$top=5&$select=id").json()
        assert page["@odata.nextLink"].startswith(f"{client.base}/v1.0/users?")
        assert "$select=id" in page["@odata.nextLink"]
        assert page["@odata.context"] == f"{client.base}/v1.0/$metadata#users(id)"


def test_a_page_token_belongs_to_its_list(generated: Client) -> None:
    link = generated.get("/users?$top=5").json()["@odata.nextLink"]
    stranger = link.replace("/users?", "/groups?")
    assert generated.refusal(stranger) == (400, "Request_BadRequest")


def test_a_page_token_dies_and_so_does_the_walk() -> None:
    with running(users=20, groups=5, seed=1) as simulator:
        client = Client(simulator)
        link = client.get("/users?$top=5").json()["@odata.nextLink"]
        assert client.get(link).status_code == 200
        simulator.advance(3700)
        client = Client(simulator)
        assert client.refusal(link) == (400, "Directory_ExpiredPageToken")


def test_changes_during_a_walk_neither_skip_nor_repeat() -> None:
    with running(users=80, groups=30, seed=2) as simulator:
        client = Client(simulator)
        before = {row["id"] for row in simulator.truth("groups")}
        seen: list[str] = []
        link: str | None = "/groups?$top=4&$select=id"
        step = 0
        while link is not None:
            page = client.get(link).json()
            seen += [row["id"] for row in page["value"]]
            simulator.mutate(seed=step, changes=15)
            step += 1
            link = page.get("@odata.nextLink")
        after = {row["id"] for row in simulator.truth("groups")}
        assert len(seen) == len(set(seen))
        assert before & after <= set(seen)


def test_empty_pages_may_come_between() -> None:
    with running(users=30, groups=5, seed=3, empty_pages=2) as simulator:
        client = Client(simulator)
        pages: list[dict[str, Any]] = []
        link: str | None = "/users?$top=10&$select=id"
        while link is not None:
            pages.append(client.get(link).json())
            link = pages[-1].get("@odata.nextLink")
        assert any(not page["value"] and "@odata.nextLink" in page for page in pages)
        seen = [row["id"] for page in pages for row in page["value"]]
        assert seen == [row["id"] for row in simulator.truth("users")]


def test_a_missing_page_of_roles_members_is_not_needed(small: Client) -> None:
    role = small.rows("/directoryRoles")[0]["id"]
    page = small.get(f"/directoryRoles/{role}/members").json()
    assert [row["id"] for row in page["value"]] == [ADA]
    assert "@odata.nextLink" not in page
