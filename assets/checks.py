"""The checks, one set a table, made from its declaration; what they look at is in `verify`.

A check is only evaluated when this run learned something about it: a table that could not be read
keeps the last verdict on the rows that are still published.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

import dagster as dg
import duckdb
import pyarrow.parquet as pq

from entra_pipeline.lake import Reconciled, TableStatus
from entra_pipeline.orchestration import specs, verify
from entra_pipeline.orchestration.session import FATAL, Sync
from entra_pipeline.orchestration.verify import Verdict
from entra_pipeline.tables import Status, Table

Selected = Collection[dg.AssetCheckKey]


def of_status(status: TableStatus, selected: Selected) -> Iterator[dg.AssetCheckResult]:
    """`complete`: what the extraction itself found out, shrinkage included."""
    facts: dict[str, int | str] = {"status": status.status.value}
    if status.reason:
        facts["reason"] = status.reason
    whole = status.status is Status.COMPLETE
    severity = dg.AssetCheckSeverity.ERROR if status.status in FATAL else dg.AssetCheckSeverity.WARN
    yield from _result(status.table, "complete", Verdict(whole, facts), selected, severity)


def of_rows(
    sync: Sync, connection: duckdb.DuckDBPyConnection, table: Table, selected: Selected
) -> Iterator[dg.AssetCheckResult]:
    """`schema` and `key` of the rows that the lake now holds; a failure blocks what is derived."""
    files = sync.files_of(table.name)
    stored = pq.read_schema(files[0]) if files else table.schema()
    verdicts = {
        "schema": verify.schema(table, stored),
        "key": verify.key(connection, table, verify.parquet(files)),
    }
    for name, verdict in verdicts.items():
        if not verdict.passed:
            sync.note_failure(f"{table.name}: {name}")
        yield from _result(table.name, name, verdict, selected)


def of_references(
    sync: Sync, connection: duckdb.DuckDBPyConnection, table: Table, selected: Selected
) -> Iterator[dg.AssetCheckResult]:
    """`references` of a table, once the tables that it refers to are settled too."""
    if not table.references:
        return
    parents = {
        parent: verify.parquet(sync.files_of(parent))
        for parent in dict.fromkeys(reference.table for reference in table.references)
        # Published by this sync or an earlier one; otherwise nothing can be said.
        if sync.has_rows_of(parent)
    }
    source = verify.parquet(sync.files_of(table.name))
    verdict = verify.references(connection, table, source, parents)
    yield from _result(table.name, "references", verdict, selected, dg.AssetCheckSeverity.WARN)


def of_increments(
    compared: Mapping[str, Reconciled], selected: Selected
) -> Iterator[dg.AssetCheckResult]:
    """`increments`: what the last comparison with a full read found of each table."""
    if specs.INCREMENTS.key not in selected:
        return
    facts: dict[str, dg.MetadataValue | str | int] = {"tables_compared": len(compared)}
    if compared:
        latest = max(found.at for found in compared.values())
        facts["compared_at"] = dg.MetadataValue.timestamp(latest)
    facts["differences"] = sum(found.differences for found in compared.values())
    facts |= {
        name: f"{found.differences} of {found.rows} rows"
        for name, found in sorted(compared.items())
        if found.differences
    }
    yield dg.AssetCheckResult(
        asset_key=specs.BOOKS,
        check_name=specs.INCREMENTS.name,
        passed=not facts["differences"],
        severity=dg.AssetCheckSeverity.WARN,
        metadata=facts,
    )


def asked_without_reading(
    sync: Sync, tables: Sequence[Table], read: Collection[str], selected: Selected
) -> list[Table]:
    """Tables whose checks were asked for by themselves, in Dagster's pages, and that have rows."""
    return [
        table
        for table in tables
        if table.name not in read
        and any(spec.key in selected for spec in specs.check_specs(table))
        and sync.has_rows_of(table.name)
    ]


def _result(
    table: str,
    name: str,
    verdict: Verdict,
    selected: Selected,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> Iterator[dg.AssetCheckResult]:
    if dg.AssetCheckKey(specs.key(table), name) in selected:
        yield dg.AssetCheckResult(
            asset_key=specs.key(table),
            check_name=name,
            passed=verdict.passed,
            severity=severity,
            metadata=dict(verdict.facts),
        )


def build_stage_checks(table: Table) -> dg.AssetChecksDefinition:
    """The checks of a derived table, run on the stage: what fails is never published."""

    @dg.multi_asset_check(name=f"check_{table.name}", specs=specs.check_specs(table))
    def check_stage(sync: dg.ResourceParam[Sync]) -> Iterator[dg.AssetCheckResult]:
        with sync.step(f"check_{table.name}"), verify.database(sync.stage) as connection:
            verdicts = {
                "schema": verify.schema(table, verify.columns(connection, table)),
                "key": verify.key(connection, table, table.name),
            }
            if table.references:
                parents = {r.table: r.table for r in table.references}
                verdicts["references"] = verify.references(connection, table, table.name, parents)
            for name, verdict in verdicts.items():
                blocking = name != "references"
                if blocking and not verdict.passed:
                    sync.note_failure(f"{table.name}: {name}")
                yield dg.AssetCheckResult(
                    asset_key=specs.key(table),
                    check_name=name,
                    passed=verdict.passed,
                    severity=dg.AssetCheckSeverity.ERROR
                    if blocking
                    else dg.AssetCheckSeverity.WARN,
                    metadata=dict(verdict.facts),
                )

    return check_stage
