"""`warehouse.duckdb`, the published copy that is asked, and the verdict on the run."""

import dagster as dg

from entra_pipeline.access.publish import publish
from entra_pipeline.orchestration import specs, staleness
from entra_pipeline.orchestration.session import Sync, reason


@dg.asset(
    key=specs.WAREHOUSE,
    deps=[specs.key(table) for table in specs.derived()],
    group_name="warehouse",
    owners=list(specs.OWNERS),
    kinds={"duckdb"},
    code_version="1",
    freshness_policy=dg.FreshnessPolicy.time_window(
        warn_window=staleness.WARN_AFTER, fail_window=staleness.STALE_AFTER
    ),
)
def warehouse(sync: dg.ResourceParam[Sync]) -> dg.MaterializeResult[None]:
    """The published warehouse: current tables, access, completeness, and the macros to ask with.

    Swapped in whole by one rename; whoever has the previous one open keeps reading it.
    """
    with sync.step("warehouse"):
        sync.require_stage()
        published = publish(sync.stage, sync.directory)
        sync.has_published = True
        return dg.MaterializeResult(
            metadata={"file": published.path.name, "bytes": published.path.stat().st_size}
        )


@dg.asset_check(
    asset=specs.WAREHOUSE,
    name="every_table_settled",
    blocking=True,
    description=(
        "No table of this run failed or was quarantined. The last step of a sync: what could be "
        "published is published by now, and the run ends failed when something was not."
    ),
)
def every_table_settled(sync: dg.ResourceParam[Sync]) -> dg.AssetCheckResult:
    """Fail the run for tables that failed, after their neighbours were published."""
    fatal = sync.fatal()
    return dg.AssetCheckResult(
        passed=not fatal,
        metadata={"tables_read": len(sync.statuses), **{s.table: reason(s) for s in fatal}},
    )
