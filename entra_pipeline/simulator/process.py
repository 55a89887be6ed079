"""A simulator in its own process, for tests, the demo and benchmarks.

with running(users=2000, seed=7, http=True) as simulator:
    requests.get(f"{simulator.info.http_graph_url}/v1.0/users", ...)
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from entra_pipeline.simulator.server import settings

START_TIMEOUT_S = 180.0

Ended = Callable[[], int | None]
"""Asks a process for its exit code: None while it runs."""
Start = Callable[[Sequence[str], Path], contextlib.AbstractContextManager[Ended]]
"""Starts a simulator with these options, whose output goes to the file, and ends it."""


class SimulatorDiedError(RuntimeError):
    """The process ended or did not become ready; the message holds what it printed."""


@dataclass(frozen=True)
class Info:
    """The ready file."""

    graph_url: str
    authority_url: str
    exchange_url: str
    http_graph_url: str
    """The plain port; always there in `running`, for control requests use it too."""
    tenant_id: str
    client_id: str
    client_secret: str
    ca_file: str
    pid: int
    client_certificate_file: str
    """PEM of an RSA key and its certificate, registered with the client."""
    federated_token_file: str
    """An external token that the client may present as a federated assertion."""
    writer_client_id: str | None = None
    """The second application, which may write; None unless asked for."""
    writer_client_secret: str | None = None


class Simulator:
    """A running simulator."""

    def __init__(self, info: Info, document: dict[str, Any]) -> None:
        self.info = info
        self._document = document

    def settings_env(self) -> dict[str, str]:
        """Environment variables under which the product talks to this simulator."""
        return settings(self._document)

    def stats(self) -> dict[str, Any]:
        """`GET /_sim/stats`: requests, round_trips, by_route, bytes, faults_fired and more."""
        found: dict[str, Any] = self._control("GET", "stats")
        return found

    def reset_stats(self) -> None:
        """Start counting from zero."""
        self._control("POST", "stats/reset")

    def mutate(self, seed: int, changes: int) -> list[dict[str, Any]]:
        """Make random directory changes; returns what was changed."""
        made: list[dict[str, Any]] = self._control(
            "POST", "mutate", {"seed": seed, "changes": changes}
        )["changes"]
        return made

    def change(self, op: str, target: str, *ids: str, **asked: Any) -> list[dict[str, Any]]:
        """Make one change, as `plant` has it; returns what was changed."""
        body = {"op": op, "target": target, "ids": list(ids), **asked}
        made: list[dict[str, Any]] = self._control("POST", "change", body)["changes"]
        return made

    def effects(self, after: int = 0) -> list[dict[str, Any]]:
        """What Graph requests really changed: `GET /_sim/effects`, with numbers above `after`."""
        found: list[dict[str, Any]] = self._control("GET", f"effects?after={after}")["effects"]
        return found

    def stale_reads(self, lag_s: float, fresh_share: float = 0.0) -> None:
        """Let reads be so many seconds behind, but for a share of them that is up to date."""
        self._control("POST", "replication", {"lag_s": lag_s, "fresh_share": fresh_share})

    def pim(self, **policy: Any) -> None:
        """Change how PIM behaves: fields of `writes.holds.Policy`."""
        self._control("POST", "pim", policy)

    def faults(self, rules: Sequence[dict[str, Any]]) -> None:
        """Put these fault rules in force instead of the present ones."""
        self._control("POST", "faults", list(rules))

    def advance(self, seconds: float) -> None:
        """Move the simulator's clock forward."""
        self._control("POST", "clock", {"advance_s": seconds})

    def end_deltas(
        self, how: Literal["expire", "reset"], paths: Sequence[str] | None = None
    ) -> None:
        """Make delta links given out so far answer 400 (`expire`) or 410 (`reset`).

        `paths` such as `users` names the sets meant; all if None.
        """
        body: dict[str, Any] = {how: True}
        if paths is not None:
            body["paths"] = list(paths)
        self._control("POST", "delta", body)

    def truth(self, name: str) -> Any:
        """The tenant's raw JSON: a list for a collection, source -> targets for a relation."""
        return self._control("GET", f"tenant/{name}")

    def token(self, *, writer: bool = False, resource: str | None = None) -> str:
        """An access token with everything the application (or the writer) may do; of Graph, or
        of `resource`, such as https://outlook.office365.com."""
        info = self.info
        client_id = info.writer_client_id if writer else info.client_id
        secret = info.writer_client_secret if writer else info.client_secret
        form = (
            f"client_id={client_id}&client_secret={secret}"
            f"&grant_type=client_credentials&scope={resource or self.info.graph_url}/.default"
        )
        url = f"{self.info.http_graph_url}/{self.info.tenant_id}/oauth2/v2.0/token"
        with urllib.request.urlopen(  # noqa: S310 - our own loopback process
            urllib.request.Request(url, form.encode(), method="POST"),  # noqa: S310
            timeout=60,
        ) as response:
            return str(json.load(response)["access_token"])

    def _control(self, method: str, path: str, body: Any = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(  # noqa: S310 - our own loopback process
            f"{self.info.http_graph_url}/_sim/{path}", data, method=method
        )
        with urllib.request.urlopen(request, timeout=600) as response:  # noqa: S310
            return json.load(response)


@contextlib.contextmanager
def running(
    *,
    users: int | None = None,
    groups: int | None = None,
    seed: int | None = None,
    tenant: Path | None = None,
    http: bool = True,
    throttle: str = "off",
    write_quota: int | None = None,
    write_conflicts: bool = False,
    license: str | None = None,
    cloud: str | None = None,
    latency_ms: float = 0.0,
    replication_lag: float = 0.0,
    stale_reads: float = 0.0,
    fresh_share: float = 0.0,
    empty_pages: int = 0,
    delta_page: int | None = None,
    delta_slice: int | None = None,
    delta_replays: int = 0,
    sign_ins_per_day: int = 0,
    audits_per_day: int = 0,
    provisionings_per_day: int = 0,
    audit_days: int | None = None,
    log_lag: float | None = None,
    log_late: float = 0.0,
    log_repeats: int = 0,
    log_disorder: bool = False,
    faults: Path | None = None,
    tls_dir: Path | None = None,
    port: int = 0,
    without_permission: Sequence[str] = (),
    with_permission: Sequence[str] = (),
    writer: bool = False,
    writer_roles: Sequence[str] = (),
    writer_without_permission: Sequence[str] = (),
    client_roles: Sequence[str] = (),
    back_sync: float | None = None,
    exchange_redirect: bool = False,
    timeout_s: float = START_TIMEOUT_S,
) -> Iterator[Simulator]:
    """Start a simulator, wait until it accepts connections, kill it at the end.

    Arguments are the command line's. The plain port is always opened: control requests use it.
    Raises SimulatorDiedError with the process's output if it does not become ready.
    """
    options: list[str] = ["--http"]
    for name, value in (
        ("users", users),
        ("groups", groups),
        ("seed", seed),
        ("tenant", tenant),
        ("license", license),
        ("cloud", cloud),
        ("faults", faults),
        ("tls-dir", tls_dir),
        ("port", port),
        ("throttle", throttle),
        ("write-quota", write_quota),
        ("latency-ms", latency_ms),
        ("replication-lag", replication_lag),
        ("stale-reads", stale_reads),
        ("fresh-share", fresh_share),
        ("empty-pages", empty_pages),
        ("delta-page", delta_page),
        ("delta-slice", delta_slice),
        ("delta-replays", delta_replays),
        ("sign-ins-per-day", sign_ins_per_day),
        ("audits-per-day", audits_per_day),
        ("provisionings-per-day", provisionings_per_day),
        ("audit-days", audit_days),
        ("log-lag", log_lag),
        ("log-late", log_late),
        ("log-repeats", log_repeats),
        ("back-sync", back_sync),
    ):
        if value is not None:
            options += [f"--{name}", str(value)]
    if log_disorder:
        options.append("--log-disorder")
    for permission in without_permission:
        options += ["--without-permission", permission]
    for permission in with_permission:
        options += ["--with-permission", permission]
    if write_conflicts:
        options.append("--write-conflicts")
    if writer:
        options.append("--writer")
    for role in writer_roles:
        options += ["--writer-role", role]
    for role in client_roles:
        options += ["--client-role", role]
    if exchange_redirect:
        options.append("--exchange-redirect")
    for permission in writer_without_permission:
        options += ["--writer-without-permission", permission]
    with tempfile.TemporaryDirectory(prefix="entra-simulator-") as scratch:
        ready = Path(scratch) / "ready.json"
        output = Path(scratch) / "output"
        with _start([*options, "--ready-file", str(ready), "--exit-with-stdin"], output) as ended:
            document = _wait(ended, ready, output, timeout_s)
            yield Simulator(Info(**document), document)


@contextlib.contextmanager
def in_an_interpreter(options: Sequence[str], output: Path) -> Iterator[Ended]:
    """A simulator in an interpreter of its own: how they are started unless `start_by` is told."""
    with output.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "entra_pipeline.simulator", *options],
            # Closed when this process ends in any way: the simulator never outlives it.
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process.poll
    finally:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()


_start: Start = in_an_interpreter


def start_by(start: Start) -> None:
    """Start simulators another way from now on, for who starts so many that imports add up."""
    global _start
    _start = start


def _wait(ended: Ended, ready: Path, output: Path, timeout_s: float) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if ready.exists():
            document: dict[str, Any] = json.loads(ready.read_bytes())
            return document
        if ended() is not None:
            break
        time.sleep(0.02)
    said = output.read_text(errors="replace")[-4000:]
    raise SimulatorDiedError(f"the simulator did not become ready: {said}")
