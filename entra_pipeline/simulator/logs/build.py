"""The logs of one simulator, put together from its options."""

from collections.abc import Callable, Sequence

from entra_pipeline.simulator.clock import Clock
from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.logs.answers import Log
from entra_pipeline.simulator.logs.audits import InventedAudits
from entra_pipeline.simulator.logs.feed import Feed, Recorded, ticks
from entra_pipeline.simulator.logs.schedule import DAY, TICK, Schedule
from entra_pipeline.simulator.logs.sign_ins import SignIns
from entra_pipeline.simulator.model import Options
from entra_pipeline.simulator.permissions import AUDIT, DIRECTORY_READ

_AUDIT_PERMISSIONS = (AUDIT, DIRECTORY_READ)
"""graph "List directoryAudits", "List provisioningObjectSummary": both of them."""


def build_logs(
    directory: Directory, clock: Clock, options: Options, recorded: Recorded
) -> dict[str, Log]:
    """The logs by collection. `recorded` takes the audits of what happens from now on."""
    beginning = (ticks(clock.time()) // DAY - options.log_days) * DAY

    def feed(
        schedule: Schedule,
        invent: Callable[[int, bool], Sequence[bytes]],
        kept: Recorded,
        resolution: int = 1,
    ) -> Feed:
        lag = options.replication_lag_s if options.log_lag_s is None else options.log_lag_s
        return Feed(
            schedule,
            invent,
            kept,
            beginning=beginning,
            lag=ticks(lag),
            late=ticks(options.log_late_s),
            resolution=resolution,
        )

    schedule = Schedule(options.sign_ins_per_day)
    sign_ins = SignIns(directory, schedule, options.seed)
    if not sign_ins.possible:
        schedule = Schedule(0)
    audit_schedule = Schedule(options.audits_per_day)
    audits = InventedAudits(directory, audit_schedule, options.seed)
    if not audits.possible:
        audit_schedule = Schedule(0)
    return {
        "sign_ins": Log(
            feed(schedule, sign_ins.block, Recorded(), resolution=TICK), "createdDateTime", (AUDIT,)
        ),
        "directory_audits": Log(
            feed(audit_schedule, audits.block, recorded), "activityDateTime", _AUDIT_PERMISSIONS
        ),
    }
