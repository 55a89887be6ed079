"""Entra's rules about what passes on to whom, each in a tenant written by hand."""

from __future__ import annotations

from datetime import timedelta

from entra_pipeline.tables import Status
from tests.access.asking import actives, eligibles, entitlement, held, paths, principal, who
from tests.access.conftest import Open
from tests.access.tenant import NOW, ZERO, Tenant

PAST = NOW - timedelta(hours=1)
FUTURE = NOW + timedelta(hours=1)


def test_membership_is_transitive_and_counts_its_hops(opened: Open) -> None:
    tenant = Tenant().users("u1", "u2").groups("all", "part", "team")
    tenant.members("all", "part").members("part", "team", "u2").members("team", "u1")
    warehouse = opened(tenant)
    assert who(warehouse, "group:all:member") == actives("part", "team", "u1", "u2")
    rows = {
        r.principal_id: r
        for r in warehouse.who_can(entitlement(warehouse, "group:all:member")).principals
    }
    assert {k: (r.direct, r.depth, r.paths) for k, r in rows.items()} == {
        "part": (True, 0, 1),
        "team": (False, 1, 1),
        "u1": (False, 2, 1),
        "u2": (False, 1, 1),
    }
    assert paths(warehouse, "u1", "group:all:member") == ["u1 > team > part > all"]


def test_every_simple_path_is_one_path(opened: Open) -> None:
    tenant = Tenant().users("u").groups("a", "b", "c", "top")
    tenant.members("a", "u").members("b", "u", "a").members("top", "a", "b", "u")
    warehouse = opened(tenant)
    assert paths(warehouse, "u", "group:top:member") == [
        "u > top",
        "u > a > top",
        "u > b > top",
        "u > a > b > top",
    ]
    (row,) = [
        r
        for r in warehouse.access(principal(warehouse, "u")).entitlements
        if r.resource.id == "top"
    ]
    assert (row.direct, row.depth, row.paths) == (True, 0, 4)


def test_a_group_on_a_nesting_cycle_is_not_its_own_member(opened: Open) -> None:
    tenant = Tenant().users("u").groups("a", "b", "c")
    tenant.members("a", "b").members("b", "c").members("c", "a", "u")
    warehouse = opened(tenant)
    assert who(warehouse, "group:a:member") == actives("b", "c", "u")
    assert who(warehouse, "group:c:member") == actives("a", "b", "u")
    assert paths(warehouse, "u", "group:b:member") == ["u > c > b"]
    closure = warehouse.query(
        "SELECT group_id, member_group_id, depth, on_cycle FROM group_closure"
    )
    assert sorted(closure.rows) == [
        ("a", "b", 1, True),
        ("a", "c", 2, True),
        ("b", "a", 2, True),
        ("b", "c", 1, True),
        ("c", "a", 1, True),
        ("c", "b", 2, True),
    ]


def test_a_group_listed_as_its_own_member_says_nothing(opened: Open) -> None:
    tenant = (
        Tenant().users("u").groups("a").members("a", "a", "u").app("app").app_role("app", "r", "a")
    )
    warehouse = opened(tenant)
    assert who(warehouse, "group:a:member") == actives("u")
    assert who(warehouse, "app:app:r") == actives("a", "u")
    assert held(warehouse, "a") == actives("app:app:r")


def test_roles_pass_down_nested_groups(opened: Open) -> None:
    tenant = Tenant().users("u1", "u2").groups("admins", "sub")
    tenant.members("admins", "u1", "sub").members("sub", "u2").role("ga", "admins")
    warehouse = opened(tenant)
    assert who(warehouse, "role:ga@/") == actives("admins", "sub", "u1", "u2")
    assert paths(warehouse, "u2", "Role ga") == ["u2 > sub > admins > ga"]


def test_a_role_at_a_scope_is_an_entitlement_of_its_own(opened: Open) -> None:
    tenant = Tenant().users("u").add("administrative_units", id="au", display_name="Sales")
    tenant.role("ua", "u", scope="/administrativeUnits/au").app("app").role("ua", "u", scope="/app")
    warehouse = opened(tenant)
    assert held(warehouse, "u") == actives("role:ua@/administrativeUnits/au", "role:ua@/app")
    assert who(warehouse, "role:ua@/") == set()
    rows = warehouse.access(principal(warehouse, "u")).entitlements
    assert {(row.name, row.scope) for row in rows} == {
        ("Role ua @ Sales", "/administrativeUnits/au"),
        ("Role ua @ App app", "/app"),
    }


def test_an_eligible_role_is_not_an_active_one(opened: Open) -> None:
    tenant = Tenant().users("u1", "u2").groups("g").members("g", "u2").role("ga", "u1")
    tenant.eligible_role("ga", "u1").eligible_role("ga", "g")
    warehouse = opened(tenant)
    assert who(warehouse, "role:ga@/") == actives("u1") | eligibles("u1", "u2", "g")
    assert paths(warehouse, "u2", "role:ga@/") == ["u2 > g ?> ga"]


def test_derived_and_expired_instances_hold_nothing(opened: Open) -> None:
    tenant = Tenant().users("u1", "u2", "u3", "u4").groups("g").role("ga")
    tenant.eligible_role("ga", "u1", member_type="Group").eligible_role(
        "ga", "u2", end_date_time=PAST
    )
    tenant.eligible_role("ga", "u3", member_type="Inherited")
    tenant.eligible_role("ga", "u4", end_date_time=FUTURE)
    tenant.eligible_member("g", "u1", end_date_time=PAST).eligible_member(
        "g", "u2", member_type="group"
    )
    tenant.eligible_member("g", "u3", end_date_time=FUTURE)
    warehouse = opened(tenant)
    assert who(warehouse, "role:ga@/") == eligibles("u4")
    assert who(warehouse, "group:g:member") == eligibles("u3")


def test_an_activated_role_is_counted_once_and_has_its_window(opened: Open) -> None:
    tenant = Tenant().users("u", "v").role("ga", "u").eligible_role("ga", "u")
    for holder in ("u", "v"):
        tenant.add(
            "role_assignment_schedule_instances",
            id=f"i-{holder}",
            principal_id=holder,
            role_definition_id="ga",
            directory_scope_id="/",
            assignment_type="Activated",
            member_type="Direct",
            start_date_time=PAST,
            end_date_time=FUTURE,
        )
    warehouse = opened(tenant)
    # v's is listed by PIM alone: a list may be ahead of the other, and no access is lost.
    assert who(warehouse, "role:ga@/") == actives("u", "v") | eligibles("u")
    assert paths(warehouse, "u", "role:ga@/") == ["u > ga", "u ?> ga"]
    rows = warehouse.query(
        "SELECT principal_id, end_date_time, source_table FROM grants WHERE state = 'active'"
        " ORDER BY principal_id"
    ).rows
    assert rows == [
        ("u", FUTURE, "role_assignments"),
        ("v", FUTURE, "role_assignment_schedule_instances"),
    ]


def test_pim_for_groups_makes_all_that_the_group_brings_eligible(opened: Open) -> None:
    tenant = Tenant().users("u", "o").groups("g", "outer").members("outer", "g")
    tenant.role("ga", "outer").app("app").app_role("app", "r", "g", "outer")
    tenant.eligible_member("g", "u").eligible_member("g", "o", access_id="owner")
    warehouse = opened(tenant)
    assert held(warehouse, "u") == eligibles(
        "group:g:member", "group:outer:member", "role:ga@/", "app:app:r"
    )
    assert paths(warehouse, "u", "app:app:r") == ["u ?> g > app"]
    assert paths(warehouse, "u", "role:ga@/") == ["u ?> g > outer > ga"]
    assert held(warehouse, "o") == eligibles("group:g:owner")


def test_eligible_hops_between_groups_make_what_is_beyond_them_eligible(opened: Open) -> None:
    tenant = Tenant().users("u").groups("a", "b", "c").members("a", "u").members("c", "b")
    tenant.eligible_member("b", "a").role("ga", "c")
    warehouse = opened(tenant)
    assert held(warehouse, "u") == actives("group:a:member") | eligibles(
        "group:b:member", "group:c:member", "role:ga@/"
    )
    assert paths(warehouse, "u", "role:ga@/") == ["u > a ?> b > c > ga"]
    assert warehouse.query("SELECT group_id, member_group_id FROM group_closure").rows == [
        ("c", "b")
    ]


def test_an_eligible_detour_that_comes_back_is_no_eligibility(opened: Open) -> None:
    # a is in b, b may become member of a: going round would visit a twice.
    tenant = Tenant().users("u").groups("a", "b").members("a", "u").members("b", "a")
    tenant.eligible_member("a", "b").role("ga", "a")
    warehouse = opened(tenant)
    assert who(warehouse, "role:ga@/") == actives("u", "a") | eligibles("b")
    assert held(warehouse, "u") == actives("group:a:member", "group:b:member", "role:ga@/")


def test_active_membership_listed_by_pim_is_counted_once(opened: Open) -> None:
    tenant = Tenant().users("u", "v").groups("g").members("g", "u")
    for holder in ("u", "v"):
        for access in ("member", "owner"):
            tenant.add(
                "group_assignment_schedule_instances",
                id=f"{access}-{holder}",
                group_id="g",
                principal_id=holder,
                access_id=access,
                member_type="direct",
                assignment_type="activated",
                end_date_time=FUTURE,
            )
    tenant.add("group_owners", group_id="g", owner_id="u", owner_kind="user")
    warehouse = opened(tenant)
    assert paths(warehouse, "u", "group:g:member") == ["u > g"]
    assert paths(warehouse, "u", "group:g:owner") == ["u > g"]
    assert who(warehouse, "group:g:member") == actives("u", "v")
    assert who(warehouse, "group:g:owner") == actives("u", "v")
    # The table of memberships stays what Graph gave; grants know the window.
    assert warehouse.query("SELECT member_id FROM group_members").rows == [("u",)]
    grants = warehouse.query(
        "SELECT source_table, source_id, end_date_time FROM grants ORDER BY 1, 2"
    )
    assert grants.rows == [
        ("group_assignment_schedule_instances", "member-v", FUTURE),
        ("group_assignment_schedule_instances", "owner-v", FUTURE),
        ("group_members", "g/u", FUTURE),
        ("group_owners", "g/u", FUTURE),
    ]


def test_an_app_role_reaches_direct_members_of_a_group_only(opened: Open) -> None:
    tenant = Tenant().users("u1", "u2").groups("g", "sub").app("robot")
    tenant.members("g", "u1", "sub", "robot").members("sub", "u2").app("app").app_role(
        "app", "r", "g"
    )
    warehouse = opened(tenant)
    assert who(warehouse, "app:app:r") == actives("g", "u1", "sub", "robot")
    assert paths(warehouse, "u2", "app:app:r") == []
    assert paths(warehouse, "sub", "app:app:r") == ["sub > g > app"]


def test_application_permissions_are_held_by_service_principals(opened: Open) -> None:
    tenant = Tenant().app("client").app("mi", kind="ManagedIdentity").app("api")
    tenant.app_role("api", "Mail.Read", "client", "mi", to=("Application",))
    warehouse = opened(tenant)
    assert who(warehouse, "app:api:Mail.Read") == actives("client", "mi")
    found = entitlement(warehouse, "app api: mail.read")
    assert (found.entitlement_id, found.purpose) == ("app:api:Mail.Read", "permission")
    assert principal(warehouse, "mi").kind == "managed_identity"


def test_everybody_is_one_principal_where_no_assignment_is_required(opened: Open) -> None:
    tenant = Tenant().users("u1", "u2").app("open", required=False).app("closed")
    tenant.app("mi", required=False, kind="ManagedIdentity").app_role("open", ZERO, "u1")
    warehouse = opened(tenant)
    assert who(warehouse, f"app:open:{ZERO}") == actives("all_users", "u1")
    assert who(warehouse, f"app:closed:{ZERO}") == set()
    everybody = warehouse.access(principal(warehouse, "all_users"))
    assert everybody.principal.kind == "all_users"
    assert [row.resource.id for row in everybody.entitlements] == ["open"]


def test_consent_is_held_by_the_client_on_behalf_of_users(opened: Open) -> None:
    tenant = Tenant().users("u").app("client").app("api")
    tenant.add("delegated_permissions", resource_id="api", id="1", value="Mail.Read")
    grant = {"client_id": "client", "resource_id": "api"}
    tenant.add(
        "oauth2_permission_grants",
        id="all",
        consent_type="AllPrincipals",
        scopes=["Mail.Read"],
        **grant,
    )
    tenant.add(
        "oauth2_permission_grants",
        id="one",
        consent_type="Principal",
        principal_id="u",
        scopes=["Mail.Read", "Gone.Scope"],
        **grant,
    )
    warehouse = opened(tenant)
    assert held(warehouse, "client") == actives(
        "delegated:api:Mail.Read", "delegated:api:Gone.Scope"
    )
    assert held(warehouse, "u") == set()
    assert paths(warehouse, "client", "delegated:api:Mail.Read") == ["client > api"]
    client = principal(warehouse, "client")
    behalf = {
        scope: warehouse.explain(client, entitlement(warehouse, f"delegated:api:{scope}")).to_json()
        for scope in ("Mail.Read", "Gone.Scope")
    }
    assert behalf["Mail.Read"]["paths"][0][0]["on_behalf_of"] is None
    assert behalf["Gone.Scope"]["paths"][0][0]["on_behalf_of"] == ["u"]
    rows = warehouse.query(
        "SELECT source_id, on_behalf_of FROM grants ORDER BY entitlement_id, 1"
    ).rows
    assert rows == [("one", "u"), ("all", None), ("one", "u")]


def test_licences_are_what_users_say_and_name_their_group(opened: Open) -> None:
    tenant = Tenant().users("u1", "u2", "u3", "u4").groups("g", "sub").app("robot")
    tenant.members("g", "u1", "u2", "u3", "sub", "robot").members("sub", "u4")
    tenant.add("subscribed_skus", sku_id="e5", sku_part_number="SPE_E5")
    for user, group, state in (
        ("u1", "g", "Active"),
        ("u1", "", "Active"),
        ("u2", "g", "ActiveWithError"),
        ("u3", "g", "Error"),
    ):
        tenant.add(
            "license_assignments", user_id=user, sku_id="e5", source_group_id=group, state=state
        )
    warehouse = opened(tenant)
    assert who(warehouse, "SPE_E5") == actives("g", "u1", "u2")
    assert paths(warehouse, "u1", "license:e5") == ["u1 > e5", "u1 > g > e5"]
    rows = {
        r.principal_id: r
        for r in warehouse.who_can(entitlement(warehouse, "license:e5")).principals
    }
    assert (rows["u1"].direct, rows["u1"].paths) == (True, 2)
    assert (rows["u2"].direct, rows["u2"].depth, rows["u2"].paths) == (False, 1, 1)


def test_a_licensed_group_holds_the_licence_before_anybody_has_it(opened: Open) -> None:
    tenant = (
        Tenant().users("u").app("robot").add("subscribed_skus", sku_id="e5", sku_part_number="E5")
    )
    tenant.groups("g", assigned_licenses=[{"sku_id": "e5", "disabled_plans": []}])
    tenant.eligible_member("g", "u").eligible_member("g", "robot")
    warehouse = opened(tenant)
    assert who(warehouse, "license:e5") == actives("g") | eligibles("u")
    assert paths(warehouse, "u", "license:e5") == ["u ?> g > e5"]


def test_ownership_never_passes_on(opened: Open) -> None:
    tenant = Tenant().users("u", "v").groups("g", "owners").members("owners", "v").app("sp")
    tenant.add("applications", id="reg", display_name="Registration").add(
        "devices", id="d", display_name="D"
    )
    for owner in ("u", "owners"):
        tenant.add("group_owners", group_id="g", owner_id=owner, owner_kind="user")
        tenant.add(
            "service_principal_owners", service_principal_id="sp", owner_id=owner, owner_kind="user"
        )
        tenant.add("application_owners", application_id="reg", owner_id=owner, owner_kind="user")
        tenant.add("device_owners", device_id="d", owner_id=owner, owner_kind="user")
    warehouse = opened(tenant)
    for owned in ("group:g:owner", "app:sp:owner", "application:reg:owner", "device:d:owner"):
        assert who(warehouse, owned) == actives("u", "owners")
        assert entitlement(warehouse, owned).purpose == "ownership"
    assert held(warehouse, "v") == actives("group:owners:member")


def test_a_group_in_an_administrative_unit_does_not_bring_its_members(opened: Open) -> None:
    tenant = (
        Tenant()
        .users("u", "v")
        .groups("g")
        .members("g", "v")
        .add("devices", id="d", display_name="D")
    )
    tenant.add("administrative_units", id="au", display_name="Sales")
    for member in ("u", "g", "d"):
        tenant.add(
            "administrative_unit_members", unit_id="au", member_id=member, member_kind="unknown"
        )
    warehouse = opened(tenant)
    assert who(warehouse, "unit:au:member") == actives("u", "g", "d")


def test_members_of_every_kind_are_listed_with_it(opened: Open) -> None:
    tenant = Tenant().users("u").groups("g", "inner").app("sp").app("mi", kind="ManagedIdentity")
    tenant.add("users", id="guest", user_type="Guest", account_enabled=False)
    tenant.add("devices", id="d", display_name="D", account_enabled=True)
    tenant.add("contacts", id="c", display_name="C")
    tenant.add("deleted_items", id="x", kind="user", display_name="Ex")
    tenant.members("g", "u", "guest", "inner", "sp", "mi", "d", "c", "x", "y")
    warehouse = opened(tenant)
    rows = warehouse.who_can(entitlement(warehouse, "group:g:member")).principals
    assert {row.principal_id: (row.kind, row.enabled) for row in rows} == {
        "u": ("user", True),
        "guest": ("guest", False),
        "inner": ("group", None),
        "sp": ("service_principal", True),
        "mi": ("managed_identity", True),
        "d": ("device", True),
        "c": ("contact", None),
        "x": ("unknown", None),
        "y": ("unknown", None),
    }
    assert {row.name for row in rows if row.kind == "unknown"} == {"Ex", None}


def test_a_member_is_unread_rather_than_unknown_when_its_table_was_not_read(opened: Open) -> None:
    tenant = Tenant().groups("g").unread("users", Status.FORBIDDEN)
    tenant.add("group_members", group_id="g", member_id="u", member_kind="user")
    tenant.add("group_members", group_id="g", member_id="d", member_kind="device")
    warehouse = opened(tenant)
    rows = warehouse.who_can(entitlement(warehouse, "group:g:member")).principals
    assert {row.principal_id: row.kind for row in rows} == {"u": "user", "d": "unknown"}


def test_what_a_grant_names_exists_though_it_is_gone(opened: Open) -> None:
    tenant = Tenant().users("u").groups("g").members("gone-group", "u").members("g", "gone-group")
    tenant.add(
        "role_assignments",
        id="1",
        principal_id="u",
        role_definition_id="gone-role",
        directory_scope_id="/",
    )
    tenant.add(
        "app_role_assignments", id="2", principal_id="u", resource_id="gone-app", app_role_id="r"
    )
    tenant.add("license_assignments", user_id="u", sku_id="gone-sku", source_group_id="gone-g2")
    warehouse = opened(tenant)
    assert held(warehouse, "u") == actives(
        "group:gone-group:member",
        "group:g:member",
        "role:gone-role@/",
        "app:gone-app:r",
        "license:gone-sku",
    )
    assert paths(warehouse, "u", "group:g:member") == ["u > gone-group > g"]
    assert who(warehouse, "license:gone-sku") == actives("u", "gone-g2")
    gone = entitlement(warehouse, "app:gone-app:r")
    assert (gone.resource.name, gone.name) == (None, "gone-app: r")


def test_repeated_rows_are_one_hold(opened: Open) -> None:
    tenant = Tenant().users("u").groups("g").members("g", "u").role("ga", "u").role("ga")
    tenant.add(
        "role_assignments",
        id="again",
        principal_id="u",
        role_definition_id="ga",
        directory_scope_id="/",
    )
    tenant.eligible_role("ga", "u").eligible_role("ga", "u", id="twice", end_date_time=FUTURE)
    tenant.app("app").app_role("app", "r", "u")
    tenant.add(
        "app_role_assignments", id="again", resource_id="app", app_role_id="r", principal_id="u"
    )
    warehouse = opened(tenant)
    assert paths(warehouse, "u", "role:ga@/") == ["u > ga", "u ?> ga"]
    assert paths(warehouse, "u", "app:app:r") == ["u > app"]
    (window,) = warehouse.query("SELECT end_date_time FROM grants WHERE state = 'eligible'").rows
    assert window == (None,)


def test_counts_agree_with_what_is_listed(opened: Open) -> None:
    tenant = (
        Tenant()
        .users("u1", "u2", "u3")
        .groups("g", "sub")
        .members("g", "u1", "sub")
        .members("sub", "u2")
    )
    tenant.role("ga", "g", "u3").eligible_role("ga", "u1")
    warehouse = opened(tenant)
    rows = warehouse.query(
        "SELECT * FROM entitlement_counts WHERE effective_active > 0 ORDER BY 1"
    ).rows
    assert rows == [
        ("group:g:member", 2, 0, 3, 0),
        ("group:sub:member", 1, 0, 1, 0),
        ("role:ga@/", 2, 1, 5, 1),
    ]
