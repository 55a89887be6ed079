"""Groups created, changed, upserted and deleted over Graph."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.simulator.writing import (
    ADA,
    BOB,
    DYNAMIC,
    EMPTY,
    EVE,
    LICENSED,
    LIST,
    NOBODY,
    ON_PREMISES,
    TEAM,
    Writing,
    writing,
)

SECURITY = {
    "displayName": "Made",
    "mailEnabled": False,
    "mailNickname": "made",
    "securityEnabled": True,
}
UNIFIED = {**SECURITY, "mailEnabled": True, "securityEnabled": False, "groupTypes": ["Unified"]}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writing]:
    """For what is refused, and for groups that a test makes for itself."""
    with writing(tmp_path_factory.mktemp("writing")) as client:
        yield client


@pytest.fixture
def client(shared: Writing) -> Writing:
    shared.news()
    return shared


def test_a_security_group_is_made_with_owner_and_members(client: Writing) -> None:
    body = {
        **SECURITY,
        "description": "For a test",
        "owners@odata.bind": [client.link(ADA)],
        "members@odata.bind": [client.link(BOB), client.link(EVE)],
    }
    group = client.done("POST", "/groups", body, 201)
    assert (group["displayName"], group["description"]) == ("Made", "For a test")
    assert group["securityEnabled"] is True
    assert group["@odata.context"].endswith("$metadata#groups/$entity")
    assert client.ids(f"/groups/{group['id']}/owners") == [ADA]
    assert set(client.ids(f"/groups/{group['id']}/members")) == {BOB, EVE}
    assert client.news() == [
        ("create_group", group["id"], None),
        ("add_group_member", group["id"], BOB),
        ("add_group_member", group["id"], EVE),
        ("add_group_owner", group["id"], ADA),
    ]


def test_names_of_groups_are_not_unique_but_addresses_are(client: Writing) -> None:
    first = client.done("POST", "/groups", UNIFIED, 201)
    assert first["mail"] == "made@writing.example"
    status, _, message = client.refused("POST", "/groups", UNIFIED)
    assert (status, "mailNickname already exists" in message) == (400, True)
    other = client.done("POST", "/groups", SECURITY, 201)
    assert other["id"] != client.done("POST", "/groups", SECURITY, 201)["id"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"displayName": None}, "displayName"),
        ({"mailNickname": "a b"}, "mailNickname"),
        ({"mailEnabled": "no"}, "mailEnabled"),
        ({"mailEnabled": True}, "mail-enabled"),
        ({"securityEnabled": False}, "security-enablement"),
        ({"groupTypes": ["Unified"]}, "mail-enablement"),
        ({"groupTypes": ["Other"]}, "groupTypes"),
        ({"groupTypes": ["DynamicMembership"]}, "membershipRule"),
        ({"nonsense": 1}, "nonsense"),
        ({"onPremisesSyncEnabled": True}, "read-only"),
        ({"description": 5}, "description"),
        (
            {
                "isAssignableToRole": True,
                "groupTypes": ["DynamicMembership"],
                "membershipRule": "user.city -eq 'X'",
            },
            "dynamic",
        ),
    ],
)
def test_what_cannot_be_created(client: Writing, change: dict[str, Any], text: str) -> None:
    status, code, message = client.refused("POST", "/groups", {**SECURITY, **change})
    assert (status, code) == (400, "Request_BadRequest")
    assert text in message


def test_a_group_is_created_with_all_its_references_or_not_at_all(client: Writing) -> None:
    before = set(client.ids("/groups"))
    body = {**SECURITY, "members@odata.bind": [client.link(ADA), client.link(NOBODY)]}
    assert client.refused("POST", "/groups", body)[0] == 404
    body = {**SECURITY, "members@odata.bind": [client.link(ADA)] * 2}
    assert client.refused("POST", "/groups", body)[0] == 400
    assert set(client.ids("/groups")) == before


def test_a_unique_name_makes_creation_safe_to_repeat(client: Writing) -> None:
    path = "/groups(uniqueName='the-one')"
    assert client.refused("PATCH", path, SECURITY)[0] == 404
    header = {"Prefer": "create-if-missing"}
    first = client.send("PATCH", path, SECURITY, header)
    assert first.status_code == 201
    group = first.json()["id"]
    assert client.send("PATCH", path, SECURITY, header).status_code == 204
    assert client.get(path).json()["id"] == group
    assert client.news() == [("create_group", group, None)]
    assert (
        "uniqueName" in client.refused("POST", "/groups", {**SECURITY, "uniqueName": "THE-ONE"})[2]
    )
    assert client.refused("PATCH", f"/groups/{group}", {"uniqueName": "other"})[0] == 400


def test_role_assignable_groups_need_more_and_stay_so(client: Writing, tmp_path: Path) -> None:
    body = {**SECURITY, "isAssignableToRole": True}
    group = client.done("POST", "/groups", body, 201)
    path = f"/groups/{group['id']}"
    assert client.get(path).json()["isAssignableToRole"] is True
    assert client.refused("PATCH", path, {"isAssignableToRole": False})[0] == 400
    lacking = ("RoleManagement.ReadWrite.Directory",)
    with writing(tmp_path, writer_without_permission=lacking) as less:
        assert less.refused("POST", "/groups", body)[0] == 403
        less.done("POST", "/groups", SECURITY, 201)


def test_an_update_says_what_it_changed_and_nothing_when_it_did_not(client: Writing) -> None:
    group = client.done("POST", "/groups", SECURITY, 201)["id"]
    client.news()
    client.done("PATCH", f"/groups/{group}", {"displayName": "Other", "description": "d"})
    client.done("PATCH", f"/groups/{group}", {"displayName": "Other"})
    rows = client.simulator.effects()
    assert rows[-1]["details"] == {"properties": ["description", "displayName"]}
    assert client.news() == [("update_group", group, None)]
    assert client.get(f"/groups/{group}").json()["displayName"] == "Other"


@pytest.mark.parametrize("group", [LIST, ON_PREMISES, LICENSED])
def test_groups_that_cannot_be_deleted(client: Writing, group: str) -> None:
    assert client.refused("DELETE", f"/groups/{group}")[0] == 400


def test_only_microsoft_365_groups_have_a_recycle_bin(client: Writing) -> None:
    for group, kept in ((TEAM, True), (EMPTY, False), (DYNAMIC, False)):
        client.done("DELETE", f"/groups/{group}")
        assert client.get(f"/groups/{group}").status_code == 404
        found = client.ids("/directory/deletedItems/microsoft.graph.group")
        assert (group in found) is kept
    assert [kind for kind, _, _ in client.news()] == ["delete_group"] * 3


def test_who_may_only_create_cannot_change_what_it_created(tmp_path: Path) -> None:
    lacking = ("Group.ReadWrite.All", "GroupMember.ReadWrite.All")
    with writing(tmp_path, writer_without_permission=lacking) as client:
        group = client.done("POST", "/groups", SECURITY, 201)["id"]
        assert client.refused("PATCH", f"/groups/{group}", {"displayName": "x"})[0] == 403
        bind = {"members@odata.bind": [client.link(ADA)]}
        assert client.refused("PATCH", f"/groups/{group}", bind)[0] == 403
        assert client.refused("DELETE", f"/groups/{group}")[0] == 403
