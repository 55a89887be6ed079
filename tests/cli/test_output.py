"""Values on their way to people, to programs and to files."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from entra_pipeline.cli import output
from entra_pipeline.cli.exits import CliError
from entra_pipeline.cli.export import Format, write

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("rows", pa.int64()),
        ("at", pa.timestamp("us", "UTC")),
        ("names", pa.list_(pa.string())),
        ("plan", pa.struct([("at", pa.timestamp("us", "UTC")), ("on", pa.bool_())])),
    ]
)
NOON = datetime(2026, 1, 2, 12, 0, 30, tzinfo=UTC)
ROWS: list[dict[str, Any]] = [
    {"id": 'a, "b"', "rows": 1, "at": NOON, "names": ["x", "ü"], "plan": {"at": NOON, "on": True}},
    {"id": "c", "rows": None, "at": None, "names": None, "plan": None},
]


def batches() -> list[pa.RecordBatch]:
    return [pa.RecordBatch.from_pylist([row], SCHEMA) for row in ROWS]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (NOON, "2026-01-02T12:00:30Z"),
        (NOON.replace(tzinfo=None), "2026-01-02T12:00:30Z"),
        (NOON.astimezone(timezone(timedelta(hours=5))), "2026-01-02T12:00:30Z"),
        (date(2026, 1, 2), "2026-01-02"),
        (timedelta(minutes=2), 120.0),
        (Decimal("3"), 3),
        (Decimal("3.5"), 3.5),
        (b"\x01\xff", "01ff"),
    ],
)
def test_what_json_lacks_becomes_text_or_number(value: Any, expected: Any) -> None:
    assert output.plain(value) == expected


def test_a_document_with_infinities_and_odd_keys_is_still_strict_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.print_json({"a": float("nan"), 1: [float("inf"), NOON], "set": {2}})
    assert json.loads(capsys.readouterr().out) == {
        "a": None,
        "1": [None, "2026-01-02T12:00:30Z"],
        "set": [2],
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (True, "yes"),
        (1234567, "1,234,567"),
        (0.5, "0.5"),
        (NOON, "2026-01-02 12:00"),
        (["a", "b"], "a, b"),
        ({"a": 1}, '{"a": 1}'),
    ],
)
def test_people_see_values_written_for_people(value: Any, expected: str) -> None:
    assert output.cell(value) == expected


def test_csv_quotes_text_and_writes_lists_as_json_and_times_as_rfc_3339(tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    assert write(batches(), SCHEMA, Format.CSV, file) == 2
    first, second = csv.DictReader(io.StringIO(file.read_text()))
    assert first["id"] == 'a, "b"'
    assert first["at"] == "2026-01-02T12:00:30Z"
    assert json.loads(first["names"]) == ["x", "ü"]
    assert json.loads(first["plan"]) == {"at": "2026-01-02T12:00:30Z", "on": True}
    assert (second["rows"], second["at"], second["names"]) == ("", "", "")


def test_json_is_one_array_of_objects(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    assert write(batches(), SCHEMA, Format.JSON, file) == 2
    first, second = json.loads(file.read_text())
    assert first["at"] == "2026-01-02T12:00:30Z"
    assert first["names"] == ["x", "ü"]
    assert second == {"id": "c", "rows": None, "at": None, "names": None, "plan": None}


def test_json_of_nothing_is_an_empty_array(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    assert write([], SCHEMA, Format.JSON, file) == 0
    assert json.loads(file.read_text()) == []


def test_csv_of_nothing_is_its_header(tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    assert write([], SCHEMA, Format.CSV, file) == 0
    assert file.read_text() == '"id","rows","at","names","plan"\n'


def test_parquet_keeps_types(tmp_path: Path) -> None:
    file = tmp_path / "out.parquet"
    assert write(batches(), SCHEMA, Format.PARQUET, file) == 2
    table = pq.read_table(file)
    assert table.schema.field("at").type == pa.timestamp("us", "UTC")
    assert table.to_pylist() == ROWS


def test_an_export_that_breaks_leaves_the_former_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    file.write_text("former")

    def broken() -> Any:
        yield pa.RecordBatch.from_pylist(ROWS[:1], SCHEMA)
        raise ValueError("the source broke")

    with pytest.raises(ValueError, match="the source broke"):
        write(broken(), SCHEMA, Format.CSV, file)
    assert file.read_text() == "former"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.csv"]


@pytest.mark.parametrize("name", ["", "missing/out.csv"])
def test_an_export_to_an_impossible_place_names_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(CliError, match="directory"):
        write(batches(), SCHEMA, Format.CSV, tmp_path / name)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[2JMallory", "\\x1b[2JMallory"),
        ("Mallory\nrole  Global Reader", "Mallory\\nrole  Global Reader"),
        ("\u202eyrollaM", "\\u202eyrollaM"),
        ("[red]Mallory[/]", "[red]Mallory[/]"),
    ],
)
def test_a_name_chosen_to_fool_a_terminal_is_shown_as_it_is(
    capsys: pytest.CaptureFixture[str], name: str, shown: str
) -> None:
    output.print_table(["Name"], [[name]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == [shown]
