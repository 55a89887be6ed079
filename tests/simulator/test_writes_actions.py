"""Licences, sessions and authentication methods."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.simulator.process import running
from entra_pipeline.simulator.tenant import dump
from tests.simulator.conftest import guid
from tests.simulator.writing import (
    ABROAD,
    ADA,
    BOB,
    EVE,
    LICENSED,
    NOBODY,
    PASSWORD_METHOD,
    PLAN_A,
    PLAN_B,
    RARE,
    STAFF,
    SUITE,
    Writing,
    tenant,
    writing,
)

STATES = "$select=assignedLicenses,licenseAssignmentStates,signInSessionsValidFromDateTime"


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writing]:
    """For what is refused."""
    with writing(tmp_path_factory.mktemp("writing")) as client:
        yield client


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Writing]:
    with writing(tmp_path) as client:
        yield client


def licence(sku: str = SUITE, *disabled: str) -> dict[str, Any]:
    return {"addLicenses": [{"skuId": sku, "disabledPlans": list(disabled)}], "removeLicenses": []}


def no_licence(*skus: str) -> dict[str, Any]:
    return {"addLicenses": [], "removeLicenses": list(skus)}


def consumed(client: Writing) -> int:
    (sku,) = [each for each in client.rows("/subscribedSkus") if each["skuId"] == SUITE]
    return int(sku["consumedUnits"])


def test_a_licence_is_given_changed_and_taken(client: Writing) -> None:
    path = f"/users/{ADA}/assignLicense"
    assert client.done("POST", path, licence(SUITE, PLAN_A), 200)["id"] == ADA
    client.done("POST", path, licence(SUITE, PLAN_A), 200)
    user = client.get(f"/users/{ADA}?{STATES}").json()
    assert user["assignedLicenses"] == [{"skuId": SUITE, "disabledPlans": [PLAN_A]}]
    assert consumed(client) == 1
    client.done("POST", path, licence(SUITE, PLAN_B), 200)
    (state,) = client.get(f"/users/{ADA}?{STATES}").json()["licenseAssignmentStates"]
    assert (state["disabledPlans"], state["assignedByGroup"]) == ([PLAN_B], None)
    client.done("POST", path, no_licence(SUITE), 200)
    assert client.get(f"/users/{ADA}?{STATES}").json()["assignedLicenses"] == []
    assert consumed(client) == 0
    assert (
        "does not have a corresponding license"
        in client.refused("POST", path, no_licence(SUITE))[2]
    )
    assert client.news() == [
        ("assign_license", ADA, ADA),
        ("assign_license", ADA, ADA),
        ("remove_license", ADA, ADA),
    ]
    assert client.activities().count("Change user license") == 3


@pytest.mark.parametrize(
    ("user", "body", "text"),
    [
        (ABROAD, licence(), "invalid usage location"),
        (ADA, licence(RARE), "does not have any available licenses"),
        (ADA, licence(NOBODY), "valid company License"),
        (ADA, licence("x"), "no identifier"),
        (ADA, licence(SUITE, NOBODY), "service plan"),
        (ADA, licence(SUITE, PLAN_A, PLAN_B), "All service plans"),
        (ADA, {"addLicenses": []}, "removeLicenses"),
        (ADA, {"removeLicenses": []}, "addLicenses"),
        (ADA, {**licence(), "removeLicenses": [SUITE]}, "more than once"),
        (ADA, no_licence(SUITE), "corresponding license"),
    ],
)
def test_licences_that_are_refused(
    untouched: Writing, user: str, body: dict[str, Any], text: str
) -> None:
    status, code, message = untouched.refused("POST", f"/users/{user}/assignLicense", body)
    assert (status, code) == (400, "Request_BadRequest")
    assert text in message


def test_what_a_group_gives_only_the_group_takes(client: Writing) -> None:
    client.done("POST", f"/groups/{LICENSED}/members/$ref", client.ref(ADA))
    path = f"/users/{ADA}/assignLicense"
    assert "inherited from a group" in client.refused("POST", path, no_licence(SUITE))[2]
    client.done("POST", path, licence(SUITE, PLAN_A), 200)
    user = client.get(f"/users/{ADA}?{STATES}").json()
    assert len(user["licenseAssignmentStates"]) == 2
    assert consumed(client) == 1
    # A plan that one of the two ways gives is given.
    assert user["assignedLicenses"] == [{"skuId": SUITE, "disabledPlans": []}]
    client.done("POST", path, no_licence(SUITE), 200)
    user = client.get(f"/users/{ADA}?{STATES}").json()
    assert user["assignedLicenses"] == [{"skuId": SUITE, "disabledPlans": [PLAN_B]}]
    assert consumed(client) == 1


def test_a_groups_licence_reaches_its_members_and_leaves_them(client: Writing) -> None:
    path = f"/groups/{STAFF}/assignLicense"
    client.done("POST", path, licence(SUITE, PLAN_A), 200)
    (state,) = client.get(f"/users/{ADA}?{STATES}").json()["licenseAssignmentStates"]
    assert (state["assignedByGroup"], state["disabledPlans"]) == (STAFF, [PLAN_A])
    client.done("POST", path, licence(SUITE), 200)
    (state,) = client.get(f"/users/{ADA}?{STATES}").json()["licenseAssignmentStates"]
    assert state["disabledPlans"] == []
    client.done("POST", path, no_licence(SUITE), 200)
    assert client.get(f"/users/{ADA}?{STATES}").json()["licenseAssignmentStates"] == []
    assert client.refused("POST", path, no_licence(SUITE))[0] == 400
    assert [kind for kind, _, _ in client.news()] == [
        "assign_license",
        "assign_license",
        "remove_license",
    ]


def test_revoking_sessions_answers_200_with_true(client: Writing) -> None:
    answer = client.send("POST", f"/users/{ADA}/revokeSignInSessions")
    assert (answer.status_code, answer.json()["value"]) == (200, True)
    user = client.get(f"/users/{ADA}?{STATES}").json()
    assert user["signInSessionsValidFromDateTime"] is not None
    client.done("POST", f"/users/{ADA}/revokeSignInSessions", status=200)
    assert client.news() == [("revoke_sessions", ADA, ADA)] * 2
    assert client.activities() == ["Update StsRefreshTokenValidFrom Timestamp"] * 2


PHONE, APP, KEY = guid(201), guid(202), guid(203)


@pytest.fixture
def registered(tmp_path: Path) -> Iterator[Writing]:
    """A tenant in which Ada has a password, a phone (her default), an app and a key."""
    made = tenant()
    for method_id, kind in (
        (PASSWORD_METHOD, "password"),
        (PHONE, "phone"),
        (APP, "microsoftAuthenticator"),
        (KEY, "fido2"),
    ):
        made.objects["authentication_methods"][f"{ADA}/{method_id}"] = {
            "@odata.type": f"#microsoft.graph.{kind}AuthenticationMethod",
            "id": method_id,
            "userId": ADA,
        }
    made.objects["user_registration_details"][ADA] = {
        "id": ADA,
        "userPreferredMethodForSecondaryAuthentication": "sms",
        "userPrincipalName": "ada@writing.example",
    }
    dump(made, tmp_path)
    with running(tenant=tmp_path, writer=True) as simulator:
        yield Writing(simulator)


def test_the_default_method_goes_last_and_the_password_never(registered: Writing) -> None:
    path = f"/users/{ADA}/authentication"
    status, _, message = registered.refused("DELETE", f"{path}/phoneMethods/{PHONE}")
    assert (status, "default" in message) == (400, True)
    assert registered.refused("DELETE", f"{path}/passwordMethods/{PASSWORD_METHOD}")[0] == 405
    assert registered.refused("DELETE", f"{path}/phoneMethods/{APP}")[0] == 404
    registered.done("DELETE", f"{path}/microsoftAuthenticatorMethods/{APP}")
    assert registered.refused("DELETE", f"{path}/phoneMethods/{PHONE}")[0] == 400
    registered.done("DELETE", f"{path}/fido2Methods/{KEY}")
    registered.done("DELETE", f"{path}/phoneMethods/{PHONE}")
    assert registered.refused("DELETE", f"{path}/phoneMethods/{PHONE}")[0] == 404
    assert [row["id"] for row in registered.rows(f"{path}/methods")] == [PASSWORD_METHOD]
    assert registered.news() == [("delete_method", ADA, ADA)] * 3
    assert registered.activities() == ["Admin deleted security info"] * 3


def test_methods_need_their_permission(tmp_path: Path) -> None:
    lacking = ("UserAuthenticationMethod.ReadWrite.All", "User.RevokeSessions.All")
    with writing(tmp_path, writer_without_permission=(*lacking, "User.ReadWrite.All")) as client:
        path = f"/users/{BOB}/authentication/phoneMethods/{PHONE}"
        assert client.refused("DELETE", path)[0] == 403
        assert client.refused("POST", f"/users/{EVE}/revokeSignInSessions")[0] == 403
        client.done("POST", f"/users/{EVE}/assignLicense", licence(), 200)
