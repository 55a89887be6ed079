"""A data directory that an earlier version of this program wrote."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime

import duckdb
import pyarrow as pa
import pytest

from entra_pipeline.lake import DataDirectory, Lake
from entra_pipeline.orchestration.launch import run_sync
from entra_pipeline.settings import Settings
from entra_pipeline.tables import TABLES


def test_a_table_stored_with_fewer_columns_is_published_with_all(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert "DAGSTER_HOME" not in os.environ
    today = TABLES["devices"]
    former = replace(
        today,
        version=today.version - 1,
        columns=tuple(c for c in today.columns if c.name in {*today.key, "display_name"}),
    )
    directory = DataDirectory.claim(settings.data_dir, settings.tenant_id)
    rows = pa.Table.from_pylist([{"id": "d1", "display_name": "Old"}], schema=former.schema())
    Lake(directory.lake, {**TABLES, "devices": former}).commit(
        former, rows, sync_id="earlier", as_of=datetime(2026, 1, 1, tzinfo=UTC)
    )

    run_sync(settings, only=["organization"])

    info = Lake(directory.lake).info("devices")
    assert info is not None
    assert (info.declaration, info.sync_id) == (today.version, "earlier")
    with duckdb.connect(directory.warehouse_link, read_only=True) as warehouse:
        found = warehouse.execute("SELECT * FROM devices")
        assert [column[0] for column in found.description or ()] == [c.name for c in today.columns]
        assert found.fetchall()[0][0] == "d1"
