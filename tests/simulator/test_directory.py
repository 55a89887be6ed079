"""Soft deletion and restoring keep links true."""

from __future__ import annotations

from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.tenant import Tenant


def tenant() -> Directory:
    """Two people, who work for one another in turn, and a Microsoft 365 group."""
    made = Tenant("t")
    for user in ("boss", "worker", "other"):
        made.objects["users"][user] = {"id": user, "displayName": user}
    made.objects["groups"]["team"] = {"id": "team", "groupTypes": ["Unified"]}
    made.links["group_members"]["team"] = ["worker"]
    made.links["managers"]["worker"] = ["boss"]
    return Directory(made)


def test_a_restored_member_is_not_linked_to_a_group_purged_meanwhile() -> None:
    directory = tenant()
    directory.soft_delete("users", "worker")
    directory.remove("groups", "team")
    directory.restore("worker")
    assert directory.tenant.links["group_members"].get("team", []) == []


def test_a_link_between_two_deleted_objects_returns_with_the_last_of_them() -> None:
    directory = tenant()
    directory.soft_delete("users", "worker")
    directory.soft_delete("groups", "team")
    directory.restore("worker")
    assert directory.tenant.links["group_members"].get("team", []) == []
    directory.restore("team")
    assert directory.tenant.links["group_members"]["team"] == ["worker"]


def test_a_restored_manager_does_not_replace_the_new_one() -> None:
    directory = tenant()
    directory.soft_delete("users", "boss")
    directory.link("managers", "worker", "other")
    directory.restore("boss")
    assert directory.tenant.links["managers"]["worker"] == ["other"]
