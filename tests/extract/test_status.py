"""What a table's status says when Graph refuses, fails, lies, or answers with too little."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.extract.notes import REREAD, RESTARTED
from entra_pipeline.simulator.process import running
from entra_pipeline.tables import Status, get
from tests.extract.support import Rig

U = "22222222-2222-4222-8222-%012d"


def users(count: int) -> list[dict[str, Any]]:
    return [{"id": U % n, "displayName": f"User {n}"} for n in range(count)]


def failing(path: str, status: int = 500, code: str = "UnknownError") -> dict[str, Any]:
    return {
        "match": {"path": path},
        "respond": {"status": status, "body": {"error": {"code": code, "message": "no"}}},
    }


def test_a_free_tenant_leaves_only_licensed_tables_out(tmp_path: Path) -> None:
    with running(users=60, groups=30, seed=3, license="free") as simulator:
        rig = Rig(simulator, tmp_path)
        statuses = rig.sync(*_fast_and_slow())
        rig.close()
    unlicensed = {name for name, s in statuses.items() if s.status is Status.UNLICENSED}
    rest = {s.status for name, s in statuses.items() if name not in unlicensed}
    assert rest == {Status.COMPLETE}
    assert {
        "user_sign_in_activity",
        "role_eligibility_schedule_instances",
        "group_eligibility_schedule_instances",
    } <= unlicensed
    for name in unlicensed:
        status = statuses[name]
        assert f"Microsoft Entra ID {(get(name).license or '').upper()}" in (status.reason or "")
        assert (status.rows, status.permission) == (None, None)
        assert rig.lake.info(name) is None


def test_a_missing_permission_is_named_and_costs_only_its_tables(tmp_path: Path) -> None:
    missing = ("AuditLog.Read.All", "Device.Read.All", "Directory.Read.All")
    with running(users=60, groups=30, seed=3, without_permission=missing) as simulator:
        rig = Rig(simulator, tmp_path)
        statuses = rig.sync(*_fast_and_slow())
        rig.close()
    forbidden = {n: s.permission for n, s in statuses.items() if s.status is Status.FORBIDDEN}
    assert forbidden["devices"] == forbidden["device_owners"] == "Device.Read.All"
    assert forbidden["user_registration_details"] == "AuditLog.Read.All"
    assert forbidden["user_sign_in_activity"] == "AuditLog.Read.All"
    assert forbidden["deleted_items"] == "Directory.Read.All"
    for name in ("users", "groups", "group_members", "role_assignments", "service_principals"):
        assert statuses[name].status is Status.COMPLETE, statuses[name]
    for name in forbidden:
        assert str(forbidden[name]) in (statuses[name].reason or "")
        assert "request-id" in (statuses[name].reason or "")


def test_what_a_cloud_lacks_is_unsupported(tmp_path: Path) -> None:
    with running(users=40, groups=20, seed=3, cloud="govsg") as simulator:
        rig = Rig(simulator, tmp_path)
        statuses = rig.sync("users", "role_eligibility_schedule_instances")
        rig.close()
    assert statuses["users"].status is Status.COMPLETE
    status = statuses["role_eligibility_schedule_instances"]
    assert status.status is Status.UNSUPPORTED
    assert status.reason


def test_a_failed_table_keeps_what_was_published_and_spares_its_neighbours(rig: Rig) -> None:
    before = rig.sync("domains", "organization")
    rig.set(max_attempts=2)
    rig.simulator.faults([failing("/domains")])
    after = rig.sync("domains", "organization")
    assert after["organization"].status is Status.COMPLETE
    status = after["domains"]
    assert status.status is Status.FAILED
    assert "UnknownError" in (status.reason or "")
    assert (status.rows, status.version) == (before["domains"].rows, before["domains"].version)
    assert status.as_of == before["domains"].as_of
    assert rig.books.statuses()["domains"].status is Status.FAILED
    assert len(rig.rows("domains")) == before["domains"].rows


def test_reasons_carry_no_personal_data(rig: Rig) -> None:
    [user, *_] = rig.simulator.truth("users")
    body = {
        "error": {
            "code": "Request_BadRequest",
            "message": f"Property of '{user['userPrincipalName']}' ({user['id']}) is bad",
        }
    }
    rig.simulator.faults([{"match": {"path": "/users"}, "respond": {"status": 400, "body": body}}])
    status = rig.sync("users")["users"]
    assert status.status is Status.FAILED
    assert "Request_BadRequest" in (status.reason or "")
    assert user["userPrincipalName"] not in (status.reason or "")
    assert user["id"] not in (status.reason or "")


def test_an_expired_page_token_begins_the_list_again(golden: Callable[..., Rig]) -> None:
    rig = golden(users=users(2100))
    rule = _expired(r"/users\?.*skiptoken")
    rule["match"]["nth"] = 2
    rig.simulator.faults([rule])
    status = rig.sync("users")["users"]
    assert rig.simulator.stats()["faults_fired"] == 1
    assert (status.status, dict(status.notes)) == (Status.COMPLETE, {RESTARTED: 1})
    assert {row["id"] for row in rig.rows("users")} == {U % n for n in range(2100)}


def _expired(path: str) -> dict[str, Any]:
    return failing(path, 400, "Directory_ExpiredPageToken")


def lose_one(path: str, times: int) -> list[dict[str, Any]]:
    return [
        {
            "match": {"path": path, "times": times},
            "patch": [{"op": "remove", "path": "/value/0"}],
        }
    ]


@pytest.mark.parametrize(
    ("table", "path"),
    [
        ("users", r"/users\?"),
        ("groups", r"/groups\?"),
        ("applications", r"/applications\?"),
        ("service_principals", r"/servicePrincipals\?"),
        ("devices", r"/devices\?"),
        ("contacts", r"/contacts\?"),
    ],
)
def test_a_list_that_graph_counts_differently_is_read_again_and_then_not_published(
    rig: Rig, table: str, path: str
) -> None:
    before = rig.sync(table)[table]
    rig.simulator.faults(lose_one(path, 1))
    once = rig.sync(table, full=True)[table]
    assert (once.status, once.notes.get(REREAD)) == (Status.COMPLETE, 1)
    rig.simulator.faults(lose_one(path, 9))
    always = rig.sync(table, full=True)[table]
    assert always.status is Status.PARTIAL
    assert f"Graph counts {before.rows}" in (always.reason or "")
    assert (always.version, always.rows) == (once.version, before.rows)


def test_changes_while_reading_are_no_contradiction(rig: Rig) -> None:
    # The first $count says one more than there are in the end.
    count = str(len(rig.simulator.truth("contacts")) + 1)
    answer = {"status": 200, "headers": {"content-type": "text/plain"}, "body": count}
    rig.simulator.faults([{"match": {"path": r"/contacts/\$count", "nth": 1}, "respond": answer}])
    status = rig.sync("contacts")["contacts"]
    assert rig.simulator.stats()["faults_fired"] == 1
    assert (status.status, dict(status.notes)) == (Status.COMPLETE, {})


def test_an_empty_answer_is_quarantined_until_it_is_accepted(rig: Rig) -> None:
    before = rig.sync("role_assignments")["role_assignments"]
    rig.simulator.faults(
        [
            {
                "match": {"path": "/roleManagement/directory/roleAssignments"},
                "respond": {"status": 200, "body": {"value": []}},
            }
        ]
    )
    status = rig.sync("role_assignments", full=True)["role_assignments"]
    assert status.status is Status.QUARANTINED
    assert "--accept-shrink role_assignments" in (status.reason or "")
    assert (status.rows, status.version) == (before.rows, before.version)
    assert len(rig.rows("role_assignments")) == before.rows
    accepted = rig.sync("role_assignments", full=True, accept_shrink=["role_assignments"])
    assert accepted["role_assignments"].status is Status.COMPLETE
    assert rig.rows("role_assignments") == []
    again = rig.sync("role_assignments", full=True)["role_assignments"]
    assert again.status is Status.COMPLETE


def test_a_sharply_smaller_answer_is_quarantined_by_the_limit_of_the_settings(rig: Rig) -> None:
    path = "/roleManagement/directory/roleDefinitions"
    rows = rig.simulator.truth("role_definitions")
    rig.sync("role_definitions")

    def answer_with(count: int) -> None:
        body = {"value": rows[:count]}
        rig.simulator.faults([{"match": {"path": path}, "respond": {"status": 200, "body": body}}])

    answer_with(len(rows) // 2 - 1)
    assert rig.sync("role_definitions")["role_definitions"].status is Status.QUARANTINED
    answer_with(len(rows) // 2 + 1)
    assert rig.sync("role_definitions")["role_definitions"].status is Status.COMPLETE
    rig.set(shrink_limit_percent=90)
    answer_with(len(rows) // 4)
    assert rig.sync("role_definitions")["role_definitions"].status is Status.COMPLETE


def test_a_small_table_may_shrink_but_not_vanish(golden: Callable[..., Rig]) -> None:
    rig = golden(users=users(10))
    rig.sync("users")
    for count, expected in ((2, Status.COMPLETE), (0, Status.QUARANTINED)):
        rig.simulator.faults(
            [
                {
                    "match": {"path": r"/users\?"},
                    "respond": {"status": 200, "body": {"value": users(count)}},
                },
                {
                    "match": {"path": r"/users/\$count"},
                    "respond": {"status": 200, "body": str(count)},
                },
            ]
        )
        assert rig.sync("users", full=True)["users"].status is expected


def test_refused_objects_make_a_table_partial_and_published(rig: Rig) -> None:
    whole = rig.sync("synchronization_jobs")["synchronization_jobs"]
    [job, *_] = rig.simulator.truth("synchronization_jobs")
    refused = job["servicePrincipalId"]
    rig.simulator.faults(
        [failing(f"/servicePrincipals/{refused}/", 403, "Authorization_RequestDenied")]
    )
    status = rig.sync("synchronization_jobs")["synchronization_jobs"]
    assert status.status is Status.PARTIAL
    assert status.notes["refused"] == 1
    rows = rig.rows("synchronization_jobs")
    assert refused not in {row["service_principal_id"] for row in rows}
    assert len(rows) < (whole.rows or 0) or whole.rows == 1


def _fast_and_slow() -> tuple[str, ...]:
    from entra_pipeline.extract.extraction import extractable

    return extractable()
