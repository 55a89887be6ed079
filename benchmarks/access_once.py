"""One measured piece of access on a very large tenant, in a process of its own.

``python -m benchmarks.access_once PIECE DIR``, where DIR holds what `access_data` wrote. Pieces:
``build`` (all steps, from Parquet to a stage), ``copy`` (writes the same tables as the built
warehouse has, computing nothing), ``load`` (writes the directory tables as read, computing
nothing), ``questions``, ``export``, ``publish``.
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from entra_pipeline import tables
from entra_pipeline.access import build as steps
from entra_pipeline.access.answers import Entitlement, Principal
from entra_pipeline.access.engine import MOST_MEMORY
from entra_pipeline.access.export import effective_grants
from entra_pipeline.access.publish import publish
from entra_pipeline.access.questions import Warehouse
from entra_pipeline.lake.books import TableStatus
from entra_pipeline.tables import Status

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ASKED = 60
PUBLICATIONS = 50


@dataclass(frozen=True)
class Directory:
    """As much of a data directory as publication needs."""

    path: Path

    @property
    def warehouse_link(self) -> Path:
        """Where readers find the current warehouse."""
        return self.path / "warehouse.duckdb"


def built(home: Path) -> Path:
    """Where `build` puts the warehouse."""
    return home / "built" / "stage.duckdb"


def inputs(home: Path) -> dict[str, list[str]]:
    """The tables' files."""
    return {path.stem: [str(path)] for path in sorted(home.glob("*.parquet"))}


def build(home: Path) -> dict[str, Any]:
    """Seconds by step."""
    statuses = {
        name: TableStatus(name, Status.COMPLETE, as_of=NOW)
        for name, table in tables.TABLES.items()
        if table.group == "directory"
    }
    stage = built(home)
    seconds: dict[str, float] = {}
    pieces: list[tuple[str, Callable[[], object]]] = [
        ("load", lambda: steps.load(stage, inputs(home), statuses, now=NOW)),
        ("principals", lambda: steps.principals(stage)),
        ("entitlements", lambda: steps.entitlements(stage)),
        ("grants", lambda: steps.grants(stage)),
        ("closure", lambda: steps.closure(stage)),
        ("counts", lambda: steps.counts(stage)),
        ("usage", lambda: steps.usage(stage)),
        ("finish", lambda: steps.finish(stage)),
    ]
    began = time.perf_counter()
    for name, piece in pieces:
        start = time.perf_counter()
        piece()
        seconds[name] = time.perf_counter() - start
    with duckdb.connect(str(stage), read_only=True) as connection:
        ((effective,),) = connection.execute(
            "SELECT sum(effective_active + effective_eligible) FROM internal.counts"
        ).fetchall()
        ((closure,),) = connection.execute("SELECT count(*) FROM internal.closure").fetchall()
    return {
        "wall_s": sum(seconds.values()),
        "steps": seconds,
        "whole_s": time.perf_counter() - began,
        "mib": stage.stat().st_size / 2**20,
        "effective": int(effective),
        "closure": closure,
    }


def _fresh(path: Path) -> duckdb.DuckDBPyConnection:
    path.unlink(missing_ok=True)
    return duckdb.connect(
        str(path),
        config={"memory_limit": f"{MOST_MEMORY // 2**20}MiB", "temp_directory": f"{path}.spill"},
    )


def copy(home: Path) -> dict[str, Any]:
    """Every stored table of the built warehouse, written to a second file."""
    began = time.perf_counter()
    target = home / "copy.duckdb"
    with _fresh(target) as connection:
        connection.execute(f"ATTACH '{built(home)}' AS built (READ_ONLY); CREATE SCHEMA internal")
        for schema, name in connection.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'built'"
        ).fetchall():
            connection.execute(
                f'CREATE TABLE {schema}."{name}" AS SELECT * FROM built.{schema}."{name}"'
            )
    size = target.stat().st_size
    target.unlink()
    return {"wall_s": time.perf_counter() - began, "mib": size / 2**20}


def load(home: Path) -> dict[str, Any]:
    """Every input table, written to a DuckDB file as it is."""
    began = time.perf_counter()
    target = home / "load.duckdb"
    with _fresh(target) as connection:
        for name, files in inputs(home).items():
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM '{files[0]}'")
    size = target.stat().st_size
    target.unlink()
    return {"wall_s": time.perf_counter() - began, "mib": size / 2**20}


def _median_ms(ask: Callable[[Any], object], about: list[Any]) -> dict[str, float]:
    taken = []
    for one in about:
        start = time.perf_counter()
        ask(one)
        taken.append(1000 * (time.perf_counter() - start))
    return {"median_ms": statistics.median(taken), "max_ms": max(taken)}


def questions(home: Path) -> dict[str, Any]:
    """Milliseconds of each question on an open connection, about things drawn at random."""
    pick = random.Random(7)
    with Warehouse.open(built(home)) as warehouse:

        def some(sql: str) -> list[str]:
            ids = [row[0] for row in warehouse.query(sql).rows]
            return pick.sample(ids, min(ASKED, len(ids)))

        def principal(text: str) -> Principal:
            found = warehouse.find_principal(text)
            assert isinstance(found, Principal)
            return found

        def entitlement(text: str) -> Entitlement:
            found = warehouse.find_entitlement(text)
            assert isinstance(found, Entitlement)
            return found

        held = "SELECT entitlement_id FROM internal.entitlements JOIN internal.counts USING (eix)"
        people = some("SELECT id FROM internal.principals WHERE source = 'users' AND ix % 997 = 0")
        names = some("SELECT user_principal_name FROM users WHERE user_type = 'Guest' LIMIT 5000")
        roles = some(f"{held} WHERE entitlement_id LIKE 'role:%' AND effective_active > 0")
        anything = some(f"{held} WHERE effective_active > 0 AND eix % 7 = 0")
        large = some(f"{held} WHERE effective_active >= (SELECT count(*) / 2 FROM users)")
        pairs = [
            (principal(one), entitlement(row.entitlement_id))
            for one in people
            if (rows := warehouse.access(principal(one)).entitlements)
            for row in [max(rows, key=lambda row: row.depth)]
        ]
        return {
            "access": _median_ms(lambda one: warehouse.access(principal(one)), people),
            "who_can, any entitlement": _median_ms(
                lambda one: warehouse.who_can(entitlement(one), limit=100), anything
            ),
            "who_can, a role": _median_ms(
                lambda one: warehouse.who_can(entitlement(one), limit=100), roles
            ),
            "who_can, held by half the tenant or more": _median_ms(
                lambda one: warehouse.who_can(entitlement(one), limit=100), large
            ),
            "explain": _median_ms(lambda pair: warehouse.explain(*pair), pairs),
            "finding a principal by name": _median_ms(warehouse.find_principal, names),
            "ids": {"principal": people[0], "entitlement": roles[0]},
        }


def export(home: Path) -> dict[str, Any]:
    """The whole expansion, streamed and thrown away."""
    began = time.perf_counter()
    rows = sum(len(batch) for batch in effective_grants(built(home)))
    return {"wall_s": time.perf_counter() - began, "rows": rows}


READER = """
import sys
from pathlib import Path
from entra_pipeline.access.questions import Warehouse
link, last, opened = Path(sys.argv[1]), 0, 0
while last < int(sys.argv[2]):
    with Warehouse.open(link) as warehouse:
        number = int(warehouse.path.stem.rpartition("-")[2])
        warehouse.query("SELECT count(*) FROM entitlement_counts")
    assert number >= last, f"went back from {last} to {number}"
    last, opened = number, opened + 1
print(opened)
"""


def publications(home: Path) -> dict[str, Any]:
    """Publish many times under constant readers; fails when a reader does."""
    directory = Directory(home / "published")
    shutil.rmtree(directory.path, ignore_errors=True)
    directory.path.mkdir()

    def once() -> float:
        stage = directory.path / "stage.duckdb"
        shutil.copyfile(built(home), stage)
        start = time.perf_counter()
        publish(stage, directory, grace_seconds=5)
        return time.perf_counter() - start

    taken = [once()]
    argv = [sys.executable, "-c", READER, str(directory.warehouse_link), str(PUBLICATIONS)]
    readers = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    taken += [once() for _ in range(PUBLICATIONS - 1)]
    opened = []
    for reader in readers:
        out, _ = reader.communicate(timeout=300)
        if reader.returncode != 0:
            raise RuntimeError(f"a reader failed: exit {reader.returncode}")
        opened.append(int(out))
    shutil.rmtree(directory.path)
    return {"published": len(taken), "median_ms": 1000 * statistics.median(taken), "opened": opened}


PIECES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "build": build,
    "copy": copy,
    "load": load,
    "questions": questions,
    "export": export,
    "publish": publications,
}

if __name__ == "__main__":
    print(json.dumps(PIECES[sys.argv[1]](Path(sys.argv[2]))))
