"""The warehouse of today, built from the lake as a sync builds it: what `past` is compared with.

``python -m benchmarks.past_once DIR``.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd  # noqa: F401 - pyarrow imports it in mid-run; it is part of the start

from entra_pipeline.access.build import build
from entra_pipeline.lake import Books, DataDirectory, Lake
from entra_pipeline.lake.events import Events
from entra_pipeline.tables import TABLES


def main(data: Path) -> dict[str, Any]:
    """Seconds from the lake's files to a finished warehouse, and its size."""
    directory = DataDirectory.existing(data)
    lake, books = Lake(directory.lake), Books(directory)
    names = [name for name in TABLES if TABLES[name].group == "directory" and lake.info(name)]
    stage = data / "today.duckdb"
    started = time.perf_counter()
    files = {name: lake.files(name) for name in names}
    build(stage, files, books.statuses(), syncs=books.syncs(), events=Events(directory.lake))
    wall = time.perf_counter() - started
    size = stage.stat().st_size
    stage.unlink()
    return {"wall_s": wall, "mib": size / 2**20}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
