"""The demo and, after it, `serve`: what a newcomer does first."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.cli.program import ROOT, Done, cli, environment


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty directory, but for a `.env` of somebody's real tenant."""
    place = tmp_path_factory.mktemp("newcomer")
    (place / ".env").write_text("ENTRA_SKIP_AD_GROUPS=true\n")
    return place


@pytest.fixture(scope="module")
def demo(place: Path) -> Done:
    """The demo, run small, in an environment with settings of a real tenant."""
    real = {
        "ENTRA_CLIENT_CERTIFICATE_PATH": "/nowhere.pem",
        "ENTRA_CLOUD": "china",
        "DAGSTER_HOME": str(place / "somebodys"),
    }
    return cli("demo", "--users", "60", "--groups", "40", cwd=place, env=real)


def processes_of(place: Path) -> list[str]:
    """Command lines of the processes that work in a directory or were pointed at it."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = " ".join(process.info["cmdline"] or [])
        if str(place) in words or str(place) in (process.info["cwd"] or ""):
            found.append(words)
    return found


def test_the_demo_reports_the_sync_and_answers_five_questions(demo: Done) -> None:
    assert demo.code == 0, demo.err
    assert re.search(
        r"Sync succeeded: \d+ requests in \d+ round trips, \d+ resource units", demo.out
    )
    assert re.search(r"^users +complete +60 ", demo.out, re.MULTILINE)
    assert re.findall(r"^(\d)\. .+\?$", demo.out, re.MULTILINE) == ["1", "2", "3", "4", "5"]
    assert "PAG-Global-Admins" in demo.out
    assert "What to try next" in demo.out


def test_the_demo_shows_progress_on_stderr(demo: Done) -> None:
    assert "Starting a simulated tenant: 60 users, 40 groups" in demo.err
    assert re.search(r"\[ ?\d+/\d+\] users ", demo.err)


def test_each_command_that_the_demo_shows_can_be_typed_and_says_the_same(
    demo: Done, place: Path
) -> None:
    shown = re.search(
        r"^\$ (\S*entra-pipeline) (who-can .+?)\n(.+?)\n", demo.out, re.MULTILINE | re.DOTALL
    )
    assert shown
    done = subprocess.run(
        f"{sys.executable} -m entra_pipeline.cli {shown[2]}",
        shell=True,
        cwd=place,
        env=environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[0] == shown[3]


def test_the_demo_keeps_everything_in_its_directory_and_leaves_nothing_running(
    demo: Done, place: Path
) -> None:
    assert sorted(entry.name for entry in place.iterdir()) == [".demo", ".env"]
    assert (place / ".demo").stat().st_mode & 0o777 == 0o700
    assert (place / ".demo" / "data" / "warehouse.duckdb").exists()
    assert processes_of(place) == []


def test_settings_of_a_real_tenant_do_not_leak_into_the_demo(demo: Done, place: Path) -> None:
    sql = "SELECT count(*) FROM groups WHERE on_premises_sync_enabled"
    done = cli("query", sql, "--json", "--data-dir", ".demo/data", cwd=place)
    assert done.json["rows"][0][0] > 0


def test_serve_without_settings_runs_the_demos_tenant_on_its_port_and_stops_it(
    demo: Done, place: Path
) -> None:
    port = json.loads((place / ".demo" / "demo.json").read_text())["port"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        pages = free.getsockname()[1]
    serve = subprocess.Popen(
        [sys.executable, "-m", "entra_pipeline.cli", "serve", "--port", str(pages)],
        cwd=place,
        env=environment(PYTHONPATH=str(ROOT)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 90
        while True:
            assert serve.poll() is None
            assert time.monotonic() < deadline
            try:
                url = f"http://127.0.0.1:{pages}/server_info"
                with urllib.request.urlopen(url, timeout=5) as answer:
                    assert "dagster_version" in json.load(answer)
                break
            except OSError:
                time.sleep(0.2)
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
    finally:
        os.kill(serve.pid, signal.SIGINT)
        said = serve.communicate(timeout=60)[1]
    assert serve.returncode == 0, said
    assert str(port) in said
    assert processes_of(place) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
