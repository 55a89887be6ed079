"""What real tenants hold that documentation does not: kept sensibly, counted, never fatal."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from entra_pipeline.extract.notes import (
    DUPLICATES,
    MISMATCHED,
    SENTINEL_DATES,
    UNKNOWN_TYPES,
    UNREADABLE_DATES,
    VANISHED,
    WITHOUT_KEY,
)
from entra_pipeline.tables import Status
from tests.extract.support import Rig

U = "22222222-2222-4222-8222-%012d"
G = "33333333-3333-4333-8333-%012d"
S = "44444444-4444-4444-8444-%012d"


def user(number: int, **more: Any) -> dict[str, Any]:
    return {"id": U % number, "displayName": f"User {number}", **more}


def group(number: int, **more: Any) -> dict[str, Any]:
    flags = {"groupTypes": [], "mailEnabled": False, "securityEnabled": True}
    return {"id": G % number, "displayName": f"Group {number}", **flags, **more}


def patched(path: str, *operations: dict[str, Any]) -> dict[str, Any]:
    return {"match": {"path": path}, "patch": list(operations)}


def test_null_names_and_dates_of_every_kind(golden: Callable[..., Rig]) -> None:
    rig = golden(
        users=[
            user(0, displayName=None, userPrincipalName=None, mail=None, userType=None),
            user(1, createdDateTime="2024-01-01T00:00:00.1234567Z"),
            user(2, createdDateTime="0001-01-01T00:00:00Z"),
            user(3, createdDateTime="not a date"),
        ]
    )
    status = rig.sync("users")["users"]
    assert status.status is Status.COMPLETE
    assert status.notes == {SENTINEL_DATES: 1, UNREADABLE_DATES: 1}
    rows = {row["id"]: row for row in rig.rows("users")}
    assert (rows[U % 0]["display_name"], rows[U % 0]["user_type"]) == (None, None)
    assert rows[U % 1]["created_date_time"] == datetime(2024, 1, 1, microsecond=123456, tzinfo=UTC)
    assert rows[U % 2]["created_date_time"] is None
    assert rows[U % 3]["created_date_time"] is None


def test_values_of_unexpected_types_cost_only_themselves(golden: Callable[..., Rig]) -> None:
    rig = golden(users=[user(n, city="Oslo") for n in range(3)])
    rig.simulator.faults(
        [
            patched(
                r"/users\?",
                {"op": "add", "path": "/value/0/city", "value": {"name": "Oslo"}},
                {"op": "add", "path": "/value/1/proxyAddresses", "value": "smtp:a@example.org"},
                {"op": "add", "path": "/value/2/accountEnabled", "value": "true"},
            )
        ]
    )
    status = rig.sync("users")["users"]
    assert (status.status, dict(status.notes)) == (Status.COMPLETE, {MISMATCHED: 3})
    assert [row["city"] for row in rig.rows("users")] == [None, "Oslo", "Oslo"]


def test_unknown_types_of_members_and_ids_only_members(golden: Callable[..., Rig]) -> None:
    rig = golden(
        users=[user(n) for n in range(30)],
        groups=[group(0), group(1)],
        group_members={G % 0: [U % 0, U % 1, U % 2], G % 1: [U % n for n in range(30)]},
    )
    new = "#microsoft.graph.somethingNew"
    rig.simulator.faults(
        [
            patched(
                r"/groups\?.*members",
                {"op": "replace", "path": "/value/0/members/0/@odata.type", "value": new},
                {"op": "remove", "path": "/value/0/members/1/@odata.type"},
            ),
            patched(
                f"/groups/{G % 1}/members",
                {"op": "replace", "path": "/value/0/@odata.type", "value": new},
            ),
        ]
    )
    status = rig.sync("group_members")["group_members"]
    assert (status.status, dict(status.notes)) == (Status.COMPLETE, {UNKNOWN_TYPES: 2})
    kinds = [row["member_kind"] for row in rig.rows("group_members")]
    assert len(kinds) == 33
    assert kinds.count("unknown") == 3


def test_unknown_members_of_enumerations_are_kept_as_sent(golden: Callable[..., Rig]) -> None:
    rig = golden(
        users=[user(0, userType="Robot")],
        service_principals=[
            {"id": S % 0, "appId": S % 1, "servicePrincipalType": "unknownFutureValue"}
        ],
    )
    statuses = rig.sync("users", "service_principals")
    assert {status.status for status in statuses.values()} == {Status.COMPLETE}
    assert rig.rows("users")[0]["user_type"] == "Robot"
    assert rig.rows("service_principals")[0]["service_principal_type"] == "unknownFutureValue"


def test_agents_are_principals_of_the_kind_that_they_derive_from(
    golden: Callable[..., Rig],
) -> None:
    rig = golden(
        users=[user(0, **{"@odata.type": "#microsoft.graph.agentUser"}), user(1)],
        groups=[group(0)],
        group_members={G % 0: [U % 0, U % 1]},
    )
    statuses = rig.sync("users", "group_members")
    assert {status.status for status in statuses.values()} == {Status.COMPLETE}
    assert len(rig.rows("users")) == 2
    assert {row["member_kind"] for row in rig.rows("group_members")} == {"user"}


def test_a_page_that_repeats_an_object_is_counted_once(golden: Callable[..., Rig]) -> None:
    rig = golden(users=[user(n) for n in range(5)])
    repeated = {"op": "add", "path": "/value/-", "value": user(0, city="Bergen")}
    rig.simulator.faults([patched(r"/users\?", repeated)])
    status = rig.sync("users")["users"]
    assert (status.status, dict(status.notes)) == (Status.COMPLETE, {DUPLICATES: 1})
    assert len(rig.rows("users")) == 5
    # The later sight of an object is the truer one.
    assert rig.rows("users")[0]["city"] == "Bergen"


def test_objects_without_an_id_are_left_out_and_counted(golden: Callable[..., Rig]) -> None:
    rig = golden(users=[user(n) for n in range(3)])
    nameless = {"op": "add", "path": "/value/-", "value": {"displayName": "nobody"}}
    rig.simulator.faults([patched(r"/users\?", nameless)])
    status = rig.sync("users")["users"]
    assert (status.status, dict(status.notes)) == (Status.COMPLETE, {WITHOUT_KEY: 1})


def test_assignments_to_principals_and_roles_that_are_gone_are_kept(
    golden: Callable[..., Rig],
) -> None:
    rig = golden(
        users=[user(0)],
        role_assignments=[
            {
                "id": "assignment",
                "principalId": U % 77,
                "roleDefinitionId": "99999999-9999-4999-8999-999999999999",
                "directoryScopeId": "/",
            }
        ],
    )
    assert rig.sync("role_assignments")["role_assignments"].status is Status.COMPLETE
    assert [row["principal_id"] for row in rig.rows("role_assignments")] == [U % 77]


def test_managed_identities_are_told_by_their_alternative_names(
    golden: Callable[..., Rig],
) -> None:
    own, other = (
        "/subscriptions/s/x/userAssignedIdentities/i",
        "/subscriptions/s/x/virtualMachines/v",
    )
    cases: list[tuple[list[str], str | None, str | None]] = [
        (["isExplicit=True", own], "user_assigned", own),
        (["isExplicit=False", other], "system_assigned", other),
        ([own], "user_assigned", own),
        ([other], "system_assigned", other),
        (["isExplicit=True"], "user_assigned", None),
        ([], None, None),
    ]
    rig = golden(
        service_principals=[
            {
                "id": S % number,
                "appId": S % (number + 50),
                "servicePrincipalType": "ManagedIdentity",
                "alternativeNames": names,
            }
            for number, (names, _, _) in enumerate(cases)
        ]
    )
    rig.sync("service_principals")
    rows = rig.rows("service_principals")
    found = [(row["managed_identity_kind"], row["azure_resource_id"]) for row in rows]
    assert found == [(kind, resource) for _, kind, resource in cases]


def test_relations_that_vanish_after_the_listing_are_left_out_and_counted(
    golden: Callable[..., Rig],
) -> None:
    rig = golden(
        users=[user(n) for n in range(25)],
        applications=[{"id": S % n, "appId": S % (n + 50)} for n in range(2)],
        application_owners={S % n: [U % m for m in range(25)] for n in range(2)},
    )
    gone = {"error": {"code": "Request_ResourceNotFound", "message": "gone"}}
    path = f"/applications/{S % 0}/owners"
    rig.simulator.faults([{"match": {"path": path}, "respond": {"status": 404, "body": gone}}])
    status = rig.sync("application_owners")["application_owners"]
    assert (status.status, dict(status.notes)) == (Status.COMPLETE, {VANISHED: 1})
    rows = rig.rows("application_owners")
    assert {row["application_id"] for row in rows} == {S % 1}
    assert len(rows) == 25


def test_relations_beyond_the_limit_of_expand_are_whole(golden: Callable[..., Rig]) -> None:
    people = [U % n for n in range(45)]
    unit = "66666666-6666-4666-8666-000000000000"
    device = "77777777-7777-4777-8777-000000000000"
    rig = golden(
        users=[user(n) for n in range(45)],
        groups=[group(0)],
        group_owners={G % 0: people},
        service_principals=[{"id": S % 0, "appId": S % 1, "servicePrincipalType": "Application"}],
        service_principal_owners={S % 0: people[:21]},
        administrative_units=[{"id": unit, "displayName": "Unit"}],
        administrative_unit_members={unit: [*people, G % 0]},
        devices=[{"id": device, "deviceId": device, "displayName": "Device"}],
        device_owners={device: people[:20]},
        app_role_assignments=[
            {
                "id": f"assignment-{n}",
                "resourceId": S % 0,
                "appRoleId": "00000000-0000-0000-0000-000000000000",
                "principalId": person,
                "principalType": "User",
            }
            for n, person in enumerate(people)
        ],
    )
    sizes = {
        "group_owners": 45,
        "service_principal_owners": 21,
        "administrative_unit_members": 46,
        "device_owners": 20,
        "app_role_assignments": 45,
    }
    statuses = rig.sync(*sizes)
    assert {name: (s.status, s.rows) for name, s in statuses.items()} == {
        name: (Status.COMPLETE, size) for name, size in sizes.items()
    }
