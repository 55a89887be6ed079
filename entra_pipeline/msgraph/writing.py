"""Writes to Microsoft Graph: each sent once, and told apart by what is known of its effect.

Belongs here: sending writes in batches, the pace of Graph's write quota, and whether something
happened. Does not belong here: whether a write may be made (`provisioning`), and what it means.

A write whose answer was lost may have happened. It is never sent again from here: whoever asked for
it finds out by reading. Only what Graph refuses before it does anything is sent once more:
throttling, and a token that is no longer good.

Source: https://learn.microsoft.com/graph/throttling-limits (3,000 writes per 150 s and application
in a tenant), https://learn.microsoft.com/graph/json-batching.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from entra_pipeline.msgraph import batch as batches
from entra_pipeline.msgraph.budget import Service, Window, backoff, parse_retry_after, units_of
from entra_pipeline.msgraph.clock import Clock
from entra_pipeline.msgraph.errors import (
    AuthenticationError,
    BadRequestError,
    ForbiddenError,
    GraphError,
    MalformedAnswerError,
    NotFoundError,
    ThrottledError,
    UnlicensedError,
    UnsupportedError,
    classify,
    path_template,
)
from entra_pipeline.msgraph.sender import Answer, Request, RetryPolicy, Sender

QUOTA: Final = 2_850
"""Writes per 150 s that we allow ourselves: 95 % of Graph's 3,000, for others share them."""
PERIOD_S: Final = 150.0

_NOT_DONE = (
    AuthenticationError,
    BadRequestError,
    ForbiddenError,
    NotFoundError,
    ThrottledError,
    UnlicensedError,
    UnsupportedError,
)


@dataclass(frozen=True, slots=True)
class Write:
    """One write: `url` relative to the version root.

    `units`: how much of the write quota it takes. `request_id` is told to Graph, whose audit log
    keeps it: a GUID.
    """

    id: str
    method: str
    url: str
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    units: int = 1
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a write.

    `happened`: True, False, or None when nobody knows. `error` is None exactly when True.
    """

    id: str
    status: int
    body: bytes
    error: GraphError | None
    happened: bool | None


class Writer:
    """Sends writes for all threads of one client; made by `GraphClient.writer`.

    `before` is called before every round trip, and stops everything by raising: the kill switch.
    """

    def __init__(
        self,
        base: str,
        sender: Sender,
        clock: Clock,
        retries: RetryPolicy,
        rng: random.Random,
        before: Callable[[], None],
        quota: int = QUOTA,
    ) -> None:
        self._base = base
        self._sender = sender
        self._clock = clock
        self._retries = retries
        self._rng = rng
        self._before = before
        self._quota = Window(quota, PERIOD_S)
        self._lock = threading.Lock()

    def write(
        self,
        writes: Sequence[Write],
        *,
        table: str = "provisioning",
        service: Service = Service.DIRECTORY,
    ) -> list[Written]:
        """Up to 20 writes in one round trip, independent of each other; results in their order.

        Never raises for what Graph or the network do: the results say it. What throttling holds up
        for longer than the retry policy allows, or until somebody stops us, comes back with
        `happened` False. Raises what `before` raises when nothing was sent yet.
        """
        items = [batches.BatchItem(write.id, write.url) for write in writes]
        batches.check(items)
        found: dict[str, Written] = {}
        waiting = list(writes)
        renewed = False
        waited = 0.0
        refusals = 0
        while True:
            try:
                self._pace(sum(write.units for write in waiting))
                self._before()
            except Exception:
                if not found:
                    raise
                # Some were done by then, which has to be known: the next call is stopped at once.
                break
            token, results, pause = self._send(waiting, table, service)
            found.update({result.id: result for result in results})
            again = [w for w in waiting if isinstance(found[w.id].error, ThrottledError)]
            expired = [w for w in waiting if isinstance(found[w.id].error, AuthenticationError)]
            if expired and not renewed and token is not None:
                renewed = True
                self._sender.tokens.renew(token)
                again += expired
            if not again:
                break
            if any(isinstance(found[w.id].error, ThrottledError) for w in again):
                refusals += 1
                pause = max(pause, backoff(refusals, self._rng))
                waited += pause
                if refusals >= self._retries.throttled_attempts or waited > self._retries.wait_s:
                    break
                self._sender.budget.throttled(service, pause)
            self._sender.meter.add(table, retries=len(again))
            waiting = [write for write in waiting if write in again]
        return [found[write.id] for write in writes]

    def _pace(self, units: int) -> None:
        while True:
            with self._lock:
                seconds = self._quota.take(units, self._clock.monotonic())
            if seconds <= 0:
                return
            # In slices: who stops us meanwhile is not to wait for minutes.
            self._before()
            self._sender.pause(min(seconds, 5.0))

    def _send(
        self, writes: Sequence[Write], table: str, service: Service
    ) -> tuple[str | None, list[Written], float]:
        """One round trip; the token it was sent with, results, and the pause that Graph asks."""
        alone = len(writes) == 1
        if alone:
            (write,) = writes
            request = Request(
                method=write.method,
                url=f"{self._base}{write.url}",
                path=write.url,
                table=table,
                service=service,
                units=units_of(write.method, write.url),
                body=None if write.body is None else msgspec.json.encode(write.body),
                repeatable=False,
                request_id=write.request_id,
            )
        else:
            request = Request(
                method="POST",
                url=f"{self._base}/$batch",
                path="/$batch",
                table=table,
                service=service,
                units=sum(units_of(write.method, write.url) for write in writes),
                items=len(writes),
                body=_encode(writes),
                repeatable=False,
            )
        try:
            token = self._sender.tokens.token()
        except GraphError as error:
            return None, [Written(w.id, 0, b"", error, False) for w in writes], 0.0
        try:
            if alone:
                answer = self._sender.send(request, lambda answer: answer)
                return token, [_good(writes[0], answer)], 0.0
            answers = self._sender.send(request, lambda answer: batches.decode(answer.body))
        except GraphError as error:
            happened = False if isinstance(error, _NOT_DONE) else None
            status = error.status or 0
            # The sender has waited for throttling and renewed the token already.
            if isinstance(error, ThrottledError | AuthenticationError):
                error = _final(error)
            return token, [Written(w.id, status, b"", error, happened) for w in writes], 0.0
        pause = 0.0
        results = []
        for write in writes:
            result, asked = self._result(write, answers.get(write.id))
            pause = max(pause, asked)
            results.append(result)
        return token, results, pause

    def _result(self, write: Write, answer: batches.Answer | None) -> tuple[Written, float]:
        if answer is None:
            missing = MalformedAnswerError(
                "MissingAnswer",
                method=write.method,
                path_template=path_template(write.url),
                detail="the batch's answer left this write out",
            )
            return Written(write.id, 0, b"", missing, None), 0.0
        body = answer.content()
        if answer.status < 300:
            return Written(write.id, answer.status, body, None, True), 0.0
        headers = answer.plain_headers()
        error = classify(answer.status, headers, body, method=write.method, path=write.url)
        happened = False if isinstance(error, _NOT_DONE) else None
        asked = parse_retry_after(headers.get("retry-after"), self._clock.now()) or 0.0
        return Written(write.id, answer.status, body, error, happened), math.ceil(asked)


class GaveUpError(GraphError):
    """Graph refused until we no longer waited; nothing was done."""


def _final(error: GraphError) -> GaveUpError:
    return GaveUpError(
        error.code,
        status=error.status,
        request_id=error.request_id,
        method=error.method,
        path_template=error.path_template,
        detail=error.detail,
    )


def _encode(writes: Sequence[Write]) -> bytes:
    requests = []
    for write in writes:
        headers = {}
        request: dict[str, object] = {"id": write.id, "method": write.method, "url": write.url}
        if write.body is not None:
            request["body"] = dict(write.body)
            headers["Content-Type"] = "application/json"
        if write.request_id is not None:
            headers["client-request-id"] = write.request_id
        if headers:
            request["headers"] = headers
        requests.append(request)
    return msgspec.json.encode({"requests": requests})


def _good(write: Write, answer: Answer) -> Written:
    return Written(write.id, answer.status, answer.body, None, True)
