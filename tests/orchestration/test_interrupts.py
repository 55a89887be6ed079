"""Ctrl-C and SIGTERM: a sync says that it was interrupted, or has truly done everything."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import dagster as dg
import pytest

from entra_pipeline.lake import Books, DataDirectory, Outcome
from entra_pipeline.settings import Settings
from entra_pipeline.simulator.process import Simulator
from tests.cli.program import Done, cli
from tests.support import settings_for

# An interrupt that DuckDB answers with an error of its own. The main thread is in the query when
# it comes: the query takes about a second.
LOST = """
import os, signal, threading, duckdb
QUERY = "SELECT sum(a.range * b.range % 7) FROM range(14000) a, range(14000) b"
from entra_pipeline.orchestration import interrupts

def send():
    os.kill(os.getpid(), signal.SIGTERM)

with interrupts.heard():
    try:
        threading.Timer(0.1, send).start()
        duckdb.sql(QUERY).fetchall()
    except RuntimeError:
        print("lost", interrupts.asked(), flush=True)
    if {kept}:
        raise ValueError("somebody's error")
    interrupts.check()
"""


def _listening() -> None:
    # A process inherits which signals are ignored or held up where it is started from.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _watched(number: signal.Signals, name: str, file: str) -> None:
    """Have this process sent the signal as soon as its main thread is inside the function.

    Without a file the name is a number of seconds, after which it is sent.
    """
    _listening()
    # What an interpreter that is started does.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main = threading.main_thread().ident
    assert main is not None
    threading.Thread(target=_send, args=(main, number, name, file), daemon=True).start()


def _send(main: int, number: signal.Signals, name: str, file: str) -> None:
    if not file:
        time.sleep(float(name))
    while file:
        try:
            if _inside(main, name, file):
                break
        except Exception as error:  # the frames of a thread that runs change while they are read
            print("looks again:", repr(error), file=sys.stderr, flush=True)
        time.sleep(0.001)
    print("sent", file=sys.stderr, flush=True)
    os.kill(os.getpid(), number)


def _inside(thread: int, name: str, file: str) -> bool:
    frame = sys._current_frames().get(thread)
    while frame:
        code, frame = frame.f_code, frame.f_back
        if code.co_name == name and code.co_filename.endswith(file):
            return True
    return False


def interrupted(
    settings: Settings, tenant: Simulator, number: signal.Signals, name: str, file: str
) -> Done:
    """Sync in a process of its own, which is sent a signal at the moment."""
    env = {**tenant.settings_env(), "ENTRA_DATA_DIR": str(settings.data_dir)}
    return cli("sync", env=env, before=partial(_watched, number, name, file))


def check_what_is_left(settings: Settings, ended: Done) -> None:
    """What must hold whenever the signal came."""
    assert ended.code in (0, 130), ended.err
    assert "Traceback" not in ended.err
    if not settings.data_dir.exists():
        assert "Interrupted." in ended.err
        return
    directory = DataDirectory.existing(settings.data_dir)
    assert not directory.is_locked()
    outcomes = [record.outcome for record in Books(directory).syncs()]
    assert Outcome.RUNNING not in outcomes
    assert list(directory.warehouses.glob("stage*")) == []
    if ended.code == 0:
        assert outcomes == [Outcome.SUCCEEDED]
        assert "Sync succeeded" in ended.out
    else:
        assert "Interrupted." in ended.err
        assert directory.warehouse_link.exists() == (Outcome.SUCCEEDED in outcomes)


def runs(settings: Settings) -> list[dg.DagsterRunStatus]:
    """How Dagster's runs ended."""
    with dg.DagsterInstance.from_config(str(settings.data_dir / ".dagster")) as instance:
        return [run.status for run in instance.get_runs()]


@pytest.mark.parametrize(
    ("number", "name", "file"),
    [
        pytest.param(
            signal.SIGINT,
            "open_instance",
            "orchestration/home.py",
            id="before the run",
            marks=pytest.mark.soak,
        ),
        pytest.param(signal.SIGTERM, "begin_sync", "lake/books.py", id="as the sync begins"),
        pytest.param(
            signal.SIGINT,
            "start",
            "extract/extraction.py",
            id="as threads are started",
            marks=pytest.mark.soak,
        ),
        pytest.param(signal.SIGTERM, "_row", "orchestration/verify.py", id="inside a query"),
        pytest.param(
            signal.SIGINT,
            "publish",
            "access/publish.py",
            id="as it is published",
            marks=pytest.mark.soak,
        ),
    ],
)
def test_an_interrupted_sync_says_so_and_ends_in_order(
    settings: Settings, tenant: Simulator, number: signal.Signals, name: str, file: str
) -> None:
    ended = interrupted(settings, tenant, number, name, file)
    assert ended.err.count("sent") == 1
    assert ended.code == 130, ended.err
    check_what_is_left(settings, ended)
    assert dg.DagsterRunStatus.SUCCESS not in runs(settings)


def test_a_sync_that_is_interrupted_when_it_is_done_has_done_everything(
    settings: Settings, tenant: Simulator
) -> None:
    ended = interrupted(settings, tenant, signal.SIGTERM, "job_success", "core/events/__init__.py")
    assert ended.err.count("sent") == 1
    assert ended.code == 0, ended.err
    check_what_is_left(settings, ended)
    assert runs(settings) == [dg.DagsterRunStatus.SUCCESS]


def test_an_interrupt_before_the_command_has_begun_is_told_in_the_same_way(
    settings: Settings, tenant: Simulator
) -> None:
    ended = interrupted(settings, tenant, signal.SIGTERM, "get_command", "typer/main.py")
    assert ended.err == "sent\nInterrupted.\n"
    assert ended.code == 130
    assert not settings.data_dir.exists()


@pytest.mark.parametrize("kept", [False, True], ids=["swallowed", "another error"])
def test_an_interrupt_whose_exception_was_lost_is_still_known(kept: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOST.format(kept=kept)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=_listening,
    )
    assert done.stdout == "lost True\n"
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
    assert "somebody" not in done.stderr


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_fifteen_random_moments(tenant: Simulator, tmp_path: Path, number: signal.Signals) -> None:
    chance = random.Random(int(number))
    codes = []
    for n in range(15):
        settings = settings_for(tenant, tmp_path / str(n))
        ended = interrupted(settings, tenant, number, f"{chance.uniform(0.1, 6.0):.3f}", "")
        check_what_is_left(settings, ended)
        codes.append(ended.code)
    assert codes.count(130) >= 5
