"""One look at the directory audits for the event feed: what is new, and how far was heard.

Here: which span to ask for, and audits to events. Not here: what an audit points at (`hints`),
keeping events (`lake.feed`), when to look and what to do then (`orchestration`).

Audits come up to an hour late, so each look asks for the last hour again, newest first, and an
event is kept once by its id. In a tenant where that is more than a few pages, only the last minutes
are asked for each time, and of the rest a few pages at a time (the sweep): five requests in ten
seconds are all there are, for every reader of Microsoft's logs together. The sweep also catches up
after a long absence.
Source: https://learn.microsoft.com/graph/throttling-limits#reports-service-limits
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from entra_pipeline.extract.hints import (
    NotAnAuditError,
    absent,
    audits,
    recognise,
    target_ids,
)
from entra_pipeline.extract.outcome import verdict
from entra_pipeline.lake.feed import Feed
from entra_pipeline.lake.feed_model import Event, Heard, Poison
from entra_pipeline.msgraph import GraphClient, GraphError
from entra_pipeline.settings import Settings
from entra_pipeline.tables import EVENTS

FEW_PAGES: Final = 3
"""Of the whole overlap, to ask for all of it each time."""
RECENT: Final = timedelta(minutes=5)
"""What is asked for again otherwise, and how often the whole overlap is."""
KEPT: Final = timedelta(days=7)
SPAN: Final = timedelta(hours=6)
"""Asked for at once at most, when the listener was away for longer."""
SMALLEST: Final = timedelta(seconds=10)
PAGE: Final = 1000
BUDGET_S: Final = 20.0
"""After which no further page is asked for: a look must end before Dagster gives it up (60 s)."""


@dataclass(frozen=True)
class Look:
    """What one look came to. `reason`: why nothing was heard. `whole`: nothing is left to ask."""

    events: tuple[Event, ...] = ()
    poisoned: int = 0
    pages: int = 0
    whole: bool = True
    reason: str | None = None


def listen(
    settings: Settings,
    client: GraphClient,
    feed: Feed,
    *,
    tell: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    clock: Callable[[], float] = time.monotonic,
) -> Look:
    """Read what is new in the log and keep it; `tell` queues deliveries of it.

    The first look begins an overlap ago. Returns the new events; what Graph answers never raises.
    """
    if (reason := absent(settings)) is not None:
        feed.put(trouble=reason)
        return Look(reason=reason)
    return _Listener(settings, client, feed, tell, now, clock).look()


def read(audit: object) -> tuple[Event | None, tuple[str, ...]]:
    """The event that an audit is, None if it changes no access; and activities that nobody knows.

    Raises NotAnAuditError for what cannot be read.
    """
    if not isinstance(audit, Mapping):
        raise NotAnAuditError("the event is no object")
    hints = recognise(audit)
    unknown = tuple(hints.unknown)
    if not hints:
        return None, unknown
    key = audit.get("id")
    if not isinstance(key, str) or not key:
        raise NotAnAuditError("the event has no id")
    kind, actor = _actor(audit.get("initiatedBy"))
    event = Event(
        id=key,
        time=_time(audit.get("activityDateTime")),
        activity=str(audit["activityDisplayName"]).strip(),
        operation=_text(audit.get("operationType")),
        service=_text(audit.get("loggedByService")),
        actor_kind=kind,
        actor_id=actor,
        targets=tuple(target_ids(audit)),
        tables=tuple(sorted(hints.tables)),
        correlation_id=_text(audit.get("correlationId")),
    )
    return event, unknown


class _Listener:
    def __init__(
        self,
        settings: Settings,
        client: GraphClient,
        feed: Feed,
        tell: bool,
        now: Callable[[], datetime],
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._feed = feed
        self._tell = tell
        self._now = now
        self._clock = clock
        self._overlap = timedelta(minutes=settings.activity_overlap_minutes)
        self._until = clock() + BUDGET_S
        self._events: list[Event] = []
        self._poisoned = self._pages = 0

    def look(self) -> Look:
        whole, reason = False, None
        try:
            whole = self._hear()
        except GraphError as error:
            reason = verdict(error, EVENTS["directory_audits"], self._granted()).reason
            self._feed.put(trouble=reason)
        return Look(tuple(self._events), self._poisoned, self._pages, whole, reason)

    def _hear(self) -> bool:
        """The last minutes first, or all of the overlap if that is few pages; then what is left."""
        now = self._now()
        heard = _moment(self._feed.get("heard_until")) or now
        heard = max(min(heard, now), now - KEPT)
        left = _moment(self._feed.get("sweep_from"))
        start = now - self._overlap
        if heard < start:
            left = min(left or heard, heard - self._overlap)
        few = int(self._feed.get("pages") or 0) <= FEW_PAGES
        if not few:
            begun = _moment(self._feed.get("sweep_begun"))
            if left is None and (begun is None or now - begun >= RECENT):
                left = start
                self._feed.put(sweep_begun=now.isoformat(), sweep_pages="0")
            start = max(start, heard - RECENT)
        pages = self._span(start, now)
        if pages is None:
            # Too much for one look: what it did not come to is left to the sweep.
            left, pages = min(left or start, start), FEW_PAGES + 1
            start = now
        self._feed.put(
            heard_until=now.isoformat(),
            listened=now.isoformat(),
            sweep_from=None if left is None else left.isoformat(),
            trouble=None,
            **({"pages": str(pages)} if few else {}),
        )
        return left is None or self._sweep(left, start, measures=not few)

    def _sweep(self, left: datetime, end: datetime, *, measures: bool) -> bool:
        """Hear a part of what lies before `end`, the oldest first; whether that was all of it."""
        step = timedelta(seconds=float(self._feed.get("sweep_step") or RECENT.total_seconds()))
        spent = int(self._feed.get("sweep_pages") or 0)
        room = FEW_PAGES + 1
        while left < end and room > 0 and self._clock() < self._until:
            until = min(left + step, end)
            pages = self._span(left, until, room)
            spent += room if pages is None else pages
            room -= room if pages is None else pages
            if pages is None and step > SMALLEST:
                step = max(step / 2, SMALLEST)
                continue
            if pages == 1:
                step = min(2 * step, SPAN)
            left = until
        whole = left >= end
        self._feed.put(
            sweep_from=None if whole else left.isoformat(),
            sweep_step=str(step.total_seconds()),
            sweep_pages=str(spent),
            **({"pages": str(spent)} if whole and measures else {}),
        )
        return whole

    def _span(self, start: datetime, end: datetime, most: int = 1000) -> int | None:
        """Hear one span; how many pages it had, None when it was left before its end."""
        pages = 0
        for page in audits(self._client, start, end):
            pages += 1
            self._pages += 1
            new = self._feed.hear(_heard(page), tell=self._tell)
            self._poisoned += len(new.poisoned)
            self._events += new.events
            if self._clock() > self._until or pages >= most:
                # A full page is rarely the last one.
                return pages if len(page) < PAGE else None
        return pages

    def _granted(self) -> frozenset[str]:
        try:
            return self._client.token_claims().permissions
        except GraphError:
            return frozenset()


def _heard(page: list[Any]) -> Heard:
    events: list[Event] = []
    poisoned: list[Poison] = []
    unknown: list[tuple[str, str]] = []
    for audit in page:
        try:
            event, activities = read(audit)
        except NotAnAuditError as error:
            poisoned.append(_poison(audit, str(error)))
        except Exception as error:  # whatever it is, one event must not stop the others
            poisoned.append(_poison(audit, f"unexpected {type(error).__name__}"))
        else:
            unknown += [(str(audit.get("id")), activity) for activity in activities]
            if event is not None:
                events.append(event)
    return Heard(events, poisoned, unknown)


def _poison(audit: object, reason: str) -> Poison:
    body = json.dumps(audit, ensure_ascii=True, sort_keys=True, default=str)
    key = audit.get("id") if isinstance(audit, Mapping) else None
    if not isinstance(key, str) or not key:
        key = f"sha256:{hashlib.sha256(body.encode()).hexdigest()}"
    return Poison(key, reason, body)


def _actor(initiated: object) -> tuple[str | None, str | None]:
    by = initiated if isinstance(initiated, Mapping) else {}
    for kind, name, properties in (
        ("user", "user", ("id",)),
        ("application", "app", ("servicePrincipalId", "appId")),
    ):
        actor = by.get(name)
        if not isinstance(actor, Mapping):
            continue
        for each in properties:
            if (found := _text(actor.get(each))) is not None:
                return kind, found
    return None, None


def _time(value: object) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None:
        raise NotAnAuditError("activityDateTime is no time")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
