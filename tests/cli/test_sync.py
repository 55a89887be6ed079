"""`sync`, `status` and `export` as processes, by settings alone and over https."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from entra_pipeline.simulator.process import Simulator, running
from tests.cli.program import ROOT, Done, cli, environment
from tests.support import Synced


@pytest.fixture(scope="module")
def tenant() -> Iterator[Simulator]:
    """A tenant of this module's own: its faults are changed."""
    with running(users=60, groups=40, seed=11) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def env(tenant: Simulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The settings that a person would export, and nothing else."""
    data = tmp_path_factory.mktemp("sync") / "data"
    return {**tenant.settings_env(), "ENTRA_DATA_DIR": str(data)}


@pytest.fixture(scope="module")
def first(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The first sync."""
    return cli("sync", "--json", env=env, cwd=tmp_path_factory.mktemp("elsewhere"))


def test_a_sync_by_settings_alone_is_done_and_reports_what_it_cost(first: Done) -> None:
    assert first.code == 0, first.err
    document = first.json
    assert document["sync"]["outcome"] == "succeeded"
    assert document["sync"]["requests"] >= document["sync"]["round_trips"] > 0
    assert document["sync"]["units"] > 0
    statuses = {row["table"]: row["status"] for row in document["tables"]}
    assert statuses["users"] == statuses["group_members"] == "complete"


def test_progress_of_a_sync_is_one_line_a_table_when_nobody_watches(first: Done) -> None:
    lines = [line for line in first.err.splitlines() if " users " in line]
    assert len(lines) == 1
    assert "complete" in lines[0]
    assert "60 rows" in lines[0]
    assert "\x1b" not in first.err


def test_a_sync_keeps_everything_in_the_data_directory_closed_to_others(
    first: Done, env: dict[str, str]
) -> None:
    data = Path(env["ENTRA_DATA_DIR"])
    assert data.stat().st_mode & 0o777 == 0o700
    assert (data / "warehouse.duckdb").exists()


def test_status_after_a_sync_has_the_promised_shape(first: Done, env: dict[str, str]) -> None:
    document = cli("status", "--json", env=env).json
    assert document["sync"]["id"] == first.json["sync"]["id"]
    for row in document["tables"]:
        assert {"table", "status", "rows", "as_of", "reason"} <= set(row)
    assert {"complete", "missing"} <= set(document)
    people = cli("status", env=env)
    assert people.code == 0
    assert "succeeded" in people.out


def test_status_tells_how_tables_are_kept_and_how_old_they_are(
    first: Done, env: dict[str, str]
) -> None:
    rows = {row["table"]: row for row in cli("status", "--json", env=env).json["tables"]}
    modes = {name: rows[name]["mode"] for name in ("users", "role_assignments", "domains")}
    assert modes == {"users": "changes", "role_assignments": "hints", "domains": "full"}
    assert rows["synchronization_jobs"]["mode"] == "never"
    assert rows["synchronization_jobs"]["age_s"] is None
    users, domains = rows["users"], rows["domains"]
    assert users["full_as_of"] == users["as_of"]
    assert users["full_age_s"] == users["age_s"] >= 0
    assert users["cursor_as_of"] >= users["full_as_of"]  # taken when the reading had begun
    assert users["cursor_age_s"] <= users["age_s"] < 3600
    assert domains["cursor_as_of"] is domains["cursor_age_s"] is None
    assert users["reconciled"] is None
    people = cli("status", env=env).out
    assert all(title in people for title in ("Kept by", "Whole read", "Cursor", "changes", "hints"))


def test_another_tenant_is_refused_by_name_before_anything_is_read(
    first: Done, env: dict[str, str]
) -> None:
    other = "00000000-0000-0000-0000-00000000000f"
    done = cli("sync", env={**env, "ENTRA_TENANT_ID": other})
    assert done.code == 2
    assert other in done.err
    assert env["ENTRA_TENANT_ID"] in done.err


def test_a_failed_table_makes_the_sync_fail_and_keeps_what_was_published(
    first: Done, env: dict[str, str], tenant: Simulator
) -> None:
    broken = {
        "match": {"path": "/v1.0/domains"},
        "respond": {"status": 400, "body": {"error": {"code": "BadRequest", "message": "planted"}}},
    }
    tenant.faults([broken])
    try:
        done = cli("sync", "--only", "domains", "organization", env=env)
    finally:
        tenant.faults([])
    assert done.code == 3
    assert "failed" in done.out
    status = {row["table"]: row for row in cli("status", "--json", env=env).json["tables"]}
    assert status["domains"]["status"] == "failed"
    assert status["domains"]["reason"]
    assert status["organization"]["status"] == "complete"
    kept = cli("query", "SELECT count(*) FROM domains", "--json", env=env).json
    assert kept["rows"][0][0] > 0


def test_a_second_sync_says_who_holds_the_directory(first: Done, env: dict[str, str]) -> None:
    program = (
        "import sys, pathlib; from entra_pipeline.lake import DataDirectory\n"
        "with DataDirectory.existing(pathlib.Path(sys.argv[1])).lock(command='the first one'):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, env["ENTRA_DATA_DIR"]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        done = cli("sync", env=env)
    finally:
        holder.communicate()
    assert done.code == 3
    assert "the first one" in done.err
    assert str(holder.pid) in done.err


def test_export_writes_each_format_of_a_table_a_view_and_a_query(
    synced: Synced, tmp_path: Path
) -> None:
    env = {"ENTRA_DATA_DIR": str(synced.path)}
    users = csv.DictReader(io.StringIO(cli("export", "users", env=env).out))
    assert len(list(users)) == 60
    effective = tmp_path / "effective.parquet"
    done = cli(
        "export", "effective_grants", "-f", "parquet", "-o", str(effective), "--json", env=env
    )
    assert done.code == 0
    table = pq.read_table(effective)
    assert done.json == {"file": str(effective), "format": "parquet", "rows": table.num_rows}
    counted = cli("query", "SELECT count(*) FROM effective_grants", "--json", env=env).json
    assert counted["rows"] == [[table.num_rows]]
    done = cli("export", "SELECT id FROM groups ORDER BY id", "--format", "json", env=env)
    assert len(json.loads(done.out)) == 40


@pytest.mark.parametrize("what", ["usres", "DROP TABLE users"])
def test_an_export_of_what_is_not_there_exits_2_and_leaves_no_file(
    synced: Synced, tmp_path: Path, what: str
) -> None:
    file = tmp_path / "out.csv"
    done = cli("export", what, "-o", str(file), env={"ENTRA_DATA_DIR": str(synced.path)})
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_a_sync_with_130_and_leaves_what_was_published(
    first: Done, env: dict[str, str], tenant: Simulator
) -> None:
    tenant.faults([{"match": {"path": "/v1.0/users"}, "delay_ms": 60_000}])
    process = subprocess.Popen(
        [sys.executable, "-m", "entra_pipeline.cli", "sync"],
        env=environment(PYTHONPATH=str(ROOT), **env),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        # Domains are read while users hang.
        for line in process.stderr:
            if " domains " in line:
                break
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        tenant.faults([])
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert cli("query", "SELECT count(*) FROM users", "--json", env=env).json["rows"] == [[60]]
