"""Yesterday's sign-ins (UTC), by the settings in the environment.

``read [--record FILE]``: into the lake, as the job reads it, but without the pace of five
requests in ten seconds: the simulator does not throttle. FILE is given the first request of every
window. ``bare FILE TOKEN``: the same pages again, each window followed to its end, thrown away.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd  # noqa: F401 - pyarrow imports it in mid-run; it is part of the start
import requests

from entra_pipeline.extract.activity import read_activity
from entra_pipeline.lake import DataDirectory
from entra_pipeline.lake.events import Events
from entra_pipeline.msgraph import GraphClient
from entra_pipeline.msgraph.transport import session_factory
from entra_pipeline.settings import Settings

LOG = "sign_ins"
_LINK = b'"@odata.nextLink":"'


def read(record: Path | None) -> dict[str, Any]:
    """What reading the log cost."""
    settings = Settings.load()
    first: list[str] = []

    def keep(answer: requests.Response, **_: object) -> None:
        url = str(answer.request.url)
        if "/auditLogs/" in url and "skiptoken" not in url:
            first.append(url)

    make = session_factory(settings)

    def recording() -> requests.Session:
        session = make()
        session.hooks["response"].append(keep)
        return session

    directory = DataDirectory.claim(settings.data_dir, settings.tenant_id)
    client = GraphClient.from_settings(settings, sessions=recording if record else make, windows={})
    until = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    started = time.perf_counter()
    found = read_activity(
        settings,
        client,
        Events(directory.lake),
        sync_id="benchmark",
        tables=[LOG],
        since=until - timedelta(days=1),
        until=until,
    )[LOG]
    wall = time.perf_counter() - started
    client.close()
    if record:
        record.write_text("\n".join(first))
    return {
        "wall_s": wall,
        "events": found.inserted,
        "status": str(found.status),
        "windows": found.windows,
        "round_trips": found.counts.round_trips,
        "bytes": found.counts.bytes,
        "stored": sum(p.stat().st_size for p in (directory.lake / LOG).rglob("*.parquet")),
    }


def bare(record: Path, token: str) -> dict[str, Any]:
    """What downloading the same pages costs."""
    session = requests.Session()
    session.trust_env = False
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    size = trips = 0
    started = time.perf_counter()
    for url in record.read_text().splitlines():
        while url:
            answer = session.get(url, headers=headers, timeout=120)
            answer.raise_for_status()
            size += len(answer.content)
            trips += 1
            start = answer.content.rfind(_LINK)
            url = ""
            if start >= 0:
                start += len(_LINK)
                quoted = answer.content[start - 1 : answer.content.index(b'"', start) + 1]
                url = json.loads(quoted)
    wall = time.perf_counter() - started
    return {"wall_s": wall, "round_trips": trips, "bytes": size}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    pieces = parser.add_subparsers(dest="piece", required=True)
    reading = pieces.add_parser("read")
    reading.add_argument("--record", type=Path)
    again = pieces.add_parser("bare")
    again.add_argument("record", type=Path)
    again.add_argument("token")
    given = parser.parse_args()
    if given.piece == "read":
        print(json.dumps(read(given.record)))
    else:
        print(json.dumps(bare(given.record, given.token)))
