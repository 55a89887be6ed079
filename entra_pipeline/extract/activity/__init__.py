"""From Microsoft Graph's activity logs to events in the lake.

Here: which spans of time to ask for (`windows`), objects to rows (`rows`), and the reading that
puts it together (`reading`). Not here: tables of state (the other modules of `extract`), storage
(`lake.events`).
"""

from entra_pipeline.extract.activity.reading import (
    ActivityProgress,
    Reading,
    client_for,
    read_activity,
)

__all__ = ["ActivityProgress", "Reading", "client_for", "read_activity"]
