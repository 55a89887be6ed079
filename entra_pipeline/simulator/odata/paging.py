"""Page tokens: opaque, expiring, and true while the directory changes underneath.

A token stands for a cursor kept here. The cursor holds the list as it was when the first page was
asked for, so that a walk neither skips nor repeats; objects that vanish meanwhile are left out.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from entra_pipeline.simulator.clock import Clock
from entra_pipeline.simulator.errors import GraphError

MAX_CURSORS = 100_000


@dataclass(slots=True)
class Cursor:
    """Where a walk through a list stands."""

    path: str
    items: Sequence[Any]
    position: int
    issued: float
    page: int
    plan: Any
    """The answering side's parsed request; opaque here."""


class Cursors:
    """All open walks. The oldest are dropped when there are too many."""

    def __init__(self, clock: Clock, life_s: float) -> None:
        self._clock = clock
        self._life_s = life_s
        self._held: dict[str, Cursor] = {}

    def issue(self, path: str, items: Sequence[Any], position: int, page: int, plan: object) -> str:
        """A token for the page that starts at `position`."""
        token = secrets.token_urlsafe(24)
        self._held[token] = Cursor(path, items, position, self._clock.time(), page, plan)
        if len(self._held) > MAX_CURSORS:
            del self._held[next(iter(self._held))]
        return token

    def resume(self, token: str, path: str) -> Cursor:
        """The cursor of a token. Raises GraphError 400 for one that is stale or of another list."""
        cursor = self._held.get(token)
        if cursor is None or cursor.issued + self._life_s < self._clock.time():
            raise GraphError(
                400,
                "Directory_ExpiredPageToken",
                "The specified page token value has expired and can no longer be included in "
                "your request.",
            )
        if cursor.path != path:
            raise GraphError(
                400, "Request_BadRequest", "The page token does not belong to this request."
            )
        return cursor
