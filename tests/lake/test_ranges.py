"""Tables of many files: what an amendment writes anew, and that everything holds all the same."""

import json
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from entra_pipeline.lake import Commit, Lake
from entra_pipeline.lake.digests import digest
from entra_pipeline.lake.metadata import CommitInfo
from entra_pipeline.lake.rows import in_order
from entra_pipeline.tables import Table
from tests.lake.series import Series
from tests.lake.states import NOON, PAIRS, TABLES, Row, arrow, key_of, moment, rows_of

LEAST = 4


def info_of(lake: Lake, name: str) -> CommitInfo:
    info = lake.info(name)
    assert info is not None
    return info


def check_files(lake: Lake, table: Table) -> None:
    """That the files are ranges in order, and that everybody finds the same rows in them."""
    info, read = info_of(lake, table.name), lake.read(table.name)
    assert info.files is not None
    paths = lake.files(table.name)
    assert paths == sorted(paths)
    assert [Path(path).name for path in paths] == [file.name for file in info.files]
    at = 0
    for path, file in zip(paths, info.files, strict=True):
        assert pq.ParquetFile(path).metadata.num_rows == file.rows
        first = read.slice(at, 1).select(table.key).to_pylist()[0]
        assert tuple(first.values()) == file.first
        at += file.rows
    assert at == read.num_rows == info.rows
    assert digest(table, in_order(table, read), like=info.digest) == info.digest
    stored = DeltaTable(lake.root / table.name)
    actions = pa.table(stored.get_add_actions(flatten=True)).to_pylist()
    assert {action["path"] for action in actions} == {file.name for file in info.files}
    leading = table.key[0]
    for action in actions:
        values = pq.read_table(lake.root / table.name / action["path"])[leading].to_pylist()
        assert action["num_records"] == len(values)
        assert (action[f"min.{leading}"], action[f"max.{leading}"]) == (min(values), max(values))


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 40))]
)
@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_a_random_series_in_many_files_is_told_and_given_back(
    tmp_path: Path, table: Table, seed: int
) -> None:
    series = Series(tmp_path / "lake", table, seed, 120, file_rows=LEAST, replay=60)
    fresh = Lake(tmp_path / "fresh", TABLES, file_rows=LEAST)
    most = 0
    for number in range(10):
        series.step()
        if number % 5 == 4:
            series.lake.maintain(table.name)
        check_files(series.lake, table)
        most = max(most, len(series.lake.files(table.name)))
        rows = arrow(table, rows_of(series.states[-1])[::-1])
        whole = fresh.commit(table, rows, sync_id="s", as_of=NOON)
        assert whole.info.digest == info_of(series.lake, table.name).digest
        again = series.lake.commit(
            table, rows, sync_id=f"s{number}", as_of=moment(number), cursor=str(number)
        )
        assert not again.changed
    assert most > 2
    series.check()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", TABLES, file_rows=50)


def pairs(count: int = 1_000) -> list[Row]:
    """Rows of groups of very different sizes, the largest of several files."""
    chosen = random.Random(5)
    found = [
        {"left": f"{chosen.randrange(8) ** 3:03}", "right": f"{number:05}"}
        for number in range(count)
    ]
    return sorted(found, key=lambda row: key_of(PAIRS, row))


def put(lake: Lake, rows: list[Row], number: int = 0) -> Commit:
    return lake.commit(PAIRS, arrow(PAIRS, rows), sync_id=f"s{number}", as_of=moment(number))


def change(lake: Lake, number: int, *rows: Row, **others: Any) -> Commit:
    return lake.amend(
        PAIRS,
        upserts=arrow(PAIRS, list(rows)),
        sync_id=f"s{number}",
        as_of=moment(number),
        **others,
    )


def test_one_row_more_writes_one_file_and_leaves_the_others(lake: Lake) -> None:
    rows = pairs()
    put(lake, rows)
    before = lake.files("pairs")
    assert len(before) > 8
    sizes = {path: Path(path).stat() for path in before}
    commit = change(lake, 1, {"left": "064", "right": "00100x"})
    after = lake.files("pairs")
    assert (commit.changes, commit.rows) == (1, 1_001)
    assert len(after) == len(before)
    assert len({*before} - {*after}) == len({*after} - {*before}) == 1
    assert all(Path(path).stat() == said for path, said in sizes.items())
    entry = lake.root / "pairs" / "_delta_log" / f"{1:020}.json"
    actions = [next(iter(json.loads(line))) for line in entry.read_text().splitlines()]
    assert sorted(actions) == ["add", "commitInfo", "remove"]
    check_files(lake, PAIRS)


def test_every_version_is_right_for_other_readers_of_delta(lake: Lake) -> None:
    rows = pairs(300)
    put(lake, rows)
    states = [{key_of(PAIRS, row) for row in rows}]
    chosen = random.Random(2)
    for number in range(1, 6):
        new = {"left": f"{chosen.randrange(400):03}", "right": "new"}
        gone = chosen.choice(rows)
        change(lake, number, new, deletes=pa.Table.from_pylist([gone]))
        states.append((states[-1] - {key_of(PAIRS, gone)}) | {key_of(PAIRS, new)})
    for version, state in enumerate(states):
        stored = DeltaTable(lake.root / "pairs", version=version)
        read = stored.to_pyarrow_table()
        assert read.num_rows == len(state)
        assert {key_of(PAIRS, row) for row in read.to_pylist()} == state
        some = stored.to_pyarrow_table(filters=[("left", "=", "343")])
        assert {key_of(PAIRS, row) for row in some.to_pylist()} == {
            key for key in state if key[0] == "343"
        }


def test_deletes_by_the_second_column_write_only_where_there_are_such_rows(lake: Lake) -> None:
    rows = pairs()
    put(lake, rows)
    before = lake.files("pairs")
    gone = [rows[10]["right"], rows[-10]["right"]]
    commit = change(lake, 1, within=("right", pa.array([*gone, "nobody"])))
    assert commit.changes == 2
    assert len({*before} - {*lake.files("pairs")}) == 2
    assert lake.read("pairs").to_pylist() == [row for row in rows if row["right"] not in gone]


def test_what_changes_nothing_writes_no_file(lake: Lake) -> None:
    rows = pairs()
    put(lake, rows)
    before = sorted((lake.root / "pairs").glob("*.parquet"))
    commit = change(
        lake,
        1,
        rows[3],
        rows[700],
        deletes=pa.table({"left": ["0645"], "right": ["x"]}),
        within=("right", pa.array(["nobody"])),
    )
    assert not commit.changed
    assert sorted((lake.root / "pairs").glob("*.parquet")) == before


def test_a_file_that_grew_far_too_large_is_split_and_names_stay_in_order(lake: Lake) -> None:
    rows = pairs()
    put(lake, rows)
    for number in range(1, 5):
        new = [{"left": "125", "right": f"{number}{n:05}"} for n in range(400)]
        change(lake, number, *new)
        rows += new
    change(lake, 5, {"left": "125", "right": "4"})
    rows.append({"left": "125", "right": "4"})
    check_files(lake, PAIRS)
    files = info_of(lake, "pairs").files
    assert files is not None
    assert max(file.rows for file in files) < 8 * 50
    assert lake.read("pairs").to_pylist() == sorted(rows, key=lambda row: key_of(PAIRS, row))


def test_upkeep_joins_files_that_became_far_too_small(lake: Lake) -> None:
    rows = pairs()
    put(lake, rows)
    before = info_of(lake, "pairs")
    assert before.files is not None
    firsts = {file.first for file in before.files}
    left = [row for n, row in enumerate(rows) if key_of(PAIRS, row) in firsts or n % 20 == 0]
    change(lake, 1, deletes=pa.Table.from_pylist([row for row in rows if row not in left]))
    many = lake.files("pairs")
    assert len(many) == len(firsts)
    before = info_of(lake, "pairs")
    lake.maintain("pairs")
    after = info_of(lake, "pairs")
    assert 0 < len(lake.files("pairs")) < len(many) / 2
    assert (after.digest, after.sync_id, after.changed_as_of, after.changes_version) == (
        before.digest,
        before.sync_id,
        before.changed_as_of,
        before.changes_version,
    )
    check_files(lake, PAIRS)
    assert lake.read("pairs").to_pylist() == left
    lake.maintain("pairs")
    assert info_of(lake, "pairs") == after
    past = lake.as_of("pairs", moment(0))
    assert past is not None
    assert past.to_pylist() == rows


def test_names_do_not_lengthen_for_ever(lake: Lake) -> None:
    rows = [{"left": f"{n:03}", "right": ""} for n in range(200, 400)]
    put(lake, rows)
    for number in range(1, 40):
        # Always in front of what was added last, so that the same file is split again and again.
        new = [{"left": "250", "right": f"{100 - number:03}{n:03}"} for n in range(250)]
        change(lake, number, *new)
        rows += new
    assert max(len(Path(path).name) for path in lake.files("pairs")) < 220
    check_files(lake, PAIRS)
    assert lake.read("pairs").num_rows == len(rows)


@pytest.mark.parametrize("file_rows", [50, 4_096])
def test_a_table_of_one_file_from_before_is_read_amended_and_told(
    tmp_path: Path, file_rows: int
) -> None:
    rows = pairs()
    old = Lake(tmp_path, TABLES, file_rows=4_096)
    put(old, rows)
    was = one_file(old)
    lake = Lake(tmp_path, TABLES, file_rows=file_rows)
    assert lake.read("pairs").to_pylist() == rows
    assert len(lake.files("pairs")) == 1
    lake.maintain("pairs", grace=timedelta(0))
    assert not put(lake, rows, 1).changed
    info = info_of(lake, "pairs")
    assert (info.digest, info.files) == (was, None)
    assert not change(lake, 2, rows[5]).changed
    assert info_of(lake, "pairs").files is None
    assert change(lake, 3, {"left": "000", "right": "new"}).changes == 1
    check_files(lake, PAIRS)
    assert (len(lake.files("pairs")) > 1) == (file_rows == 50)
    found = lake.as_of("pairs", moment(2))
    assert found is not None
    assert found.to_pylist() == rows
    fresh = Lake(tmp_path / "fresh", TABLES, file_rows=file_rows)
    new = sorted([*rows, {"left": "000", "right": "new"}], key=lambda row: key_of(PAIRS, row))
    assert put(fresh, new).info.digest == info_of(lake, "pairs").digest


def one_file(lake: Lake) -> str:
    """Makes the commit say what it said when a table was one file; the digest of that time."""
    entry = lake.root / "pairs" / "_delta_log" / f"{0:020}.json"
    lines = [json.loads(line) for line in entry.read_text().splitlines()]
    said = next(line["commitInfo"]["entra_pipeline"] for line in lines if "commitInfo" in line)
    del said["files"]
    said["digest"] = digest(PAIRS, in_order(PAIRS, lake.read("pairs")), like="")
    entry.write_text("\n".join(json.dumps(line) for line in lines))
    return str(said["digest"])


def test_any_parquet_reader_gets_the_files_in_key_order(lake: Lake) -> None:
    put(lake, pairs())
    change(lake, 1, {"left": "200", "right": "new"})
    found = duckdb.sql(f"SELECT * FROM read_parquet({lake.files('pairs')!r})").arrow()
    assert pa.table(found).to_pylist() == lake.read("pairs").to_pylist()
