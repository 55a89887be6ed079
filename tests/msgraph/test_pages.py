"""Collections: every page, in order, once, whatever the links do."""

from __future__ import annotations

import json

import pytest

from entra_pipeline.msgraph import Service
from entra_pipeline.msgraph.errors import (
    BadRequestError,
    ForeignLinkError,
    PageTokenExpiredError,
    RepeatingLinkError,
)
from tests.msgraph.scripted import Reply, Seen, error_body


def test_every_page_arrives_and_headers_are_kept(world):
    def script(seen: Seen) -> Reply:
        if "$skiptoken=b" in seen.query:
            return Reply(json={"value": [{"id": "3"}]})
        if "$skiptoken=a" in seen.query:
            return Reply(json={"value": [], "@odata.nextLink": f"{w.base}/users?$skiptoken=b"})
        return Reply(
            json={
                "@odata.count": 3,
                "value": [{"id": "1"}, {"id": "2"}],
                "@odata.nextLink": f"{w.base}/users?$skiptoken=a",
            }
        )

    w = world(script)
    pages = list(w.client.pages("/users", {"$select": "id"}, table="users", eventual=True))
    assert [json.loads(bytes(p.value)) for p in pages] == [
        [{"id": "1"}, {"id": "2"}],
        [],
        [{"id": "3"}],
    ]
    assert [p.count for p in pages] == [3, 3, 3]
    assert [p.is_empty for p in pages] == [False, True, False]
    assert w.server.seen[0].target == "/v1.0/users?$select=id"
    assert all(s.headers["ConsistencyLevel"] == "eventual" for s in w.server.seen)
    assert all(s.headers["Accept-Encoding"] == "gzip" for s in w.server.seen)
    ids = {s.headers["client-request-id"] for s in w.server.seen}
    assert len(ids) == 3
    counts = w.client.meter.snapshot()["users"]
    assert (counts.requests, counts.round_trips, counts.units, counts.retries) == (3, 3, 5, 0)
    assert counts.bytes == sum(len(p.body) for p in pages)


def test_the_delta_link_comes_with_the_last_page(world):
    def script(seen: Seen) -> Reply:
        if "$skiptoken" in seen.query:
            return Reply(
                json={"value": [], "@odata.deltaLink": f"{w.base}/users/delta?$deltatoken=x"}
            )
        return Reply(
            json={"value": [{"id": "1"}], "@odata.nextLink": f"{w.base}/users/delta?$skiptoken=a"}
        )

    w = world(script)
    pages = list(w.client.pages("/users/delta", {"$select": "id"}, table="users"))
    assert [p.delta_link for p in pages] == [None, f"{w.base}/users/delta?$deltatoken=x"]
    again = list(w.client.pages(f"{w.base}/users/delta?$skiptoken=q", table="users"))
    assert len(again) == 1


def test_an_expired_page_token_starts_the_collection_again(world):
    expired = {"left": 2}

    def script(seen: Seen) -> Reply:
        if "$skiptoken" in seen.query:
            if expired["left"]:
                expired["left"] -= 1
                return Reply(400, json=error_body("Directory_ExpiredPageToken"))
            return Reply(json={"value": [{"id": "2"}]})
        return Reply(
            json={"value": [{"id": "1"}], "@odata.nextLink": f"{w.base}/users?$skiptoken=a"}
        )

    w = world(script)
    pages = list(w.client.pages("/users", table="users"))
    assert [(p.generation, json.loads(bytes(p.value))[0]["id"]) for p in pages] == [
        (0, "1"),
        (1, "1"),
        (2, "1"),
        (2, "2"),
    ]
    assert expired["left"] == 0


def test_page_tokens_that_always_expire_end_in_an_error(world):
    def script(seen: Seen) -> Reply:
        if "$skiptoken" in seen.query:
            return Reply(400, json=error_body("Directory_ExpiredPageToken"))
        return Reply(json={"value": [], "@odata.nextLink": f"{w.base}/users?$skiptoken=a"})

    w = world(script)
    with pytest.raises(PageTokenExpiredError):
        list(w.client.pages("/users", table="users"))
    firsts = [s for s in w.server.seen if "$skiptoken" not in s.query]
    assert len(firsts) == 6


def test_an_expired_link_to_begin_with_cannot_be_begun_again(world):
    w = world(lambda _seen: Reply(400, json=error_body("Directory_ExpiredPageToken")))
    with pytest.raises(PageTokenExpiredError):
        list(w.client.pages(f"{w.base}/users?$skiptoken=old", table="users"))
    assert len(w.server.seen) == 1


def test_a_repeating_next_link_is_detected(world):
    def script(seen: Seen) -> Reply:
        token = "b" if "$skiptoken=a" in seen.query else "a"
        return Reply(
            json={"value": [{"id": "1"}], "@odata.nextLink": f"{w.base}/users?$skiptoken={token}"}
        )

    w = world(script)
    with pytest.raises(RepeatingLinkError) as caught:
        list(w.client.pages("/users", table="users"))
    assert len(w.server.seen) == 3
    assert "twice" in str(caught.value)


@pytest.mark.parametrize(
    "link",
    [
        "https://graph.microsoft.com/v1.0/users?$skiptoken=a",
        "http://127.0.0.1:1/v1.0/users?$skiptoken=a",
        "https://127.0.0.1:{port}/v1.0/users?$skiptoken=a",
        "http://127.0.0.1:{port}@evil.example/v1.0/users",
        "http://evil.example\\@127.0.0.1:{port}/v1.0/users",
        "//evil.example/v1.0/users",
        "http://127.0.0.1:99999/v1.0/users",
        "ftp://127.0.0.1:{port}/v1.0/users",
    ],
)
def test_a_link_to_elsewhere_is_refused_before_a_token_is_sent(world, link):
    w = world(
        lambda _seen: Reply(json={"value": [], "@odata.nextLink": link.format(port=w.server.port)})
    )
    with pytest.raises(ForeignLinkError):
        list(w.client.pages("/users", table="users"))
    assert len(w.server.seen) == 1


def test_redirects_are_not_followed(world):
    w = world(lambda _seen: Reply(302, headers={"Location": f"{w.base}/elsewhere"}))
    with pytest.raises(ForeignLinkError):
        w.client.get("/users", table="users")
    assert len(w.server.seen) == 1


def test_counts_are_numbers_or_none(world):
    replies = {
        "/v1.0/users/$count": Reply(body="\ufeff1234".encode()),
        "/v1.0/contracts/$count": Reply(400, json=error_body("Request_BadRequest")),
    }
    w = world(lambda seen: replies[seen.path])
    assert w.client.count("/users", table="users") == 1234
    assert w.client.count("/contracts", table="users") is None
    assert w.server.seen[0].headers["ConsistencyLevel"] == "eventual"


def test_a_bad_request_is_not_repeated(world):
    w = world(lambda _seen: Reply(400, json=error_body("Request_UnsupportedQuery")))
    with pytest.raises(BadRequestError) as caught:
        w.client.get("/users", {"$filter": "x"}, table="users", service=Service.REPORTS)
    assert caught.value.code == "Request_UnsupportedQuery"
    assert len(w.server.seen) == 1
