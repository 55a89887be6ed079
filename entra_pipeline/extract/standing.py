"""How a table is kept up to date, and how old what it goes on from is: for those who look at it.

Here: telling a stored cursor's age and what a sync would do with the table. Not here: whether a
sync may go on from it (`feeds`), which also asks the settings.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from entra_pipeline.extract.followed import HINTED
from entra_pipeline.lake import CommitInfo


class Mode(StrEnum):
    """How the next sync brings a table up to date, if nothing speaks against it."""

    NEVER = "never"  # nothing was read yet
    FULL = "full"  # it is read whole every time
    CHANGES = "changes"  # Graph's feeds tell what changed
    HINTS = "hints"  # audits point at what to read again, where no feed tells


@dataclass(frozen=True)
class Standing:
    """Where a table stands."""

    mode: Mode
    full_as_of: datetime | None = None  # when it was last read whole
    cursor_as_of: datetime | None = None  # the oldest link or mark that the next sync goes on from


def standing(info: CommitInfo | None) -> Standing:
    """Where a table stands, by what its current version says of itself."""
    if info is None:
        return Standing(Mode.NEVER)
    since = _oldest(info.cursor)
    if since is None:
        return Standing(Mode.FULL, info.full_as_of)
    mode = Mode.HINTS if info.table in HINTED else Mode.CHANGES
    return Standing(mode, info.full_as_of, since)


def _oldest(cursor: str | None) -> datetime | None:
    """The time of the oldest place in a cursor; None without one that can be read."""
    try:
        places = json.loads(cursor or "{}")["links"].values()
        return min((datetime.fromisoformat(at) for at, _link in places), default=None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
