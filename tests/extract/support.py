"""What the extract tests share: a data directory beside a simulator, and how to sync into it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.extract.extraction import Extraction, Progress, run
from entra_pipeline.extract.notes import VANISHED
from entra_pipeline.lake import Books, DataDirectory, Lake, TableStatus
from entra_pipeline.msgraph import GraphClient
from entra_pipeline.settings import Settings
from entra_pipeline.simulator.process import Simulator
from entra_pipeline.tables import Status


def settings_for(simulator: Simulator, data_dir: Path, **overrides: Any) -> Settings:
    """Settings by the environment, as a user gives them; plain http to Graph saves time."""
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("ENTRA_")]:
            environment.delenv(name)
        for name, value in simulator.settings_env().items():
            environment.setenv(name, value)
        environment.setenv("ENTRA_GRAPH_URL", simulator.info.http_graph_url)
        return Settings.load(data_dir=data_dir, **overrides)


class Rig:
    """A data directory and a client for one simulator."""

    def __init__(self, simulator: Simulator, path: Path, **overrides: Any) -> None:
        self.simulator = simulator
        self.settings = settings_for(simulator, path / "data", **overrides)
        directory = DataDirectory.claim(self.settings.data_dir, simulator.info.tenant_id)
        self.lake = Lake(directory.lake)
        self.books = Books(directory)
        self.client = GraphClient.from_settings(self.settings)

    def set(self, **overrides: Any) -> None:
        """Change settings for the syncs to come."""
        self.settings = settings_for(self.simulator, self.settings.data_dir, **overrides)
        self.client.close()
        self.client = GraphClient.from_settings(self.settings)

    def sync(
        self,
        *tables: str,
        full: bool = False,
        accept_shrink: Iterable[str] = (),
        on_progress: Callable[[Progress], None] | None = None,
    ) -> dict[str, TableStatus]:
        """Read the tables, all that are not slow unless named."""
        return run(
            self.settings,
            self.client,
            self.lake,
            self.books,
            self.books.begin_sync("test", tables),
            tables or None,
            full=full,
            accept_shrink=frozenset(accept_shrink),
            on_progress=on_progress,
        )

    def extraction(self, *tables: str, **options: Any) -> Extraction:
        """An extraction that was not started."""
        sync_id = self.books.begin_sync("test", tables)
        return Extraction(
            self.settings, self.client, self.lake, self.books, sync_id, tables, **options
        )

    def rows(self, table: str) -> list[dict[str, Any]]:
        """What is published, as Python values."""
        return self.lake.read(table).to_pylist()

    def digest(self, table: str) -> str:
        """The hash of what is published; empty when nothing is."""
        info = self.lake.info(table)
        return "" if info is None else info.digest

    def close(self) -> None:
        self.client.close()


def assert_like_a_full_read(rig: Rig, path: Path, *tables: str) -> None:
    """Every table holds row for row what a full read into an empty directory gives."""
    fresh = Rig(rig.simulator, path)
    assert {s.status for s in fresh.sync(*tables).values()} == {Status.COMPLETE}
    for name in tables:
        if rig.digest(name) != fresh.digest(name):
            ours = {str(row) for row in rig.rows(name)}
            theirs = {str(row) for row in fresh.rows(name)}
            assert (name, sorted(ours - theirs), sorted(theirs - ours)) == (name, [], [])
            raise AssertionError(f"{name}: other order or repeated rows")
    fresh.close()


def assert_by_changes(statuses: dict[str, TableStatus]) -> None:
    """Every table is whole, and none had to be read in full."""
    found = {n: (s.status, s.reason, set(s.notes) - {VANISHED}) for n, s in statuses.items()}
    assert found == dict.fromkeys(statuses, (Status.COMPLETE, None, set()))
