"""Costs and limits: units per request, refusals with the headers that explain them."""

import time

import pytest

from entra_pipeline.simulator.clock import Clock
from entra_pipeline.simulator.errors import GraphError
from entra_pipeline.simulator.process import running
from entra_pipeline.simulator.throttle import Throttle
from tests.simulator.conftest import ADA, PORTAL, STAFF, Client


@pytest.mark.parametrize(
    ("path", "cost"),
    [
        ("/users", 2),
        ("/users?$select=id", 1),
        ("/users?$top=5", 1),
        ("/users?$select=id&$top=5", 1),
        ("/users?$expand=manager", 3),
        ("/users?$select=id&$expand=manager($select=id)", 2),
        (f"/users/{ADA}", 1),
        ("/groups", 1),
        (f"/groups/{STAFF}/members", 3),
        (f"/groups/{STAFF}/members?$select=id&$top=999", 2),
        (f"/groups/{STAFF}/transitiveMembers", 5),
        (f"/groups/{STAFF}/owners", 1),
        (f"/users/{ADA}/memberOf", 2),
        (f"/users/{ADA}/transitiveMemberOf", 2),
        (f"/users/{ADA}/ownedObjects", 2),
        (f"/users/{ADA}/licenseDetails", 2),
        (f"/groups/{STAFF}/memberOf", 1),
        ("/applications", 2),
        ("/servicePrincipals", 1),
        (f"/servicePrincipals/{PORTAL}/appRoleAssignedTo", 1),
        (f"/servicePrincipals/{PORTAL}/appRoleAssignments", 2),
        ("/oauth2PermissionGrants", 2),
        ("/subscribedSkus", 3),
        ("/directoryRoles", 1),
        ("/groups/delta", 1),
    ],
)
def test_every_answer_says_what_it_cost(small: Client, path: str, cost: int) -> None:
    assert small.get(path).headers["x-ms-resource-unit"] == str(cost)


def test_ids_cost_five_units_or_two(small: Client) -> None:
    body = {"ids": [ADA]}
    plain = small.post("/directoryObjects/getByIds", body)
    assert plain.headers["x-ms-resource-unit"] == "5"
    selected = small.post("/directoryObjects/getByIds?$select=id", body)
    assert selected.headers["x-ms-resource-unit"] == "2"


def test_a_bucket_of_units_empties_warns_refuses_and_fills_again() -> None:
    clock = Clock()
    throttle = Throttle("s", clock, "tenant")
    spent = 0
    warned: list[float] = []

    def spend_everything() -> None:
        nonlocal spent
        while True:
            headers = throttle.charge("app", 100, None)
            spent += 100
            if "x-ms-throttle-limit-percentage" in headers:
                warned.append(float(headers["x-ms-throttle-limit-percentage"]))

    with pytest.raises(GraphError) as caught:
        spend_everything()
    assert 3500 <= spent <= 3700
    assert warned[0] >= 0.8
    assert caught.value.status == 429
    assert caught.value.headers["x-ms-throttle-information"] == "ResourceUnitLimitExceeded"
    assert caught.value.headers["x-ms-throttle-scope"] == "Tenant_Application/ReadWrite/app/tenant"
    wait = float(caught.value.headers["Retry-After"])
    assert 0 < wait < 1
    throttle.charge("another app", 100, None)
    clock.advance(wait)
    throttle.charge("app", 100, None)


def test_report_and_activity_classes_are_limited_by_requests() -> None:
    with running(users=20, groups=5, seed=1, throttle="l") as simulator:
        client = Client(simulator)
        path = "/reports/authenticationMethods/userRegistrationDetails"
        codes = [client.get(path).status_code for _ in range(6)]
        assert codes == [200] * 5 + [429]
        refused = client.get(path)
        assert 0 < float(refused.headers["Retry-After"]) <= 10
        activity = "/users?$select=id,signInActivity"
        codes = [client.get(activity).status_code for _ in range(11)]
        assert codes == [200] * 10 + [429]
        assert client.get("/users?$select=id").status_code == 200
        assert simulator.stats()["throttled"] == 3
        simulator.advance(61)
        assert client.get(activity).status_code == 200


def test_conditional_access_refuses_without_saying_when() -> None:
    with running(users=20, groups=5, seed=1, throttle="l") as simulator:
        client = Client(simulator)
        started = time.monotonic()
        answers = [client.get("/identity/conditionalAccess/policies") for _ in range(3)]
        assert time.monotonic() - started < 1
        assert [answer.status_code for answer in answers] == [200, 429, 429]
        assert "Retry-After" not in answers[1].headers


def test_nothing_is_refused_unless_asked_for(small: Client) -> None:
    path = "/identity/conditionalAccess/policies"
    assert {small.get(path).status_code for _ in range(8)} == {200}


def test_pages_with_sign_in_activity_hold_five_hundred() -> None:
    with running(users=620, groups=5, seed=1) as simulator:
        page = Client(simulator).get("/users?$select=id,signInActivity&$top=999").json()
    assert len(page["value"]) == 500
    assert "signInActivity" in page["value"][0]
