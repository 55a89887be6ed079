"""The registry: what is declared, and that Microsoft's published types agree with it."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as pj
import pytest

import entra_pipeline
from entra_pipeline.tables import DECLARED, EVENTS, TABLES, Reference, Table, get
from entra_pipeline.tables.model import BOOL, TEXT, TIME, camel, column, computed, raw_type

ROOT = Path(entra_pipeline.__file__).parent.parent
PREFIX = "microsoft.graph."
PRIMITIVES = {
    "Edm.String": pa.string(),
    "Edm.Guid": pa.string(),
    "Edm.Duration": pa.string(),
    "Edm.Binary": pa.string(),
    "Edm.Boolean": pa.bool_(),
    "Edm.Int32": pa.int32(),
    "Edm.Int64": pa.int64(),
    "Edm.DateTimeOffset": TIME,
}
DIRECTORY = [
    "organization",
    "domains",
    "users",
    "user_sign_in_activity",
    "user_registration_details",
    "groups",
    "group_members",
    "group_owners",
    "role_definitions",
    "role_assignments",
    "role_assignment_schedule_instances",
    "role_eligibility_schedule_instances",
    "group_eligibility_schedule_instances",
    "group_assignment_schedule_instances",
    "administrative_units",
    "administrative_unit_members",
    "applications",
    "application_owners",
    "service_principals",
    "service_principal_owners",
    "app_roles",
    "delegated_permissions",
    "app_role_assignments",
    "oauth2_permission_grants",
    "credentials",
    "subscribed_skus",
    "license_assignments",
    "devices",
    "device_owners",
    "synchronization_jobs",
    "conditional_access_policies",
    "contacts",
    "deleted_items",
]


@cache
def published() -> dict[str, Any]:
    """Microsoft's published types, from the copy that the simulator carries."""
    file = ROOT / "entra_pipeline" / "simulator" / "graph_types.json"
    return json.loads(file.read_text())


def property_of(entity: str, name: str) -> tuple[str, bool] | None:
    """Type and whether it is a collection, of a property or relationship of a type.

    Looks in the type, those that it derives from, and those that derive from it: a collection of
    directory objects sends the properties of users, groups and so on.
    """
    types = published()["types"]
    above = entity
    while above:
        declared = types[above]
        for kind in ("props", "nav"):
            if name in declared[kind]:
                return declared[kind][name][0], bool(declared[kind][name][1])
        above = declared.get("base")
    below = [entity]
    while below:
        parent = below.pop()
        if name in types[parent]["props"]:
            return types[parent]["props"][name][0], bool(types[parent]["props"][name][1])
        below += [child for child, declared in types.items() if declared.get("base") == parent]
    return None


def disagreements(where: str, kind: pa.DataType, edm: str, collection: bool) -> list[str]:
    """What of a declared type differs from the published one."""
    if collection != isinstance(kind, pa.ListType):
        return [f"{where}: collection is {collection}, declared {kind}"]
    if isinstance(kind, pa.ListType):
        return disagreements(f"{where}[]", kind.value_type, edm, False)
    if edm in published()["enums"]:
        edm = "Edm.String"
    if edm in PRIMITIVES:
        return [] if PRIMITIVES[edm] == kind else [f"{where}: {edm}, declared {kind}"]
    if not isinstance(kind, pa.StructType):
        return [f"{where}: {edm}, declared {kind}"]
    found = []
    for field in (kind.field(index) for index in range(kind.num_fields)):
        inner = property_of(edm, camel(field.name))
        if inner is None:
            found.append(f"{where}: {edm} has no {camel(field.name)}")
        else:
            found += disagreements(f"{where}.{field.name}", field.type, *inner)
    return found


def test_every_directory_table_of_the_data_model_is_declared() -> None:
    declared = {name for name, table in TABLES.items() if table.group == "directory"}
    assert declared == set(DIRECTORY)


@pytest.mark.parametrize("table", [t for t in DECLARED.values() if t.entity], ids=lambda t: t.name)
def test_graph_paths_and_types_are_those_that_microsoft_publishes(table: Table) -> None:
    wrong = []
    for declared in table.columns:
        if declared.graph is None:
            continue
        entity, collection = PREFIX + table.entity, False
        for part in declared.graph.split("."):
            found = property_of(entity, part)
            if found is None:
                wrong.append(f"{declared.name}: {entity} has no {part}")
                break
            entity, collection = found
        else:
            wrong += disagreements(declared.name, declared.type, entity, collection)
    assert wrong == []


@pytest.mark.parametrize("table", [t for t in TABLES.values() if t.parent], ids=lambda t: t.name)
def test_nested_rows_sit_in_a_published_property_of_their_parent(table: Table) -> None:
    parent = get(table.parent)
    for name in table.within:
        assert property_of(PREFIX + parent.entity, name) is not None, name


def test_select_names_properties_and_never_relationships() -> None:
    types = published()["types"]
    for table in DECLARED.values():
        if table.entity:
            entity = PREFIX + table.entity
            relationships: set[str] = set()
            while entity:
                relationships |= set(types[entity]["nav"])
                entity = types[entity].get("base")
            assert relationships.isdisjoint(table.select()), table.name


def test_users_select_what_graph_leaves_out_unless_asked() -> None:
    assert {"accountEnabled", "userType", "employeeOrgData", "onPremisesSyncEnabled"} <= set(
        get("users").select()
    )
    assert "manager" not in get("users").select()
    assert "signInActivity" not in get("users").select()  # would cap pages at 500, ten a minute


def test_raw_schema_reads_graphs_json_nested_where_paths_are() -> None:
    body = json.dumps(
        {
            "id": "u1",
            "createdDateTime": "2024-01-31T10:11:12.1234567Z",
            "manager": {"@odata.type": "#microsoft.graph.user", "id": "u2"},
            "employeeOrgData": {"costCenter": "C1", "division": None},
        }
    ).encode()
    rows = pj.read_json(
        pa.BufferReader(body),
        parse_options=pj.ParseOptions(
            explicit_schema=get("users").raw_schema(), unexpected_field_behavior="ignore"
        ),
    )
    assert rows.schema == get("users").raw_schema()
    user = rows.to_pylist()[0]
    assert user["manager"] == {"id": "u2"}
    assert user["employeeOrgData"] == {"costCenter": "C1", "division": None}
    assert user["createdDateTime"] == "2024-01-31T10:11:12.1234567Z"


def test_raw_schema_merges_paths_that_share_their_beginning() -> None:
    status = get("synchronization_jobs").raw_schema().field("status").type
    assert status.field("code").type == pa.string()
    assert status.field("quarantine").type.get_field_index("currentBegan") >= 0


def test_raw_types_are_in_graphs_spelling_all_the_way_down() -> None:
    kind = pa.list_(pa.struct([("sku_id", TEXT), ("changed_date_time", TIME)]))
    assert raw_type(kind) == pa.list_(pa.struct([("skuId", TEXT), ("changedDateTime", TEXT)]))


def test_references_lead_to_tables_with_a_key_of_the_same_length() -> None:
    for table in TABLES.values():
        for reference in table.references:
            assert len(get(reference.table).key) == len(reference.columns), table.name


def test_every_directory_table_says_who_may_read_it_and_where_that_is_written() -> None:
    for name in DIRECTORY:
        table = get(name)
        assert table.permissions, name
        assert table.reader, name
        assert table.path.startswith("/"), name
        assert table.source_doc.startswith("https://learn.microsoft.com/graph/api/"), name


def test_events_are_declared_apart_from_what_a_sync_reads() -> None:
    assert set(EVENTS) == {"sign_ins", "directory_audits", "provisioning_events"}
    assert EVENTS.keys().isdisjoint(TABLES)
    assert {table.group for table in EVENTS.values()} == {"activity"}
    assert "activity" not in {table.group for table in TABLES.values()}
    for table in EVENTS.values():
        assert table.column(table.time).type == TIME
        assert table.permissions
        assert table.source_doc.startswith("https://learn.microsoft.com/graph/api/")
    assert get("sign_ins", DECLARED) is EVENTS["sign_ins"]
    with pytest.raises(KeyError, match="user_sign_in_activity"):
        get("sign_in_activity")  # what a sync is asked for can only be what a sync reads


def test_descriptions_are_sentences_and_reach_the_schema() -> None:
    for table in DECLARED.values():
        assert table.doc.endswith("."), table.name
        for declared in table.columns:
            assert declared.doc.endswith("."), f"{table.name}.{declared.name}"
        for field in table.schema():
            assert field.metadata == {b"description": table.column(field.name).doc.encode()}


def test_only_key_columns_must_have_values() -> None:
    for table in DECLARED.values():
        required = {field.name for field in table.schema() if not field.nullable}
        assert required == set(table.key), table.name


def test_no_column_can_hold_a_secret() -> None:
    for table in DECLARED.values():
        for declared in table.columns:
            paths = {declared.name, declared.graph or ""}
            assert paths.isdisjoint({"key", "secret_text", "secretText", "hint"}), table.name


def test_one_permission_suffices_and_the_most_specific_is_asked_for() -> None:
    users = get("users")
    assert users.missing_permissions([]) == ("User.Read.All",)
    assert users.missing_permissions(["Mail.Read"]) == ("User.Read.All",)
    assert users.missing_permissions(["Directory.Read.All"]) == ()
    assert users.missing_permissions({"User.ReadWrite.All"}) == ()
    assert get("syncs").missing_permissions([]) == ()


def test_all_permissions_are_asked_for_where_graph_wants_them_all() -> None:
    activity = get("user_sign_in_activity")
    assert activity.missing_permissions([]) == activity.permissions
    assert activity.missing_permissions(["User.Read.All"]) == ("AuditLog.Read.All",)
    assert activity.missing_permissions(activity.permissions) == ()


def test_unknown_table_is_answered_with_what_comes_close() -> None:
    with pytest.raises(KeyError, match="group_members"):
        get("group_member")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"key": ("nothing",)}, "no column 'nothing'"),
        ({"references": (Reference(("nothing",), "users"),)}, "no column 'nothing'"),
        ({"name": "camelCase"}, "not snake_case"),
        ({"columns": (computed("id", TEXT, "Id."), computed("id", BOOL, "Id."))}, "twice"),
        ({"absent_clouds": frozenset({"moon"})}, "moon"),
        ({"time": "id"}, "'id' is no column that holds a time"),
    ],
)
def test_a_wrong_declaration_is_refused_by_name(fault: dict[str, Any], message: str) -> None:
    right: dict[str, Any] = {
        "name": "things",
        "doc": "Things.",
        "group": "directory",
        "columns": (column("id", TEXT, "Id."),),
        "key": ("id",),
    }
    assert Table(**right).schema().names == ["id"]
    with pytest.raises(ValueError, match=message):
        Table(**{**right, **fault})


def test_the_table_reference_in_docs_is_fresh() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "entra_pipeline.tables.reference"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={"PYTHONIOENCODING": "utf-8"},
    ).stdout
    assert (ROOT / "docs" / "tables.md").read_text(encoding="utf-8") == made, (
        "run: python -m entra_pipeline.tables.reference > docs/tables.md"
    )
