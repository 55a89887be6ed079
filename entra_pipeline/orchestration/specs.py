"""What Dagster is told about a table, all of it derived from the table's declaration.

Asset keys are the tables' own names: the contract that other programs query by is the one that
operators read in Dagster's pages.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import dagster as dg

from entra_pipeline.orchestration import staleness
from entra_pipeline.tables import TABLES, Table

OWNERS: Final = ("team:identity",)
# Dagster's own name for what it draws as the size of a table.
ROW_COUNT: Final = "dagster/row_count"
EXTRACTED_GROUPS: Final = frozenset({"directory", "activity"})

WAREHOUSE: Final = dg.AssetKey("warehouse")
BOOKS: Final = dg.AssetKey("books")

# Evaluated by every sync: the verdict is that of the last reconcile, whenever it was.
INCREMENTS: Final = dg.AssetCheckSpec(
    "increments",
    asset=BOOKS,
    description=(
        "When the tables kept by what changed were last compared with a full read (job "
        "reconcile), no row differed that no change since explains."
    ),
)

_KINDS: Final = {
    "directory": frozenset({"entra", "deltalake"}),
    "activity": frozenset({"entra", "deltalake"}),
    "access": frozenset({"duckdb", "sql"}),
    "bookkeeping": frozenset({"duckdb", "sqlite"}),
}


def extracted() -> list[Table]:
    """The tables that are read from Graph, in the registry's order."""
    return [table for table in TABLES.values() if table.group in EXTRACTED_GROUPS]


def derived() -> list[Table]:
    """The tables that only the warehouse has: entitlement graph and bookkeeping."""
    return [table for table in TABLES.values() if table.group not in EXTRACTED_GROUPS]


def key(table: Table | str) -> dg.AssetKey:
    """The asset key of a table."""
    return dg.AssetKey(table if isinstance(table, str) else table.name)


def asset_spec(
    table: Table, *, deps: Iterable[dg.AssetKey] = (), skippable: bool = False
) -> dg.AssetSpec:
    """The asset of a table: documentation, column schema, owner, freshness, code version."""
    return dg.AssetSpec(
        key=key(table),
        deps=list(deps),
        skippable=skippable,
        description=table.doc,
        metadata=metadata(table),
        group_name=table.group,
        code_version=str(table.version),
        freshness_policy=freshness(table),
        owners=list(OWNERS),
        kinds=set(_KINDS[table.group]),
        tags={"entra_pipeline/slow": ""} if table.slow else {},
    )


def described(spec: dg.AssetSpec, table: Table) -> dg.AssetSpec:
    """A spec that a graph of ops made, with what `asset_spec` says; dependencies stay."""
    ours = asset_spec(table)
    return spec.replace_attributes(
        description=ours.description,
        metadata={**spec.metadata, **ours.metadata},
        group_name=ours.group_name,
        code_version=ours.code_version,
        freshness_policy=ours.freshness_policy,
        owners=ours.owners,
        kinds=set(ours.kinds),
    )


def freshness(table: Table) -> dg.FreshnessPolicy:
    """How long a table may be left alone before Dagster calls it stale."""
    return dg.FreshnessPolicy.time_window(
        warn_window=staleness.warn_after(table), fail_window=staleness.stale_after(table)
    )


def metadata(table: Table) -> dict[str, object]:
    """What a table's page shows before anything was read: columns, key, permission, licence."""
    shown: dict[str, object] = {
        "dagster/table_name": table.name,
        "dagster/column_schema": dg.TableSchema(
            columns=[
                dg.TableColumn(
                    name=column.name,
                    type=str(column.type),
                    description=column.doc,
                    constraints=dg.TableColumnConstraints(nullable=column.name not in table.key),
                )
                for column in table.columns
            ]
        ),
        "key": ", ".join(table.key),
    }
    if table.permissions:
        shown["permissions"] = (" and " if table.all_of else " or ").join(table.permissions)
    if table.license:
        shown["license"] = f"Microsoft Entra ID {table.license.upper()}"
    if table.absent_clouds:
        shown["not_in_clouds"] = ", ".join(sorted(table.absent_clouds))
    if table.source_doc:
        shown["source"] = dg.MetadataValue.url(table.source_doc)
    if table.references:
        shown["references"] = ", ".join(
            f"{', '.join(reference.columns)} → {reference.table}" for reference in table.references
        )
    return shown


def check_specs(table: Table) -> list[dg.AssetCheckSpec]:
    """The checks that a table's declaration implies.

    `schema` and `key` protect readers and block what is derived; `references` and `complete` (which
    covers shrinkage) only tell, because an incomplete tenant is no reason to withhold the rest.
    """
    asset = key(table)
    specs = [
        dg.AssetCheckSpec(
            "schema",
            asset=asset,
            blocking=True,
            description="Stored columns are the declared ones.",
        ),
        dg.AssetCheckSpec(
            "key",
            asset=asset,
            blocking=True,
            description=f"({', '.join(table.key)}) is never null and never repeated.",
        ),
    ]
    if table.references:
        specs.append(
            dg.AssetCheckSpec(
                "references",
                asset=asset,
                description="Every id it names is a row of the table it belongs to.",
            )
        )
    if table.group in EXTRACTED_GROUPS:
        specs.append(
            dg.AssetCheckSpec(
                "complete",
                asset=asset,
                description=(
                    "The last sync read it whole, neither empty nor sharply smaller than "
                    "published (shrinkage), and published it."
                ),
            )
        )
    return specs
