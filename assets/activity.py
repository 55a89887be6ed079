"""The activity logs: sign-ins, directory audits, provisioning events; a partition a day.

One step for all the days and logs of a run: a backfill over a range is one run, and what Graph
allows an hour is spent on the oldest events first. What a run asks for is read whatever was read
before; what is covered is not asked for again. A day that could not be had whole is not
materialised, and says so by staying missing; events that are stored stay stored.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
from pydantic import Field

from entra_pipeline.extract.activity import Reading
from entra_pipeline.lake.spans import Span
from entra_pipeline.orchestration import activity as readings
from entra_pipeline.orchestration import specs
from entra_pipeline.tables import EVENTS, Status, get


class ActivityConfig(dg.Config):
    """What a run may be asked for beside its days; the command line's options."""

    only: list[str] = Field(
        default=[], description="Names of the logs to read; empty: all that the run selects."
    )
    since: str = Field(
        default="", description="Read from this moment on (RFC 3339) instead of from the first day."
    )
    until: str = Field(
        default="", description="Read to this moment (RFC 3339) instead of to the last day's end."
    )
    go_on: bool = Field(
        default=False,
        description="Read each log from where it is covered, and fill its gaps.",
    )


@dg.multi_asset(
    name=readings.STEP,
    specs=[specs.asset_spec(table, skippable=True) for table in EVENTS.values()],
    check_specs=[spec for table in EVENTS.values() for spec in readings.check_specs(table)],
    partitions_def=readings.DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    can_subset=True,
)
def activity(
    context: dg.AssetExecutionContext,
    config: ActivityConfig,
    activity: dg.ResourceParam[readings.Session],
) -> Iterator[dg.AssetCheckResult]:
    """Read the days of this run from Graph's logs, as far as they are not covered yet."""
    window = context.partition_time_window
    since = datetime.fromisoformat(config.since) if config.since else window.start
    until = datetime.fromisoformat(config.until) if config.until else window.end
    failed = []
    wanted = [get(name, EVENTS).name for name in config.only or EVENTS]
    selected = [n for n in wanted if specs.key(n) in context.selected_asset_keys]
    for reading in activity.read(selected, None if config.go_on else since, until):
        asked = reading.read if config.go_on else ((since, until),)
        _materialize(context, activity, reading, asked)
        yield from _checks(context, activity, reading)
        if reading.status is Status.FAILED:
            failed.append(f"{reading.table}: {reading.reason or 'no reason given'}")
    if failed:
        raise readings.LogsFailedError("; ".join(failed))


def _materialize(
    context: dg.AssetExecutionContext,
    session: readings.Session,
    reading: Reading,
    asked: tuple[Span, ...],
) -> None:
    """Tell Dagster of the days that are whole, and otherwise how the reading went."""
    days = [*dict.fromkeys(day for span in asked for day in readings.days_of(span))]
    whole = session.whole_days(reading, days, datetime.now(UTC))
    counted = session.events.days(reading.table)
    cost = _facts(reading)
    for day in whole:
        events = counted.get(day, 0)
        context.log_event(
            dg.AssetMaterialization(
                specs.key(reading.table),
                partition=day,
                metadata={specs.ROW_COUNT: events, "events": events, **cost},
            )
        )
    if reading.status is not Status.COMPLETE or not whole:
        context.log_event(dg.AssetObservation(specs.key(reading.table), metadata=cost))


def _facts(reading: Reading) -> dict[str, dg.MetadataValue | str | int | float]:
    """What a run says of a reading: counts and times, nobody's name."""
    facts: dict[str, dg.MetadataValue | str | int | float] = {
        "status": reading.status.value,
        "run/events_new": reading.inserted,
        "run/events_changed": reading.replaced,
        "run/events_known": reading.repeated,
        "run/windows": reading.windows,
        "gaps": len(reading.gaps),
        "cost/requests": reading.counts.requests,
        "cost/round_trips": reading.counts.round_trips,
        "cost/throttled_seconds": round(reading.counts.throttled_s, 3),
        "cost/seconds": round(reading.duration_s, 3),
        **{f"notes/{note}": count for note, count in reading.notes.items()},
    }
    if reading.reason:
        facts["reason"] = reading.reason
    if reading.permission:
        facts["missing_permission"] = reading.permission
    return facts


def _checks(
    context: dg.AssetExecutionContext, session: readings.Session, reading: Reading
) -> Iterator[dg.AssetCheckResult]:
    """`complete`: the log answered. `gaps`: nothing is missing between what is covered."""
    info = session.events.info(reading.table)
    kept: dict[str, dg.MetadataValue | str | int] = {"events_kept": info.rows if info else 0}
    if reading.covered:
        kept["covered_from"] = _time(reading.covered[0][0])
        kept["covered_until"] = _time(reading.covered[-1][1])
    said: dict[str, dg.MetadataValue | str | int] = {"status": reading.status.value, **kept}
    if reading.reason:
        said["reason"] = reading.reason
    missing: dict[str, dg.MetadataValue | str | int] = {"gaps": len(reading.gaps), **kept}
    if reading.gaps:
        missing["first_gap_opened"] = _time(reading.gaps[0][0])
        missing["last_gap_opened"] = _time(reading.gaps[-1][0])
        missing["last_gap_ended"] = _time(reading.gaps[-1][1])
        hours = sum((end - start).total_seconds() for start, end in reading.gaps) / 3600
        missing["hours_missing"] = round(hours)
    verdicts = {
        "complete": (reading.status is Status.COMPLETE, said),
        "gaps": (not reading.gaps, missing),
    }
    for name, (passed, metadata) in verdicts.items():
        if (
            dg.AssetCheckKey(specs.key(reading.table), name)
            not in context.selected_asset_check_keys
        ):
            continue
        fatal = name == "complete" and reading.status is Status.FAILED
        yield dg.AssetCheckResult(
            asset_key=specs.key(reading.table),
            check_name=name,
            passed=passed,
            severity=dg.AssetCheckSeverity.ERROR if fatal else dg.AssetCheckSeverity.WARN,
            metadata=metadata,
        )


def _time(moment: datetime) -> dg.MetadataValue:
    return dg.MetadataValue.timestamp(moment)
