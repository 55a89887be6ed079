"""The Microsoft Graph client that readers use: documents, pages, batches, counts.

Belongs here: walking and restarting collections, retrying inside batches. Does not belong here:
making one request reliable (`sender`), what a table reads (`extract`), pacing rules (`budget`),
the meaning of errors (`errors`).

Thread-safe: many threads share one client, its connections and its budget.
"""

from __future__ import annotations

import functools
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self
from urllib.parse import quote, urlencode

import requests

from entra_pipeline.msgraph import batch as batches
from entra_pipeline.msgraph.auth import Claims, MsalTokens, TokenSource, decode_claims
from entra_pipeline.msgraph.batch import BatchItem, BatchResult
from entra_pipeline.msgraph.budget import (
    WINDOWS,
    Budget,
    Service,
    backoff,
    parse_retry_after,
    units_of,
)
from entra_pipeline.msgraph.clock import SYSTEM, Clock
from entra_pipeline.msgraph.errors import (
    AuthenticationError,
    BadRequestError,
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
from entra_pipeline.msgraph.sender import Answer, Request, RetryPolicy, Sender, fraction, integer
from entra_pipeline.msgraph.transport import SessionFactory, session_factory, silence_libraries
from entra_pipeline.msgraph.writing import QUOTA, Writer
from entra_pipeline.settings import Settings

log = logging.getLogger(__name__)

MAX_RESTARTS = 5
"""Times that one collection may start again after its page token expired."""


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
        windows: Mapping[Service, tuple[int, float]] = WINDOWS,
        rng: random.Random | None = None,
    ) -> None:
        """`windows`: how many requests in how many seconds a service may be sent."""
        silence_libraries()
        self.origin = Origin(graph_url)
        self._clock = clock
        self._retries = retries or RetryPolicy()
        self._rng = rng or random.Random()  # noqa: S311 - jitter
        self._sender = Sender(
            tokens,
            session,
            clock=clock,
            retries=self._retries,
            units_per_10s=units_per_10s,
            windows=windows,
            rng=self._rng,
        )
        self.meter: Meter = self._sender.meter
        self.budget: Budget = self._sender.budget

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        clock: Clock = SYSTEM,
        sessions: SessionFactory | None = None,
        windows: Mapping[Service, tuple[int, float]] = WINDOWS,
    ) -> Self:
        """A client by the settings; nothing is sent before the first request.

        `sessions` replaces the making of HTTP sessions: one is made for Graph, one for MSAL.
        `windows` replaces what Microsoft documents of services that count requests: a source that
        does not throttle, as in a measurement, need not be paced.
        Raises SettingsError when a certificate or token file cannot be used.
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
            windows=windows,
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
        return self._sender.send(request, lambda answer: check_json(answer.body, path=request.path))

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
        request: Request | None = first
        while request is not None:
            try:
                page = self._page(request, walk)
            except PageTokenExpiredError:
                if request is first or walk.generation >= MAX_RESTARTS:
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
            request = Request(
                method="POST",
                url=f"{self.origin.base}/$batch",
                path="/$batch",
                table=table,
                service=service,
                units=sum(units_of("GET", item.url) for item in waiting),
                items=len(waiting),
                body=batches.encode(waiting),
            )
            token = self._sender.tokens.token()
            answers = self._sender.send(request, functools.partial(self._answers, request))
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
                self._sender.tokens.renew(token)
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
                self._sender.pause(pause)
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
            return self._sender.send(request, lambda answer: _number(answer.body, request.path))
        except (BadRequestError, UnsupportedError, NotFoundError):
            return None

    def writer(self, before: Callable[[], None], *, quota: int = QUOTA) -> Writer:
        """What sends writes over this client's connections; `before` is its kill switch."""
        return Writer(
            self.origin.base, self._sender, self._clock, self._retries, self._rng, before, quota
        )

    def token_claims(self) -> Claims:
        """What the current token says, for diagnostics."""
        return decode_claims(self._sender.tokens.token())

    def clock_skew_s(self) -> float | None:
        """Seconds by which our clock is ahead of Graph's; None before the first answer."""
        return self._sender.clock_skew_s()

    def close(self) -> None:
        """End pauses of all threads (their requests fail) and close the connections."""
        self._sender.close()

    # ---- one request -------------------------------------------------------------------------

    def _request(
        self,
        path: str,
        params: Mapping[str, str] | None,
        table: str,
        service: Service,
        eventual: bool,
    ) -> Request:
        if params:
            query = urlencode(params, quote_via=quote, safe="$,()':;@/=")
            path = f"{path}{'&' if '?' in path else '?'}{query}"
        url = self.origin.absolute(path)
        relative = url[len(self.origin.base) :] if url.startswith(self.origin.base) else url
        return Request(
            method="GET",
            url=url,
            path=relative,
            table=table,
            service=service,
            units=units_of("GET", relative),
            eventual=eventual,
        )

    def _page(self, request: Request, walk: Walk) -> Page:
        page = self._sender.send(
            request,
            lambda answer: decode_page(answer.body, path=request.path, generation=walk.generation),
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

    def _answers(self, request: Request, answer: Answer) -> dict[str, batches.Answer]:
        """The answers of a batch; corrects the counts where its items say what they cost."""
        answers = batches.decode(answer.body)
        charges = [integer(each.header("x-ms-resource-unit")) for each in answers.values()]
        known = [charge for charge in charges if charge is not None]
        pressures = [
            fraction(each.header("x-ms-throttle-limit-percentage")) for each in answers.values()
        ]
        pressure = max((p for p in pressures if p is not None), default=None)
        if known or pressure is not None:
            taken = integer(answer.headers.get("x-ms-resource-unit"))
            counted = request.units if taken is None else taken
            charged = sum(known) if known else counted
            self.budget.observed(
                request.service, estimated=counted, charged=charged, percentage=pressure
            )
            self.meter.add(request.table, units=charged - counted)
        return answers

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
            strange = None
            if not batches.is_document(body):
                strange = MalformedAnswerError(
                    "MalformedAnswer",
                    status=answer.status,
                    path_template=path_template(item.url),
                    detail="the answer inside the batch is no document of Graph's",
                )
            return BatchResult(item.id, answer.status, headers, body, strange), None
        error = classify(answer.status, headers, body, method="GET", path=item.url)
        pause = parse_retry_after(headers.get("retry-after"), self._clock.now())
        return BatchResult(item.id, answer.status, headers, body, error), pause


def _number(body: bytes, path: str) -> int:
    # $count comes as text/plain, from some services with a byte order mark.
    text = body.decode("utf-8-sig", "replace").strip()
    if not text.isdigit():
        raise MalformedAnswerError(
            "MalformedAnswer", path_template=path_template(path), detail="$count is not a number"
        )
    return int(text)
