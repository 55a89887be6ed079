"""Amendments and history, against states recorded on the side."""

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from entra_pipeline.lake import Commit, Lake, LakeError, RowsError, change_schema
from entra_pipeline.tables import Table
from entra_pipeline.tables.model import TEXT, TEXTS, column, structs
from tests.lake.series import Series
from tests.lake.states import NOON, TABLES, THINGS, Row, arrow, moment, rows_of


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", TABLES)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_a_random_series_is_told_and_every_moment_of_it_is_given_back(
    tmp_path: Path, table: Table, seed: int
) -> None:
    series = Series(tmp_path, table, seed)
    for _ in range(12):
        series.step()
    series.check()


def test_the_content_amended_has_the_digest_of_the_content_committed(tmp_path: Path) -> None:
    series = Series(tmp_path / "amended", THINGS, seed=11)
    for number in range(8):
        series.step()
        amended = series.lake.info("things")
        assert amended is not None
        rows = arrow(THINGS, rows_of(series.states[-1])[::-1])
        other = Lake(tmp_path / f"committed{number}", TABLES)
        assert other.commit(THINGS, rows, sync_id="s", as_of=NOON).info.digest == amended.digest


def row(identity: str, part: str = "p0", **values: object) -> Row:
    return dict.fromkeys(THINGS.schema().names) | {"id": identity, "part": part} | values


def put(lake: Lake, number: int, *rows: Row) -> Commit:
    return lake.commit(
        THINGS, arrow(THINGS, list(rows)), sync_id=f"s{number}", as_of=moment(number)
    )


def change(lake: Lake, number: int, *rows: Row, **others: Any) -> Commit:
    return lake.amend(
        THINGS,
        upserts=arrow(THINGS, list(rows)),
        sync_id=f"s{number}",
        as_of=moment(number),
        **others,
    )


def files(lake: Lake) -> set[str]:
    return {str(path) for path in lake.root.glob("things*/*.parquet")}


def test_an_update_says_which_columns_changed_and_what_the_row_was(lake: Lake) -> None:
    old = row("a", names=["x"], place={"city": None, "since": None, "inner": None})
    put(lake, 0, old, row("b"))
    commit = change(lake, 1, {**old, "flag": True, "place": None}, row("b"), row("c"))
    assert commit.changes == 2
    updated, inserted = lake.changes("things").to_pylist()
    assert updated == {
        "operation": "update",
        "sync_id": "s1",
        "at": moment(1),
        "changed": ["flag", "place"],
        **old,
        "flag": True,
        "place": None,
        "before": {name: old[name] for name in ("flag", "names", "weight", "plans", "place")},
    }
    assert (inserted["operation"], inserted["changed"], inserted["before"]) == (
        "insert",
        None,
        None,
    )
    assert lake.changes("things").schema == change_schema(THINGS)


def test_the_first_content_is_no_change_and_before_it_nothing_is_known(lake: Lake) -> None:
    assert lake.changes("things").num_rows == 0
    assert lake.as_of("things", NOON) is None
    put(lake, 1, row("a"))
    assert lake.changes("things").num_rows == 0
    assert lake.as_of("things", moment(0)) is None
    found = lake.as_of("things", moment(1))
    assert found is not None
    assert found["id"].to_pylist() == ["a"]
    assert not (lake.root / "things_changes").exists()


def test_changes_are_those_after_the_one_moment_and_not_after_the_other(lake: Lake) -> None:
    put(lake, 0)
    for number in (1, 2, 3):
        change(lake, number, row(f"a{number}"))
    told = lake.changes("things", after=moment(1), until=moment(2))
    assert told["id"].to_pylist() == ["a2"]
    finer = timedelta(microseconds=1)
    assert lake.changes("things", after=moment(1) - finer, until=moment(3) - finer)[
        "id"
    ].to_pylist() == ["a1", "a2"]


def test_some_columns_of_a_past_moment_come_in_the_order_asked_for(lake: Lake) -> None:
    put(lake, 0, row("b", flag=True), row("a", weight=1.0))
    change(lake, 1, row("b", flag=False), deletes=pa.table({"id": ["a"]}))
    found = lake.as_of("things", moment(0), ["weight", "flag"])
    assert found is not None
    assert found.to_pylist() == [{"weight": 1.0, "flag": None}, {"weight": None, "flag": True}]


def test_an_amendment_of_nothing_new_writes_no_file_and_moves_the_cursor_on(lake: Lake) -> None:
    put(lake, 0, row("a"), row("b"))
    before = files(lake)
    nothing = change(lake, 1, cursor="c1")
    same = change(lake, 2, row("a"), deletes=pa.table({"id": ["z"]}), cursor="c2")
    assert (nothing.changed, same.changed, same.changes) == (False, False, 0)
    assert files(lake) == before
    info = lake.info("things")
    assert info == same.info
    assert info is not None
    assert (info.cursor, info.sync_id, info.rows, info.as_of) == ("c2", "s2", 2, moment(2))
    assert (info.full_as_of, info.changed_as_of) == (moment(0), moment(0))


def test_reading_whole_is_dated_apart_from_amending(lake: Lake) -> None:
    put(lake, 0, row("a"))
    assert change(lake, 1, row("b")).info.full_as_of == moment(0)
    assert put(lake, 2, row("b")).info.full_as_of == moment(2)
    assert put(lake, 3, row("b")).info.full_as_of == moment(3)
    info = lake.info("things")
    assert info is not None
    assert (info.first_as_of, info.changed_as_of) == (moment(0), moment(2))


def test_what_is_deleted_and_upserted_at_once_stays(lake: Lake) -> None:
    put(lake, 0, row("a", "p0"), row("a", "p1"), row("b", "p0"), row("c", "p0"))
    commit = change(
        lake,
        1,
        row("a", "p1", flag=True),
        row("a", "p1", flag=False),
        deletes=pa.table({"part": ["p0", "p0"], "id": ["a", "c"]}),
        within=("id", pa.array(["a"])),
    )
    assert (commit.duplicates, commit.changes) == (1, 3)
    assert [(r["id"], r["part"], r["flag"]) for r in lake.read("things").to_pylist()] == [
        ("a", "p1", False),
        ("b", "p0", None),
    ]


def test_all_rows_may_go_and_come_again(lake: Lake) -> None:
    put(lake, 0, row("a"), row("b"))
    change(lake, 1, within=("id", pa.array(["a", "b"])))
    assert lake.read("things").num_rows == 0
    change(lake, 2, row("c"))
    assert lake.read("things")["id"].to_pylist() == ["c"]
    for number, ids in ((0, ["a", "b"]), (1, []), (2, ["c"])):
        found = lake.as_of("things", moment(number))
        assert found is not None
        assert found["id"].to_pylist() == ids


def test_a_table_without_former_content_cannot_be_amended(lake: Lake) -> None:
    with pytest.raises(LakeError, match=r"things .* was never committed.* --full"):
        change(lake, 0, row("a"))
    assert lake.info("things") is None


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"deletes": pa.table({"who": ["a"]})}, "column who is not declared"),
        ({"deletes": pa.table({"id": [None, "a"]})}, "column id has nulls"),
        ({"deletes": pa.table({"names": [["a"]]})}, "column names is list"),
        ({"deletes": pa.table({"weight": ["heavy"]})}, "column weight does not fit"),
        ({"deletes": pa.table({"id": ["a"]}).select([])}, "have no columns"),
        ({"within": ("who", pa.array(["a"]))}, "column who is not declared"),
    ],
)
def test_deletes_that_do_not_fit_are_refused_and_the_table_stays(
    lake: Lake, others: dict[str, Any], message: str
) -> None:
    before = put(lake, 0, row("a")).info
    with pytest.raises(RowsError, match=message):
        change(lake, 1, row("b"), **others)
    with pytest.raises(RowsError, match="missing columns"):
        lake.amend(THINGS, upserts=pa.table({"id": ["a"]}), sync_id="s", as_of=NOON)
    assert lake.info("things") == before


def test_a_clock_set_back_does_not_disturb_the_order_of_changes(lake: Lake) -> None:
    put(lake, 10, row("a", weight=0.0))
    for step, number in enumerate((12, 11, 11, 13), 1):
        commit = change(lake, number, row("a", weight=float(step)))
        assert commit.info.as_of == moment(number)
    told = [(r["at"], r["weight"]) for r in lake.changes("things").to_pylist()]
    assert told == [(moment(12), 1.0), (moment(12), 2.0), (moment(12), 3.0), (moment(13), 4.0)]
    for number, weight in ((10, 0.0), (11, 0.0), (12, 3.0), (13, 4.0)):
        found = lake.as_of("things", moment(number))
        assert found is not None
        assert found["weight"].to_pylist() == [weight], number


WIDER = Table(
    name="things",
    doc="Things.",
    group="directory",
    key=("id", "part"),
    version=2,
    columns=(
        *THINGS.columns[:5],
        column("plans", structs(plan_id=TEXT, disabled=TEXTS, new=TEXT), "Plans."),
        THINGS.columns[6],
        column("added", TEXT, "Added."),
    ),
)


@pytest.mark.parametrize("evolving", [True, False])
def test_history_of_an_older_declaration_reads_in_todays_columns(
    lake: Lake, evolving: bool
) -> None:
    plan = {"plan_id": "x", "disabled": None}
    put(lake, 0, row("a", plans=[plan]), row("b"), row("c"))
    change(lake, 1, row("a", flag=True, plans=[plan, plan]), deletes=pa.table({"id": ["c"]}))
    newer = Lake(lake.root, {"things": WIDER})
    assert newer.changes("things")["added"].to_pylist() == [None, None]
    if evolving:
        assert newer.evolve("things")
    given = newer.info("things")
    assert given is not None
    assert (given.cursor, given.full_as_of, given.first_as_of) == (None, moment(0), moment(0))
    rows = [
        {**row(name), "added": name, "plans": plans}
        for name, plans in (("a", [{**plan, "new": "n"}]), ("b", None))
    ]
    newer.commit(WIDER, arrow(WIDER, rows), sync_id="s2", as_of=moment(2))
    told = newer.changes("things")
    assert told.schema == change_schema(WIDER)
    assert [(r["id"], r["changed"]) for r in told.to_pylist()] == [
        ("a", ["flag", "plans"]),
        ("c", None),
        ("a", ["flag", "plans", "added"]),
        ("b", ["added"]),
    ]
    for number in range(3):
        found = newer.as_of("things", moment(number))
        assert found is not None
        assert found.schema == WIDER.schema()
        plans = found["plans"].to_pylist()[0]
        assert len(plans) == [1, 2, 1][number]
        assert plans[0]["new"] == [None, None, "n"][number]
        assert found["added"].to_pylist() == [[None] * 3, [None] * 2, ["a", "b"]][number]
    stored = DeltaTable(lake.root / "things_changes")
    assert [f.name for f in stored.schema().fields] == change_schema(WIDER).names
    assert stored.to_pyarrow_table().num_rows == 4


def test_an_older_declaration_is_read_in_full_before_it_is_amended(lake: Lake) -> None:
    lake.commit(THINGS, arrow(THINGS, [row("a")]), sync_id="s", as_of=NOON, cursor="c")
    newer = Lake(lake.root, {"things": WIDER})
    info = newer.info("things")
    assert info is not None
    assert info.cursor is None
    with pytest.raises(LakeError, match=r"lacks columns declared since.* --full"):
        newer.amend(WIDER, upserts=arrow(WIDER, []), sync_id="s", as_of=NOON)


def test_commits_without_history_in_their_metadata_count_as_the_first(lake: Lake) -> None:
    put(lake, 5, row("a"))
    entry = lake.root / "things" / "_delta_log" / f"{0:020}.json"
    lines = [json.loads(line) for line in entry.read_text().splitlines()]
    said = next(line["commitInfo"]["entra_pipeline"] for line in lines if "commitInfo" in line)
    for name in ("full_as_of", "first_as_of", "known_since", "changed_as_of", "changes_version"):
        del said[name]
    said["digest"] = "worked out in another way"
    entry.write_text("\n".join(json.dumps(line) for line in lines))
    again = put(lake, 6, row("a"))
    assert (again.changed, again.info.first_as_of, again.info.full_as_of) == (
        False,
        moment(5),
        moment(6),
    )
    put(lake, 7, row("b"))
    found = lake.as_of("things", moment(5))
    assert found is not None
    assert found["id"].to_pylist() == ["a"]
    assert lake.as_of("things", moment(4)) is None


def test_any_delta_reader_sees_the_history_and_can_skip_by_time(lake: Lake) -> None:
    put(lake, 0)
    change(lake, 1, row("a"))
    change(lake, 2, row("b"))
    stored = DeltaTable(lake.root / "things_changes")
    assert sorted(stored.to_pyarrow_table()["id"].to_pylist()) == ["a", "b"]
    late = stored.to_pyarrow_table(filters=[("at", ">", moment(1))])
    assert late["id"].to_pylist() == ["b"]
    actions = pa.table(stored.get_add_actions(flatten=True)).to_pylist()
    assert sorted(a["min.at"] for a in actions) == [moment(1), moment(2)]


def test_a_change_nobody_committed_is_never_seen_and_is_dropped(lake: Lake) -> None:
    put(lake, 0, row("a"))

    def killed(number: int) -> None:
        """What a process leaves that dies between the history and the table's commit."""
        other = lake.root.parent / "other"
        shutil.rmtree(other, ignore_errors=True)
        shutil.copytree(lake.root, other)
        change(Lake(other, TABLES), number, row("never"))
        shutil.rmtree(lake.root / "things_changes", ignore_errors=True)
        shutil.copytree(other / "things_changes", lake.root / "things_changes")

    told: list[str] = []
    for number in range(1, 8, 2):
        killed(number)
        assert lake.changes("things")["id"].to_pylist() == told
        for earlier in range(number + 1):
            found = lake.as_of("things", moment(earlier))
            assert found is not None
            assert "never" not in found["id"].to_pylist()
        if number == 5:
            put(lake, number, *lake.read("things").to_pylist())  # nothing changed
        change(lake, number + 1, row(f"b{number}"))
        told.append(f"b{number}")
        assert lake.changes("things")["id"].to_pylist() == told
        stored = DeltaTable(lake.root / "things_changes")
        assert sorted(stored.to_pyarrow_table()["id"].to_pylist()) == told


def test_what_a_lake_has_just_added_is_known_without_reading_it_back(lake: Lake) -> None:
    states = [{"a": 1.0}, {"a": 2.0, "b": 1.0}, {"b": 3.0}, {"b": 3.0, "c": 1.0}]
    versions = []
    for number, state in enumerate(states):
        told = arrow(THINGS, [row(name, weight=weight) for name, weight in state.items()])
        lake.commit(THINGS, told, sync_id=f"s{number}", as_of=moment(number))
        info = lake.info("things")
        assert info is not None
        versions.append(info.changes_version)
    assert lake.recent("things", versions[0]) == lake.changes("things")
    assert lake.recent("things", versions[1]) is None  # a part of what it added
    other = Lake(lake.root, TABLES)
    assert other.recent("things", versions[0]) is None
    other.commit(THINGS, arrow(THINGS, []), sync_id="s9", as_of=moment(9))
    assert lake.recent("things", versions[0]) is None  # somebody added more
    assert other.recent("things", versions[-1]) == lake.changes("things", after=moment(3))
