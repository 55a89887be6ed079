"""What changing few rows costs in tables of a given size: the lake alone, without Graph.

``python -m benchmarks.amend_once DIR``, where DIR holds what `access_data` wrote. Users and their
memberships are committed whole, amended with nothing, and amended a few times with ten rows and
with a thousand each: half of them changed, a quarter new, a quarter gone (memberships: half new,
half gone), spread over the table at random. Seconds are of wall and of CPU.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from entra_pipeline.lake import Lake
from entra_pipeline.tables import Table, get

TABLES = ("users", "group_members")
CHANGED = (10, 1_000)
ROUNDS = 3
START = datetime(2026, 11, 1, tzinfo=UTC)


def main(home: Path) -> dict[str, Any]:
    """Seconds and written bytes of each table's commit and amendments."""
    lake = Lake(home / "lake")
    return {name: _table(lake, get(name), home) for name in TABLES}


def _table(lake: Lake, table: Table, home: Path) -> dict[str, Any]:
    rows = _rows(table, home)
    moments = (START + timedelta(minutes=n) for n in range(100))
    folders = (lake.root / table.name, lake.root / f"{table.name}_changes")

    def timed(work: Callable[[], object]) -> dict[str, float]:
        before = _files(folders)
        started, cpu = time.perf_counter(), time.process_time()
        work()
        written = _files(folders) - before
        return {
            "wall_s": time.perf_counter() - started,
            "cpu_s": time.process_time() - cpu,
            "written_mib": sum(path.stat().st_size for path in written) / 2**20,
            "files": len(written),
        }

    whole = timed(lambda: lake.commit(table, rows, sync_id="0", as_of=next(moments)))
    nothing = timed(
        lambda: lake.amend(table, upserts=rows.slice(0, 0), sync_id="1", as_of=next(moments))
    )
    rng = np.random.default_rng(7)
    amended = {}
    for count in CHANGED:
        runs = []
        for n in range(ROUNDS):
            upserts, deletes = _changes(table, rows, rng, count, f"{count}-{n}")
            amend = partial(lake.amend, table, upserts=upserts, deletes=deletes)
            runs.append(timed(partial(amend, sync_id="2", as_of=next(moments))))
        amended[str(count)] = {name: statistics.median(r[name] for r in runs) for name in runs[0]}
    return {"rows": rows.num_rows, "commit": whole, "nothing": nothing, "amended": amended}


def _files(folders: tuple[Path, ...]) -> set[Path]:
    return {path for folder in folders for path in folder.glob("*.parquet")}


def _rows(table: Table, home: Path) -> pa.Table:
    """The rows as declared; columns that are not in the file are null."""
    found = pq.read_table(home / f"{table.name}.parquet")
    return pa.table(
        [
            found.column(field.name).cast(field.type)
            if field.name in found.column_names
            else pa.nulls(found.num_rows, field.type)
            for field in table.schema()
        ],
        schema=table.schema(),
    )


def _changes(
    table: Table, rows: pa.Table, rng: np.random.Generator, count: int, mark: str
) -> tuple[pa.Table, pa.Table]:
    """Rows to put in, a half of them or none in the place of others, and keys of rows to go."""
    chosen = rows.take(rng.choice(rows.num_rows, count, replace=False))
    key = table.key[-1]
    place = rows.column_names.index(key)
    changed = 0 if table.name == "group_members" else count // 2
    fresh = chosen.slice(changed, (count - changed) // 2)
    gone = chosen.slice(changed + fresh.num_rows).select(table.key)
    names = [f"{rng.bytes(16).hex()}-{mark}" for _ in range(fresh.num_rows)]
    upserts = [fresh.set_column(place, rows.schema.field(place), pa.array(names, pa.string()))]
    if changed:
        place = rows.column_names.index("job_title")
        titles = pa.array([f"Changed {mark}"] * changed)
        kept = chosen.slice(0, changed)
        upserts.append(kept.set_column(place, rows.schema.field(place), titles))
    return pa.concat_tables(upserts), gone


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
