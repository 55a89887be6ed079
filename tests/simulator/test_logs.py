"""The activity logs over HTTP: windows, pages, retention, who may read them, and their disorder."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.simulator.conformance import violations
from entra_pipeline.simulator.process import Simulator, running
from tests.simulator.conftest import Client

A_DAY = {"sign_ins_per_day": 2400, "audits_per_day": 1500, "provisionings_per_day": 1100}
LOGS = (
    ("/auditLogs/signIns", "createdDateTime", "signIn", 2400),
    ("/auditLogs/directoryAudits", "activityDateTime", "directoryAudit", 1500),
    ("/auditLogs/provisioning", "activityDateTime", "provisioningObjectSummary", 1100),
)
ALL_LOGS = pytest.mark.parametrize(("path", "time", "type_name", "per_day"), LOGS)


def text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def days_ago(days: float) -> datetime:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=days)


def window(path: str, time: str, first: datetime, last: datetime) -> str:
    return f"{path}?$filter={time} ge {text(first)} and {time} le {text(last)}"


def a_day(path: str, time: str, days: int) -> str:
    first = days_ago(days)
    return (
        f"{path}?$filter={time} ge {text(first)} and "
        f"{time} le {text(first + timedelta(days=1))[:10]}T00:00:00Z"
    )


def within(rows: list[dict[str, Any]], time: str, day: str) -> list[dict[str, Any]]:
    return [row for row in rows if row[time].startswith(day)]


@pytest.fixture(scope="module")
def logged() -> Iterator[Client]:
    with running(users=120, groups=60, seed=7, **A_DAY) as simulator:
        yield Client(simulator)


@ALL_LOGS
def test_a_closed_window_gives_each_event_once_newest_first(
    logged: Client, path: str, time: str, type_name: str, per_day: int
) -> None:
    rows = logged.rows(a_day(path, time, 3))
    day = within(rows, time, text(days_ago(3))[:10])
    assert len(day) == per_day
    assert len({row["id"] for row in rows}) == len(rows)
    times = [row[time] for row in rows]
    assert times == sorted(times, reverse=True)
    assert [each for row in rows[::50] for each in violations(row, type_name)] == []
    assert logged.rows(f"{a_day(path, time, 3)}&$orderby={time} asc&$top=333") == rows[::-1]
    assert logged.rows(f"{a_day(path, time, 3)}&$orderby={time} desc&$top=999") == rows


@ALL_LOGS
def test_windows_that_meet_miss_nothing_and_share_their_edge_alone(
    logged: Client, path: str, time: str, type_name: str, per_day: int
) -> None:
    begin = days_ago(4)
    whole = {row["id"] for row in logged.rows(a_day(path, time, 4))}
    parts: list[str] = []
    for hour in range(0, 24, 3):
        first = begin + timedelta(hours=hour)
        parts += logged.ids(window(path, time, first, first + timedelta(hours=3)))
    assert set(parts) == whole
    assert len(parts) - len(whole) <= 8


def test_the_same_seed_logs_the_same_on_another_run(logged: Client) -> None:
    with running(users=120, groups=60, seed=7, **A_DAY) as simulator:
        again = Client(simulator)
        for path, time, _, _ in LOGS:
            link = window(path, time, days_ago(2), days_ago(1.5))
            assert again.rows(link) == logged.rows(link)


def test_a_page_holds_a_thousand_events_and_no_more(logged: Client) -> None:
    path, time, _, _ = LOGS[0]
    first = logged.get(a_day(path, time, 2)).json()
    assert len(first["value"]) == 1000
    assert "@odata.count" not in first
    assert first["@odata.context"].endswith("$metadata#auditLogs/signIns")
    assert len(logged.get(f"{path}?$top=5").json()["value"]) == 5
    assert logged.refusal(f"{path}?$top=1001") == (400, "Request_UnsupportedQuery")
    assert "@odata.nextLink" not in logged.get(window(path, time, days_ago(2), days_ago(2))).json()


def test_what_happens_during_a_walk_is_not_part_of_it() -> None:
    with running(users=40, groups=20, seed=2) as simulator:
        client = Client(simulator)
        simulator.mutate(seed=1, changes=60)
        path = "/auditLogs/directoryAudits?$top=20"
        before = client.ids(path)
        first = client.get(path).json()
        simulator.mutate(seed=2, changes=60)
        rest = client.ids(first["@odata.nextLink"])
        assert [row["id"] for row in first["value"]] + rest == before
        assert client.ids(path)[-len(before) :] == before


def test_page_tokens_of_logs_expire(logged: Client) -> None:
    with running(users=40, groups=20, seed=2, sign_ins_per_day=500) as simulator:
        client = Client(simulator)
        link = client.get("/auditLogs/signIns?$top=10").json()["@odata.nextLink"]
        assert client.get(link).status_code == 200
        simulator.advance(4000)
        client = Client(simulator)
        assert client.refusal(link) == (400, "Directory_ExpiredPageToken")


# Filters


@pytest.mark.parametrize(
    ("clause", "holds"),
    [
        ("status/errorCode eq 50126", lambda row: row["status"]["errorCode"] == 50126),
        ("appDisplayName eq 'Azure Portal'", lambda row: row["appDisplayName"] == "Azure Portal"),
        (
            "startswith(userPrincipalName,'m') and conditionalAccessStatus eq 'success'",
            lambda row: (
                row["userPrincipalName"].startswith("m")
                and row["conditionalAccessStatus"] == "success"
            ),
        ),
        (
            "(clientAppUsed eq 'Browser' or riskLevelDuringSignIn eq 'medium')",
            lambda row: (
                row["clientAppUsed"] == "Browser" or row["riskLevelDuringSignIn"] == "medium"
            ),
        ),
    ],
)
def test_sign_ins_filter_by_what_they_say(logged: Client, clause: str, holds: Any) -> None:
    path, time, _, _ = LOGS[0]
    link = window(path, time, days_ago(2), days_ago(1))
    expected = [row["id"] for row in logged.rows(link) if holds(row)]
    assert expected
    assert logged.ids(f"{link} and {clause}") == expected


@pytest.mark.parametrize(
    ("clause", "holds"),
    [
        (
            "activityDisplayName eq 'Add member to group'",
            lambda row: row["activityDisplayName"] == "Add member to group",
        ),
        ("category eq 'UserManagement'", lambda row: row["category"] == "UserManagement"),
        ("result eq 'failure'", lambda row: row["result"] == "failure"),
        (
            "initiatedBy/user/userPrincipalName eq 'adm.tomas.okonjo@contoso.example'",
            lambda row: (
                (row["initiatedBy"]["user"] or {}).get("userPrincipalName")
                == "adm.tomas.okonjo@contoso.example"
            ),
        ),
        (
            "targetResources/any(t:t/type eq 'ServicePrincipal')",
            lambda row: any(each["type"] == "ServicePrincipal" for each in row["targetResources"]),
        ),
    ],
)
def test_audits_filter_by_what_they_say(logged: Client, clause: str, holds: Any) -> None:
    path, time, _, _ = LOGS[1]
    link = window(path, time, days_ago(2), days_ago(1))
    expected = [row["id"] for row in logged.rows(link) if holds(row)]
    assert expected
    assert logged.ids(f"{link} and {clause}&$top=37") == expected


def test_provisioning_filters_by_job_and_open_windows(logged: Client) -> None:
    path, time, _, _ = LOGS[2]
    link = f"{path}?$filter={time} gt {text(days_ago(2))} and {time} lt {text(days_ago(1))}"
    rows = logged.rows(link)
    assert len(rows) == 1100
    job = rows[0]["jobId"]
    expected = [row["id"] for row in rows if row["jobId"] == job]
    assert logged.ids(f"{link} and jobId eq '{job}'") == expected
    assert logged.ids(f"{link} and contains(jobId, '{job[10:20]}')")


def test_one_moment_can_be_asked_for(logged: Client) -> None:
    path, time, _, _ = LOGS[1]
    event = logged.get(f"{path}?$top=1").json()["value"][0]
    assert logged.ids(f"{path}?$filter={time} eq {event[time]}") == [event["id"]]


def test_selected_properties_are_shown_alone(logged: Client) -> None:
    row = logged.get("/auditLogs/signIns?$top=1&$select=id,createdDateTime,status").json()
    assert row["@odata.context"].endswith("#auditLogs/signIns(id,createdDateTime,status)")
    assert set(row["value"][0]) == {"id", "createdDateTime", "status"}


@pytest.mark.parametrize(
    "query",
    [
        "$orderby=userPrincipalName",
        "$skip=10",
        '$search="appDisplayName:Azure"',
        "$expand=user",
        "$filter=nope eq 1",
        "$filter=createdDateTime lt 2026-01-01T00:00:00Z",
        "$filter=createdDateTime ne 2026-01-01T00:00:00Z",
        "$filter=endswith(userPrincipalName,'x')",
        "$filter=homeTenantId eq 'x'",
        "$select=nope",
        "$top=0",
    ],
)
def test_what_logs_do_not_take_is_refused(logged: Client, query: str) -> None:
    assert logged.get(f"/auditLogs/signIns?{query}").status_code == 400


def test_single_events_are_not_found_by_id(logged: Client) -> None:
    assert logged.refusal("/auditLogs/signIns/66ea54eb-6301-4ee5-be62-ff5a759b0100")[0] == 404
    assert logged.session.post(f"{logged.base}/v1.0/auditLogs/signIns", json={}).status_code == 405


# Who, where and how long


def test_without_permission_the_logs_are_closed(golden_directory: Path) -> None:
    missing = (403, "Authentication_MSGraphPermissionMissing")
    for permission, closed in (
        ("AuditLog.Read.All", LOGS),
        ("Directory.Read.All", LOGS[1:]),
    ):
        with running(tenant=golden_directory, without_permission=[permission]) as simulator:
            client = Client(simulator)
            for path, _, _, _ in LOGS:
                answer = client.get(path)
                if any(path == each[0] for each in closed):
                    assert client.refusal(path) == missing
                    assert permission in answer.text
                else:
                    assert answer.status_code == 200


def test_policies_are_shown_to_those_who_may_read_them(logged: Client) -> None:
    path, time, _, _ = LOGS[0]
    link = window(path, time, days_ago(1.6), days_ago(1.5))
    shown = logged.rows(link)
    assert any(row["appliedConditionalAccessPolicies"] for row in shown)
    with running(
        users=120, groups=60, seed=7, **A_DAY, without_permission=["Policy.Read.All"]
    ) as simulator:
        rows = Client(simulator).rows(link)
    assert not any(row["appliedConditionalAccessPolicies"] for row in rows)
    assert [row["id"] for row in rows] == [row["id"] for row in shown]


def test_a_free_tenant_keeps_audits_for_a_week_and_shows_no_sign_ins() -> None:
    with running(users=40, groups=20, seed=2, license="free", **A_DAY) as simulator:
        client = Client(simulator)
        code = "Authentication_RequestFromNonPremiumTenantOrB2CTenant"
        assert client.refusal("/auditLogs/signIns") == (403, code)
        assert client.refusal("/auditLogs/provisioning") == (403, code)
        path, time, _, _ = LOGS[1]
        assert len(client.rows(f"{a_day(path, time, 6)}")) >= 1500
        assert client.rows(window(path, time, days_ago(20), days_ago(8))) == []


@ALL_LOGS
def test_a_premium_tenant_keeps_thirty_days(
    logged: Client, path: str, time: str, type_name: str, per_day: int
) -> None:
    assert len(logged.rows(window(path, time, days_ago(29), days_ago(28)))) >= per_day
    assert logged.rows(window(path, time, days_ago(60), days_ago(31))) == []


def test_events_leave_the_log_as_time_passes() -> None:
    with running(users=40, groups=20, seed=2) as simulator:
        simulator.mutate(seed=1, changes=10)
        assert Client(simulator).ids("/auditLogs/directoryAudits")
        simulator.advance(31 * 86400)
        assert Client(simulator).ids("/auditLogs/directoryAudits") == []


def test_the_past_begins_as_many_days_ago_as_asked() -> None:
    with running(users=40, groups=20, seed=2, sign_ins_per_day=900, audit_days=2) as simulator:
        client, (path, time, _, _) = Client(simulator), LOGS[0]
        assert client.rows(window(path, time, days_ago(10), days_ago(2.001))) == []
        assert len(client.rows(window(path, time, days_ago(2), days_ago(1)))) >= 900


def test_days_that_pass_have_sign_ins_too(logged: Client) -> None:
    with running(users=40, groups=20, seed=2, sign_ins_per_day=900) as simulator:
        path, time, _, _ = LOGS[0]
        tomorrow = window(path, time, days_ago(-1), days_ago(-2))
        assert Client(simulator).rows(tomorrow) == []
        simulator.advance(2 * 86400)
        assert len(Client(simulator).rows(tomorrow)) >= 900


def test_reports_are_limited_to_five_requests_in_ten_seconds() -> None:
    with running(users=40, groups=20, seed=2, sign_ins_per_day=900, throttle="l") as simulator:
        client = Client(simulator)
        paths = [path for path, *_ in LOGS]
        answers = [client.get(paths[turn % 3]) for turn in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert float(answers[5].headers["Retry-After"]) > 0
        simulator.advance(11)
        assert client.get(paths[0]).status_code == 200


# Disorder


def disorderly(**options: Any) -> Any:
    return running(users=60, groups=30, seed=5, **A_DAY, **options)


def ids_of_the_last_hours(simulator: Simulator, until: datetime) -> set[str]:
    path, time, _, _ = LOGS[0]
    return set(Client(simulator).ids(window(path, time, until - timedelta(hours=12), until)))


def test_late_events_appear_in_a_window_read_before() -> None:
    # Hours late, not minutes: one event in twenty is, and at night there are few in an hour.
    with disorderly(log_lag=120, log_late=36_000) as simulator:
        now = datetime.now(UTC)
        first = ids_of_the_last_hours(simulator, now)
        simulator.advance(40_000)
        second = ids_of_the_last_hours(simulator, now)
        assert first < second
        simulator.advance(40_000)
        assert ids_of_the_last_hours(simulator, now) == second


def test_audits_of_changes_lag_too() -> None:
    with running(users=40, groups=20, seed=2, replication_lag=300) as simulator:
        simulator.mutate(seed=1, changes=10)
        assert Client(simulator).ids("/auditLogs/directoryAudits") == []
        simulator.advance(301)
        assert Client(simulator).ids("/auditLogs/directoryAudits")


def test_pages_repeat_events_of_the_page_before(logged: Client) -> None:
    path, time, _, _ = LOGS[0]
    link = f"{a_day(path, time, 2)}&$top=100"
    with disorderly(log_repeats=4) as simulator:
        client = Client(simulator)
        first = client.get(link).json()
        second = client.get(first["@odata.nextLink"]).json()
        assert second["value"][:4] == first["value"][-4:]
        assert len(second["value"]) == 100
        rows = client.rows(link)
        ids = {row["id"] for row in rows}
        assert len(rows) > len(ids)
        assert len(ids) in (2400, 2401)


def test_pages_in_no_order_hold_the_same_events() -> None:
    path, time, _, _ = LOGS[0]
    link = f"{a_day(path, time, 2)}&$top=400"
    with disorderly() as simulator:
        straight = Client(simulator).ids(link)
    with disorderly(log_disorder=True) as simulator:
        mixed = Client(simulator).ids(link)
    assert mixed != straight
    assert set(mixed[:400]) == set(straight[:400])
    assert sorted(mixed) == sorted(straight)


def test_some_pages_are_empty_and_nothing_is_lost() -> None:
    path, time, _, _ = LOGS[0]
    link = f"{a_day(path, time, 2)}&$top=300"
    with disorderly() as simulator:
        straight = Client(simulator).ids(link)
    with disorderly(empty_pages=3) as simulator:
        client = Client(simulator)
        assert client.ids(link) == straight
        page = client.get(link).json()
        sizes = [len(page["value"])]
        while "@odata.nextLink" in page:
            page = client.get(page["@odata.nextLink"]).json()
            sizes.append(len(page["value"]))
        assert 0 in sizes


def test_a_filter_that_finds_little_gives_short_pages_and_goes_on() -> None:
    with running(users=40, groups=20, seed=2, sign_ins_per_day=55_000) as simulator:
        client, (path, time, _, _) = Client(simulator), LOGS[0]
        link = f"{window(path, time, days_ago(2), days_ago(1))} and ipAddress eq '192.0.2.1'"
        first = client.get(link).json()
        assert first["value"] == []
        assert client.rows(first["@odata.nextLink"]) == []


def held_by(simulator: Simulator) -> int:
    """Bytes of memory that the simulator holds now.

    Its own statistics say the most it ever held, which begins with what its parent held.
    """
    pages = int(Path(f"/proc/{simulator.info.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_a_million_sign_ins_a_day_cost_nothing_until_asked_for() -> None:
    with running(users=200, groups=60, seed=7, sign_ins_per_day=1_000_000) as simulator:
        path, time, _, _ = LOGS[0]
        client = Client(simulator)
        before = held_by(simulator)
        first = days_ago(1.6)
        link: str | None = window(path, time, first, first + timedelta(minutes=8))
        simulator.reset_stats()
        seen = 0
        while link is not None:
            page = json.loads(client.get(link).content)
            seen += len(page["value"])
            link = page.get("@odata.nextLink")
        stats, after = simulator.stats(), held_by(simulator)
    assert seen > 10_000
    assert seen / stats["cpu_s"] > 20_000
    assert before < 200e6
    assert after < before + 60e6
