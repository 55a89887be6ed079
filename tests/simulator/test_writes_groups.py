"""Members and owners of groups: added, removed, refused; each effect written down once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.simulator.process import running
from entra_pipeline.simulator.tenant import dump
from tests.simulator.conftest import Client, guid
from tests.simulator.writing import (
    ADA,
    BOB,
    CONTACT,
    DYNAMIC,
    EMPTY,
    EVE,
    GUARDED,
    LAPTOP,
    LICENSED,
    LIST,
    NESTED,
    NOBODY,
    ON_PREMISES,
    PLAN_B,
    PORTAL_APP,
    ROBOT,
    ROLE_GROUP,
    STAFF,
    SUITE,
    TEAM,
    UNIT,
    Writing,
    tenant,
    writing,
)

EXIST = "One or more added object references already exist"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writing]:
    with writing(tmp_path_factory.mktemp("writing")) as client:
        yield client


@pytest.fixture
def client(shared: Writing) -> Writing:
    """What a test changes it makes for itself, or changes back."""
    shared.news()
    return shared


def test_a_member_is_added_once_and_removed_once(client: Writing) -> None:
    path = f"/groups/{STAFF}/members"
    client.done("POST", f"{path}/$ref", client.ref(EVE))
    assert set(client.ids(path)) == {ADA, EVE}
    assert client.refused("POST", f"{path}/$ref", client.ref(EVE))[:2] == (
        400,
        "Request_BadRequest",
    )
    client.done("DELETE", f"{path}/{EVE}/$ref")
    assert client.ids(path) == [ADA]
    status, code, message = client.refused("DELETE", f"{path}/{EVE}/$ref")
    assert (status, code) == (404, "Request_ResourceNotFound")
    assert EVE in message
    assert client.news() == [
        ("add_group_member", STAFF, EVE),
        ("remove_group_member", STAFF, EVE),
    ]
    assert client.activities()[-2:] == ["Add member to group", "Remove member from group"]


def test_effects_name_the_request_and_audits_the_application(client: Writing) -> None:
    name = "7d7a9ad1-6c1f-4a5e-8d57-5a8ed2c6a001"
    path = f"/groups/{client.new_group()}/members/$ref"
    before = client.simulator.effects()
    answer = client.send("POST", path, client.ref(ADA), {"client-request-id": name})
    assert answer.headers["client-request-id"] == name
    (effect,) = client.simulator.effects(after=len(before))
    assert (effect["seq"], effect["request_id"]) == (len(before) + 1, name)
    assert effect["app_id"] == client.simulator.info.writer_client_id
    audits = client.rows("/auditLogs/directoryAudits")
    (audit,) = [each for each in audits if each["correlationId"] == name]
    assert audit["activityDisplayName"] == "Add member to group"
    assert audit["initiatedBy"]["app"]["appId"] == client.simulator.info.writer_client_id


@pytest.mark.parametrize(
    ("member", "kind"),
    [(EVE, "users"), (NESTED, "groups"), (ROBOT, "servicePrincipals"), (LAPTOP, "devices")],
)
def test_any_kind_is_referred_to_by_its_own_address(
    client: Writing, member: str, kind: str
) -> None:
    group = client.new_group()
    client.done("POST", f"/groups/{group}/members/$ref", client.ref(member, kind))
    shown = client.get(f"/groups/{group}?$expand=members").json()["members"]
    assert [each["id"] for each in shown] == [member]


def test_twenty_are_added_in_one_request_or_none(client: Writing) -> None:
    path = f"/groups/{client.new_group()}"
    client.news()
    body = {"members@odata.bind": [client.link(each) for each in (ADA, BOB, NOBODY)]}
    status, _, message = client.refused("PATCH", path, body)
    assert status == 404
    assert NOBODY in message
    assert client.ids(f"{path}/members") == []
    body = {
        "members@odata.bind": [client.link(each) for each in (ADA, BOB, EVE)],
        "owners@odata.bind": [client.link(ADA)],
    }
    client.done("PATCH", path, body)
    assert set(client.ids(f"{path}/members")) == {ADA, BOB, EVE}
    assert client.ids(f"{path}/owners") == [ADA]
    assert len(client.news()) == 4
    body = {"members@odata.bind": [client.link(each) for each in (CONTACT, BOB)]}
    assert EXIST in client.refused("PATCH", path, body)[2]
    body = {"members@odata.bind": [client.link(ADA)] * 21}
    assert client.refused("PATCH", path, body)[0] == 400


@pytest.mark.parametrize(
    ("group", "status", "text"),
    [
        (DYNAMIC, 400, "dynamic"),
        (LIST, 400, "mail-enabled"),
        (ON_PREMISES, 400, "on-premises mastered"),
        (GUARDED, 403, "restricted"),
        (NOBODY, 404, NOBODY),
        ("no-guid", 400, "Invalid object identifier"),
    ],
)
def test_kinds_that_graph_does_not_change(
    client: Writing, group: str, status: int, text: str
) -> None:
    path = f"/groups/{group}/members/$ref"
    got, _, message = client.refused("POST", path, client.ref(EVE))
    assert got == status
    assert text in message


@pytest.mark.parametrize(
    ("group", "member", "status"),
    [
        (TEAM, NESTED, 400),
        (TEAM, LAPTOP, 400),
        (STAFF, TEAM, 400),
        (STAFF, STAFF, 400),
        (STAFF, UNIT, 400),
        (STAFF, PORTAL_APP, 400),
        (ROLE_GROUP, NESTED, 400),
        (STAFF, NOBODY, 404),
    ],
)
def test_what_cannot_be_a_member(client: Writing, group: str, member: str, status: int) -> None:
    assert client.refused("POST", f"/groups/{group}/members/$ref", client.ref(member))[0] == status


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"@odata.id": 5},
        {"@odata.id": "https://graph.microsoft.com/v1.0/users/" + ADA},
        {"@odata.id": "users/" + ADA},
        {"@odata.id": "http://localhost/v1.0/planets/" + ADA},
        {"@odata.id": "http://localhost/v1.0/directoryObjects/x"},
    ],
)
def test_references_must_be_addresses_of_this_graph(client: Writing, body: Any) -> None:
    assert client.refused("POST", f"/groups/{STAFF}/members/$ref", body)[0] == 400


def test_the_last_owner_who_is_a_user_stays(client: Writing) -> None:
    path = f"/groups/{client.new_group()}/owners"
    for owner in (ADA, ROBOT):
        client.done("POST", f"{path}/$ref", client.ref(owner))
    assert "at least one owner" in client.refused("DELETE", f"{path}/{ADA}/$ref")[2]
    client.done("DELETE", f"{path}/{ROBOT}/$ref")
    client.done("POST", f"{path}/$ref", client.ref(BOB))
    assert EXIST in client.refused("POST", f"{path}/$ref", client.ref(BOB))[2]
    client.done("DELETE", f"{path}/{ADA}/$ref")
    assert client.ids(path) == [BOB]
    assert client.refused("DELETE", f"{path}/{EVE}/$ref")[0] == 404
    assert client.refused("POST", f"{path}/$ref", client.ref(NESTED))[0] == 400


def test_a_group_has_a_hundred_owners_at_most(tmp_path: Path) -> None:
    made = tenant()
    made.links["group_owners"][EMPTY] = [guid(5000 + number) for number in range(100)]
    dump(made, tmp_path)
    with running(tenant=tmp_path, writer=True) as simulator:
        client = Writing(simulator)
        status, _, message = client.refused("POST", f"/groups/{EMPTY}/owners/$ref", client.ref(ADA))
    assert status == 403
    assert "maximum quota count" in message


def test_members_get_and_lose_the_groups_licences(client: Writing) -> None:
    path = f"/groups/{LICENSED}/members"
    client.done("POST", f"{path}/$ref", client.ref(ADA))
    user = client.get(f"/users/{ADA}?$select=assignedLicenses,licenseAssignmentStates").json()
    assert user["assignedLicenses"] == [{"skuId": SUITE, "disabledPlans": [PLAN_B]}]
    assert user["licenseAssignmentStates"][0]["assignedByGroup"] == LICENSED
    client.done("DELETE", f"{path}/{ADA}/$ref")
    user = client.get(f"/users/{ADA}?$select=assignedLicenses").json()
    assert user["assignedLicenses"] == []
    assert len(client.news()) == 2


def test_writes_show_in_delta(client: Writing) -> None:
    group = client.new_group()
    link = client.get("/groups/delta?$select=id,members&$deltatoken=latest").json()
    client.done("POST", f"/groups/{group}/members/$ref", client.ref(ADA))
    (row,) = client.get(link["@odata.deltaLink"]).json()["value"]
    assert [each["id"] for each in row["members@delta"]] == [ADA]


def test_permissions_are_asked_for_one_by_one(tmp_path: Path) -> None:
    missing = (
        "Group.ReadWrite.All",
        "Application.ReadWrite.All",
        "RoleManagement.ReadWrite.Directory",
    )
    with writing(tmp_path, writer_without_permission=missing) as client:
        members = f"/groups/{EMPTY}/members/$ref"
        assert client.refused("POST", members, client.ref(ROBOT))[:2] == (
            403,
            "Authorization_RequestDenied",
        )
        assert client.refused("POST", f"/groups/{EMPTY}/owners/$ref", client.ref(ADA))[0] == 403
        assert (
            client.refused("POST", f"/groups/{ROLE_GROUP}/members/$ref", client.ref(ADA))[0] == 403
        )
        client.done("POST", members, client.ref(ADA))
        reader = Client(client.simulator)
        assert reader.post(f"/groups/{EMPTY}/members/$ref", client.ref(BOB)).status_code == 403
        gone = reader.session.delete(f"{reader.base}/v1.0/groups/{EMPTY}/members/{ADA}/$ref")
        assert gone.status_code == 403
        assert client.news() == [("add_group_member", EMPTY, ADA)]
