"""Pacing: how much may be asked of Graph, and when.

Belongs here: services with limits of their own, the cost table, token buckets and windows, the
reaction to throttle headers. Does not belong here: sending and retrying (`client`).

Graph meters directory reads in resource units per app and tenant (3,500, 5,000 or 8,000 per 10 s
by tenant size), and some services by requests. It announces pressure from 80 % of a limit on in
`x-ms-throttle-limit-percentage` and refuses with 429 beyond it. Our pace starts at the largest
documented limit and is then learned: it falls when Graph reports pressure and recovers, or grows
past its start, while Graph reports none: use below 80 % of a limit, whatever that limit is. A 429
pauses every thread of its service and of no other.

Source: https://learn.microsoft.com/graph/throttling-limits (identity and access; reports).
"""

from __future__ import annotations

import email.utils
import random
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit

from entra_pipeline.msgraph.clock import Clock


class Service(StrEnum):
    """Parts of Graph that are throttled separately."""

    DIRECTORY = "directory"
    GOVERNANCE = "governance"
    """PIM and synchronization: no published limit, but a 429 of theirs is theirs alone."""
    REPORTS = "reports"
    SIGN_IN_ACTIVITY = "sign_in_activity"
    CONDITIONAL_ACCESS = "conditional_access"
    KEY_CREDENTIALS = "key_credentials"
    WRITES = "writes"
    EXCHANGE = "exchange"
    """Exchange's administration, which is no part of Graph; only its own client sends there."""


WINDOWS: dict[Service, tuple[int, float]] = {
    Service.REPORTS: (5, 10.0),
    Service.SIGN_IN_ACTIVITY: (10, 60.0),
    Service.CONDITIONAL_ACCESS: (1, 1.0),
    Service.KEY_CREDENTIALS: (150, 60.0),
    Service.WRITES: (3000, 150.0),
}
"""Requests per seconds, where Graph counts requests."""

ALSO_DIRECTORY = frozenset({Service.SIGN_IN_ACTIVITY, Service.KEY_CREDENTIALS, Service.WRITES})
"""Services whose requests cost the directory's resource units as well."""


class Limiter(Protocol):
    """Grants or says how long to wait; used under the budget's lock."""

    def take(self, amount: float, now: float) -> float:
        """0 when granted (and taken), else seconds until it is worth asking again."""
        ...


class Window:
    """At most `limit` requests in any `seconds`."""

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        self._taken: deque[float] = deque()

    def take(self, amount: float, now: float) -> float:
        """0 when granted, else seconds until the oldest requests leave the window."""
        while self._taken and self._taken[0] <= now - self._seconds:
            self._taken.popleft()
        count = min(int(amount), self._limit)
        missing = len(self._taken) + count - self._limit
        if missing > 0:
            return self._taken[missing - 1] + self._seconds - now
        self._taken.extend([now] * count)
        return 0.0


class AdaptiveBucket:
    """A token bucket of resource units whose rate follows Graph's headers.

    rate: units per second, between a fiftieth and sixteen times of `start`; it holds up to
    `BURST_S` seconds' worth. It doubles four times a second while it alone holds us back and Graph
    has never reported pressure, and grows by a tenth a second once Graph has.
    """

    BURST_S = 10.0
    WINDOW_S = 10.0
    """Graph's limits are per ten seconds."""
    CUT_S = 1.0
    """Shortest time between two adjustments to reported pressure."""
    QUIET_S = 10.0
    """Seconds without pressure after which the rate may grow."""

    def __init__(self, start: float, now: float) -> None:
        self._floor = start / 50
        self._ceiling = start * 16
        self.rate = start
        self._level = start * self.BURST_S
        self._at = now
        self._pressed_at = -1e9
        self._was_pressed = False
        self._cut_at = -1e9
        self._grown_at = now
        self._spent: deque[tuple[float, float]] = deque()
        self._spent_sum = 0.0

    def take(self, amount: float, now: float) -> float:
        """0 when granted, else seconds until the bucket holds the amount."""
        self._refill(now)
        amount = min(amount, self.rate * self.BURST_S)
        if self._level < amount and self._may_grow(now):
            # Held back by our own guess alone: Graph reports no pressure, so the guess is low.
            self.rate = min(self.rate * (1.1 if self._was_pressed else 2.0), self._ceiling)
            self._grown_at = now
        if self._level < amount:
            return (amount - self._level) / self.rate
        self._level -= amount
        self._note(amount, now)
        return 0.0

    def correct(self, amount: float, now: float) -> None:
        """Take (or give back) the difference between what was estimated and what Graph charged."""
        self._level -= amount
        self._note(amount, now)

    def pressed(self, fraction: float, now: float) -> None:
        """Graph reports use at `fraction` of its limit (0.8 and more); 2 stands for a refusal."""
        self._pressed_at = now
        self._was_pressed = True
        if now - self._cut_at < self.CUT_S:
            return
        self._cut_at = now
        self._refill(now)
        self._forget(now)
        # What was really used says more than the rate that we would have allowed: used / fraction
        # is the limit itself, and nine tenths of it is where we want to be.
        used = self._spent_sum / self.WINDOW_S
        wanted = 0.8 * min(self.rate, used) if fraction >= 2 else 0.9 * used / fraction
        # A refusal while we ask for little is not about our rate: down to a quarter at once, at
        # most. And up only slowly.
        self.rate = max(min(wanted, self.rate * 1.1), self.rate / 4, self._floor)
        self._level = min(self._level, self.rate)

    def emptied(self, until: float) -> None:
        """A refusal: nothing is left until `until`."""
        self._level = min(self._level, 0.0)
        self._at = max(self._at, until)

    def _may_grow(self, now: float) -> bool:
        return (
            self.rate < self._ceiling
            and now - self._pressed_at > self.QUIET_S
            and now - self._grown_at > (1.0 if self._was_pressed else 0.25)
        )

    def _refill(self, now: float) -> None:
        if now > self._at:
            self._level = min(self._level + (now - self._at) * self.rate, self.rate * self.BURST_S)
            self._at = now

    def _note(self, amount: float, now: float) -> None:
        self._spent.append((now, amount))
        self._spent_sum += amount
        self._forget(now)

    def _forget(self, now: float) -> None:
        while self._spent and self._spent[0][0] < now - self.WINDOW_S:
            self._spent_sum -= self._spent.popleft()[1]


class PauseTooLongError(Exception):
    """Graph asked for a longer pause than the request may still take."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"a pause of {seconds:.0f} s")


class _Lane:
    def __init__(self, limiters: list[Limiter]) -> None:
        self.limiters = limiters
        self.paused_until = -1e9


class Budget:
    """What may be asked of Graph now, for all threads of one client."""

    def __init__(
        self,
        clock: Clock,
        *,
        units_per_10s: float = 8000,
        windows: Mapping[Service, tuple[int, float]] = WINDOWS,
        wait: Callable[[float], None] | None = None,
    ) -> None:
        self._clock = clock
        self._wait = wait or clock.sleep
        self._lock = threading.Lock()
        self.directory = AdaptiveBucket(units_per_10s / 10, clock.monotonic())
        self._lanes: dict[Service, _Lane] = {}
        for service in Service:
            limiters: list[Limiter] = []
            if service in windows:
                limiters.append(Window(*windows[service]))
            self._lanes[service] = _Lane(limiters)

    def acquire(
        self, service: Service, units: int, requests: int, *, patience: float
    ) -> tuple[float, float]:
        """Wait until `requests` requests of `units` resource units may be sent.

        Returns the seconds waited in all, and those of them owed to a pause that Graph asked
        for. Raises PauseTooLongError when such a pause would exceed `patience` seconds.
        """
        total = paused = 0.0
        pending = self._limits(service, units, requests)
        while True:
            with self._lock:
                now = self._clock.monotonic()
                seconds = self._lanes[service].paused_until - now
                is_pause = seconds > 0
                if is_pause:
                    if paused + seconds > patience:
                        raise PauseTooLongError(seconds)
                else:
                    seconds = 0.0
                    while pending:
                        limiter, amount = pending[0]
                        seconds = limiter.take(amount, now)
                        if seconds > 0:
                            break
                        pending.pop(0)
                    if seconds <= 0:
                        return total, paused
            self._wait(max(seconds, 0.001))
            elapsed = max(self._clock.monotonic() - now, 0.0)
            total += elapsed
            paused += elapsed if is_pause else 0.0

    def _limits(self, service: Service, units: int, requests: int) -> list[tuple[Limiter, float]]:
        limits: list[tuple[Limiter, float]] = [
            (limiter, float(requests)) for limiter in self._lanes[service].limiters
        ]
        if service is Service.DIRECTORY or service in ALSO_DIRECTORY:
            limits.append((self.directory, float(units)))
        return limits

    def throttled(self, service: Service, seconds: float) -> None:
        """Graph refused a request of `service` for `seconds`: everybody of it pauses."""
        with self._lock:
            now = self._clock.monotonic()
            until = now + seconds
            lane = self._lanes[service]
            lane.paused_until = max(lane.paused_until, until)
            if service is Service.DIRECTORY:
                self.directory.pressed(2.0, now)
                self.directory.emptied(until)

    def observed(
        self, service: Service, *, estimated: int, charged: int | None, percentage: float | None
    ) -> None:
        """What an answer's headers said of the charge and of the limit's use."""
        if service is not Service.DIRECTORY and service not in ALSO_DIRECTORY:
            return
        if charged is None and percentage is None:
            return
        with self._lock:
            now = self._clock.monotonic()
            if charged is not None and charged != estimated:
                self.directory.correct(charged - estimated, now)
            if percentage is not None and percentage >= 0.8:
                self.directory.pressed(min(percentage, 1.99), now)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds of a Retry-After header: an integer, a fraction or an HTTP date; None if absent."""
    if value is None:
        return None
    text = value.strip()
    if re.fullmatch(r"\d+(\.\d*)?|\.\d+", text):
        return float(text)
    try:
        when = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max((when - now).total_seconds(), 0.0)


def backoff(attempt: int, rng: random.Random, *, base: float = 0.4, cap: float = 30.0) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1): doubling, with jitter."""
    return float(min(base * 2 ** min(attempt - 1, 16), cap) * rng.uniform(0.5, 1.0))


_COSTS: tuple[tuple[str, re.Pattern[str], int], ...] = tuple(
    (method, re.compile(pattern), units)
    for method, pattern, units in (
        ("GET", r"applications/?", 2),
        ("GET", r"applications/[^/]+/extensionProperties", 2),
        ("GET", r"contracts", 3),
        ("POST", r"(directoryObjects/(microsoft\.graph\.)?)?get(ByIds|ObjectsById)", 5),
        ("GET", r"domains/[^/]+/domainNameReferences", 4),
        ("GET", r"groups/[^/]+/members(/.*)?", 3),
        ("GET", r"groups/[^/]+/transitiveMembers(/.*)?", 5),
        ("POST", r".*(isMemberOf|checkMemberGroups|checkMemberObjects)", 4),
        ("POST", r".*(getMemberGroups|getMemberObjects)", 2),
        (
            "GET",
            r"(users/[^/]+|me)/(licenseDetails|memberOf|ownedObjects|transitiveMemberOf)(/.*)?",
            2,
        ),
        ("GET", r"oauth2PermissionGrants(/[^/]+)?", 2),
        ("GET", r"servicePrincipals/[^/]+/appRoleAssignments", 2),
        ("GET", r"subscribedSkus", 3),
        ("GET", r"users", 2),
    )
)


def units_of(method: str, url: str) -> int:
    """Resource units that Graph documents for a request; `url` relative to the version root."""
    parts = urlsplit(url)
    path = parts.path.strip("/")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    units = 1
    for known, pattern, cost in _COSTS:
        if known == method and pattern.fullmatch(path):
            units = cost
            break
    if "$select" in query:
        # getByIds is documented as 5, and 2 with $select.
        units -= 3 if units == 5 and method == "POST" else 1
    if "$expand" in query:
        units += 1
    top = query.get("$top", "")
    if top.isdigit() and int(top) < 20:
        units -= 1
    return max(units, 1)
