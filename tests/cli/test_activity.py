"""`activity` as a process: what it reads, says and exits with; and what `maintain` makes of it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from entra_pipeline.definitions import build_definitions
from entra_pipeline.lake.events import Events
from entra_pipeline.simulator.process import Simulator, running
from entra_pipeline.tables import EVENTS
from tests.cli.program import ROOT, Done, cli, environment
from tests.support import settings_for

MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
LOGS = ("sign_ins", "directory_audits")


@pytest.fixture(scope="module")
def tenant() -> Iterator[Simulator]:
    """A tenant with four days of logs; each test takes its faults back."""
    with running(
        users=40,
        groups=8,
        seed=23,
        sign_ins_per_day=2400,
        audits_per_day=1200,
        provisionings_per_day=30,
        audit_days=4,
        log_lag=0,
    ) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def env(tenant: Simulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The settings that a person would export."""
    data = tmp_path_factory.mktemp("activity") / "data"
    return {
        **tenant.settings_env(),
        "ENTRA_DATA_DIR": str(data),
        "ENTRA_ACTIVITY_WINDOW_MINUTES": "1440",
    }


@pytest.fixture(scope="module")
def first(env: dict[str, str]) -> Done:
    """Three days of two logs; Graph lets these be asked for five times in ten seconds."""
    since = (MIDNIGHT - 2 * DAY).date().isoformat()
    return cli("activity", "--since", since, "--json", "--only", *LOGS, env=env)


def stored(env: dict[str, str], table: str) -> list[datetime]:
    """The times of the events of a log, as they are in the lake."""
    events = Events(Path(env["ENTRA_DATA_DIR"]) / "lake").read(table)
    times: list[datetime] = events.column(EVENTS[table].time).to_pylist()
    return times


def refusing(path: str, status: int, code: str) -> dict[str, object]:
    """A fault: Graph answers every request of the path with this error."""
    body = {"error": {"code": code, "message": "planted"}}
    return {"match": {"path": path}, "respond": {"status": status, "body": body}}


def test_a_reading_since_a_day_covers_each_log_from_there_and_counts_what_it_got(
    first: Done, env: dict[str, str]
) -> None:
    assert first.code == 0, first.err
    document = first.json
    assert document["outcome"] == "succeeded"
    assert document["complete"] is True
    assert document["problems"] == []
    assert [log["table"] for log in document["logs"]] == list(LOGS)
    for log in document["logs"]:
        assert (log["status"], log["reason"], log["gaps"]) == ("complete", None, [])
        ((start, end),) = log["covered"]
        assert datetime.fromisoformat(start) == MIDNIGHT - 2 * DAY
        assert datetime.fromisoformat(end) > datetime.now(UTC) - 2 * HOUR
        times = stored(env, log["table"])
        assert log["events_new"] == len(times) > 100
        assert min(times) >= MIDNIGHT - 2 * DAY
        assert log["requests"] > 0


def test_each_log_that_ended_is_a_line_of_progress_when_nobody_watches(first: Done) -> None:
    for name in LOGS:
        (line,) = [line for line in first.err.splitlines() if f" {name} " in line and "new" in line]
        assert "complete" in line
    assert "\x1b" not in first.err


def test_the_next_reading_goes_on_and_gets_nothing_twice(first: Done, env: dict[str, str]) -> None:
    before = {name: len(stored(env, name)) for name in LOGS}
    done = cli("activity", "--only", "sign_ins,directory_audits", env=env)
    assert done.code == 0, done.err
    (sign_ins, audits) = [
        line.split() for line in done.out.splitlines() if line.strip().startswith(LOGS)
    ]
    for name, row in (("sign_ins", sign_ins), ("directory_audits", audits)):
        assert row[:2] == [name, "complete"]
        new = int(row[2].replace(",", ""))
        # The simulated people go on signing in while this test runs.
        assert len(stored(env, name)) - before[name] == new < 20
        assert int(row[3].replace(",", "")) > 0  # the overlap was read again and was known
        assert (MIDNIGHT - 2 * DAY).date().isoformat() in row
    assert "Reading succeeded: " in done.out


def test_a_log_that_is_refused_is_no_failure_and_one_that_fails_is(
    first: Done, env: dict[str, str], tenant: Simulator
) -> None:
    kept = len(stored(env, "sign_ins"))
    tenant.faults(
        [
            refusing("auditLogs/signIns", 403, "Authorization_RequestDenied"),
            refusing("auditLogs/directoryAudits", 400, "BadRequest"),
        ]
    )
    try:
        done = cli("activity", "--only", "sign_ins", "directory_audits", "--json", env=env)
    finally:
        tenant.faults([])
    assert done.code == 3
    document = done.json
    assert document["complete"] is False
    assert document["outcome"] == "failed"
    refused, failed = document["logs"]
    assert refused["status"] == "forbidden"
    assert refused["reason"]
    assert failed["status"] == "failed"
    assert failed["reason"]
    (problem,) = document["problems"]
    assert "directory_audits" in problem
    assert "sign_ins" not in problem
    assert len(stored(env, "sign_ins")) == kept


def test_an_interrupted_reading_keeps_what_it_had_and_a_second_ctrl_c_ends_it_at_once(
    env: dict[str, str], tenant: Simulator, tmp_path: Path
) -> None:
    other = {**env, "ENTRA_DATA_DIR": str(tmp_path / "data")}
    tenant.faults([{"match": {"path": "auditLogs/directoryAudits"}, "delay_ms": 60_000}])
    process = subprocess.Popen(
        [sys.executable, "-m", "entra_pipeline.cli", "activity", "--since", "yesterday"],
        env=environment(PYTHONPATH=str(ROOT), **other),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if " sign_ins " in line and "complete" in line:
                break
        process.send_signal(signal.SIGINT)
        for line in process.stderr:
            if "Stopping" in line:
                break
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=8)[1]
    finally:
        process.kill()
        tenant.faults([])
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert len(stored(other, "sign_ins")) > 60


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "sign_in"], "Logs are sign_ins, "),
        (["sign_ins"], "Did you mean --only sign_ins?"),
        (["--since", "2026-11-08", "--until", "2026-11-01"], "--since must be before --until"),
        (["--since", "last week"], "'last week' is not a time"),
    ],
    ids=["no such log", "a word too many", "backwards", "no time"],
)
def test_what_cannot_be_meant_is_refused_with_the_remedy(
    env: dict[str, str], arguments: list[str], said: str
) -> None:
    done = cli("activity", *arguments, env=env)
    assert done.code == 2
    assert said in done.err


def test_days_older_than_the_retention_are_forgotten_by_the_command_and_by_the_nightly_job(
    first: Done, env: dict[str, str], tenant: Simulator, tmp_path: Path
) -> None:
    data, copy = Path(env["ENTRA_DATA_DIR"]), tmp_path / "copy"
    shutil.copytree(data, copy, symlinks=True)
    before = {name: stored(env, name) for name in LOGS}
    kept = {
        name: sorted(time for time in times if time >= MIDNIGHT - DAY)
        for name, times in before.items()
    }
    forgotten = {name: len(before[name]) - len(kept[name]) for name in LOGS}
    assert all(count > 20 for count in forgotten.values())

    done = cli("maintain", "--json", env={**env, "ENTRA_ACTIVITY_RETENTION_DAYS": "1"})
    assert done.code == 0, done.err
    assert {row["table"]: row["events_forgotten"] for row in done.json["events"]} == forgotten
    assert {name: sorted(stored(env, name)) for name in LOGS} == kept

    settings = settings_for(tenant, copy, activity_retention_days=1)
    result = build_definitions(settings).resolve_job_def("maintenance").execute_in_process()
    (step,) = [e for e in result.all_node_events if e.is_successful_output]
    said = step.step_output_data.metadata["events_forgotten"].value
    assert said == sum(forgotten.values())
    other = {"ENTRA_DATA_DIR": str(copy)}
    assert {name: sorted(stored(other, name)) for name in LOGS} == kept

    # A reading that goes on does not bring it back.
    again = cli("activity", "--only", "sign_ins", env=env)
    assert again.code == 0, again.err
    assert min(stored(env, "sign_ins")) >= MIDNIGHT - DAY
