"""What a run tells Dagster about a table: row count, completeness, cost; never a row."""

from __future__ import annotations

import dagster as dg

from entra_pipeline.lake import Books, CommitInfo, TableStatus
from entra_pipeline.orchestration import specs
from entra_pipeline.tables import Table

SYNCS_SHOWN = 1000


def materialized(status: TableStatus, info: CommitInfo | None) -> dg.MaterializeResult[None]:
    """A table that this sync read and committed."""
    return dg.MaterializeResult(
        asset_key=specs.key(status.table),
        metadata={
            **dg.TableMetadataSet(row_count=status.rows),
            **_status(status),
            **_cost(status),
        },
        data_version=dg.DataVersion(info.digest) if info else None,
    )


def observed(status: TableStatus) -> dg.AssetObservation:
    """A table that this sync could not refresh: what is stored stays as it was."""
    return dg.AssetObservation(
        asset_key=specs.key(status.table), metadata={**_status(status), **_cost(status)}
    )


def books_materialized(table: Table, books: Books) -> dg.MaterializeResult[None]:
    """One of the bookkeeping tables, which live in the books until they are published."""
    rows = len(books.statuses()) if table.name == "table_status" else len(books.syncs(SYNCS_SHOWN))
    return dg.MaterializeResult(
        asset_key=specs.key(table), metadata=dict(dg.TableMetadataSet(row_count=rows))
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
