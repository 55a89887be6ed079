"""Against the simulated tenant, over https: each fault fires, and the rows come whole all the same
or the error says why.

The simulator's statistics show that the fault fired; the rows are compared with an undisturbed
reading.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.msgraph import BatchItem, GraphClient, Service
from entra_pipeline.msgraph.errors import (
    ForbiddenError,
    ForeignLinkError,
    GraphError,
    MalformedAnswerError,
    PageTokenExpiredError,
    RepeatingLinkError,
    ServerError,
    ThrottledError,
    UnlicensedError,
    UnsupportedError,
)
from entra_pipeline.settings import Settings
from entra_pipeline.simulator.process import Simulator, running
from tests.msgraph.scripted import FakeClock, error_body

SELECT = {"$select": "id,displayName", "$top": "50"}


@pytest.fixture(scope="module")
def tenant() -> Iterator[Simulator]:
    with running(users=230, groups=60, seed=7) as simulator:
        yield simulator


@pytest.fixture
def simulator(tenant: Simulator) -> Iterator[Simulator]:
    """The module's simulator without faults and with fresh statistics."""
    tenant.faults([])
    tenant.reset_stats()
    yield tenant
    tenant.faults([])


def settings_of(simulator: Simulator, **more: Any) -> Settings:
    names = {
        name.removeprefix("ENTRA_").lower(): value
        for name, value in simulator.settings_env().items()
    }
    return Settings.load(**{**names, **more})


def client_of(simulator: Simulator, clock: FakeClock | None = None, **more: Any) -> GraphClient:
    return GraphClient.from_settings(settings_of(simulator, **more), clock=clock or FakeClock())


def rows(client: GraphClient, path: str = "/users") -> list[str]:
    """Ids of a collection, as a consumer keeps them: former generations thrown away."""
    kept: list[tuple[int, str]] = []
    for page in client.pages(path, SELECT, table="users"):
        kept = [(g, i) for g, i in kept if g == page.generation]
        kept += [(page.generation, row["id"]) for row in json.loads(bytes(page.value))]
    return [row_id for _, row_id in kept]


def respond(status: int, body: Any = None, **headers: str) -> dict[str, Any]:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"respond": {"status": status, "headers": fields, "body": body}}


THROTTLED = error_body("TooManyRequests", "Please retry again later.")
EXPIRED = error_body("Directory_ExpiredPageToken", "The specified page token value has expired.")
LATER_PAGE = {"path": r"/users\?.*skiptoken"}

SURVIVED: dict[str, dict[str, Any]] = {
    "429 with seconds": respond(429, THROTTLED, Retry_After="3"),
    "429 with a fraction": respond(429, THROTTLED, Retry_After="2.128"),
    "429 with a date": respond(429, THROTTLED, Retry_After="Mon, 23 Nov 2026 12:00:05 GMT"),
    "429 without Retry-After": respond(429, THROTTLED),
    "500": respond(500, error_body("UnknownError")),
    "502 in HTML": respond(502, "<html>Bad gateway</html>"),
    "503 with Retry-After": respond(503, error_body("serviceNotAvailable"), Retry_After="2"),
    "504": respond(504),
    "reset": {"reset": True},
    "timeout": {"delay_ms": 4000},
    "cut body": {"truncate_at": 300},
    "not JSON": respond(200, "<html>Sign in to the network</html>"),
    "no value": respond(200, {"@odata.context": "x"}),
    "expired token": respond(401, error_body("InvalidAuthenticationToken")),
    "expired page token": respond(400, EXPIRED),
}


@pytest.mark.parametrize("name", list(SURVIVED))
def test_a_fault_in_the_middle_of_a_collection_costs_a_retry_and_no_row(simulator, name):
    expected = rows(client_of(simulator))
    simulator.reset_stats()
    simulator.faults([{"match": {**LATER_PAGE, "nth": 2}, **SURVIVED[name]}])
    patience = {"read_timeout_seconds": 2.0} if "delay_ms" in SURVIVED[name] else {}
    client = client_of(simulator, **patience)
    assert rows(client) == expected
    assert len(expected) == 230
    assert simulator.stats()["faults_fired"] == 1
    counts = client.meter.snapshot()["users"]
    assert counts.retries == 1
    assert counts.round_trips == simulator.stats()["round_trips"]


LASTING: dict[str, tuple[dict[str, Any], type[GraphError]]] = {
    "429": (respond(429, THROTTLED, Retry_After="200"), ThrottledError),
    "503": (respond(503), ServerError),
    "not JSON": (respond(200, "<html>"), MalformedAnswerError),
    "expired page token": (respond(400, EXPIRED), PageTokenExpiredError),
    "repeating link": (
        respond(
            200,
            {"value": [{"id": "1"}], "@odata.nextLink": "{base}/v1.0/users?$skiptoken=again"},
        ),
        RepeatingLinkError,
    ),
    "foreign link": (
        {
            "patch": [
                {
                    "op": "add",
                    "path": "/@odata.nextLink",
                    "value": "https://graph.evil.example/v1.0/users?$skiptoken=x",
                }
            ]
        },
        ForeignLinkError,
    ),
}


@pytest.mark.parametrize("name", list(LASTING))
def test_a_fault_that_stays_ends_in_an_error_after_bounded_attempts(simulator, name):
    fault, error = LASTING[name]
    simulator.faults([{"match": LATER_PAGE, **fault}])
    with pytest.raises(error):
        rows(client_of(simulator, max_attempts=4))
    stats = simulator.stats()
    assert stats["faults_fired"] >= 1
    assert stats["round_trips"] <= 40


def test_an_empty_page_with_a_next_link_is_followed(simulator):
    expected = rows(client_of(simulator))
    empty = {"patch": [{"op": "replace", "path": "/value", "value": []}]}
    simulator.faults([{"match": {**LATER_PAGE, "nth": 1}, **empty}])
    assert rows(client_of(simulator)) == expected[:50] + expected[100:]
    assert simulator.stats()["faults_fired"] == 1


def test_a_pause_in_which_token_and_page_token_expire_loses_no_row():
    with running(users=230, groups=10, seed=7) as simulator:
        expected = rows(client_of(simulator))
        client = client_of(simulator)
        pages = client.pages("/users", SELECT, table="users")
        next(pages)
        simulator.advance(2 * 3600)
        later = list(pages)
        got = [row["id"] for page in later for row in json.loads(bytes(page.value))]
        assert {page.generation for page in later} == {1}
        assert got == expected
        assert simulator.stats()["by_status"]["401"] == 1


def group_items(client: GraphClient) -> list[BatchItem]:
    body = client.get("/groups", {"$select": "id", "$top": "20"}, table="groups")
    ids = [group["id"] for group in json.loads(body)["value"]]
    return [BatchItem(i, f"/groups/{i}/members?$select=id&$top=999") for i in ids]


BATCH_FAULTS: dict[str, list[dict[str, Any]]] = {
    "some items throttled": [
        {
            "match": {"path": "/groups/.*/members", "every": 3, "times": 4},
            **respond(429, THROTTLED, Retry_After="2"),
        }
    ],
    "some items failing": [
        {"match": {"path": "/groups/.*/members", "every": 4, "times": 3}, **respond(503)}
    ],
    "an item missing": [
        {
            "match": {"path": r"\$batch", "nth": 1},
            "patch": [{"op": "remove", "path": "/responses/3"}],
        }
    ],
    "an item twice": [
        {
            "match": {"path": r"\$batch", "nth": 1},
            "patch": [{"op": "copy", "from": "/responses/0", "path": "/responses/5"}],
        }
    ],
    "the envelope throttled": [
        {"match": {"path": r"\$batch", "nth": 1}, **respond(429, THROTTLED, Retry_After="1")}
    ],
    "the envelope cut": [{"match": {"path": r"\$batch", "nth": 1}, "truncate_at": 100}],
    "the envelope reset": [{"match": {"path": r"\$batch", "nth": 1}, "reset": True}],
}


@pytest.mark.parametrize("name", list(BATCH_FAULTS))
def test_a_fault_in_a_batch_costs_a_retry_and_no_row(simulator, name):
    def members(client: GraphClient) -> dict[str, list[str]]:
        results = client.batch(group_items(client), table="group_members")
        assert [r.error for r in results] == [None] * 20
        found = {r.id: [m["id"] for m in json.loads(r.body)["value"]] for r in results}
        return {group: sorted(ids) for group, ids in found.items()}

    expected = members(client_of(simulator))
    simulator.faults(BATCH_FAULTS[name])
    simulator.reset_stats()
    client = client_of(simulator)
    assert members(client) == expected
    assert sum(map(len, expected.values())) > 100
    stats = simulator.stats()
    assert stats["faults_fired"] == sum(f["match"].get("times", 1) for f in BATCH_FAULTS[name])
    counts = client.meter.snapshot()["group_members"]
    assert counts.round_trips + 1 == stats["round_trips"]


def test_requests_and_units_are_counted_as_graph_counts_them(simulator):
    client = client_of(simulator)
    rows(client)
    rows(client, "/groups")
    client.batch(group_items(client), table="group_members")
    assert client.count("/users", table="users") == 230
    client.get("/subscribedSkus", table="subscribed_skus")
    stats, total = simulator.stats(), client.meter.total()
    assert total.requests == stats["requests"]
    assert total.round_trips == stats["round_trips"]
    assert total.units == stats["resource_units"]


def test_graph_that_throttles_slows_us_and_loses_nothing():
    with running(users=400, groups=40, seed=3, throttle="s") as simulator:
        client = client_of(simulator)
        items = group_items(client)
        expected = {r.id: r.body for r in client.batch(items, table="t")}
        simulator.faults(
            [
                {
                    "match": {"path": "/groups/.*/members", "probability": 0.2},
                    **respond(429, THROTTLED, Retry_After="1"),
                }
            ]
        )
        for _ in range(10):
            results = client.batch(items, table="t")
            assert {r.id: r.body for r in results if r.error is None} == expected
        assert simulator.stats()["faults_fired"] > 20
        assert client.meter.snapshot()["t"].throttled_s > 5


@pytest.mark.parametrize(
    ("start", "path", "service", "error"),
    [
        (
            {"without_permission": ["AuditLog.Read.All"]},
            "/reports/authenticationMethods/userRegistrationDetails",
            Service.REPORTS,
            ForbiddenError,
        ),
        (
            {"license": "free"},
            "/users?$select=id,signInActivity",
            Service.SIGN_IN_ACTIVITY,
            UnlicensedError,
        ),
        (
            {"license": "p1"},
            "/roleManagement/directory/roleEligibilityScheduleInstances",
            Service.GOVERNANCE,
            UnlicensedError,
        ),
        ({}, "/noSuchThing", Service.DIRECTORY, UnsupportedError),
    ],
    ids=["permission", "premium licence", "P2 licence", "segment"],
)
def test_what_a_tenant_does_not_give_is_told_apart(start, path, service, error):
    with running(users=20, groups=5, seed=1, **start) as simulator:
        client = client_of(simulator)
        with pytest.raises(error):
            list(client.pages(path, table="t", service=service))


@pytest.mark.parametrize("kind", ["certificate", "workload_identity"])
def test_other_credentials_sign_in_as_well(simulator, kind):
    files = {
        "certificate": {"client_certificate_path": Path(simulator.info.client_certificate_file)},
        "workload_identity": {"federated_token_file": Path(simulator.info.federated_token_file)},
    }
    client = client_of(simulator, auth=kind, **files[kind])
    claims = client.token_claims()
    assert claims.tenant_id == simulator.info.tenant_id
    assert "User.Read.All" in claims.roles
