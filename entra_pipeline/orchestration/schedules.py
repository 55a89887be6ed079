"""When syncs run by themselves. All schedules start switched off: nobody's tenant is read unasked.

Times avoid the full hour, when everybody's jobs call Microsoft Graph.
"""

from __future__ import annotations

import dagster as dg

from entra_pipeline.orchestration import jobs


def build_schedules() -> list[dg.ScheduleDefinition]:
    """The schedules, stopped until somebody starts them in Dagster's pages."""
    return [
        _schedule(
            "sync_every_four_hours",
            jobs.SYNC,
            "17 */4 * * *",
            "Reads every table but the slow ones and publishes.",
        ),
        _schedule(
            "sync_every_quarter_hour",
            jobs.SYNC,
            "2-59/15 * * * *",
            "The same more often, where what changed costs little; instead of it.",
        ),
        _schedule(
            "slow_every_night",
            jobs.SLOW,
            "43 1 * * *",
            "Reads the tables that Graph only gives slowly and publishes.",
        ),
        _schedule(
            "reconcile_every_week",
            jobs.RECONCILE,
            "37 2 * * 0",
            "Reads every table but the slow ones in full, and tells what differed.",
        ),
        _schedule(
            "maintenance_every_night",
            jobs.MAINTENANCE,
            "23 3 * * *",
            "Drops what is older than the retention settings, and tidies up files.",
        ),
    ]


def _schedule(name: str, job: str, cron: str, description: str) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=name,
        job_name=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        description=description,
        default_status=dg.DefaultScheduleStatus.STOPPED,
    )
