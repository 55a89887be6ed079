"""Pacing: documented limits are kept, Graph's headers are believed, services do not wait for
each other."""

from __future__ import annotations

import threading

import pytest

from entra_pipeline.msgraph.budget import Budget, PauseTooLongError, Service, units_of
from tests.msgraph.scripted import FakeClock, Reply, Seen, error_body


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.mark.parametrize(
    ("service", "limit", "seconds"),
    [
        (Service.REPORTS, 5, 10),
        (Service.SIGN_IN_ACTIVITY, 10, 60),
        (Service.CONDITIONAL_ACCESS, 1, 1),
        (Service.KEY_CREDENTIALS, 150, 60),
        (Service.WRITES, 3000, 150),
    ],
)
def test_no_window_of_a_limited_service_holds_more_than_its_limit(clock, service, limit, seconds):
    budget = Budget(clock)
    times = []
    for _ in range(3 * limit):
        budget.acquire(service, 1, 1, patience=0)
        times.append(clock.monotonic())
    for first, beyond in zip(times, times[limit:], strict=False):
        assert beyond - first >= seconds - 1e-6
    assert clock.slept == pytest.approx(2 * seconds, rel=0.01)


def test_a_batch_of_a_limited_service_counts_each_item(clock):
    budget = Budget(clock)
    for _ in range(3):
        budget.acquire(Service.KEY_CREDENTIALS, 20, 75, patience=0)
    assert clock.slept == pytest.approx(60, rel=0.01)


def test_a_source_that_does_not_throttle_may_be_read_without_windows(clock):
    unpaced = Budget(clock, windows={Service.SIGN_IN_ACTIVITY: (10, 60.0)})
    for _ in range(50):
        unpaced.acquire(Service.REPORTS, 1, 1, patience=0)
    assert clock.slept == 0
    for _ in range(11):
        unpaced.acquire(Service.SIGN_IN_ACTIVITY, 1, 1, patience=0)
    assert clock.slept == pytest.approx(60, rel=0.01)


def test_the_directory_starts_with_the_documented_limit_and_grows_only_in_silence(clock):
    silent, pressed = Budget(clock), Budget(clock)
    start = pressed.directory.rate
    for _ in range(60):
        silent.acquire(Service.DIRECTORY, 800, 20, patience=0)
    assert silent.directory.rate > start
    for _ in range(60):
        pressed.acquire(Service.DIRECTORY, 800, 20, patience=0)
        pressed.observed(Service.DIRECTORY, estimated=800, charged=800, percentage=0.95)
    assert pressed.directory.rate < start


def test_reported_pressure_slows_and_its_absence_lets_the_rate_recover(clock):
    budget = Budget(clock)
    for _ in range(20):
        budget.acquire(Service.DIRECTORY, 400, 20, patience=0)
        clock.advance(0.5)
    budget.observed(Service.DIRECTORY, estimated=400, charged=400, percentage=1.2)
    slowed = budget.directory.rate
    assert slowed <= 0.8 * 800
    for _ in range(200):
        budget.acquire(Service.DIRECTORY, 400, 20, patience=0)
    assert budget.directory.rate > slowed


def test_what_graph_charges_is_taken_instead_of_the_estimate(clock):
    budget = Budget(clock, units_per_10s=1000)
    budget.observed(Service.DIRECTORY, estimated=1, charged=1001, percentage=None)
    total, paused = budget.acquire(Service.DIRECTORY, 10, 1, patience=0)
    assert 0.05 < total < 0.2
    assert paused == 0


def test_a_refusal_pauses_its_service_and_no_other(clock):
    budget = Budget(clock)
    budget.throttled(Service.REPORTS, 30)
    assert budget.acquire(Service.DIRECTORY, 1, 1, patience=0) == (0, 0)
    assert budget.acquire(Service.GOVERNANCE, 1, 1, patience=0) == (0, 0)
    assert budget.acquire(Service.REPORTS, 1, 1, patience=60) == (30, 30)


def test_a_pause_beyond_patience_is_refused(clock):
    budget = Budget(clock)
    budget.throttled(Service.DIRECTORY, 3600)
    with pytest.raises(PauseTooLongError):
        budget.acquire(Service.DIRECTORY, 1, 1, patience=900)
    assert clock.slept == 0


def test_a_refusal_pauses_all_threads_of_the_service(world):
    """While one thread's request is refused for 5 s, nobody else's reaches the server."""
    lock = threading.Lock()
    arrivals: list[tuple[float, str]] = []

    def script(seen: Seen) -> Reply:
        with lock:
            arrivals.append((w.clock.monotonic(), seen.path))
            if len(arrivals) == 1:
                return Reply(429, json=error_body("TooManyRequests"), headers={"Retry-After": "5"})
        return Reply(json={"value": []})

    w = world(script)
    w.client.get("/first", table="t")
    threads = [
        threading.Thread(target=w.client.get, args=(f"/{n}",), kwargs={"table": "t"})
        for n in range(6)
    ]
    w.client.budget.throttled(Service.DIRECTORY, 5)
    until = w.clock.monotonic() + 5
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [at for at, path in arrivals[2:] if at < until] == []
    assert arrivals[1][0] - arrivals[0][0] >= 5
    assert len(arrivals) == 8


@pytest.mark.parametrize(
    ("method", "url", "units"),
    [
        ("GET", "/users", 2),
        ("GET", "/users?$select=id&$top=999", 1),
        ("GET", "/users?$select=id&$expand=manager($select=id)", 2),
        ("GET", "/users/1", 1),
        ("GET", "/users/1/licenseDetails", 2),
        ("GET", "/groups?$select=id", 1),
        ("GET", "/groups/1/members?$select=id", 2),
        ("GET", "/groups/1/members/$count", 3),
        ("GET", "/groups/1/transitiveMembers", 5),
        ("GET", "/groups/1/owners", 1),
        ("GET", "/servicePrincipals/1/appRoleAssignedTo", 1),
        ("GET", "/servicePrincipals/1/appRoleAssignments", 2),
        ("GET", "/oauth2PermissionGrants?$top=5", 1),
        ("GET", "/subscribedSkus", 3),
        ("GET", "/applications?$select=id", 1),
        ("POST", "/directoryObjects/getByIds", 5),
        ("POST", "/directoryObjects/getByIds?$select=id", 2),
    ],
)
def test_units_follow_the_documented_table(method, url, units):
    assert units_of(method, url) == units


@pytest.mark.parametrize("limit", [350, 500, 800, 3000])
def test_the_pace_settles_just_below_a_limit_that_nobody_told_us(clock, limit):
    """A service of `limit` units a second that announces pressure from 80 % on and then refuses."""
    budget = Budget(clock)
    level, at = 10.0 * limit, clock.monotonic()
    served = refused = 0
    start = clock.monotonic()
    while clock.monotonic() < start + 180:
        budget.acquire(Service.DIRECTORY, 40, 20, patience=900)
        clock.advance(0.004)
        now = clock.monotonic()
        level = min(level + (now - at) * limit, 10.0 * limit)
        at = now
        settled = now > start + 60
        if level < 40:
            refused += settled
            budget.throttled(Service.DIRECTORY, 1)
        else:
            level -= 40
            served += 40 * settled
            share = 1 - level / (10 * limit)
            if share >= 0.8:
                budget.observed(Service.DIRECTORY, estimated=40, charged=40, percentage=share)
    assert served / 120 > 0.8 * limit
    assert refused < served / 40 / 100
