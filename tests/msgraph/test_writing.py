"""Writes: sent once, and told apart by what is known of their effect."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from entra_pipeline.msgraph import RetryPolicy, Write
from entra_pipeline.msgraph.errors import (
    BadRequestError,
    ConnectionFailedError,
    MalformedAnswerError,
    ServerError,
)
from tests.msgraph.scripted import Reply, Seen, error_body

ONE = [Write("a", "POST", "/groups/g/members/$ref", {"@odata.id": "x"}, request_id="r-a")]
THREE = [
    *ONE,
    Write("b", "DELETE", "/groups/g/owners/o/$ref"),
    Write("c", "PATCH", "/users/u", {"jobTitle": "nurse"}),
]


def allowed() -> None:
    """Nobody has stopped us."""


def answers(**statuses: int | None) -> Callable[[Seen], Reply]:
    """A batch's answers by id; None leaves it out."""

    def script(seen: Seen) -> Reply:
        responses = []
        for request in seen.json()["requests"]:
            status = statuses[request["id"]]
            if status is not None:
                body = None if status < 300 else error_body("Some_Code", "said")
                responses.append({"id": request["id"], "status": status, "body": body})
        return Reply(json={"responses": responses})

    return script


def asked(seen: Seen) -> list[str]:
    return [request["id"] for request in seen.json()["requests"]]


def test_many_writes_are_one_round_trip_and_know_nothing_of_each_other(world: Any) -> None:
    w = world(answers(a=204, b=404, c=400))
    a, b, c = w.client.writer(allowed).write(THREE)
    assert [a.happened, b.happened, c.happened] == [True, False, False]
    assert a.error is None
    assert isinstance(c.error, BadRequestError)
    (seen,) = w.server.seen
    assert seen.json()["requests"] == [
        {
            "id": "a",
            "method": "POST",
            "url": "/groups/g/members/$ref",
            "body": {"@odata.id": "x"},
            "headers": {"Content-Type": "application/json", "client-request-id": "r-a"},
        },
        {"id": "b", "method": "DELETE", "url": "/groups/g/owners/o/$ref"},
        {
            "id": "c",
            "method": "PATCH",
            "url": "/users/u",
            "body": {"jobTitle": "nurse"},
            "headers": {"Content-Type": "application/json"},
        },
    ]


def test_one_write_alone_needs_no_batch_and_tells_its_id(world: Any) -> None:
    w = world([Reply(201, {"id": "new"})])
    (result,) = w.client.writer(allowed).write(ONE)
    assert (result.happened, json.loads(result.body)) == (True, {"id": "new"})
    (seen,) = w.server.seen
    assert (seen.method, seen.path) == ("POST", "/v1.0/groups/g/members/$ref")
    assert seen.headers["client-request-id"] == "r-a"


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(503), ServerError),
        (Reply(500), ServerError),
        (Reply(504), ServerError),
        (Reply(reset=True), ConnectionFailedError),
        (Reply(200, {"responses": []}, cut_at=5), ConnectionFailedError),
        (Reply(200, body=b"<html>maintenance</html>"), MalformedAnswerError),
    ],
    ids=["503", "500", "504", "reset", "cut", "html"],
)
def test_an_answer_that_was_lost_leaves_it_open_and_nothing_is_sent_again(
    world: Any, reply: Reply, kind: type[Exception]
) -> None:
    w = world(lambda _seen: reply)
    results = w.client.writer(allowed).write(THREE)
    assert [result.happened for result in results] == [None, None, None]
    assert {type(result.error) for result in results} == {kind}
    assert len(w.server.seen) == 1


def test_what_failed_inside_a_batch_is_not_sent_again(world: Any) -> None:
    w = world(answers(a=204, b=503, c=None))
    a, b, c = w.client.writer(allowed).write(THREE)
    assert [a.happened, b.happened, c.happened] == [True, None, None]
    assert isinstance(b.error, ServerError)
    assert isinstance(c.error, MalformedAnswerError)
    assert len(w.server.seen) == 1


def test_what_was_throttled_is_sent_again_alone_after_the_pause(world: Any) -> None:
    def script(seen: Seen) -> Reply:
        statuses = {"a": 204, "b": 204, "c": 429 if len(asked(seen)) == 3 else 204}
        if len(asked(seen)) == 3:
            return Reply(
                json={
                    "responses": [
                        {"id": i, "status": s, "headers": {"Retry-After": "7"}}
                        for i, s in statuses.items()
                    ]
                }
            )
        return answers(**statuses)(seen)

    def either(seen: Seen) -> Reply:
        return script(seen) if seen.path.endswith("$batch") else Reply(204)

    w = world(either)
    started = w.clock.monotonic()
    results = w.client.writer(allowed).write(THREE)
    assert [result.happened for result in results] == [True, True, True]
    assert [seen.path for seen in w.server.seen] == ["/v1.0/$batch", "/v1.0/users/u"]
    assert w.clock.monotonic() - started >= 7


def test_throttling_that_does_not_end_gives_up_and_says_that_nothing_happened(world: Any) -> None:
    w = world(
        lambda _seen: Reply(429, headers={"Retry-After": "5"}),
        retries=RetryPolicy(throttled_attempts=3),
    )
    results = w.client.writer(allowed).write(THREE)
    assert [result.happened for result in results] == [False, False, False]
    assert "gave up" in str(results[0].error)
    assert len(w.server.seen) == 3


def test_a_token_that_is_no_longer_good_is_renewed_once(world: Any) -> None:
    def script(seen: Seen) -> Reply:
        if seen.headers["Authorization"].endswith("1"):
            return answers(a=401, b=401, c=401)(seen)
        return answers(a=204, b=204, c=204)(seen)

    w = world(script)
    assert [r.happened for r in w.client.writer(allowed).write(THREE)] == [True, True, True]
    assert len(w.server.seen) == 2


def test_the_kill_switch_is_looked_at_before_every_round_trip(world: Any) -> None:
    looked = []

    def look() -> None:
        looked.append(len(w.server.seen))
        if len(looked) == 3:
            raise RuntimeError("stopped")

    w = world(answers(a=204, b=204, c=204))
    writer = w.client.writer(look)
    writer.write(THREE)
    writer.write(THREE)
    with pytest.raises(RuntimeError, match="stopped"):
        writer.write(THREE)
    assert looked == [0, 1, 2]
    assert len(w.server.seen) == 2


def test_what_was_done_before_a_stop_in_the_midst_of_throttling_is_told(world: Any) -> None:
    looked = []

    def look() -> None:
        looked.append(len(w.server.seen))
        if len(looked) > 1:
            raise RuntimeError("stopped")

    w = world(answers(a=204, b=429, c=404))
    writer = w.client.writer(look)
    assert [result.happened for result in writer.write(THREE)] == [True, False, False]
    assert len(w.server.seen) == 1
    with pytest.raises(RuntimeError, match="stopped"):
        writer.write(THREE)


def test_what_a_write_carries_is_not_in_its_text() -> None:
    assert "nurse" not in repr(THREE[2])


def test_writes_keep_to_the_quota(world: Any) -> None:
    w = world(answers(a=204, b=204, c=204))
    writer = w.client.writer(allowed, quota=6)
    started = w.clock.monotonic()
    writer.write(THREE)
    writer.write(THREE)
    assert w.clock.monotonic() - started < 1
    writer.write(THREE)
    assert 150 <= w.clock.monotonic() - started < 160
