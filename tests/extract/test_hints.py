"""Directory audits point at the tables and objects that they changed, however they are worded."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from entra_pipeline.extract.hint_names import activity_name
from entra_pipeline.extract.hints import (
    OWNERS,
    Hinted,
    Hints,
    NotAnAuditError,
    merge,
    recognise,
    target_ids,
    values,
)
from entra_pipeline.simulator.process import running
from entra_pipeline.tables import TABLES
from tests.extract.support import Rig

USER = "22222222-2222-4222-8222-000000000001"
GROUP = "33333333-3333-4333-8333-000000000001"
SP = "44444444-4444-4444-8444-000000000001"
CLIENT = "44444444-4444-4444-8444-000000000002"
APP = "55555555-5555-4555-8555-000000000001"
UNIT = "66666666-6666-4666-8666-000000000001"
DEVICE = "77777777-7777-4777-8777-000000000001"
ROLE = "62e90394-69f5-4237-9190-012177145e10"
REQUEST = "88888888-8888-4888-8888-000000000001"

Target = tuple[str, str | None]


def audit(name: str, *targets: Target, **given: Any) -> dict[str, Any]:
    return {
        "id": "Directory_1",
        "activityDisplayName": name,
        "category": "",
        "result": "success",
        "operationType": "",
        "loggedByService": "Core Directory",
        "targetResources": [
            {"id": key, "type": kind, "modifiedProperties": []} for kind, key in targets
        ],
        **given,
    }


U, G, S, C = (
    ("User", USER),
    ("Group", GROUP),
    ("ServicePrincipal", SP),
    ("ServicePrincipal", CLIENT),
)
A, AU, D, R = (
    ("Application", APP),
    ("AdministrativeUnit", UNIT),
    ("Device", DEVICE),
    ("Role", ROLE),
)
PIM = (R, ("Request", REQUEST), U, ("Directory", REQUEST), ("Other", None))

DOCUMENTED: list[tuple[str, tuple[Target, ...], str, str | None]] = [
    *(
        (name, (U,), "users", USER)
        for name in (
            "Add user",
            "Update user",
            "Delete user",
            "Hard Delete user",
            "Restore user",
            "Disable account",
            "Enable account",
            "Reset user password",
            "Reset password (by admin)",
            "Change user password",
            "Update StsRefreshTokenValidFrom Timestamp",
            "Invite external user",
            "Redeem external user invite",
            "Convert federated user to managed",
        )
    ),
    ("Change user license", (U,), "license_assignments", USER),
    *(
        (name, (G,), "groups", GROUP)
        for name in (
            "Add group",
            "Update group",
            "Delete group",
            "Hard Delete group",
            "Restore Group",
        )
    ),
    ("Add member to group", (U, G), "group_members", GROUP),
    ("Remove member from group", (U, G), "group_members", GROUP),
    ("Add owner to group", (U, G), "group_owners", GROUP),
    ("Remove owner from group", (U, G), "group_owners", GROUP),
    ("Set group license", (G,), "license_assignments", None),
    ("Change group license", (G,), "license_assignments", None),
    *(
        (f"{verb} member to role", (U, R), "role_assignments", USER)
        for verb in ("Add", "Add scoped")
    ),
    ("Remove member from role", (U, R), "role_assignments", USER),
    ("Remove scoped member from role", (U, R), "role_assignments", USER),
    ("Add eligible member to role", (U, R), "role_eligibility_schedule_instances", USER),
    ("Remove eligible member from role", (U, R), "role_eligibility_schedule_instances", USER),
    *(
        (name, PIM, "role_assignment_schedule_instances", USER)
        for name in (
            "Add member to role in PIM requested (permanent)",
            "Add member to role in PIM completed (permanent)",
            "Add member to role in PIM completed (timebound)",
            "Remove member from role in PIM completed (permanent)",
            "Remove member from role in PIM completed (timebound)",
            "Add member to role completed (PIM activation)",
            "Remove member from role (PIM activation expired)",
        )
    ),
    *(
        (name, PIM, "role_eligibility_schedule_instances", USER)
        for name in (
            "Add eligible member to role in PIM completed (permanent)",
            "Add eligible member to role in PIM completed (timebound)",
            "Remove eligible member from role in PIM completed (timebound)",
        )
    ),
    *((f"{verb} role definition", (R,), "role_definitions", ROLE) for verb in ("Add", "Update")),
    ("Delete role definition", (R,), "role_definitions", ROLE),
    ("Add role assignment to role definition", (R,), "role_assignments", None),
    ("Add service principal", (S,), "service_principals", SP),
    ("Remove service principal", (S,), "service_principals", SP),
    ("Hard delete service principal", (S,), "app_role_assignments", SP),
    ("Update service principal", (S,), "app_roles", SP),
    ("Add service principal credentials", (S,), "credentials", SP),
    ("Remove service principal credentials", (S,), "credentials", SP),
    ("Add application", (A,), "applications", APP),
    ("Update application", (A,), "applications", APP),
    ("Delete application", (A,), "applications", APP),
    (
        "Update application \N{EN DASH} Certificates and secrets management ",
        (A,),
        "credentials",
        APP,
    ),
    ("Add owner to application", (U, A), "application_owners", APP),
    ("Remove owner from application", (U, A), "application_owners", APP),
    ("Add owner to service principal", (U, S), "service_principal_owners", SP),
    ("Add app role assignment grant to user", (S, U), "app_role_assignments", SP),
    ("Remove app role assignment from user", (S, U), "app_role_assignments", SP),
    ("Add app role assignment to service principal", (S, C), "app_role_assignments", SP),
    ("Remove app role assignment from service principal", (S, C), "app_role_assignments", SP),
    ("Add app role assignment to group", (S, G), "app_role_assignments", SP),
    ("Remove app role assignment from group", (S, G), "app_role_assignments", SP),
    ("Add delegated permission grant", (S, C), "oauth2_permission_grants", CLIENT),
    ("Remove delegated permission grant", (S, C), "oauth2_permission_grants", CLIENT),
    ("Add OAuth2PermissionGrant", (S, C), "oauth2_permission_grants", CLIENT),
    ("Consent to application", (C,), "oauth2_permission_grants", CLIENT),
    ("Add member to administrative unit", (U, AU), "administrative_unit_members", UNIT),
    ("Remove member from administrative unit", (U, AU), "administrative_unit_members", UNIT),
]


@pytest.mark.parametrize(("name", "targets", "table", "owner"), DOCUMENTED)
def test_a_documented_activity_points_at_its_table_and_object(
    name: str, targets: tuple[Target, ...], table: str, owner: str | None
) -> None:
    hints = recognise(audit(name, *targets))

    assert table in hints.tables
    assert hints.unknown == {}
    ids = hints.tables[table]
    assert ids is None if owner is None else ids is not None and owner in ids


@pytest.mark.parametrize(
    "name",
    [
        "ADD MEMBER TO GROUP",
        "add member to group ",
        "Add  member\N{NO-BREAK SPACE}to group",
        "Add member to group (bulk)",
        "Add member to group in PIM completed (timebound)",
        "Add member to group \N{EN DASH} dynamic",
        "Add members to group",
    ],
)
def test_an_activity_is_known_by_its_beginning(name: str) -> None:
    assert recognise(audit(name, U, G)).tables["group_members"] == frozenset({GROUP})


@pytest.mark.parametrize("dash", ["-", *"\u2010\u2011\u2013\u2014\u2212\ufe63"])
def test_dashes_of_every_kind_are_one(dash: str) -> None:
    name = f"Update application {dash} Certificates and secrets management"
    assert activity_name(name) == "update application - certificates and secrets management"
    assert activity_name(name.replace(f" {dash} ", dash)) == activity_name(name)


def test_a_name_that_only_begins_with_the_same_letters_is_another_one() -> None:
    assert "groups" not in recognise(audit("Update groupware", G)).tables


def test_an_audit_by_pim_points_at_the_schedules_of_the_group_too() -> None:
    plain = recognise(audit("Add member to group", U, G))
    by_pim = recognise(audit("Add member to group", U, G, loggedByService="PIM"))

    assert set(plain.tables) == {"group_members"}
    assert by_pim.tables["group_assignment_schedule_instances"] == frozenset({GROUP})


def changed(name: str, old: str | None, new: str | None) -> dict[str, Any]:
    return {"displayName": name, "oldValue": old, "newValue": new}


@pytest.mark.parametrize("old", [True, False], ids=["removed", "added"])
@pytest.mark.parametrize(
    "encode",
    [json.dumps, str, lambda x: json.dumps([x]), lambda x: json.dumps(json.dumps(x))],
    ids=["encoded", "plain", "list", "encoded twice"],
)
def test_the_group_is_found_inside_encoded_values(old: bool, encode: Callable[[str], str]) -> None:
    value = encode(GROUP.upper())
    said = changed("Group.ObjectID", value if old else None, None if old else value)
    given = audit("Add member to group", U)
    given["targetResources"][0]["modifiedProperties"] = [
        changed("Group.DisplayName", None, '"A group"'),
        changed("Group.WellKnownObjectName", None, None),
        said,
    ]

    assert recognise(given).tables["group_members"] == frozenset({GROUP})
    assert target_ids(given) == [USER, GROUP]


@pytest.mark.parametrize(
    ("encoded", "decoded"),
    [
        (None, []),
        ("", []),
        ('""', []),
        ("null", []),
        ('"x"', ["x"]),
        ('["x","y",1]', ["x", "y"]),
        ("plain", ["plain"]),
        ('"broken', ['"broken']),
        (5, []),
    ],
)
def test_encoded_values_never_fail(encoded: object, decoded: list[str]) -> None:
    assert values(encoded) == decoded


def test_without_the_object_the_whole_table_is_hinted() -> None:
    assert recognise(audit("Add member to group", U)).tables == {"group_members": None}


def test_an_id_that_is_no_id_never_reaches_a_request() -> None:
    bad = ("Group", "../users?$filter=x")
    assert recognise(audit("Add member to group", U, bad)).tables == {"group_members": None}


def test_an_object_of_untold_kind_counts_as_any() -> None:
    gone = audit("Remove member from group", U, ("Other", GROUP))
    assert recognise(gone).tables["group_members"] == frozenset({GROUP})


def test_an_object_that_vanishes_touches_what_names_it() -> None:
    hints = recognise(audit("Delete user", U))

    assert hints.lives == frozenset({USER})
    assert hints.tables["users"] == frozenset({USER})
    assert hints.tables["app_role_assignments"] == frozenset()
    assert hints.tables["deleted_items"] is None
    assert recognise(audit("Update user", U)).lives == frozenset()


def test_what_failed_changed_nothing() -> None:
    assert not recognise(audit("Add member to group", U, G, result="failure"))


def test_an_unknown_write_points_at_what_it_names_in_its_category_and_is_counted() -> None:
    new = audit("Assign sparkle to group", G, category="GroupManagement", operationType="Assign")
    hints = recognise(new)

    assert hints.unknown == {"assign sparkle to group": 1}
    assert hints.tables["group_members"] == frozenset({GROUP})
    assert "users" not in hints.tables
    elsewhere = recognise({**new, "category": "Sparkles"})
    assert (elsewhere.tables, elsewhere.unknown) == ({}, hints.unknown)


def test_an_unknown_read_points_at_nothing() -> None:
    assert recognise(audit("Looked at group", G, category="GroupManagement")) == Hints()


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({}, "activityDisplayName is missing"),
        ({"activityDisplayName": 7}, "activityDisplayName is a number"),
        ([], "the event is a list"),
        ("secret", "the event is a text"),
        (audit("Add user", targetResources="secret"), "targetResources is a text"),
        (audit("Add user", targetResources=["secret"]), "a target is a text"),
        (
            audit("Add user", targetResources=[{"modifiedProperties": {}}]),
            "modifiedProperties is an object",
        ),
    ],
)
def test_what_is_no_audit_is_refused_without_quoting_it(event: Any, reason: str) -> None:
    with pytest.raises(NotAnAuditError, match=reason) as refused:
        recognise(event)
    assert "secret" not in str(refused.value)


def test_hints_are_merged_and_a_whole_table_stays_whole() -> None:
    one = recognise(audit("Add member to group", U, G))
    whole = recognise(audit("Add member to group", U))
    other = recognise(audit("Add owner to group", U, G))
    unknown = recognise(audit("Assign x", category="none"))

    assert merge([one, other]).tables == {
        "group_members": frozenset({GROUP}),
        "group_owners": frozenset({GROUP}),
    }
    assert merge([one, whole, one]).tables == {"group_members": None}
    assert merge([unknown, unknown]).unknown == {"assign x": 2}
    assert merge([]) == Hints()


def test_rules_name_tables_and_columns_that_exist() -> None:
    for table, owner in OWNERS.items():
        assert owner in {column.name for column in TABLES[table].columns}, table
    for name, targets, _, _ in DOCUMENTED:
        assert set(recognise(audit(name, *targets)).tables) <= set(TABLES)


_TABLE_OF = {
    "user_registration_details": None,
    "device_users": None,
    "managers": "users",
    "authentication_methods": None,
}


def test_every_change_of_a_directory_is_hinted_at(tmp_path: Any) -> None:
    with running(users=300, groups=120, seed=9) as simulator:
        rig = Rig(simulator, tmp_path)
        before = datetime.now(UTC)
        changes = simulator.mutate(seed=3, changes=1500)
        hints = Hinted(rig.settings, rig.client).since(before)
        rig.close()

    assert hints is not None
    assert hints.unknown == {}
    missing = set()
    for change in changes:
        table = _TABLE_OF.get(change["target"], change["target"])
        if table is None or table not in TABLES:
            continue
        ids = hints.tables.get(table, frozenset())
        key = change["ids"][0]
        named = ids is None or OWNERS.get(table) != "id" or key in ids
        linked = len(change["ids"]) == 1 or ids is None or table == "users" or key in ids
        if table not in hints.tables or not (named and linked):
            missing.add((table, change["op"]))
    assert missing == set()


def test_there_are_no_hints_where_the_feed_is_not(golden: Callable[..., Rig]) -> None:
    now = datetime.now(UTC)
    rig = golden(without_permission=["AuditLog.Read.All"])
    assert Hinted(rig.settings, rig.client).since(now) is None

    off = rig.settings.model_copy(update={"disable_audit_log_feed": True})
    rig.simulator.reset_stats()
    assert Hinted(off, rig.client).since(now) is None
    assert Hinted(rig.settings, rig.client).since(now - timedelta(days=8)) is None
    assert rig.simulator.stats()["requests"] == 0


def test_a_quiet_feed_costs_one_request_and_says_that_nothing_changed(rig: Rig) -> None:
    rig.simulator.reset_stats()
    assert Hinted(rig.settings, rig.client).since(datetime.now(UTC)) == Hints()
    assert rig.simulator.stats()["requests"] == 1
