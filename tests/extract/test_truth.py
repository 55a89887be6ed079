"""Every table's rows equal the tenant's raw JSON, worked out here value by value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from entra_pipeline.extract.extraction import extractable
from entra_pipeline.lake import TableStatus
from entra_pipeline.simulator.process import Simulator
from entra_pipeline.tables import Status, get
from tests.extract.support import Rig

ZERO = "0001-01-01T00:00:00Z"
SECRETS = (("passwordCredentials", "password"), ("keyCredentials", "certificate"))
RELATIONS = {
    "group_owners": "group_owners",
    "application_owners": "application_owners",
    "service_principal_owners": "service_principal_owners",
    "device_owners": "device_owners",
    "administrative_unit_members": "administrative_unit_members",
    "group_members": "group_members",
}
COLLECTIONS = {
    name: name
    for name in (
        "users",
        "groups",
        "applications",
        "service_principals",
        "devices",
        "contacts",
        "administrative_units",
        "organization",
        "domains",
        "subscribed_skus",
        "role_definitions",
        "role_assignments",
        "role_assignment_schedule_instances",
        "role_eligibility_schedule_instances",
        "app_role_assignments",
        "oauth2_permission_grants",
        "conditional_access_policies",
        "user_registration_details",
    )
}
KINDS = {
    "users": "user",
    "groups": "group",
    "service_principals": "service_principal",
    "devices": "device",
    "contacts": "contact",
}


@pytest.fixture(scope="module")
def synced(
    simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Rig, dict[str, TableStatus]]]:
    rig = Rig(
        simulator,
        tmp_path_factory.mktemp("synced"),
        on_premises_extension_attributes=True,
        pim_groups=_pim_groups(simulator),
    )
    yield rig, rig.sync(*extractable())
    rig.close()


def _pim_groups(simulator: Simulator) -> tuple[str, ...]:
    rows = simulator.truth("group_eligibility_schedule_instances")
    rows += simulator.truth("group_assignment_schedule_instances")
    special = {g["id"] for g in simulator.truth("groups") if g.get("isAssignableToRole")}
    return tuple(sorted({row["groupId"] for row in rows} - special))


@pytest.fixture(scope="module")
def kinds(simulator: Simulator) -> dict[str, str]:
    return {
        row["id"]: kind for collection, kind in KINDS.items() for row in simulator.truth(collection)
    }


def test_every_table_is_complete(synced: tuple[Rig, dict[str, TableStatus]]) -> None:
    _, statuses = synced
    assert {name: (s.status, s.reason) for name, s in statuses.items()} == dict.fromkeys(
        extractable(), (Status.COMPLETE, None)
    )


def test_the_registry_names_the_readers_that_exist() -> None:
    from entra_pipeline.extract.readers import READERS
    from entra_pipeline.tables import TABLES

    declared = {t.name for t in TABLES.values() if t.group == "directory"}
    assert set(extractable()) == declared
    filled = {name: reader.name for reader in READERS for name in reader.tables}
    assert filled == {name: get(name).reader for name in filled}


@pytest.mark.parametrize("name", sorted(COLLECTIONS))
def test_objects_equal_the_truth(synced: tuple[Rig, dict[str, TableStatus]], name: str) -> None:
    rig, _ = synced
    table = get(name)
    key = table.key[0]
    truth = rig.simulator.truth(COLLECTIONS[name])
    managers = rig.simulator.truth("managers") if name == "users" else {}
    rows = {row[key]: row for row in rig.rows(name)}
    assert len(truth) > 0
    assert set(rows) == {raw[_camel(key)] for raw in truth}
    for raw in truth:
        row = rows[raw[_camel(key)]]
        for column in table.columns:
            if column.name == "manager_id":
                expected: Any = next(iter(managers.get(raw["id"], [])), None)
            elif column.graph is None:
                continue
            else:
                expected = _expected(raw, column.graph, row[column.name])
            assert row[column.name] == expected, (name, column.name, raw["id"])


@pytest.mark.parametrize("name", sorted(RELATIONS))
def test_relations_equal_the_truth(
    synced: tuple[Rig, dict[str, TableStatus]], kinds: dict[str, str], name: str
) -> None:
    rig, _ = synced
    owner, other, kind = (column.name for column in get(name).columns)
    truth = {
        (source, target, kinds.get(target, "unknown"))
        for source, targets in rig.simulator.truth(RELATIONS[name]).items()
        for target in targets
    }
    assert len(truth) > 0
    assert Counter((row[owner], row[other], row[kind]) for row in rig.rows(name)) == Counter(truth)


def test_large_relations_are_among_those_compared(simulator: Simulator) -> None:
    sizes = sorted(len(members) for members in simulator.truth("group_members").values())
    assert sizes[-1] > 500
    assert sum(size >= 20 for size in sizes) > 20
    holders = Counter(row["resourceId"] for row in simulator.truth("app_role_assignments"))
    assert max(holders.values()) > 20


def test_service_principals_in_large_groups_are_not_lost(
    synced: tuple[Rig, dict[str, TableStatus]], kinds: dict[str, str]
) -> None:
    rig, _ = synced
    hidden = {
        (group, member)
        for group, members in rig.simulator.truth("group_members").items()
        if len(members) > 20
        for member in members
        if kinds[member] == "service_principal"
    }
    assert hidden
    found = {(row["group_id"], row["member_id"]) for row in rig.rows("group_members")}
    assert hidden <= found


def test_kinds_of_groups_follow_their_flags(synced: tuple[Rig, dict[str, TableStatus]]) -> None:
    rig, _ = synced
    truth = {}
    for raw in rig.simulator.truth("groups"):
        if "Unified" in raw["groupTypes"]:
            kind = "microsoft_365"
        elif raw["mailEnabled"]:
            kind = "mail_enabled_security" if raw["securityEnabled"] else "distribution"
        else:
            kind = "security"
        truth[raw["id"]] = (kind, "DynamicMembership" in raw["groupTypes"])
    assert len({kind for kind, _ in truth.values()}) == 4
    assert {row["id"]: (row["kind"], row["is_dynamic"]) for row in rig.rows("groups")} == truth


def test_license_assignments_equal_the_states_of_users(
    synced: tuple[Rig, dict[str, TableStatus]],
) -> None:
    rig, _ = synced
    truth = {
        (user["id"], state["skuId"], state["assignedByGroup"] or ""): (
            state["state"],
            state["error"],
            state["disabledPlans"],
        )
        for user in rig.simulator.truth("users")
        for state in user.get("licenseAssignmentStates") or ()
    }
    assert any(group for _, _, group in truth)
    assert {
        (row["user_id"], row["sku_id"], row["source_group_id"]): (
            row["state"],
            row["error"],
            row["disabled_plans"],
        )
        for row in rig.rows("license_assignments")
    } == truth


def test_offers_of_service_principals_equal_the_truth(
    synced: tuple[Rig, dict[str, TableStatus]],
) -> None:
    rig, _ = synced
    for name, prop in (
        ("app_roles", "appRoles"),
        ("delegated_permissions", "oauth2PermissionScopes"),
    ):
        truth = {
            (sp["id"], item["id"]): (item["value"], item["isEnabled"])
            for sp in rig.simulator.truth("service_principals")
            for item in sp.get(prop) or ()
        }
        assert truth
        found = {(r["resource_id"], r["id"]): (r["value"], r["is_enabled"]) for r in rig.rows(name)}
        assert found == truth


def test_credentials_equal_the_truth_of_both_owners(
    synced: tuple[Rig, dict[str, TableStatus]],
) -> None:
    rig, _ = synced
    truth = set()
    for collection, owner_kind in (
        ("applications", "application"),
        ("service_principals", "service_principal"),
    ):
        for raw in rig.simulator.truth(collection):
            for prop, kind in SECRETS:
                for item in raw.get(prop) or ():
                    end = _time(item["endDateTime"])
                    truth.add((raw["id"], owner_kind, item["keyId"], kind, end, None))
    for raw in rig.simulator.truth("applications"):
        for item in raw.get("federatedIdentityCredentials") or ():
            truth.add((raw["id"], "application", item["id"], "federated", None, item["subject"]))
    assert {kind for _, _, _, kind, _, _ in truth} == {"password", "certificate", "federated"}
    assert {
        (r["owner_id"], r["owner_kind"], r["key_id"], r["kind"], r["end_date_time"], r["subject"])
        for r in rig.rows("credentials")
    } == truth


def test_managed_identities_have_their_kind_and_resource(
    synced: tuple[Rig, dict[str, TableStatus]],
) -> None:
    rig, _ = synced
    truth: dict[str, tuple[str | None, str | None]] = {}
    for raw in rig.simulator.truth("service_principals"):
        truth[raw["id"]] = (None, None)
        if raw["servicePrincipalType"] == "ManagedIdentity":
            explicit = "isExplicit=True" in raw["alternativeNames"]
            resource = next(n for n in raw["alternativeNames"] if n.startswith("/subscriptions"))
            truth[raw["id"]] = ("user_assigned" if explicit else "system_assigned", resource)
    assert len({kind for kind, _ in truth.values()}) == 3
    assert {
        row["id"]: (row["managed_identity_kind"], row["azure_resource_id"])
        for row in rig.rows("service_principals")
    } == truth


@pytest.mark.parametrize("schedule", ["eligibility", "assignment"])
def test_pim_for_groups_equals_the_truth(
    synced: tuple[Rig, dict[str, TableStatus]], schedule: str
) -> None:
    rig, _ = synced
    name = f"group_{schedule}_schedule_instances"
    truth = {
        (raw["id"], raw["groupId"], raw["principalId"], raw["accessId"], _time(raw["endDateTime"]))
        for raw in rig.simulator.truth(name)
    }
    assert truth
    rows = rig.rows(name)
    assert {
        (r["id"], r["group_id"], r["principal_id"], r["access_id"], r["end_date_time"])
        for r in rows
    } == truth
    if schedule == "eligibility":
        assert {row["assignment_type"] for row in rows} == {"Eligible"}


def test_scopes_are_words_and_role_actions_a_flat_list(
    synced: tuple[Rig, dict[str, TableStatus]],
) -> None:
    rig, _ = synced
    consents = rig.simulator.truth("oauth2_permission_grants")
    grants = {raw["id"]: raw["scope"].split() for raw in consents}
    assert {row["id"]: row["scopes"] for row in rig.rows("oauth2_permission_grants")} == grants
    actions = {
        raw["id"]: [a for p in raw["rolePermissions"] for a in p["allowedResourceActions"]]
        for raw in rig.simulator.truth("role_definitions")
    }
    rows = rig.rows("role_definitions")
    assert {row["id"]: sorted(row["allowed_resource_actions"]) for row in rows} == {
        key: sorted(set(value)) for key, value in actions.items()
    }
    tiers = {row["display_name"]: row["tier"] for row in rows}
    assert tiers["Global Administrator"] == 0
    assert None in tiers.values()


def test_sign_ins_deleted_items_and_provisioning_jobs_equal_the_truth(
    synced: tuple[Rig, dict[str, TableStatus]],
) -> None:
    rig, _ = synced
    activity = {
        raw["id"]: _time((raw.get("signInActivity") or {}).get("lastSignInDateTime"))
        for raw in rig.simulator.truth("users")
    }
    rows = rig.rows("user_sign_in_activity")
    assert {row["user_id"]: row["last_sign_in_date_time"] for row in rows} == activity
    deleted = {
        (raw["id"], raw["@odata.type"].rpartition(".")[2].lower())
        for raw in rig.simulator.truth("deleted_items")
    }
    assert deleted
    found = {(r["id"], r["kind"].replace("_", "")) for r in rig.rows("deleted_items")}
    assert found == deleted
    jobs = {
        (raw["servicePrincipalId"], raw["id"], raw["status"]["code"])
        for raw in rig.simulator.truth("synchronization_jobs")
    }
    assert jobs
    assert {
        (row["service_principal_id"], row["id"], row["status_code"])
        for row in rig.rows("synchronization_jobs")
    } == jobs


def test_licence_level_is_that_of_the_plans(synced: tuple[Rig, dict[str, TableStatus]]) -> None:
    rig, _ = synced
    assert [row["license_level"] for row in rig.rows("organization")] == ["p2"]


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _time(text: str | None) -> datetime | None:
    if text is None or text == ZERO:
        return None
    whole, _, fraction = text.removesuffix("Z").partition(".")
    micro = int((fraction + "000000")[:6])
    return datetime.fromisoformat(whole).replace(microsecond=micro, tzinfo=UTC)


def _expected(raw: Any, path: str, found: Any) -> Any:
    """The raw value at a path, in the form of the value that it is compared with."""
    for part in path.split("."):
        raw = (raw or {}).get(part)
    return _like(raw, found)


def _like(raw: Any, found: Any) -> Any:
    if isinstance(found, datetime) or raw == ZERO:
        return _time(raw)
    if isinstance(found, dict) and isinstance(raw, dict):
        return {name: _like(raw.get(_camel(name)), value) for name, value in found.items()}
    if isinstance(found, list) and isinstance(raw, list) and len(found) == len(raw):
        return [_like(one, other) for one, other in zip(raw, found, strict=True)]
    return raw
