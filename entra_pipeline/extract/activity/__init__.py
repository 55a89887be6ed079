"""From Microsoft Graph's activity logs to events in the lake.

Here: which spans of time to ask for (`windows`), objects to rows (`rows`), the reading that puts
it together (`reading`), and how long events are kept (`keeping`). Not here: tables of state (the
other modules of `extract`), storage (`lake.events`).
"""

from entra_pipeline.extract.activity.keeping import Kept, maintain_activity
from entra_pipeline.extract.activity.reading import (
    ActivityProgress,
    Reading,
    client_for,
    read_activity,
)
from entra_pipeline.extract.activity.windows import unread_since

__all__ = [
    "ActivityProgress",
    "Kept",
    "Reading",
    "client_for",
    "maintain_activity",
    "read_activity",
    "unread_since",
]
