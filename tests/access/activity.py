"""Activity written by hand: events in a lake, and the spans that were read whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from entra_pipeline.lake.events import Events
from entra_pipeline.lake.spans import Span
from entra_pipeline.tables import EVENTS, Status
from tests.access.tenant import NOW

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)


@dataclass
class Activity:
    """Events to be committed; every method adds one and gives the activity back."""

    path: Path
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    count: int = 0

    def add(self, table: str, **row: Any) -> Activity:
        self.count += 1
        self.rows.setdefault(table, []).append({"id": f"e{self.count:06}", **row})
        return self

    def sign_in(self, user: str, app: str, at: datetime, **more: Any) -> Activity:
        row = {"user_id": user, "app_id": app, "is_interactive": True, "error_code": 0} | more
        return self.add("sign_ins", created_date_time=at, **row)

    def audit(
        self, actor: str, at: datetime, activity: str = "Update user", **more: Any
    ) -> Activity:
        row = {"initiated_by_user_id": actor, "result": "success"} | more
        return self.add(
            "directory_audits", activity_date_time=at, activity_display_name=activity, **row
        )

    def activation(
        self,
        user: str,
        role: str,
        at: datetime,
        name: str = "Add member to role completed (PIM activation)",
        **more: Any,
    ) -> Activity:
        targets = [
            {"id": role, "type": "Role"},
            {"id": "request", "type": "Request"},
            {"id": user, "type": "User"},
            {"id": None, "type": "Other"},
        ]
        row = {"target_resources": targets, "logged_by_service": "PIM"} | more
        return self.audit(user, at, name, **row)

    def read(self, *spans: Span, of: tuple[str, ...] = ("sign_ins", "directory_audits")) -> Events:
        """Commit what was added, the spans as read whole, and give the lake's events."""
        events = Events(self.path)
        for name in of:
            table = EVENTS[name]
            rows = pa.Table.from_pylist(self.rows.pop(name, []), table.schema())
            for span in spans:
                nothing = table.schema().empty_table()
                events.commit(table, nothing, sync_id="s", as_of=NOW, covers=span)
            if rows.num_rows:
                events.commit(table, rows, sync_id="s", as_of=NOW)
            if spans:
                events.note(table, Status.COMPLETE, sync_id="s", as_of=NOW)
        return events
