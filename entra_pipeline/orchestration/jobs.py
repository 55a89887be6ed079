"""The jobs: which assets a run brings up to date. Jobs select by group and table, never by module.

`sync` is everything that answers within minutes and ends in a published warehouse. The slow
tables (Graph grants some reports a handful of requests a minute) have their own job, so that they
never hold up the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import dagster as dg

from entra_pipeline.orchestration import specs

SYNC: Final = "sync"
SLOW: Final = "slow"
EVERYTHING: Final = "everything"
ACCESS: Final = "access"
RECONCILE: Final = "reconcile"
MAINTENANCE: Final = "maintenance"  # made in `maintenance`: it brings no asset up to date

# Runs of jobs that carry this tag wait for one another in Dagster's queue instead of failing on
# the data directory's lock: see tag_concurrency_limits in dagster.yaml.
WRITES_TAG: Final = "entra_pipeline/writes"

RUN_TAGS: Final = {WRITES_TAG: "lake"}

BOOKS: Final = dg.AssetSelection.assets(specs.BOOKS)
DERIVED: Final = dg.AssetSelection.assets(
    *(specs.key(table) for table in specs.derived()), specs.WAREHOUSE
)


def table_names(*, slow: bool) -> list[str]:
    """The tables read from Graph that are slow, or those that are not."""
    return [table.name for table in specs.extracted() if table.slow == slow]


def build_jobs() -> list[dg.UnresolvedAssetJobDefinition]:
    """Every job of the code location."""
    quick, slow = table_names(slow=False), table_names(slow=True)
    jobs = [
        _job(
            SYNC,
            _tables(quick) | BOOKS | DERIVED,
            "Read every table but the slow ones, derive access, publish the warehouse.",
        ),
        _job(
            SLOW,
            _tables(slow) | BOOKS | DERIVED,
            "Read the slow tables (sign-in activity, registration details, synchronization "
            "jobs), derive access, publish the warehouse.",
        ),
        _job(
            EVERYTHING,
            _tables(quick + slow) | BOOKS | DERIVED,
            "Read every table, slow ones included, derive access, publish the warehouse.",
        ),
        _job(
            RECONCILE,
            _tables(quick) | BOOKS | DERIVED,
            "As sync, and compare the tables that are kept by what changed with a full read.",
            config={"ops": {"read_tables": {"config": {"reconcile": True}}}},
        ),
        _job(ACCESS, DERIVED, "Derive access from the tables as they are, and publish."),
    ]
    for group in sorted({table.group for table in specs.extracted()}):
        members = [table.name for table in specs.extracted() if table.group == group]
        jobs.append(
            _job(
                group,
                _tables(members) | BOOKS,
                f"Read the tables of group {group}; publish nothing.",
            )
        )
    return jobs


def tables_of(job: str) -> list[str]:
    """The tables that a job reads from Graph; none for a job that reads none."""
    if job in (SYNC, SLOW, RECONCILE):
        return table_names(slow=job == SLOW)
    return [t.name for t in specs.extracted() if job in (EVERYTHING, t.group)]


def job_for(tables: Iterable[str]) -> str:
    """The smallest of the publishing jobs that holds all of these tables (all: `sync`)."""
    wanted = set(tables)
    if wanted <= set(table_names(slow=False)):
        return SYNC
    return SLOW if wanted <= set(table_names(slow=True)) else EVERYTHING


def _tables(names: Iterable[str]) -> dg.AssetSelection:
    return dg.AssetSelection.assets(*(specs.key(name) for name in names))


def _job(
    name: str,
    selection: dg.AssetSelection,
    description: str,
    config: dict[str, Any] | None = None,
) -> dg.UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        name,
        selection=selection,
        description=description,
        config=config,
        tags=RUN_TAGS,
        executor_def=dg.in_process_executor,
    )
