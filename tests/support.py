"""Ways that several tests go: a whole sync without Dagster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.access import build
from entra_pipeline.access.publish import publish
from entra_pipeline.extract.extraction import Extraction, extractable
from entra_pipeline.lake import Books, DataDirectory, Lake, TableStatus
from entra_pipeline.lake.events import Events
from entra_pipeline.msgraph import GraphClient
from entra_pipeline.settings import Settings
from entra_pipeline.simulator.process import Simulator


@dataclass(frozen=True)
class Synced:
    """A data directory after a sync: where it is, whose, and how each table came out."""

    path: Path
    settings: Settings
    statuses: dict[str, TableStatus]

    @property
    def warehouse(self) -> Path:
        """The published warehouse."""
        return self.path / "warehouse.duckdb"


def settings_for(simulator: Simulator, data_dir: Path, **more: Any) -> Settings:
    """The settings that read the simulated tenant into the directory, whatever the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in simulator.settings_env().items():
            patch.setenv(name, value)
        return Settings.load(data_dir=data_dir, **more)


def sync(simulator: Simulator, data_dir: Path, **more: Any) -> Synced:
    """Read every table of the simulated tenant and publish the warehouse; `more` are settings."""
    settings = settings_for(simulator, data_dir, **more)
    directory = DataDirectory.claim(data_dir, settings.tenant_id)
    books, lake = Books(directory), Lake(directory.lake)
    tables = extractable()
    with directory.lock():
        sync_id = books.begin_sync("test", tables)
        client = GraphClient.from_settings(settings)
        with Extraction(settings, client, lake, books, sync_id, tables) as extraction:
            for table in tables:
                extraction.result(table)
        books.finish_sync(sync_id, "succeeded")
        statuses = books.statuses()
        stage = directory.warehouses / "stage.duckdb"
        files = {name: lake.files(name) for name in tables}
        events = Events(directory.lake)
        build.build(stage, files, statuses, syncs=books.syncs(), events=events, described=False)
        publish(stage, directory)
    return Synced(data_dir, settings, statuses)
