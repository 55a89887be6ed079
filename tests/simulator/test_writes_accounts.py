"""Users over Graph: created, changed, deleted, restored, invited; who may do it to whom."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.simulator.writing import (
    ABROAD,
    ADA,
    ADMIN,
    BOB,
    EMPTY,
    EVE,
    HELPER,
    LONER,
    NESTED,
    NOBODY,
    PRIVILEGED_AUTHENTICATION_ADMINISTRATOR,
    STAFF,
    SYNCED,
    Writing,
    writing,
)

CANARY = "Canary-7f31-Passw0rd"
NEW = {
    "accountEnabled": True,
    "displayName": "New Person",
    "mailNickname": "new",
    "userPrincipalName": "new@writing.example",
    "passwordProfile": {"password": CANARY, "forceChangePasswordNextSignIn": True},
}
DELETED = "/directory/deletedItems"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writing]:
    """A writer that holds a role good for people without roles."""
    with writing(tmp_path_factory.mktemp("writing"), writer_roles=["User Administrator"]) as client:
        yield client


@pytest.fixture
def client(shared: Writing) -> Writing:
    shared.news()
    return shared


def made(client: Writing, name: str, **more: Any) -> str:
    """A user of the test's own."""
    body = {**NEW, "mailNickname": name, "userPrincipalName": f"{name}@writing.example", **more}
    user: dict[str, Any] = client.done("POST", "/users", body, 201)
    client.news()
    return str(user["id"])


def test_a_user_is_created_with_what_was_asked(client: Writing) -> None:
    body = {
        **NEW,
        "givenName": "New",
        "employeeId": "1234567890123456",
        "usageLocation": "SE",
        "onPremisesExtensionAttributes": {"extensionAttribute1": "x"},
        "manager@odata.bind": client.link(ADA),
    }
    answer = client.send("POST", "/users", body)
    assert answer.status_code == 201
    user = answer.json()
    assert user["id"] in answer.headers["location"]
    assert set(user) == {
        "@odata.context",
        "businessPhones",
        "displayName",
        "givenName",
        "id",
        "jobTitle",
        "mail",
        "mobilePhone",
        "officeLocation",
        "preferredLanguage",
        "surname",
        "userPrincipalName",
    }
    path = f"/users/{user['id']}"
    shown = client.get(f"{path}?$select=accountEnabled,employeeId,usageLocation,userType").json()
    assert shown["accountEnabled"] is True
    assert shown["employeeId"] == "1234567890123456"
    assert client.get(f"{path}/manager").json()["id"] == ADA
    assert [row["id"] for row in client.rows(f"{path}/authentication/methods")]
    status, _, message = client.refused("POST", "/users", NEW)
    assert (status, "userPrincipalName already exists" in message) == (400, True)
    assert client.news() == [
        ("create_user", user["id"], None),
        ("set_manager", user["id"], ADA),
    ]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"displayName": None}, "displayName"),
        ({"mailNickname": ""}, "mailNickname"),
        ({"accountEnabled": "yes"}, "accountEnabled"),
        ({"passwordProfile": None}, "password"),
        ({"passwordProfile": {"password": "short1A"}}, "complexity"),
        ({"passwordProfile": {"password": "alllowercaseletters"}}, "complexity"),
        ({"passwordProfile": {"password": "Refused1-refused"}}, "complexity"),
        ({"userPrincipalName": "no-domain"}, "userPrincipalName"),
        ({"userPrincipalName": "refused@elsewhere.example"}, "domain"),
        ({"userPrincipalName": "refused@pending.example"}, "domain"),
        ({"userPrincipalName": "refused@federated.example"}, "federated"),
        ({"employeeId": "12345678901234567"}, "employeeId"),
        ({"usageLocation": "Sweden"}, "usageLocation"),
        ({"shoeSize": 43}, "shoeSize"),
        ({"id": NOBODY}, "read-only"),
        ({"jobTitle": 5}, "jobTitle"),
        ({"employeeHireDate": "soon"}, "employeeHireDate"),
        ({"businessPhones": "1"}, "businessPhones"),
        ({"manager@odata.bind": "http://localhost/v1.0/users/" + NOBODY}, NOBODY),
    ],
)
def test_users_that_are_not_created(client: Writing, change: dict[str, Any], text: str) -> None:
    body = {**NEW, "mailNickname": "refused", "userPrincipalName": "refused@writing.example"}
    status, _, message = client.refused("POST", "/users", {**body, **change})
    assert status == (404 if NOBODY in text else 400)
    assert text in message
    assert client.get("/users/refused@writing.example").status_code == 404


def test_a_federated_user_has_an_immutable_id(client: Writing) -> None:
    made(
        client,
        "fed",
        userPrincipalName="fed@federated.example",
        onPremisesImmutableId="abc",
    )


def test_an_update_changes_and_names_only_what_differs(client: Writing) -> None:
    user = made(client, "updated")
    path = f"/users/{user}"
    client.done("PATCH", path, {"jobTitle": "Engineer", "department": "R&D"})
    client.done("PATCH", "/users/updated@writing.example", {"jobTitle": "Engineer"})
    client.done("PATCH", path, {"accountEnabled": False})
    client.done("PATCH", path, {"accountEnabled": False})
    client.done("PATCH", path, {"onPremisesExtensionAttributes": {"extensionAttribute3": "c"}})
    assert client.refused("PATCH", path, {"mail": None})[0] == 400
    assert client.refused("PATCH", path, {"aboutMe": "x"})[0] == 400
    properties = [row["details"]["properties"] for row in client.simulator.effects()[-3:]]
    assert properties == [
        ["department", "jobTitle"],
        ["accountEnabled"],
        ["onPremisesExtensionAttributes"],
    ]
    assert len(client.news()) == 3
    assert {"Update user", "Disable account"} <= set(client.activities()[-4:])
    taken = {"userPrincipalName": "ada@writing.example"}
    assert "already exists" in client.refused("PATCH", path, taken)[2]


def test_on_premises_users_are_changed_on_premises(client: Writing) -> None:
    path = f"/users/{SYNCED}"
    for change in ({"jobTitle": "x"}, {"accountEnabled": False}, {"displayName": "x"}):
        assert "on-premises mastered" in client.refused("PATCH", path, change)[2]
    assert client.refused("PUT", f"{path}/manager/$ref", client.ref(ADA))[0] == 400
    client.done("PATCH", path, {"usageLocation": "DE"})
    client.done("POST", f"/groups/{EMPTY}/members/$ref", client.ref(SYNCED))


def test_the_manager_is_one_and_another_and_none(client: Writing) -> None:
    path = f"/users/{BOB}/manager"
    client.done("PUT", f"{path}/$ref", client.ref(ADA))
    assert client.news() == []
    client.done("PUT", f"{path}/$ref", client.ref(EVE, "users"))
    assert client.get(path).json()["id"] == EVE
    client.done("DELETE", f"{path}/$ref")
    assert client.refused("DELETE", f"{path}/$ref")[0] == 404
    assert client.refused("PUT", f"{path}/$ref", client.ref(BOB))[0] == 400
    assert client.refused("PUT", f"{path}/$ref", client.ref(NESTED))[0] == 400
    assert client.news() == [("set_manager", BOB, EVE), ("remove_manager", BOB, EVE)]


def test_a_deleted_user_comes_back_with_memberships(client: Writing) -> None:
    user = made(client, "returning")
    client.done("POST", f"/groups/{STAFF}/members/$ref", client.ref(user))
    link = client.get("/users/delta?$select=id&$deltatoken=latest").json()["@odata.deltaLink"]
    client.done("DELETE", f"/users/{user}")
    assert client.refused("DELETE", f"/users/{user}")[0] == 404
    assert user not in client.ids(f"/groups/{STAFF}/members")
    assert user in client.ids(f"{DELETED}/microsoft.graph.user")
    (row,) = client.get(link).json()["value"]
    assert row["@removed"] == {"reason": "changed"}
    restored = client.done("POST", f"{DELETED}/{user}/restore", status=200)
    assert restored["id"] == user
    assert user in client.ids(f"/groups/{STAFF}/members")
    assert client.refused("POST", f"{DELETED}/{user}/restore")[0] == 404
    kinds = [kind for kind, _, _ in client.news()]
    assert kinds == ["add_group_member", "delete_user", "restore_user"]
    assert client.activities()[-2:] == ["Delete user", "Restore user"]


def test_a_name_taken_meanwhile_stands_in_the_way_of_a_restoration(client: Writing) -> None:
    first = made(client, "twice")
    client.done("DELETE", f"/users/{first}")
    made(client, "twice")
    path = f"{DELETED}/{first}/restore"
    assert "already exists" in client.refused("POST", path)[2]
    client.done("POST", path, {"newUserPrincipalName": "twice2@writing.example"}, 200)
    assert client.get("/users/twice2@writing.example").json()["id"] == first


def test_a_purged_user_does_not_come_back(client: Writing) -> None:
    user = made(client, "purged")
    assert client.refused("DELETE", f"{DELETED}/{user}")[0] == 404
    client.done("DELETE", f"/users/{user}")
    client.done("DELETE", f"{DELETED}/{user}")
    assert client.refused("POST", f"{DELETED}/{user}/restore")[0] == 404
    assert [kind for kind, _, _ in client.news()] == ["delete_user", "purge_user"]


def test_a_member_deleted_without_ref_is_gone_altogether(client: Writing) -> None:
    user = made(client, "careless")
    client.done("POST", f"/groups/{STAFF}/members/$ref", client.ref(user))
    assert client.refused("DELETE", f"/groups/{NESTED}/members/{user}")[0] == 404
    client.done("DELETE", f"/groups/{STAFF}/members/{user}")
    assert client.get(f"/users/{user}").status_code == 404
    assert client.news()[-1] == ("delete_user", user, user)


def test_a_guest_is_invited_once(client: Writing) -> None:
    body = {
        "invitedUserEmailAddress": "guest@partner.example",
        "inviteRedirectUrl": "https://myapps.microsoft.com",
        "sendInvitationMessage": False,
    }
    first = client.done("POST", "/invitations", body, 201)
    guest = first["invitedUser"]["id"]
    user = client.get(f"/users/{guest}?$select=userType,userPrincipalName,externalUserState").json()
    assert (user["userType"], user["externalUserState"]) == ("Guest", "PendingAcceptance")
    assert user["userPrincipalName"].startswith("guest_partner.example#EXT#@")
    assert client.done("POST", "/invitations", body, 201)["invitedUser"]["id"] == guest
    assert client.news() == [("invite_user", guest, None)]
    assert "Invite external user" in client.activities()
    for change in (
        {"invitedUserEmailAddress": "ada@writing.example"},
        {"invitedUserEmailAddress": "someone@writing.example"},
        {"invitedUserEmailAddress": "nonsense"},
        {"inviteRedirectUrl": None},
    ):
        assert client.refused("POST", "/invitations", {**body, **change})[0] == 400


SENSITIVE: list[tuple[str, str, Any]] = [
    ("PATCH", "", {"accountEnabled": False}),
    ("PATCH", "", {"otherMails": ["x@else.example"]}),
    ("PATCH", "", {"mobilePhone": "+1"}),
    ("PATCH", "", {"passwordProfile": {"password": CANARY}}),
    ("POST", "/revokeSignInSessions", None),
    ("DELETE", "", None),
]


@pytest.mark.parametrize(("method", "suffix", "body"), SENSITIVE)
def test_administrators_are_out_of_reach_without_a_higher_role(
    client: Writing, method: str, suffix: str, body: Any
) -> None:
    for user in (ADMIN, LONER):
        got = client.refused(method, f"/users/{user}{suffix}", body)
        assert got[:2] == (403, "Authorization_RequestDenied")
    client.done("PATCH", f"/users/{ADMIN}", {"jobTitle": "Admin"})
    client.done("PATCH", f"/users/{HELPER}", {"accountEnabled": False})
    client.done("PATCH", f"/users/{HELPER}", {"accountEnabled": True})


def test_passwords_need_a_role_even_for_ordinary_people(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    body = {"passwordProfile": {"password": CANARY, "forceChangePasswordNextSignIn": True}}
    with writing(tmp_path_factory.mktemp("none")) as client:
        assert client.refused("PATCH", f"/users/{ADA}", body)[0] == 403
        client.done("PATCH", f"/users/{ADA}", {"accountEnabled": False})
    role = PRIVILEGED_AUTHENTICATION_ADMINISTRATOR
    with writing(tmp_path_factory.mktemp("strong"), writer_roles=[role]) as client:
        for user in (ADA, ADMIN, LONER):
            client.done("PATCH", f"/users/{user}", body)
            assert client.news() == [("reset_password", user, user)]
        weak = {"passwordProfile": {"password": "weak"}}
        assert client.refused("PATCH", f"/users/{ADA}", weak)[0] == 400
        assert "Reset user password" in client.activities()
        for method, suffix, sent in SENSITIVE:
            assert client.send(method, f"/users/{ADMIN}{suffix}", sent).status_code < 300


def test_no_password_is_kept_or_told(client: Writing) -> None:
    user = made(client, "secretive")
    client.done("PATCH", f"/users/{user}", {"passwordProfile": {"password": CANARY + "x"}})
    places = [
        str(client.simulator.truth("users")),
        str(client.simulator.effects()),
        str(client.rows("/auditLogs/directoryAudits")),
        client.get(f"/users/{user}?$select=passwordProfile").text,
    ]
    assert not any("Canary" in place for place in places)


@pytest.mark.parametrize(
    ("lacking", "body"),
    [
        ("User-PasswordProfile.ReadWrite.All", {"passwordProfile": {"password": CANARY}}),
        ("User.EnableDisableAccount.All", {"accountEnabled": False}),
        ("User-LifeCycleInfo.ReadWrite.All", {"employeeLeaveDateTime": "2030-01-01T00:00:00Z"}),
        ("none", {"jobTitle": "x"}),
    ],
)
def test_properties_have_permissions_of_their_own(
    tmp_path_factory: pytest.TempPathFactory, lacking: str, body: dict[str, Any]
) -> None:
    without = (lacking, "User.ReadWrite.All")
    with writing(
        tmp_path_factory.mktemp("less"),
        writer_without_permission=without,
        writer_roles=["Privileged Authentication Administrator"],
    ) as client:
        assert client.refused("PATCH", f"/users/{ABROAD}", body)[0] == 403
        assert client.refused("POST", "/users", NEW)[0] == 403
        if lacking != "User.EnableDisableAccount.All":
            client.done("PATCH", f"/users/{ABROAD}", {"accountEnabled": False})
