"""A table left alone turns stale, and Dagster and the books say it of the same tables."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.definitions.freshness_evaluator import TimeWindowFreshnessPolicyEvaluator
from dagster._core.events import DagsterEvent, DagsterEventType, StepMaterializationData
from dagster._core.loader import LoadingContextForTest

from entra_pipeline.definitions import defs
from entra_pipeline.lake import Books, DataDirectory, TableStatus
from entra_pipeline.orchestration import staleness
from entra_pipeline.tables import Status, get

GRAPH = defs.resolve_asset_graph()
MINUTE = timedelta(minutes=1)


def dagster_says(table: str, age: timedelta) -> FreshnessState:
    """Dagster's verdict on a table whose last materialisation is that old."""
    key = dg.AssetKey(table)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.report_dagster_event(
            DagsterEvent(
                event_type_value=DagsterEventType.ASSET_MATERIALIZATION.value,
                job_name="sync",
                event_specific_data=StepMaterializationData(dg.AssetMaterialization(key)),
            ),
            run_id="a-run",
            timestamp=time.time() - age.total_seconds(),
        )
        return asyncio.run(
            TimeWindowFreshnessPolicyEvaluator().evaluate_freshness(
                LoadingContextForTest(instance), GRAPH.get(key)
            )
        )


def books_say(table: str, age: timedelta, folder: Path) -> Status:
    """The books' verdict on a table whose published rows are that old."""
    read = datetime(2026, 3, 1, tzinfo=UTC)
    books = Books(DataDirectory.claim(folder, "a-tenant"), now=lambda: read + age)
    sync_id = books.begin_sync("test", [table])
    books.record(sync_id, TableStatus(table, Status.COMPLETE, rows=1, as_of=read, sync_id=sync_id))
    return books.statuses(staleness.limits())[table].status


@pytest.mark.parametrize("table", ["users", "group_members", "user_sign_in_activity"])
def test_a_table_left_alone_turns_stale_for_dagster_and_for_the_warehouse_alike(
    table: str, tmp_path: Path
) -> None:
    warn, stale = (limit(get(table)) for limit in (staleness.warn_after, staleness.stale_after))
    assert dagster_says(table, MINUTE) is FreshnessState.PASS
    assert dagster_says(table, warn + MINUTE) is FreshnessState.WARN
    assert dagster_says(table, stale + MINUTE) is FreshnessState.FAIL
    assert books_say(table, stale - MINUTE, tmp_path / "before") is Status.COMPLETE
    assert books_say(table, stale + MINUTE, tmp_path / "after") is Status.STALE


def test_a_table_that_was_never_read_is_of_unknown_freshness() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        state = asyncio.run(
            TimeWindowFreshnessPolicyEvaluator().evaluate_freshness(
                LoadingContextForTest(instance), GRAPH.get(dg.AssetKey("users"))
            )
        )
    assert state is FreshnessState.UNKNOWN


def test_slow_tables_are_given_longer_and_schedules_fit_into_the_limits() -> None:
    users, slow = get("users"), get("user_sign_in_activity")
    assert staleness.stale_after(users) < staleness.stale_after(slow)
    # Two runs may be lost before a table is late.
    assert timedelta(hours=4) * 2 < staleness.warn_after(users)
    assert timedelta(hours=24) * 2 < staleness.warn_after(slow)
