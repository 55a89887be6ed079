"""Asking by name, paging, completeness, and the shapes that programs rely on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from entra_pipeline.access.answers import Entitlement, NotFound, Principal
from entra_pipeline.access.questions import CursorError, QueryError, Warehouse, WarehouseError
from entra_pipeline.tables import Status
from tests.access.asking import entitlement, principal
from tests.access.conftest import Open
from tests.access.tenant import NOW, Tenant


def ids(found: Principal | Entitlement | NotFound) -> list[str]:
    """What a search names: one thing, or its candidates after a question mark."""
    if isinstance(found, Principal):
        return [found.id]
    if isinstance(found, Entitlement):
        return [found.entitlement_id]
    return [
        "?",
        *(c.id if isinstance(c, Principal) else c.entitlement_id for c in found.candidates),
    ]


@pytest.fixture(scope="module")
def named(opened_once: Open) -> Warehouse:
    tenant = Tenant()
    tenant.add(
        "users",
        id="u1",
        display_name="Ada Lovelace",
        user_principal_name="Ada@contoso.example",
        mail="ada@mail.example",
    )
    tenant.add(
        "users", id="u2", display_name="Ada Lovelace", user_principal_name="ada.l@contoso.example"
    )
    tenant.add("users", id="u3", display_name="u1", user_principal_name="odd@contoso.example")
    tenant.add(
        "users", id="u4", display_name="Grace Hopper", user_principal_name="ada@mail.example"
    )
    tenant.add("users", id="u5", user_principal_name="o'brien@contoso.example")
    tenant.add("groups", id="g1", display_name="Finance", mail="shared@contoso.example")
    tenant.add("groups", id="g2", display_name="finance", mail="shared@contoso.example")
    tenant.app("sp1").role("ga").add("subscribed_skus", sku_id="s1", sku_part_number="SPE_E5")
    tenant.app_role("sp1", "Finance", "u1")
    return opened_once(tenant)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("u1", ["u1"]),  # an exact id wins over u3's display name
        ("U1", ["u1"]),
        ("ADA@CONTOSO.example", ["u1"]),
        ("ada@mail.example", ["u4"]),  # a sign-in name is surer than somebody's mail
        ("client-of-sp1", ["sp1"]),
        ("app SP1", ["sp1"]),
        ("grace hopper", ["u4"]),
        ("ada lovelace", ["?", "u1", "u2"]),
        ("shared@contoso.example", ["?", "g1", "g2"]),
        ("Finance", ["?", "g1", "g2"]),
        ("hopper", ["?", "u4"]),
        ("Grace Hoper", ["?", "u4"]),
        ("o'brien@contoso.example", ["u5"]),
        ("' OR 1=1 --", ["?"]),
        ("100%", ["?"]),
        ("", ["?"]),
    ],
)
def test_principals_are_found_by_any_of_their_names(
    named: Warehouse, text: str, expected: list[str]
) -> None:
    assert ids(named.find_principal(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("group:g1:member", ["group:g1:member"]),
        ("GROUP:G1:Member", ["group:g1:member"]),
        ("role ga", ["role:ga@/"]),
        ("spe_e5", ["license:s1"]),
        ("finance: owner", ["?", "group:g1:owner", "group:g2:owner"]),
        (
            "finance",
            ["?", "group:g1:member", "group:g1:owner", "group:g2:member", "group:g2:owner"],
        ),
        ("app sp1: may finance", ["app:sp1:Finance"]),
        ("may finance", ["?", "app:sp1:Finance"]),
        ("group:nowhere:member", ["?"]),
    ],
)
def test_entitlements_are_found_by_id_and_by_the_name_shown(
    named: Warehouse, text: str, expected: list[str]
) -> None:
    assert ids(named.find_entitlement(text)) == expected


def test_what_is_not_found_says_so_with_candidates(named: Warehouse) -> None:
    found = named.find_principal("hopper")
    assert isinstance(found, NotFound)
    assert found.to_json()["error"] == "there is no principal 'hopper'; did you mean one of these?"
    assert found.to_json()["complete"] is True
    ambiguous = named.find_principal("ada lovelace")
    assert isinstance(ambiguous, NotFound)
    assert ambiguous.ambiguous
    assert "more than one principal" in ambiguous.message


def test_an_unknown_name_is_not_certain_while_a_table_is_missing(opened: Open) -> None:
    warehouse = opened(Tenant().unread("users", Status.FORBIDDEN, "needs User.Read.All"))
    found = warehouse.find_principal("somebody@contoso.example")
    assert isinstance(found, NotFound)
    assert found.to_json()["missing"] == [
        {"table": "users", "status": "forbidden", "reason": "needs User.Read.All"}
    ]


def test_answers_name_the_tables_that_they_lack(opened: Open) -> None:
    tenant = Tenant().users("u").groups("g").role("ga").app("app")
    tenant.unread("role_eligibility_schedule_instances", Status.UNLICENSED, "needs P2")
    tenant.unread("oauth2_permission_grants", Status.FAILED)
    warehouse = opened(tenant)

    def missing(text: str) -> list[str]:
        answer = warehouse.who_can(entitlement(warehouse, text))
        assert answer.to_json()["principals"] == []
        assert answer.to_json()["complete"] is not bool(answer.to_json()["missing"])
        return [m["table"] for m in answer.to_json()["missing"]]

    assert missing("role:ga@/") == ["role_eligibility_schedule_instances"]
    assert missing("group:g:member") == []
    user = warehouse.access(principal(warehouse, "u")).to_json()
    assert user["missing"] == [
        {
            "table": "role_eligibility_schedule_instances",
            "status": "unlicensed",
            "reason": "needs P2",
        }
    ]
    client = warehouse.access(principal(warehouse, "app")).completeness.missing
    assert [m.table for m in client] == [
        "role_eligibility_schedule_instances",
        "oauth2_permission_grants",
    ]
    explained = warehouse.explain(principal(warehouse, "u"), entitlement(warehouse, "role:ga@/"))
    assert explained.to_json()["paths"] == []
    assert explained.to_json()["complete"] is False


def test_a_table_without_any_status_was_never_read(opened: Open) -> None:
    tenant = Tenant().groups("g")
    del tenant.statuses["group_members"]
    warehouse = opened(tenant)
    answer = warehouse.who_can(entitlement(warehouse, "group:g:member"))
    assert [(m.table, m.status) for m in answer.completeness.missing] == [
        ("group_members", "never")
    ]


@pytest.fixture(scope="module")
def crowd(opened_once: Open) -> Warehouse:
    tenant = Tenant().users(*(f"u{i:02}" for i in range(23))).groups("g", "h", "i").app("sp")
    tenant.members("g", *(f"u{i:02}" for i in range(23)), "h", "gone", "sp").members("h", "u03")
    for user in range(0, 23, 4):
        tenant.eligible_member("g", f"u{user:02}")
    tenant.members("i", "g")
    for index in range(7):
        tenant.role(f"r{index}", "i")
    return opened_once(tenant)


@pytest.mark.parametrize("limit", [1, 2, 5, 100])
def test_pages_put_together_are_the_whole(crowd: Warehouse, limit: int) -> None:
    wanted = entitlement(crowd, "group:g:member")
    whole = crowd.who_can(wanted).principals
    assert len(whole) == 32
    pages, cursor = [], None
    while True:
        page = crowd.who_can(wanted, limit=limit, cursor=cursor)
        pages += page.principals
        assert len(page.principals) <= limit
        if (cursor := page.cursor) is None:
            break
    assert tuple(pages) == whole
    held = crowd.access(principal(crowd, "u04")).entitlements
    assert len(held) == 18
    rows, cursor = [], None
    while True:
        part = crowd.access(principal(crowd, "u04"), limit=limit, cursor=cursor)
        rows += part.entitlements
        if (cursor := part.cursor) is None:
            break
    assert tuple(rows) == held


def test_pages_of_what_very_many_hold_miss_nobody(opened: Open) -> None:
    # Nobody among the first 15,000, then 12,000 close together: density misleads at first.
    holders = [f"z{i:05}" for i in range(12_000)]
    tenant = Tenant().users(*(f"a{i:05}" for i in range(15_000)), *holders).groups("g", "h")
    tenant.members("g", *holders, "gone").members("h", "g", holders[7]).role("ga", "h")
    warehouse = opened(tenant)
    wanted = entitlement(warehouse, "role:ga@/")
    pages, cursor = [], None
    while True:
        page = warehouse.who_can(wanted, limit=900, cursor=cursor)
        pages += [row.principal_id for row in page.principals]
        if (cursor := page.cursor) is None:
            break
    assert pages == [*holders, "g", "h", "gone"]


def test_a_managed_identity_names_its_azure_resource(opened: Open) -> None:
    resource = "/subscriptions/1/resourceGroups/r/providers/Microsoft.Web/sites/shop"
    tenant = Tenant().add(
        "service_principals",
        id="mi",
        display_name="shop",
        service_principal_type="ManagedIdentity",
        azure_resource_id=resource,
    )
    found = principal(opened(tenant), "shop").to_json()
    assert (found["kind"], found["azure_resource_id"]) == ("managed_identity", resource)


def test_a_page_of_nothing_is_allowed_and_a_made_up_cursor_is_not(crowd: Warehouse) -> None:
    wanted = entitlement(crowd, "group:g:member")
    assert crowd.who_can(wanted, limit=0).principals == ()
    for cursor in ("nonsense", "WzEsMl0", "WyJ1MDAiLDVd"):
        with pytest.raises(CursorError, match="is not a cursor"):
            crowd.who_can(wanted, cursor=cursor)


def test_shapes_of_answers(opened: Open) -> None:
    tenant = Tenant().users("u").groups("g").members("g", "u").role("ga", "g")
    warehouse = opened(tenant)
    user, role = principal(warehouse, "u"), entitlement(warehouse, "role:ga@/")
    access = warehouse.access(user).to_json()
    assert access["principal"]["id"] == "u"
    assert access["complete"] is True
    assert access["missing"] == []
    row = access["entitlements"][1]
    assert {
        k: row[k]
        for k in (
            "entitlement_id",
            "resource",
            "name",
            "state",
            "scope",
            "direct",
            "depth",
            "paths",
        )
    } == {
        "entitlement_id": "role:ga@/",
        "resource": {"id": "ga", "kind": "role", "name": "Role ga"},
        "name": "Role ga",
        "state": "active",
        "scope": "/",
        "direct": False,
        "depth": 1,
        "paths": 1,
    }
    unknown = {
        "used": "unknown",
        "last_used": None,
        "used_30d": None,
        "used_90d": None,
        "usage_signal": "directory_changes",
    }
    assert warehouse.who_can(role).to_json()["principals"] == [
        {
            "principal_id": "u",
            "kind": "user",
            "name": "User u",
            "enabled": True,
            "state": "active",
            "direct": False,
            "depth": 1,
            "paths": 1,
            **unknown,
        },
        {
            "principal_id": "g",
            "kind": "group",
            "name": "Group g",
            "enabled": None,
            "state": "active",
            "direct": True,
            "depth": 0,
            "paths": 1,
            **unknown,
        },
    ]
    explained = warehouse.explain(user, role).to_json()
    node_u, node_g, node_r = (
        {"id": "u", "kind": "user", "name": "User u"},
        {"id": "g", "kind": "group", "name": "Group g"},
        {"id": "ga", "kind": "role", "name": "Role ga"},
    )
    assert explained["truncated"] is False
    assert explained["paths"] == [
        [
            {
                "from": node_u,
                "to": node_g,
                "via": "group:g:member",
                "kind": "membership",
                "state": "active",
            },
            {
                "from": node_g,
                "to": node_r,
                "via": "role:ga@/",
                "kind": "directory_role",
                "state": "active",
            },
        ]
    ]
    status = warehouse.status().to_json()
    assert status["sync"]["started"] == "2026-11-01T12:00:00Z"
    assert {
        "table": "users",
        "status": "complete",
        "rows": None,
        "as_of": "2026-11-01T12:00:00Z",
        "reason": None,
    } in status["tables"]


def test_queries_read_and_nothing_else(crowd: Warehouse, tmp_path: Path) -> None:
    answer = crowd.query(
        "SELECT TIMESTAMPTZ '2026-01-02 03:04:05+01' AS t, [1, 2] AS l, {'a': NULL} AS s,"
        " 1.5::DECIMAL(4, 2) AS d"
    ).to_json()
    assert answer["columns"] == ["t", "l", "s", "d"]
    assert answer["rows"] == [["2026-01-02T02:04:05Z", [1, 2], {"a": None}, "1.50"]]
    for refused in (
        "CREATE TABLE t (a INTEGER)",
        "DELETE FROM users",
        "UPDATE users SET display_name = ''",
        f"COPY users TO '{tmp_path / 'out.csv'}'",
        "SELECT * FROM read_csv('/etc/hostname')",
        "SET enable_external_access = true",
        "SELEC 1",
    ):
        with pytest.raises(QueryError):
            crowd.query(refused)
    assert list(tmp_path.glob("*.csv")) == []


def test_explanations_are_bounded_and_say_so(opened: Open) -> None:
    # A ladder of twelve rungs: 4096 paths.
    tenant = (
        Tenant()
        .users("u")
        .groups(*(f"g{i}{side}" for i in range(13) for side in "ab"))
        .groups("top")
    )
    tenant.members("g0a", "u").members("top", "g12a", "g12b")
    for i in range(12):
        for side in "ab":
            tenant.members(f"g{i + 1}{side}", f"g{i}a", f"g{i}b")
    warehouse = opened(tenant)
    user, top = principal(warehouse, "u"), entitlement(warehouse, "group:top:member")
    answer = warehouse.explain(user, top)
    assert answer.truncated
    assert len(answer.paths) == 1000
    assert len({tuple(step.source.id for step in path) for path in answer.paths}) == 1000
    (row,) = [r for r in warehouse.access(user).entitlements if r.resource.id == "top"]
    assert row.paths == 4096
    short = warehouse.explain(user, entitlement(warehouse, "group:g3a:member"), limit=3)
    assert (len(short.paths), short.truncated) == (3, True)
    exact = warehouse.explain(user, entitlement(warehouse, "group:g3a:member"))
    assert (len(exact.paths), exact.truncated) == (4, False)


def test_opening_nothing_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="run `entra-pipeline sync` first"):
        Warehouse.open(tmp_path / "warehouse.duckdb")
    (tmp_path / "text.duckdb").write_text("no database, though long enough to look like one" * 100)
    with pytest.raises(WarehouseError, match="cannot open the warehouse"):
        Warehouse.open(tmp_path / "text.duckdb")


def test_the_question_path_imports_nothing_heavy() -> None:
    code = (
        "import sys, entra_pipeline.access.questions;"
        "print([m for m in ('pyarrow', 'pandas', 'numpy', 'dagster') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_descriptions_travel_with_the_warehouse(tmp_path: Path) -> None:
    with Warehouse.open(Tenant().build(tmp_path / "w.duckdb", described=True)) as warehouse:
        ((column,),) = warehouse.query(
            "SELECT comment FROM duckdb_columns()"
            " WHERE table_name = 'groups' AND column_name = 'is_assignable_to_role'"
        ).rows
        ((view,),) = warehouse.query(
            "SELECT comment FROM duckdb_views() WHERE view_name = 'grants'"
        ).rows
    assert "directory roles" in column
    assert "Direct holds" in view


def test_every_declared_relation_is_there_with_its_columns(crowd: Warehouse) -> None:
    from entra_pipeline import tables

    for table in tables.TABLES.values():
        if table.group in ("directory", "access", "bookkeeping"):
            columns = crowd.query(f'SELECT * FROM "{table.name}" LIMIT 0').columns
            assert list(columns) == [column.name for column in table.columns], table.name


def test_times_are_utc(crowd: Warehouse) -> None:
    (row,) = crowd.query("SELECT as_of FROM table_status WHERE \"table\" = 'users'").rows
    assert row[0] == NOW
