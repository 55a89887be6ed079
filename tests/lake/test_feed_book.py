"""The event feed's book: events once, refreshes that end or not, deliveries in order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from entra_pipeline.lake import DataDirectory
from entra_pipeline.lake import feed as feeds
from entra_pipeline.lake.feed import Feed
from entra_pipeline.lake.feed_model import Event, Heard, Poison, State

BEGIN = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    return DataDirectory.claim(tmp_path / "data", "tenant")


@pytest.fixture
def feed(directory: DataDirectory, clock: Clock) -> Feed:
    return Feed(directory, now=clock)


def event(number: int, *tables: str, minutes: float = 0) -> Event:
    return Event(
        id=f"Directory_{number}",
        time=BEGIN + timedelta(minutes=minutes),
        activity="Add member to group",
        operation="Assign",
        service="Core Directory",
        actor_kind="user",
        actor_id="actor",
        targets=("one", "two"),
        tables=tables or ("group_members",),
        correlation_id="c",
    )


def states(feed: Feed) -> list[str]:
    return [each.state.value for each in feed.events()]


def test_an_event_heard_twice_is_kept_once(feed: Feed) -> None:
    first = feed.hear(Heard([event(1), event(2)]), tell=True)
    again = feed.hear(Heard([event(2), event(3, minutes=-5)]), tell=True)

    assert [each.id for each in first.events] == ["Directory_1", "Directory_2"]
    assert [each.id for each in again.events] == ["Directory_3"]
    assert [each.id for each in feed.events()] == ["Directory_1", "Directory_2", "Directory_3"]
    assert [d.event.id for d in feed.due()] == ["Directory_1", "Directory_2", "Directory_3"]


def test_events_come_back_as_they_were_told(feed: Feed) -> None:
    feed.hear(Heard([event(1, "users", "groups")]))

    found = feed.events()[0]

    assert found.heard == BEGIN
    assert (found.targets, found.tables) == (("one", "two"), ("users", "groups"))
    assert found.to_json()["actor"] == {"kind": "user", "id": "actor"}
    assert found.to_json()["time"] == "2026-11-23T12:00:00Z"


def test_events_are_asked_for_by_time_and_by_number(feed: Feed) -> None:
    feed.hear(Heard([event(n, minutes=n) for n in range(5)]))
    half = BEGIN + timedelta(minutes=2, microseconds=1)

    assert [e.id for e in feed.events(since=half)] == ["Directory_3", "Directory_4"]
    assert [e.id for e in feed.events(limit=1)] == ["Directory_4"]
    last = feed.events(limit=2)[0].sequence
    assert [e.id for e in feed.events(after=last)] == ["Directory_4"]


def test_one_request_stands_for_all_that_waits(feed: Feed) -> None:
    feed.hear(Heard([event(1, "users"), event(2, "groups", "users")]))

    request = feed.request()

    assert request is not None
    assert request.tables == ("groups", "users")
    assert feed.request() is None
    feed.hear(Heard([event(3)]))
    assert states(feed) == ["requested", "requested", "waiting"]
    assert feed.end(request.id, "succeeded") is State.REFRESHED
    assert states(feed) == ["refreshed", "refreshed", "waiting"]
    assert feed.open_requests() == []


def test_events_of_a_failed_request_wait_again_and_are_given_up_at_last(
    feed: Feed, clock: Clock
) -> None:
    feed.hear(Heard([event(1)]))
    for failures in range(1, 4):
        request = feed.request()
        assert request is not None
        assert request.failures == failures - 1
        clock.move(minutes=1)
        feed.end(request.id, "failed", most_failures=3)
        assert states(feed) == (["waiting"] if failures < 3 else ["given up"])
        assert feed.last_failure() == ((failures, clock.now) if failures < 3 else None)
    assert feed.request() is None


def test_a_lost_request_counts_as_no_failure(feed: Feed) -> None:
    feed.hear(Heard([event(1)]))
    for _ in range(10):
        request = feed.request()
        assert request is not None
        feed.end(request.id, "lost", most_failures=3)
    assert states(feed) == ["waiting"]


def test_a_poisoned_event_is_kept_once_with_its_reason(feed: Feed) -> None:
    for _ in range(3):
        feed.hear(Heard(poisoned=[Poison("x", "no time", '{"name": "Anna"}' + "x" * 100_000)]))

    found = feed.poisoned()
    assert [(each.id, each.reason) for each in found] == [("x", "no time")]
    assert len(found[0].body) == 65_536
    assert "Anna" not in str(found[0].to_json())
    assert feed.summary().poisoned == 1


def test_unknown_activities_are_counted_by_event(feed: Feed) -> None:
    for _ in range(3):
        feed.hear(Heard(unknown=[("1", "sparkle"), ("2", "sparkle"), ("3", "glow")]))
    assert feed.summary().unknown == {"sparkle": 2, "glow": 1}


def test_what_waits_is_never_forgotten(feed: Feed, clock: Clock) -> None:
    feed.hear(Heard([event(1)], [Poison("x", "no", "{}")], [("1", "sparkle")]))
    request = feed.request()
    assert request is not None
    feed.end(request.id, "succeeded")
    feed.hear(Heard([event(2)]))
    clock.move(days=40)

    feed.forget(clock.now - timedelta(days=30))

    assert [each.id for each in feed.events()] == ["Directory_2"]
    assert (feed.poisoned(), feed.summary().unknown) == ([], {})


def test_a_delivery_that_failed_waits_and_holds_the_others(feed: Feed, clock: Clock) -> None:
    feed.hear(Heard([event(1), event(2)]), tell=True)

    feed.postpone(1, "HTTP 503", timedelta(seconds=30), all_of_them=True)

    assert feed.due() == []
    assert feed.next_delivery() == clock.now + timedelta(seconds=30)
    clock.move(seconds=30)
    assert [(d.event.sequence, d.attempts) for d in feed.due()] == [(1, 1), (2, 0)]
    feed.delivered(1)
    feed.give_up(2, "HTTP 400")
    summary = feed.summary()
    assert (summary.deliveries, summary.undelivered) == (0, 1)
    assert summary.delivery_trouble == "HTTP 400"


def test_a_refused_delivery_does_not_hold_the_others(feed: Feed) -> None:
    feed.hear(Heard([event(1), event(2)]), tell=True)
    feed.postpone(1, "HTTP 400", timedelta(seconds=30), all_of_them=False)
    assert [d.event.sequence for d in feed.due()] == [2]


def test_a_dead_listener_leaves_a_bounded_queue(feed: Feed) -> None:
    most = feeds.MOST_DELIVERIES
    feed.hear(Heard([event(n) for n in range(most)]), tell=True)
    feed.hear(Heard([event(n) for n in range(most, most + 3)]), tell=True)
    summary = feed.summary()
    assert (summary.deliveries, summary.undelivered) == (most, 3)
    assert [d.event.sequence for d in feed.due(1)] == [4]


def test_readers_do_not_make_a_feed(directory: DataDirectory) -> None:
    assert feeds.existing(directory) is None
    Feed(directory)
    assert feeds.existing(directory) is not None


def test_nothing_is_lost_between_two_processes(directory: DataDirectory, clock: Clock) -> None:
    Feed(directory, now=clock).hear(Heard([event(1)]), tell=True)
    other = Feed(directory, now=clock)
    assert len(other.events()) == 1
    assert len(other.due()) == 1
