"""One extraction into a lake, without Dagster, by the settings in the environment.

Arguments: ``--record FILE``: every request is written there as a JSON line, so that ``replay``
can send the very same again (the bearer token is not written). ``--only A,B``: these tables.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd  # noqa: F401 - pyarrow imports it in mid-run; it is part of the start
import requests

from entra_pipeline.extract.extraction import run
from entra_pipeline.lake import Books, DataDirectory, Lake
from entra_pipeline.msgraph import GraphClient
from entra_pipeline.msgraph.transport import session_factory
from entra_pipeline.settings import Settings

KEPT_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "ConsistencyLevel", "Prefer")


def main(record: Path | None, only: str | None) -> dict[str, Any]:
    """Extract every table that is not slow; say what it cost."""
    settings = Settings.load()
    rows: list[dict[str, Any]] = []

    def keep(answer: requests.Response, **_: object) -> None:
        sent = answer.request
        body = sent.body.decode() if isinstance(sent.body, bytes) else sent.body
        rows.append(
            {
                "thread": threading.current_thread().name,
                "method": sent.method,
                "url": sent.url,
                "headers": {k: sent.headers[k] for k in KEPT_HEADERS if k in sent.headers},
                "body": body,
            }
        )

    make = session_factory(settings)

    def recording() -> requests.Session:
        session = make()
        session.hooks["response"].append(keep)
        return session

    directory = DataDirectory.claim(settings.data_dir, settings.tenant_id)
    client = GraphClient.from_settings(settings, sessions=recording if record else make)
    books = Books(directory)
    started = time.perf_counter()
    sync_id = books.begin_sync("benchmark", [])
    tables = only.split(",") if only else None
    statuses = run(settings, client, Lake(directory.lake), books, sync_id, tables)
    wall = time.perf_counter() - started
    counts = client.meter.snapshot()
    client.close()
    if record:
        graph = [row for row in rows if "/v1.0/" in row["url"] and "oauth2" not in row["url"]]
        record.write_text("".join(json.dumps(row) + "\n" for row in graph))
    return {
        "wall_s": wall,
        "round_trips": sum(c.round_trips for c in counts.values()),
        "requests": sum(c.requests for c in counts.values()),
        "units": sum(c.units for c in counts.values()),
        "bytes": sum(c.bytes for c in counts.values()),
        "rows": {name: status.rows for name, status in statuses.items()},
        "statuses": sorted({str(status.status) for status in statuses.values()}),
        "by_table": {
            name: {"round_trips": c.round_trips, "requests": c.requests}
            for name, c in counts.items()
        },
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--only")
    arguments = parser.parse_args()
    print(json.dumps(main(arguments.record, arguments.only)))
