"""Writes on the wire: in batches, under a quota, and when the answer is lost."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.simulator.writing import ADA, BOB, EMPTY, EVE, HELPER, NESTED, STAFF, Writing, writing

MEMBERS = f"/groups/{EMPTY}/members"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writing]:
    with writing(tmp_path_factory.mktemp("writing")) as client:
        yield client


def item(number: str, member: str, client: Writing, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "method": "POST",
        "url": f"{MEMBERS}/$ref",
        "headers": JSON,
        "body": client.ref(member),
        **more,
    }


def batch(client: Writing, *items: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = client.send("POST", "/$batch", {"requests": list(items)}, headers)
    assert answer.status_code == 200, answer.text
    return {each["id"]: each for each in answer.json()["responses"]}


def test_a_batch_writes_in_order_and_stops_where_it_depends(client: Writing) -> None:
    got = batch(
        client,
        item("1", ADA, client),
        item("2", ADA, client, dependsOn=["1"]),
        item("3", BOB, client, dependsOn=["2"]),
        item("4", EVE, client),
        {"id": "5", "method": "DELETE", "url": f"/groups/{STAFF}/members/{ADA}/$ref"},
        {"id": "6", "method": "GET", "url": MEMBERS, "dependsOn": ["4"]},
        **{"client-request-id": "outer"},
    )
    assert [got[number]["status"] for number in "123456"] == [204, 400, 424, 204, 204, 200]
    assert {row["id"] for row in got["6"]["body"]["value"]} == {ADA, EVE}
    assert client.news() == [
        ("add_group_member", EMPTY, ADA),
        ("add_group_member", EMPTY, EVE),
        ("remove_group_member", STAFF, ADA),
    ]
    assert {row["request_id"] for row in client.simulator.effects()} == {"outer"}


def test_items_have_request_ids_of_their_own(client: Writing) -> None:
    headers = {**JSON, "client-request-id": "inner"}
    batch(client, item("1", ADA, client, headers=headers), **{"client-request-id": "outer"})
    assert client.simulator.effects()[0]["request_id"] == "inner"


def test_an_answer_lost_after_the_effect(client: Writing) -> None:
    client.simulator.faults(
        [
            {
                "match": {"method": "POST", "path": "members/\\$ref", "times": 1},
                "when": "after",
                "reset": True,
            }
        ]
    )
    with pytest.raises(requests.ConnectionError):
        client.send("POST", f"{MEMBERS}/$ref", client.ref(ADA))
    assert client.news() == [("add_group_member", EMPTY, ADA)]
    assert client.refused("POST", f"{MEMBERS}/$ref", client.ref(ADA))[0] == 400


def test_an_answer_lost_before_the_effect(client: Writing) -> None:
    client.simulator.faults([{"match": {"method": "POST", "times": 1}, "reset": True}])
    with pytest.raises(requests.ConnectionError):
        client.send("POST", f"{MEMBERS}/$ref", client.ref(ADA))
    assert client.news() == []
    client.done("POST", f"{MEMBERS}/$ref", client.ref(ADA))


def test_a_rule_may_wait_for_an_effect_and_look_into_the_body(client: Writing) -> None:
    client.simulator.faults(
        [
            {
                "match": {"effect": True, "nth": 2},
                "when": "after",
                "respond": {"status": 504, "body": {"error": {"code": "UnknownError"}}},
            },
            {"match": {"body": BOB}, "respond": {"status": 503, "body": {"error": {}}}},
        ]
    )
    path = f"{MEMBERS}/$ref"
    statuses = [
        client.send("POST", path, client.ref(member)).status_code
        for member in (ADA, ADA, BOB, EVE, HELPER)
    ]
    assert statuses == [204, 400, 503, 504, 204]
    assert [principal for _, _, principal in client.news()] == [ADA, EVE, HELPER]
    assert [each["fired"] for each in client.simulator.stats()["faults"]] == [1, 1]


def test_an_effect_may_come_after_the_answer_that_denied_it(client: Writing) -> None:
    client.simulator.faults(
        [
            {
                "match": {"method": "POST", "times": 1},
                "when": "later",
                "delay_ms": 300,
                "respond": {"status": 504, "body": {"error": {"code": "UnknownError"}}},
            }
        ]
    )
    assert client.send("POST", f"{MEMBERS}/$ref", client.ref(ADA)).status_code == 504
    assert client.simulator.effects() == []
    deadline = time.monotonic() + 10
    while not client.simulator.effects() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert client.news() == [("add_group_member", EMPTY, ADA)]


def test_a_batch_whose_answer_is_lost_has_had_its_effects(client: Writing) -> None:
    client.simulator.faults([{"match": {"body": EVE}, "when": "after", "reset": True}])
    with pytest.raises(requests.ConnectionError):
        batch(client, item("1", ADA, client), item("2", EVE, client), item("3", BOB, client))
    assert [principal for _, _, principal in client.news()] == [ADA, EVE, BOB]


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ({"match": {"effect": True}, "reset": True}, "when: after"),
        ({"when": "later", "delay_ms": 5}, "later"),
        ({"match": {"body": "("}, "reset": True}, "regular expression"),
    ],
)
def test_rules_that_make_no_sense_are_named(
    client: Writing, rule: dict[str, Any], word: str
) -> None:
    answer = client.session.post(f"{client.base}/_sim/faults", json=[rule], timeout=30)
    assert answer.status_code == 400
    assert word in answer.json()["error"]


def test_the_write_quota_is_spent_and_refilled(tmp_path_factory: pytest.TempPathFactory) -> None:
    with writing(tmp_path_factory.mktemp("quota"), write_quota=15) as client:
        path = f"/users/{ADA}"
        for number in range(15):
            answer = client.send("PATCH", path, {"jobTitle": str(number)})
            assert answer.status_code == 204
        assert float(answer.headers["x-ms-throttle-limit-percentage"]) >= 0.9
        answer = client.send("PATCH", path, {"jobTitle": "more"})
        assert answer.status_code == 429
        assert answer.headers["x-ms-throttle-information"] == "WriteLimitExceeded"
        assert "/Write/" in answer.headers["x-ms-throttle-scope"]
        assert 0 < float(answer.headers["Retry-After"]) <= 10
        assert client.get(path).status_code == 200
        assert len(client.simulator.effects()) == 15
        client.wait(31)
        stats = client.simulator.stats()
        assert (stats["writes"], stats["effects"]) == (15, 15)
        # Three references count as one write; three writes have come back.
        body = {"members@odata.bind": [client.link(each) for each in (ADA, BOB, EVE, HELPER)]}
        client.done("PATCH", f"/groups/{EMPTY}", body)
        body = {"members@odata.bind": [client.link(each) for each in (ADA, EVE, HELPER)]}
        client.done("PATCH", f"/groups/{NESTED}", body)
        assert client.send("PATCH", path, {"jobTitle": "x"}).status_code == 429


def test_writes_that_meet_are_counted_and_if_asked_refused(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with writing(tmp_path_factory.mktemp("meet"), write_conflicts=True, latency_ms=300) as client:
        got = batch(
            client,
            item("1", ADA, client),
            item("2", BOB, client),
            item("3", EVE, client, dependsOn=["1"]),
            item("4", HELPER, client, dependsOn=["3", "2"]),
            {"id": "5", "method": "DELETE", "url": f"/groups/{STAFF}/members/{ADA}/$ref"},
        )
        # 3 waits for 1 but not for 2, which would have met it.
        assert [got[number]["status"] for number in "12345"] == [204, 409, 409, 424, 204]
        assert client.simulator.stats()["contended_writes"] == 2
        with ThreadPoolExecutor(4) as pool:
            sent = pool.map(lambda each: write_one(client, each), (BOB, EVE, HELPER))
            assert sorted(sent) == [204, 409, 409]
        assert len(client.simulator.effects()) == 3
        assert client.send("PATCH", f"/groups/{EMPTY}", {"description": "x"}).status_code == 204


def write_one(client: Writing, member: str) -> int:
    """Add a member over a connection of its own."""
    answer = requests.post(
        f"{client.base}/v1.0{MEMBERS}/$ref",
        json=client.ref(member),
        headers={"Authorization": str(client.session.headers["Authorization"])},
        timeout=30,
    )
    return answer.status_code


def test_a_body_must_be_json_and_say_so(client: Writing) -> None:
    url = f"{client.base}/v1.0{MEMBERS}/$ref"
    for data, headers in ((b"{", JSON), (b"[]", JSON), (b"{}", {"Content-Type": "text/plain"})):
        answer = client.session.post(url, data=data, headers=headers, timeout=30)
        assert answer.status_code == 400, answer.text
    assert client.simulator.effects() == []


def test_what_is_not_a_write_is_still_refused(client: Writing) -> None:
    assert client.send("PUT", f"/users/{ADA}", {}).status_code == 405
    assert client.send("DELETE", "/organization").status_code == 405
    assert client.send("POST", "/domains", {}).status_code == 405
    bare = requests.post(f"{client.base}/v1.0{MEMBERS}/$ref", json=client.ref(ADA), timeout=30)
    assert bare.status_code == 401
