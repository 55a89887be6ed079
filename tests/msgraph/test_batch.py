"""Batches: twenty answers in one round trip, each of them whole, whatever some of them do."""

from __future__ import annotations

import json

import pytest

from entra_pipeline.msgraph import BatchItem, RetryPolicy
from entra_pipeline.msgraph.errors import (
    ForbiddenError,
    MalformedAnswerError,
    NotFoundError,
    PageTokenExpiredError,
    ServerError,
    ThrottledError,
)
from tests.msgraph.scripted import Reply, Seen, error_body

ITEMS = [BatchItem(str(n), f"/groups/{n}/members?$select=id") for n in range(20)]


def answer(
    item_id: str, status: int = 200, body: object = None, **headers: str
) -> dict[str, object]:
    return {
        "id": item_id,
        "status": status,
        "headers": {"Content-Type": "application/json", **headers},
        "body": {"value": [{"id": item_id}]} if body is None else body,
    }


def respond(*answers: dict[str, object]) -> Reply:
    return Reply(json={"responses": list(answers)})


def asked(seen: Seen) -> list[str]:
    return [request["id"] for request in seen.json()["requests"]]


def test_answers_in_any_order_come_back_in_ours(world):
    w = world(lambda seen: respond(*[answer(i) for i in reversed(asked(seen))]))
    results = w.client.batch(ITEMS, table="group_members")
    assert [r.id for r in results] == [i.id for i in ITEMS]
    assert [json.loads(r.body)["value"][0]["id"] for r in results] == [i.id for i in ITEMS]
    assert all(r.error is None and r.status == 200 for r in results)
    assert w.server.seen[0].json()["requests"][3] == {
        "id": "3",
        "method": "GET",
        "url": "/groups/3/members?$select=id",
    }
    counts = w.client.meter.snapshot()["group_members"]
    assert (counts.requests, counts.round_trips, counts.units) == (20, 1, 40)


def test_items_carry_their_own_headers(world):
    w = world(lambda _s: respond(answer("1")))
    w.client.batch([BatchItem("1", "/users/$count", {"ConsistencyLevel": "eventual"})], table="t")
    assert w.server.seen[0].json()["requests"][0]["headers"] == {"ConsistencyLevel": "eventual"}


def test_only_throttled_and_failed_items_are_asked_again_after_the_longest_pause(world):
    def script(seen: Seen) -> Reply:
        ids = asked(seen)
        if len(ids) < 20:
            return respond(*map(answer, ids))
        troubled = {
            "3": answer("3", 429, error_body("TooManyRequests"), **{"Retry-After": "4"}),
            "7": answer("7", 429, error_body("TooManyRequests"), **{"retry-after": "9.5"}),
            "8": answer("8", 503, error_body("serviceNotAvailable")),
            "9": answer("9", 504, None),
        }
        return respond(*[troubled.get(i) or answer(i) for i in ids])

    w = world(script)
    results = w.client.batch(ITEMS, table="group_members")
    assert all(r.error is None for r in results)
    assert [asked(s) for s in w.server.seen][1:] == [["3", "7", "8", "9"]]
    assert 9.5 <= w.clock.slept < 9.7
    counts = w.client.meter.snapshot()["group_members"]
    assert (counts.requests, counts.round_trips, counts.retries) == (24, 2, 4)
    assert counts.throttled_s == pytest.approx(w.clock.slept)


def test_missing_answers_are_asked_for_and_duplicate_or_foreign_ones_ignored(world):
    def script(seen: Seen) -> Reply:
        ids = asked(seen)
        if len(ids) == 20:
            wrong = answer("2", 200, {"value": [{"id": "wrong"}]})
            return respond(*[answer(i) for i in ids if i != "5"], wrong, answer("99"))
        return respond(*map(answer, ids))

    w = world(script)
    results = w.client.batch(ITEMS, table="t")
    assert [asked(s) for s in w.server.seen][1:] == [["5"]]
    assert [json.loads(r.body)["value"][0]["id"] for r in results] == [i.id for i in ITEMS]


def test_an_item_that_never_succeeds_is_an_error_of_its_own(world):
    def script(seen: Seen) -> Reply:
        bodies = {
            "1": answer("1", 429, error_body("TooManyRequests"), **{"Retry-After": "1"}),
            "2": answer("2", 500, error_body("UnknownError")),
            "3": answer("3", 404, error_body("Request_ResourceNotFound")),
            "4": answer("4", 403, error_body("Authorization_RequestDenied")),
            "5": answer("5", 400, error_body("Directory_ExpiredPageToken")),
        }
        return respond(*[bodies.get(i) or answer(i) for i in asked(seen) if i != "6"])

    w = world(script, RetryPolicy(attempts=3, throttled_attempts=4))
    results = w.client.batch(ITEMS[:8], table="t")
    kinds = [type(r.error) for r in results]
    assert kinds == [
        type(None),
        ThrottledError,
        ServerError,
        NotFoundError,
        ForbiddenError,
        PageTokenExpiredError,
        MalformedAnswerError,
        type(None),
    ]
    assert results[3].error.path_template == "/groups/{id}/members"
    assert asked(w.server.seen[1]) == ["1", "2", "6"]
    assert len(w.server.seen) <= 5


def test_an_envelope_that_fails_is_sent_again_whole(world):
    faults = iter(
        [
            Reply(429, json=error_body("TooManyRequests"), headers={"Retry-After": "2"}),
            Reply(503),
            Reply(reset=True),
            Reply(424, json=error_body("FailedDependency")),
            Reply(body=b"{"),
            Reply(json={"responses": 3}),
            Reply(json={}),
        ]
    )

    def script(seen: Seen) -> Reply:
        return next(faults, None) or respond(*map(answer, asked(seen)))

    w = world(script)
    results = w.client.batch(ITEMS, table="t")
    assert all(r.error is None for r in results)
    assert len(w.server.seen) == 8
    assert all(len(asked(s)) == 20 for s in w.server.seen)


def test_items_refused_for_an_expired_token_are_asked_again_with_a_fresh_one(world):
    def script(seen: Seen) -> Reply:
        if seen.headers["Authorization"] == "Bearer token-1":
            refused = answer("1", 401, error_body("InvalidAuthenticationToken"))
            return respond(answer("0"), refused)
        return respond(*map(answer, asked(seen)))

    w = world(script)
    results = w.client.batch(ITEMS[:2], table="t")
    assert all(r.error is None for r in results)
    assert asked(w.server.seen[1]) == ["1"]


def test_units_that_graph_reports_inside_the_batch_are_counted(world):
    w = world(
        lambda seen: respond(
            *[answer(i, 200, None, **{"x-ms-resource-unit": "3"}) for i in asked(seen)]
        )
    )
    w.client.batch(ITEMS, table="t")
    assert w.client.meter.snapshot()["t"].units == 60


@pytest.mark.parametrize(
    "items",
    [
        [],
        [BatchItem(str(n), "/users") for n in range(21)],
        [BatchItem("1", "/users"), BatchItem("1", "/groups")],
        [BatchItem("1", "https://graph.microsoft.com/v1.0/users")],
        [BatchItem("a\\b", "/users")],
    ],
    ids=["none", "21", "same ids", "absolute", "backslash"],
)
def test_a_batch_that_graph_would_refuse_is_not_sent(world, items):
    w = world([])
    with pytest.raises(ValueError, match="batch"):
        w.client.batch(items, table="t")
    assert w.server.seen == []


def test_a_next_link_becomes_an_item_of_the_next_batch(world):
    w = world([])
    link = f"{w.base}/groups/1/members?$select=id&$skiptoken=a%2Bb"
    assert w.client.origin.relative(link) == "/groups/1/members?$select=id&$skiptoken=a%2Bb"
