"""When syncs run by themselves. All schedules start switched off: nobody's tenant is read unasked.

Times avoid the full hour, when everybody's jobs call Microsoft Graph.
"""

from __future__ import annotations

import dagster as dg

from entra_pipeline.orchestration import jobs


def build_schedules() -> list[dg.ScheduleDefinition]:
    """The schedules, stopped until somebody starts them in Dagster's pages."""
    return [
        dg.ScheduleDefinition(
            name="sync_every_four_hours",
            job_name=jobs.SYNC,
            cron_schedule="17 */4 * * *",
            execution_timezone="UTC",
            description="Reads every table but the slow ones and publishes.",
            default_status=dg.DefaultScheduleStatus.STOPPED,
        ),
        dg.ScheduleDefinition(
            name="sync_every_quarter_hour",
            job_name=jobs.SYNC,
            cron_schedule="2-59/15 * * * *",
            execution_timezone="UTC",
            description="The same more often, where what changed costs little; instead of it.",
            default_status=dg.DefaultScheduleStatus.STOPPED,
        ),
        dg.ScheduleDefinition(
            name="slow_every_night",
            job_name=jobs.SLOW,
            cron_schedule="43 1 * * *",
            execution_timezone="UTC",
            description="Reads the tables that Graph only gives slowly and publishes.",
            default_status=dg.DefaultScheduleStatus.STOPPED,
        ),
        dg.ScheduleDefinition(
            name="reconcile_every_week",
            job_name=jobs.RECONCILE,
            cron_schedule="37 2 * * 0",
            execution_timezone="UTC",
            description="Reads every table but the slow ones in full, and tells what differed.",
            default_status=dg.DefaultScheduleStatus.STOPPED,
        ),
        dg.ScheduleDefinition(
            name="maintenance_every_night",
            job_name=jobs.MAINTENANCE,
            cron_schedule="23 3 * * *",
            execution_timezone="UTC",
            description="Drops what is older than the retention settings, and tidies up files.",
            default_status=dg.DefaultScheduleStatus.STOPPED,
        ),
    ]
