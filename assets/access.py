"""The entitlement graph: one graph of ops that builds a warehouse beside the published one.

Its outputs are the tables that only the warehouse has: principals, entitlements, grants, groups in
groups, and the readable copy of the books.

The ops are the steps of `access.build`, so that an operator sees which of them is slow or failed.
Nothing passes between them but their order: the stage is a file that belongs to the run, and
Dagster would pickle anything else in clear. The derived tables become readable in the last step,
which is why all of them are its outputs.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import dagster as dg

from assets import checks
from entra_pipeline.access import build
from entra_pipeline.lake.events import Events
from entra_pipeline.orchestration import specs, verify
from entra_pipeline.orchestration.session import Sync
from entra_pipeline.tables import TABLES

_DERIVED: Final = specs.derived()
_AFTER: Final = {"after": dg.In(dg.Nothing)}


def _op(name: str, work: Callable[[Path], int], doc: str) -> dg.OpDefinition:
    @dg.op(name=name, ins=_AFTER, out=dg.Out(dg.Nothing), description=doc)
    def step(context: dg.OpExecutionContext, sync: dg.ResourceParam[Sync]) -> None:
        with sync.step(name):
            sync.require_stage()
            context.add_output_metadata({"rows": work(sync.stage)})

    return step


@dg.op(
    ins=_AFTER,
    out=dg.Out(dg.Nothing),
    description="Start a stage: directory tables and bookkeeping as they are in lake and books.",
)
def load_stage(context: dg.OpExecutionContext, sync: dg.ResourceParam[Sync]) -> None:
    """Copy the current tables into a new stage, or what changed into one like the published."""
    with sync.step("load_stage"):
        context.add_output_metadata({"refreshed": sync.start_stage()})


find_principals = _op(
    "find_principals", build.principals, "Who can hold access; memberships and nesting."
)
find_entitlements = _op(
    "find_entitlements", build.entitlements, "What can be held: resources and entitlements."
)
find_grants = _op("find_grants", build.grants, "Who holds what directly.")
close_groups = _op("close_groups", build.closure, "Which groups are inside which, at any depth.")
count_holders = _op("count_holders", build.counts, "How many principals hold each entitlement.")


@dg.op(
    ins=_AFTER,
    out=dg.Out(dg.Nothing),
    description="Who used what, by the activity logs in the lake; unknown where they have gaps.",
)
def sum_usage(context: dg.OpExecutionContext, sync: dg.ResourceParam[Sync]) -> None:
    """Join use to access, from sums of each day's events."""
    with sync.step("sum_usage"):
        sync.require_stage()
        rows = build.usage(sync.stage, Events(sync.directory.lake))
        context.add_output_metadata({"rows": rows})


@dg.op(
    ins=_AFTER,
    out={table.name: dg.Out(dg.Nothing) for table in _DERIVED},
    description="Views, macros and descriptions: the stage is now a warehouse.",
)
def finish_stage(sync: dg.ResourceParam[Sync]) -> Iterator[dg.Output[None]]:
    """Make the stage readable and say how large each derived table is."""
    with sync.step("finish_stage"):
        sync.require_stage()
        build.finish(sync.stage)
        sync.end_stage()
        with verify.database(sync.stage) as connection:
            rows = {table.name: verify.rows(connection, table) for table in _DERIVED}
        for name, count in rows.items():
            yield dg.Output(None, output_name=name, metadata={specs.ROW_COUNT: count})


@dg.graph_multi_asset(
    name="entitlement_graph",
    ins={"books": dg.AssetIn(key=specs.BOOKS, dagster_type=dg.Nothing)},
    outs={table.name: dg.AssetOut(dagster_type=dg.Nothing) for table in _DERIVED},
)
def _entitlement_graph(books: None) -> dict[str, Any]:
    done = load_stage(books)
    for op in (
        find_principals,
        find_entitlements,
        find_grants,
        close_groups,
        count_holders,
        sum_usage,
    ):
        done = op(done)
    finished = finish_stage(done)
    return {table.name: getattr(finished, table.name) for table in _DERIVED}


# Graphs of ops take no group and no freshness from their outputs; specs do.
access = _entitlement_graph.map_asset_specs(
    lambda spec: specs.described(spec, TABLES[spec.key.path[-1]])
)

access_checks = [checks.build_stage_checks(table) for table in _DERIVED]
