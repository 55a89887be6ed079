"""`events`: what the feed heard, for people and for programs, and as it comes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.lake import DataDirectory
from entra_pipeline.lake.feed import Feed
from entra_pipeline.lake.feed_model import Event, Heard, Poison
from tests.cli.program import ROOT, cli, environment


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    return DataDirectory.claim(tmp_path / "data", "tenant")


def ask(directory: DataDirectory, *arguments: str) -> Any:
    return cli(*arguments, env={"ENTRA_DATA_DIR": str(directory.path)})


def event(number: int, minutes_ago: float = 0) -> Event:
    return Event(
        id=f"Directory_{number}",
        time=datetime.now(UTC) - timedelta(minutes=minutes_ago),
        activity="Add member to group",
        operation="Assign",
        service="Core Directory",
        actor_kind="user",
        actor_id="actor",
        targets=("one", "two"),
        tables=("group_members",),
        correlation_id="c",
    )


def test_without_a_feed_it_says_how_to_get_one(directory: DataDirectory) -> None:
    people, program = ask(directory, "events"), ask(directory, "events", "--json")
    assert (people.code, people.out) == (0, "")
    assert "event_feed" in people.err
    assert program.json == {"events": [], "poisoned": [], "feed": None}
    assert not (directory.path / "feed.sqlite").exists()
    assert ask(directory, "status", "--json").json["feed"] is None


def test_events_are_listed_by_time_with_what_became_of_them(directory: DataDirectory) -> None:
    feed = Feed(directory)
    feed.hear(Heard([event(1, minutes_ago=90), event(2)]))

    everything = ask(directory, "events", "--json").json
    recent = ask(directory, "events", "--json", "--since", "1 hour ago").json

    assert [each["id"] for each in everything["events"]] == ["Directory_1", "Directory_2"]
    assert [each["id"] for each in recent["events"]] == ["Directory_2"]
    assert recent["events"][0]["state"] == "waiting"
    assert everything["feed"]["events"]["waiting"] == 2
    people = ask(directory, "events")
    assert "Add member to group" in people.out
    assert "last heard never" in people.err


def test_what_could_not_be_read_is_shown_by_events_and_by_status(directory: DataDirectory) -> None:
    body = '{"displayName": "Anna Berg"}'
    Feed(directory).hear(
        Heard(poisoned=[Poison("Directory_9", "activityDateTime is no time", body)])
    )

    document = ask(directory, "events", "--json").json
    shown = ask(directory, "events", "--poisoned")
    status = ask(directory, "status")

    assert document["poisoned"][0]["reason"] == "activityDateTime is no time"
    assert "Directory_9" in shown.out
    assert "1 event could not be read: entra-pipeline events --poisoned" in status.out
    assert ask(directory, "status", "--json").json["feed"]["poisoned"] == 1
    assert "Anna" not in shown.out + json.dumps(document)


def test_follow_shows_events_as_they_are_heard(directory: DataDirectory) -> None:
    feed = Feed(directory)
    feed.hear(Heard([event(1)]))
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "entra_pipeline.cli",
            "events",
            "--follow",
            "--json",
            "--since",
            "today",
        ],
        env=environment(PYTHONPATH=str(ROOT), ENTRA_DATA_DIR=str(directory.path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert first["id"] == "Directory_1"
        feed.hear(Heard([event(2)]))
        found = json.loads(process.stdout.readline())
        assert found["id"] == "Directory_2"
        assert found["targets"] == ["one", "two"]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()


def test_follow_and_poisoned_exclude_one_another(directory: DataDirectory) -> None:
    assert ask(directory, "events", "--follow", "--poisoned").code == 2
