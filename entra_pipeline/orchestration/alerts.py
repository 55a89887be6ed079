"""What happens when a run fails: one line in the daemon's log and one POST to the webhook.

The message names the run, its steps and its tables with their reasons. It is made from the books,
never from an exception's text: exceptions of other people's libraries may quote data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

import dagster as dg
import requests

from entra_pipeline.lake import Books, DataDirectory, TableStatus
from entra_pipeline.orchestration.session import SYNC_TAG
from entra_pipeline.settings import Settings
from entra_pipeline.tables import Status

ATTEMPTS: Final = 3
TIMEOUT_S: Final = 10.0
FATAL: Final = frozenset({Status.FAILED, Status.QUARANTINED})


class AlertNotDeliveredError(RuntimeError):
    """The webhook did not take the alert; the message never holds its address (it is a secret)."""


@dataclass(frozen=True)
class Alert:
    """One failed run, without personal data."""

    run_id: str
    job: str
    sync_id: str | None
    failed_steps: tuple[str, ...]
    tables: tuple[dict[str, str | None], ...]

    @property
    def text(self) -> str:
        """One sentence for people; chat webhooks show the field of this name."""
        tables = ", ".join(f"{t['table']} {t['status']}" for t in self.tables)
        steps = ", ".join(self.failed_steps)
        why = tables or (f"step {steps}" if steps else "the run ended before its first step")
        return f"entra-pipeline: {self.job} failed ({why}), run {self.run_id}"

    def to_json(self) -> dict[str, Any]:
        """The body that is posted."""
        return {"event": "run_failed", "text": self.text, **asdict(self)}


def build_alert_sensor(load: Callable[[], Settings]) -> dg.SensorDefinition:
    """The sensor that alerts; `load` gives the settings anew for each alert."""

    @dg.run_failure_sensor(
        name="failed_run_alert",
        minimum_interval_seconds=15,
        # Started from the beginning, unlike schedules: it reads nothing from anybody's tenant.
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Logs every failed run and posts it to ENTRA_ALERT_WEBHOOK_URL, once.",
    )
    def failed_run_alert(context: dg.RunFailureSensorContext) -> None:
        settings = load()
        alert = describe(
            context.dagster_run,
            (event.step_key for event in context.get_step_failure_events()),
            settings,
        )
        context.log.error(alert.text)
        if settings.alert_webhook_url is not None:
            deliver(alert, settings)

    return failed_run_alert


def describe(run: dg.DagsterRun, steps: Iterable[str | None], settings: Settings) -> Alert:
    """Gather what is known of a failed run."""
    sync_id = run.tags.get(SYNC_TAG)
    statuses: list[TableStatus] = []
    if sync_id is not None:
        books = Books(DataDirectory.existing(settings.data_dir))
        statuses = [
            status
            # As it was then: the next sync may have mended it before anybody looks.
            for status in books.statuses_after(sync_id).values()
            if status.sync_id == sync_id and status.status in FATAL
        ]
    return Alert(
        run_id=run.run_id,
        job=run.job_name,
        sync_id=sync_id,
        failed_steps=tuple(sorted({step for step in steps if step})),
        tables=tuple(
            {"table": status.table, "status": status.status.value, "reason": status.reason}
            for status in statuses
        ),
    )


def deliver(alert: Alert, settings: Settings) -> None:
    """POST the alert; a listener that answered is never asked again.

    Raises:
        AlertNotDeliveredError: no attempt was answered with success; the sensor's tick shows it.
    """
    assert settings.alert_webhook_url is not None  # noqa: S101 - narrows for the type checker
    url = settings.alert_webhook_url.get_secret_value()
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(2**attempt)
        try:
            answer = requests.post(
                url, json=alert.to_json(), timeout=TIMEOUT_S, verify=settings.ca_file or True
            )
        except requests.ConnectionError as error:
            reason = type(error).__name__
            continue
        except requests.RequestException as error:
            # The request may have arrived: asking again could alert twice.
            raise AlertNotDeliveredError(
                f"the alert webhook did not answer ({type(error).__name__}); see "
                "ENTRA_ALERT_WEBHOOK_URL"
            ) from None
        if answer.ok:
            return
        reason = f"HTTP {answer.status_code}"
        if answer.status_code < 500 and answer.status_code != 429:
            break
    raise AlertNotDeliveredError(
        f"the alert webhook refused the alert ({reason}); see ENTRA_ALERT_WEBHOOK_URL"
    )
