"""What the tests of activity share: a data directory beside a simulator, and Graph's own answer."""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from entra_pipeline.extract.activity import ActivityProgress, Reading, client_for, read_activity
from entra_pipeline.lake.events import Events
from entra_pipeline.simulator.process import Simulator
from entra_pipeline.tables import EVENTS
from tests.extract.support import settings_for


class FastClock:
    """Real time, but waiting takes none: it moves the clock on."""

    def __init__(self) -> None:
        self.waited = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.waited

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        self.waited += seconds


class Log:
    """Readings of one simulator's logs into one data directory.

    `ahead`: how far the simulator's clock, and with it ours, was moved on.
    """

    def __init__(self, simulator: Simulator, path: Path, **overrides: Any) -> None:
        self.simulator = simulator
        self.settings = settings_for(simulator, path / "data", **overrides)
        self.clock = FastClock()
        self.client = client_for(self.settings, self.clock)
        self.events = Events(path / "data" / "lake")
        self.ahead = timedelta(0)
        self.began = datetime.now(UTC)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def advance(self, by: timedelta) -> None:
        self.simulator.advance(by.total_seconds())
        self.ahead += by

    def read(
        self,
        *tables: str,
        since: datetime | None = None,
        until: datetime | None = None,
        on_progress: Callable[[ActivityProgress], None] | None = None,
    ) -> dict[str, Reading]:
        return read_activity(
            self.settings,
            self.client,
            self.events,
            sync_id="test",
            tables=tables or None,
            since=since,
            until=until,
            now=self.now,
            on_progress=on_progress,
        )

    def ids(self, table: str, until: datetime | None = None) -> list[Any]:
        """Ids of the events stored; until this log was opened, unless told otherwise.

        The tenants go on living while they are read.
        """
        return self.events.read(table, end=until or self.began).column("id").to_pylist()

    def truth(self, table: str, until: datetime | None = None) -> dict[str, dict[str, Any]]:
        """What Graph has of the same time, by id."""
        column = EVENTS[table].column(EVENTS[table].time)
        found = everything(self.simulator, table)
        return {
            key: event
            for key, event in found.items()
            if datetime.fromisoformat(event[str(column.graph)]) < (until or self.began)
        }

    def close(self) -> None:
        self.client.close()


def everything(simulator: Simulator, table: str) -> dict[str, dict[str, Any]]:
    """What Graph has in a log now, by id, page by page without any help of ours."""
    url = f"{simulator.info.http_graph_url}/v1.0{EVENTS[table].path}?$top=1000"
    headers = {"Authorization": f"Bearer {simulator.token()}"}
    found: dict[str, dict[str, Any]] = {}
    while url:
        url = urllib.parse.quote(url, safe=":/?&=$%'()~*,")
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            page = json.load(answer)
        found.update({event["id"]: event for event in page["value"]})
        url = page.get("@odata.nextLink", "").replace("https://", "http://")
    return found
