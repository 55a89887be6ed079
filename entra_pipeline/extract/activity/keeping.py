"""How long events are kept here: old days go, and files that nobody reads any more.

Called by the job that maintains the data directory. Reading is never in the way of it: both take
turns at each table.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from entra_pipeline.lake import DataDirectory
from entra_pipeline.lake.events import Events
from entra_pipeline.settings import Settings
from entra_pipeline.tables import EVENTS


@dataclass(frozen=True)
class Kept:
    """What was let go of one table."""

    forgotten: int  # events older than the retention
    files: int  # removed from disk


def maintain_activity(
    settings: Settings, directory: DataDirectory, *, now: datetime | None = None
) -> dict[str, Kept]:
    """Forget days older than ENTRA_ACTIVITY_RETENTION_DAYS, and remove unused files; by table.

    Whole days go, as soon as the youngest of their moments is older than that. Files stay for a
    grace of hours after the version that needed them, so a reader is never cut off.
    """
    before = (now or datetime.now(UTC)) - timedelta(days=settings.activity_retention_days)
    events = Events(directory.lake)
    return {
        name: Kept(forgotten=events.forget(name, before), files=events.maintain(name))
        for name in EVENTS
        if events.info(name) is not None
    }
