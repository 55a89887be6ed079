"""Reads behind writes: objects not there yet, values not there yet, replicas that disagree."""

from collections.abc import Iterator

import pytest

from entra_pipeline.simulator.process import running
from tests.simulator.conftest import Client
from tests.simulator.writing import ADA, BOB, EMPTY, EVE, REPORTS_READER, STAFF, Writing, writing

SECURITY = {
    "displayName": "Made",
    "mailEnabled": False,
    "mailNickname": "made",
    "securityEnabled": True,
}


@pytest.fixture
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writing]:
    """Reads are a minute behind."""
    with writing(tmp_path_factory.mktemp("writing"), stale_reads=60) as client:
        yield client


def test_a_write_is_effective_at_once_and_seen_later(client: Writing) -> None:
    path = f"/groups/{EMPTY}/members"
    client.done("POST", f"{path}/$ref", client.ref(ADA))
    assert client.ids(path) == []
    assert client.simulator.truth("group_members")[EMPTY] == [ADA]
    assert client.refused("POST", f"{path}/$ref", client.ref(ADA))[0] == 400
    client.wait(61)
    assert client.ids(path) == [ADA]
    client.done("DELETE", f"{path}/{ADA}/$ref")
    assert client.ids(path) == [ADA]
    assert client.refused("DELETE", f"{path}/{ADA}/$ref")[0] == 404
    client.wait(61)
    assert client.ids(path) == []


def test_a_new_group_is_not_found_by_anything(client: Writing) -> None:
    group = client.done("POST", "/groups", SECURITY, 201)["id"]
    path = f"/groups/{group}"
    assert client.refusal(path) == (404, "Request_ResourceNotFound")
    assert group not in client.ids("/groups")
    status, _, message = client.refused("POST", f"{path}/members/$ref", client.ref(ADA))
    assert (status, message) == (
        400,
        "The source resource object or one of the objects being referenced don't exist.",
    )
    body = {"members@odata.bind": [client.link(ADA)]}
    assert client.refused("PATCH", path, body)[0] == 404
    assert client.refused("POST", f"/groups/{STAFF}/members/$ref", client.ref(group))[0] == 404
    role = {"principalId": group, "roleDefinitionId": REPORTS_READER, "directoryScopeId": "/"}
    assert client.refused("POST", "/roleManagement/directory/roleAssignments", role)[0] == 404
    assert client.refused("DELETE", path)[0] == 404
    client.wait(61)
    assert client.get(path).json()["displayName"] == "Made"
    client.done("POST", f"{path}/members/$ref", client.ref(ADA))


def test_single_values_and_deltas_are_behind_too(client: Writing) -> None:
    link = client.get("/users/delta?$select=id,jobTitle&$deltatoken=latest").json()
    client.done("PATCH", f"/users/{BOB}", {"jobTitle": "Engineer"})
    assert client.get(f"/users/{BOB}?$select=jobTitle").json()["jobTitle"] is None
    early = client.get(link["@odata.deltaLink"]).json()
    assert early["value"] == []
    client.wait(61)
    assert client.get(f"/users/{BOB}?$select=jobTitle").json()["jobTitle"] == "Engineer"
    (row,) = client.get(early["@odata.deltaLink"]).json()["value"]
    assert row["jobTitle"] == "Engineer"


def test_when_a_password_was_set_is_seen_later_too(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    role = "Privileged Authentication Administrator"
    folder = tmp_path_factory.mktemp("writing")
    with writing(folder, stale_reads=60, writer_roles=(role,)) as client:
        path = f"/users/{BOB}?$select=lastPasswordChangeDateTime"
        before = client.get(path).json()
        client.done("PATCH", f"/users/{BOB}", {"passwordProfile": {"password": "correct-Horse-7"}})
        assert client.get(path).json() == before
        client.wait(61)
        assert client.get(path).json() != before


def test_deletion_and_restoration_arrive_in_order(client: Writing) -> None:
    client.done("DELETE", f"/users/{EVE}")
    assert client.get(f"/users/{EVE}").status_code == 200
    assert client.refused("POST", f"/directory/deletedItems/{EVE}/restore")[0] == 404
    client.wait(61)
    client.done("POST", f"/directory/deletedItems/{EVE}/restore", status=200)
    assert client.get(f"/users/{EVE}").status_code == 404
    client.wait(61)
    assert client.get(f"/users/{EVE}").status_code == 200


def test_replicas_disagree_until_all_have_it(client: Writing) -> None:
    client.simulator.stale_reads(60, fresh_share=0.5)
    path = f"/groups/{EMPTY}/members"
    client.done("POST", f"{path}/$ref", client.ref(ADA))
    seen = {tuple(client.ids(path)) for _ in range(40)}
    assert seen == {(), (ADA,)}
    client.wait(61)
    assert {tuple(client.ids(path)) for _ in range(20)} == {(ADA,)}


def test_lag_is_switched_on_and_off_and_links_outlive_it(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with writing(tmp_path_factory.mktemp("writing")) as client:
        path = f"/groups/{EMPTY}/members"
        link = client.get("/groups/delta?$select=id,members&$deltatoken=latest").json()
        client.done("POST", f"{path}/$ref", client.ref(ADA))
        assert client.ids(path) == [ADA]
        client.simulator.stale_reads(60)
        client.done("POST", f"{path}/$ref", client.ref(BOB))
        assert client.ids(path) == [ADA]
        (row,) = (page := client.get(link["@odata.deltaLink"]).json())["value"]
        assert [each["id"] for each in row["members@delta"]] == [ADA]
        client.simulator.stale_reads(0)
        assert client.ids(path) == [ADA, BOB]
        (row,) = client.get(page["@odata.deltaLink"]).json()["value"]
        assert [each["id"] for each in row["members@delta"]] == [BOB]


def test_the_second_replica_becomes_like_the_first(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running(users=80, groups=40, seed=5) as simulator:
        simulator.stale_reads(30)
        client = Client(simulator)
        before = client.rows("/groups?$select=id,displayName&$expand=members($select=id)")
        simulator.mutate(seed=1, changes=400)
        paths = (
            "/groups?$select=id,displayName&$expand=members($select=id)",
            "/users?$select=id,displayName,accountEnabled,assignedLicenses",
            "/roleManagement/directory/roleAssignments",
            "/directory/deletedItems/microsoft.graph.user",
        )
        assert client.rows(paths[0]) == before
        simulator.advance(31)
        behind = [client.rows(path) for path in paths]
        simulator.stale_reads(0)
        assert [client.rows(path) for path in paths] == behind
        assert behind[0] != before


def test_nonsense_is_named(client: Writing) -> None:
    url = f"{client.base}/_sim/replication"
    for body in ({"lag_s": -1}, {"lag_s": 1, "fresh_share": 2}, {}):
        answer = client.session.post(url, json=body, timeout=30)
        assert answer.status_code == 400
