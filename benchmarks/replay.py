"""The floor: the very same requests again, bare, their answers thrown away.

Arguments: a recording (JSON lines: thread, method, url, headers, body) and a bearer token. Each
thread of the recorded run is a thread here and sends its requests in the recorded order, so that
concurrency and the order within a chain of pages are those of the recorded run.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import requests


def main(recording: Path, token: str) -> dict[str, Any]:
    """Send everything once; count bytes and round trips."""
    by_thread: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in recording.read_text().splitlines():
        row = json.loads(line)
        by_thread[row["thread"]].append(row)
    total = [0, 0]
    failures: list[int] = []
    lock = Lock()

    def send(rows: list[dict[str, Any]]) -> None:
        session = requests.Session()
        session.trust_env = False
        size = 0
        for row in rows:
            answer = session.request(
                row["method"],
                row["url"],
                headers={**row["headers"], "Authorization": f"Bearer {token}"},
                data=row["body"].encode() if row["body"] is not None else None,
                timeout=120,
            )
            size += len(answer.content)
            if answer.status_code >= 400:
                failures.append(answer.status_code)
        with lock:
            total[0] += size
            total[1] += len(rows)

    started = time.perf_counter()
    threads = [Thread(target=send, args=(rows,)) for rows in by_thread.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "wall_s": time.perf_counter() - started,
        "bytes": total[0],
        "round_trips": total[1],
        "failures": failures[:5],
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2])))
