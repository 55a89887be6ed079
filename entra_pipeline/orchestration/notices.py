"""The sensor that tells of requests: ends that are near, and those that went wrong.

Here: when it is looked, and who is woken. Not here: what there is to tell (`provisioning.notices`),
sending (`courier`). It reads the ledger alone, and works while writing is off or stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import dagster as dg

from entra_pipeline.orchestration.courier import Courier
from entra_pipeline.provisioning.notices import FILE, Notices
from entra_pipeline.provisioning.service import Provisioning
from entra_pipeline.settings import Settings

SENSOR: Final = "request_notices"
INTERVAL_S: Final = 60


def build_sensor(load: Callable[[], Settings]) -> dg.SensorDefinition:
    """The sensor; `load` gives the settings anew for each tick."""
    courier = Courier()

    @dg.sensor(
        name=SENSOR,
        minimum_interval_seconds=INTERVAL_S,
        # Started from the beginning, as the alert for failed runs: it reads nobody's tenant, and
        # does nothing without a listener.
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Tells ENTRA_REQUESTS_WEBHOOK_URL, once each, of grants that are about to end and of "
            "requests that failed, diverged or need a person."
        ),
    )
    def request_notices(_: dg.SensorEvaluationContext) -> dg.SkipReason:
        settings = load()
        if settings.requests_webhook_url is None:
            return dg.SkipReason("nobody is to be told (ENTRA_REQUESTS_WEBHOOK_URL)")
        fresh = look(settings)
        if fresh is None:
            return dg.SkipReason("there is no ledger")
        courier.wake_for(settings, notices(settings))
        return dg.SkipReason(f"{fresh} new notices")

    return request_notices


def look(settings: Settings) -> int | None:
    """Queue what is to be told; how much is new. None where there is no ledger."""
    with Provisioning(settings) as opened:
        file = opened.ledger_file
        if file is not None and not file.exists():
            return None
        before = timedelta(hours=settings.expiry_notice_hours)
        return notices(settings).look(opened.ledger, before)


def notices(settings: Settings) -> Notices:
    """The queue of the data directory."""
    return Notices(settings.data_dir / FILE)
