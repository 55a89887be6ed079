"""Dagster's pages, daemon and code server as children of one command, until it is told to stop.

One code server serves both the webserver and the daemon: Dagster's own default starts one for
each, at three seconds of CPU and 200 MB apiece. Children run in sessions of their own, so that
Ctrl-C in the terminal reaches this process alone, which then stops them in the right order; on
Linux they also die with it when it is killed. Their environment is given, not inherited: what is
served is what the caller decided, whatever `.env` lies in the working directory.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Final

from pydantic import SecretStr

from entra_pipeline.orchestration import home as homes
from entra_pipeline.settings import PREFIX, Settings

LOCATION: Final = "entra_pipeline"
MODULE: Final = "entra_pipeline.definitions"
READY_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 20.0
# What children need of the surrounding environment beside the settings: to find programs, their
# owner's home, time zone, temporary files, proxies, and the variables that dagster.yaml names.
_PASSED: Final = frozenset(
    {"PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV"}
    | {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}
    | {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"}
)
_PASSED_PREFIXES: Final = ("DAGSTER_", "IDENTITY_", "MSI_", "AZURE_")


class ServeError(RuntimeError):
    """The pages cannot be served; the message says why and where the log is."""


@dataclass
class Served:
    """The running children: where the pages are, their log (None: standard error), by name."""

    url: str
    log: Path | None
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def dead(self) -> str | None:
        """The name of a child that has ended by itself, if any."""
        return next((n for n, p in self.processes.items() if p.poll() is not None), None)

    def hint(self) -> str:
        """Where to read more, as the end of a sentence."""
        return f"; see {self.log}" if self.log else ""


def serve(
    settings: Settings,
    home: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 3000,
    *,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> int:
    """Serve until Ctrl-C or SIGTERM; returns the exit code (0 stopped, 3 a child died).

    `home` is Dagster's home (None: DAGSTER_HOME or the data directory's own); port 0 takes any
    free one.
    """
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    signals = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if os.name == "posix" else [])]
    before = {number: signal.signal(number, stop) for number in signals}
    try:
        say("starting Dagster's webserver and daemon")
        with children(
            environment(settings, os.environ),
            homes.prepare(homes.choose(settings, os.environ, home)),
            host,
            port,
            # A terminal shows one line and keeps the rest in a file; a container's or a service's
            # log wants it all.
            log_file=sys.stderr.isatty(),
            stopped=stopping.is_set,
        ) as served:
            if not stopping.is_set():
                log = f"; log: {served.log}" if served.log else ""
                say(f"Dagster's pages: {served.url} (Ctrl-C stops{log})")
            while not stopping.wait(0.2):
                if name := served.dead():
                    say(f"{name} ended by itself{served.hint()}")
                    return 3
            say("stopping")
        return 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def environment(settings: Settings, surrounding: Mapping[str, str]) -> dict[str, str]:
    """The environment that makes another process load exactly these settings."""
    given = {
        name: value
        for name, value in surrounding.items()
        if name in _PASSED or name.startswith(_PASSED_PREFIXES)
    }
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if value is None or name not in settings.model_fields_set:
            continue
        given[PREFIX + name.upper()] = _text(value)
    given[PREFIX + "DATA_DIR"] = str(settings.data_dir.expanduser().absolute())
    return given


@contextmanager
def children(
    variables: Mapping[str, str],
    home: Path,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    log_file: bool = True,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Served]:
    """Code server, webserver and daemon, ready when the block begins and gone when it ends.

    They write to `serve.log` in the home, or to this process's standard error.

    Raises:
        ServeError: the port is taken, or a child did not come up.
    """
    port = _free_port(host, port)
    shown = f"[{host}]" if ":" in host else host
    served = Served(f"http://{shown}:{port}", home / "serve.log" if log_file else None)
    given = {**variables, homes.VARIABLE: str(home), "PYTHONUNBUFFERED": "1"}
    # A short path: the name of a Unix socket holds some hundred characters at most.
    with tempfile.TemporaryDirectory(prefix="entra-") as scratch, _output(served.log) as output:
        rpc = str(Path(scratch) / "code.sock")
        workspace = Path(scratch) / "workspace.yaml"
        workspace.write_text(
            json.dumps(
                {"load_from": [{"grpc_server": {"socket": rpc, "location_name": LOCATION}}]}
            ),
            encoding="utf-8",
        )
        quiet = ("--log-level", "warning")
        commands: dict[str, Sequence[str]] = {
            "code server": (
                "-m", "dagster", "api", "grpc", "--module-name", MODULE, "--socket", rpc,
                "--location-name", LOCATION, "--empty-working-directory",
                "--use-python-environment-entry-point", *quiet,
            ),
            "daemon": ("-m", "dagster._daemon", "run", "-w", str(workspace), *quiet),
            "webserver": (
                "-m", "dagster_webserver", "-w", str(workspace), "--host", host,
                "--port", str(port), "--dagster-log-level", "warning",
            ),
        }  # fmt: skip
        try:
            for name, command in commands.items():
                served.processes[name] = subprocess.Popen(
                    [sys.executable, *command],
                    env=given,
                    cwd=home,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    preexec_fn=_die_with_parent if sys.platform == "linux" else None,
                )
                if name == "code server":
                    # The others ask it once when they start, and only much later again.
                    _wait(served, stopped, lambda: _listens(rpc))
            _wait(served, stopped, lambda: _location_loaded(served.url))
            yield served
        finally:
            _stop(served)


@contextmanager
def _output(log: Path | None) -> Iterator[IO[bytes] | None]:
    if log is None:
        yield None
        return
    with open(log, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        yield file


def _wait(served: Served, stopped: Callable[[], bool], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not stopped():
        if name := served.dead():
            raise ServeError(f"{name} did not come up{served.hint()}")
        if ready():
            return
        if time.monotonic() > deadline:
            raise ServeError(f"Dagster was not ready within {READY_TIMEOUT_S:.0f} s{served.hint()}")
        time.sleep(0.1)


def _stop(served: Served) -> None:
    # The daemon and the pages first, so that nothing more is launched. With the code server goes
    # its group: the runs that it started are interrupted and end in order, as failed.
    _signal(served, ("daemon", "webserver"), signal.SIGINT)
    _signal(served, ("code server",), signal.SIGTERM, group=True)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline and any(map(_is_there, served.processes.values())):
        time.sleep(0.05)
    # Whoever is still there; killing a run is safe, the next sync closes it.
    _signal(served, tuple(served.processes), signal.SIGKILL, group=True)
    for process in served.processes.values():
        process.wait()


def _signal(
    served: Served, names: Sequence[str], number: signal.Signals, *, group: bool = False
) -> None:
    for name in names:
        process = served.processes.get(name)
        if process is None:
            continue
        with contextlib.suppress(ProcessLookupError):
            if group:
                # Each child leads a session of its own, so its group is its number, for as long
                # as anything of it is left.
                os.killpg(process.pid, number)
            elif process.poll() is None:
                process.send_signal(number)


def _is_there(process: subprocess.Popen[bytes]) -> bool:
    """Whether a child, or anything that it started, is still alive."""
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _free_port(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServeError(
                f"port {port} on {host} cannot be listened on: {error.strerror}. Choose another "
                "by --port, or 0 for any free one."
            ) from None
        return int(probe.getsockname()[1])


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


_LOADED: Final = """{ workspaceOrError { ... on Workspace { locationEntries { loadStatus
    locationOrLoadError { __typename ... on PythonError { message } } } } } }"""


def _location_loaded(url: str) -> bool:
    """Whether the webserver answers and has our definitions; ServeError when they do not load."""
    request = urllib.request.Request(  # noqa: S310 - our own http address
        f"{url}/graphql",
        data=json.dumps({"query": _LOADED}).encode(),
        headers={"Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as answer:
            entries = json.load(answer)["data"]["workspaceOrError"]["locationEntries"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if not entries or any(entry["loadStatus"] != "LOADED" for entry in entries):
        return False
    for entry in entries:
        found = entry["locationOrLoadError"]
        if found["__typename"] == "PythonError":
            raise ServeError(f"Dagster cannot load our definitions: {found['message'].strip()}")
    return True


def _text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Path):
        return str(value.expanduser().absolute())
    if isinstance(value, tuple | list | frozenset):
        return ",".join(str(item) for item in value)
    return str(value)


_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG: Final = 1


def _die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent is gone, however it went."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
