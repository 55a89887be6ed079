"""The Microsoft Graph client: one request at a time made reliable, pages and batches from it.

Belongs here: sending, retrying, renewing the token, restarting collections, retrying inside
batches. Does not belong here: what a table reads (`extract`), pacing rules (`budget`), the
meaning of errors (`errors`).

Thread-safe: many threads share one client, its connections and its budget.
"""

from __future__ import annotations

import logging
import random
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self, TypeVar
from urllib.parse import quote, urlencode

import requests
import urllib3.exceptions

from entra_pipeline.msgraph import batch as batches
from entra_pipeline.msgraph.auth import Claims, MsalTokens, TokenSource, decode_claims
from entra_pipeline.msgraph.batch import BatchItem, BatchResult
from entra_pipeline.msgraph.budget import (
    Budget,
    PauseTooLongError,
    Service,
    backoff,
    parse_retry_after,
    units_of,
)
from entra_pipeline.msgraph.challenge import claims_of_challenge
from entra_pipeline.msgraph.clock import SYSTEM, Clock
from entra_pipeline.msgraph.errors import (
    AuthenticationError,
    BadRequestError,
    ConnectionFailedError,
    GraphError,
    MalformedAnswerError,
    NotFoundError,
    PageTokenExpiredError,
    ServerError,
    ThrottledError,
    UnsupportedError,
    classify,
    path_template,
)
from entra_pipeline.msgraph.meter import Meter
from entra_pipeline.msgraph.paging import Origin, Page, Walk, check_json, decode_page
from entra_pipeline.msgraph.transport import SessionFactory, session_factory
from entra_pipeline.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_RESTARTS = 5
"""Times that one collection may start again after its page token expired."""


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
class _Request:
    """One HTTP request and what is known about it beforehand."""

    method: str
    url: str
    path: str
    table: str
    service: Service
    units: int
    items: int = 1
    body: bytes | None = None
    eventual: bool = False

    @property
    def template(self) -> str:
        return path_template(self.path)


@dataclass
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class GraphClient:
    """Microsoft Graph v1.0 as the readers want it. All methods may be called from any thread.

    Every method raises the errors of `entra_pipeline.msgraph.errors`.
    """

    def __init__(
        self,
        graph_url: str,
        tokens: TokenSource,
        session: requests.Session,
        *,
        clock: Clock = SYSTEM,
        retries: RetryPolicy | None = None,
        units_per_10s: float = 8000,
        rng: random.Random | None = None,
    ) -> None:
        self.meter = Meter()
        self.origin = Origin(graph_url)
        self._tokens = tokens
        self._session = session
        self._clock = clock
        self._retries = retries or RetryPolicy()
        self._rng = rng or random.Random()  # noqa: S311 - jitter
        self._closed = threading.Event()
        self.budget = Budget(clock, units_per_10s=units_per_10s, wait=self._pause)
        self._server_clock: tuple[datetime, str] | None = None

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        clock: Clock = SYSTEM,
        sessions: SessionFactory | None = None,
    ) -> Self:
        """A client by the settings; nothing is sent before the first request.

        `sessions` replaces the making of HTTP sessions: one is made for Graph, one for MSAL.
        """
        make = sessions or session_factory(settings)
        return cls(
            settings.endpoints.graph_url,
            MsalTokens(settings, make(), clock),
            make(),
            clock=clock,
            retries=RetryPolicy(
                attempts=settings.max_attempts,
                throttled_attempts=4 * settings.max_attempts,
                wait_s=settings.max_wait_seconds,
            ),
            units_per_10s=settings.resource_units_per_10s,
        )

    # ---- what readers call -------------------------------------------------------------------

    def get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        table: str,
        service: Service = Service.DIRECTORY,
        eventual: bool = False,
    ) -> bytes:
        """The JSON document at `path` (relative to the version root, or a link of Graph's)."""
        request = self._request(path, params, table, service, eventual)
        return self._send(request, lambda body: check_json(body, path=request.path))

    def pages(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        table: str,
        service: Service = Service.DIRECTORY,
        eventual: bool = False,
    ) -> Iterator[Page]:
        """The pages of a collection, or of a delta link, to the end.

        When a page token expires the collection starts again with the next `generation`, at
        most five times: the consumer throws away what it holds of the former one.
        """
        first = self._request(path, params, table, service, eventual)
        walk = Walk(first.url)
        request: _Request | None = first
        while request is not None:
            try:
                page = self._page(request, walk)
            except PageTokenExpiredError:
                if walk.generation >= MAX_RESTARTS:
                    raise
                log.info("%s: page token expired, the collection starts again", first.template)
                self.meter.add(table, retries=1)
                walk.restart()
                request = first
                continue
            link = walk.advance(page)
            yield page
            request = None if link is None else self._request(link, None, table, service, eventual)

    def batch(
        self,
        items: Sequence[BatchItem],
        *,
        table: str,
        service: Service = Service.DIRECTORY,
    ) -> list[BatchResult]:
        """Up to 20 GETs in one round trip; results in the order of `items`.

        Items that are throttled, fail with 5xx or are missing from the answer are asked for
        again, they alone, after the longest Retry-After; what remains failed after that is in
        its result's `error`. Raises only when the batch as a whole cannot be had.
        """
        batches.check(items)
        found: dict[str, BatchResult] = {}
        waiting = list(items)
        waited = 0.0
        renewed = False
        attempt = throttled = 0
        while waiting:
            request = _Request(
                method="POST",
                url=f"{self.origin.base}/$batch",
                path="/$batch",
                table=table,
                service=service,
                units=sum(units_of("GET", item.url) for item in waiting),
                items=len(waiting),
                body=batches.encode(waiting),
            )
            token = self._tokens.token()
            answers = self._send(request, batches.decode)
            again: list[BatchItem] = []
            pause = 0.0
            refused = False
            for item in waiting:
                result, retry_after = self._result(item, answers.get(item.id))
                found[item.id] = result
                error = result.error
                if isinstance(error, ThrottledError):
                    again.append(item)
                    refused = True
                    pause = max(pause, retry_after or 0.0)
                elif isinstance(error, ServerError | MalformedAnswerError):
                    again.append(item)
                    pause = max(pause, retry_after or 0.0)
                elif isinstance(error, AuthenticationError) and not renewed:
                    again.append(item)
            if not again:
                break
            if any(isinstance(found[i.id].error, AuthenticationError) for i in again):
                renewed = True
                self._tokens.renew(token)
            throttled += refused
            attempt += not refused
            pause = max(pause, backoff(attempt + throttled, self._rng))
            waited += pause
            if (
                attempt >= self._retries.attempts
                or throttled >= self._retries.throttled_attempts
                or waited > self._retries.wait_s
            ):
                break
            self.meter.add(table, retries=len(again))
            if refused:
                self.budget.throttled(service, pause)
            else:
                self._pause(pause)
            waiting = again
        return [found[item.id] for item in items]

    def count(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        table: str,
        service: Service = Service.DIRECTORY,
    ) -> int | None:
        """`path/$count`; None where Graph does not count that collection."""
        request = self._request(f"{path.rstrip('/')}/$count", params, table, service, True)
        try:
            return self._send(request, lambda body: _number(body, request.path))
        except (BadRequestError, UnsupportedError, NotFoundError):
            return None

    def token_claims(self) -> Claims:
        """What the current token says, for diagnostics."""
        return decode_claims(self._tokens.token())

    def clock_skew_s(self) -> float | None:
        """Seconds by which our clock is ahead of Graph's; None before the first answer."""
        if self._server_clock is None:
            return None
        ours, theirs = self._server_clock
        age = parse_retry_after(theirs, datetime.fromtimestamp(0, UTC))
        return None if age is None else ours.timestamp() - age

    def close(self) -> None:
        """End pauses of all threads (their requests fail) and close the connections."""
        self._closed.set()
        self._session.close()

    # ---- one request -------------------------------------------------------------------------

    def _request(
        self,
        path: str,
        params: Mapping[str, str] | None,
        table: str,
        service: Service,
        eventual: bool,
    ) -> _Request:
        if params:
            query = urlencode(params, quote_via=quote, safe="$,()':;@/")
            path = f"{path}{'&' if '?' in path else '?'}{query}"
        url = self.origin.absolute(path)
        relative = url[len(self.origin.base) :] if url.startswith(self.origin.base) else url
        return _Request(
            method="GET",
            url=url,
            path=relative,
            table=table,
            service=service,
            units=units_of("GET", relative),
            eventual=eventual,
        )

    def _page(self, request: _Request, walk: Walk) -> Page:
        page = self._send(
            request,
            lambda body: decode_page(body, path=request.path, generation=walk.generation),
        )
        if page.count is None and walk.count is not None:
            return Page(
                page.body,
                page.value,
                page.next_link,
                page.delta_link,
                walk.count,
                page.generation,
            )
        return page

    def _send(self, request: _Request, decode: Callable[[bytes], T]) -> T:
        """Send until there is a good answer, and decode it; the last error otherwise."""
        policy = self._retries
        attempt = throttled = 0
        waited = 0.0
        renewed = False
        while True:
            waited += self._acquire(request, policy.wait_s - waited, throttled)
            token = self._tokens.token()
            error: GraphError
            pause: float | None = None
            answer = self._attempt(request, token)
            if isinstance(answer, GraphError):
                error = answer
            elif answer.status < 300:
                try:
                    return decode(answer.body)
                except MalformedAnswerError as malformed:
                    error = malformed.with_traceback(None)
            else:
                error = classify(
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
                    self._tokens.renew(token, claims)
                    continue
            if isinstance(error, ThrottledError):
                throttled += 1
                pause = backoff(throttled, self._rng) if pause is None else pause
                self.budget.throttled(request.service, pause)
                if throttled >= policy.throttled_attempts or waited + pause > policy.wait_s:
                    raise _gave_up(error, waited, throttled)
            elif isinstance(error, ServerError | ConnectionFailedError | MalformedAnswerError):
                attempt += 1
                pause = max(pause or 0.0, backoff(attempt, self._rng))
                if (
                    attempt >= policy.attempts
                    or waited + pause > policy.wait_s
                    or error.code == "CertificateNotTrusted"
                    or self._closed.is_set()
                ):
                    raise error
                self._pause(pause)
                waited += pause
            else:
                raise error
            self.meter.add(request.table, retries=request.items)

    def _acquire(self, request: _Request, patience: float, refusals: int) -> float:
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

    def _attempt(self, request: _Request, token: str) -> _Answer | GraphError:
        """One round trip, counted; failures to get a whole answer come back as errors."""
        if self._closed.is_set():
            return self._connection_error(request, "ClientClosed", "the client was closed")
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json",
            "client-request-id": str(uuid.uuid4()),
        }
        if request.eventual:
            headers["ConsistencyLevel"] = "eventual"
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        started = self._clock.monotonic()
        response: requests.Response | None = None
        answer: _Answer | GraphError
        try:
            response = self._session.request(
                request.method, request.url, data=request.body, headers=headers, stream=True
            )
            # Not response.content: it joins 10 KB pieces, which a page of megabytes feels.
            body = response.raw.read(decode_content=True)
            answer = _Answer(response.status_code, response.headers, body)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as failure:
            answer = self._connection_failure(request, failure)
        if response is not None:
            response.close()
        self._record(request, answer, headers["client-request-id"], started)
        return answer

    def _record(
        self, request: _Request, answer: _Answer | GraphError, client_id: str, started: float
    ) -> None:
        if isinstance(answer, GraphError):
            self.meter.add(
                request.table, requests=request.items, round_trips=1, units=request.units
            )
            log.debug("%s (client-request-id %s)", answer, client_id)
            return
        headers = answer.headers
        charged = _integer(headers.get("x-ms-resource-unit"))
        self.budget.observed(
            request.service,
            estimated=request.units,
            charged=charged,
            percentage=_fraction(headers.get("x-ms-throttle-limit-percentage")),
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

    def _connection_failure(self, request: _Request, failure: Exception) -> GraphError:
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
    def _connection_error(request: _Request, code: str, detail: str) -> ConnectionFailedError:
        return ConnectionFailedError(
            code, method=request.method, path_template=request.template, detail=detail
        )

    def _result(
        self, item: BatchItem, answer: batches.Answer | None
    ) -> tuple[BatchResult, float | None]:
        if answer is None:
            missing = MalformedAnswerError(
                "MissingAnswer",
                path_template=path_template(item.url),
                detail="the batch's answer left this item out",
            )
            return BatchResult(item.id, 0, {}, b"", missing), None
        headers = answer.plain_headers()
        body = answer.content()
        if answer.status < 300:
            return BatchResult(item.id, answer.status, headers, body, None), None
        error = classify(answer.status, headers, body, method="GET", path=item.url)
        pause = parse_retry_after(headers.get("retry-after"), self._clock.now())
        return BatchResult(item.id, answer.status, headers, body, error), pause

    def _pause(self, seconds: float) -> None:
        """Wait, in slices, so that `close` ends it."""
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0 and not self._closed.is_set():
            self._clock.sleep(min(left, 1.0))


def _gave_up(error: GraphError, waited: float, refusals: int) -> ThrottledError:
    return ThrottledError(
        error.code,
        status=error.status,
        request_id=error.request_id,
        method=error.method,
        path_template=error.path_template,
        detail=f"gave up after {refusals} refusals and {waited:.0f} s of waiting",
    )


def _integer(value: str | None) -> int | None:
    return int(value) if value is not None and value.strip().isdigit() else None


def _fraction(value: str | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def _number(body: bytes, path: str) -> int:
    # $count comes as text/plain, from some services with a byte order mark.
    text = body.decode("utf-8-sig", "replace").strip()
    if not text.isdigit():
        raise MalformedAnswerError(
            "MalformedAnswer", path_template=path_template(path), detail="$count is not a number"
        )
    return int(text)
