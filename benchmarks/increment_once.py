"""One sync as the job makes it, without Dagster, by the settings in the environment.

Reads what changed (``--full``: everything), commits it, builds the warehouse, publishes it and
tidies the lake, in the order and by the code of the job; only Dagster's own steps and its checks
are left out. Says how long each part took, what it asked of Graph and what it wrote.

`asking_s` is the time during which at least one request was under way; `graph_s` lasts from the
first request to the last answer, whatever was done between; `read_s` until all tables are in the
lake; `wall_s` until the lake is tidied.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd  # noqa: F401 - pyarrow imports it in mid-run; it is part of the start
import requests

from entra_pipeline.access.build import complete
from entra_pipeline.access.publish import publish
from entra_pipeline.extract.extraction import extractable, run
from entra_pipeline.lake import Books, DataDirectory, Lake
from entra_pipeline.lake.events import Events
from entra_pipeline.msgraph import GraphClient
from entra_pipeline.msgraph.transport import session_factory
from entra_pipeline.orchestration.session import Sync
from entra_pipeline.settings import Settings
from entra_pipeline.tables import get


class Requests:
    """When requests were under way."""

    def __init__(self, settings: Settings) -> None:
        self._make = session_factory(settings)
        self._lock = threading.Lock()
        self.spans: list[tuple[float, float]] = []

    def session(self) -> requests.Session:
        """A session of the product's, whose requests are noted."""
        session = self._make()
        session.hooks["response"].append(self._note)
        return session

    def _note(self, answer: requests.Response, **_: object) -> None:
        # The body is read after this; whoever has read it closes the answer.
        started, close = time.perf_counter() - answer.elapsed.total_seconds(), answer.close

        def closing() -> None:
            close()
            with self._lock:
                self.spans.append((started, time.perf_counter()))

        answer.close = closing  # type: ignore[method-assign]

    def asking(self) -> float:
        """Seconds during which at least one was under way."""
        total, until = 0.0, 0.0
        for start, end in sorted(self.spans):
            total += max(0.0, end - max(start, until))
            until = max(until, end)
        return total


class Stopwatch:
    """Seconds by part."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self._at = time.perf_counter()

    def part(self, name: str) -> None:
        """What was done since the last call was this."""
        now = time.perf_counter()
        self.parts[name] = now - self._at
        self._at = now


def data_files(lake: Path) -> set[str]:
    """The Parquet files of the lake's tables and histories; the log's own summaries are none."""
    return {
        str(path.relative_to(lake))
        for path in lake.rglob("*.parquet")
        if path.parent.name != "_delta_log"
    }


def main(*, full: bool) -> dict[str, Any]:
    """One sync; what it cost."""
    settings = Settings.load()
    watch = Stopwatch()
    started = time.perf_counter()
    directory = DataDirectory.claim(settings.data_dir, settings.tenant_id)
    tables = [name for name in extractable() if not get(name).slow]
    asked = Requests(settings)
    with ExitStack() as stack:
        stack.enter_context(directory.lock(command="benchmark"))
        books = Books(directory)
        books.close_dead_syncs(holding_lock=True)
        before = data_files(directory.lake)
        sync_id = books.begin_sync("full" if full else "sync", tables)
        sync = Sync(
            settings=settings,
            directory=directory,
            lake=Lake(directory.lake),
            books=books,
            sync_id=sync_id,
            run_id="benchmark",
            publishes=True,
        )
        client = GraphClient.from_settings(settings, sessions=asked.session)
        sync.statuses.update(run(settings, client, sync.lake, books, sync_id, tables, full=full))
        client.close()
        watch.part("read")
        stage = sync.stage
        sync.follows = not full
        refreshed = sync.start_stage()
        complete(stage, Events(directory.lake))
        watch.part("build")
        publish(stage, directory)
        sync.has_published = True
        watch.part("publish")
        books.finish_sync(sync_id, sync.outcome)
        written = data_files(directory.lake) - before
        sync.tidy()
        watch.part("tidy")
    wall = time.perf_counter() - started
    counts = client.meter.total()
    by_table = client.meter.snapshot()
    return {
        "wall_s": wall,
        "asking_s": asked.asking(),
        "graph_s": max(end for _, end in asked.spans) - min(start for start, _ in asked.spans),
        "read_s": watch.parts["read"],
        "warehouse_s": sum(watch.parts.values()) - watch.parts["read"] - watch.parts["tidy"],
        "tidy_s": watch.parts["tidy"],
        "parts": watch.parts,
        "refreshed": refreshed,
        "round_trips": counts.round_trips,
        "requests": counts.requests,
        "bytes": counts.bytes,
        "by_table": {name: c.round_trips for name, c in by_table.items()},
        "files": len(written),
        "written_bytes": sum((directory.lake / name).stat().st_size for name in written),
        "tables_written": sorted({Path(name).parts[0] for name in written}),
        "statuses": sorted({str(status.status) for status in sync.statuses.values()}),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    print(json.dumps(main(full=parser.parse_args().full)))
