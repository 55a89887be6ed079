"""What a commit of events says about itself, in the Delta log beside the rows that it added.

Rows and the spans of time that they complete become durable together or not at all.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from deltalake import CommitProperties

from entra_pipeline.lake.errors import LakeError
from entra_pipeline.lake.spans import Span
from entra_pipeline.tables import Status

_METADATA: Final = "entra_pipeline_events"


@dataclass(frozen=True)
class EventsInfo:
    """What the current version of a table of events says about itself."""

    table: str
    version: int  # of the Delta table
    rows: int
    as_of: datetime  # when Graph was last asked, whatever it said
    sync_id: str  # of that reading
    declaration: int
    covered: tuple[Span, ...]  # read whole, in order
    status: Status  # of the last reading
    reason: str | None = None
    permission: str | None = None


def properties(info: EventsInfo) -> CommitProperties:
    """The metadata to commit with."""
    return CommitProperties(
        custom_metadata={
            _METADATA: {
                "rows": info.rows,
                "as_of": rfc3339(info.as_of),
                "sync_id": info.sync_id,
                "declaration": info.declaration,
                "covered": [[rfc3339(a), rfc3339(b)] for a, b in info.covered],
                "status": str(info.status),
                "reason": info.reason,
                "permission": info.permission,
            }
        },
        # Writers take turns by a lock: a conflict is a fault to show.
        max_commit_retries=0,
    )


def load(root: Path, name: str, version: int) -> EventsInfo:
    """What that version of a table says; LakeError if this program did not commit it."""
    path = root / name / "_delta_log" / f"{version:020}.json"
    try:
        with path.open("rb") as lines:
            actions = [json.loads(line) for line in lines]
        said: dict[str, Any] = next(a["commitInfo"] for a in actions if "commitInfo" in a)
        said = said[_METADATA]
        return EventsInfo(
            table=name,
            version=version,
            rows=said["rows"],
            as_of=datetime.fromisoformat(said["as_of"]),
            sync_id=said["sync_id"],
            declaration=said["declaration"],
            covered=tuple(
                (datetime.fromisoformat(a), datetime.fromisoformat(b)) for a, b in said["covered"]
            ),
            status=Status(said["status"]),
            reason=said["reason"],
            permission=said["permission"],
        )
    except (OSError, ValueError, KeyError, StopIteration) as error:
        raise LakeError(
            f"table {name} in {root}: version {version} was not committed by this program "
            f"({type(error).__name__}); move the folder away and read the events again"
        ) from error


def rfc3339(moment: datetime) -> str:
    """As commits and statistics have it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
