"""Processes forked from one that has imported everything and done nothing else.

A process of its own is what a test wants; the interpreter's start and the import of Dagster, three
CPU seconds each time, it has no need of. Not forked from the tests' own process: that has threads
by now (Arrow's, DuckDB's), and who waits for one of them after a fork waits for ever.
"""

from __future__ import annotations

import multiprocessing
from typing import Final

CONTEXT: Final = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        # What a sync loads once it has begun: half a second's worth.
        "dagster._core.executor.in_process",
        "dagster._core.instance.runs",
        "dagster._core.remote_representation.external",
        "dagster._core.storage.legacy_storage",
        "dagster._core.storage.noop_compute_log_manager",
        "dagster._core.storage.root",
        "dagster._core.storage.runs.sqlite",
        "dagster._core.storage.schedules.sqlite",
        "dagster._core.workspace.context",
        "dagster._daemon.controller",
        "entra_pipeline.definitions",
        "entra_pipeline.cli.app",
        "entra_pipeline.cli.demo.questions",
        "entra_pipeline.cli.demo.state",
        "entra_pipeline.cli.export",
        "entra_pipeline.cli.progress",
        "entra_pipeline.cli.warehouse",
        "entra_pipeline.access.answers",
        "entra_pipeline.access.build",
        "entra_pipeline.access.publish",
        "entra_pipeline.access.past",
        "entra_pipeline.access.questions",
        "entra_pipeline.lake.backup",
        "entra_pipeline.lake.inspection",
        "entra_pipeline.msgraph",
        "entra_pipeline.orchestration.activity_launch",
        "entra_pipeline.orchestration.launch",
        "entra_pipeline.orchestration.maintenance",
        "entra_pipeline.orchestration.serve",
        "entra_pipeline.provisioning.applying",
        "entra_pipeline.provisioning.planning",
        "entra_pipeline.provisioning.service",
        "entra_pipeline.simulator.generate",
        "entra_pipeline.simulator.mutate",
        "entra_pipeline.simulator.server",
        "tests.cli.program",
        "tests.simulating",
        "uvloop",
        "tests.forking_done",
    ]
)
