"""Scripted faults: each kind happens on the wire, where it was aimed, and is counted."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from entra_pipeline.simulator import json_patch
from entra_pipeline.simulator.faults import FaultRuleError, Faults
from entra_pipeline.simulator.process import Simulator, running
from tests.simulator.conftest import Client


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running(users=60, groups=20, seed=1) as simulator:
        yield simulator


@pytest.fixture
def client(simulator: Simulator) -> Iterator[Client]:
    simulator.faults([])
    yield Client(simulator)
    simulator.faults([])


def test_a_scripted_answer_replaces_the_true_one(simulator: Simulator, client: Client) -> None:
    simulator.faults(
        [
            {
                "match": {"method": "GET", "path": "/v1.0/users", "nth": 2},
                "respond": {
                    "status": 503,
                    "headers": {"Retry-After": "2.5"},
                    "body": {"error": {"code": "serviceNotAvailable", "message": "busy"}},
                },
            }
        ]
    )
    simulator.reset_stats()
    statuses = [client.get("/users?$top=1").status_code for _ in range(3)]
    assert statuses == [200, 503, 200]
    assert simulator.stats()["faults_fired"] == 1
    assert simulator.stats()["by_status"] == {"200": 2, "503": 1}


def test_bodies_may_be_text_and_links_may_be_patched(simulator: Simulator, client: Client) -> None:
    simulator.faults(
        [
            {"match": {"path": "/groups"}, "respond": {"status": 200, "body": "<html>no"}},
            {
                "match": {"path": "/users"},
                "patch": [
                    {"op": "replace", "path": "/@odata.nextLink", "value": "{base}/v1.0/users"},
                    {"op": "add", "path": "/value/0/surprise", "value": 1},
                ],
            },
        ]
    )
    answer = client.get("/groups")
    assert answer.text == "<html>no"
    assert answer.headers["content-type"] == "text/html"
    page = client.get("/users?$top=5").json()
    assert page["@odata.nextLink"] == f"{client.base}/v1.0/users"
    assert page["value"][0]["surprise"] == 1


def test_a_patch_that_does_not_fit_leaves_the_answer_true(
    simulator: Simulator, client: Client
) -> None:
    simulator.faults(
        [{"patch": [{"op": "remove", "path": "/@odata.nextLink"}], "match": {"times": 1}}]
    )
    assert client.get("/organization").status_code == 200
    assert simulator.stats()["faults_fired"] == 0
    assert "@odata.nextLink" not in client.get("/users?$top=5").json()
    assert simulator.stats()["faults_fired"] == 1


def test_connections_are_reset_and_bodies_cut(simulator: Simulator, client: Client) -> None:
    simulator.faults(
        [
            {"match": {"path": "/users"}, "reset": True},
            {"match": {"path": "/groups"}, "truncate_at": 100},
        ]
    )
    for secure in (False, True):
        either = Client(simulator, secure=secure)
        with pytest.raises(requests.ConnectionError):
            either.get("/users")
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            either.get("/groups")
        assert either.get("/organization").status_code == 200


def test_a_delay_is_a_delay(simulator: Simulator, client: Client) -> None:
    simulator.faults([{"match": {"path": "/users"}, "delay_ms": 300}])
    assert client.get("/users").elapsed.total_seconds() >= 0.3
    assert client.get("/organization").elapsed.total_seconds() < 0.3


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({"every": 3}, [False, False, True, False, False, True]),
        ({"times": 2}, [True, True, False, False, False, False]),
        ({"nth": 4}, [False, False, False, True, False, False]),
        ({"every": 2, "times": 1}, [False, True, False, False, False, False]),
        ({"method": "POST"}, [False] * 6),
        ({"path": r"\$top=1$"}, [True] * 6),
        ({"path": "skiptoken"}, [False] * 6),
        ({"probability": 0}, [False] * 6),
        ({"probability": 1}, [True] * 6),
    ],
)
def test_rules_aim(
    simulator: Simulator, client: Client, match: dict[str, Any], expected: list[bool]
) -> None:
    simulator.faults([{"match": match, "respond": {"status": 500, "body": {"error": {}}}}])
    hits = [client.get("/users?%24top=1").status_code == 500 for _ in range(6)]
    assert hits == expected


def test_faults_reach_the_token_endpoint_and_single_batch_items(
    simulator: Simulator, client: Client
) -> None:
    simulator.faults([{"match": {"path": "oauth2/v2.0/token"}, "respond": {"status": 503}}])
    form = {"grant_type": "client_credentials"}
    url = f"{client.base}/{simulator.info.tenant_id}/oauth2/v2.0/token"
    assert requests.post(url, data=form, timeout=30).status_code == 503
    simulator.faults([{"match": {"path": "/groups"}, "truncate_at": 10}])
    items = [{"id": "1", "method": "GET", "url": "/groups"}]
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        client.post("/$batch", {"requests": items})
    simulator.faults([{"match": {"path": "/groups"}, "respond": {"status": 504, "body": "x"}}])
    answer = client.post("/$batch", {"requests": items}).json()["responses"][0]
    assert (answer["status"], answer["body"]) == (504, "x")


def test_after_carries_the_request_out_first(simulator: Simulator, client: Client) -> None:
    simulator.faults([{"match": {"path": "/users"}, "when": "after", "respond": {"status": 500}}])
    simulator.reset_stats()
    assert client.get("/users").status_code == 500
    assert simulator.stats()["by_route"] == {"GET /users": 1}


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ({"match": {"path": "("}, "reset": True}, "regular expression"),
        ({"match": {"pth": "x"}, "reset": True}, "pth"),
        ({"match": {}}, "does nothing"),
        ({"reset": True, "when": "sometime"}, "sometime"),
        ("nonsense", "not an object"),
    ],
)
def test_a_bad_rule_is_named(simulator: Simulator, rule: Any, word: str) -> None:
    with pytest.raises(FaultRuleError, match=word):
        Faults(0).replace([rule])
    answer = requests.post(f"{simulator.info.http_graph_url}/_sim/faults", json=[rule], timeout=30)
    assert answer.status_code == 400
    assert word in answer.json()["error"]


@pytest.mark.parametrize(
    ("document", "operations", "expected"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": 1, "b": 2}, [{"op": "remove", "path": "/a"}], {"b": 2}),
        ({"a": [1, 2]}, [{"op": "replace", "path": "/a/0", "value": 9}], {"a": [9, 2]}),
        ({"a": 1}, [{"op": "move", "from": "/a", "path": "/b"}], {"b": 1}),
        (
            {"a": {"x": 1}},
            [{"op": "copy", "from": "/a", "path": "/b"}],
            {"a": {"x": 1}, "b": {"x": 1}},
        ),
        ({"a/b": 1, "m~n": 2}, [{"op": "test", "path": "/a~1b", "value": 1}], {"a/b": 1, "m~n": 2}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": [1]}], [1]),
    ],
)
def test_patches_follow_rfc_6902(document: Any, operations: Any, expected: Any) -> None:
    assert json_patch.apply(document, operations) == expected


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/nope"},
        {"op": "replace", "path": "/nope", "value": 1},
        {"op": "add", "path": "/list/9", "value": 1},
        {"op": "test", "path": "/a", "value": 2},
        {"op": "move", "path": "/a"},
        {"op": "dance", "path": "/a"},
        {"op": "add", "path": "a", "value": 1},
    ],
)
def test_patches_that_do_not_fit_are_refused(operation: Any) -> None:
    with pytest.raises(json_patch.JsonPatchError):
        json_patch.apply({"a": 1, "list": []}, [operation])
