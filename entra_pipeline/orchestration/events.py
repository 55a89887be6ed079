"""What a run tells Dagster about a table: row count, completeness, cost; never a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import dagster as dg

from entra_pipeline.lake import CommitInfo, Reconciled, TableStatus
from entra_pipeline.orchestration import specs


def materialized(
    status: TableStatus, info: CommitInfo | None, reconciled: Reconciled | None = None
) -> dg.MaterializeResult[None]:
    """A table that this sync read and committed, and how it compared with a full read."""
    return dg.MaterializeResult(
        asset_key=specs.key(status.table),
        metadata={
            specs.ROW_COUNT: status.rows or 0,
            **_status(status),
            **_cost(status),
            **_comparison(reconciled),
        },
        data_version=dg.DataVersion(info.digest) if info else None,
    )


def observed(status: TableStatus) -> dg.AssetObservation:
    """A table that this sync could not refresh: what is stored stays as it was."""
    return dg.AssetObservation(
        asset_key=specs.key(status.table), metadata={**_status(status), **_cost(status)}
    )


def books_materialized(statuses: Mapping[str, TableStatus]) -> dg.MaterializeResult[None]:
    """The books after a reading: how many tables are in which state."""
    counted = Counter(status.status.value for status in statuses.values())
    return dg.MaterializeResult(
        asset_key=specs.BOOKS,
        metadata={f"tables/{status}": count for status, count in sorted(counted.items())},
    )


def _status(status: TableStatus) -> dict[str, dg.MetadataValue | str | int]:
    shown: dict[str, dg.MetadataValue | str | int] = {"status": status.status.value}
    if status.reason:
        shown["reason"] = status.reason
    if status.permission:
        shown["missing_permission"] = status.permission
    if status.as_of:
        shown["as_of"] = dg.MetadataValue.timestamp(status.as_of)
    if status.rows is not None:
        shown["published_rows"] = status.rows
    if status.version is not None:
        shown["version"] = status.version
    for note, count in status.notes.items():
        shown[f"notes/{note}"] = count
    return shown


def _cost(status: TableStatus) -> dict[str, int | float]:
    return {
        "cost/requests": status.requests,
        "cost/round_trips": status.round_trips,
        "cost/resource_units": status.units,
        "cost/bytes": status.bytes,
        "cost/retries": status.retries,
        "cost/throttled_seconds": status.throttled_s,
        "cost/seconds": round(status.duration_s, 3),
    }


def _comparison(found: Reconciled | None) -> dict[str, int]:
    if found is None:
        return {}
    return {"reconcile/rows": found.rows, "reconcile/differences": found.differences}
