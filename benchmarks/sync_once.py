"""One whole sync by the settings in the environment: extract, access, publication.

Arguments: ``dagster`` (as ``entra-pipeline sync`` does it), ``plain`` (the same domain code
without an orchestrator) or ``start`` (only loads Dagster and the definitions).
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from entra_pipeline.settings import Settings


def with_dagster(settings: Settings) -> dict[str, Any]:
    """The job, in process, recorded in a Dagster instance."""
    from entra_pipeline.orchestration.launch import run_sync

    report = run_sync(settings)
    return {"outcome": report.outcome.value, "tables": len(report.statuses)}


def plain(settings: Settings) -> dict[str, Any]:
    """What the assets do, one after the other."""
    from entra_pipeline.access.build import build
    from entra_pipeline.access.publish import publish, stage_path
    from entra_pipeline.extract.extraction import extractable, run
    from entra_pipeline.lake import Books, DataDirectory, Lake
    from entra_pipeline.lake.events import Events
    from entra_pipeline.msgraph import GraphClient
    from entra_pipeline.tables import get

    directory = DataDirectory.claim(settings.data_dir, settings.tenant_id)
    books, lake = Books(directory), Lake(directory.lake)
    tables = [name for name in extractable() if not get(name).slow]
    with directory.lock():
        client = GraphClient.from_settings(settings)
        sync_id = books.begin_sync("benchmark", tables)
        statuses = run(settings, client, lake, books, sync_id, tables)
        client.close()
        stage = stage_path(directory)
        files = {name: lake.files(name) for name in tables}
        build(stage, files, statuses, events=Events(directory.lake))
        publish(stage, directory)
    return {"outcome": "succeeded", "tables": len(statuses)}


def start(settings: Settings) -> dict[str, Any]:
    """Dagster's own start: imports and definitions."""
    from entra_pipeline.definitions import build_definitions

    definitions = build_definitions(settings)
    return {"assets": len(definitions.resolve_asset_graph().get_all_asset_keys())}


if __name__ == "__main__":
    began = time.perf_counter()
    said = {"dagster": with_dagster, "plain": plain, "start": start}[sys.argv[1]](Settings.load())
    print(json.dumps({**said, "wall_s": time.perf_counter() - began}))
