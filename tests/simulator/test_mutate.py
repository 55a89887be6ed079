"""Random changes: they go through the directory, report themselves, and keep what Entra keeps."""

import copy
import json
import random
from collections import Counter
from datetime import UTC, datetime

import pytest

from entra_pipeline.simulator.clock import Clock
from entra_pipeline.simulator.conformance import tenant_violations
from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.generate import generate
from entra_pipeline.simulator.mutate import Change, mutate
from entra_pipeline.simulator.tenant import RELATIONS, Tenant

NOW = datetime(2026, 11, 23, tzinfo=UTC)


class Noon(Clock):
    """A clock that stands still: deletions are stamped by the directory's clock."""

    def time(self) -> float:
        return NOW.timestamp()


def small(seed: int = 7, license_name: str = "p2") -> Tenant:
    return generate(users=120, groups=60, seed=seed, license=license_name, now=NOW)


def changed(seed: int, count: int, license_name: str = "p2") -> tuple[Tenant, list[Change]]:
    directory = Directory(small(seed, license_name), Noon())
    return directory.tenant, mutate(directory, random.Random(seed), count, NOW)


def check(tenant: Tenant) -> None:
    """What must hold in every tenant, changed or not."""
    for relation, (source_collection, target_collections) in RELATIONS.items():
        for source, targets in tenant.links[relation].items():
            assert source in tenant.objects[source_collection], relation
            assert len(set(targets)) == len(targets), relation
            for target in targets:
                assert target != source
                assert tenant.collection_of(target) in target_collections, relation
    groups = tenant.objects["groups"]
    for group_id, members in tenant.links["group_members"].items():
        if any(member in groups for member in members):
            assert "Unified" not in groups[group_id]["groupTypes"]
            assert "DynamicMembership" not in groups[group_id]["groupTypes"]
            assert not groups[group_id]["isAssignableToRole"]
    for user_id, targets in tenant.links["managers"].items():
        assert len(targets) == 1, user_id
    users = tenant.objects["users"]
    for user_id in tenant.objects["user_registration_details"]:
        assert users[user_id]["accountEnabled"]
    for sku in tenant.objects["subscribed_skus"].values():
        holders = sum(
            any(licence["skuId"] == sku["skuId"] for licence in user["assignedLicenses"])
            for user in users.values()
        )
        assert sku["consumedUnits"] == holders


@pytest.mark.parametrize("seed", range(4))
def test_a_thousand_changes_keep_the_directory_whole(seed: int) -> None:
    tenant, changes = changed(seed, 1000)
    assert len(changes) >= 1000
    check(tenant)
    assert list(tenant_violations(tenant)) == []


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(40))
def test_twenty_thousand_changes_keep_the_directory_whole(seed: int) -> None:
    tenant, _ = changed(seed, 20_000)
    check(tenant)
    assert list(tenant_violations(tenant)) == []


def test_the_same_random_state_makes_the_same_changes() -> None:
    one, two = changed(5, 400), changed(5, 400)
    assert one == two
    assert changed(6, 400)[1] != one[1]


def test_every_kind_of_change_happens() -> None:
    reasons = Counter(change.reason for seed in range(3) for change in changed(seed, 1500)[1])
    assert set(reasons) >= {
        "add a member",
        "remove a member",
        "nest a group",
        "unnest a group",
        "close a cycle",
        "break a cycle",
        "add an owner",
        "remove an owner",
        "create a user",
        "switch a user on or off",
        "rename a user",
        "change a manager",
        "soft-delete a user",
        "hard-delete a user",
        "purge a deleted object",
        "restore a deleted object",
        "create a group",
        "rename a group",
        "delete a group",
        "assign a role",
        "take a role away",
        "make eligible for a role",
        "end an eligibility",
        "make eligible for a group",
        "end an eligibility for a group",
        "assign an app role",
        "take an app role away",
        "consent",
        "change a consent",
        "withdraw a consent",
        "give a licence",
        "take a licence away",
        "put into a unit",
        "take out of a unit",
        "register an application",
        "change an application's credentials",
        "change an enterprise application",
        "delete an application",
        "rename an application",
        "change an application's roles",
        "change an application's scopes",
        "register a device",
        "change a device",
        "take a device from its owner",
        "delete a device",
        "create a unit",
        "rename a unit",
        "delete a unit",
        "add a contact",
        "rename a contact",
        "delete a contact",
        "switch a policy",
        "activate a role",
        "end an activation of a role",
        "activate a group",
        "end an activation of a group",
        "create a role",
        "change a role",
        "delete a role",
    }


def test_an_activation_of_a_group_lasts_as_long_as_the_membership() -> None:
    tenant, changes = changed(3, 3000)
    assert {"activate a group", "remove a member"} <= {change.reason for change in changes}
    for row in tenant.objects["group_assignment_schedule_instances"].values():
        if row["principalId"] in tenant.objects["users"] and (
            row["groupId"] in tenant.objects["groups"]
        ):
            relation = "group_owners" if row["accessId"] == "owner" else "group_members"
            assert row["principalId"] in tenant.links[relation].get(row["groupId"], ())


def test_what_is_reported_is_what_changed() -> None:
    before = small(3)
    directory = Directory(copy.deepcopy(before))
    after = directory.tenant
    changes = mutate(directory, random.Random(3), 300, NOW)
    touched = {change.target for change in changes}
    # A deleted object takes its links along, and counts as a change of the recycle bin.
    if any(change.op in {"remove", "soft_delete", "restore"} for change in changes):
        touched |= {*RELATIONS, "deleted_items"}
    for collection in before.objects:
        if before.objects[collection] != after.objects[collection]:
            assert collection in touched
    changed_ids = {change.ids[0] for change in changes}
    for collection in ("users", "groups", "applications", "service_principals"):
        old, new = before.objects[collection], after.objects[collection]
        for object_id in old.keys() | new.keys():
            if old.get(object_id) != new.get(object_id):
                assert object_id in changed_ids
    for relation in RELATIONS:
        gone = {c.ids[0] for c in changes if c.op in {"remove", "soft_delete", "restore"}}
        for source in before.links[relation].keys() | after.links[relation].keys():
            old_targets = set(before.links[relation].get(source, ()))
            new_targets = set(after.links[relation].get(source, ()))
            for target in old_targets ^ new_targets:
                reported = any(c.target == relation and c.ids == (source, target) for c in changes)
                assert reported or source in gone or target in gone


def test_changes_serialise_to_json() -> None:
    _, changes = changed(1, 50)
    for change in changes:
        document = json.loads(json.dumps(change.to_json()))
        assert document["op"] == change.op
        assert tuple(document["ids"]) == change.ids
        assert document["target"] == change.target


def test_group_licences_follow_membership() -> None:
    directory = Directory(small(2))
    tenant = directory.tenant
    mutate(directory, random.Random(2), 1500, NOW)
    users = tenant.objects["users"]
    for group_id, group in tenant.objects["groups"].items():
        for licence in group["assignedLicenses"]:
            members = {
                member
                for member in tenant.links["group_members"].get(group_id, ())
                if member in users
            }
            holders = {
                user_id
                for user_id, user in users.items()
                if any(
                    state["assignedByGroup"] == group_id and state["skuId"] == licence["skuId"]
                    for state in user["licenseAssignmentStates"]
                )
            }
            assert holders == members, group["displayName"]


def test_nothing_in_a_tenant_without_premium_becomes_eligible() -> None:
    tenant, changes = changed(4, 800, "free")
    assert tenant.objects["role_eligibility_schedule_instances"] == {}
    assert tenant.objects["role_assignment_schedule_instances"] == {}
    assert any(change.reason == "assign a role" for change in changes)


def test_an_empty_directory_ends_the_series_early() -> None:
    tenant = Tenant("11111111-1111-4111-8111-111111111111")
    assert len(mutate(Directory(tenant), random.Random(1), 50, NOW)) < 50


def test_shared_values_of_generated_users_are_not_changed_in_place() -> None:
    before = small(9)
    pristine = copy.deepcopy(before)
    directory = Directory(before)
    changes = mutate(directory, random.Random(9), 1000, NOW)
    changed_ids = {change.ids[0] for change in changes}
    for user_id, user in directory.tenant.objects["users"].items():
        if user_id not in changed_ids:
            assert user == pristine.objects["users"][user_id]


def test_a_tenant_from_a_bare_export_can_be_changed() -> None:
    tenant = Tenant("11111111-1111-4111-8111-111111111111")
    for collection, count in (("users", 4), ("groups", 6), ("service_principals", 2)):
        for number in range(count):
            object_id = f"{collection}-{number}"
            tenant.objects[collection][object_id] = {"id": object_id, "displayName": object_id}
    tenant.objects["subscribed_skus"]["s"] = {"id": "s", "skuId": "s"}
    tenant.objects["applications"]["a"] = {"id": "a"}
    changes = mutate(Directory(tenant), random.Random(1), 300, NOW)
    assert len(changes) >= 300
    assert len({change.reason for change in changes}) > 12
