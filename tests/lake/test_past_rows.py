"""Some rows of past states, against the whole states that were recorded on the side."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from entra_pipeline.lake import Lake
from entra_pipeline.lake.past import PastRows
from entra_pipeline.tables.model import TEXT, column
from tests.lake.series import Series
from tests.lake.states import TABLES, THINGS, Row, arrow, moment

EXTRA = column("extra", TEXT, "Declared since.")
# SQL, and the same in Python: of key columns, of others, of both, of none.
CONDITIONS: dict[str, list[tuple[str, Callable[[Row], bool]]]] = {
    "things": [
        ("true", lambda row: True),
        ("id IN ('003', '007')", lambda row: row["id"] in {"003", "007"}),
        ("part = 'p1'", lambda row: row["part"] == "p1"),
        ("flag", lambda row: bool(row["flag"])),
        ("weight IS NULL", lambda row: row["weight"] is None),
        ("flag IS NOT TRUE AND id < '005'", lambda row: not row["flag"] and row["id"] < "005"),
        ("place.city = 'Bonn'", lambda row: bool(row["place"] and row["place"]["city"])),
    ],
    "pairs": [
        ("true", lambda row: True),
        ("\"right\" = 'p2'", lambda row: row["right"] == "p2"),
    ],
}


@pytest.mark.parametrize("name", sorted(TABLES))
@pytest.mark.parametrize(("seed", "replay"), [(1, 200_000), (2, 12)])
def test_rows_that_meet_a_condition_are_those_of_the_whole_state(
    tmp_path: Path, name: str, seed: int, replay: int
) -> None:
    series = Series(tmp_path, TABLES[name], seed, spread=9)
    series.lake = Lake(tmp_path, TABLES, replay=replay)
    for _ in range(14):
        series.step()
    info = series.lake.info(name)
    assert info is not None
    assert bool(info.checkpoints) == (replay < 100), "with and without copies of the content"
    compared = 0
    for number in range(0, len(series.states), 2):
        whole = series.lake.as_of(name, moment(number))
        assert whole is not None
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            past = PastRows(series.lake, moment(number), connection)
            for at, (condition, fits) in enumerate(CONDITIONS[name]):
                past.put(f"found_{at}", TABLES[name], condition)
                key = ", ".join(f'"{part}"' for part in TABLES[name].key)
                found = connection.sql(f"FROM found_{at} ORDER BY {key}").to_arrow_table()
                expected = [row for row in whole.to_pylist() if fits(row)]
                assert found.cast(whole.schema).to_pylist() == expected, (number, condition)
                compared += len(expected)
    assert compared > 50


def test_only_the_columns_asked_for_and_those_of_key_and_condition_come(tmp_path: Path) -> None:
    series = Series(tmp_path, THINGS, 3)
    for _ in range(4):
        series.step()
    with duckdb.connect() as connection:
        PastRows(series.lake, moment(1), connection).put("few", THINGS, "flag", columns=["names"])
        shape = connection.execute("DESCRIBE few").fetchall()
    assert [row[0] for row in shape] == ["id", "flag", "part", "names"]


def test_of_a_time_before_anything_is_known_there_are_no_rows(tmp_path: Path) -> None:
    lake = Lake(tmp_path, TABLES)
    row = {column.name: None for column in THINGS.columns} | {"id": "a", "part": "b"}
    lake.commit(THINGS, arrow(THINGS, [row]), sync_id="s", as_of=moment(5))
    for number, rows in ((4, 0), (5, 1)):
        with duckdb.connect() as connection:
            PastRows(lake, moment(number), connection).put("found", THINGS)
            assert connection.execute("SELECT count(*) FROM found").fetchall() == [(rows,)]


def test_rows_are_found_though_all_are_gone_since(tmp_path: Path) -> None:
    lake = Lake(tmp_path, TABLES)
    pairs = TABLES["pairs"]
    row = {"left": "a", "right": "b"}
    lake.commit(pairs, arrow(pairs, [row]), sync_id="s1", as_of=moment(1))
    lake.commit(pairs, arrow(pairs, []), sync_id="s2", as_of=moment(2))
    for number, rows in ((1, 1), (2, 0)):
        with duckdb.connect() as connection:
            PastRows(lake, moment(number), connection).put("found", pairs, "\"left\" = 'a'")
            assert connection.execute("SELECT count(*) FROM found").fetchall() == [(rows,)]


def test_columns_declared_since_are_null(tmp_path: Path) -> None:
    """In a copy of the content and in a history that were written before."""
    series = Series(tmp_path, THINGS, 4)
    for _ in range(5):
        series.step()
    newer = replace(THINGS, version=THINGS.version + 1, columns=(*THINGS.columns, EXTRA))
    lake = Lake(tmp_path, {"things": newer})
    with duckdb.connect() as connection:
        PastRows(lake, moment(2), connection).put("found", newer, "extra IS NULL")
        found = connection.execute("SELECT count(*), count(extra) FROM found").fetchall()
    assert found == [(len(series.states[2]), 0)]
