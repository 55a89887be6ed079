"""Measured child processes, and the simulator they talk to.

Wall seconds are taken from the outside; CPU seconds and peak memory are the operating system's
own accounting of the finished child (``wait4``), so that nothing a child says of itself counts.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Measured:
    """One finished child: wall and CPU seconds, peak memory in MiB, its answer."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    answer: dict[str, Any]


class ChildFailedError(RuntimeError):
    """A measured process ended with an error; its output is the message."""


def plain_environment() -> dict[str, str]:
    """Ours without the variables that make requests distrust the simulator's certificate."""
    trust = {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"}
    return {name: value for name, value in os.environ.items() if name not in trust}


def measure(
    argv: Sequence[str], env: Mapping[str, str] | None = None, timeout_s: float = 1800
) -> Measured:
    """Run one child to its end. Its last line on standard output is a JSON document."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        child = subprocess.Popen(
            list(argv), cwd=ROOT, env={**plain_environment(), **(env or {})}, stdout=out, stderr=err
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        text = out.read().decode()
        if child.returncode != 0:
            raise ChildFailedError(
                f"{argv} ended {child.returncode}: {err.read().decode()[-3000:]}"
            )
    lines = [line for line in text.splitlines() if line.startswith("{")]
    answer = json.loads(lines[-1]) if lines else {}
    inner = answer.get("wall_s")  # without the interpreter's start, where the child tells it
    return Measured(
        inner if inner is not None else wall,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / 1024,
        answer,
    )


def python(module: str, *args: str) -> list[str]:
    """The command that runs one of this package's modules."""
    return [sys.executable, "-m", module, *args]


def median(values: Sequence[float]) -> float:
    """The middle of a few runs."""
    return statistics.median(values)


@contextmanager
def simulator(
    users: int, groups: int, latency_ms: int, seed: int = 7, **options: Any
) -> Iterator[Any]:
    """A simulated tenant in its own process, on a plain port, with throttling off.

    `options`: more of `simulator.process.running`'s.
    """
    from entra_pipeline.simulator.process import running

    with running(
        users=users, groups=groups, seed=seed, latency_ms=latency_ms, http=True, **options
    ) as sim:
        yield sim


def settings_env(sim: Any, data_dir: Path) -> dict[str, str]:
    """The environment by which the product finds the simulator's plain port."""
    env = dict(sim.settings_env())
    env["ENTRA_GRAPH_URL"] = sim.info.http_graph_url
    env["ENTRA_DATA_DIR"] = str(data_dir)
    return env
