"""Telling a listener of each event: signed, retried, and never in anybody's way.

A thread of its own takes events from the durable queue in the feed and posts them one by one. It
begins when a tick of the feed's sensor finds something to tell, and ends when nothing waits; what
it did not get to is there for the next one, in this process or another. Notices of requests
(`provisioning.notices`) go the same way from a queue of their own.

A body is signed as `HMAC-SHA256(secret, timestamp + "." + body)`; the listener must refuse what is
not signed so and what is old. The same event may come twice: `Entra-Pipeline-Event` is its id.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import requests
from filelock import FileLock, Timeout
from pydantic import SecretStr

from entra_pipeline.lake.feed import Feed
from entra_pipeline.lake.feed_model import Delivery
from entra_pipeline.provisioning.notices import Notices
from entra_pipeline.settings import Settings
from entra_pipeline.signing import EVENT_HEADER, SIGNATURE_HEADER, signature

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 10.0
FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 900.0
MOST_ATTEMPTS: Final = 100
"""About a day, at the longest pause."""
MOST_REFUSALS: Final = 5
"""Answers that say that this very event will not do."""

_IDLE_S: Final = 60.0


@dataclass(frozen=True)
class Letter:
    """What is posted: the id that listeners know it by, and the body."""

    sequence: int
    id: str
    body: Mapping[str, Any]
    attempts: int


class Queue(Protocol):
    """Where letters wait, durably, and what became of each is noted."""

    def next_delivery(self) -> datetime | None:
        """When the next one is due; None when none waits."""
        ...

    def letters(self) -> Sequence[Letter]:
        """Those that are due, in order."""
        ...

    def delivered(self, sequence: int) -> None:
        """The listener has taken it."""
        ...

    def postpone(self, sequence: int, reason: str, wait: timedelta, *, all_of_them: bool) -> None:
        """It failed: later again, and with it all others if they would fail too."""
        ...

    def give_up(self, sequence: int, reason: str) -> None:
        """The listener will not take it."""
        ...


class EventQueue:
    """The deliveries of the event feed as letters."""

    def __init__(self, feed: Feed) -> None:
        self.next_delivery = feed.next_delivery
        self.delivered = feed.delivered
        self.postpone = feed.postpone
        self.give_up = feed.give_up
        self._feed = feed

    def letters(self) -> list[Letter]:
        """Those that are due, in the order of the events."""
        return [_letter(each) for each in self._feed.due()]


class NoticeQueue:
    """Notices of requests as letters."""

    def __init__(self, notices: Notices) -> None:
        self.next_delivery = notices.next_delivery
        self.delivered = notices.delivered
        self.postpone = notices.postpone
        self.give_up = notices.give_up
        self._notices = notices

    def letters(self) -> list[Letter]:
        """Those that are due, in the order that they were made."""
        return [
            Letter(each.sequence, each.id, {"id": each.id, **each.body}, each.attempts)
            for each in self._notices.due()
        ]


class Courier:
    """Delivers what waits in a queue, in one thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self, settings: Settings, feed: Feed) -> None:
        """See to it that somebody delivers; returns at once."""
        self._wake(EventQueue(feed), lambda: deliver_all(settings, feed))

    def wake_for(self, settings: Settings, notices: Notices) -> None:
        """The same for notices of requests."""
        self._wake(NoticeQueue(notices), lambda: deliver_notices(settings, notices))

    def _wake(self, queue: Queue, deliver: Callable[[], None]) -> None:
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            if queue.next_delivery() is None:
                return
            self._thread = threading.Thread(target=deliver, name="webhook", daemon=True)
            self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait until the thread has ended, so long at most."""
        if self._thread is not None:
            self._thread.join(seconds)


def deliver_all(
    settings: Settings, feed: Feed, *, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Deliver until nothing is due within a minute. One process does so at a time."""
    _deliver_all(settings, EventQueue(feed), settings.events_webhook_url, "feed.lock", sleep)


def deliver_notices(
    settings: Settings, notices: Notices, *, sleep: Callable[[float], None] = time.sleep
) -> None:
    """The same for notices of requests."""
    url = settings.requests_webhook_url
    _deliver_all(settings, NoticeQueue(notices), url, "notices.lock", sleep)


def _deliver_all(
    settings: Settings,
    queue: Queue,
    url: SecretStr | None,
    lock: str,
    sleep: Callable[[float], None],
) -> None:
    assert url is not None  # noqa: S101 - who has no listener wakes nobody
    try:
        with FileLock(settings.data_dir / lock, timeout=0, mode=0o600):
            while (due := queue.next_delivery()) is not None:
                pause = (due - datetime.now(UTC)).total_seconds()
                if pause > _IDLE_S:
                    return
                if pause > 0:
                    sleep(pause)
                _deliver_due(settings, queue, url)
    except Timeout:
        return
    except Exception as error:
        # A text of other people's libraries may hold the address, which is a secret.
        log.warning("webhooks are not delivered for now (%s)", type(error).__name__)


def _deliver_due(settings: Settings, queue: Queue, url: SecretStr) -> None:
    with requests.Session() as session:
        for letter in queue.letters():
            if not _deliver(session, settings, queue, url, letter):
                return


def _deliver(
    session: requests.Session, settings: Settings, queue: Queue, url: SecretStr, letter: Letter
) -> bool:
    """Post one letter; False when others would fare no better now."""
    sequence, reason, refused = letter.sequence, "", False
    try:
        answer = _post(session, settings, url, letter)
    except requests.RequestException as error:
        reason = type(error).__name__
    else:
        if 200 <= answer.status_code < 300:
            queue.delivered(sequence)
            return True
        reason = f"HTTP {answer.status_code}"
        refused = 300 <= answer.status_code < 500 and answer.status_code not in (408, 429)
    attempts = letter.attempts + 1
    if attempts >= (MOST_REFUSALS if refused else MOST_ATTEMPTS):
        queue.give_up(sequence, reason)
        return refused
    pause = min(FIRST_PAUSE_S * 2 ** min(letter.attempts, 10), LONGEST_PAUSE_S)
    queue.postpone(sequence, reason, timedelta(seconds=pause), all_of_them=not refused)
    return refused


def _letter(delivery: Delivery) -> Letter:
    document = delivery.event.to_json()
    # What becomes of it later would make the same event look like another one.
    del document["state"]
    event = delivery.event
    body = {"event": "access_change", **document}
    return Letter(event.sequence, event.id, body, delivery.attempts)


def _post(
    session: requests.Session, settings: Settings, url: SecretStr, letter: Letter
) -> requests.Response:
    secret = settings.events_webhook_secret
    assert secret is not None  # noqa: S101 - the settings demand it with the address
    body = json.dumps(letter.body, separators=(",", ":")).encode()
    return session.post(
        url.get_secret_value(),
        data=body,
        headers={
            "Content-Type": "application/json",
            EVENT_HEADER: letter.id,
            SIGNATURE_HEADER: signature(secret.get_secret_value(), body, int(time.time())),
        },
        timeout=TIMEOUT_S,
        verify=settings.ca_file or True,
        allow_redirects=False,
    )
