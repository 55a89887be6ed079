"""Which windows are asked for, and what may be called covered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from entra_pipeline.extract.activity import windows
from entra_pipeline.extract.activity.windows import Pace, claim, to_read, window

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


def test_trouble_halves_the_window_down_to_a_minute() -> None:
    pace = Pace(HOUR)
    sizes = []
    while pace.trouble():
        sizes.append(pace.size / MINUTE)
    assert sizes == [30, 15, 7.5, 3.75, 1.875, 1]


def test_after_trouble_windows_grow_back_and_beyond_only_where_little_happens() -> None:
    pace = Pace(HOUR)
    pace.trouble()
    pace.trouble()
    pace.read(pages=20)
    pace.read(pages=20)
    pace.read(pages=20)
    assert pace.size == HOUR
    for _ in range(10):
        pace.read(pages=1)
    assert pace.size == DAY
    pace.read(pages=2)
    assert pace.size == DAY


def test_windows_begin_with_the_oldest_and_end_at_midnight() -> None:
    todo = [(NOON, NOON + 3 * DAY), (NOON + 5 * DAY, NOON + 6 * DAY)]
    assert window(todo, HOUR) == (NOON, NOON + HOUR)
    assert window(todo, DAY) == (NOON, NOON + 12 * HOUR)


def test_a_short_rest_is_taken_along() -> None:
    assert window([(NOON, NOON + 75 * MINUTE)], HOUR) == (NOON, NOON + 75 * MINUTE)
    assert window([(NOON, NOON + 95 * MINUTE)], HOUR) == (NOON, NOON + HOUR)


def test_what_is_covered_or_kept_by_nobody_is_not_asked_for() -> None:
    covered = [(NOON - 20 * DAY, NOON - 10 * DAY)]
    assert to_read((NOON - 90 * DAY, NOON + DAY), covered, NOON) == [
        (NOON - 30 * DAY, NOON - 20 * DAY),
        (NOON - 10 * DAY, NOON),
    ]
    assert to_read((NOON - 90 * DAY, NOON - 40 * DAY), [], NOON) == []


def claimed(start: datetime, end: datetime, seen: datetime | None = None) -> windows.Span | None:
    return claim((start, end), begun=NOON, ended=NOON, seen=seen, late=HOUR)


def test_the_last_minutes_are_not_called_covered() -> None:
    assert claimed(NOON - 2 * HOUR, NOON) == (NOON - 2 * HOUR, NOON - HOUR)
    assert claimed(NOON - 30 * MINUTE, NOON) is None


def test_an_empty_window_of_long_ago_proves_nothing_until_an_older_event_was_seen() -> None:
    old = (NOON - 10 * DAY, NOON - 9 * DAY)
    assert claimed(*old) is None
    assert claimed(*old, seen=NOON - 9.5 * DAY) == (NOON - 9.5 * DAY, NOON - 9 * DAY)
    assert claimed(*old, seen=NOON - 12 * DAY) == old
    assert claimed(NOON - 8 * DAY, NOON - 6 * DAY) == (NOON - 7 * DAY, NOON - 6 * DAY)
