"""Tenant directories: what was written comes back, and mistakes are named with their place."""

import json
from pathlib import Path

import pytest

from entra_pipeline.simulator.generate import generate
from entra_pipeline.simulator.tenant import (
    COLLECTIONS,
    RELATIONS,
    Tenant,
    TenantFileError,
    dump,
    load,
)


def write(directory: Path, name: str, document: object) -> None:
    (directory / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")


def test_a_dumped_tenant_loads_as_the_same_tenant(tmp_path: Path) -> None:
    tenant = generate(users=150, groups=60, applications=6)
    dump(tenant, tmp_path)
    assert load(tmp_path) == tenant


def test_the_order_of_objects_and_links_survives_the_files(tmp_path: Path) -> None:
    tenant = generate(users=60, groups=30, applications=3)
    dump(tenant, tmp_path)
    again = load(tmp_path)
    assert list(again.objects["users"]) == list(tenant.objects["users"])
    assert list(again.links["group_members"].items()) == list(tenant.links["group_members"].items())


def test_dumping_over_an_older_tenant_leaves_nothing_of_it(tmp_path: Path) -> None:
    dump(generate(users=60, groups=30, applications=3), tmp_path)
    empty = Tenant("11111111-1111-4111-8111-111111111111")
    empty.objects["organization"][empty.tenant_id] = {"id": empty.tenant_id}
    dump(empty, tmp_path)
    assert load(tmp_path) == empty


def test_every_collection_and_relation_has_a_file(tmp_path: Path) -> None:
    dump(generate(users=0, groups=0), tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == {*COLLECTIONS, *RELATIONS}


def test_graph_answers_and_link_lists_are_accepted(tmp_path: Path) -> None:
    write(tmp_path, "organization", {"value": [{"id": "t-1", "displayName": "T"}]})
    write(tmp_path, "users", {"@odata.context": "x", "value": [{"id": "u-1"}, {"id": "u-2"}]})
    write(tmp_path, "groups", [{"id": "g-1"}])
    write(
        tmp_path,
        "group_members",
        [
            {"groupId": "g-1", "id": "u-2"},
            {"groupId": "g-1", "id": "u-1"},
            {"groupId": "g-1", "id": "u-2"},
        ],
    )
    write(tmp_path, "managers", {"value": [{"sourceId": "u-1", "id": "u-2"}]})
    tenant = load(tmp_path)
    assert tenant.tenant_id == "t-1"
    assert tenant.links["group_members"] == {"g-1": ["u-2", "u-1"]}
    assert tenant.links["managers"] == {"u-1": ["u-2"]}
    assert tenant.kind_of("u-1") == "user"
    assert tenant.kind_of("g-1") == "group"
    assert tenant.kind_of("nobody") is None


def test_missing_files_are_empty_collections(tmp_path: Path) -> None:
    write(tmp_path, "users", [{"id": "u-1"}])
    tenant = load(tmp_path)
    assert list(tenant.objects["users"]) == ["u-1"]
    assert tenant.objects["groups"] == {}
    assert tenant.links["group_members"] == {}


def test_without_an_organization_the_tenant_has_an_id_and_a_licence(tmp_path: Path) -> None:
    write(tmp_path, "users", [{"id": "u-1"}])
    tenant = load(tmp_path)
    assert list(tenant.objects["organization"]) == [tenant.tenant_id]
    plans = tenant.objects["organization"][tenant.tenant_id]["assignedPlans"]
    assert {plan["servicePlanId"] for plan in plans} >= {"eec0eb4f-6444-4f95-aba0-50c24d67f998"}


def test_methods_of_different_users_may_share_an_id(tmp_path: Path) -> None:
    methods = [{"id": "28c1", "userId": "u-1"}, {"id": "28c1", "userId": "u-2"}]
    write(tmp_path, "authentication_methods", methods)
    assert list(load(tmp_path).objects["authentication_methods"].values()) == methods


@pytest.mark.parametrize(
    ("name", "document", "complaint"),
    [
        ("users", [{"displayName": "x"}], "object 0 has no text 'id'"),
        ("users", [{"id": "a"}, {"id": "a"}], "object 1 repeats the id a"),
        ("users", {"id": "a"}, "must be a list of objects"),
        ("users", ["a"], "item 0 is not an object"),
        ("users", {"value": [], "@odata.nextLink": "x"}, "one page of several"),
        ("organization", [{"id": "a"}, {"id": "b"}], "holds 2 organisations"),
        ("synchronization_jobs", [{"id": "a"}], "no text 'servicePrincipalId'"),
        ("authentication_methods", [{"id": "a"}], "no text 'userId'"),
        ("deleted_items", [{"id": "a"}], "no text '@odata.type'"),
        ("group_members", {"g": "u"}, "'g' must map to a list"),
        ("group_members", {"g": [1]}, "'g' must map to a list"),
        ("group_members", [{"group": "g", "id": "u"}], "link 0 needs 'groupId' or 'sourceId'"),
        ("user", [], "should it be users.json?"),
        ("group_member", {}, "should it be group_members.json?"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_place(
    tmp_path: Path, name: str, document: object, complaint: str
) -> None:
    write(tmp_path, name, document)
    with pytest.raises(TenantFileError) as error:
        load(tmp_path)
    assert complaint in str(error.value)
    assert str(tmp_path / f"{name}.json") in str(error.value)


def test_text_that_is_not_json_is_named_with_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "users.json").write_text('[\n {"id": }\n]')
    with pytest.raises(TenantFileError, match=r"users\.json: is not JSON at line 2, column 9"):
        load(tmp_path)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TenantFileError, match="nowhere: no such directory"):
        load(tmp_path / "nowhere")
