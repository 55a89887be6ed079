"""The logs of one simulator, put together from its options."""

from collections.abc import Callable, Sequence

from entra_pipeline.simulator.clock import Clock
from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.logs.answers import Log
from entra_pipeline.simulator.logs.audits import InventedAudits
from entra_pipeline.simulator.logs.feed import Feed, Recorded, ticks
from entra_pipeline.simulator.logs.provisioning import Provisionings
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

    def running(per_day: int, possible: bool) -> Schedule:
        return Schedule(per_day if possible else 0)

    sign_ins_a_day = options.sign_ins_per_day
    sign_ins = SignIns(directory, Schedule(sign_ins_a_day), options.seed)
    audits_a_day = options.audits_per_day
    audits = InventedAudits(directory, Schedule(audits_a_day), options.seed)
    provisionings_a_day = options.provisionings_per_day
    provisionings = Provisionings(directory, Schedule(provisionings_a_day), options.seed)
    return {
        "sign_ins": Log(
            feed(
                running(sign_ins_a_day, sign_ins.possible),
                sign_ins.block,
                Recorded(),
                resolution=TICK,
            ),
            "createdDateTime",
            (AUDIT,),
        ),
        "directory_audits": Log(
            feed(running(audits_a_day, audits.possible), audits.block, recorded),
            "activityDateTime",
            _AUDIT_PERMISSIONS,
        ),
        "provisioning_events": Log(
            feed(
                running(provisionings_a_day, provisionings.possible),
                provisionings.block,
                Recorded(),
            ),
            "activityDateTime",
            _AUDIT_PERMISSIONS,
        ),
    }
