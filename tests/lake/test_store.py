"""Commits to the lake: order, digests, versions of declarations, what stays on disk."""

import json
import os
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from entra_pipeline.lake import Lake, LakeError, NewerTableError, RowsError
from entra_pipeline.tables import Table, get
from entra_pipeline.tables.model import BOOL, INT64, TEXT, TEXTS, TIME, column, structs

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

THINGS = Table(
    name="things",
    doc="Things.",
    group="directory",
    key=("id", "part"),
    columns=(
        column("id", TEXT, "Id."),
        column("part", TEXT, "Part."),
        column("flag", BOOL, "Flag."),
        column("names", TEXTS, "Names."),
        column("plans", structs(plan_id=TEXT, since=TIME), "Plans."),
        column("seen", TIME, "Seen."),
    ),
)
WIDER = Table(
    name="things",
    doc="Things.",
    group="directory",
    key=("id", "part"),
    version=2,
    columns=(*THINGS.columns[:2], column("added", INT64, "Added."), *THINGS.columns[2:]),
)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", {"things": THINGS})


def rows(count: int = 5, *, seed: int = 1, table: Table = THINGS) -> pa.Table:
    """Rows in a random order, nulls among them."""
    chosen = random.Random(seed)
    values = [
        {
            "id": f"{number // 3:05}",
            "part": f"p{number % 3}",
            "flag": [True, False, None][number % 3],
            "names": None if number % 4 == 0 else [f"n{number}", None, ""][: number % 4],
            "plans": [{"plan_id": f"x{number}", "since": NOON}] if number % 2 else None,
            "seen": None if number % 5 == 0 else NOON + timedelta(microseconds=number),
            "added": number,
        }
        for number in range(count)
    ]
    chosen.shuffle(values)
    return pa.Table.from_pylist(values, schema=table.schema())


def log(lake: Lake) -> list[Path]:
    return sorted((lake.root / "things" / "_delta_log").glob("*.json"))


def data(lake: Lake) -> set[str]:
    return {file.name for file in (lake.root / "things").glob("*.parquet")}


def test_what_was_committed_is_read_back_in_key_order_and_in_the_declared_schema(
    lake: Lake,
) -> None:
    given = rows(50)
    commit = lake.commit(THINGS, given, sync_id="s1", as_of=NOON, cursor="https://delta")
    read = lake.read("things")
    assert read.schema.equals(THINGS.schema(), check_metadata=True)
    assert read.to_pylist() == sorted(given.to_pylist(), key=lambda r: (r["id"], r["part"]))
    assert (commit.changed, commit.rows, commit.version, commit.duplicates) == (True, 50, 0, 0)
    assert lake.info("things") == commit.info
    assert commit.info.cursor == "https://delta"
    assert commit.info.as_of == NOON


def test_a_selection_of_columns_is_read_in_the_order_asked_for(lake: Lake) -> None:
    lake.commit(THINGS, rows(), sync_id="s1", as_of=NOON)
    assert lake.read("things", ["seen", "flag"]).column_names == ["seen", "flag"]


def test_equal_rows_in_another_order_and_other_chunks_write_no_data(lake: Lake) -> None:
    first = lake.commit(THINGS, rows(100, seed=1), sync_id="s1", as_of=NOON, cursor="a")
    files = data(lake)
    other = rows(100, seed=2)
    chunked = pa.concat_tables([other.slice(start, 7) for start in range(0, 100, 7)])
    second = lake.commit(THINGS, chunked, sync_id="s2", as_of=NOON + timedelta(hours=1), cursor="b")
    assert not second.changed
    assert second.info.digest == first.info.digest
    assert data(lake) == files
    info = lake.info("things")
    assert info is not None
    assert (info.version, info.sync_id, info.cursor, info.rows) == (1, "s2", "b", 100)
    assert info.as_of == NOON + timedelta(hours=1)
    assert lake.read("things").num_rows == 100


def test_encoded_columns_are_the_same_rows(lake: Lake) -> None:
    plain = rows(40_000)
    first = lake.commit(THINGS, plain, sync_id="s1", as_of=NOON)
    encoded = plain
    for name in ("id", "part"):
        # Several chunks, each with values of its own in an order of its own.
        column = plain.column(name)
        chunks = [column.slice(start, 9_000).combine_chunks() for start in range(0, 40_000, 9_000)]
        chunked = pa.chunked_array([chunk.dictionary_encode() for chunk in chunks])
        encoded = encoded.set_column(encoded.schema.get_field_index(name), name, chunked)
    second = lake.commit(THINGS, encoded, sync_id="s2", as_of=NOON)
    assert second.info.digest == first.info.digest
    assert not second.changed
    third = lake.commit(THINGS, encoded.slice(1), sync_id="s3", as_of=NOON)
    assert third.changed
    assert lake.read("things").equals(lake.read("things").sort_by([("id", "ascending")]))
    assert lake.read("things").schema.field("id").type == TEXT


def test_any_changed_value_changes_the_digest_and_writes(lake: Lake) -> None:
    original = rows(30)
    digests = {lake.commit(THINGS, original, sync_id="s", as_of=NOON).info.digest}
    for name, value in [
        ("flag", None),
        ("names", ["other"]),
        ("names", []),
        ("plans", []),
        ("seen", NOON - timedelta(days=1)),
    ]:
        values = original.to_pylist()
        changed = next(row for row in values if row[name] != value)
        changed[name] = value
        commit = lake.commit(
            THINGS,
            pa.Table.from_pylist(values, schema=THINGS.schema()),
            sync_id="s",
            as_of=NOON,
        )
        assert commit.changed, name
        digests.add(commit.info.digest)
    assert len(digests) == 6


def test_repeated_keys_are_dropped_and_counted_and_the_last_sight_stays(lake: Lake) -> None:
    row = {"id": "a", "part": "p", "names": None, "plans": None, "seen": None}
    given = [{**row, "flag": True}, {**row, "id": "b", "flag": None}, {**row, "flag": False}]
    commit = lake.commit(
        THINGS, pa.Table.from_pylist(given, schema=THINGS.schema()), sync_id="s", as_of=NOON
    )
    assert (commit.rows, commit.duplicates) == (2, 1)
    assert [(r["id"], r["flag"]) for r in lake.read("things").to_pylist()] == [
        ("a", False),
        ("b", None),
    ]


def test_no_rows_are_a_version_too_and_differ_from_never_committed(lake: Lake) -> None:
    assert lake.info("things") is None
    assert lake.files("things") == []
    assert lake.read("things").num_rows == 0
    lake.commit(THINGS, rows(), sync_id="s1", as_of=NOON)
    commit = lake.commit(THINGS, rows(0), sync_id="s2", as_of=NOON)
    assert (commit.changed, commit.rows) == (True, 0)
    info = lake.info("things")
    assert info is not None
    assert info.rows == 0
    assert lake.files("things") == []
    assert lake.read("things").schema.equals(THINGS.schema())


def test_rows_may_come_in_types_that_convert_without_loss(lake: Lake) -> None:
    given = rows(10)
    given = given.set_column(5, "seen", given["seen"].cast(pa.timestamp("ns", "UTC")))
    given = given.set_column(0, "id", given["id"].cast(pa.large_string()))
    lake.commit(THINGS, given, sync_id="s", as_of=NOON)
    assert lake.read("things").schema.equals(THINGS.schema())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.drop_columns(["flag"]), r"things: missing columns \['flag'\]"),
        (lambda t: t.append_column("odd", t["id"]), r"undeclared columns \['odd'\]"),
        (lambda t: t.set_column(2, "flag", t["id"]), "column flag is string"),
        (
            lambda t: t.set_column(0, "id", pa.array([None] + ["x"] * 4)),
            "1 have no id, which is part of the key",
        ),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_the_table_stays(lake, spoil, message) -> None:
    lake.commit(THINGS, rows(3), sync_id="s1", as_of=NOON)
    bare = pa.table({name: rows(5)[name] for name in THINGS.schema().names})
    with pytest.raises(RowsError, match=message):
        lake.commit(THINGS, spoil(bare), sync_id="s2", as_of=NOON)
    assert lake.read("things").num_rows == 3


def test_columns_added_later_read_as_null_from_older_data(lake: Lake) -> None:
    lake.commit(THINGS, rows(10), sync_id="s1", as_of=NOON, cursor="c")
    newer = Lake(lake.root, {"things": WIDER})
    read = newer.read("things")
    assert read.schema.equals(WIDER.schema(), check_metadata=True)
    assert read["added"].null_count == 10
    assert read.drop_columns(["added"]).equals(lake.read("things"))


def test_evolving_gives_duckdb_every_declared_column_and_drops_the_cursor(lake: Lake) -> None:
    lake.commit(THINGS, rows(10), sync_id="s1", as_of=NOON, cursor="c")
    newer = Lake(lake.root, {"things": WIDER})
    assert newer.evolve("things")
    assert not newer.evolve("things")
    info = newer.info("things")
    assert info is not None
    assert (info.declaration, info.sync_id, info.as_of, info.cursor) == (2, "s1", NOON, None)
    assert [field.name for field in DeltaTable(lake.root / "things").schema().fields] == list(
        WIDER.schema().names
    )
    found = duckdb.sql(
        f"SELECT count(*), count(added) FROM read_parquet({newer.files('things')!r})"
    ).fetchall()
    assert found == [(10, 0)]


def test_a_commit_with_the_newer_declaration_needs_no_evolving(lake: Lake) -> None:
    lake.commit(THINGS, rows(10), sync_id="s1", as_of=NOON)
    newer = Lake(lake.root, {"things": WIDER})
    newer.commit(WIDER, rows(10, table=WIDER), sync_id="s2", as_of=NOON)
    assert newer.read("things")["added"].null_count == 0


def test_older_code_refuses_a_table_of_newer_code_by_name_and_remedy(lake: Lake) -> None:
    newer = Lake(lake.root, {"things": WIDER})
    newer.commit(WIDER, rows(3, table=WIDER), sync_id="s", as_of=NOON)
    expected = r"table things .* version 2 of its declaration.* knows version 1.* use the newer"
    with pytest.raises(NewerTableError, match=expected):
        lake.commit(THINGS, rows(), sync_id="s", as_of=NOON)
    with pytest.raises(NewerTableError, match=expected):
        lake.files("things")
    with pytest.raises(NewerTableError, match=expected):
        lake.read("things")
    assert newer.read("things").num_rows == 3


def test_a_table_that_another_program_wrote_is_named_and_not_taken_for_ours(lake: Lake) -> None:
    lake.commit(THINGS, rows(), sync_id="s", as_of=NOON)
    foreign = DeltaTable(lake.root / "things")
    foreign.delete("id = '00000'")
    with pytest.raises(LakeError, match=r"things .* version 1 was not committed by this program"):
        lake.read("things")


def test_files_hold_the_rows_for_any_parquet_reader(lake: Lake) -> None:
    lake.commit(THINGS, rows(40), sync_id="s", as_of=NOON)
    counted = duckdb.sql(
        f"SELECT count(*), count(DISTINCT id) FROM read_parquet({lake.files('things')!r})"
    ).fetchall()
    assert counted == [(40, 14)]


def test_any_delta_reader_sees_the_current_rows_and_can_skip_by_key(lake: Lake) -> None:
    lake.commit(THINGS, rows(10), sync_id="s1", as_of=NOON)
    lake.commit(THINGS, rows(12), sync_id="s2", as_of=NOON)
    stored = DeltaTable(lake.root / "things")
    assert stored.to_pyarrow_table()["id"].to_pylist() == lake.read("things")["id"].to_pylist()
    (added,) = pa.table(stored.get_add_actions(flatten=True)).to_pylist()
    assert added["num_records"] == 12
    assert (added["min.id"], added["max.id"]) == ("00000", "00003")
    assert DeltaTable(lake.root / "things", version=0).version() == 0
    assert (
        pa.table(
            DeltaTable(lake.root / "things", version=0).get_add_actions(flatten=True)
        ).to_pylist()[0]["num_records"]
        == 10
    )


def test_wide_rows_are_written_in_small_groups_and_narrow_ones_in_large(tmp_path: Path) -> None:
    count = 40_000
    lake = Lake(tmp_path, {"things": THINGS}, file_rows=count)
    lake.commit(THINGS, rows(count), sync_id="s", as_of=NOON)
    narrow = pq.ParquetFile(lake.files("things")[0]).metadata
    wide = pa.array([["x" * 2_000]] * count, pa.list_(pa.string()))
    lake.commit(THINGS, rows(count).set_column(3, "names", wide), sync_id="s", as_of=NOON)
    wider = pq.ParquetFile(lake.files("things")[0]).metadata
    assert (narrow.num_rows, narrow.num_row_groups) == (count, 1)
    assert (wider.num_rows, wider.num_row_groups) == (count, 3)


def test_descriptions_reach_delta_where_other_engines_look_for_them(lake: Lake) -> None:
    lake.commit(THINGS, rows(), sync_id="s", as_of=NOON)
    stored = DeltaTable(lake.root / "things")
    assert stored.metadata().description == "Things."
    fields = {field.name: field.metadata for field in stored.schema().fields}
    assert fields["seen"] == {"comment": "Seen."}


def test_replaced_files_stay_for_the_grace_and_go_after_it(lake: Lake) -> None:
    lake.commit(THINGS, rows(5), sync_id="s1", as_of=NOON)
    old = lake.files("things")
    lake.commit(THINGS, rows(6), sync_id="s2", as_of=NOON)
    orphan = lake.root / "things" / "part-00000-left-by-a-killed-commit.parquet"
    orphan.write_bytes(b"PAR1")
    assert lake.maintain("things") == 0
    assert Path(old[0]).exists()
    long_ago = (NOON - timedelta(days=300)).timestamp()
    os.utime(orphan, (long_ago, long_ago))
    assert lake.maintain("things") == 1
    assert not orphan.exists()
    before = lake.info("things")
    assert lake.maintain("things", grace=timedelta(0)) == 1
    assert not Path(old[0]).exists()
    assert lake.info("things") == before
    assert lake.read("things").num_rows == 6


def test_a_hundred_commits_leave_the_last_one_readable(lake: Lake) -> None:
    # Delta writes a checkpoint every hundred commits; the metadata must outlive it.
    for number in range(103):
        lake.commit(THINGS, rows(2), sync_id=f"s{number}", as_of=NOON, cursor=str(number))
    info = lake.info("things")
    assert info is not None
    assert (info.version, info.cursor) == (102, "102")
    assert list((lake.root / "things" / "_delta_log").glob("*.checkpoint.parquet"))
    assert lake.read("things").num_rows == 2


def test_the_log_carries_the_cursor_in_the_same_file_as_the_data(lake: Lake) -> None:
    lake.commit(THINGS, rows(), sync_id="s", as_of=NOON, cursor="https://delta/1")
    actions = [json.loads(line) for line in log(lake)[-1].read_text().splitlines()]
    assert any("add" in action for action in actions)
    said = next(action["commitInfo"] for action in actions if "commitInfo" in action)
    assert said["entra_pipeline"]["cursor"] == "https://delta/1"


@pytest.mark.soak
def test_eight_million_rows_come_back_in_key_order(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    table = get("group_members")
    count = 8_000_000
    chosen = random.Random(3)
    digits = chosen.randbytes(16 * count).hex().encode()
    offsets = pa.array(range(0, 32 * count + 1, 32), pa.int32()).buffers()[1]
    members = pa.StringArray.from_buffers(count, offsets, pa.py_buffer(digits))
    groups = members.slice(0, count // 50)
    given = pa.table(
        {
            "group_id": groups.take(pa.array([i % len(groups) for i in range(count)], pa.int32())),
            "member_id": members,
            "member_kind": pa.repeat("user", count),
        }
    )
    commit = lake.commit(table, given, sync_id="s", as_of=NOON)
    found = duckdb.sql(
        f"SELECT count(*) FROM read_parquet({lake.files('group_members')!r})"
    ).fetchall()
    assert found == [(commit.rows,)]
    keys = lake.read("group_members", ["group_id"]).column("group_id").to_pylist()
    assert keys == sorted(keys)
