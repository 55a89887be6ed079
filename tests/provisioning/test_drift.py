"""Every change of a direct grant is put down to what made it, and what came back is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from entra_pipeline.lake import Lake
from entra_pipeline.simulator.process import Simulator, running
from entra_pipeline.tables import LEDGER
from tests.provisioning.program import Program
from tests.provisioning.tenant import Tenant


@pytest.fixture(scope="module")
def drifting() -> Iterator[Simulator]:
    with running(users=60, groups=60, seed=23, writer=True, license="p2") as simulator:
        yield simulator


@pytest.fixture
def program(drifting: Simulator, tmp_path: Path) -> Program:
    made = Program(drifting, tmp_path)
    # Audits count as whole up to the moment that they are read.
    made.env["ENTRA_ACTIVITY_OVERLAP_MINUTES"] = "0"
    return made


@pytest.fixture
def tenant(drifting: Simulator) -> Tenant:
    return Tenant(drifting)


def changes(program: Program) -> dict[tuple[str, str, str], dict[str, Any]]:
    """What is kept, by whose access to what, and whether it appeared."""
    rows = Lake(program.data / "lake", LEDGER).read("grant_changes").to_pylist()
    found = {
        (row["principal_id"], row["entitlement_id"], row["change"], row["source_table"]): row
        for row in rows
    }
    assert len(found) == len(rows)
    return {
        key[:3]: row
        for key, row in found.items()
        if not key[3].startswith(("role_assignment_sch", "group_assignment_sch"))
    }


def test_each_way_of_changing_access_has_its_cause(
    program: Program, tenant: Tenant, drifting: Simulator
) -> None:
    plain = list(tenant.plain())
    by_hand, by_robot, by_ledger, returned = plain[:4]
    dynamic = next(g["id"] for g in tenant.groups if "DynamicMembership" in (g["groupTypes"] or ()))
    synced = tenant.group(onPremisesSyncEnabled=True)
    admin, robot = tenant.users[0], tenant.service_principals[0]
    role = next(
        each["id"]
        for each in drifting.truth("role_definitions")
        if each["displayName"] == "Reports Reader"
    )
    program.env["ENTRA_KNOWN_AUTOMATION"] = robot["appId"]
    checkpoints = program.folder / "checkpoints"
    key = Ed25519PrivateKey.generate()
    (program.folder / "audit.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    program.env["ENTRA_CHECKPOINT_DIR"] = str(checkpoints)
    program.env["ENTRA_CHECKPOINT_KEY_FILE"] = str(program.folder / "audit.pem")

    gone = tenant.stranger(returned)
    drifting.change("link", "group_members", returned, gone)
    program("sync")
    assert changes(program) == {}

    # What the ledger does, and among it a revocation that somebody undoes later.
    given = tenant.stranger(by_ledger)
    program.approved("grant", given, f"group:{by_ledger}:member")
    revoked = program.approved("revoke", gone, f"group:{returned}:member")
    program("apply", "--wait")

    pim = {
        "principalId": admin,
        "roleDefinitionId": role,
        "directoryScopeId": "/",
    }
    instance = {
        **pim,
        "id": "pim-instance",
        "assignmentType": "Activated",
        "memberType": "Direct",
        "startDateTime": "2026-11-01T08:00:00Z",
        "endDateTime": "2036-11-01T08:00:00Z",
    }
    drifting.change("put", "role_assignments", object={**pim, "id": "pim-role"})
    drifting.change("put", "role_assignment_schedule_instances", object=instance)
    stranger = {group: tenant.stranger(group) for group in (by_hand, by_robot, dynamic, synced)}
    for group, by in (
        (by_hand, {"user": admin}),
        (by_robot, {"app": robot["id"]}),
        (dynamic, {"user": admin}),
        (synced, {"user": admin}),
    ):
        drifting.change("link", "group_members", group, stranger[group], by=by)
    program("activity", "--only", "directory_audits")
    program("sync")

    found = changes(program)
    causes = {key: row["cause"] for key, row in found.items()}
    expected = {
        (given, f"group:{by_ledger}:member", "appeared"): "ledger",
        (gone, f"group:{returned}:member", "gone"): "ledger",
        (admin, f"role:{role}@/", "appeared"): "pim",
        (stranger[dynamic], f"group:{dynamic}:member", "appeared"): "dynamic_rule",
        (stranger[synced], f"group:{synced}:member", "appeared"): "directory_sync",
        (stranger[by_robot], f"group:{by_robot}:member", "appeared"): "automation",
        (stranger[by_hand], f"group:{by_hand}:member", "appeared"): "out_of_band",
    }
    assert causes == expected
    hand = found[stranger[by_hand], f"group:{by_hand}:member", "appeared"]
    assert (hand["actor_kind"], hand["actor_id"]) == ("user", admin)
    assert found[gone, f"group:{returned}:member", "gone"]["request_id"] == revoked

    # Back again, by the robot: known automation, and all the same what was revoked is there.
    drifting.change("link", "group_members", returned, gone, by={"app": robot["id"]})
    program("activity", "--only", "directory_audits")
    program("sync")
    back = changes(program)[gone, f"group:{returned}:member", "appeared"]
    assert (back["cause"], back["actor_id"]) == ("automation", robot["id"])
    assert back["reverts"] == revoked

    told = program.json("drift")
    assert [row["id"] for row in told["drift"]] == [back["id"], hand["id"]]
    shown = program("drift")
    assert "known automation" in shown.out
    assert "by hand" in shown.out
    assert program.json("query", "SELECT count(*) FROM grant_changes")["rows"] == [[8 + 1]]

    # Repairing is a request like any other, and the same one when asked for twice.
    filed = program.json("request", "from-drift", back["id"][:-4])["requests"][0]
    assert filed == {"id": filed["id"], "kind": "revoke", "state": "filed"}
    assert program.json("request", "from-drift", back["id"])["requests"][0]["id"] == filed["id"]
    assert program.effects()[2:] == []
    program("approve", filed["id"], "--plan", program.planned(filed["id"]))
    program("apply", "--wait")
    program("sync")
    assert [row["id"] for row in program.json("drift")["drift"]] == [hand["id"]]
    assert back["id"] in {row["id"] for row in program.json("drift", "--all")["drift"]}
    refused = program("request", "from-drift", back["id"], code=2)
    assert "not so any more" in refused.err
    program("verify")
    # Each sync that found the audit longer has kept where it ended.
    kept = sorted(checkpoints.iterdir())
    assert len(kept) >= 2
    program("verify-audit", "--checkpoint", str(kept[-1]))
