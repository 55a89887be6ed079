"""The event feed's sensor: hear what changed, have it read anew, tell listeners.

Each tick looks at the directory audits (`extract.listening`) and requests one run of the job `sync`
for all the tables that new events point at. One such run at a time: what is heard while it runs
waits for the next. What is known of events and requests lies in the data directory and not in
Dagster's cursor, so that neither a restart nor deleted runs lose or repeat anything.

Run configuration and tick messages hold names of tables and counts, never names or ids of people.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg

from entra_pipeline.extract.listening import Look, listen
from entra_pipeline.lake import Books, DataDirectory
from entra_pipeline.lake.feed import Feed
from entra_pipeline.lake.feed_model import Request, State
from entra_pipeline.msgraph import GraphClient
from entra_pipeline.orchestration import jobs
from entra_pipeline.orchestration.courier import Courier
from entra_pipeline.orchestration.resources import READ_STEP
from entra_pipeline.settings import Settings

NAME: Final = "event_feed"
INTERVAL_S: Final = 30
EVENTS_TAG: Final = "entra_pipeline/events"
"""Of a run: the request that it serves."""

LOST_AFTER: Final = timedelta(seconds=90)
"""A request without a run: Dagster makes runs at once, so somebody deleted it, or Dagster died."""
MOST_FAILURES: Final = 5
RETRY_S: Final = 60.0
LONGEST_RETRY_S: Final = 900.0

_CLIENT_WAIT_S: Final = 15.0
_SUCCEEDED: Final = frozenset({dg.DagsterRunStatus.SUCCESS})
_FAILED: Final = frozenset({dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED})


class _Clients:
    """One client for all ticks: its connections, its token, and its share of the five requests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._settings: Settings | None = None
        self._client: GraphClient | None = None

    def get(self, settings: Settings) -> GraphClient:
        with self._lock:
            if self._client is None or settings != self._settings:
                if self._client is not None:
                    self._client.close()
                # A tick must end soon; the next one tries again.
                soon = settings.model_copy(
                    update={"max_attempts": 2, "max_wait_seconds": _CLIENT_WAIT_S}
                )
                self._client = GraphClient.from_settings(soon)
                self._settings = settings
            return self._client


def build_feed_sensor(load: Callable[[], Settings]) -> dg.SensorDefinition:
    """The sensor; `load` gives the settings anew for each tick."""
    clients, courier = _Clients(), Courier()

    @dg.sensor(
        name=NAME,
        job_name=jobs.SYNC,
        minimum_interval_seconds=INTERVAL_S,
        # As schedules: nobody's tenant is read unasked.
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=(
            "Follows the directory audits; reads the tables that changes of access point at and "
            "publishes, without waiting for the next sync."
        ),
    )
    def event_feed(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        settings = load()
        directory = DataDirectory.claim(settings.data_dir, settings.tenant_id)
        if Books(directory).first_finished() is None:
            return dg.SkipReason("nothing has been synced yet: the first sync reads everything")
        feed = Feed(directory)
        tell = settings.events_webhook_url is not None
        look = listen(settings, clients.get(settings), feed, tell=tell)
        if tell:
            courier.wake(settings, feed)
        feed.forget(datetime.now(UTC) - timedelta(days=settings.events_days))
        running = follow(feed, context.instance)
        said = _said(look)
        if running is not None:
            return dg.SkipReason(f"{said}; run for {len(running.tables)} tables still under way")
        if (wait := _wait(feed)) > timedelta():
            return dg.SkipReason(f"{said}; after a failed run, the next in {wait}")
        request = feed.request()
        if request is None:
            return dg.SkipReason(said)
        run = run_request(request)
        if run is None:
            feed.end(request.id, "succeeded")
            return dg.SkipReason(f"{said}; about nothing that the job {jobs.SYNC} reads")
        context.log.info("%s; %d tables", said, len(request.tables))
        return dg.SensorResult(run_requests=[run])

    return event_feed


def run_request(request: Request) -> dg.RunRequest | None:
    """The run that reads the tables of a request and publishes; None if it would read none.

    Slow tables, and tables that this version does not have, are left to others: a run that names
    one of them fails, and one that names none reads them all.
    """
    readable = jobs.table_names(slow=False)
    only = [name for name in request.tables if name in readable]
    if not only:
        return None
    return dg.RunRequest(
        run_key=request.id,
        run_config={"ops": {READ_STEP: {"config": {"only": only}}}},
        tags={EVENTS_TAG: request.id},
    )


def follow(feed: Feed, instance: dg.DagsterInstance, now: datetime | None = None) -> Request | None:
    """Take note of how requested runs ended; the request that is still under way, if one is."""
    under_way: Request | None = None
    for request in feed.open_requests():
        runs = instance.get_runs(dg.RunsFilter(tags={EVENTS_TAG: request.id}), limit=1)
        status = runs[0].status if runs else None
        if status in _SUCCEEDED:
            feed.end(request.id, "succeeded")
        elif status in _FAILED:
            if feed.end(request.id, "failed", most_failures=MOST_FAILURES) is State.GIVEN_UP:
                feed.put(trouble=f"{MOST_FAILURES} runs for the same events failed; see the runs")
        elif status is None and (now or datetime.now(UTC)) - request.at > LOST_AFTER:
            feed.end(request.id, "lost")
        else:
            under_way = request
    return under_way


def _wait(feed: Feed) -> timedelta:
    """How long to wait before another run after those that failed."""
    last = feed.last_failure()
    if last is None or last[0] == 0:
        return timedelta()
    failures, ended = last
    pause = min(RETRY_S * 2 ** (failures - 1), LONGEST_RETRY_S)
    left = ended + timedelta(seconds=pause) - datetime.now(UTC)
    return timedelta(seconds=max(0, round(left.total_seconds())))


def _said(look: Look) -> str:
    """One line about a look, in counts."""
    if look.reason is not None:
        return f"the audits cannot be heard: {look.reason}"
    poisoned = f", {look.poisoned} could not be read" if look.poisoned else ""
    rest = "" if look.whole else ", older ones still to be asked for"
    return f"{len(look.events)} new events in {look.pages} pages{poisoned}{rest}"
