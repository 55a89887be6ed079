"""Telling a listener of each event: signed, retried, and never in anybody's way.

A thread of its own takes events from the durable queue in the feed and posts them one by one. It
begins when a tick of the feed's sensor finds something to tell, and ends when nothing waits; what
it did not get to is there for the next one, in this process or another.

A body is signed as `HMAC-SHA256(secret, timestamp + "." + body)`; the listener must refuse what is
not signed so and what is old. The same event may come twice: `Entra-Pipeline-Event` is its id.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import requests
from filelock import FileLock, Timeout

from entra_pipeline.lake.feed import Feed
from entra_pipeline.lake.feed_model import Delivery
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


class Courier:
    """Delivers what waits in a feed's queue, in one thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self, settings: Settings, feed: Feed) -> None:
        """See to it that somebody delivers; returns at once."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            if feed.next_delivery() is None:
                return
            self._thread = threading.Thread(
                target=deliver_all, args=(settings, feed), name="event-webhook", daemon=True
            )
            self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait until the thread has ended, so long at most."""
        if self._thread is not None:
            self._thread.join(seconds)


def deliver_all(
    settings: Settings, feed: Feed, *, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Deliver until nothing is due within a minute. One process does so at a time."""
    try:
        with FileLock(settings.data_dir / "feed.lock", timeout=0, mode=0o600):
            while (due := feed.next_delivery()) is not None:
                pause = (due - datetime.now(UTC)).total_seconds()
                if pause > _IDLE_S:
                    return
                if pause > 0:
                    sleep(pause)
                _deliver_due(settings, feed)
    except Timeout:
        return
    except Exception as error:
        # A text of other people's libraries may hold the address, which is a secret.
        log.warning("events are not delivered for now (%s)", type(error).__name__)


def _deliver_due(settings: Settings, feed: Feed) -> None:
    with requests.Session() as session:
        for delivery in feed.due():
            if not _deliver(session, settings, feed, delivery):
                return


def _deliver(session: requests.Session, settings: Settings, feed: Feed, delivery: Delivery) -> bool:
    """Post one event; False when others would fare no better now."""
    sequence, reason, refused = delivery.event.sequence, "", False
    try:
        answer = _post(session, settings, delivery)
    except requests.RequestException as error:
        reason = type(error).__name__
    else:
        if 200 <= answer.status_code < 300:
            feed.delivered(sequence)
            return True
        reason = f"HTTP {answer.status_code}"
        refused = 300 <= answer.status_code < 500 and answer.status_code not in (408, 429)
    attempts = delivery.attempts + 1
    if attempts >= (MOST_REFUSALS if refused else MOST_ATTEMPTS):
        feed.give_up(sequence, reason)
        return refused
    pause = min(FIRST_PAUSE_S * 2 ** min(delivery.attempts, 10), LONGEST_PAUSE_S)
    feed.postpone(sequence, reason, timedelta(seconds=pause), all_of_them=not refused)
    return refused


def _post(session: requests.Session, settings: Settings, delivery: Delivery) -> requests.Response:
    url, secret = settings.events_webhook_url, settings.events_webhook_secret
    assert url is not None  # noqa: S101 - narrows for the type checker
    assert secret is not None  # noqa: S101 - the settings demand it with the address
    document = delivery.event.to_json()
    # What becomes of it later would make the same event look like another one.
    del document["state"]
    body = json.dumps({"event": "access_change", **document}, separators=(",", ":")).encode()
    return session.post(
        url.get_secret_value(),
        data=body,
        headers={
            "Content-Type": "application/json",
            EVENT_HEADER: delivery.event.id,
            SIGNATURE_HEADER: signature(secret.get_secret_value(), body, int(time.time())),
        },
        timeout=TIMEOUT_S,
        verify=settings.ca_file or True,
        allow_redirects=False,
    )
