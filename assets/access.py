"""The entitlement graph: one graph of ops that builds a warehouse beside the published one.

The ops are the steps of `access.build`, so that an operator sees which of them is slow or failed.
Nothing passes between them but their order: the stage is a file that belongs to the run, and
Dagster would pickle anything else in clear. The derived tables become readable in the last step,
which is why all of them are its outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import dagster as dg

from assets import checks
from entra_pipeline.access import build
from entra_pipeline.orchestration import specs, verify
from entra_pipeline.orchestration.session import Sync

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
    """Copy the current tables into a new stage."""
    with sync.step("load_stage"):
        build.load(sync.stage, sync.files(), sync.known(), syncs=sync.sync_rows())


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
    out={table.name: dg.Out(dg.Nothing) for table in _DERIVED},
    description="Views, macros and descriptions: the stage is now a warehouse.",
)
def finish_stage(sync: dg.ResourceParam[Sync]) -> Iterator[dg.Output[None]]:
    """Make the stage readable and say how large each derived table is."""
    with sync.step("finish_stage"):
        sync.require_stage()
        build.finish(sync.stage)
        with verify.database(sync.stage) as connection:
            rows = {table.name: verify.rows(connection, table) for table in _DERIVED}
        for name, count in rows.items():
            yield dg.Output(
                None, output_name=name, metadata=dict(dg.TableMetadataSet(row_count=count))
            )


@dg.graph_multi_asset(
    name="entitlement_graph",
    ins={"table_status": dg.AssetIn(key=specs.TABLE_STATUS, dagster_type=dg.Nothing)},
    outs={table.name: specs.asset_out(table) for table in _DERIVED},
)
def access(table_status: None) -> dict[str, dg.InvokedNodeOutputHandle]:
    """Effective access, factorised: principals, entitlements, grants, and groups in groups."""
    done = load_stage(table_status)
    for op in (find_principals, find_entitlements, find_grants, close_groups, count_holders):
        done = op(done)
    finished = finish_stage(done)
    return {table.name: getattr(finished, table.name) for table in _DERIVED}


access_checks = [checks.build_stage_checks(table) for table in _DERIVED]
