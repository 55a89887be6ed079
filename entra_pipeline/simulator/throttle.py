"""Costs and limits: resource units per request, token buckets, the headers that tell of them.

Numbers: learn "Microsoft Graph service-specific throttling limits" (identity and access, identity
reports, conditional access). Off by default; the cost header is always sent.
"""

from collections import deque

from entra_pipeline.simulator.clock import Clock
from entra_pipeline.simulator.errors import GraphError

UNITS_PER_10_S: dict[str, int] = {"s": 3500, "m": 5000, "l": 8000}
"""Resource units per application and tenant, by tenant size (under 50, 50 to 500, more users)."""

WRITES_PER_150_S = 3000
"""Writes of one application in one tenant."""
_TENANT_WRITES_PER_300_S = 18_000
"""Writes of all applications in one tenant."""

_BUCKETS: dict[str, tuple[int, float, bool]] = {
    "reports": (5, 10.0, True),
    "sign_in_activity": (10, 60.0, True),
    "conditional_access": (1, 1.0, False),
    "key_credentials": (150, 60.0, True),
}
"""Class -> requests, per seconds, whether a refusal says `Retry-After`."""


def units(base: int, *, select: bool, expand: bool, top: int | None) -> int:
    """What a read costs: `$select` takes one off, a `$top` under 20 too, `$expand` adds one."""
    cost = base - select + expand - (top is not None and top < 20)
    return max(1, cost)


class Throttle:
    """The limits of one tenant; sizes `off`, `s`, `m`, `l`."""

    def __init__(
        self, size: str, clock: Clock, tenant_id: str, write_quota: int | None = None
    ) -> None:
        self._clock = clock
        self._tenant_id = tenant_id
        self._limit = UNITS_PER_10_S.get(size)
        self._level: dict[str, tuple[float, float]] = {}
        """Application -> units in its bucket, and when that was true."""
        self._recent: dict[str, deque[float]] = {}
        self.refused = 0
        self._write_quota = write_quota
        """Writes in 150 seconds that an application may make; None for any number."""
        self._written: dict[str, tuple[float, float]] = {}
        """Application, or the whole tenant, -> writes in its bucket, and when that was true."""
        self.writes = 0
        """Writes of the quota that have been spent."""

    def charge(self, app_id: str, cost: int, bucket: str | None) -> dict[str, str]:
        """Spend the units. Returns headers; raises GraphError 429 when a limit is reached."""
        limit = self._limit
        if limit is None:
            return {"x-ms-resource-unit": str(cost)}
        if bucket is not None:
            self._spend_class(app_id, bucket)
        now = self._clock.monotonic()
        level, at = self._level.get(app_id, (float(limit), now))
        level = min(float(limit), level + (now - at) * limit / 10)
        if level < cost:
            self._level[app_id] = (level, now)
            raise self._refusal(
                app_id, "ReadWrite", "ResourceUnitLimitExceeded", (cost - level) * 10 / limit
            )
        level -= cost
        self._level[app_id] = (level, now)
        headers = {"x-ms-resource-unit": str(cost)}
        share = 1 - level / limit
        if share >= 0.8:
            headers["x-ms-throttle-limit-percentage"] = f"{share:.2f}"
        return headers

    def charge_write(self, app_id: str, writes: int) -> dict[str, str]:
        """Spend one resource unit and so many writes. As `charge`."""
        shares: list[float] = []
        if self._write_quota is not None:
            now = self._clock.monotonic()
            levels: list[tuple[str, float]] = []
            for owner, size, window in (
                (app_id, self._write_quota, 150.0),
                ("tenant", max(_TENANT_WRITES_PER_300_S, self._write_quota), 300.0),
            ):
                level, at = self._written.get(owner, (float(size), now))
                level = min(float(size), level + (now - at) * size / window)
                self._written[owner] = (level, now)
                if level < writes:
                    wait = (writes - level) * window / size
                    raise self._refusal(app_id, "Write", "WriteLimitExceeded", wait)
                levels.append((owner, level - writes))
                shares.append(1 - (level - writes) / size)
            headers = self.charge(app_id, 1, None)
            self._written.update({owner: (level, now) for owner, level in levels})
        else:
            headers = self.charge(app_id, 1, None)
        self.writes += writes
        if shares and max(shares) >= 0.8:
            told = float(headers.get("x-ms-throttle-limit-percentage", "0"))
            headers["x-ms-throttle-limit-percentage"] = f"{max(told, *shares):.2f}"
        return headers

    def _spend_class(self, app_id: str, bucket: str) -> None:
        allowed, window, says_when = _BUCKETS[bucket]
        # Conditional access counts all applications of the tenant together.
        owner = bucket if bucket == "conditional_access" else f"{bucket} {app_id}"
        recent = self._recent.setdefault(owner, deque())
        now = self._clock.monotonic()
        while recent and recent[0] <= now - window:
            recent.popleft()
        if len(recent) >= allowed:
            wait = recent[0] + window - now if says_when else None
            raise self._refusal(app_id, "Read", "CPULimitExceeded", wait)
        recent.append(now)

    def _refusal(self, app_id: str, limit: str, reason: str, wait: float | None) -> GraphError:
        self.refused += 1
        headers = {
            "x-ms-throttle-scope": f"Tenant_Application/{limit}/{app_id}/{self._tenant_id}",
            "x-ms-throttle-information": reason,
            "x-ms-throttle-limit-percentage": "1.2",
        }
        if wait is not None:
            # Fractions of a second, as Microsoft's own sample shows.
            headers["Retry-After"] = f"{max(wait, 0.01):.3f}"
        return GraphError(429, "TooManyRequests", "Please retry again later.", headers=headers)
