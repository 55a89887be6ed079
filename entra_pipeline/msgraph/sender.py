"""One request made reliable: sent, counted, paced, retried, its token renewed.

Belongs here: everything that happens between a request and its one good answer or its last
error. Does not belong here: what is asked (`client`), what answers mean (`errors`), how fast one
may ask (`budget`).
"""

from __future__ import annotations

import logging
import random
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeVar

import requests
import urllib3.exceptions

from entra_pipeline.msgraph.auth import TokenSource
from entra_pipeline.msgraph.budget import (
    WINDOWS,
    Budget,
    PauseTooLongError,
    Service,
    backoff,
    parse_retry_after,
)
from entra_pipeline.msgraph.challenge import claims_of_challenge
from entra_pipeline.msgraph.clock import Clock
from entra_pipeline.msgraph.errors import (
    AuthenticationError,
    ConnectionFailedError,
    GraphError,
    MalformedAnswerError,
    ServerError,
    ThrottledError,
    classify,
    path_template,
)
from entra_pipeline.msgraph.meter import Meter

log = logging.getLogger(__name__)

T = TypeVar("T")

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 5


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long one request is tried.

    attempts: for failures of Graph or of the connection; throttled_attempts: for 429, which
    Graph itself spaces out; wait_s: total pause of one request, the budget's own pace left out.
    """

    attempts: int = 8
    throttled_attempts: int = 32
    wait_s: float = 900.0


@dataclass(frozen=True)
class Request:
    """One HTTP request and what is known about it beforehand.

    `repeatable`: whether it may be sent again when nobody knows what became of it. What writes is
    not: there only refusals that Graph gives before it does anything (throttling, an old token) are
    followed by another try. `headers` are sent beside the usual ones. `follow` checks where a
    redirect leads, and raises where no token may go; without it none is followed. `errors` tells
    what an answer of 300 or more means.
    """

    method: str
    url: str
    path: str
    table: str
    service: Service
    units: int
    items: int = 1
    body: bytes | None = field(default=None, repr=False)
    eventual: bool = False
    repeatable: bool = True
    request_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    follow: Callable[[str], str] | None = None
    errors: Callable[..., GraphError] = classify

    @property
    def template(self) -> str:
        """The path, safe to log."""
        return path_template(self.path)


@dataclass
class Answer:
    """A whole HTTP answer; header names in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Sender:
    """Sends requests for all threads of one client."""

    def __init__(
        self,
        tokens: TokenSource,
        session: requests.Session,
        *,
        clock: Clock,
        retries: RetryPolicy,
        units_per_10s: float,
        windows: Mapping[Service, tuple[int, float]] = WINDOWS,
        rng: random.Random,
    ) -> None:
        self.meter = Meter()
        self.budget = Budget(clock, units_per_10s=units_per_10s, windows=windows, wait=self.pause)
        self.tokens = tokens
        self._session = session
        self._clock = clock
        self._retries = retries
        self._rng = rng
        self._closed = threading.Event()
        self._server_clock: tuple[datetime, str] | None = None

    def close(self) -> None:
        """End pauses of all threads (their requests fail) and close the connections."""
        self._closed.set()
        self._session.close()

    def clock_skew_s(self) -> float | None:
        """Seconds by which our clock is ahead of Graph's; None before the first answer."""
        if self._server_clock is None:
            return None
        ours, theirs = self._server_clock
        since = parse_retry_after(theirs, datetime.fromtimestamp(0, UTC))
        return None if since is None else ours.timestamp() - since

    def pause(self, seconds: float) -> None:
        """Wait, in slices, so that `close` ends it."""
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0 and not self._closed.is_set():
            self._clock.sleep(min(left, 1.0))

    def send(self, request: Request, decode: Callable[[Answer], T]) -> T:
        """Send until there is a good answer, and decode it; the last error otherwise."""
        policy = self._retries
        attempt = throttled = 0
        waited = 0.0
        renewed = False
        hops = 0
        while True:
            waited += self._acquire(request, policy.wait_s - waited, throttled)
            token = self.tokens.token()
            error: GraphError
            pause: float | None = None
            answer = self._attempt(request, token)
            if isinstance(answer, GraphError):
                error = answer
            elif answer.status in REDIRECTS and request.follow is not None:
                # What was redirected was not done. A next place that is not ours raises.
                hops += 1
                if hops > MAX_REDIRECTS:
                    raise request.errors(
                        answer.status,
                        answer.headers,
                        answer.body,
                        method=request.method,
                        path=request.path,
                    )
                request = replace(request, url=request.follow(answer.headers.get("Location", "")))
                self.meter.add(request.table, retries=request.items)
                continue
            elif answer.status < 300:
                try:
                    return decode(answer)
                except MalformedAnswerError as malformed:
                    error = malformed.with_traceback(None)
            else:
                error = request.errors(
                    answer.status,
                    answer.headers,
                    answer.body,
                    method=request.method,
                    path=request.path,
                )
                pause = parse_retry_after(answer.headers.get("Retry-After"), self._clock.now())
                if isinstance(error, AuthenticationError) and not renewed:
                    renewed = True
                    self.meter.add(request.table, retries=request.items)
                    claims = claims_of_challenge(answer.headers.get("WWW-Authenticate"))
                    self.tokens.renew(token, claims)
                    continue
            if isinstance(error, ThrottledError):
                throttled += 1
                pause = pause or backoff(throttled, self._rng)
                self.budget.throttled(request.service, pause)
                if throttled >= policy.throttled_attempts or waited + pause > policy.wait_s:
                    raise _gave_up(error, waited, throttled)
            elif isinstance(error, ServerError | ConnectionFailedError | MalformedAnswerError):
                attempt += 1
                pause = max(pause or 0.0, backoff(attempt, self._rng))
                if (
                    not request.repeatable
                    or attempt >= policy.attempts
                    or waited + pause > policy.wait_s
                    or error.code == "CertificateNotTrusted"
                    or self._closed.is_set()
                ):
                    raise error
                self.pause(pause)
                waited += pause
            else:
                raise error
            self.meter.add(request.table, retries=request.items)

    def _acquire(self, request: Request, patience: float, refusals: int) -> float:
        """Wait for the budget; the seconds of pauses that Graph asked for."""
        too_long: float
        try:
            total, paused = self.budget.acquire(
                request.service, request.units, request.items, patience=patience
            )
        except PauseTooLongError as error:
            too_long = error.seconds
        else:
            if total:
                self.meter.add(request.table, throttled_s=total)
            return paused
        raise ThrottledError(
            "TooManyRequests",
            status=429,
            method=request.method,
            path_template=request.template,
            detail=(
                f"Graph asks for a pause of {too_long:.0f} s, more than ENTRA_MAX_WAIT_SECONDS "
                f"leaves after {refusals} refusals"
            ),
        )

    def _attempt(self, request: Request, token: str) -> Answer | GraphError:
        """One round trip, counted; failures to get a whole answer come back as errors."""
        if self._closed.is_set():
            return self._connection_error(request, "ClientClosed", "the client was closed")
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json",
            "client-request-id": request.request_id or str(uuid.uuid4()),
            **request.headers,
        }
        if request.eventual:
            headers["ConsistencyLevel"] = "eventual"
        if request.body is not None:
            headers.setdefault("Content-Type", "application/json")
        started = self._clock.monotonic()
        response: requests.Response | None = None
        answer: Answer | GraphError
        try:
            response = self._session.request(
                request.method, request.url, data=request.body, headers=headers, stream=True
            )
            # Not response.content: it joins 10 KB pieces, which a page of megabytes feels.
            body = response.raw.read(decode_content=True)
            answer = Answer(response.status_code, response.headers, body)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as failure:
            answer = self._connection_failure(request, failure)
        if response is not None:
            response.close()
        self._record(request, answer, headers["client-request-id"], started)
        return answer

    def _record(
        self, request: Request, answer: Answer | GraphError, client_id: str, started: float
    ) -> None:
        if isinstance(answer, GraphError):
            self.meter.add(
                request.table, requests=request.items, round_trips=1, units=request.units
            )
            log.debug("%s (client-request-id %s)", answer, client_id)
            return
        headers = answer.headers
        charged = integer(headers.get("x-ms-resource-unit"))
        self.budget.observed(
            request.service,
            estimated=request.units,
            charged=charged,
            percentage=fraction(headers.get("x-ms-throttle-limit-percentage")),
        )
        date = headers.get("Date")
        if date is not None:
            self._server_clock = (self._clock.now(), date)
        self.meter.add(
            request.table,
            requests=request.items,
            round_trips=1,
            units=request.units if charged is None else charged,
            size=len(answer.body),
        )
        if log.isEnabledFor(logging.DEBUG):
            log.debug(
                "%s %s: %d, %d bytes, %.3f s, request-id %s, client-request-id %s",
                request.method,
                request.template,
                answer.status,
                len(answer.body),
                self._clock.monotonic() - started,
                headers.get("request-id"),
                client_id,
            )

    def _connection_failure(self, request: Request, failure: Exception) -> GraphError:
        # The text of these exceptions holds the URL, and with it ids and names.
        if isinstance(failure, requests.exceptions.SSLError | urllib3.exceptions.SSLError):
            return self._connection_error(
                request,
                "CertificateNotTrusted",
                "Graph's certificate is not trusted: check ENTRA_CA_BUNDLE",
            )
        if isinstance(failure, requests.exceptions.ProxyError):
            return self._connection_error(
                request, "ProxyFailed", "the proxy refused: check HTTPS_PROXY and NO_PROXY"
            )
        timeouts = (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
        if isinstance(failure, timeouts):
            return self._connection_error(request, "TimedOut", "no answer in time")
        return self._connection_error(
            request,
            "ConnectionFailed",
            f"the connection failed or the answer was cut ({type(failure).__name__})",
        )

    @staticmethod
    def _connection_error(request: Request, code: str, detail: str) -> ConnectionFailedError:
        return ConnectionFailedError(
            code, method=request.method, path_template=request.template, detail=detail
        )


def _gave_up(error: GraphError, waited: float, refusals: int) -> ThrottledError:
    return ThrottledError(
        error.code,
        status=error.status,
        request_id=error.request_id,
        method=error.method,
        path_template=error.path_template,
        detail=f"gave up after {refusals} refusals and {waited:.0f} s of waiting",
    )


def integer(value: str | None) -> int | None:
    """A header's whole number, None when it is not one."""
    return int(value) if value is not None and value.strip().isdigit() else None


def fraction(value: str | None) -> float | None:
    """A header's number, None when it is not one."""
    try:
        return None if value is None else float(value)
    except ValueError:
        return None
