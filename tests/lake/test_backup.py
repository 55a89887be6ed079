"""A copy taken while tables are committed is whole, and says what the original said."""

from __future__ import annotations

import os
import random
import shutil
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from entra_pipeline.lake import Books, DataDirectory, Lake
from entra_pipeline.lake.backup import backup
from entra_pipeline.lake.errors import DirectoryError
from entra_pipeline.lake.events import Events
from entra_pipeline.lake.inspection import inspect
from entra_pipeline.tables import EVENTS, Table
from tests.lake.states import TABLES, any_row, arrow, moment, rows_of, state_of

TENANT = "11111111-1111-4111-8111-111111111111"
SIGN_INS = EVENTS["sign_ins"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with books, two tables with a history, and events; to be copied."""
    directory = DataDirectory.claim(tmp_path_factory.mktemp("prepared") / "data", TENANT)
    lake = lake_of(directory)
    chosen = random.Random(4)
    for number in range(40):
        for table in TABLES.values():
            commit(lake, table, chosen, number)
    Events(directory.lake).commit(
        SIGN_INS, sign_ins(50), sync_id="s", as_of=moment(0), covers=(moment(-9), moment(9))
    )
    Books(directory).begin_sync("test", ["things"])
    return directory.path


@pytest.fixture
def directory(prepared: Path, tmp_path: Path) -> DataDirectory:
    """A copy of it for one test alone."""
    shutil.copytree(prepared, tmp_path / "data", symlinks=True)
    return DataDirectory.existing(tmp_path / "data")


def lake_of(directory: DataDirectory) -> Lake:
    return Lake(directory.lake, TABLES, replay=60)


def commit(lake: Lake, table: Table, chosen: random.Random, number: int) -> None:
    rows = rows_of(state_of(table, [any_row(chosen, table) for _ in range(40)]))
    lake.commit(
        table,
        arrow(table, rows),
        sync_id=f"s{number}",
        as_of=moment(number),
        cursor=f"cursor {number}",
    )


def sign_ins(count: int) -> pa.Table:
    rows: list[dict[str, Any]] = [
        dict.fromkeys(SIGN_INS.schema().names)
        | {SIGN_INS.key[0]: f"{n:04}", SIGN_INS.time: moment(n)}
        for n in range(count)
    ]
    return pa.Table.from_pylist(rows, schema=SIGN_INS.schema())


def problems(directory: DataDirectory) -> list[str]:
    return [
        f"{part.part}: {part.problem}"
        for part in inspect(directory, TABLES)
        if part.problem is not None
    ]


def told(directory: DataDirectory) -> list[object]:
    """All that there is to ask of a directory."""
    lake = lake_of(directory)
    return [
        Books(directory).syncs(),
        Events(directory.lake).read("sign_ins"),
        Events(directory.lake).info("sign_ins"),
        *(
            told
            for name in TABLES
            for told in (
                lake.info(name),
                lake.read(name),
                lake.changes(name),
                *(lake.as_of(name, moment(number)) for number in range(0, 40, 7)),
            )
        ),
    ]


def test_a_copy_says_what_the_original_says_and_goes_on_from_there(
    directory: DataDirectory, tmp_path: Path
) -> None:
    done = backup(directory, tmp_path / "copy")
    copy = DataDirectory.existing(tmp_path / "copy")
    assert copy.tenant_id == TENANT
    assert (done.tables, problems(copy)) == (3, [])
    assert told(copy) == told(directory)
    assert any(lake_of(copy).info(name).checkpoints for name in TABLES)  # type: ignore[union-attr]
    assert all(not path.stat().st_mode & 0o077 for path in (copy.path, copy.books))
    # Superseded versions are not worth a copy.
    assert len(list((copy.lake / "things").glob("*.parquet"))) == 1
    for each in (directory, copy):
        commit(lake_of(each), TABLES["things"], random.Random(5), 50)
        lake_of(each).maintain("things", grace=timedelta(0), keep=timedelta(hours=1))
    assert told(copy)[3:6] == told(directory)[3:6]


def test_a_copy_after_the_logs_were_trimmed_is_whole(
    directory: DataDirectory, tmp_path: Path
) -> None:
    lake = lake_of(directory)
    for name in TABLES:
        lake.maintain(name, grace=timedelta(0))
    commit(lake, TABLES["things"], random.Random(6), 45)
    assert list((directory.lake / "things" / "_delta_log").glob("*.checkpoint.parquet"))
    backup(directory, tmp_path / "copy")
    copy = DataDirectory.existing(tmp_path / "copy")
    assert problems(copy) == []
    assert told(copy) == told(directory)


def test_copies_taken_while_tables_change_are_whole(
    directory: DataDirectory, tmp_path: Path
) -> None:
    over = threading.Event()
    states: dict[tuple[str, int], str] = {}

    def change() -> None:
        lake, chosen, number = lake_of(directory), random.Random(7), 100
        while not over.is_set():
            for table in TABLES.values():
                commit(lake, table, chosen, number)
                info = lake.info(table.name)
                assert info is not None
                states[table.name, info.version] = info.digest
            if number % 5 == 0:
                for name in TABLES:
                    lake.maintain(name, grace=timedelta(seconds=20))
            number += 1

    changing = threading.Thread(target=change)
    changing.start()
    try:
        for number in range(4):
            backup(directory, tmp_path / f"copy-{number}")
    finally:
        over.set()
        changing.join()
    versions = set()
    for number in range(4):
        copy = DataDirectory.existing(tmp_path / f"copy-{number}")
        assert problems(copy) == []
        for name in TABLES:
            info = lake_of(copy).info(name)
            assert info is not None
            versions.add((name, info.version))
            if (name, info.version) in states:
                assert info.digest == states[name, info.version]
    assert len(versions) > 4  # they did change meanwhile


def test_what_a_killed_commit_left_in_the_history_is_not_copied(
    directory: DataDirectory, tmp_path: Path
) -> None:
    lake = lake_of(directory)
    before = lake.changes("things")
    commit(lake, TABLES["things"], random.Random(8), 60)
    info = lake.info("things")
    assert info is not None
    # As if it had been killed between the history and the commit.
    (directory.lake / "things" / "_delta_log" / f"{info.version:020}.json").unlink()
    backup(directory, tmp_path / "copy")
    copy = DataDirectory.existing(tmp_path / "copy")
    assert problems(copy) == []
    assert lake_of(copy).changes("things").equals(before)


def test_a_target_in_use_or_inside_the_data_directory_is_refused(
    directory: DataDirectory, tmp_path: Path
) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(DirectoryError, match="not empty"):
        backup(directory, tmp_path / "used")
    with pytest.raises(DirectoryError, match="data directory itself"):
        backup(directory, directory.path / "copy")
    (tmp_path / "file").touch()
    with pytest.raises(DirectoryError, match="file"):
        backup(directory, tmp_path / "file")


def test_half_a_copy_is_not_taken_for_a_data_directory(
    directory: DataDirectory, tmp_path: Path
) -> None:
    backup(directory, tmp_path / "copy")
    (tmp_path / "copy" / "tenant.json").unlink()  # what marks it comes last
    with pytest.raises(DirectoryError):
        DataDirectory.existing(tmp_path / "copy")


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 8)


def _spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in range(4096, min(len(content), 8192)):
        content[place] ^= 0xFF
    path.write_bytes(content)


def test_what_is_missing_or_damaged_is_found_and_named(
    directory: DataDirectory, tmp_path: Path
) -> None:
    assert problems(directory) == []
    damages = {
        "things": (lambda at: next(at.glob("lake/things/*.parquet")), Path.unlink),
        "pairs": (lambda at: next(at.glob("lake/pairs_changes/*.parquet")), _truncate),
        "sign_ins": (lambda at: next(at.glob("lake/sign_ins/day=*/*.parquet")), Path.unlink),
        "books.sqlite": (lambda at: at / "books.sqlite", _spoil),
    }
    for part, (find, damage) in damages.items():
        backup(directory, tmp_path / part)
        damage(find(tmp_path / part))
        (problem,) = problems(DataDirectory.existing(tmp_path / part))
        assert problem.startswith(f"{part}: ")


def test_other_rows_than_were_committed_are_found(directory: DataDirectory) -> None:
    lake = lake_of(directory)
    (path,) = lake.files("pairs")
    rows = pq.read_table(path)
    pq.write_table(rows.set_column(1, rows.schema.field(1), rows["left"]), path)
    assert problems(directory) == ["pairs: its rows are not those that were committed"]
    pq.write_table(rows.slice(1), path)
    assert problems(directory) == [
        f"pairs: {rows.num_rows - 1} rows, {rows.num_rows} were committed"
    ]


def test_nothing_later_than_the_copy_is_in_it(directory: DataDirectory, tmp_path: Path) -> None:
    backup(directory, tmp_path / "copy")
    Books(directory).begin_sync("later", ["things"])
    assert len(Books(DataDirectory.existing(tmp_path / "copy")).syncs()) == 1
