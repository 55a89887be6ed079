"""Filters, searches, orders and counts: what Graph answers, and what it refuses."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entra_pipeline.simulator.errors import GraphError
from entra_pipeline.simulator.odata.filter import DIRECTORY, compile_filter
from tests.simulator.conftest import ADA, BOB, EVE, EVENTUAL, GUEST, STAFF, TEAM, Client

Row = dict[str, Any]
E5 = "06ebc4ee-1bb5-47dd-8120-11324bc54e06"


def _text(row: Row, name: str) -> str:
    return str(row.get(name) or "").lower()


@pytest.mark.parametrize(
    ("path", "collection", "holds"),
    [
        ("/users?$filter=accountEnabled eq false", "users", lambda r: r["accountEnabled"] is False),
        ("/users?$filter=userType eq 'Guest'", "users", lambda r: r["userType"] == "Guest"),
        (
            "/users?$filter=startswith(displayName,'A') or startswith(displayName,'b')",
            "users",
            lambda r: _text(r, "displayName")[:1] in ("a", "b"),
        ),
        (
            "/users?$filter=accountEnabled eq true and userType eq 'guest'",
            "users",
            lambda r: r["accountEnabled"] and r["userType"] == "Guest",
        ),
        (
            "/users?$filter=department in ('Finance','Legal')",
            "users",
            lambda r: r["department"] in ("Finance", "Legal"),
        ),
        (
            "/users?$filter=createdDateTime ge 2024-01-01T00:00:00Z",
            "users",
            lambda r: r["createdDateTime"] >= "2024",
        ),
        (
            f"/users?$filter=assignedLicenses/any(l:l/skuId eq {E5})",
            "users",
            lambda r: any(each["skuId"] == E5 for each in r["assignedLicenses"]),
        ),
        (
            "/groups?$filter=groupTypes/any(c:c eq 'Unified')",
            "groups",
            lambda r: "Unified" in r["groupTypes"],
        ),
        (
            "/groups?$filter=isAssignableToRole eq true",
            "groups",
            lambda r: r["isAssignableToRole"] is True,
        ),
        (
            "/groups?$filter=onPremisesSyncEnabled eq true and securityEnabled eq true",
            "groups",
            lambda r: r["onPremisesSyncEnabled"] and r["securityEnabled"],
        ),
        (
            "/servicePrincipals?$filter=servicePrincipalType eq 'ManagedIdentity'",
            "service_principals",
            lambda r: r["servicePrincipalType"] == "ManagedIdentity",
        ),
        (
            "/oauth2PermissionGrants?$filter=consentType eq 'AllPrincipals'",
            "oauth2_permission_grants",
            lambda r: r["consentType"] == "AllPrincipals",
        ),
        (
            "/roleManagement/directory/roleAssignments?$filter=directoryScopeId eq '/'",
            "role_assignments",
            lambda r: r["directoryScopeId"] == "/",
        ),
        (
            "/identity/conditionalAccess/policies?$filter=state eq 'enabled'",
            "conditional_access_policies",
            lambda r: r["state"] == "enabled",
        ),
    ],
)
def test_a_filter_keeps_what_it_says(
    generated: Client, path: str, collection: str, holds: Callable[[Row], bool]
) -> None:
    truth = generated.simulator.truth(collection)
    expected = [row["id"] for row in truth if holds(row)]
    assert 0 < len(expected) < len(truth), "the tenant must hold both sides"
    assert generated.ids(path) == expected


@pytest.mark.parametrize(
    ("clause", "holds"),
    [
        ("userType ne 'Guest'", lambda r: r["userType"] != "Guest"),
        ("not(startswith(displayName,'a'))", lambda r: not _text(r, "displayName").startswith("a")),
        ("endswith(mail,'.example')", lambda r: _text(r, "mail").endswith(".example")),
        ("proxyAddresses/$count ne 0", lambda r: len(r["proxyAddresses"]) != 0),
        (
            "NOT",
            lambda r: True,
        ),
    ],
)
def test_some_filters_need_an_advanced_query(
    generated: Client, clause: str, holds: Callable[[Row], bool]
) -> None:
    if clause == "NOT":
        clause = "not(userType eq 'Nobody')"
    truth = generated.simulator.truth("users")
    path = f"/users?$select=id&$filter={clause}"
    unsupported = (400, "Request_UnsupportedQuery")
    assert generated.refusal(path) == unsupported
    assert generated.refusal(path, EVENTUAL) == unsupported
    assert generated.refusal(f"{path}&$count=true") == unsupported
    found = generated.ids(f"{path}&$count=true&$top=50", EVENTUAL)
    assert found == [row["id"] for row in truth if holds(row)]


def test_the_header_must_be_sent_with_every_page(generated: Client) -> None:
    path = "/users?$select=id&$filter=userType ne 'Nobody'&$count=true&$top=20"
    page = generated.get(path, EVENTUAL).json()
    assert page["@odata.count"] == 150
    assert generated.refusal(page["@odata.nextLink"])[1] == "Request_UnsupportedQuery"
    second = generated.get(page["@odata.nextLink"], EVENTUAL).json()
    assert "@odata.count" not in second


@pytest.mark.parametrize(
    "path",
    [
        "/users?$filter=contains(displayName,'a')",
        "/users?$filter=length(displayName) eq 3",
        "/users?$filter=employeeOrgData eq null",
        "/users?$filter=businessPhones eq '1'",
        "/groups?$filter=groupTypes/all(c:c eq 'Unified')",
        '/users?$search="displayName:a"',
        "/users?$skip=5",
        "/users?$filter=department eq 'a'&$orderby=displayName",
        "/roleManagement/directory/roleAssignments?$filter=principalId ne 'a'",
        "/roleManagement/directory/roleAssignments?$filter=startswith(principalId,'a')",
        "/roleManagement/directory/roleAssignments?$filter=condition eq 'a'",
        "/oauth2PermissionGrants?$filter=clientId ne 'a'",
        "/organization?$filter=displayName eq 'Golden'",
        "/directory/deletedItems",
        f"/groups/{STAFF}/members?$filter=displayName eq 'Ada'",
        f"/users?$filter=id in ({','.join(repr(str(number)) for number in range(16))})",
    ],
)
def test_what_graph_cannot_query_is_refused_and_never_ignored(small: Client, path: str) -> None:
    assert small.refusal(path) == (400, "Request_UnsupportedQuery")


@pytest.mark.parametrize(
    "path",
    [
        "/users?$filter=displayName",
        "/users?$filter=displayName eq",
        "/users?$filter=(displayName eq 'a'",
        "/users?$filter=displayName eq 'a' garbage",
        "/users?$filter=nope eq 'a'",
        "/users?$filter=accountEnabled eq 'true'",
        "/users?$filter=displayName eq 5",
        "/users?$filter=createdDateTime ge '2026-01-01T00:00:00Z'",
        f"/users/{ADA}/appRoleAssignments?$filter=resourceId eq '{STAFF}'",
        "/users?$orderby=nope",
        "/users?$unknown=1",
        "/users?select=id",
        "/users?$select=id&$select=mail",
        "/users?$count=maybe",
        f"/users/{ADA}?$filter=displayName eq 'Ada'",
    ],
)
def test_a_query_that_cannot_be_read_is_a_bad_request(small: Client, path: str) -> None:
    assert small.refusal(path)[0] == 400


def test_text_is_compared_without_case_and_quotes_are_doubled(small: Client) -> None:
    assert small.ids("/users?$filter=displayName eq 'BOB O''HARA'") == [BOB]
    assert small.ids("/users?$filter=startswith(displayName,'bob o''h')") == [BOB]


def test_times_compare_as_moments_whatever_their_digits(small: Client) -> None:
    later = "/users?$filter=createdDateTime gt 2026-01-01T00:00:00Z"
    assert small.ids(later) == [BOB]
    assert BOB in small.ids("/users?$filter=createdDateTime ge 2026-01-01T00:00:00.500Z")
    assert small.ids("/users?$filter=createdDateTime le 2026-01-01T00:00:00.0000000Z") == [
        ADA,
        EVE,
        GUEST,
    ]


def test_sign_in_activity_filters_alone(small: Client) -> None:
    clause = "signInActivity/lastSignInDateTime le 2026-03-01T00:00:00Z"
    assert small.ids(f"/users?$filter={clause}") == [ADA, BOB, EVE, GUEST]
    assert small.refusal(f"/users?$filter={clause} and accountEnabled eq true")[1] == (
        "Request_UnsupportedQuery"
    )


def test_groups_eligibilities_are_listed_by_group_or_principal_only(small: Client) -> None:
    path = "/identityGovernance/privilegedAccess/group/eligibilityScheduleInstances"
    assert small.refusal(path)[0] == 400
    assert small.ids(f"{path}?$filter=groupId eq '{STAFF}'") == ["ge-1"]
    assert small.ids(f"{path}?$filter=principalId eq '{BOB}'") == ["ge-1"]
    assert small.ids(f"{path}?$filter=groupId eq '{TEAM}'") == []


def test_search_finds_words_by_their_beginning(small: Client) -> None:
    found = small.ids('/users?$search="displayName:oh"', EVENTUAL)
    assert found == []
    assert small.ids('/users?$search="displayName:hara"', EVENTUAL) == [BOB]
    both = '/users?$search="displayName:ada" OR "mail:eve"&$count=true'
    assert small.ids(both, EVENTUAL) == [ADA, EVE]


def test_orders_are_kept_over_pages(generated: Client) -> None:
    truth = generated.simulator.truth("users")
    names = sorted(_text(row, "displayName") for row in truth)
    rows = generated.rows("/users?$select=displayName&$orderby=displayName&$top=40")
    assert [_text(row, "displayName") for row in rows] == names
    rows = generated.rows("/users?$select=displayName&$orderby=displayName desc&$top=40")
    assert [_text(row, "displayName") for row in rows] == names[::-1]


def test_counts_need_the_header(small: Client) -> None:
    assert small.refusal("/users/$count") == (400, "Request_BadRequest")
    answer = small.get("/users/$count", EVENTUAL)
    assert answer.text == "4"
    assert answer.headers["content-type"].startswith("text/plain")
    assert "@odata.count" not in small.get("/users?$count=true").json()
    assert small.get("/users?$count=true", EVENTUAL).json()["@odata.count"] == 4
    assert small.get(f"/groups/{STAFF}/members/$count", EVENTUAL).text == "3"
    path = f"/groups/{STAFF}/members/microsoft.graph.user/$count"
    assert small.get(path, EVENTUAL).text == "1"
    filtered = "/users/$count?$filter=accountEnabled eq false"
    assert small.get(filtered, EVENTUAL).text == "1"


_NAMES = st.sampled_from(["displayName", "department", "jobTitle"])
_VALUES = st.sampled_from(["a", "b", "it's", ""])
_ROWS = st.fixed_dictionaries(
    {name: st.none() | _VALUES for name in ("displayName", "department", "jobTitle")}
)


def _clause(name: str, operator: str, value: str) -> tuple[str, Callable[[Row], bool]]:
    quoted = "'" + value.replace("'", "''") + "'"
    text = f"{name} {operator} {quoted}"
    if operator == "eq":
        return text, lambda row: row[name] == value
    return text, lambda row: row[name] != value


_EXPRESSIONS = st.recursive(
    st.builds(_clause, _NAMES, st.sampled_from(["eq", "ne"]), _VALUES),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(
            lambda pair: (
                f"({pair[0][0]}) and ({pair[1][0]})",
                lambda row: pair[0][1](row) and pair[1][1](row),
            )
        ),
        st.tuples(inner, inner).map(
            lambda pair: (
                f"{pair[0][0]} or {pair[1][0]}",
                lambda row: pair[0][1](row) or pair[1][1](row),
            )
        ),
        inner.map(lambda each: (f"not({each[0]})", lambda row: not each[1](row))),
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(expression=_EXPRESSIONS, rows=st.lists(_ROWS, max_size=8))
def test_any_combination_means_what_its_parts_mean(
    expression: tuple[str, Callable[[Row], bool]], rows: list[Row]
) -> None:
    text, holds = expression
    compiled = compile_filter(text, "user", DIRECTORY, frozenset())
    for row in rows:
        assert compiled.matches(row) == bool(holds(row))
        for name, value in compiled.equalities.items():
            assert not compiled.matches(row) or row[name] == value


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="eq ne() and'not displayName/any:,2026-1$", max_size=40))
def test_garbage_is_refused_not_crashed_on(text: str) -> None:
    status = 400
    try:
        compile_filter(text, "user", DIRECTORY, frozenset())
    except GraphError as error:
        status = error.status
    assert status == 400
