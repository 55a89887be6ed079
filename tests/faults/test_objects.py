"""Odd objects among good ones, one oddity by one, through a whole sync.

The simulator's true answer is patched in one place. Every table must come out whole: the one odd
row as a sensible reader would have it, every other row as it is, the oddity counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from entra_pipeline.extract.notes import (
    MISMATCHED,
    SENTINEL_DATES,
    UNKNOWN_TYPES,
    UNREADABLE_DATES,
    VANISHED,
    WITHOUT_KEY,
)
from entra_pipeline.tables import Status, get
from tests.faults.bench import CROWD, Bench, Rule, error, on, patch, respond

ABSENT = object()
NOBODY = "99999999-9999-4999-8999-999999999999"
AT = 3
"""Which object of a page is the odd one."""

USERS = ("users", "/users", r"/users\?.*manager")
GROUPS = ("groups", "/groups", r"/groups\?.*members")
PRINCIPALS = ("service_principals", "/servicePrincipals", r"/servicePrincipals\?.*appRoles")
ROLES = "/roleManagement/directory"


def listed(table: str, within: str = "") -> tuple[str, str, str]:
    """A table that one list fills: its name, its path, and what finds its requests."""
    path = get(table).path
    return table, path, f"{path}{within}"


@dataclass(frozen=True)
class Odd:
    """An object whose properties are spoiled, and what its row then holds."""

    where: tuple[str, str, str]
    properties: Mapping[str, Any]
    row: Mapping[str, Any] | None
    """Columns that differ from the true row; None if there is no row."""
    notes: Mapping[str, int] = field(default_factory=dict)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


HOSTILE = "O'Hara \"Bobby\"\n\t\\ '); DROP TABLE users; -- \u202e\U0001f600 \u0000end"

ODD: dict[str, Odd] = {
    "no names": Odd(
        USERS,
        {"displayName": None, "userPrincipalName": None, "mail": None, "userType": None},
        {"display_name": None, "user_principal_name": None, "mail": None, "user_type": None},
    ),
    "names left out": Odd(
        USERS,
        {"displayName": ABSENT, "accountEnabled": ABSENT},
        {"display_name": None, "account_enabled": None},
    ),
    "names that look like an attack": Odd(
        USERS, {"displayName": HOSTILE}, {"display_name": HOSTILE}
    ),
    "a date that means never": Odd(
        USERS,
        {"createdDateTime": "0001-01-01T00:00:00Z"},
        {"created_date_time": None},
        {SENTINEL_DATES: 1},
    ),
    "seven fractional digits": Odd(
        USERS,
        {"createdDateTime": "2024-05-06T07:08:09.1234567Z"},
        {"created_date_time": utc(2024, 5, 6, 7, 8, 9, 123456)},
    ),
    "a date with an offset": Odd(
        USERS,
        {"createdDateTime": "2024-05-06T07:08:09+02:00"},
        {"created_date_time": utc(2024, 5, 6, 5, 8, 9)},
    ),
    "a date with seven digits and an offset": Odd(
        USERS,
        {"createdDateTime": "2024-05-06T07:08:09.1234567+02:00"},
        {"created_date_time": utc(2024, 5, 6, 5, 8, 9, 123456)},
    ),
    "a date that is none": Odd(
        USERS, {"createdDateTime": "soon"}, {"created_date_time": None}, {UNREADABLE_DATES: 1}
    ),
    "the last moment of time": Odd(
        USERS,
        {"createdDateTime": "9999-12-31T23:59:59.9999999Z"},
        {"created_date_time": utc(9999, 12, 31, 23, 59, 59, 999999)},
    ),
    "enum members nobody knows": Odd(
        USERS,
        {"userType": "Robot", "externalUserState": "Cloned"},
        {"user_type": "Robot", "external_user_state": "Cloned"},
    ),
    "a derived type nobody knows": Odd(
        USERS, {"@odata.type": "#microsoft.graph.hologramUser", "lumen": 12}, {}
    ),
    "text where a flag is due": Odd(
        USERS, {"accountEnabled": "yes"}, {"account_enabled": None}, {MISMATCHED: 1}
    ),
    "a number where a name is due": Odd(
        USERS, {"displayName": 42}, {"display_name": None}, {MISMATCHED: 1}
    ),
    "an object where a list is due": Odd(
        USERS, {"businessPhones": {"home": "1"}}, {"business_phones": None}, {MISMATCHED: 1}
    ),
    "text where an object is due": Odd(
        USERS, {"employeeOrgData": "Sales"}, {"employee_org_data": None}, {MISMATCHED: 1}
    ),
    "a list with nulls": Odd(
        USERS, {"businessPhones": ["1", None, "2"]}, {"business_phones": ["1", None, "2"]}
    ),
    "a group without a name": Odd(
        GROUPS,
        {"displayName": None, "mailNickname": None},
        {"display_name": None, "mail_nickname": None},
    ),
    "a kind of group nobody knows": Odd(
        GROUPS,
        {
            "groupTypes": ["Swarm"],
            "visibility": "Secret",
            "securityEnabled": None,
            "mailEnabled": None,
        },
        {
            "group_types": ["Swarm"],
            "visibility": "Secret",
            "security_enabled": None,
            "mail_enabled": None,
            "kind": "security",
            "is_dynamic": False,
        },
    ),
    "an application without a name": Odd(PRINCIPALS, {"displayName": None}, {"display_name": None}),
    "a kind of application nobody knows": Odd(
        PRINCIPALS,
        {"servicePrincipalType": "Familiar", "alternativeNames": None},
        {
            "service_principal_type": "Familiar",
            "managed_identity_kind": None,
            "azure_resource_id": None,
            "alternative_names": None,
        },
    ),
    "a role without a name": Odd(
        listed("role_definitions"),
        {"displayName": None, "description": None},
        {"display_name": None, "description": None},
    ),
    "an assignment of a principal that is gone": Odd(
        listed("role_assignments"), {"principalId": NOBODY}, {"principal_id": NOBODY}
    ),
    "an assignment of a role that is gone": Odd(
        listed("role_assignments"), {"roleDefinitionId": NOBODY}, {"role_definition_id": NOBODY}
    ),
    "an assignment without an id": Odd(
        listed("role_assignments"), {"id": None}, None, {WITHOUT_KEY: 1}
    ),
    "an assignment with a number for an id": Odd(
        listed("role_assignments"), {"id": 7}, None, {WITHOUT_KEY: 1, MISMATCHED: 1}
    ),
    "a kind of eligibility nobody knows": Odd(
        listed("role_eligibility_schedule_instances"),
        {"memberType": "Osmosis", "endDateTime": "0001-01-01T00:00:00Z"},
        {"member_type": "Osmosis", "end_date_time": None},
        {SENTINEL_DATES: 1},
    ),
    "a consent nobody knows": Odd(
        listed("oauth2_permission_grants"),
        {"consentType": "Tacit", "scope": None, "principalId": NOBODY},
        {"consent_type": "Tacit", "scope": None, "scopes": [], "principal_id": NOBODY},
    ),
    "a policy state nobody knows": Odd(
        listed("conditional_access_policies"),
        {"state": "hypothetical", "grantControls": None, "displayName": None},
        {"state": "hypothetical", "grant_controls": None, "display_name": None},
    ),
    "a licence with text for a number": Odd(
        listed("subscribed_skus"),
        {"consumedUnits": "many", "prepaidUnits": None},
        {
            "consumed_units": None,
            "enabled_units": None,
            "warning_units": None,
            "suspended_units": None,
            "locked_out_units": None,
        },
        {MISMATCHED: 1},
    ),
    "a number beyond its column": Odd(
        listed("subscribed_skus"),
        {"consumedUnits": 2**40},
        {"consumed_units": None},
        {MISMATCHED: 1},
    ),
}


def spoiling(path: str, at: int, properties: Mapping[str, Any], within: str = "") -> Rule:
    operations: list[Any] = []
    for name, value in properties.items():
        pointer = f"/value/{at}{within}/{name.replace('/', '~1')}"
        operations.append(("remove", pointer) if value is ABSENT else ("add", pointer, value))
    return on(path, patch(*operations), times=1)


@pytest.mark.parametrize("name", list(ODD))
def test_an_odd_object_costs_no_table(bench: Bench, name: str) -> None:
    odd = ODD[name]
    table, path, request = odd.where
    key = "skuId" if table == "subscribed_skus" else "id"
    identity = bench.page(path)["value"][AT][key]
    outcome = bench.sync(spoiling(request, AT, odd.properties), about=[table])
    bench.check(outcome, differs=[table])
    column = get(table).key[0]
    expected = []
    for row in bench.truth[table].to_pylist():
        if row[column] != identity:
            expected.append(row)
        elif odd.row is not None:
            expected.append({**row, **odd.row})
    assert outcome.rows(table).to_pylist() == expected
    assert dict(outcome.statuses[table].notes) == dict(odd.notes)


def test_all_oddities_at_once_still_make_a_warehouse(bench: Bench) -> None:
    rules = {}
    for position, odd in enumerate(ODD.values()):
        # One rule a request: each oddity has an object of its own on the page.
        spoiled = rules.setdefault(odd.where, [])
        spoiled += spoiling(odd.where[2], position % 4, odd.properties)["patch"]
    # What would make a list shorter than its count is another test's matter.
    outcome = bench.sync(
        *(on(where[2], {"patch": spoiled}, times=1) for where, spoiled in rules.items()),
        about={where[0] for where in rules},
    )
    assert {s.status for s in outcome.statuses.values()} == {Status.COMPLETE}
    with outcome.answers() as answers:
        gone = [
            row
            for row in outcome.rows("role_assignments").to_pylist()
            if row["principal_id"] == NOBODY
        ]
        assert gone
        role = f"role:{gone[0]['role_definition_id']}@{gone[0]['directory_scope_id']}"
        assert (NOBODY, "active") in answers.who(role)
        assert answers.principal(NOBODY).kind == "unknown"
        assert answers.warehouse.query("SELECT count(*) FROM effective_grants").rows[0][0] > 100
        hostile = answers.warehouse.find_principal(HOSTILE)
        assert getattr(hostile, "name", None) == HOSTILE


# ---- members -----------------------------------------------------------------------------------

MEMBERS = f"/groups/{CROWD}/members"
SMALL = r"/groups\?.*members"


def member_rows(bench: Bench) -> list[dict[str, Any]]:
    return list(bench.truth["group_members"].to_pylist())


@pytest.mark.parametrize(
    ("kind", "odata_type", "notes"),
    [
        ("unknown", "#microsoft.graph.hologram", {UNKNOWN_TYPES: 1}),
        ("unknown", ABSENT, {}),
        ("user", "#microsoft.graph.agentUser", {}),
    ],
    ids=["a type nobody knows", "no type", "a derived type"],
)
def test_a_member_of_an_odd_type_stays_a_member(
    bench: Bench, kind: str, odata_type: Any, notes: dict[str, int]
) -> None:
    first = bench.page(f"/groups/{CROWD}/members", **{"$select": "id", "$top": "999"})["value"][0]
    outcome = bench.sync(spoiling(MEMBERS, 0, {"@odata.type": odata_type}))
    bench.check(outcome, differs=["group_members"])
    expected = [
        {**row, "member_kind": kind}
        if (row["group_id"], row["member_id"]) == (CROWD, first["id"])
        else row
        for row in member_rows(bench)
    ]
    assert outcome.rows("group_members").to_pylist() == expected
    assert dict(outcome.statuses["group_members"].notes) == notes


def test_members_that_show_nothing_but_their_id_are_members(bench: Bench) -> None:
    """Graph shows members of a kind that the application may not read by type and id alone."""
    page = bench.page(MEMBERS, **{"$select": "id", "$top": "999"})
    bare = [
        {"@odata.type": each["@odata.type"], "id": each["id"], "displayName": None}
        for each in page["value"]
    ]
    outcome = bench.sync(
        on(rf"{MEMBERS}\?(?!.*skiptoken)", patch(("replace", "/value", bare)), times=1)
    )
    bench.check(outcome)


def small_group(bench: Bench) -> int:
    """The place on the page of a group that the listing shows members of, and all of them."""
    asked = {"$select": "id", "$expand": "members($select=id)", "$top": "999"}
    page = bench.page("/groups", **asked)["value"]
    return next(at for at, group in enumerate(page) if 2 < len(group["members"]) < 20)


@pytest.mark.parametrize("value", [ABSENT, None, "many"], ids=["absent", "null", "text"])
def test_members_that_a_listing_does_not_show_are_read_rather_than_none(
    bench: Bench, value: Any
) -> None:
    at = small_group(bench)
    bench.check(bench.sync(spoiling(SMALL, at, {"members": value})))


# ---- objects that vanish between list and detail -----------------------------------------------

GONE = respond(404, error("Request_ResourceNotFound", "Resource does not exist."))

DETAILS: dict[str, tuple[str, str, str]] = {
    "a group": ("group_members", "group_id", "/groups/([^/]+)/members"),
    "a service principal with assignments": (
        "app_role_assignments",
        "resource_id",
        "/servicePrincipals/([^/]+)/appRoleAssignedTo",
    ),
    "a group in PIM": (
        "group_eligibility_schedule_instances",
        "group_id",
        "group/eligibilityScheduleInstances.*groupId eq '([^']+)'",
    ),
    "a service principal with provisioning": (
        "synchronization_jobs",
        "service_principal_id",
        "/servicePrincipals/([^/]+)/synchronization/jobs",
    ),
}


@pytest.mark.parametrize("name", list(DETAILS))
def test_an_object_that_vanished_after_it_was_listed_is_left_out_and_counted(
    bench: Bench, name: str
) -> None:
    table, column, path = DETAILS[name]
    # Of the largest group so many members would go that the sync would not believe it.
    chosen = bench.largest(table, column)[table == "group_members"]
    outcome = bench.sync(
        on(path.replace("([^/]+)", chosen).replace("([^']+)", chosen), GONE), about=[table]
    )
    bench.check(outcome, differs=[table])
    expected = [row for row in bench.truth[table].to_pylist() if row[column] != chosen]
    assert outcome.rows(table).to_pylist() == expected
    assert len(expected) < bench.truth[table].num_rows
    assert dict(outcome.statuses[table].notes) == {VANISHED: 1}


def test_a_group_deleted_while_its_members_are_read_has_none_of_them(bench: Bench) -> None:
    outcome = bench.sync(on(f"{MEMBERS}.*skiptoken", GONE), accept_shrink={"group_members"})
    bench.check(outcome, differs=["group_members"])
    expected = [row for row in member_rows(bench) if row["group_id"] != CROWD]
    assert outcome.rows("group_members").to_pylist() == expected
    assert dict(outcome.statuses["group_members"].notes) == {VANISHED: 1}
