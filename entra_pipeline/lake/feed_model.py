"""What the event feed holds: events, what could not be read, refreshes, deliveries.

Here: plain values and how programs see them. Not here: keeping them (`feed`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from entra_pipeline.lake.books import rfc3339


class State(StrEnum):
    """What became of an event."""

    WAITING = "waiting"  # for a refresh to be requested
    REQUESTED = "requested"
    REFRESHED = "refreshed"  # what it pointed at was read anew
    GIVEN_UP = "given up"  # its refreshes kept failing; the scheduled sync reads it


@dataclass(frozen=True)
class Event:
    """One change of access, as an audit told it. No names, only ids."""

    id: str
    time: datetime
    activity: str
    operation: str | None
    service: str | None
    actor_kind: str | None  # user or application
    actor_id: str | None
    targets: tuple[str, ...]
    tables: tuple[str, ...]
    correlation_id: str | None
    heard: datetime | None = None
    sequence: int = 0
    state: State = State.WAITING

    def to_json(self) -> dict[str, Any]:
        """The event as programs read it."""
        return {
            "sequence": self.sequence,
            "id": self.id,
            "time": rfc3339(self.time),
            "heard": None if self.heard is None else rfc3339(self.heard),
            "activity": self.activity,
            "operation": self.operation,
            "service": self.service,
            "actor": None
            if self.actor_id is None
            else {"kind": self.actor_kind, "id": self.actor_id},
            "targets": list(self.targets),
            "tables": list(self.tables),
            "correlation_id": self.correlation_id,
            "state": self.state.value,
        }


@dataclass(frozen=True)
class Poison:
    """An event that could not be read, and why. `body` is its JSON, cut to 64 KB."""

    id: str
    reason: str
    body: str
    heard: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """Without the body, which may hold names."""
        heard = None if self.heard is None else rfc3339(self.heard)
        return {"id": self.id, "heard": heard, "reason": self.reason}


@dataclass(frozen=True)
class Heard:
    """What one look at the log brought."""

    events: Sequence[Event] = ()
    poisoned: Sequence[Poison] = ()
    unknown: Sequence[tuple[str, str]] = ()
    """Id of the event, and its activity that nobody knows."""


@dataclass(frozen=True)
class Request:
    """A refresh that was asked for and has not ended, as far as is known."""

    id: str
    at: datetime
    tables: tuple[str, ...]
    failures: int
    """Refreshes for the same events that failed before."""


@dataclass(frozen=True)
class Delivery:
    """An event that is to be told to a listener."""

    event: Event
    attempts: int


@dataclass(frozen=True)
class Summary:
    """How the feed stands."""

    listened: datetime | None  # last look that succeeded
    heard_until: datetime | None
    trouble: str | None
    events: dict[str, int] = field(default_factory=dict)  # by state
    poisoned: int = 0
    unknown: dict[str, int] = field(default_factory=dict)  # the most frequent activities
    deliveries: int = 0
    undelivered: int = 0
    delivery_trouble: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The summary as programs read it."""
        return {
            "listened": None if self.listened is None else rfc3339(self.listened),
            "heard_until": None if self.heard_until is None else rfc3339(self.heard_until),
            "trouble": self.trouble,
            "events": self.events,
            "poisoned": self.poisoned,
            "unknown_activities": self.unknown,
            "webhook": {
                "waiting": self.deliveries,
                "given_up": self.undelivered,
                "trouble": self.delivery_trouble,
            },
        }
