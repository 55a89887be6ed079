"""Directory audits become events, once, whatever order, doubles and nonsense they come with."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from entra_pipeline.extract import listening
from entra_pipeline.extract.hints import NotAnAuditError
from entra_pipeline.extract.listening import listen, read
from entra_pipeline.lake import DataDirectory
from entra_pipeline.lake.feed import Feed
from entra_pipeline.msgraph import GraphClient, Service
from entra_pipeline.simulator.process import running
from tests.extract.support import Rig
from tests.extract.test_hints import GROUP, USER, audit

ACTOR = "99999999-9999-4999-8999-000000000001"
UNPACED = {Service.REPORTS: (100_000, 1.0)}


def told(number: int, minutes: float, name: str = "Add member to group") -> dict[str, Any]:
    """An audit of that many minutes ago."""
    at = datetime.now(UTC) - timedelta(minutes=minutes)
    return {
        **audit(name, ("User", USER), ("Group", GROUP)),
        "id": f"Directory_{number}",
        "activityDateTime": at.isoformat().replace("+00:00", "Z"),
        "initiatedBy": {"user": {"id": ACTOR, "userPrincipalName": "anna@contoso.com"}},
    }


@contextmanager
def log_of(rig: Rig, pages: Callable[[str], list[Any]]) -> Iterator[tuple[GraphClient, list[str]]]:
    """A client of a tiny server whose log has what `pages` gives for a filter; what was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            span = parse_qs(urlsplit(self.path).query)["$filter"][0]
            asked.append(span)
            body = json.dumps({"value": pages(span)}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        rig.set(graph_url=url)
        client = GraphClient.from_settings(rig.settings, windows=UNPACED)
        try:
            yield client, asked
        finally:
            client.close()
            server.shutdown()


@pytest.fixture
def feed(rig: Rig) -> Feed:
    return Feed(DataDirectory.existing(rig.settings.data_dir))


def test_an_audit_is_an_event_without_names() -> None:
    event, unknown = read(told(1, 0))

    assert event is not None
    assert (event.actor_kind, event.actor_id) == ("user", ACTOR)
    assert (event.targets, event.tables) == ((USER, GROUP), ("group_members",))
    assert unknown == ()
    assert "anna" not in json.dumps(event.to_json())


def test_an_application_is_an_actor_by_its_service_principal() -> None:
    by = {"user": None, "app": {"appId": "a", "servicePrincipalId": "s", "displayName": "Robot"}}
    event, _ = read({**told(1, 0), "initiatedBy": by})
    assert event is not None
    assert (event.actor_kind, event.actor_id) == ("application", "s")


@pytest.mark.parametrize(
    "event",
    [
        {**told(1, 0), "id": None},
        {**told(1, 0), "activityDateTime": "yesterday"},
        {**told(1, 0), "activityDateTime": None},
        {**told(1, 0), "targetResources": 5},
        "not even an object",
        None,
    ],
)
def test_what_cannot_be_read_is_refused(event: Any) -> None:
    with pytest.raises(NotAnAuditError):
        read(event)


def test_poisoned_events_are_set_aside_once_and_the_others_heard(rig: Rig, feed: Feed) -> None:
    bad = [{"id": "bad"}, {**told(2, 1), "targetResources": "x"}, 17, None]
    with log_of(rig, lambda _: [told(1, 2), *bad, told(3, 0)]) as (client, _):
        looks = [listen(rig.settings, client, feed) for _ in range(3)]

    assert [len(look.events) for look in looks] == [2, 0, 0]
    assert {look.reason for look in looks} == {None}
    assert len(feed.poisoned()) == 4
    assert [look.poisoned for look in looks] == [4, 0, 0]
    assert "targetResources is a text and not a list" in {e.reason for e in feed.poisoned()}
    assert [event.id for event in feed.events()] == ["Directory_1", "Directory_3"]


def test_late_and_repeated_events_are_heard_once(rig: Rig, feed: Feed) -> None:
    log = [told(2, 1), told(2, 1)]
    with log_of(rig, lambda _: log) as (client, asked):
        assert len(listen(rig.settings, client, feed).events) == 1
        log += [told(1, 50)]
        late = listen(rig.settings, client, feed).events
        assert [event.id for event in late] == ["Directory_1"]
        assert len(asked) == 2


def test_what_happened_while_nobody_listened_is_caught_up(rig: Rig, feed: Feed) -> None:
    days_ago = datetime.now(UTC) - timedelta(days=2)
    feed.put(heard_until=days_ago.isoformat())
    events = [told(n, minutes) for n, minutes in enumerate((1, 300, 1500, 2800, 4000))]

    with log_of(rig, lambda span: [e for e in events if inside(e, span)]) as (client, _):
        first = listen(rig.settings, client, feed)
        while not listen(rig.settings, client, feed).whole:
            pass

    assert "Directory_0" in {event.id for event in first.events}, "the latest come first"
    # What happened before it was heard last, and no later than an overlap, is known.
    assert {e.id for e in feed.events()} == {f"Directory_{n}" for n in range(4)}


def test_a_log_without_end_is_heard_in_parts_and_from_the_latest(
    rig: Rig,
) -> None:
    with running(users=30, groups=12, seed=2, audits_per_day=2_400_000, audit_days=1) as simulator:
        busy = Rig(simulator, Path(rig.settings.data_dir).parent / "busy")
        book = Feed(DataDirectory.existing(busy.settings.data_dir))
        client = GraphClient.from_settings(busy.settings, windows=UNPACED)
        first = listen(busy.settings, client, book)
        assert first.pages > listening.FEW_PAGES
        simulator.mutate(seed=1, changes=5)
        looks = [listen(busy.settings, client, book) for _ in range(6)]
        client.close()
        busy.close()
    assert looks[0].events, "what is new is heard by the first look that can see it"
    # Some minutes, and a few pages of what may have come late.
    assert max(look.pages for look in looks) <= 2 * (listening.FEW_PAGES + 1)


def test_a_feed_that_is_refused_says_so_and_keeps_what_it_has(
    golden: Callable[..., Rig],
) -> None:
    rig = golden(without_permission=["AuditLog.Read.All"])
    feed = Feed(DataDirectory.existing(rig.settings.data_dir))

    look = listen(rig.settings, rig.client, feed)
    assert "AuditLog.Read.All" in str(look.reason)
    assert feed.summary().trouble == look.reason

    off = rig.settings.model_copy(update={"disable_audit_log_feed": True})
    assert "ENTRA_DISABLE_AUDIT_LOG_FEED" in str(listen(off, rig.client, feed).reason)
    assert feed.summary().heard_until is None


def test_a_change_of_the_tenant_is_heard_with_one_request(rig: Rig, feed: Feed) -> None:
    with running(users=40, groups=20, seed=4) as simulator:
        quiet = Rig(simulator, Path(rig.settings.data_dir).parent / "quiet")
        book = Feed(DataDirectory.existing(quiet.settings.data_dir))
        assert listen(quiet.settings, quiet.client, book).events == ()
        changes = simulator.mutate(seed=2, changes=40)
        simulator.reset_stats()
        events = listen(quiet.settings, quiet.client, book, tell=True).events
        assert simulator.stats()["requests"] == 1
        quiet.close()

    targets = {target for event in events for target in event.targets}
    linked = {key for change in changes if change["op"] == "link" for key in change["ids"]}
    assert linked <= targets
    assert len(book.due(1000)) == len(events)


def inside(event: dict[str, Any], span: str) -> bool:
    start, end = (part.split(" ")[2] for part in span.split(" and "))
    at = datetime.fromisoformat(event["activityDateTime"])
    return datetime.fromisoformat(start) <= at <= datetime.fromisoformat(end)
