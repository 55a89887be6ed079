"""Changes leave the audits that Entra leaves: named, targeted, with values inside text."""

import json
import random
import urllib.error
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from entra_pipeline.simulator.clock import Clock
from entra_pipeline.simulator.conformance import violations
from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.generate import generate
from entra_pipeline.simulator.logs.feed import Recorded
from entra_pipeline.simulator.logs.trail import Trail
from entra_pipeline.simulator.mutate import Change, mutate
from entra_pipeline.simulator.process import Simulator, running
from entra_pipeline.simulator.wire import decode_json
from tests.simulator.conftest import Client

AUDITS = "/auditLogs/directoryAudits?$orderby=activityDateTime"


class Written:
    """What a series of changes did and what it left in the log."""

    def __init__(self, seed: int, count: int, license_name: str = "p2") -> None:
        self.directory = Directory(generate(users=120, groups=60, seed=seed, license=license_name))
        recorded = Recorded()
        trail = Trail(self.directory, Clock(), recorded, seed)
        self.by_change: list[tuple[Change, list[dict[str, Any]]]] = []
        observed: list[tuple[tuple[Any, ...], int]] = []

        def observe(*happened: Any) -> None:
            trail.observe(*happened)
            observed.append((happened, len(recorded.rows)))

        changes = mutate(self.directory, random.Random(seed), count, observe=observe)
        self.entries = [decode_json(row) for row in recorded.rows]
        self.ticks = recorded.ticks
        first = 0
        for change, (happened, end) in zip(changes, observed, strict=True):
            assert happened[:3] == (change.op, change.target, change.ids)
            self.by_change.append((change, self.entries[first:end]))
            first = end

    def of(self, op: str, target: str) -> Iterator[tuple[Change, list[dict[str, Any]]]]:
        """The changes of a kind with their entries; there must be some."""
        found = [
            (change, entries)
            for change, entries in self.by_change
            if change.op == op and change.target == target
        ]
        assert found, f"no {op} of {target}"
        yield from found


@pytest.fixture(scope="module")
def written() -> Written:
    return Written(4, 4000)


def names(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["activityDisplayName"] for entry in entries]


def properties(target: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Modified properties with the JSON inside their texts read."""
    return {
        row["displayName"]: tuple(
            None if row[side] is None else json.loads(row[side])
            for side in ("oldValue", "newValue")
        )
        for row in target["modifiedProperties"]
    }


def test_entries_are_directory_audits_with_ids_and_rising_times(written: Written) -> None:
    assert [each for row in written.entries for each in violations(row, "directoryAudit")] == []
    ids = {entry["id"] for entry in written.entries}
    assert len(ids) == len(written.entries)
    assert all(each.startswith(("Directory_", "PIM_")) for each in ids)
    times = [entry["activityDateTime"] for entry in written.entries]
    assert times == sorted(times)
    assert len(set(written.ticks)) == len(written.ticks)
    assert {entry["result"] for entry in written.entries} == {"success"}


def test_the_same_changes_leave_the_same_entries() -> None:
    one, two = Written(5, 300), Written(5, 300)
    assert names(one.entries) == names(two.entries)
    assert [each["id"] for each in one.entries] == [each["id"] for each in two.entries]


@pytest.mark.parametrize(
    ("op", "target", "name", "category"),
    [
        ("put", "users", "Add user", "UserManagement"),
        ("soft_delete", "users", "Delete user", "UserManagement"),
        ("restore", "users", "Restore user", "UserManagement"),
        ("put", "groups", "Add group", "GroupManagement"),
        ("patch", "groups", "Update group", "GroupManagement"),
        ("soft_delete", "groups", "Delete group", "GroupManagement"),
        ("put", "applications", "Add application", "ApplicationManagement"),
        ("soft_delete", "applications", "Delete application", "ApplicationManagement"),
        ("put", "service_principals", "Add service principal", "ApplicationManagement"),
        ("patch", "service_principals", "Update service principal", "ApplicationManagement"),
        ("soft_delete", "service_principals", "Remove service principal", "ApplicationManagement"),
        ("put", "devices", "Add device", "Device"),
        ("patch", "devices", "Update device", "Device"),
        ("remove", "devices", "Delete device", "Device"),
        ("put", "administrative_units", "Add administrative unit", "AdministrativeUnit"),
        ("remove", "administrative_units", "Delete administrative unit", "AdministrativeUnit"),
        ("put", "contacts", "Add contact", "Contact"),
        ("remove", "contacts", "Delete contact", "Contact"),
        ("put", "role_definitions", "Add role definition", "RoleManagement"),
        ("patch", "role_definitions", "Update role definition", "RoleManagement"),
        ("remove", "role_definitions", "Delete role definition", "RoleManagement"),
        ("patch", "conditional_access_policies", "Update conditional access policy", "Policy"),
    ],
)
def test_the_life_of_an_object_is_logged_under_its_id(
    written: Written, op: str, target: str, name: str, category: str
) -> None:
    for change, entries in written.of(op, target):
        assert name in names(entries)
        for entry in entries:
            assert entry["category"] == category
            assert entry["targetResources"][0]["id"] == change.ids[0]


def test_deleting_at_once_is_deleting_twice_and_purging_is_not(written: Written) -> None:
    left = Counter(tuple(names(entries)) for _, entries in written.of("remove", "users"))
    assert set(left) == {("Delete user", "Hard Delete user"), ("Hard Delete user",)}


def test_a_member_comes_first_and_its_group_in_its_properties(written: Written) -> None:
    for op, name, side in (
        ("link", "Add member to group", 1),
        ("unlink", "Remove member from group", 0),
    ):
        for change, entries in written.of(op, "group_members"):
            assert names(entries) == [name]
            member, group = entries[0]["targetResources"]
            assert (group["id"], member["id"]) == change.ids
            assert group["groupType"] in ("azureAD", "unifiedGroups")
            held = properties(member)
            assert held["Group.ObjectID"][side] == change.ids[0]
            assert held["Group.ObjectID"][1 - side] is None
            assert set(held) == {
                "Group.ObjectID",
                "Group.DisplayName",
                "Group.WellKnownObjectName",
            }
            raw = member["modifiedProperties"][0][("oldValue", "newValue")[side]]
            assert raw == f'"{change.ids[0]}"'


@pytest.mark.parametrize(
    ("relation", "joined"),
    [
        ("group_owners", "Add owner to group"),
        ("application_owners", "Add owner to application"),
        ("service_principal_owners", "Add owner to service principal"),
        ("device_owners", "Add registered owner to device"),
        ("administrative_unit_members", "Add member to administrative unit"),
    ],
)
def test_other_links_are_logged_by_their_names(
    written: Written, relation: str, joined: str
) -> None:
    for change, entries in written.of("link", relation):
        assert names(entries) == [joined]
        assert [each["id"] for each in entries[0]["targetResources"]] == [*change.ids[::-1]]


def test_an_update_says_what_it_was_and_what_it_is(written: Written) -> None:
    switched = licensed = renamed = 0
    for change, entries in written.of("patch", "users"):
        assert names(entries)[0] == "Update user"
        held = properties(entries[0]["targetResources"][0])
        included = held["Included Updated Properties"][1].split(", ")
        assert set(included) < set(held)
        if "AccountEnabled" in held:
            switched += 1
            old, new = held["AccountEnabled"]
            assert old == [not new[0]]
            assert names(entries)[1] == ("Enable account" if new[0] else "Disable account")
        if "AssignedLicenses" in held:
            licensed += 1
            assert names(entries)[1] == "Change user license"
        if "UserPrincipalName" in held:
            renamed += 1
            assert held["UserPrincipalName"][1][0].startswith("renamed.person")
            assert held["UserPrincipalName"][0] != held["UserPrincipalName"][1]
        assert len({entry["correlationId"] for entry in entries}) == 1
        assert change.ids[0] == entries[0]["targetResources"][0]["id"]
    assert switched
    assert licensed
    assert renamed


def test_roles_name_the_principal_and_the_role(written: Written) -> None:
    for change, entries in written.of("put", "role_assignments"):
        row = written.directory.collection("role_assignments").get(change.ids[0])
        assert names(entries)[0] in ("Add member to role", "Add scoped member to role")
        principal, role = entries[0]["targetResources"]
        assert role["type"] == "Role"
        assert properties(principal)["Role.ObjectID"] == (None, role["id"])
        if row is not None:
            assert (principal["id"], role["id"]) == (row["principalId"], row["roleDefinitionId"])
            scoped = row["directoryScopeId"] != "/"
            assert ("scoped" in names(entries)[0]) == scoped


def test_pim_logs_on_its_own_with_its_five_targets(written: Written) -> None:
    seen: set[str] = set()
    for op, target in (
        ("put", "role_assignment_schedule_instances"),
        ("put", "role_eligibility_schedule_instances"),
        ("remove", "role_eligibility_schedule_instances"),
    ):
        for _, entries in written.of(op, target):
            entry = entries[-1]
            seen.add(entry["activityDisplayName"])
            assert entry["loggedByService"] == "PIM"
            assert entry["id"].startswith("PIM_")
            kinds = [each["type"] for each in entry["targetResources"]]
            assert kinds[:2] == ["Role", "Request"]
            assert kinds[3:] == ["Directory", "Other"]
            details = {each["key"]: each["value"] for each in entry["additionalDetails"]}
            assert details["TemplateId"] == entry["targetResources"][0]["id"]
            assert details["tid"] == written.directory.tenant.tenant_id
    assert seen >= {
        "Add member to role in PIM completed (permanent)",
        "Add eligible member to role in PIM completed (permanent)",
        "Remove eligible member from role in PIM completed (permanent)",
    }


def test_activated_groups_are_logged_by_pim_beside_the_membership(written: Written) -> None:
    seen: set[str] = set()
    for op in ("put", "remove"):
        for change, entries in written.of(op, "group_assignment_schedule_instances"):
            (entry,) = entries
            seen.add(entry["activityDisplayName"])
            assert entry["loggedByService"] == "PIM"
            principal, group = entry["targetResources"]
            assert change.ids[0].startswith(group["id"])
            assert principal["id"] != group["id"]
    assert seen >= {
        "Add member to group completed (PIM activation)",
        "Remove member from group (PIM activation expired)",
    }


def test_assignments_of_applications_name_the_role_given(written: Written) -> None:
    seen: set[str] = set()
    for change, entries in written.of("put", "app_role_assignments"):
        (entry,) = entries
        seen.add(entry["activityDisplayName"])
        resource, principal = entry["targetResources"]
        row = written.directory.collection("app_role_assignments").get(change.ids[0])
        if row is not None:
            assert (resource["id"], principal["id"]) == (row["resourceId"], row["principalId"])
            assert properties(resource)["AppRole.Id"] == (None, row["appRoleId"])
    assert seen == {
        "Add app role assignment grant to user",
        "Add app role assignment to group",
        "Add app role assignment to service principal",
    }


def test_consents_are_logged_as_grant_and_as_consent(written: Written) -> None:
    for _, entries in written.of("put", "oauth2_permission_grants"):
        assert names(entries) == ["Add delegated permission grant", "Consent to application"]
    for _, entries in written.of("remove", "oauth2_permission_grants"):
        assert names(entries) == ["Remove delegated permission grant"]


def test_credentials_have_an_activity_of_their_own(written: Written) -> None:
    seen = set()
    for change, entries in written.of("patch", "applications"):
        seen.add(change.reason)
        expected = ["Update application"]
        if change.reason == "change an application's credentials":
            expected += ["Update application \N{EN DASH} Certificates and secrets management "]
        assert names(entries) == expected
    assert len(seen) > 1


def test_bookkeeping_leaves_nothing(written: Written) -> None:
    silent = {change.target for change, entries in written.by_change if not entries}
    loud = {change.target for change, entries in written.by_change if entries}
    assert silent >= {"subscribed_skus", "user_registration_details"}
    assert silent <= {
        "subscribed_skus",
        "user_registration_details",
        "authentication_methods",
        "synchronization_jobs",
    }
    assert not silent & loud


def test_initiators_are_users_or_applications_of_the_tenant(written: Written) -> None:
    kinds: Counter[str] = Counter()
    for entry in written.entries:
        (kind,) = [name for name, value in entry["initiatedBy"].items() if value is not None]
        kinds[kind] += 1
    assert kinds["user"] > kinds["app"] > 0


# Over HTTP


@pytest.fixture(scope="module")
def changing() -> Iterator[Simulator]:
    with running(users=60, groups=30, seed=8, audits_per_day=600) as simulator:
        yield simulator


def test_changes_are_found_in_the_log_among_what_was_there(changing: Simulator) -> None:
    client = Client(changing)
    before = client.rows(AUDITS)
    changes = changing.mutate(seed=4, changes=80)
    after = client.rows(AUDITS)
    times = [row["activityDateTime"] for row in after]
    assert times == sorted(times)
    known = {row["id"] for row in before}
    new = [row for row in after if row["id"] not in known]
    assert len(new) >= 40
    added = [change["ids"] for change in changes if change["target"] == "group_members"]
    logged = [
        [row["targetResources"][1]["id"], row["targetResources"][0]["id"]]
        for row in new
        if row["activityDisplayName"] in ("Add member to group", "Remove member from group")
        and row["targetResources"][1]["displayName"] is not None
    ]
    for ids in added:
        assert ids in logged


def test_an_object_finds_its_own_entries(changing: Simulator) -> None:
    changing.mutate(seed=5, changes=40)
    client = Client(changing)
    rows = client.rows(AUDITS)
    wanted = rows[-1]["targetResources"][0]["id"]
    expected = [
        row["id"] for row in rows if any(each["id"] == wanted for each in row["targetResources"])
    ]
    path = f"/auditLogs/directoryAudits?$filter=targetResources/any(t:t/id eq '{wanted}')"
    found = client.ids(path)
    assert found == [each for each in expected[::-1] if each in found]
    assert rows[-1]["id"] in found


def test_entries_of_changes_carry_the_simulators_time(changing: Simulator) -> None:
    changing.advance(3 * 86400)
    changing.mutate(seed=6, changes=5)
    newest = Client(changing).get("/auditLogs/directoryAudits?$top=1").json()["value"][0]
    date = Client(changing).get("/organization").headers["Date"]
    assert newest["activityDateTime"][8:10] == date[5:7]


def test_a_change_that_is_named_is_made_by_whom_it_names() -> None:
    with running(users=20, groups=10, seed=3) as simulator:
        user, other = (each["id"] for each in simulator.truth("users")[:2])
        app = simulator.truth("service_principals")[0]
        (group, *_) = (
            each["id"]
            for each in simulator.truth("groups")
            if user not in simulator.truth("group_members").get(each["id"], ())
        )
        made = simulator.change("link", "group_members", group, user, by={"user": other})
        assert [change["op"] for change in made] == ["link"]
        assert simulator.change("link", "group_members", group, user) == []
        simulator.change("unlink", "group_members", group, user, by={"app": app["id"]})
        client = Client(simulator)
        joined, left = client.get(AUDITS).json()["value"][-2:]
        assert joined["initiatedBy"]["user"]["id"] == other
        assert left["initiatedBy"]["app"]["servicePrincipalId"] == app["id"]
        assert [each["activityDisplayName"] for each in (joined, left)] == [
            "Add member to group",
            "Remove member from group",
        ]
        with pytest.raises(urllib.error.HTTPError) as refused:
            simulator.change("twist", "group_members", group, user)
        assert refused.value.code == 400
