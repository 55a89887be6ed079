"""One sync as a process of its own, to be killed: read, build, publish, as a Dagster run does.

Here: the steps that the run's assets take, with the same `Sync` and without Dagster, whose start
alone would cost as much as the sync of a small tenant. The processes are forked from one that has
imported everything and does nothing else, which saves another second each.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from entra_pipeline.access import build
from entra_pipeline.access.publish import publish
from entra_pipeline.cli.exits import ExitCode
from entra_pipeline.extract.extraction import extractable
from entra_pipeline.lake import Books, DataDirectory, Lake, Outcome
from entra_pipeline.orchestration.session import Sync
from entra_pipeline.settings import PREFIX, Settings
from entra_pipeline.tables import Status
from tests.cli.program import ROOT
from tests.cli.program import environment as without_settings
from tests.forking import CONTEXT

# A sync that takes longer hangs.
PATIENCE_S: Final = 240.0


@dataclass(frozen=True)
class Told:
    """What a sync that ended said of its tables: status, reason, notes."""

    sync_id: str
    tables: dict[str, tuple[str, str | None, dict[str, int]]]

    def whole(self) -> bool:
        """Whether every table is complete."""
        return not self.others()

    def others(self) -> dict[str, tuple[str, str | None]]:
        """Tables that are not complete, with the reason."""
        return {n: (s, r) for n, (s, r, _) in self.tables.items() if s != Status.COMPLETE}


class Syncing:
    """A sync under way in its process, which holds the data directory's lock when this returns.

    `accept_shrink`: tables that are believed to have shrunk.
    """

    def __init__(self, environment: Mapping[str, str], accept_shrink: Sequence[str] = ()) -> None:
        self.cut_short = False
        self._answers, answers = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(
            target=_sync, args=(answers, dict(environment), tuple(accept_shrink)), daemon=True
        )
        self._process.start()
        answers.close()
        assert self._answers.poll(PATIENCE_S), "a sync did not begin"
        assert self._answers.recv() == "begins"
        self._begun = time.monotonic()

    def told(self) -> Told:
        """Wait for its end."""
        assert self._answers.poll(PATIENCE_S), f"a sync took more than {PATIENCE_S} seconds"
        told: Told = self._answers.recv()
        self._process.join(PATIENCE_S)
        assert self._process.exitcode == 0
        return told

    def killed(self, after_s: float) -> Told | None:
        """Kill it that time after its begin; what it told if it had ended by then."""
        if self._answers.poll(max(0.0, self._begun + after_s - time.monotonic())):
            return self.told()
        self._process.kill()
        self._process.join(PATIENCE_S)
        self.cut_short = self._process.exitcode == -signal.SIGKILL
        return None


class Command:
    """The same by the command `sync`, with Dagster: it reads all tables but the slow ones.

    It takes about this many times as long, most of it for its start.
    """

    TIMES: Final = 5

    def __init__(self, environment: Mapping[str, str], data: Path) -> None:
        self.cut_short = False
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this object
        self._process = subprocess.Popen(
            [sys.executable, "-m", "entra_pipeline.cli", "sync", "--json"],
            env={"PYTHONPATH": str(ROOT), **without_settings(**environment)},
            cwd=data.parent,
            stdout=self._said,
            stderr=self._said,
        )
        self._begun = time.monotonic()

    def told(self) -> None:
        """Wait for its end, whatever it says: a sync of all tables is to follow."""
        self._process.wait(PATIENCE_S)
        self._said.seek(0)
        said = self._said.read().decode()
        # Tables may have failed, the command may not.
        ended = self._process.returncode in (ExitCode.OK, ExitCode.FAILED) and '"outcome"' in said
        assert ended, f"sync ended by {self._process.returncode}: {said}"

    def killed(self, after_s: float) -> None:
        """Kill it that time after its begin, times TIMES."""
        try:
            self._process.wait(max(0.0, self._begun + self.TIMES * after_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(PATIENCE_S)
            self.cut_short = self._process.returncode == -signal.SIGKILL


def _sync(
    answers: Connection, environment: Mapping[str, str], accept_shrink: Sequence[str]
) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    os.environ.update(environment)
    settings = Settings.load()
    directory = DataDirectory.claim(settings.data_dir, settings.tenant_id)
    tables = extractable()
    with directory.lock():
        answers.send("begins")
        books = Books(directory)
        books.close_dead_syncs(holding_lock=True)
        for left in directory.warehouses.glob("stage-*"):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()
        sync = Sync(
            settings=settings,
            directory=directory,
            lake=Lake(directory.lake),
            books=books,
            sync_id=books.begin_sync("sync", tables),
            run_id="1",
            publishes=True,
        )
        outcome = Outcome.FAILED
        try:
            for _ in sync.read(tables, full=False, accept_shrink=frozenset(accept_shrink)):
                pass
            sync.start_stage()
            build.complete(sync.stage)
            publish(sync.stage, directory)
            sync.has_published = True
            outcome = sync.outcome
        finally:
            sync.close()
            books.finish_sync(sync.sync_id, outcome)
            sync.tidy()
    told = {
        name: (str(status.status), status.reason, dict(status.notes))
        for name, status in sync.statuses.items()
    }
    answers.send(Told(sync.sync_id, told))
