"""Times in PIM requests: when a hold begins and when it ends.

Graph "requestSchedule resource type", "expirationPattern resource type": no end, an end, or an
ISO 8601 duration from the start.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from entra_pipeline.simulator.errors import GraphError, bad_request
from entra_pipeline.simulator.wire import JsonObject

_DURATION = re.compile(
    r"^P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?"
    r"(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$"
)
_DAY_S = 86400
_UNITS_S = (365 * _DAY_S, 30 * _DAY_S, 7 * _DAY_S, _DAY_S, 3600, 60, 1)


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when, in seconds since the epoch; `end` None means that it does not end."""

    start: float
    end: float | None

    def document(self) -> JsonObject:
        """As a scheduleInfo."""
        kind = "noExpiration" if self.end is None else "afterDateTime"
        return {
            "startDateTime": stamp(self.start),
            "recurrence": None,
            "expiration": {
                "type": kind,
                "endDateTime": None if self.end is None else stamp(self.end),
                "duration": None,
            },
        }


def stamp(seconds: float) -> str:
    """A moment as PIM writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds_of(duration: str) -> float:
    """Length of an ISO 8601 duration. Raises ValueError."""
    found = _DURATION.match(duration)
    if found is None or duration in ("P", "PT") or duration.endswith("T"):
        raise ValueError(f"no ISO 8601 duration: {duration}")
    return sum(
        float(number) * unit
        for number, unit in zip(found.groups(), _UNITS_S, strict=True)
        if number is not None
    )


def read_span(info: Any, now: float) -> Span:
    """The span of a `scheduleInfo`. A start that is past means now. Raises GraphError 400."""
    if info is None:
        raise _invalid("scheduleInfo is required")
    if not isinstance(info, dict):
        raise _invalid("scheduleInfo must be an object")
    start = max(now, _moment(info.get("startDateTime"), "startDateTime") or now)
    expiration = info.get("expiration")
    if not isinstance(expiration, dict):
        raise _invalid("scheduleInfo.expiration is required")
    kind = str(expiration.get("type") or "notSpecified").lower()
    if kind in ("noexpiration", "notspecified"):
        return Span(start, None)
    if kind == "afterdatetime":
        end = _moment(expiration.get("endDateTime"), "expiration.endDateTime")
        if end is None:
            raise _invalid("expiration.endDateTime is required")
    elif kind == "afterduration":
        try:
            end = start + seconds_of(str(expiration.get("duration")))
        except ValueError:
            raise _invalid("expiration.duration is no ISO 8601 duration") from None
    else:
        raise _invalid(f"expiration.type '{expiration.get('type')}' is unknown")
    if end <= start:
        raise _invalid("the end is not after the start")
    return Span(start, end)


def moment_of(text: str) -> float:
    """Seconds since the epoch of a moment with up to seven digits after the point."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).timestamp()


def _moment(value: Any, name: str) -> float | None:
    if value is None:
        return None
    try:
        made = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", value))
    except (TypeError, ValueError):
        raise _invalid(f"{name} is no date and time") from None
    return (made if made.tzinfo is not None else made.replace(tzinfo=UTC)).timestamp()


def _invalid(reason: str) -> GraphError:
    return bad_request(f"The schedule information is invalid: {reason}.", "InvalidScheduleInfo")
