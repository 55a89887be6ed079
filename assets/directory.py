"""The tables that are read from Microsoft Graph: one asset each, filled by one step.

Problem: tables share pages (groups bring their members, service principals their app roles), and
forty steps of Dagster's would wait on one another for reads that run side by side anyway.
Choice: one step starts one extraction for all the tables that the run selects, and reports each
of them as soon as it is settled. A table that could not be read is not materialised: its asset
keeps the time of the last good version and turns stale by itself, its check `complete` says why,
and the step goes on. What is derived therefore hangs on the `books`, which are always written,
and not on forty tables of which one may be missing: a missing output would skip it.
Trade: in Dagster's timeline these tables are one bar; their own durations are in their metadata.
"""

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from assets import checks
from entra_pipeline.lake import TableStatus
from entra_pipeline.orchestration import events, specs, verify
from entra_pipeline.orchestration.session import Sync
from entra_pipeline.tables import TABLES


class ReadConfig(dg.Config):
    """What a run may be asked for; the command line's options of the same names."""

    only: list[str] = Field(
        default=[],
        description="Names of the tables to read; empty: all that the run selects.",
    )
    full: bool = Field(
        default=False,
        description="Read everything anew instead of only what changed.",
    )
    reconcile: bool = Field(
        default=False,
        description="Compare the tables that are kept by what changed with a full read of them.",
    )
    reconcile_pause_s: float = Field(
        default=30.0,
        ge=0.0,
        description="Seconds between two looks at rows that differ: they may be on their way.",
    )
    accept_shrink: list[str] = Field(
        default=[],
        description=(
            "Names of tables to publish even though they came back empty or sharply smaller "
            "than the published version."
        ),
    )


_TABLES = specs.extracted()
_SPECS = [
    *(specs.asset_spec(table, skippable=True) for table in _TABLES),
    dg.AssetSpec(
        specs.BOOKS,
        deps=[specs.key(table) for table in _TABLES],
        description=(
            "The durable record of syncs and of how complete each table is. What is derived is "
            "built from the tables as the books say they are."
        ),
        group_name="bookkeeping",
        owners=list(specs.OWNERS),
        kinds={"sqlite"},
        code_version="1",
    ),
]
_CHECKS = [
    *(spec for table in _TABLES for spec in specs.check_specs(table)),
    specs.INCREMENTS,
]


@dg.multi_asset(name="read_tables", specs=_SPECS, check_specs=_CHECKS, can_subset=True)
def directory(
    context: dg.AssetExecutionContext, config: ReadConfig, sync: dg.ResourceParam[Sync]
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult | dg.AssetObservation]:
    """Read the selected tables from Graph, commit each as soon as it is whole, and check it."""
    selected = {key.path[-1] for key in context.selected_asset_keys}
    asked = context.selected_asset_check_keys
    wanted = [table.name for table in _TABLES if table.name in selected]
    with sync.step("read_tables"), verify.database() as connection:
        if config.only:
            wanted = sync.choose(config.only, wanted)
        held = checks.asked_without_reading(sync, _TABLES, selected, asked)
        for status in _statuses(sync, wanted, config):
            yield from checks.of_status(status, asked)
            if not sync.published(status):
                context.log_event(events.observed(status))
                continue
            info = sync.lake.info(status.table)
            yield events.materialized(status, info, sync.reconciled.get(status.table))
            yield from checks.of_rows(sync, connection, TABLES[status.table], asked)
            held.append(TABLES[status.table])
        # References need the other tables of the run to be settled too.
        for table in held:
            if table.name not in sync.statuses:
                yield from checks.of_rows(sync, connection, table, asked)
            yield from checks.of_references(sync, connection, table, asked)
        if specs.BOOKS in context.selected_asset_keys:
            yield events.books_materialized(sync.known())
            yield from checks.of_increments(sync.books.reconciled(), asked)
        else:
            # Nobody downstream will fail this run for its tables.
            sync.raise_for_tables()


def _statuses(sync: Sync, wanted: list[str], config: ReadConfig) -> Iterator[TableStatus]:
    accepted = frozenset(config.accept_shrink)
    if config.reconcile:
        pause_s = config.reconcile_pause_s
        return sync.reconcile(wanted, accept_shrink=accepted, pause_s=pause_s)
    return sync.read(wanted, full=config.full, accept_shrink=accepted)
