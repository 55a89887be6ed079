"""The composition root: the one place where assets, jobs, resources and settings meet.

`defs` is what Dagster's code server loads. It loads without any setting, so that a wrong one
shows as a failed run with a clear message and not as a code location that is gone.
"""

from __future__ import annotations

import dagster as dg

from assets.access import access, access_checks
from assets.activity import activity
from assets.directory import directory
from assets.warehouse import every_table_settled, warehouse
from entra_pipeline.orchestration import activity as readings
from entra_pipeline.orchestration import notices, provision
from entra_pipeline.orchestration.alerts import build_alert_sensor
from entra_pipeline.orchestration.feed import build_feed_sensor
from entra_pipeline.orchestration.jobs import build_jobs
from entra_pipeline.orchestration.maintenance import build_maintenance_job
from entra_pipeline.orchestration.resources import sync_resource
from entra_pipeline.orchestration.schedules import build_schedules
from entra_pipeline.orchestration.session import OnProgress
from entra_pipeline.settings import Settings


def build_definitions(
    settings: Settings | None = None,
    *,
    on_progress: OnProgress | None = None,
    on_activity: readings.OnActivity | None = None,
    holding_lock: bool = False,
) -> dg.Definitions:
    """Everything Dagster needs to know.

    `settings` None means: load them from the environment when a run begins. `on_progress`
    and `on_activity` are called from reading threads. `holding_lock`: this process already holds
    the lock of what it is about to run, the run need not take it.
    """

    def load() -> Settings:
        return settings if settings is not None else Settings.load()

    def load_for_alerts() -> Settings:
        return settings if settings is not None else Settings.for_data_only()

    return dg.Definitions(
        assets=[directory, activity, access, warehouse],
        asset_checks=[*access_checks, every_table_settled],
        jobs=[
            *build_jobs(),
            build_maintenance_job(load_for_alerts),
            readings.build_job(),
            *provision.build_jobs(load),
        ],
        schedules=[*build_schedules(), readings.build_schedule(load_for_alerts)],
        sensors=[
            build_alert_sensor(load_for_alerts),
            build_feed_sensor(load),
            provision.build_sensor(load),
            notices.build_sensor(load_for_alerts),
            provision.build_leavers_sensor(load),
        ],
        resources={
            "sync": sync_resource(load, on_progress=on_progress, holding_lock=holding_lock),
            "activity": readings.activity_resource(
                load, on_progress=on_activity, holding_lock=holding_lock
            ),
        },
        # Steps share one open sync, and 0.1 CPU seconds a step beat 4.8 for a process each.
        executor=dg.in_process_executor,
    )


defs = build_definitions()
