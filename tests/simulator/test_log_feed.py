"""The invented past: exact numbers a day, found by time, the same for the same seed."""

import itertools
import random
from collections.abc import Sequence

import pytest

from entra_pipeline.simulator.conformance import violations
from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.generate import generate
from entra_pipeline.simulator.logs.audits import InventedAudits
from entra_pipeline.simulator.logs.feed import BLOCK, Feed, Recorded, Span
from entra_pipeline.simulator.logs.provisioning import Provisionings
from entra_pipeline.simulator.logs.schedule import (
    DAY,
    HOUR,
    TICK,
    Schedule,
    fraction_of,
    second_of,
    ticks_of,
)
from entra_pipeline.simulator.logs.sign_ins import SignIns
from entra_pipeline.simulator.odata.filter import instant
from entra_pipeline.simulator.wire import decode_json

FAR = 1 << 62
DAY_0 = 20_780


@pytest.mark.parametrize("per_day", [1, 2, 7, 999, 20_011, 1_000_000])
def test_a_day_has_exactly_its_events_in_order(per_day: int) -> None:
    schedule = Schedule(per_day)
    first, end = schedule.first_from(DAY_0 * DAY), schedule.first_from((DAY_0 + 1) * DAY)
    assert end - first == per_day
    step = max(1, per_day // 2000)
    moments = [schedule.moment(number) for number in range(first, end, step)]
    assert moments == sorted(moments)
    assert DAY_0 * DAY <= moments[0] <= moments[-1] < (DAY_0 + 1) * DAY


@pytest.mark.parametrize("per_day", [1, 3, 500])
def test_an_event_is_found_by_its_time_and_by_any_before_it(per_day: int) -> None:
    schedule = Schedule(per_day)
    for number in range(DAY_0 * per_day, DAY_0 * per_day + 2 * per_day):
        at = schedule.moment(number)
        assert schedule.first_from(at) <= number < schedule.first_from(at + 1)
        assert schedule.moment(schedule.first_from(at)) == at


def test_no_events_a_day_are_none_ever() -> None:
    assert Schedule(0).first_from(DAY_0 * DAY) == Schedule(0).first_from(FAR) == 0


def test_more_happens_by_day_than_by_night() -> None:
    schedule = Schedule(10_000)
    at = DAY_0 * DAY

    def between(first: int, last: int) -> int:
        return schedule.first_from(at + last * HOUR) - schedule.first_from(at + first * HOUR)

    assert between(8, 16) > 5 * between(20, 24) > 0


def test_times_survive_being_written_and_read() -> None:
    for ticks in (DAY_0 * DAY + 1, DAY_0 * DAY + 86_399 * TICK + 9_999_999):
        assert ticks_of(instant(fraction_of(ticks))) == ticks
        assert ticks_of(instant(second_of(ticks))) == ticks // TICK * TICK
    assert ticks_of(instant("2026-11-23T10:00:00+02:00")) == ticks_of("2026-11-23T08:00:00")


def numbers(block: int, policies: bool) -> Sequence[bytes]:
    """Events that say their number."""
    return [b"%d" % number for number in range(block * BLOCK, (block + 1) * BLOCK)]


def drain(feed: Feed, span: Span, count: int, *, ascending: bool) -> list[bytes]:
    rows: list[bytes] = []
    while span:
        taken = feed.take(span, count, ascending=ascending, policies=True)
        assert len(taken) <= count
        rows += taken
    return rows


@pytest.mark.parametrize("seed", range(12))
def test_any_window_in_any_pieces_is_what_a_list_would_give(seed: int) -> None:
    rng = random.Random(seed)
    schedule = Schedule(rng.choice((40, 700)))
    recorded = Recorded()
    start = DAY_0 * DAY
    held: list[tuple[int, int, bytes]] = []
    resolution = rng.choice((1, TICK))
    for _ in range(rng.choice((0, 1, 60))):
        at = recorded.stamp((recorded.ticks or [start])[-1] + rng.randrange(DAY // 30))
        row = b"r%d" % at
        recorded.add(at, row)
        held.append((at, 1, row))
    feed = Feed(schedule, numbers, recorded, beginning=start, resolution=resolution)
    for number in range(schedule.first_from(start), schedule.first_from(start + 3 * DAY)):
        held.append((schedule.moment(number), 0, b"%d" % number))
    held.sort()
    for _ in range(12):
        first = start + rng.randrange(-DAY, 3 * DAY)
        last = first + rng.choice((0, HOUR, DAY, 2 * DAY))
        now = start + 3 * DAY - 1
        expected = [
            row
            for at, _, row in held
            if first <= at // resolution * resolution <= last and at <= now
        ]
        up = drain(feed, feed.span(first, last, now), rng.choice((1, 7, 400)), ascending=True)
        down = drain(feed, feed.span(first, last, now), rng.choice((3, 50)), ascending=False)
        assert up == expected
        assert down == expected[::-1]


def test_late_events_come_late_and_then_stay() -> None:
    schedule, recorded = Schedule(20_000), Recorded()
    feed = Feed(schedule, numbers, recorded, beginning=0, lag=60 * TICK, late=1200 * TICK)
    window = (DAY_0 * DAY + 9 * HOUR, DAY_0 * DAY + 10 * HOUR - 1)
    whole = set(drain(feed, feed.span(*window, FAR // 2), 100, ascending=True))
    seen: list[set[bytes]] = []
    for minutes in range(0, 85, 3):
        now = window[0] + minutes * 60 * TICK
        rows = drain(feed, feed.span(*window, now), 100, ascending=False)
        assert len(set(rows)) == len(rows)
        seen.append(set(rows))
        newest = max((schedule.moment(int(row)) for row in rows), default=0)
        assert newest <= now - 60 * TICK
    for before, after in itertools.pairwise(seen):
        assert before <= after
    assert seen[-1] == whole
    # Half an hour into the window most, but not all, of what happened so far is there.
    now = window[0] + 32 * 60 * TICK
    there = set(drain(feed, feed.span(*window, now), 100, ascending=True))
    due = {row for row in whole if schedule.moment(int(row)) <= now - 60 * TICK}
    assert 0.9 * len(due) < len(there) < len(due)


KINDS = (
    (SignIns, "signIn", "createdDateTime"),
    (InventedAudits, "directoryAudit", "activityDateTime"),
    (Provisionings, "provisioningObjectSummary", "activityDateTime"),
)


@pytest.mark.parametrize(("kind", "type_name", "time"), KINDS)
def test_invented_events_are_what_graph_declares(
    kind: type[SignIns] | type[InventedAudits] | type[Provisionings], type_name: str, time: str
) -> None:
    directory = Directory(generate(users=120, groups=60, seed=3))
    schedule = Schedule(5000)
    made = kind(directory, schedule, 3)
    assert made.possible
    ids: set[str] = set()
    for block in (400_000, 400_001, 400_017):
        rows = made.block(block, True)
        assert len(rows) == BLOCK
        for number, row in enumerate(rows, block * BLOCK):
            event = decode_json(row)
            assert list(violations(event, type_name)) == []
            assert event[time] in (
                second_of(schedule.moment(number)),
                fraction_of(schedule.moment(number)),
            )
            ids.add(event["id"])
        assert rows == kind(directory, schedule, 3).block(block, True)
        assert rows != kind(directory, schedule, 4).block(block, True)
    assert len(ids) == 3 * BLOCK


def test_an_empty_tenant_invents_nothing() -> None:
    directory = Directory(generate(users=0, groups=0, seed=3))
    assert not any(kind(directory, Schedule(10), 3).possible for kind, _, _ in KINDS)
