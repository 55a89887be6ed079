"""The process: trust, ports, the ready file, options, and how it ends."""

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from entra_pipeline.simulator.process import running
from tests.simulator.conftest import ADA, Client


def start(*options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "entra_pipeline.simulator", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path) -> dict[str, object]:
    for _ in range(1500):
        if path.exists():
            found: dict[str, object] = json.loads(path.read_text())
            return found
        time.sleep(0.02)
    raise AssertionError("not ready in 30 s")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_strict_verification_passes(small: Client, host: str) -> None:
    context = ssl.create_default_context(cafile=small.simulator.info.ca_file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    port = int(small.simulator.info.graph_url.rpartition(":")[2])
    try:
        raw = socket.create_connection((host, port), timeout=10)
    except OSError:
        assert host == "::1", "this machine has no IPv6 loopback"
        return
    with raw, context.wrap_socket(raw, server_hostname=host) as connection:
        connection.sendall(b"GET /v1.0/users HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 401")


def test_an_unknown_authority_is_not_trusted(small: Client) -> None:
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{small.simulator.info.graph_url}/v1.0/users", timeout=10, verify=True)


def test_ports_are_on_the_loopback_only(small: Client) -> None:
    port = f"{int(small.simulator.info.graph_url.rpartition(':')[2]):04X}"
    listening = [
        line.split()[1]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port}") and line.split()[3] == "0A"
    ]
    assert listening
    loopback = ("0100007F", "00000000000000000000000001000000")
    assert all(each.partition(":")[0] in loopback for each in listening)


def test_the_ready_file_is_private_complete_and_gone_at_the_end(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    process = start("--users", "10", "--groups", "3", "--http", "--ready-file", str(ready))
    try:
        info = wait_for(ready)
        assert stat.S_IMODE(ready.stat().st_mode) == 0o600
        assert {
            "graph_url",
            "authority_url",
            "exchange_url",
            "http_graph_url",
            "tenant_id",
            "client_id",
            "client_secret",
            "ca_file",
            "pid",
        } <= set(info)
        assert info["pid"] == process.pid
        answer = requests.get(f"{info['http_graph_url']}/_sim/stats", timeout=10)
        assert answer.status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
        assert not ready.exists()
    finally:
        process.kill()


def test_settings_are_printed_for_the_shell() -> None:
    process = start("--users", "5", "--groups", "2", "--print-env")
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(7)]
    finally:
        process.kill()
    names = {line.removeprefix("export ").partition("=")[0] for line in lines}
    assert names == {
        "ENTRA_TENANT_ID",
        "ENTRA_CLIENT_ID",
        "ENTRA_CLIENT_SECRET",
        "ENTRA_GRAPH_URL",
        "ENTRA_AUTHORITY_URL",
        "ENTRA_EXCHANGE_URL",
        "ENTRA_CA_BUNDLE",
    }


def test_bad_options_are_one_clear_line(tmp_path: Path, small: Client) -> None:
    taken = small.simulator.info.graph_url.rpartition(":")[2]
    faults = tmp_path / "faults.json"
    faults.write_text("[{}]")
    for options, word in (
        (("--users", "5", "--port", taken), taken),
        (("--users", "5", "--faults", str(tmp_path / "none.json")), "none.json"),
        (("--users", "5", "--faults", str(faults)), "does nothing"),
        (("--tenant", str(tmp_path / "nowhere")), "nowhere"),
    ):
        process = start(*options)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 2
        assert word in said
        assert "Traceback" not in said


def test_it_never_outlives_who_started_it(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from entra_pipeline.simulator.process import running\n"
        "with running(users=5, groups=2) as simulator:\n"
        "    print(simulator.info.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    parent = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    pid = int(parent.stdout)
    for _ in range(250):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                break
        except (ProcessLookupError, FileNotFoundError):
            break
        time.sleep(0.02)
    else:
        raise AssertionError("the simulator is still running")


def test_every_answer_waits_the_given_time_without_holding_up_others() -> None:
    with running(users=5, groups=2, latency_ms=200) as simulator:
        client = Client(simulator)
        items = [{"id": str(n), "method": "GET", "url": "/users"} for n in range(20)]
        answer = client.post("/$batch", {"requests": items})
        # One round trip waits once, whatever it carries.
        assert 0.2 <= answer.elapsed.total_seconds() < 1.0


def test_ids_of_a_request_are_echoed(small: Client) -> None:
    answer = small.get("/users?$top=1", {"client-request-id": "mine"})
    assert answer.headers["client-request-id"] == "mine"
    assert len(answer.headers["request-id"]) == 36
    error = small.get("/users/nobody@golden.example", {"client-request-id": "mine"})
    inner = error.json()["error"]["innerError"]
    assert inner["client-request-id"] == "mine"
    assert inner["request-id"] == error.headers["request-id"]


def test_control_requests_of_web_pages_are_refused(small: Client) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        answer = requests.get(f"{small.base}/_sim/tenant/users", headers=headers, timeout=10)
        assert answer.status_code == 403


def test_the_truth_is_the_tenants_own(small: Client) -> None:
    users = small.simulator.truth("users")
    assert users[0]["id"] == ADA
    assert users[0]["signInActivity"]
    assert small.simulator.truth("managers")
    assert requests.get(f"{small.base}/_sim/tenant/nope", timeout=10).status_code == 404


def test_the_clock_shows_in_the_date_header() -> None:
    with running(users=5, groups=2) as simulator:
        before = Client(simulator).get("/users").headers["Date"]
        simulator.advance(400 * 86400)
        after = Client(simulator).get("/users").headers["Date"]
    assert int(after.split()[3]) == int(before.split()[3]) + 1
