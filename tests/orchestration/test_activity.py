"""Readings of the activity logs as Dagster runs: days, checks, schedule, one reading at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from entra_pipeline.definitions import build_definitions, defs
from entra_pipeline.lake import DataDirectory, DirectoryBusyError
from entra_pipeline.lake.events import Events
from entra_pipeline.orchestration import activity as readings
from entra_pipeline.orchestration import home as homes
from entra_pipeline.orchestration.activity_launch import run_activity
from entra_pipeline.settings import Settings
from entra_pipeline.simulator.process import Simulator, running
from entra_pipeline.tables import EVENTS, Status
from tests.activity.support import everything
from tests.support import settings_for

DAY = timedelta(days=1)
MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
YESTERDAY = MIDNIGHT - DAY
LOGS = tuple(EVENTS)


@pytest.fixture(scope="module")
def busy() -> Iterator[Simulator]:
    """A tenant with three days of logs."""
    with running(
        users=60,
        groups=8,
        seed=21,
        sign_ins_per_day=300,
        audits_per_day=80,
        provisionings_per_day=40,
        audit_days=3,
        log_lag=0,
    ) as simulator:
        yield simulator
        simulator.faults([])


@pytest.fixture
def fast(busy: Simulator, tmp_path: Path) -> Iterator[Settings]:
    """Settings for that tenant; its faults end with the test."""
    yield settings_for(busy, tmp_path / "data", activity_window_minutes=1440)
    busy.faults([])


def days_said(instance: dg.DagsterInstance, table: str) -> dict[str, dict[str, Any]]:
    """The latest materialisation of each day: its metadata."""
    records = instance.fetch_materializations(dg.AssetKey(table), limit=500).records
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        event = record.asset_materialization
        assert event is not None
        if event.partition is not None:
            metadata = {name: value.value for name, value in event.metadata.items()}
            found.setdefault(event.partition, metadata)
    return found


def checks_said(instance: dg.DagsterInstance, table: str) -> dict[str, tuple[bool, dict[str, Any]]]:
    keys = [dg.AssetCheckKey(dg.AssetKey(table), name) for name in ("complete", "gaps")]
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    said = {}
    for key, record in found.items():
        assert record.event is not None
        assert record.event.dagster_event is not None
        evaluation = record.event.dagster_event.asset_check_evaluation_data
        metadata = {name: value.value for name, value in evaluation.metadata.items()}
        said[key.name] = (evaluation.passed, metadata)
    return said


def test_a_reading_brings_all_logs_to_the_present_and_says_which_days_are_whole(
    busy: Simulator, fast: Settings, tmp_path: Path
) -> None:
    home = homes.prepare(tmp_path / "home")
    report = run_activity(fast, since=YESTERDAY, home=home)
    began = datetime.now(UTC) - timedelta(minutes=2)
    assert report.problems == ()
    assert {r.table: r.status for r in report.readings} == dict.fromkeys(LOGS, Status.COMPLETE)
    events = Events(fast.data_dir / "lake")
    with homes.open_instance(home) as instance:
        for name in LOGS:
            column = str(EVENTS[name].column(EVENTS[name].time).graph)
            truth = {
                key
                for key, event in everything(busy, name).items()
                if YESTERDAY <= datetime.fromisoformat(event[column]) < began
            }
            stored = events.read(name, end=began).column("id").to_pylist()
            assert len(stored) == len(set(stored)) > 30
            assert set(stored) == truth
            said = days_said(instance, name)
            assert sorted(said) == [YESTERDAY.date().isoformat(), MIDNIGHT.date().isoformat()]
            counted = events.days(name)
            assert {day: m["events"] for day, m in said.items()} == {
                day: counted.get(day, 0) for day in said
            }
            assert {k: v[0] for k, v in checks_said(instance, name).items()} == {
                "complete": True,
                "gaps": True,
            }


def test_the_next_reading_asks_for_little_and_says_only_the_days_that_it_read(
    fast: Settings, tmp_path: Path
) -> None:
    home = homes.prepare(tmp_path / "home")
    run_activity(fast, since=YESTERDAY, home=home)
    with homes.open_instance(home) as instance:
        before = instance.fetch_materializations(dg.AssetKey("sign_ins"), limit=500).records
        report = run_activity(fast, home=home)
        after = instance.fetch_materializations(dg.AssetKey("sign_ins"), limit=500).records
    days = len(after) - len(before)
    assert 1 <= days <= 2  # two within an hour of midnight
    assert [r.counts.round_trips for r in report.readings] == [days] * 3


def test_days_asked_for_are_read_and_no_others(fast: Settings, tmp_path: Path) -> None:
    home = homes.prepare(tmp_path / "home")
    report = run_activity(fast, ["directory_audits"], YESTERDAY - DAY, YESTERDAY, home=home)
    (reading,) = report.readings
    assert reading.covered == ((YESTERDAY - DAY, YESTERDAY),)
    with homes.open_instance(home) as instance:
        assert list(days_said(instance, "directory_audits")) == [
            (YESTERDAY - DAY).date().isoformat()
        ]
        assert days_said(instance, "sign_ins") == {}


def test_a_log_that_is_refused_keeps_what_was_read_and_fails_nothing(
    busy: Simulator, fast: Settings, tmp_path: Path
) -> None:
    home = homes.prepare(tmp_path / "home")
    run_activity(fast, ["sign_ins"], YESTERDAY, home=home)
    kept = Events(fast.data_dir / "lake").read("sign_ins").num_rows
    code = "Authentication_RequestFromNonPremiumTenantOrB2CTenant"
    body = {"error": {"code": code, "message": "No."}}
    busy.faults(
        [{"match": {"path": "auditLogs/signIns"}, "respond": {"status": 403, "body": body}}]
    )
    report = run_activity(fast, ["sign_ins"], home=home)
    assert report.succeeded
    assert report.readings[0].status is Status.UNLICENSED
    assert Events(fast.data_dir / "lake").read("sign_ins").num_rows == kept > 0
    with homes.open_instance(home) as instance:
        passed, said = checks_said(instance, "sign_ins")["complete"]
    assert not passed
    assert said["status"] == "unlicensed"
    assert said["events_kept"] == kept
    assert said["covered_until"] > 0


def test_a_log_that_fails_fails_the_run_after_the_others_were_read(
    busy: Simulator, fast: Settings, tmp_path: Path
) -> None:
    body = {"error": {"code": "BadRequest", "message": "No."}}
    busy.faults(
        [{"match": {"path": "auditLogs/signIns"}, "respond": {"status": 400, "body": body}}]
    )
    report = run_activity(fast, since=YESTERDAY, home=tmp_path / "home")
    assert [r.status for r in report.readings] == [Status.FAILED, Status.COMPLETE, Status.COMPLETE]
    (problem,) = report.problems
    assert "sign_ins" in problem
    assert "directory_audits" not in problem


def test_a_gap_that_microsoft_no_longer_keeps_is_shown_with_the_time_it_opened(
    fast: Settings, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    left = now - 40 * DAY
    covered(fast, "sign_ins", (left - DAY, left), (now - 6.5 * DAY, now - DAY))
    home = homes.prepare(tmp_path / "home")
    assert run_activity(fast, ["sign_ins"], home=home).succeeded
    with homes.open_instance(home) as instance:
        passed, said = checks_said(instance, "sign_ins")["gaps"]
    assert not passed
    assert said["gaps"] == 1
    assert said["first_gap_opened"] == pytest.approx(left.timestamp())
    assert said["hours_missing"] >= 24 * 32


def test_a_second_reading_of_a_directory_is_refused_and_leaves_no_run(
    fast: Settings, tmp_path: Path
) -> None:
    directory = DataDirectory.claim(fast.data_dir, fast.tenant_id)
    with (
        readings.reading_lock(directory),
        pytest.raises(DirectoryBusyError, match="reads activity"),
    ):
        run_activity(fast, home=tmp_path / "home")
    with directory.lock():
        assert run_activity(fast, ["sign_ins"], YESTERDAY, home=tmp_path / "home").succeeded


def covered(settings: Settings, table: str, *spans: tuple[datetime, datetime]) -> None:
    """Say that these spans were read, and had no events."""
    for span in spans:
        Events(settings.data_dir / "lake").commit(
            EVENTS[table],
            EVENTS[table].schema().empty_table(),
            sync_id="earlier",
            as_of=span[1],
            covers=span,
        )


def test_the_schedule_asks_for_the_days_since_the_last_reading(
    fast: Settings, tmp_path: Path
) -> None:
    schedule = build_definitions(fast).get_schedule_def("activity_every_quarter_hour")
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    today = datetime.now(UTC)
    with homes.open_instance(homes.prepare(tmp_path / "home")) as instance:

        def first_day() -> str:
            context = dg.build_schedule_context(instance, today)
            (request,) = schedule.evaluate_tick(context).run_requests or []
            assert request.run_config == {"ops": {"read_activity": {"config": {"go_on": True}}}}
            return request.tags["dagster/asset_partition_range_start"]

        assert first_day() == (today - 30 * DAY).date().isoformat()
        for name in LOGS:
            covered(fast, name, (today - 9 * DAY, today - 3 * DAY))
        assert first_day() == (today - 3 * DAY).date().isoformat()
        waiting = instance.create_run_for_job(
            defs.resolve_job_def("activity"), tags=readings.RUN_TAGS
        )
        skipped = schedule.evaluate_tick(dg.build_schedule_context(instance, today))
        assert waiting.is_finished is False
        assert skipped.run_requests == []
        assert "under way" in str(skipped.skip_message)


def test_a_backfill_over_any_range_is_one_run() -> None:
    node = defs.resolve_asset_graph().get(dg.AssetKey("sign_ins"))
    assert node.backfill_policy == dg.BackfillPolicy.single_run()
    assert defs.resolve_job_def("activity").partitions_def == readings.DAYS
