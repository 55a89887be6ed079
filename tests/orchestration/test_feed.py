"""The sensor of the event feed, tick by tick, and the deliveries: without a daemon."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from entra_pipeline.definitions import build_definitions
from entra_pipeline.lake import Books, DataDirectory
from entra_pipeline.lake.feed import Feed
from entra_pipeline.lake.feed_model import Event, Heard
from entra_pipeline.orchestration import courier
from entra_pipeline.orchestration.courier import Courier, deliver_all
from entra_pipeline.orchestration.feed import (
    EVENTS_TAG,
    LOST_AFTER,
    MOST_FAILURES,
    NAME,
    follow,
    run_request,
)
from entra_pipeline.settings import Settings, SettingsError
from entra_pipeline.simulator.process import Simulator
from tests.orchestration.listener import Listener, listening
from tests.support import settings_for

SECRET = "a secret of the listener's"


def event(number: int, table: str = "users") -> Event:
    return Event(
        id=f"Directory_{number}",
        time=datetime(2026, 11, 23, 12, number % 60, tzinfo=UTC),
        activity="Update user",
        operation="Update",
        service="Core Directory",
        actor_kind="user",
        actor_id="actor",
        targets=("one",),
        tables=(table,),
        correlation_id="c",
    )


@pytest.fixture
def feed(settings: Settings) -> Feed:
    return Feed(DataDirectory.claim(settings.data_dir, settings.tenant_id))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def tick(settings: Settings, instance: dg.DagsterInstance) -> Any:
    """What one tick of the sensor gives."""
    definitions = build_definitions(settings)
    sensor = definitions.get_sensor_def(NAME)
    with dg.build_sensor_context(
        instance=instance, repository_def=definitions.get_repository_def()
    ) as context:
        return sensor(context)


def run_of(instance: dg.DagsterInstance, request: str, status: dg.DagsterRunStatus) -> None:
    instance.add_run(dg.DagsterRun("sync", status=status, tags={EVENTS_TAG: request}))


def first_sync(settings: Settings) -> None:
    """The books of a directory that was synced before."""
    books = Books(DataDirectory.claim(settings.data_dir, settings.tenant_id))
    books.finish_sync(books.begin_sync("sync", ["users"]), "succeeded")


def test_nothing_is_heard_before_the_first_sync(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    assert "nothing has been synced" in str(tick(settings, instance).skip_message)


def test_the_first_tick_that_hears_a_change_asks_for_one_run(
    tenant: Simulator, settings: Settings, instance: dg.DagsterInstance, feed: Feed
) -> None:
    first_sync(settings)
    changes = tenant.mutate(seed=8, changes=200)

    (request,) = tick(settings, instance).run_requests

    only = request.run_config["ops"]["read_tables"]["config"]["only"]
    targets = {change["target"] for change in changes}
    assert {"group_members", "users"} <= targets & set(only)
    assert request.tags == {EVENTS_TAG: request.run_key}
    # Requested, not seen anywhere yet: nothing more is asked for, whatever comes meanwhile.
    tenant.mutate(seed=9, changes=5)
    assert "still under way" in str(tick(settings, instance).skip_message)
    run_of(instance, request.run_key, dg.DagsterRunStatus.SUCCESS)
    (folded,) = tick(settings, instance).run_requests
    assert folded.run_key != request.run_key
    run_of(instance, folded.run_key, dg.DagsterRunStatus.SUCCESS)
    assert "0 new events" in str(tick(settings, instance).skip_message)
    assert {e.state.value for e in feed.events()} == {"refreshed"}


def test_a_tick_says_nothing_of_people(
    tenant: Simulator, settings: Settings, instance: dg.DagsterInstance
) -> None:
    first_sync(settings)
    tenant.mutate(seed=10, changes=30)
    (request,) = tick(settings, instance).run_requests
    said = str(request) + str(tick(settings, instance))
    users = tenant.truth("users")
    assert [u["id"] for u in users if u["id"] in said or u["displayName"] in said] == []


@pytest.mark.parametrize("status", ["STARTED", "NOT_STARTED", "STARTING", "CANCELING"])
def test_a_run_under_way_is_waited_for_however_long(
    feed: Feed, instance: dg.DagsterInstance, status: str
) -> None:
    feed.hear(Heard([event(1)]))
    request = feed.request()
    assert request is not None
    run_of(instance, request.id, dg.DagsterRunStatus(status))
    assert follow(feed, instance, datetime.now(UTC) + timedelta(hours=5)) == request


def test_a_deleted_run_is_asked_for_again(feed: Feed, instance: dg.DagsterInstance) -> None:
    feed.hear(Heard([event(1)]))
    lost = feed.request()
    assert lost is not None
    assert follow(feed, instance) == lost
    assert follow(feed, instance, datetime.now(UTC) + LOST_AFTER * 1.1) is None
    again = feed.request()
    assert again is not None
    assert again.id != lost.id
    assert again.tables == lost.tables
    run = run_request(again)
    assert run is not None
    assert run.run_key == again.id


def test_a_run_names_only_tables_that_its_job_reads(
    settings: Settings, instance: dg.DagsterInstance, feed: Feed
) -> None:
    first_sync(settings)
    deaf = settings.model_copy(update={"disable_audit_log_feed": True})
    feed.hear(Heard([event(1, "synchronization_jobs"), event(2, "of_another_version")]))
    assert "about nothing" in str(tick(deaf, instance).skip_message)
    assert feed.open_requests() == []
    feed.hear(Heard([event(3, "synchronization_jobs"), event(4, "users")]))
    request = feed.request()
    assert request is not None
    run = run_request(request)
    assert run is not None
    assert run.run_config["ops"]["read_tables"]["config"]["only"] == ["users"]


def test_runs_that_keep_failing_end(
    settings: Settings, instance: dg.DagsterInstance, feed: Feed
) -> None:
    first_sync(settings)
    feed.hear(Heard([event(1)]))
    for number in range(MOST_FAILURES):
        request = feed.request()
        assert request is not None
        run_of(instance, request.id, dg.DagsterRunStatus.FAILURE)
        answer = tick(settings, instance)
        if number < MOST_FAILURES - 1:
            assert "after a failed run" in str(answer.skip_message)
    assert [e.state.value for e in feed.events() if e.id == "Directory_1"] == ["given up"]
    assert f"{MOST_FAILURES} runs" in str(feed.summary().trouble)


# Deliveries


def told(settings: Settings, listener: Listener) -> Settings:
    address, secret = SecretStr(listener.url), SecretStr(SECRET)
    return settings.model_copy(
        update={"events_webhook_url": address, "events_webhook_secret": secret}
    )


def test_each_event_is_posted_once_in_order_and_signed(settings: Settings, feed: Feed) -> None:
    feed.hear(Heard([event(n) for n in range(5)]), tell=True)
    with listening() as listener:
        deliver_all(told(settings, listener), feed)
        deliver_all(told(settings, listener), feed)

    assert [body["id"] for body in listener.got] == [f"Directory_{n}" for n in range(5)]
    assert listener.got[0]["event"] == "access_change"
    for headers, body in zip(listener.headers, listener.bodies, strict=True):
        parts = dict(part.split("=") for part in headers["Entra-Pipeline-Signature"].split(","))
        signed = parts["t"].encode() + b"." + body
        assert parts["v1"] == hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        assert abs(time.time() - int(parts["t"])) < 60
    assert listener.headers[0]["Entra-Pipeline-Event"] == "Directory_0"
    assert feed.next_delivery() is None


def test_a_listener_that_is_down_gets_all_when_it_is_back(settings: Settings, feed: Feed) -> None:
    feed.hear(Heard([event(n) for n in range(3)]), tell=True)
    with listening([503, 429, 204]) as listener:
        deliver_all(told(settings, listener), feed, sleep=lambda _: feed.hasten())
    assert [body["id"] for body in listener.got] == ["Directory_0"] * 3 + [
        "Directory_1",
        "Directory_2",
    ]
    assert feed.summary().delivery_trouble is None


def test_an_event_that_is_refused_does_not_stop_the_others(settings: Settings, feed: Feed) -> None:
    feed.hear(Heard([event(n) for n in range(2)]), tell=True)
    with listening([400, 204, 400, 400, 400, 400]) as listener:
        deliver_all(told(settings, listener), feed, sleep=lambda _: feed.hasten())
    assert [body["id"] for body in listener.got[:2]] == ["Directory_0", "Directory_1"]
    assert len(listener.got) == 1 + courier.MOST_REFUSALS
    assert feed.summary().undelivered == 1


def test_a_redirect_is_not_followed(settings: Settings, feed: Feed) -> None:
    feed.hear(Heard([event(1)]), tell=True)
    with listening([302]) as listener:
        deliver_all(told(settings, listener), feed, sleep=lambda _: feed.hasten())
    assert feed.summary().delivery_trouble == "HTTP 302"


def test_whoever_wakes_the_courier_never_waits(settings: Settings, feed: Feed) -> None:
    feed.hear(Heard([event(1)]), tell=True)
    # Nobody answers at this address, and a connection takes its time to fail.
    away = Listener(url="http://192.0.2.1/hook")
    waking = Courier()
    began = time.monotonic()
    waking.wake(told(settings, away), feed)
    waking.wake(told(settings, away), feed)
    assert time.monotonic() - began < 1


def test_an_address_without_a_secret_is_refused(tenant: Simulator, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ENTRA_EVENTS_WEBHOOK_URL.*cannot be signed"):
        settings_for(tenant, tmp_path, events_webhook_url="https://example.com")
    with pytest.raises(SettingsError, match="shorter than 16"):
        settings_for(tenant, tmp_path, events_webhook_secret="short")
