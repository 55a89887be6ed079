"""Readings of the activity logs, against a simulated tenant over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from entra_pipeline.extract.activity import ActivityProgress
from entra_pipeline.msgraph import GraphError
from entra_pipeline.tables import EVENTS, Status
from tests.activity.support import Log

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LOGS = tuple(EVENTS)
WINDOW = r"auditLogs/signIns\?.*\$filter"


def respond(status: int, code: str, **more: Any) -> dict[str, Any]:
    body = {"error": {"code": code, "message": "No."}}
    return {"respond": {"status": status, "body": body, **more}}


def test_every_event_of_every_log_is_stored_once_as_graph_has_it(log: Log) -> None:
    statuses = {name: reading.status for name, reading in log.read().items()}
    assert statuses == dict.fromkeys(LOGS, Status.COMPLETE)
    for name in LOGS:
        assert len(log.ids(name)) > 200
        assert sorted(log.ids(name)) == sorted(log.truth(name))
    signed_in = log.truth("sign_ins")
    for row in log.events.read("sign_ins", end=log.began).to_pylist():
        event = signed_in[row["id"]]
        assert row["user_id"] == event["userId"]
        assert row["error_code"] == event["status"]["errorCode"]
        assert row["location"]["city"] == event["location"]["city"]
        assert row["created_date_time"].isoformat()[:19] == event["createdDateTime"][:19]


def test_changed_values_lose_the_encoding_that_graph_puts_around_them(log: Log) -> None:
    log.read("directory_audits")
    audits = log.truth("directory_audits")
    texts = 0
    for row in log.events.read("directory_audits", end=log.began).to_pylist():
        for target, sent in zip(
            row["target_resources"], audits[row["id"]]["targetResources"], strict=True
        ):
            assert target["id"] == sent["id"]
            pairs = zip(target["modified_properties"], sent["modifiedProperties"], strict=True)
            for changed, raw in pairs:
                assert changed["display_name"] == raw["displayName"]
                value = raw["newValue"]
                if value is not None and value.startswith('"'):
                    assert changed["new_value"] == json.loads(value)
                    texts += 1
                else:
                    assert changed["new_value"] == value
    assert texts > 20


def test_the_next_reading_asks_for_the_overlap_alone_and_stores_nothing_twice(log: Log) -> None:
    first = log.read("sign_ins")["sign_ins"]
    files = log.events.files("sign_ins")
    second = log.read("sign_ins", until=log.began + HOUR)["sign_ins"]
    assert first.inserted > 2500
    ((_, from_there),) = first.covered
    days = (log.now().date() - from_there.date()).days + 1  # two within an hour of midnight
    assert (second.replaced, second.counts.round_trips) == (0, days)
    assert second.repeated > 0
    assert second.inserted <= 1  # unless somebody signed in just now
    assert set(log.events.files("sign_ins")) >= set(files)
    assert len(log.ids("sign_ins")) == len(set(log.ids("sign_ins")))
    assert second.gaps == ()
    (covered,) = second.covered
    assert timedelta(minutes=59) < log.now() - covered[1] < timedelta(minutes=61)


def test_five_requests_in_ten_seconds_are_kept_for_all_logs_together(log: Log) -> None:
    asked = sum(reading.counts.round_trips for reading in log.read().values())
    assert asked > 20
    assert log.clock.waited > (asked - 5) / 5 * 10 - 10


def test_late_repeated_and_disordered_events_all_arrive_once(
    tenant: Callable[..., Log],
) -> None:
    log = tenant(
        sign_ins_per_day=3000,
        audit_days=1,
        log_lag=300,
        log_late=2400,
        log_repeats=7,
        log_disorder=True,
    )
    for _ in range(4):
        log.read("sign_ins")
        log.advance(timedelta(minutes=50))
    log.advance(2 * HOUR)
    last = log.read("sign_ins")["sign_ins"]
    assert last.status is Status.COMPLETE
    before = log.now() - HOUR
    stored = log.ids("sign_ins", until=before)
    assert len(stored) == len(set(stored))
    assert set(stored) == set(log.truth("sign_ins", until=before))
    (covered,) = last.covered
    assert abs(covered[1] - before) < timedelta(minutes=1)


def test_a_span_that_was_asked_for_is_read_and_no_more(log: Log) -> None:
    end = log.now().replace(hour=0, minute=0, second=0, microsecond=0) - DAY
    reading = log.read("sign_ins", since=end - 2 * DAY, until=end)["sign_ins"]
    assert reading.covered == ((end - 2 * DAY, end),)
    assert reading.gaps == ()
    assert 1300 < reading.inserted < 1500
    again = log.read("sign_ins", since=end - 2 * DAY, until=end)["sign_ins"]
    assert again.counts.round_trips == 0


def test_gaps_between_readings_are_filled_by_the_next_one(log: Log) -> None:
    today = log.now().replace(hour=0, minute=0, second=0, microsecond=0)
    log.read("directory_audits", since=today - 6 * DAY, until=today - 5 * DAY)
    reading = log.read("directory_audits", since=today - 3 * DAY, until=today - 2 * DAY)
    assert reading["directory_audits"].gaps == ()
    assert len(log.events.covered("directory_audits")) == 2
    filled = log.read("directory_audits")["directory_audits"]
    assert len(filled.covered) == 1
    assert filled.covered[0][0] == today - 6 * DAY


def test_what_microsoft_no_longer_keeps_stays_a_gap_that_says_when_it_opened(
    tenant: Callable[..., Log],
) -> None:
    log = tenant(audits_per_day=100, license="free", audit_days=3, log_lag=0)
    log.read("directory_audits")
    left = log.events.covered("directory_audits")[-1][1]
    log.advance(20 * DAY)
    reading = log.read("directory_audits")["directory_audits"]
    assert reading.status is Status.COMPLETE
    (gap,) = reading.gaps
    assert gap[0] == left
    assert timedelta(days=6, hours=23) < log.now() - gap[1] < timedelta(days=7, hours=1)


def test_windows_that_time_out_or_are_throttled_become_smaller(log: Log) -> None:
    end = log.now().replace(hour=0, minute=0, second=0, microsecond=0) - DAY
    whole_hours = r"ge (\S+T\d\d):00:00Z and createdDateTime le (?!\1)\S+T\d\d:00:00Z"
    log.simulator.faults(
        [
            {"match": {"path": whole_hours}, **respond(504, "UnknownError")},
            {
                "match": {"path": WINDOW, "every": 9},
                **respond(429, "TooManyRequests", headers={"Retry-After": "3"}),
            },
        ]
    )
    reading = log.read("sign_ins", since=end - 6 * HOUR, until=end)["sign_ins"]
    assert reading.status is Status.COMPLETE, reading.reason
    assert reading.notes["windows_narrowed"] >= 1
    assert reading.covered == ((end - 6 * HOUR, end),)
    log.simulator.faults([])
    truth = log.truth("sign_ins").values()
    start = (end - 6 * HOUR).isoformat()[:19]
    expected = {e["id"] for e in truth if start <= e["createdDateTime"] < end.isoformat()[:19]}
    assert expected <= set(log.ids("sign_ins"))
    assert len(log.ids("sign_ins")) == len(set(log.ids("sign_ins")))


def test_a_log_that_never_answers_fails_after_a_bounded_number_of_windows(log: Log) -> None:
    log.simulator.faults([{"match": {"path": WINDOW}, **respond(503, "serviceNotAvailable")}])
    reading = log.read("sign_ins")["sign_ins"]
    assert reading.status is Status.FAILED
    assert "serviceNotAvailable" in (reading.reason or "")
    assert reading.counts.round_trips <= 8 * 3  # the question what is kept, and seven windows
    log.simulator.faults([])
    assert log.read("sign_ins")["sign_ins"].status is Status.COMPLETE


def test_a_window_whose_page_token_died_starts_again(tenant: Callable[..., Log]) -> None:
    log = tenant(sign_ins_per_day=36_000, audit_days=2, log_lag=0)
    noon = log.now().replace(hour=12, minute=0, second=0, microsecond=0) - DAY
    dead = respond(400, "Directory_ExpiredPageToken")
    log.simulator.faults([{"match": {"path": "skiptoken", "times": 1}, **dead}])
    reading = log.read("sign_ins", since=noon - 2 * HOUR, until=noon)["sign_ins"]
    assert reading.status is Status.COMPLETE
    assert reading.notes["restarted"] == 1
    assert reading.inserted > 2500
    assert len(set(log.ids("sign_ins"))) == len(log.ids("sign_ins")) == reading.inserted
    log.simulator.faults([{"match": {"path": "skiptoken"}, **dead}])
    hopeless = log.read("sign_ins", since=noon - 3 * HOUR, until=noon)["sign_ins"]
    assert hopeless.status is Status.COMPLETE, "windows of one page need no token"
    assert hopeless.notes["windows_narrowed"] >= 1


@pytest.mark.parametrize(
    ("options", "table", "status", "said"),
    [
        ({"license": "free"}, "sign_ins", Status.UNLICENSED, "Microsoft Entra ID P1"),
        (
            {"without_permission": ["AuditLog.Read.All"]},
            "sign_ins",
            Status.FORBIDDEN,
            "AuditLog.Read.All",
        ),
        ({"cloud": "china"}, "directory_audits", Status.UNSUPPORTED, "does not have the API"),
        (
            {"cloud": "china", "settings": {"cloud": "china"}},
            "directory_audits",
            Status.UNSUPPORTED,
            "the china cloud does not have this API",
        ),
        (
            {"settings": {"disable_audit_log_feed": True}},
            "directory_audits",
            Status.UNSUPPORTED,
            "ENTRA_DISABLE_AUDIT_LOG_FEED",
        ),
    ],
)
def test_a_log_that_cannot_be_had_says_why(
    tenant: Callable[..., Log], options: dict[str, Any], table: str, status: Status, said: str
) -> None:
    log = tenant(sign_ins_per_day=10, audits_per_day=10, audit_days=1, **options)
    reading = log.read(table)[table]
    assert reading.status is status
    assert said in (reading.reason or "")
    assert reading.covered == ()
    info = log.events.info(table)
    assert info is not None
    assert (info.status, info.reason) == (status, reading.reason)


def test_a_licence_refused_now_and_then_costs_nothing_that_was_read(log: Log) -> None:
    refused = respond(403, "Authentication_RequestFromNonPremiumTenantOrB2CTenant")
    log.simulator.faults([{"match": {"path": WINDOW, "nth": 5}, **refused}])
    first = log.read("sign_ins", since=log.now() - 3 * DAY)["sign_ins"]
    assert first.status is Status.UNLICENSED
    assert first.inserted > 0
    stored = set(log.ids("sign_ins"))
    second = log.read("sign_ins", since=log.now() - 5 * DAY)["sign_ins"]
    assert second.status is Status.COMPLETE
    assert stored < set(log.ids("sign_ins"))
    assert set(log.ids("sign_ins")) == set(log.truth("sign_ins"))


def test_one_log_that_fails_leaves_the_others(log: Log) -> None:
    log.simulator.faults([{"match": {"path": "auditLogs/signIns"}, **respond(400, "BadRequest")}])
    found = log.read()
    assert found["sign_ins"].status is Status.FAILED
    assert found["directory_audits"].status is Status.COMPLETE
    assert found["provisioning_events"].status is Status.COMPLETE


def test_odd_values_cost_no_event(log: Log) -> None:
    patch = [
        {"op": "replace", "path": "/value/0/status", "value": "fine"},
        {"op": "replace", "path": "/value/1/createdDateTime", "value": None},
        {"op": "remove", "path": "/value/2/id"},
    ]
    log.simulator.faults([{"match": {"path": WINDOW, "nth": 1}, "patch": patch}])
    noon = log.now().replace(hour=12, minute=0, second=0, microsecond=0) - DAY
    reading = log.read("sign_ins", since=noon, until=noon + 2 * HOUR)["sign_ins"]
    assert reading.status is Status.COMPLETE
    assert reading.notes["events_without_time"] == 1
    assert reading.notes["rows_without_key"] == 1
    assert reading.notes["values_of_unexpected_type"] == 1


KILLED = """
    import sys
    from datetime import datetime
    from pathlib import Path
    from entra_pipeline.extract.activity import client_for, read_activity
    from entra_pipeline.lake.events import Events
    from entra_pipeline.settings import Settings
    from tests.activity.support import FastClock

    settings = Settings.load(data_dir=Path(sys.argv[1]))
    events = Events(Path(sys.argv[1]) / "lake")
    say = lambda progress: print(progress.events, flush=True)
    read_activity(settings, client_for(settings, FastClock()), events, sync_id="killed",
                  tables=["sign_ins"], since=datetime.fromisoformat(sys.argv[2]), on_progress=say)
"""


def test_a_killed_reading_goes_on_where_it_was_and_loses_nothing(log: Log) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ENTRA_")}
    environment |= log.simulator.settings_env()
    environment["ENTRA_GRAPH_URL"] = log.simulator.info.http_graph_url
    data_dir = log.settings.data_dir
    since = log.now() - 5 * DAY
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(data_dir), since.isoformat()],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        for _ in range(6):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert log.events.covered("sign_ins") != []
    windows: list[ActivityProgress] = []
    reading = log.read("sign_ins", on_progress=windows.append)["sign_ins"]
    assert reading.status is Status.COMPLETE
    assert windows[0].window[0] > since  # not from the beginning
    assert sorted(log.ids("sign_ins")) == sorted(log.truth("sign_ins"))


def test_an_unknown_log_is_answered_with_what_comes_close(log: Log) -> None:
    with pytest.raises(KeyError, match="sign_ins"):
        log.read("sign_in")


def test_a_closed_client_ends_the_reading_at_once(log: Log) -> None:
    log.client.close()
    reading = log.read("sign_ins")["sign_ins"]
    assert reading.status is Status.FAILED
    assert reading.counts.round_trips <= 3
    with pytest.raises(GraphError):
        log.client.get("/organization", table="none")
