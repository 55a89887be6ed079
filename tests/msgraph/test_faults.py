"""Every fault of the wire: it fires, and the answer is whole all the same or the error says why."""

from __future__ import annotations

import gzip
import json
import logging
import threading

import pytest

from entra_pipeline.msgraph import RetryPolicy
from entra_pipeline.msgraph.errors import (
    AuthenticationError,
    ConnectionFailedError,
    DeltaTokenExpiredError,
    ForbiddenError,
    MalformedAnswerError,
    NotFoundError,
    ServerError,
    ThrottledError,
    UnlicensedError,
    UnsupportedError,
)
from tests.msgraph.scripted import Reply, Seen, error_body

GOOD = {"value": [{"id": "1"}]}
THROTTLED = error_body("TooManyRequests", "Please retry again later.")


def once(fault: Reply):
    """A script that answers `fault` first and well after."""
    fired = []

    def script(_seen: Seen) -> Reply:
        if not fired:
            fired.append(1)
            return fault
        return Reply(json=GOOD)

    return script


@pytest.mark.parametrize(
    "fault",
    [
        Reply(500, json=error_body("UnknownError")),
        Reply(502, body=b"<html>Bad gateway</html>"),
        Reply(503, json=error_body("serviceNotAvailable"), headers={"Retry-After": "3"}),
        Reply(504, body=b""),
        Reply(408, body=b""),
        Reply(reset=True),
        Reply(json=GOOD, delay_s=2.5),
        Reply(json=GOOD, cut_at=0),
        Reply(json=GOOD, cut_at=10),
        Reply(body=json.dumps(GOOD).encode()[:-4]),
        Reply(body=b"<html>Sign in to the network</html>"),
        Reply(body=b""),
        Reply(json={"@odata.context": "x"}),
        Reply(json={"value": None}),
        Reply(json={"value": {"id": "1"}}),
        Reply(body=b'{"value":[]} trailing'),
        Reply(body=b"not gzip", headers={"Content-Encoding": "gzip"}),
        Reply(
            body=gzip.compress(json.dumps(GOOD).encode())[:-20],
            headers={"Content-Encoding": "gzip"},
        ),
        Reply(429, json=THROTTLED, headers={"Retry-After": "2"}),
        Reply(429, json=THROTTLED, headers={"Retry-After": "2.128"}),
        Reply(429, json=THROTTLED, headers={"Retry-After": "Mon, 23 Nov 2026 12:00:07 GMT"}),
        Reply(429, json=THROTTLED),
        Reply(429, json=THROTTLED, headers={"Retry-After": "soon"}),
        Reply(400, json=error_body("Request_ThrottledTemporarily")),
        Reply(401, json=error_body("InvalidAuthenticationToken")),
    ],
    ids=lambda r: f"{r.status}-{r.headers or r.cut_at or r.body or r.reset or r.json or r.delay_s}"[
        :40
    ],
)
def test_a_passing_fault_is_survived(world, fault):
    w = world(once(fault), read_timeout_s=1.0 if fault.delay_s else 20.0)
    pages = list(w.client.pages("/users", table="users"))
    assert [json.loads(p.body) for p in pages] == [GOOD]
    assert len(w.server.seen) == 2
    counts = w.client.meter.snapshot()["users"]
    assert (counts.requests, counts.round_trips, counts.retries) == (2, 2, 1)


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("7", 7, 7.1),
        ("2.128", 2.128, 2.2),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30, 30.1),
        (None, 0.2, 0.41),
    ],
)
def test_retry_after_is_waited_for_whatever_its_form(world, header, least, most):
    headers = {} if header is None else {"Retry-After": header}
    w = world(once(Reply(429, json=THROTTLED, headers=headers)))
    w.client.get("/users", table="users")
    assert least <= w.clock.slept <= most
    assert w.client.meter.snapshot()["users"].throttled_s == pytest.approx(w.clock.slept)


def test_throttling_without_end_becomes_an_error_within_the_allowed_time(world):
    w = world(
        lambda _s: Reply(429, json=THROTTLED, headers={"Retry-After": "20"}),
        RetryPolicy(wait_s=90),
    )
    with pytest.raises(ThrottledError) as caught:
        w.client.get("/users", table="users")
    assert w.clock.slept <= 90
    assert len(w.server.seen) == 5
    assert "gave up" in str(caught.value)


def test_throttling_without_retry_after_backs_off_further_each_time(world):
    w = world(lambda _s: Reply(429, json=THROTTLED), RetryPolicy(throttled_attempts=6))
    with pytest.raises(ThrottledError):
        w.client.get("/users", table="users")
    assert len(w.server.seen) == 6
    assert 0.2 * 31 <= w.clock.slept <= 0.4 * 31


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Reply(503, body=b""), ServerError),
        (Reply(reset=True), ConnectionFailedError),
        (Reply(body=b"<html>"), MalformedAnswerError),
        (Reply(json=GOOD, cut_at=5), ConnectionFailedError),
    ],
    ids=["5xx", "reset", "html", "cut"],
)
def test_a_lasting_fault_ends_after_a_bounded_number_of_attempts(world, fault, error):
    w = world(lambda _s: fault, RetryPolicy(attempts=4))
    with pytest.raises(error):
        list(w.client.pages("/users", table="users"))
    assert len(w.server.seen) == 4


@pytest.mark.parametrize(
    ("status", "code", "message", "error"),
    [
        (403, "Authorization_RequestDenied", "Insufficient privileges.", ForbiddenError),
        (
            403,
            "Authentication_MSGraphPermissionMissing",
            "The principal lacks AuditLog.Read.All",
            ForbiddenError,
        ),
        (
            403,
            "Authentication_RequestFromNonPremiumTenantOrB2CTenant",
            "Neither tenant is B2C or tenant doesn't have premium license",
            UnlicensedError,
        ),
        (
            400,
            "AadPremiumLicenseRequired",
            "The tenant needs an AAD Premium 2 license.",
            UnlicensedError,
        ),
        (403, "UnknownError", "Your tenant does not have a license for this.", UnlicensedError),
        (400, "BadRequest", "Resource not found for the segment 'auditLogs'.", UnsupportedError),
        (
            404,
            "ResourceNotFound",
            "Resource not found for the segment 'auditLogs'.",
            UnsupportedError,
        ),
        (404, "Request_ResourceNotFound", "Resource 'x' does not exist", NotFoundError),
        (410, "resyncRequired", "Resync required.", DeltaTokenExpiredError),
        (
            400,
            "syncStateNotFound",
            "The sync state generation is not found.",
            DeltaTokenExpiredError,
        ),
        (
            404,
            "syncStateNotFound",
            "The sync state generation is not found.",
            DeltaTokenExpiredError,
        ),
    ],
)
def test_refusals_are_told_apart_and_not_repeated(world, status, code, message, error):
    w = world(
        lambda _s: Reply(status, json=error_body(code, message), headers={"request-id": "abc-1"})
    )
    with pytest.raises(error) as caught:
        list(w.client.pages("/users", table="users"))
    assert type(caught.value) is error
    assert (caught.value.code, caught.value.status) == (code, status)
    assert caught.value.request_id == "abc-1"
    assert len(w.server.seen) == 1


def test_the_more_specific_inner_code_counts(world):
    body = {
        "error": {
            "code": "BadRequest",
            "message": "x",
            "innererror": {"code": "Directory_ExpiredPageToken"},
        }
    }
    w = world(lambda _s: Reply(400, json=body))
    with pytest.raises(Exception, match="BadRequest") as caught:
        list(w.client.pages("/users", table="users"))
    assert type(caught.value).__name__ == "PageTokenExpiredError"


def test_an_expired_token_is_renewed_once_and_the_same_page_asked_again(world):
    def script(seen: Seen) -> Reply:
        if seen.headers["Authorization"] != "Bearer token-2":
            return Reply(401, json=error_body("InvalidAuthenticationToken"))
        if "$skiptoken" in seen.query:
            return Reply(json=GOOD)
        return Reply(json={**GOOD, "@odata.nextLink": f"{w.base}/users?$skiptoken=a"})

    w = world(script)
    assert len(list(w.client.pages("/users", table="users"))) == 2
    assert [s.headers["Authorization"][-1] for s in w.server.seen] == ["1", "2", "2"]


def test_a_fresh_token_that_is_refused_too_is_an_error(world):
    w = world(lambda _s: Reply(401, json=error_body("InvalidAuthenticationToken")))
    with pytest.raises(AuthenticationError):
        w.client.get("/users", table="users")
    assert len(w.server.seen) == 2


def test_a_claims_challenge_reaches_the_token_source(world):
    challenge = (
        'Bearer realm="", authorization_uri="https://login.example/authorize", '
        'error="insufficient_claims", '
        'claims="eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZSwidmFsdWUiOiIxNjA0MTA2NjUxIn19fQ=="'
    )
    w = world(
        once(
            Reply(
                401,
                json=error_body("InvalidAuthenticationToken"),
                headers={"WWW-Authenticate": challenge},
            )
        )
    )
    w.client.get("/users", table="users")
    assert w.tokens.claims == ['{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}']


def test_many_threads_share_one_renewal(world):
    def script(seen: Seen) -> Reply:
        if seen.headers["Authorization"] == "Bearer token-1":
            return Reply(401, json=error_body("InvalidAuthenticationToken"))
        return Reply(json=GOOD)

    w = world(script)
    threads = [
        threading.Thread(target=w.client.get, args=("/users",), kwargs={"table": "users"})
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(w.tokens.claims) == 1


def test_large_compressed_pages_arrive_whole(world):
    rows = [{"id": str(n), "displayName": "x" * 50} for n in range(20_000)]
    content = gzip.compress(json.dumps({"value": rows}).encode(), 1)
    w = world(lambda _s: Reply(body=content, headers={"Content-Encoding": "gzip"}))
    [page] = w.client.pages("/users", table="users")
    assert json.loads(page.body)["value"] == rows
    assert w.client.meter.snapshot()["users"].bytes == len(page.body)


UPN = "anna.secret@contoso.example"
GUID = "6f1c3c6e-6a55-4c11-9d2a-1234567890ab"


def test_neither_logs_nor_errors_hold_tokens_names_or_ids(world, caplog):
    caplog.set_level(logging.DEBUG)
    faults = iter(
        [
            Reply(500, json=error_body("UnknownError", f"failure for {UPN} and {GUID}")),
            Reply(reset=True),
            Reply(delay_s=2.5, json=GOOD),
            Reply(body=b"<html>"),
            Reply(401, json=error_body("InvalidAuthenticationToken")),
            Reply(
                404,
                json=error_body(
                    "Request_ResourceNotFound",
                    f"Resource '{UPN}' does not exist; user {UPN}; id {GUID}; eyJhbG.eyJzdWIi.sig",
                ),
            ),
        ]
    )
    w = world(lambda _s: next(faults), read_timeout_s=1.0)
    with pytest.raises(NotFoundError) as caught:
        w.client.get(f"/users/{UPN}/licenseDetails", {"$filter": f"mail eq '{UPN}'"}, table="users")
    error: BaseException | None = caught.value
    assert str(error).startswith(
        "GET /users/{id}/licenseDetails: Request_ResourceNotFound (HTTP 404): Resource '…'"
    )
    assert error.__cause__ is None
    assert error.__context__ is None
    text = str(error) + repr(error) + repr(vars(error)) + caplog.text
    assert len(w.server.seen) == 6
    assert caplog.records
    for forbidden in (UPN, "anna", GUID, "token-", "eyJ", "contoso"):
        assert forbidden not in text


def test_closing_the_client_ends_its_pauses(world):
    w = world(lambda _s: Reply(500, body=b""))
    w.client.close()
    with pytest.raises(ConnectionFailedError, match="ClientClosed"):
        w.client.get("/users", table="users")
