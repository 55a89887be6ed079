"""Events in the lake: each id once in its day, what is covered, retention, interruption."""

from __future__ import annotations

import multiprocessing
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from entra_pipeline.lake import LakeError, NewerTableError, RowsError
from entra_pipeline.lake.events import Events
from entra_pipeline.lake.spans import Span, joined, missing
from entra_pipeline.tables import EVENTS, Status, Table
from entra_pipeline.tables.model import INT64, TEXT, TIME, column, structs

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
HAPPENINGS = Table(
    name="happenings",
    doc="Happenings.",
    group="activity",
    key=("id",),
    time="at",
    columns=(
        column("id", TEXT, "Id."),
        column("at", TIME, "When."),
        column("what", TEXT, "What."),
        column("details", structs(key=TEXT, value=TEXT), "Details."),
    ),
)
WIDER = Table(
    name="happenings",
    doc="Happenings.",
    group="activity",
    key=("id",),
    time="at",
    version=2,
    columns=(*HAPPENINGS.columns, column("added", INT64, "Added.")),
)


@pytest.fixture
def events(tmp_path: Path) -> Events:
    return Events(tmp_path, {"happenings": HAPPENINGS})


def happening(number: int, at: datetime, what: str = "it") -> dict[str, object]:
    return {
        "id": f"e{number:05}",
        "at": at,
        "what": what,
        "details": [{"key": "number", "value": str(number)}] if number % 2 else None,
    }


def table(rows: Iterable[dict[str, object]], declared: Table = HAPPENINGS) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=declared.schema())


def add(
    events: Events, rows: Iterable[dict[str, object]], covers: Span | None = None
) -> tuple[int, int, int]:
    """Commit and give (inserted, replaced, repeated)."""
    done = events.commit(HAPPENINGS, table(rows), sync_id="s", as_of=NOON + 9 * DAY, covers=covers)
    assert done is not None
    return done.inserted, done.replaced, done.repeated


def ids(events: Events, start: datetime | None = None, end: datetime | None = None) -> list[Any]:
    return events.read("happenings", start, end).column("id").to_pylist()


def test_events_are_kept_in_the_day_of_their_own_time(events: Events) -> None:
    late = NOON.replace(hour=23, minute=59, second=59, microsecond=999999)
    assert add(events, [happening(1, late), happening(2, late + timedelta(microseconds=1))]) == (
        2,
        0,
        0,
    )
    partitions = DeltaTable(events.root / "happenings").partitions()
    assert sorted(str(found["day"]) for found in partitions) == ["2026-11-20", "2026-11-21"]
    assert ids(events) == ["e00001", "e00002"]
    assert events.read("happenings").schema.equals(HAPPENINGS.schema())


def test_what_comes_again_is_not_written_again(events: Events) -> None:
    rows = [happening(number, NOON + number * HOUR) for number in range(20)]
    assert add(events, rows) == (20, 0, 0)
    before = events.files("happenings")
    assert add(events, reversed(rows)) == (0, 0, 20)
    assert events.files("happenings") == before
    assert add(events, [*rows[5:15], happening(20, NOON)]) == (1, 0, 10)
    assert sorted(ids(events)) == [f"e{number:05}" for number in range(21)]
    info = events.info("happenings")
    assert info is not None
    assert info.rows == 21


def test_an_event_with_other_content_takes_the_place_of_the_one_that_was_there(
    events: Events,
) -> None:
    add(events, [happening(number, NOON + number * HOUR) for number in range(6)])
    assert add(events, [happening(2, NOON + 2 * HOUR, "mended")]) == (0, 1, 0)
    assert events.read("happenings").column("what").to_pylist() == [
        "it",
        "it",
        "mended",
        "it",
        "it",
        "it",
    ]
    assert len(ids(events)) == 6


def test_of_one_id_that_came_twice_the_later_sight_stays(events: Events) -> None:
    assert add(events, [happening(1, NOON, "first"), happening(1, NOON, "second")]) == (1, 0, 1)
    assert events.read("happenings").column("what").to_pylist() == ["second"]


def test_a_late_event_lands_in_its_day_and_leaves_the_others_alone(events: Events) -> None:
    add(events, [happening(1, NOON), happening(3, NOON + 2 * DAY)])
    before = set(events.files("happenings"))
    assert add(events, [happening(2, NOON + HOUR)]) == (1, 0, 0)
    assert before < set(events.files("happenings"))
    assert ids(events) == ["e00001", "e00002", "e00003"]


def test_random_overlapping_readings_leave_each_event_once(events: Events) -> None:
    chosen = random.Random(7)
    everything = [happening(n, NOON + chosen.random() * 2 * DAY) for n in range(400)]
    seen: set[str] = set()
    for _ in range(30):
        start = NOON + chosen.random() * 2 * DAY
        brought = [row for row in everything if start <= row["at"] < start + 6 * HOUR]  # type: ignore[operator]
        chosen.shuffle(brought)
        brought += brought[:3]
        if brought:
            add(events, brought)
            seen |= {str(row["id"]) for row in brought}
    expected = sorted((r for r in everything if r["id"] in seen), key=lambda r: (r["at"], r["id"]))
    assert events.read("happenings").to_pylist() == table(expected).to_pylist()


def test_many_small_files_of_a_day_become_one(events: Events) -> None:
    for number in range(24):
        add(events, [happening(number, NOON + number * timedelta(minutes=1))])
    assert len(events.files("happenings")) <= 17
    assert ids(events) == [f"e{number:05}" for number in range(24)]
    assert events.maintain("happenings", grace=timedelta(0)) >= 17
    on_disk = {str(path) for path in (events.root / "happenings").glob("day=*/*.parquet")}
    assert on_disk == set(events.files("happenings"))
    assert len(ids(events)) == 24


def test_covered_spans_are_joined_and_kept_with_the_rows(events: Events) -> None:
    assert events.covered("happenings") == []
    add(events, [], (NOON, NOON + HOUR))
    add(events, [happening(1, NOON + 3 * HOUR)], (NOON + 3 * HOUR, NOON + 4 * HOUR))
    assert events.covered("happenings") == [
        (NOON, NOON + HOUR),
        (NOON + 3 * HOUR, NOON + 4 * HOUR),
    ]
    add(events, [], (NOON + HOUR, NOON + 3 * HOUR))
    assert events.covered("happenings") == [(NOON, NOON + 4 * HOUR)]
    assert len(ids(events)) == 1


def test_nothing_to_say_makes_no_commit(events: Events) -> None:
    done = events.commit(HAPPENINGS, table([]), sync_id="s", as_of=NOON)
    assert done is None
    assert events.info("happenings") is None


def test_reading_takes_a_span_and_opens_no_file_of_other_days(events: Events) -> None:
    add(events, [happening(number, NOON + number * DAY) for number in range(5)])
    assert ids(events, NOON + DAY, NOON + 3 * DAY) == ["e00001", "e00002"]
    assert len(events.files("happenings", NOON + DAY, NOON + 3 * DAY)) == 2
    only = events.read("happenings", columns=["what"])
    assert only.column_names == ["what"]
    assert only.num_rows == 5


def test_how_a_reading_ended_is_kept_and_touches_no_event(events: Events) -> None:
    add(events, [happening(1, NOON)], (NOON, NOON + HOUR))
    reason = "needs Microsoft Entra ID P1"
    events.note(HAPPENINGS, Status.UNLICENSED, sync_id="t", as_of=NOON + 10 * DAY, reason=reason)
    info = events.info("happenings")
    assert info is not None
    assert (info.status, info.reason, info.sync_id) == (Status.UNLICENSED, reason, "t")
    assert info.covered == ((NOON, NOON + HOUR),)
    assert ids(events) == ["e00001"]


def test_a_table_may_be_refused_before_it_ever_had_an_event(events: Events) -> None:
    events.note(HAPPENINGS, Status.FORBIDDEN, sync_id="t", as_of=NOON, permission="Things.Read")
    info = events.info("happenings")
    assert info is not None
    assert (info.rows, info.status, info.permission) == (0, Status.FORBIDDEN, "Things.Read")
    assert ids(events) == []
    assert add(events, [happening(1, NOON)]) == (1, 0, 0)


def test_old_days_are_forgotten_with_what_was_known_of_them(events: Events) -> None:
    start = NOON.replace(hour=0)
    rows = [happening(number, NOON + number * DAY) for number in range(5)]
    add(events, rows, (start, start + 5 * DAY))
    assert events.forget("happenings", NOON + 2 * DAY) == 2
    assert ids(events) == ["e00002", "e00003", "e00004"]
    assert events.covered("happenings") == [(start + 2 * DAY, start + 5 * DAY)]
    assert events.forget("happenings", NOON + 2 * DAY) == 0
    info = events.info("happenings")
    assert info is not None
    assert info.rows == 3
    events.maintain("happenings", grace=timedelta(0))
    assert len(list((events.root / "happenings").glob("day=*/*.parquet"))) == 3


def test_other_programs_read_the_stored_tables(events: Events) -> None:
    add(events, [happening(number, NOON + number * DAY) for number in range(3)])
    files = events.files("happenings")
    with duckdb.connect() as connection:
        found = connection.execute("SELECT count(DISTINCT id) FROM read_parquet(?)", [files])
        assert found.fetchone() == (3,)
    delta = DeltaTable(events.root / "happenings").to_pyarrow_table()
    assert delta.num_rows == 3
    assert set(delta.column_names) == {*HAPPENINGS.schema().names, "day"}


def test_columns_added_since_read_as_null_and_are_written_from_then_on(events: Events) -> None:
    add(events, [happening(1, NOON)], (NOON, NOON + HOUR))
    wider = Events(events.root, {"happenings": WIDER})
    assert wider.read("happenings").column("added").to_pylist() == [None]
    wider.commit(
        WIDER,
        table([{**happening(2, NOON + HOUR), "added": 2}], WIDER),
        sync_id="s",
        as_of=NOON + 9 * DAY,
    )
    assert wider.read("happenings").column("added").to_pylist() == [None, 2]
    assert wider.covered("happenings") == [(NOON, NOON + HOUR)]
    stored = [field.name for field in DeltaTable(events.root / "happenings").schema().fields]
    assert "added" in stored
    with pytest.raises(NewerTableError, match="version 2"):
        events.read("happenings")
    with pytest.raises(NewerTableError, match="version 2"):
        add(events, [happening(3, NOON)])


def test_events_without_a_time_are_refused_by_name(events: Events) -> None:
    with pytest.raises(RowsError, match="1 have no at"):
        add(events, [happening(1, NOON), {**happening(2, NOON), "at": None}])
    assert ids(events) == []


def test_a_commit_of_another_program_is_refused_by_name(events: Events) -> None:
    add(events, [happening(1, NOON)])
    DeltaTable(events.root / "happenings").delete("id = 'e00001'")
    with pytest.raises(LakeError, match="happenings"):
        events.covered("happenings")


def test_every_declared_table_of_events_can_be_stored(tmp_path: Path) -> None:
    events = Events(tmp_path)
    for declared in EVENTS.values():
        row = {"id": "one", declared.time: NOON}
        events.commit(declared, table([row], declared), sync_id="s", as_of=NOON)
        assert events.read(declared.name).to_pylist()[0]["id"] == "one"


def _write(root: Path, start: int) -> None:
    events = Events(root, {"happenings": HAPPENINGS})
    for number in range(start, start + 10):
        at = NOON + number * HOUR
        add(events, [happening(number, at)], (at, at + HOUR))


def test_processes_that_write_side_by_side_lose_nothing(events: Events) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(events.root, at)) for at in (0, 10)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert len(ids(events)) == 20
    assert events.covered("happenings") == [(NOON, NOON + 20 * HOUR)]


KILLED = """
    import sys
    from datetime import timedelta
    from pathlib import Path
    from tests.lake.test_events import HAPPENINGS, HOUR, NOON, add, happening
    from entra_pipeline.lake.events import Events

    events = Events(Path(sys.argv[1]), {"happenings": HAPPENINGS})
    number = 0
    while True:
        at = NOON + number * timedelta(minutes=1)
        add(events, [happening(number, at)], (at, at + timedelta(minutes=1)))
        number += 1
        print(number, flush=True)
"""


def test_a_killed_process_leaves_rows_and_spans_that_agree(events: Events) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(events.root)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        said = 0
        while said < 25:
            said = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    found = ids(events)
    assert len(found) >= 25
    minute = timedelta(minutes=1)
    assert events.covered("happenings") == [(NOON, NOON + len(found) * minute)]
    at = NOON + 1000 * minute
    assert add(events, [happening(1000, at)]) == (1, 0, 0)  # the lock died with its holder


moments = st.integers(0, 30).map(lambda n: NOON + n * HOUR)
spans = st.lists(st.tuples(moments, moments), max_size=8)


@settings(deadline=None)  # a busy machine is no fault
@given(spans, moments, moments)
def test_missing_and_covered_together_are_the_whole(
    covered: list[Span], start: datetime, end: datetime
) -> None:
    def hours(found: Iterable[Span]) -> list[datetime]:
        return [NOON + n * HOUR for a, b in found for n in range(31) if a <= NOON + n * HOUR < b]

    left = missing((start, end), covered)
    assert sorted(hours(left)) == sorted(set(hours([(start, end)])) - set(hours(covered)))
    assert joined(left) == left
    assert hours(joined(covered)) == sorted(set(hours(covered)))
