"""Settings that change what is read, with the meaning of ConductorOne's options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from entra_pipeline.extract.notes import DROPPED_BY_SETTING
from entra_pipeline.tables import Status
from tests.extract.support import Rig

U = "22222222-2222-4222-8222-%012d"
G = "33333333-3333-4333-8333-%012d"
S = "44444444-4444-4444-8444-%012d"
R = "55555555-5555-4555-8555-%012d"


def user(number: int, synced: bool | None = None) -> dict[str, Any]:
    return {"id": U % number, "displayName": f"User {number}", "onPremisesSyncEnabled": synced}


def group(number: int, synced: bool | None = None) -> dict[str, Any]:
    return {
        "id": G % number,
        "displayName": f"Group {number}",
        "groupTypes": [],
        "mailEnabled": False,
        "securityEnabled": True,
        "onPremisesSyncEnabled": synced,
    }


def hybrid(golden: Callable[..., Rig], **settings: Any) -> Rig:
    """Synced users 0 to 24 and cloud users 25 to 49; one synced group, three of the cloud."""
    everybody = [U % n for n in range(50)]
    return golden(
        settings=settings,
        users=[user(n, synced=n < 25 or None) for n in range(49)] + [user(49, synced=False)],
        groups=[group(0, synced=True), group(1), group(2), group(3, synced=False)],
        service_principals=[{"id": S % 0, "appId": S % 9, "servicePrincipalType": "Application"}],
        group_members={
            G % 0: everybody,
            G % 1: [*everybody, S % 0, G % 0],
            G % 2: [U % 0, U % 30],
            G % 3: [U % 1, U % 49],
        },
        group_owners={G % 0: [U % 30], G % 1: [U % 0, U % 30]},
    )


def members(rig: Rig) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rig.rows("group_members"):
        found.setdefault(row["group_id"], set()).add(row["member_id"])
    return found


def test_skipping_synced_groups_drops_synced_members_too(golden: Callable[..., Rig]) -> None:
    rig = hybrid(golden, skip_ad_groups=True)
    statuses = rig.sync("users", "groups", "group_members", "group_owners")
    assert {status.status for status in statuses.values()} == {Status.COMPLETE}
    # Once synced, now of the cloud (false): stays.
    assert {row["id"] for row in rig.rows("groups")} == {G % 1, G % 2, G % 3}
    assert members(rig) == {
        G % 1: {*(U % n for n in range(25, 50)), S % 0, G % 0},
        G % 2: {U % 30},
        G % 3: {U % 49},
    }
    assert {(r["group_id"], r["owner_id"]) for r in rig.rows("group_owners")} == {
        (G % 1, U % 0),
        (G % 1, U % 30),
    }
    assert len(rig.rows("users")) == 50
    assert statuses["groups"].notes == {DROPPED_BY_SETTING: 1}
    assert statuses["group_members"].notes == {DROPPED_BY_SETTING: 27}


def test_synced_members_stay_when_asked_for(golden: Callable[..., Rig]) -> None:
    rig = hybrid(golden, skip_ad_groups=True, include_on_prem_group_members=True)
    rig.sync("users", "groups", "group_members")
    assert {row["id"] for row in rig.rows("groups")} == {G % 1, G % 2, G % 3}
    assert members(rig) == {
        G % 1: {*(U % n for n in range(50)), S % 0, G % 0},
        G % 2: {U % 0, U % 30},
        G % 3: {U % 1, U % 49},
    }


def test_without_the_setting_everything_stays(golden: Callable[..., Rig]) -> None:
    rig = hybrid(golden)
    rig.sync("groups", "group_members")
    assert {row["id"] for row in rig.rows("groups")} == {G % n for n in range(4)}
    assert len(members(rig)[G % 0]) == 50


def test_members_alone_use_the_users_committed_before(golden: Callable[..., Rig]) -> None:
    rig = hybrid(golden, skip_ad_groups=True)
    failed = rig.sync("group_members")["group_members"]
    assert failed.status is Status.FAILED
    assert "ENTRA_SKIP_AD_GROUPS" in (failed.reason or "")
    rig.sync("users")
    assert rig.sync("group_members")["group_members"].status is Status.COMPLETE
    assert members(rig)[G % 2] == {U % 30}


def test_extension_attributes_are_read_only_when_asked_for(golden: Callable[..., Rig]) -> None:
    attributes = {f"extensionAttribute{n}": None for n in range(1, 16)}
    attributes["extensionAttribute7"] = "seven"
    rig = golden(users=[{**user(0), "onPremisesExtensionAttributes": attributes}])
    rig.sync("users")
    assert rig.rows("users")[0]["on_premises_extension_attributes"] is None
    rig.set(on_premises_extension_attributes=True)
    rig.sync("users")
    found = rig.rows("users")[0]["on_premises_extension_attributes"]
    assert found["extension_attribute7"] == "seven"
    assert found["extension_attribute1"] is None


def test_skipping_unassigned_applications(golden: Callable[..., Rig]) -> None:
    def principal(number: int, kind: str = "Application", required: bool = False) -> Any:
        return {
            "id": S % number,
            "appId": S % (number + 100),
            "displayName": f"Application {number}",
            "servicePrincipalType": kind,
            "appRoleAssignmentRequired": required,
            "appRoles": [{"id": R % number, "value": "Use", "isEnabled": True}],
            "passwordCredentials": [{"keyId": R % (number + 50)}],
        }

    assigned, holding, unassigned, identity, required = range(5)
    rig = golden(
        settings={"skip_unassigned_apps": True},
        users=[user(0)],
        service_principals=[
            principal(assigned),
            principal(holding),
            principal(unassigned),
            principal(identity, kind="ManagedIdentity"),
            principal(required, required=True),
        ],
        service_principal_owners={S % n: [U % 0] for n in range(5)},
        app_role_assignments=[
            {
                "id": f"assignment-{n}",
                "resourceId": S % assigned,
                "appRoleId": R % assigned,
                "principalId": principal_id,
                "principalType": kind,
            }
            for n, (principal_id, kind) in enumerate(
                [(U % 0, "User"), (S % holding, "ServicePrincipal")]
            )
        ],
    )
    tables = ("service_principals", "app_roles", "credentials", "service_principal_owners")
    statuses = rig.sync(*tables)
    assert {status.status for status in statuses.values()} == {Status.COMPLETE}
    assert statuses["service_principals"].notes == {DROPPED_BY_SETTING: 1}
    kept = {S % n for n in (assigned, holding, identity, required)}
    for table, column in zip(
        tables, ("id", "resource_id", "owner_id", "service_principal_id"), strict=True
    ):
        assert {row[column] for row in rig.rows(table)} == kept, table
    rig.set()
    rig.sync(*tables)
    assert len(rig.rows("service_principals")) == 5


def test_pim_asks_about_role_assignable_groups_and_those_of_the_settings(
    golden: Callable[..., Rig],
) -> None:
    def instance(number: int) -> dict[str, Any]:
        return {
            "id": f"instance-{number}",
            "groupId": G % number,
            "principalId": U % 0,
            "accessId": "member",
            "memberType": "direct",
        }

    rig = golden(
        settings={"pim_groups": (G % 1,)},
        users=[user(0)],
        groups=[{**group(0), "isAssignableToRole": True}, group(1), group(2)],
        group_eligibility_schedule_instances=[instance(n) for n in range(3)],
    )
    table = "group_eligibility_schedule_instances"
    assert rig.sync(table)[table].status is Status.COMPLETE
    assert {row["group_id"] for row in rig.rows(table)} == {G % 0, G % 1}
    rig.sync("groups", table)
    assert {row["group_id"] for row in rig.rows(table)} == {G % 0, G % 1}
