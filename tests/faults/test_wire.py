"""Each fault of the wire, one by one, through a whole sync of all tables.

The simulator's statistics say that the fault happened. Then either every table is whole and holds
the rows of an undisturbed sync, or the status of the table says why not, its neighbours are whole
and what was published before is still there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.extract.extraction import Phase, Progress
from entra_pipeline.extract.notes import REREAD, RESTARTED
from entra_pipeline.simulator.process import running
from entra_pipeline.tables import Status
from tests.faults.bench import CROWD, Bench, Rule, assert_same_rows, error, on, patch, respond

THROTTLED = error("TooManyRequests", "Please retry again later.")
EXPIRED = error("Directory_ExpiredPageToken", "The specified page token value has expired.")
HTML = respond(200, "<html>Sign in to the network</html>")

USERS = r"/users\?.*manager"
USERS_LATER = r"/users\?.*manager.*skiptoken"
MEMBERS = "/groups/[^/]+/members"
CROWD_LATER = f"/groups/{CROWD}/members.*skiptoken"
BATCH = r"\$batch"
ASSIGNMENTS = "/roleAssignments"


@dataclass(frozen=True)
class Case:
    """A fault: its rules, how often they fire, and what a sync says of it."""

    rules: tuple[Rule, ...]
    fired: int | None = 1
    retries: Mapping[str, int] = field(default_factory=dict)
    """Least number of retries that the table's status counts."""
    waited: float = 0.0
    """Seconds that the client waited at least."""
    notes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    told: Mapping[str, tuple[Status, str]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


def survived(path: str, fault: Rule, *, fired: int = 1, **more: Any) -> Case:
    """The fault happens to the first request that matches."""
    match = {"nth": 1} if fired == 1 else {"times": fired}
    return Case((on(path, fault, **match),), fired, **more)


USERS_RETRIED = {"users": 1}
MEMBERS_RETRIED = {"group_members": 1}

SURVIVED: dict[str, Case] = {
    # Throttling, in each form of Retry-After.
    "429 with seconds": survived(
        USERS_LATER,
        respond(429, THROTTLED, Retry_After="7"),
        retries=USERS_RETRIED,
        waited=7,
    ),
    "429 with a fraction": survived(
        USERS_LATER,
        respond(429, THROTTLED, Retry_After="2.128"),
        retries=USERS_RETRIED,
        waited=2.128,
    ),
    "429 with an HTTP date": survived(
        USERS_LATER,
        respond(429, THROTTLED, Retry_After="Mon, 23 Nov 2026 12:00:20 GMT"),
        retries=USERS_RETRIED,
        waited=15,
    ),
    "429 without Retry-After": survived(USERS_LATER, respond(429, THROTTLED), retries={"users": 1}),
    "429 with nonsense in Retry-After": survived(
        USERS_LATER, respond(429, THROTTLED, Retry_After="-soon-"), retries=USERS_RETRIED
    ),
    "429 again and again": Case(
        (on("/v1.0/", respond(429, THROTTLED, Retry_After="1"), every=4, times=4),),
        4,
        waited=1,
    ),
    # Graph's own failures.
    "500": survived(USERS, respond(500, error("UnknownError")), retries=USERS_RETRIED),
    "502 in HTML": survived(USERS, respond(502, "<html>Bad gateway"), retries=USERS_RETRIED),
    "503 with Retry-After": survived(
        USERS, respond(503, error("serviceNotAvailable"), Retry_After="4"), waited=4
    ),
    "504 without a body": survived(USERS_LATER, respond(504), retries=USERS_RETRIED),
    "503 three times": survived(USERS, respond(503), fired=3, retries={"users": 3}),
    # Connections.
    "reset in a list": survived(USERS_LATER, {"reset": True}, retries=USERS_RETRIED),
    "reset after the answer was made": survived(
        ASSIGNMENTS, {"reset": True, "when": "after"}, retries={"role_assignments": 1}
    ),
    "reset in a batch": survived(MEMBERS, {"reset": True}, retries=MEMBERS_RETRIED),
    "timeout": survived(
        USERS_LATER,
        {"delay_ms": 3000},
        retries=USERS_RETRIED,
        settings={"read_timeout_seconds": 1.5},
    ),
    "cut body of a list": survived(USERS, {"truncate_at": 5000}, retries=USERS_RETRIED),
    "body cut to nothing": survived(USERS, {"truncate_at": 0}, retries=USERS_RETRIED),
    "cut body of a batch": survived(MEMBERS, {"truncate_at": 300}, retries=MEMBERS_RETRIED),
    # Bodies.
    "HTML with 200": survived(USERS_LATER, HTML, retries=USERS_RETRIED),
    "empty body with 200": survived(USERS, respond(200), retries=USERS_RETRIED),
    "an error with 200": survived(USERS, respond(200, error("UnknownError")), retries={"users": 1}),
    "half a document": survived(
        ASSIGNMENTS, respond(200, '{"value":[{"id":"'), retries={"role_assignments": 1}
    ),
    "HTML instead of a count": survived(r"/users/\$count", HTML, retries=USERS_RETRIED),
    # Tokens.
    "an expired token": survived(
        USERS_LATER, respond(401, error("InvalidAuthenticationToken")), retries=USERS_RETRIED
    ),
    "an expired token for a batch": survived(
        BATCH, respond(401, error("InvalidAuthenticationToken"))
    ),
    "an expired token inside a batch": survived(
        MEMBERS, respond(401, error("InvalidAuthenticationToken")), retries=MEMBERS_RETRIED
    ),
    "an expired page token": survived(
        USERS_LATER, respond(400, EXPIRED), notes={"users": {RESTARTED: 1}}
    ),
    "page tokens that expire four times": survived(
        USERS_LATER, respond(400, EXPIRED), fired=4, notes={"users": {RESTARTED: 4}}
    ),
    "an expired page token inside a batch": survived(
        CROWD_LATER, respond(400, EXPIRED), notes={"group_members": {RESTARTED: 1}}
    ),
    # Batches.
    "an item throttled": survived(
        MEMBERS, respond(429, THROTTLED, Retry_After="3"), retries=MEMBERS_RETRIED, waited=3
    ),
    "items throttled with different pauses": Case(
        (
            on(MEMBERS, respond(429, THROTTLED, Retry_After="2"), nth=1),
            on(MEMBERS, respond(429, THROTTLED, Retry_After="9.5"), nth=2),
            on(MEMBERS, respond(429, THROTTLED), nth=3),
        ),
        3,
        retries={"group_members": 3},
        waited=9.5,
    ),
    "an item failing": survived(MEMBERS, respond(503), fired=3, retries={"group_members": 3}),
    "an answer missing": survived(BATCH, patch(("remove", "/responses/0"))),
    "all answers missing": survived(BATCH, patch(("replace", "/responses", []))),
    "answers under other ids": survived(BATCH, patch(("replace", "/responses/0/id", "stranger"))),
    "a batch refused with 503": survived(BATCH, respond(503)),
    "a batch throttled": survived(BATCH, respond(429, THROTTLED, Retry_After="6"), waited=6),
    "a batch answered in HTML": survived(BATCH, HTML),
    "HTML inside a batch": survived(MEMBERS, HTML, retries=MEMBERS_RETRIED),
    "an error with 200 inside a batch": survived(
        MEMBERS, respond(200, error("UnknownError")), retries=MEMBERS_RETRIED
    ),
    # Counts.
    "a list shorter than its count, once": survived(
        USERS_LATER, patch(("remove", "/value/0")), notes={"users": {REREAD: 1}}
    ),
    "members fewer than their count, once": survived(
        f"/groups/{CROWD}/members",
        patch(("remove", "/value/0")),
        notes={"group_members": {REREAD: 1}},
    ),
    "no count": Case(
        (on(r"/users/\$count", respond(400, error("Request_BadRequest", "$count is not"))),),
        1,
    ),
}


def run_case(bench: Bench, case: Case) -> None:
    outcome = bench.sync(*case.rules, about={*case.told, *case.retries}, **case.settings)
    assert case.fired in {None, sum(bench.fired)}
    bench.check(outcome, told=case.told)
    for table, least in case.retries.items():
        assert outcome.statuses[table].retries >= least, table
    for table, notes in case.notes.items():
        assert notes.items() <= dict(outcome.statuses[table].notes).items(), table
    assert outcome.waited >= case.waited


@pytest.mark.parametrize("name", list(SURVIVED))
def test_a_fault_that_passes_costs_no_row(bench: Bench, name: str) -> None:
    run_case(bench, SURVIVED[name])


LATER_AGAIN = "{base}/v1.0/users?$select=id&$expand=manager&$skiptoken=again"
DENIED = error("Authorization_RequestDenied", "Insufficient privileges to complete the operation.")


def lasting(
    path: str, fault: Rule, *tables: str, reason: str, status: Status = Status.FAILED
) -> Case:
    """The fault happens whenever the path is asked for: the tables are not whole."""
    told = dict.fromkeys(tables, (status, reason))
    return Case((on(path, fault),), None, told=told, settings={"max_attempts": 3})


PEOPLE = ("users", "license_assignments")
BATCHED = (
    "group_members",
    "app_role_assignments",
    "synchronization_jobs",
    "group_eligibility_schedule_instances",
    "group_assignment_schedule_instances",
)
"""Tables that are read in batches, of this tenant."""

LASTING: dict[str, Case] = {
    "429": lasting(
        USERS, respond(429, THROTTLED, Retry_After="200"), *PEOPLE, reason="gave up after"
    ),
    "503": lasting(
        "/contacts",
        respond(503, error("serviceNotAvailable")),
        "contacts",
        reason="serviceNotAvailable (HTTP 503)",
    ),
    "resets": lasting("/contacts", {"reset": True}, "contacts", reason="ConnectionFailed"),
    "cut bodies": lasting(
        "/roleDefinitions", {"truncate_at": 700}, "role_definitions", reason="ConnectionFailed"
    ),
    "HTML": lasting("/roleDefinitions", HTML, "role_definitions", reason="MalformedAnswer"),
    "an error with 200": lasting(
        "/roleDefinitions", respond(200, error("x")), "role_definitions", reason="MalformedAnswer"
    ),
    "404": lasting(
        "/contacts",
        respond(404, error("Request_ResourceNotFound")),
        "contacts",
        reason="Request_ResourceNotFound",
    ),
    "401": lasting(
        "/contacts",
        respond(401, error("InvalidAuthenticationToken")),
        "contacts",
        reason="InvalidAuthenticationToken",
    ),
    "page tokens that expire": lasting(
        USERS_LATER, respond(400, EXPIRED), *PEOPLE, reason="Directory_ExpiredPageToken"
    ),
    "a next link that repeats itself": Case(
        (
            on(USERS_LATER, patch(("add", "/@odata.nextLink", LATER_AGAIN)), nth=1),
            on("skiptoken=again", respond(200, {"value": [], "@odata.nextLink": LATER_AGAIN})),
        ),
        None,
        told=dict.fromkeys(PEOPLE, (Status.FAILED, "RepeatingLink")),
    ),
    "a next link that repeats itself inside a batch": Case(
        (
            on(
                f"/groups/{CROWD}/members",
                patch(
                    ("add", "/@odata.nextLink", f"{{base}}/v1.0/groups/{CROWD}/members?$top=999")
                ),
            ),
        ),
        None,
        told={"group_members": (Status.FAILED, "RepeatingLink")},
    ),
    "a redirect": lasting(
        "/contacts",
        respond(302, Location="https://graph.evil.example/v1.0/contacts"),
        "contacts",
        reason="HTTP302",
    ),
    "a list shorter than its count": lasting(
        USERS_LATER,
        patch(("remove", "/value/0")),
        *PEOPLE,
        reason="Graph counts",
        status=Status.PARTIAL,
    ),
    "members fewer than their count": lasting(
        f"/groups/{CROWD}/members",
        patch(("remove", "/value/0")),
        "group_members",
        reason="fewer members than Graph counts",
        status=Status.PARTIAL,
    ),
    "items failing": lasting(MEMBERS, respond(503), "group_members", reason="HTTP503"),
    "items answered in HTML": lasting(MEMBERS, HTML, "group_members", reason="MalformedAnswer"),
    "items throttled": lasting(
        MEMBERS,
        respond(429, THROTTLED, Retry_After="400"),
        "group_members",
        reason="TooManyRequests",
    ),
    "401 for items": lasting(
        MEMBERS,
        respond(401, error("InvalidAuthenticationToken")),
        "group_members",
        reason="InvalidAuthenticationToken",
    ),
    "answers missing": lasting(
        BATCH, patch(("remove", "/responses/0")), *BATCHED, reason="MissingAnswer"
    ),
    "batches failing": lasting(BATCH, respond(503), *BATCHED, reason="HTTP503"),
    "the first group refused": lasting(
        MEMBERS,
        respond(403, DENIED),
        "group_members",
        reason="Authorization_RequestDenied",
        status=Status.FORBIDDEN,
    ),
}


@pytest.mark.parametrize("name", list(LASTING))
def test_a_fault_that_lasts_is_told_and_costs_its_tables_alone(bench: Bench, name: str) -> None:
    run_case(bench, LASTING[name])


STORM = (
    respond(503, error("serviceNotAvailable"), Retry_After="1.5"),
    respond(429, THROTTLED, Retry_After="2"),
    respond(500),
    HTML,
    {"reset": True},
    {"truncate_at": 40},
)


def test_all_faults_together_cost_no_row(bench: Bench) -> None:
    """Bounded each, so that no request can meet more of them than it has attempts."""
    rules = [on("/v1.0/", fault, probability=0.5, times=2) for fault in STORM]
    missing = on(BATCH, patch(("remove", "/responses/0")), times=2)
    outcome = bench.sync(missing, *rules, max_attempts=2 * len(STORM) + 3)
    bench.check(outcome)
    assert sum(bench.fired) > len(STORM)


def test_two_hours_that_pass_in_the_middle_of_a_sync_cost_no_row(
    bench: Bench, tenant: Path
) -> None:
    """Access token and page tokens expire for real, while the second page is on its way."""
    with running(tenant=tenant) as simulator:
        passed = threading.Event()

        def while_waiting(progress: Progress) -> None:
            if progress.phase is Phase.DONE and not passed.is_set():
                passed.set()
                while not simulator.stats()["faults_fired"]:
                    time.sleep(0.01)
                simulator.advance(2 * 3600)

        slowly = on(USERS_LATER, {"delay_ms": 1500}, nth=1)
        outcome = bench.sync(slowly, simulator=simulator, earlier=False, on_progress=while_waiting)
        refused = simulator.stats()["by_status"]
    assert passed.is_set()
    assert refused["401"] >= 1
    assert outcome.statuses["users"].notes[RESTARTED] == 1
    for name, status in outcome.statuses.items():
        assert status.status is Status.COMPLETE, status
        assert_same_rows(name, outcome.rows(name), bench.earlier[name])
