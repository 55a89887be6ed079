"""A sync in a process of its own, with its peak memory.

`python -m tests.extract.measured SETTINGS` syncs by the environment's settings and prints
`{"peak": bytes, "received": bytes, "seconds": s, "cpu": s}`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from entra_pipeline.extract.extraction import run
from entra_pipeline.lake import Books, DataDirectory, Lake
from entra_pipeline.msgraph import GraphClient
from entra_pipeline.settings import Settings
from entra_pipeline.simulator.process import running
from entra_pipeline.tables import Status


@dataclass(frozen=True)
class Measured:
    """Peak memory and bytes of JSON received, in bytes; wall and CPU time in seconds."""

    peak: int
    received: int
    seconds: float
    cpu: float


def measure(users: int, groups: int, path: Path, latency_ms: float = 0.0) -> Measured:
    """Sync a random tenant of that size, without the slow tables."""
    with running(users=users, groups=groups, seed=7, latency_ms=latency_ms) as simulator:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ENTRA_")}
        environment |= simulator.settings_env()
        environment |= {"ENTRA_GRAPH_URL": simulator.info.http_graph_url}
        environment |= {"ENTRA_DATA_DIR": str(path)}
        done = subprocess.run(
            [sys.executable, "-m", "tests.extract.measured"],
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
            timeout=600,
        )
    return Measured(**json.loads(done.stdout))


def _peak() -> int:
    """Most bytes this program held. `ru_maxrss` would count the process that started it as well:
    what a child shares with its parent before it becomes another program stays in the figure."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def main() -> None:
    settings = Settings.load()
    directory = DataDirectory.claim(settings.data_dir, settings.tenant_id)
    lake, books = Lake(directory.lake), Books(directory)
    client = GraphClient.from_settings(settings)
    started, cpu = time.perf_counter(), time.process_time()
    statuses = run(settings, client, lake, books, books.begin_sync("measured", []))
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert {status.status for status in statuses.values()} == {Status.COMPLETE}, statuses
    peak = _peak()
    received = client.meter.total().bytes
    client.close()
    print(json.dumps({"peak": peak, "received": received, "seconds": seconds, "cpu": cpu}))


if __name__ == "__main__":
    main()
