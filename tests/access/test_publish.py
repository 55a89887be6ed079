"""Swapping the warehouse while others read it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from entra_pipeline.access.publish import publish, stage_path
from entra_pipeline.access.questions import Warehouse


@dataclass(frozen=True)
class Directory:
    path: Path

    @property
    def warehouse_link(self) -> Path:
        return self.path / "warehouse.duckdb"


def stage(directory: Directory, number: int) -> Path:
    """A warehouse just large enough to tell its version."""
    path = stage_path(directory)
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE SCHEMA internal; CREATE TABLE internal.warehouse AS SELECT 1 AS format"
        )
        connection.execute(
            "CREATE TABLE table_status AS"
            " SELECT 't' AS \"table\", 'complete' AS status, '' AS reason"
        )
        connection.execute(f"CREATE TABLE version AS SELECT {number} AS number FROM range(1000)")
    return path


def seen(warehouse: Warehouse) -> int:
    ((low, high),) = warehouse.query("SELECT min(number), max(number) FROM version").rows
    assert low == high
    return int(low)


def test_open_readers_keep_their_version_and_new_ones_see_the_new(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    publish(stage(directory, 1), directory)
    with Warehouse.open(directory.warehouse_link) as old:
        published = publish(stage(directory, 2), directory, grace_seconds=0)
        with Warehouse.open(directory.warehouse_link) as new:
            assert (seen(old), seen(new)) == (1, 2)
        assert published.number == 2
        assert os.readlink(directory.warehouse_link) == "warehouse/warehouse-000002.duckdb"
        assert published.path.stat().st_mode & 0o777 == 0o600


def test_replaced_versions_go_after_the_grace(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    for number in (1, 2, 3):
        publish(stage(directory, number), directory)
    kept = sorted(path.name for path in (tmp_path / "warehouse").iterdir())
    assert kept == [f"warehouse-00000{n}.duckdb" for n in (1, 2, 3)]
    publish(stage(directory, 4), directory, grace_seconds=0)
    assert [path.name for path in (tmp_path / "warehouse").iterdir()] == ["warehouse-000004.duckdb"]


def test_a_version_that_was_never_linked_is_passed_over(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    publish(stage(directory, 1), directory)
    # A sync killed between moving its file and replacing the link.
    os.replace(stage(directory, 2), tmp_path / "warehouse" / "warehouse-000002.duckdb")
    with Warehouse.open(directory.warehouse_link) as warehouse:
        assert seen(warehouse) == 1
    assert publish(stage(directory, 3), directory).number == 3
    with Warehouse.open(directory.warehouse_link) as warehouse:
        assert seen(warehouse) == 3


def test_publishing_what_was_not_built_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="build it before publishing"):
        publish(tmp_path / "nothing.duckdb", Directory(tmp_path))


def test_constant_readers_meet_no_error_and_versions_never_go_back(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    publish(stage(directory, 1), directory)
    reader = textwrap.dedent(
        f"""
        from pathlib import Path
        from entra_pipeline.access.questions import Warehouse
        last, opened = 0, 0
        while last < 20:
            with Warehouse.open(Path({str(directory.warehouse_link)!r})) as warehouse:
                (number,), = warehouse.query("SELECT DISTINCT number FROM version").rows
            assert number >= last, (number, last)
            last, opened = number, opened + 1
        print(opened)
        """
    )
    readers = [
        subprocess.Popen([sys.executable, "-c", reader], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for number in range(2, 21):
        publish(stage(directory, number), directory, grace_seconds=0.5)
    for process in readers:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert int(out) > 0
