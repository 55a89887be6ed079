"""Generated tenants: deterministic, of the promised shape, and within Entra's own rules."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.simulator.conformance import tenant_violations
from entra_pipeline.simulator.generate import LICENSES, generate
from entra_pipeline.simulator.tenant import RELATIONS, Tenant, dump

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ZERO_ID = "00000000-0000-0000-0000-000000000000"
Graph = dict[str, list[str]]


@pytest.fixture(scope="module")
def tenant() -> Tenant:
    return generate(now=NOW)


def fingerprint(tenant: Tenant, directory: Path) -> str:
    dump(tenant, directory)
    digest = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def nesting(tenant: Tenant) -> Graph:
    """Group -> the groups directly in it."""
    groups = tenant.objects["groups"]
    return {
        group: [
            member for member in tenant.links["group_members"].get(group, ()) if member in groups
        ]
        for group in groups
    }


def components(graph: Graph) -> list[list[str]]:
    """Strongly connected components, inner ones first (Tarjan, without recursion)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    found: list[list[str]] = []
    for root in graph:
        if root in index:
            continue
        work = [(root, iter(graph[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, inner = work[-1]
            for child in inner:
                if child not in index:
                    index[child] = low[child] = len(index)
                    stack.append(child)
                    on_stack.add(child)
                    work.append((child, iter(graph[child])))
                    break
                if child in on_stack:
                    low[node] = min(low[node], index[child])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component = []
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        component.append(member)
                        if member == node:
                            break
                    found.append(component)
    return found


def depth(graph: Graph) -> int:
    """Links on the longest chain of groups that are not on a cycle."""
    longest: dict[str, int] = {}
    for component in components(graph):
        for node in component:
            inner = [child for child in graph[node] if child not in component]
            longest[node] = max((longest[child] + 1 for child in inner), default=0)
    return max(longest.values(), default=0)


# Determinism


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    first = generate(users=300, groups=120, applications=12, seed=3, now=NOW)
    again = generate(users=300, groups=120, applications=12, seed=3, now=NOW)
    assert fingerprint(first, tmp_path / "a") == fingerprint(again, tmp_path / "b")


def test_another_process_with_another_hash_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    program = (
        "import sys, datetime, pathlib\n"
        "from entra_pipeline.simulator.generate import generate\n"
        "from entra_pipeline.simulator.tenant import dump\n"
        "now = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)\n"
        "dump(generate(users=300, groups=120, seed=3, now=now), pathlib.Path(sys.argv[1]))\n"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "other")],
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        cwd=Path(__file__).parents[2],
    )
    here = generate(users=300, groups=120, seed=3, now=NOW)
    dump(here, tmp_path / "here")
    for path in (tmp_path / "here").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes(), path.name


def test_another_seed_gives_another_tenant() -> None:
    one, two = (generate(users=40, groups=30, seed=seed, now=NOW) for seed in (1, 2))
    assert one.tenant_id != two.tenant_id
    assert not set(one.objects["users"]) & set(two.objects["users"])


def test_another_day_moves_times_and_keeps_ids() -> None:
    later = NOW.replace(year=2027)
    one, two = (generate(users=40, groups=30, now=now) for now in (NOW, later))
    assert list(one.objects["users"]) == list(two.objects["users"])
    ends = [
        max(
            secret["endDateTime"]
            for app in tenant.objects["applications"].values()
            for secret in app["passwordCredentials"]
        )
        for tenant in (one, two)
    ]
    assert ends[0] < ends[1]


def test_todays_tenant_has_a_secret_that_ends_in_the_next_days() -> None:
    today = datetime.now(UTC)
    ends = [
        datetime.fromisoformat(secret["endDateTime"])
        for app in generate(users=60, groups=40).objects["applications"].values()
        for secret in app["passwordCredentials"]
    ]
    assert any(0 < (end - today).days < 15 for end in ends)


# Arguments


@pytest.mark.parametrize("license_name", LICENSES)
@pytest.mark.parametrize(("users", "groups"), [(0, 0), (1, 1), (2, 9), (12, 4), (35, 26)])
def test_small_tenants_are_made_and_conform(users: int, groups: int, license_name: str) -> None:
    tenant = generate(users, groups, license=license_name, seed=5, now=NOW)
    assert len(tenant.objects["users"]) == users
    assert len(tenant.objects["groups"]) == groups
    assert list(tenant_violations(tenant)) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"license": "p3"}, "license 'p3': must be one of free, p1, p2"),
        ({"users": -1}, "users -1: must be 0 or more"),
        ({"groups": -1}, "groups -1: must be 0 or more"),
        ({"applications": -2}, "applications -2: must be 0 or more"),
    ],
)
def test_impossible_arguments_are_refused_by_name(
    arguments: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        generate(**arguments)


def test_sizes_are_those_asked_for(tenant: Tenant) -> None:
    assert len(tenant.objects["users"]) == 2000
    assert len(tenant.objects["groups"]) == 600
    assert len(tenant.objects["applications"]) == 40


# Conformance and references


def test_every_object_conforms_to_microsofts_types(tenant: Tenant) -> None:
    assert list(tenant_violations(tenant)) == []


def test_every_link_joins_objects_that_exist_and_may_be_joined(tenant: Tenant) -> None:
    for relation, (source_collection, target_collections) in RELATIONS.items():
        for source, targets in tenant.links[relation].items():
            assert source in tenant.objects[source_collection], relation
            assert len(set(targets)) == len(targets), relation
            for target in targets:
                assert tenant.collection_of(target) in target_collections, relation
                assert target != source


def test_only_role_assignments_outlive_what_they_name(tenant: Tenant) -> None:
    objects = tenant.objects
    principals = {*objects["users"], *objects["groups"], *objects["service_principals"]}
    for row in objects["app_role_assignments"].values():
        assert row["principalId"] in principals
        resource = objects["service_principals"][row["resourceId"]]
        assert row["appRoleId"] in {ZERO_ID, *(role["id"] for role in resource["appRoles"])}
    for row in objects["oauth2_permission_grants"].values():
        assert row["clientId"] in objects["service_principals"]
        assert row["resourceId"] in objects["service_principals"]
        assert (row["principalId"] is None) == (row["consentType"] == "AllPrincipals")
        assert row["principalId"] is None or row["principalId"] in objects["users"]
    dangling = [
        row
        for row in objects["role_assignments"].values()
        if row["principalId"] not in principals
        or row["roleDefinitionId"] not in objects["role_definitions"]
    ]
    assert len(dangling) == 3
    assert any(row["principalId"] in objects["deleted_items"] for row in dangling)


def test_no_principal_has_the_same_grant_twice(tenant: Tenant) -> None:
    objects = tenant.objects
    for collection, names in (
        ("app_role_assignments", ("principalId", "resourceId", "appRoleId")),
        ("oauth2_permission_grants", ("clientId", "resourceId", "principalId")),
        ("role_assignments", ("principalId", "roleDefinitionId", "directoryScopeId")),
        ("group_eligibility_schedule_instances", ("groupId", "principalId", "accessId")),
    ):
        rows = Counter(tuple(row[name] for name in names) for row in objects[collection].values())
        assert [key for key, count in rows.items() if count > 1] == [], collection


# Groups


def test_group_sizes_have_a_heavy_tail(tenant: Tenant) -> None:
    sizes = [len(tenant.links["group_members"].get(g, ())) for g in tenant.objects["groups"]]
    assert 0.15 <= sum(size >= 20 for size in sizes) / len(sizes) <= 0.25
    assert 0.005 <= sum(size >= 500 for size in sizes) / len(sizes) <= 0.02
    assert max(sizes) > 1700
    assert 0 in sizes


def test_an_all_employees_group_follows_a_rule(tenant: Tenant) -> None:
    group = next(
        g for g in tenant.objects["groups"].values() if g["displayName"] == "All Employees"
    )
    employees = {
        user["id"]
        for user in tenant.objects["users"].values()
        if user["userType"] == "Member" and user["employeeId"] is not None
    }
    assert "DynamicMembership" in group["groupTypes"]
    assert set(tenant.links["group_members"][group["id"]]) == employees


def test_members_of_department_groups_are_those_of_the_department(tenant: Tenant) -> None:
    checked = 0
    for group in tenant.objects["groups"].values():
        if group["displayName"].startswith("Dept "):
            department = group["displayName"].removeprefix("Dept ")
            expected = {
                user["id"]
                for user in tenant.objects["users"].values()
                if user["department"] == department and user["accountEnabled"]
            }
            assert set(tenant.links["group_members"].get(group["id"], ())) == expected
            checked += 1
    assert checked > 10


def test_nesting_is_eight_deep_with_a_few_small_cycles(tenant: Tenant) -> None:
    graph = nesting(tenant)
    cycles = [component for component in components(graph) if len(component) > 1]
    assert depth(graph) == 8
    assert 2 <= len(cycles) <= 8
    assert max(len(cycle) for cycle in cycles) <= 4


def test_groups_hold_only_what_their_kind_may_hold(tenant: Tenant) -> None:
    groups = tenant.objects["groups"]
    for group_id, inner in nesting(tenant).items():
        group = groups[group_id]
        if inner:
            assert group["groupTypes"] == []
            assert not group["isAssignableToRole"]
        for member in inner:
            assert not groups[member]["isAssignableToRole"]
            assert groups[member]["mailEnabled"] == group["mailEnabled"]


def test_all_kinds_of_groups_and_members_occur(tenant: Tenant) -> None:
    groups = tenant.objects["groups"].values()
    kinds = Counter(
        (tuple(g["groupTypes"]), g["mailEnabled"], g["securityEnabled"]) for g in groups
    )
    for kind in (
        ((), False, True),
        ((), True, True),
        ((), True, False),
        (("Unified",), True, False),
        (("Unified",), True, True),
        (("DynamicMembership",), False, True),
        (("Unified", "DynamicMembership"), True, True),
    ):
        assert kinds[kind] > 0, kind
    assert sum(bool(g["onPremisesSyncEnabled"]) for g in groups) > 60
    assert any(g["visibility"] == "HiddenMembership" for g in groups)
    assert any("Team" in g["resourceProvisioningOptions"] for g in groups)
    assert 4 <= sum(bool(g["isAssignableToRole"]) for g in groups) <= 500
    members = Counter(
        tenant.kind_of(member)
        for targets in tenant.links["group_members"].values()
        for member in targets
    )
    assert min(members[k] for k in ("user", "group", "servicePrincipal", "device")) > 5
    assert members["orgContact"] > 0
    assert max(map(len, tenant.links["group_owners"].values())) <= 100


def test_a_tenant_of_many_groups_keeps_the_shares() -> None:
    tenant = generate(users=6000, groups=2000, applications=5, seed=11, now=NOW)
    sizes = [len(tenant.links["group_members"].get(g, ())) for g in tenant.objects["groups"]]
    assert 0.15 <= sum(size >= 20 for size in sizes) / len(sizes) <= 0.25
    assert 0.008 <= sum(size >= 500 for size in sizes) / len(sizes) <= 0.015
    assert depth(nesting(tenant)) == 8


# Users and licences


def test_users_are_as_mixed_as_in_real_tenants(tenant: Tenant) -> None:
    users = list(tenant.objects["users"].values())
    share = {
        "guest": sum(u["userType"] == "Guest" for u in users) / len(users),
        "disabled": sum(not u["accountEnabled"] for u in users) / len(users),
        "synced": sum(u["onPremisesSyncEnabled"] is True for u in users) / len(users),
        "never signed in": sum(u["signInActivity"] is None for u in users) / len(users),
    }
    assert 0.03 < share["guest"] < 0.1
    assert 0.05 < share["disabled"] < 0.2
    assert 0.4 < share["synced"] < 0.7
    assert 0.02 < share["never signed in"] < 0.2
    assert any(u["displayName"] is None for u in users)
    assert any(u["userType"] is None for u in users)
    assert any(u["onPremisesSyncEnabled"] is False for u in users)
    assert {u["externalUserState"] for u in users} == {None, "Accepted", "PendingAcceptance"}
    assert len({u["department"] for u in users}) > 30
    assert len({u["userPrincipalName"] for u in users}) == len(users)


def test_managers_form_a_tree(tenant: Tenant) -> None:
    managers = {user: targets[0] for user, targets in tenant.links["managers"].items()}
    assert all(len(targets) == 1 for targets in tenant.links["managers"].values())
    for user in managers:
        seen = {user}
        while user in managers:
            user = managers[user]
            assert user not in seen
            seen.add(user)


def test_group_licences_reach_exactly_the_direct_members(tenant: Tenant) -> None:
    users, groups = tenant.objects["users"], tenant.objects["groups"]
    licensed = {
        (group_id, licence["skuId"])
        for group_id, group in groups.items()
        for licence in group["assignedLicenses"]
    }
    assert len(licensed) >= 3
    inherited: dict[tuple[str, str], set[str]] = {key: set() for key in licensed}
    for user_id, user in users.items():
        active = set()
        for state in user["licenseAssignmentStates"]:
            if state["assignedByGroup"]:
                inherited[state["assignedByGroup"], state["skuId"]].add(user_id)
            if state["state"] == "Active":
                active.add(state["skuId"])
        assert {licence["skuId"] for licence in user["assignedLicenses"]} == active
    for (group_id, sku), holders in inherited.items():
        members = {m for m in tenant.links["group_members"][group_id] if m in users}
        assert holders == members, sku


def test_licence_errors_occur_and_consumed_units_add_up(tenant: Tenant) -> None:
    users = tenant.objects["users"].values()
    states = [state for user in users for state in user["licenseAssignmentStates"]]
    assert {state["error"] for state in states} >= {
        "None",
        "CountViolation",
        "ProhibitedInUsageLocationViolation",
    }
    for sku in tenant.objects["subscribed_skus"].values():
        holders = sum(
            any(licence["skuId"] == sku["skuId"] for licence in user["assignedLicenses"])
            for user in users
        )
        assert sku["consumedUnits"] == holders


@pytest.mark.parametrize(
    ("license_name", "plans", "pim", "stamps", "policies"),
    [
        ("free", set(), False, False, False),
        ("p1", {"AAD_PREMIUM"}, False, True, True),
        ("p2", {"AAD_PREMIUM", "AAD_PREMIUM_P2"}, True, True, True),
    ],
)
def test_the_licence_decides_what_there_is(
    license_name: str, plans: set[str], pim: bool, stamps: bool, policies: bool
) -> None:
    tenant = generate(users=80, groups=40, license=license_name, now=NOW)
    offered = {
        plan["servicePlanName"]
        for sku in tenant.objects["subscribed_skus"].values()
        for plan in sku["servicePlans"]
    }
    assert {plan for plan in offered if plan.startswith("AAD_PREMIUM")} == plans
    for collection in (
        "role_assignment_schedule_instances",
        "role_eligibility_schedule_instances",
        "group_eligibility_schedule_instances",
        "group_assignment_schedule_instances",
    ):
        assert bool(tenant.objects[collection]) == pim, collection
    users = tenant.objects["users"].values()
    assert any(user["signInActivity"] for user in users) == stamps
    assert bool(tenant.objects["user_registration_details"]) == stamps
    assert bool(tenant.objects["conditional_access_policies"]) == policies


@pytest.mark.soak
def test_a_hundred_thousand_users_take_under_forty_seconds_and_six_gigabytes() -> None:
    program = (
        "import resource, time\n"
        "from entra_pipeline.simulator.generate import generate\n"
        "start = time.process_time()\n"
        "tenant = generate(100_000, 30_000)\n"
        "print(time.process_time() - start)\n"
        "print(sum(map(len, tenant.links['group_members'].values())))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    seconds, memberships, kilobytes = map(float, done.stdout.split())
    assert seconds < 40
    assert memberships > 1_450_000
    assert kilobytes < 6_000_000
