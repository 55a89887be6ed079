"""Batches: any order, any form of address, each item on its own."""

from typing import Any

import pytest

from entra_pipeline.simulator.process import running
from tests.simulator.conftest import ADA, STAFF, Client


def send(client: Client, *items: dict[str, Any]) -> dict[str, dict[str, Any]]:
    answer = client.post("/$batch", {"requests": list(items)})
    assert answer.status_code == 200, answer.text
    responses = answer.json()["responses"]
    assert len(responses) == len(items)
    return {each["id"]: each for each in responses}


def item(item_id: str, url: str, **more: Any) -> dict[str, Any]:
    return {"id": item_id, "method": "GET", "url": url, **more}


def test_relative_versioned_and_absolute_addresses_are_the_same(small: Client) -> None:
    path = f"/groups/{STAFF}/members?$select=id"
    got = send(
        small,
        item("a", path),
        item("b", path[1:]),
        item("c", f"/v1.0{path}"),
        item("d", f"https://graph.microsoft.com/v1.0{path}"),
        item("e", f"{small.base}/v1.0{path}"),
    )
    bodies = [got[each]["body"] for each in "abcde"]
    assert all(body == bodies[0] for body in bodies)
    assert got["a"]["status"] == 200
    assert len(bodies[0]["value"]) == 3


def test_answers_come_in_another_order(generated: Client) -> None:
    items = [item(str(number), "/organization?$select=id") for number in range(20)]
    answer = generated.post("/$batch", {"requests": items}).json()["responses"]
    order = [each["id"] for each in answer]
    assert sorted(order, key=int) == [str(number) for number in range(20)]
    assert order != sorted(order, key=int)


def test_every_item_has_its_own_status_headers_and_error(small: Client) -> None:
    got = send(small, item("1", "/users/nobody@golden.example"), item("2", "/users?$select=id"))
    assert got["1"]["status"] == 404
    assert got["1"]["body"]["error"]["code"] == "Request_ResourceNotFound"
    assert got["2"]["headers"]["x-ms-resource-unit"] == "1"


def test_what_depends_on_a_failure_fails(small: Client) -> None:
    got = send(
        small,
        item("1", "/users/nobody@golden.example"),
        item("2", f"/users/{ADA}", dependsOn=["1"]),
        item("3", f"/users/{ADA}", dependsOn=["2"]),
        item("4", f"/users/{ADA}"),
        item("5", f"/users/{ADA}", dependsOn=["4"]),
    )
    assert [got[each]["status"] for each in "12345"] == [404, 424, 424, 200, 200]


def test_a_count_in_a_batch_is_a_number_in_a_body(small: Client) -> None:
    got = send(small, item("1", "/users/$count", headers={"ConsistencyLevel": "eventual"}))
    assert got["1"]["status"] == 200
    assert got["1"]["body"] == 4


@pytest.mark.parametrize(
    "requests",
    [
        [],
        [item(str(number), "/users") for number in range(21)],
        [item("1", "/users"), item("1", "/groups")],
        [{"id": "1", "url": "/users"}],
        [{"method": "GET", "url": "/users"}],
        [item("1", "/users", dependsOn=["2"]), item("2", "/users")],
        [item("a\\b", "/users")],
        "nothing",
    ],
)
def test_a_malformed_batch_is_refused_whole(small: Client, requests: Any) -> None:
    assert small.post("/$batch", {"requests": requests}).status_code == 400


def test_batches_do_not_nest_and_bodies_need_a_type(small: Client) -> None:
    body = {"ids": [ADA]}
    got = send(
        small,
        {"id": "1", "method": "POST", "url": "/$batch", "body": {}, "headers": {}},
        {"id": "2", "method": "POST", "url": "/directoryObjects/getByIds", "body": body},
        {
            "id": "3",
            "method": "POST",
            "url": "/directoryObjects/getByIds?$select=id",
            "body": body,
            "headers": {"Content-Type": "application/json"},
        },
    )
    assert got["1"]["status"] == got["2"]["status"] == 400
    assert got["3"]["body"]["value"] == [{"@odata.type": "#microsoft.graph.user", "id": ADA}]


def test_the_beta_batch_reads_beta(small: Client) -> None:
    answer = small.session.post(
        f"{small.base}/beta/$batch",
        json={"requests": [item("1", f"/groups/{STAFF}/members?$select=id")]},
    ).json()
    assert len(answer["responses"][0]["body"]["value"]) == 4


def test_a_batch_is_one_round_trip_and_many_requests() -> None:
    with running(users=10, groups=5, seed=1) as simulator:
        client = Client(simulator)
        simulator.reset_stats()
        send(client, *[item(str(number), "/users?$select=id") for number in range(20)])
        stats = simulator.stats()
    assert stats["round_trips"] == 1
    assert stats["requests"] == 20
    assert stats["by_route"] == {"GET /users": 20}
    assert stats["resource_units"] == 20


def test_items_are_throttled_one_by_one() -> None:
    rule = {
        "match": {"path": "/users", "every": 2},
        "respond": {"status": 429, "headers": {"Retry-After": "1"}, "body": {"error": {}}},
    }
    with running(users=10, groups=5, seed=1) as simulator:
        client = Client(simulator)
        simulator.faults([rule])
        got = send(client, *[item(str(number), "/users?$top=1") for number in range(10)])
        refused = [each for each in got.values() if each["status"] == 429]
        assert len(refused) == 5
        assert refused[0]["headers"]["Retry-After"] == "1"
        assert simulator.stats()["faults_fired"] == 5


def test_without_a_token_the_whole_batch_is_refused(small: Client) -> None:
    answer = small.session.post(
        f"{small.base}/v1.0/$batch",
        json={"requests": [item("1", "/users")]},
        headers={"Authorization": ""},
    )
    assert answer.status_code == 401
