"""The way of a request on the command line: real processes against a simulated tenant."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from entra_pipeline import provisioning
from entra_pipeline.simulator.process import Simulator
from tests.cli.program import ROOT, environment
from tests.provisioning.making import guid
from tests.provisioning.program import ALONE, Program
from tests.provisioning.tenant import Tenant


@pytest.fixture
def program(written_to: Simulator, tmp_path: Path) -> Program:
    return Program(written_to, tmp_path)


def test_from_asking_to_a_confirmed_grant_and_back(program: Program, tenant: Tenant) -> None:
    group = next(tenant.plain())
    user = tenant.stranger(group)
    key = program.asked("grant", user, f"group:{group}:member")
    shown = program("plan", key)
    assert f"+ add_group_member       {group}  {user}  tier 2" in shown.out
    assert "1 change to make, 0 so already" in shown.out
    plan = shown.out.split("Hash: ")[1].split()[0]
    assert program.effects() == []
    program("approve", key, "--plan", plan[:12], "--note", "seen the ticket")
    done = program.json("apply", "--wait")
    assert done["requests"] == [{"id": key, "state": "done"}]
    assert program.effects() == [("add_group_member", group, user)]
    told = program.json("show", key)
    assert told["request"]["state"] == "done"
    assert told["approvals"][0]["note"] == "seen the ticket"
    assert told["approvals"][0]["by"]["kind"] == "os_user"
    (operation,) = told["operations"]
    assert operation["state"] == "verified"
    assert operation["added"] is True
    assert "done" in program("show", key).out
    # The effect in the tenant bears the id that the ledger has of the attempt.
    effect = program.simulator.effects()[-1]
    assert effect["request_id"] == operation["tries"][0]["client_request_id"]
    back = program.approved("revoke", user, f"group:{group}:member")
    program("apply", "--wait")
    assert program.effects()[1:] == [("remove_group_member", group, user)]
    listed = program.json("requests", "--state", "done")["requests"]
    assert [each["id"] for each in listed] == [back, key]
    assert program.json("verify-audit")["findings"] == []


def test_with_the_write_gate_closed_everything_but_writing_goes(
    program: Program, tenant: Tenant
) -> None:
    program.env["ENTRA_PROVISIONING"] = "false"
    group = next(tenant.plain())
    key = program.approved("grant", tenant.stranger(group), f"group:{group}:member")
    refused = program.json("apply", code=2)
    assert "provisioning is off" in refused["error"]["message"]
    assert "ENTRA_PROVISIONING" in refused["error"]["remedy"]
    assert program.json("show", key)["request"]["state"] == "approved"
    assert program.effects() == []


def test_a_refused_plan_gives_every_reason_and_exits_1(program: Program, tenant: Tenant) -> None:
    dynamic = tenant.group(groupTypes=["DynamicMembership"])
    plain = next(tenant.plain())
    program.policy(f"{ALONE}protected: {{groups: [{plain}]}}\n")
    requests = [
        {
            "kind": "grant",
            "principal_id": tenant.users[0],
            "access": f"group:{group}:member",
            "reason": "both wrong",
        }
        for group in (dynamic, plain)
    ]
    (program.folder / "two.json").write_text(json.dumps({"requests": requests}))
    found = program.json("plan", "two.json", code=1)
    assert found["plan"] is None
    said = [reason for each in found["refused"] for reason in each["reasons"]]
    assert len(said) == 2
    assert "its rule decides" in said[0]
    assert "protected by the policy" in said[1]
    assert {each["state"] for each in found["requests"]} == {"refused"}
    assert "Refused" in program("plan", found["batch"], code=1).out


def test_a_file_is_one_plan_and_filed_twice_the_same_requests(
    program: Program, tenant: Tenant
) -> None:
    groups = list(tenant.plain())[3:6]
    lines = ["reason: joins the ward", "requests:"]
    for group in groups:
        lines.append(f"- {{kind: grant, principal_id: {tenant.stranger(group)}, ")
        lines.append(f"   access: 'group:{group}:member'}}")
    (program.folder / "ward.yaml").write_text("\n".join(lines))
    first = program.json("request", "file", "ward.yaml")
    assert len(first["requests"]) == 3
    again = program.json("plan", "ward.yaml")
    assert [each["id"] for each in again["requests"]] == [each["id"] for each in first["requests"]]
    assert len(again["plan"]["operations"]) == 3
    program("approve", first["batch"], "--plan", again["plan"]["hash"])
    assert program.json("apply")["requests"] == [
        {"id": each["id"], "state": "written"} for each in first["requests"]
    ]
    assert sorted(target for _, target, _ in program.effects()) == sorted(groups)
    (program.folder / "bad.yaml").write_text("requests: [{kind: grant}, {kind: grunt}]")
    said = program.json("plan", "bad.yaml", code=2)["error"]["message"]
    assert "bad.yaml: requests.0: " in said
    assert "grunt" in said


def test_by_default_approving_takes_a_sign_in_by_somebody_else(
    program: Program, tenant: Tenant
) -> None:
    program.policy("version: 1\n")
    group = list(tenant.plain())[6]
    key = program.asked("grant", tenant.stranger(group), f"group:{group}:member")
    refused = program.json("approve", key, "--plan", program.planned(key), code=1)
    assert "cannot be told" in refused["reasons"][0]
    signed = program.asked("grant", tenant.stranger(group), f"group:{group}:owner", "--sign-in")
    refused = program.json("approve", signed, "--plan", program.planned(signed), code=1)
    assert refused["reasons"] == ["you asked for it: somebody else has to approve it"]
    program.policy("version: 1\nseparate: {requester: false}\n")
    hash_ = program.planned(signed)
    program("approve", signed, "--plan", hash_)
    (approval,) = program.json("show", signed)["approvals"]
    assert approval["by"]["kind"] == "entra"
    assert approval["by"]["subject"] in tenant.users
    program("cancel", signed)
    assert program.json("show", signed)["request"]["state"] == "cancelled"


def test_an_approval_is_of_one_plan_under_one_policy(program: Program, tenant: Tenant) -> None:
    group = list(tenant.plain())[7]
    key = program.asked("grant", tenant.stranger(group), f"group:{group}:member")
    plan = program.planned(key)
    assert "no plan begins with" in program("approve", key, "--plan", "0" * 64, code=2).err
    program.policy(f"{ALONE}longest: {{ordinary: 90d}}\n")
    changed = program.json("approve", key, "--plan", plan, code=1)
    assert changed["reasons"] == ["the policy has changed since the plan was made: plan again"]
    program.policy(ALONE)
    program("approve", key, "--plan", plan)
    # Changed after the approval: nothing is written by the old one.
    program.policy(f"{ALONE}longest: {{ordinary: 90d}}\n")
    done = program.json("apply", code=3)
    assert done["problems"][0]["state"] == "stale"
    assert "policy has changed" in done["problems"][0]["reasons"][0]
    assert program.effects() == []
    assert program.json("plan", key, code=1)["refused"]


def test_the_kill_switch_stops_and_resumes_also_without_the_ledger(
    program: Program, tenant: Tenant
) -> None:
    group = list(tenant.plain())[8]
    program.approved("grant", tenant.stranger(group), f"group:{group}:member")
    stopped = program.json("stop", "--reason", "wrong group")
    assert stopped == {
        "stopped": True,
        "file": str(program.data / "provisioning.stop"),
        "ledger": True,
        "problem": None,
    }
    assert "stopped" in program("apply", code=3).err
    (program.data / "provisioning.stop").unlink()
    assert "wrong group" in program("apply", code=3).err
    program("resume")
    gone = {"ENTRA_LEDGER_URL": "postgresql://nobody@127.0.0.1:1/none"}
    stopped = program.json("stop", **gone)
    assert stopped["ledger"] is False
    assert (program.data / "provisioning.stop").exists()
    assert "cannot be opened" in program("resume", code=3, **gone).err
    assert "stopped" in program("apply", code=3).err
    assert program.effects() == []
    program("resume")
    program("apply")
    assert len(program.effects()) == 1


def test_without_a_writer_nothing_is_written_and_the_reader_is_not_used_in_its_place(
    program: Program, tenant: Tenant
) -> None:
    group = list(tenant.plain())[9]
    program.approved("grant", tenant.stranger(group), f"group:{group}:member")
    del program.env["ENTRA_WRITER_CLIENT_SECRET"]
    assert "ENTRA_WRITER_CLIENT_SECRET: missing" in program("apply", code=2).err
    assert program.effects() == []


def test_what_cannot_be_named_or_found_is_said(program: Program) -> None:
    assert (
        "not a scope"
        in program(
            "request", "grant", guid(1), f"role:{guid(2)}@/nowhere", "--reason", "abc", code=2
        ).err
    )
    assert "there is no request" in program("show", "req_nothing", code=2).err
    assert "there is no state" in program("requests", "--state", "lost", code=2).err
    assert "neither a request" in program("plan", "nothing.yaml", code=2).err


def test_asking_planning_and_approving_never_load_dagster(program: Program) -> None:
    for arguments in (("requests",), ("request", "--help"), ("verify-audit",)):
        # An interpreter of its own: one that is forked has loaded Dagster already.
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "entra_pipeline.cli", *arguments],
            env={"PYTHONPATH": str(ROOT), **environment(**program.env)},
            capture_output=True,
            text=True,
            check=True,
        )
        loaded = {
            line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()
        }
        assert "typer" in loaded
        assert not {name for name in loaded if name.startswith("dagster")}


def test_every_kind_can_be_asked_for_and_personal_fields_stay_in_the_ledger(
    program: Program, tenant: Tenant
) -> None:
    named = program("request", "--help").out
    assert {"create-account", "revoke-mfa", "set-manager"} <= set(named.split())
    reason = ("--reason", "ticket 4711")
    asked = program.json(
        *("request", "create-account", "--display-name", "Åsa Öberg", "--mail-nickname", "asa"),
        *("--user-principal-name", "asa@contoso.example", "--employee-id", "4711"),
        *("--additional-attributes", "city=Lund", "--additional-attributes", "passwordless=true"),
        *reason,
    )["requests"][0]
    assert asked["kind"] == "create_user"
    body = program.json("show", asked["id"])["request"]["document"]["body"]
    assert body["display_name"] == "Åsa Öberg"
    assert body["additional_attributes"] == {"city": "Lund", "passwordless": True}
    disabled = program.json("request", "disable-user", tenant.users[0], *reason)["requests"][0]
    assert disabled["kind"] == "disable_user"
    wrong = program.json("request", "update-user", "nobody", "--attributes", "x", *reason, code=2)
    assert "error" in wrong
    refused = program.json(
        *("request", "set-manager", tenant.users[0], "--manager", "x", "--reason", "no"), code=2
    )
    assert "reason" in refused["error"]["message"]


def test_a_ledger_in_postgres_serves_the_same_commands(
    program: Program, tenant: Tenant, postgres: str
) -> None:
    server = sa.make_url(postgres)
    engine = sa.create_engine(
        server.set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE commanded"))
    engine.dispose()
    url = server.set(drivername="postgresql", database="commanded")
    program.env["ENTRA_LEDGER_URL"] = url.render_as_string(hide_password=False)
    group = list(tenant.plain())[10]
    user = tenant.stranger(group)
    key = program.approved("grant", user, f"group:{group}:member")
    assert program.json("apply", "--wait")["requests"] == [{"id": key, "state": "done"}]
    assert program.effects() == [("add_group_member", group, user)]
    assert program.json("verify-audit")["findings"] == []
    assert not (program.data / "ledger.sqlite").exists()


def test_an_answer_that_nobody_foresaw_holds_up_its_own_request_alone(
    program: Program, tenant: Tenant
) -> None:
    groups = list(tenant.plain())[11:13]
    inside = {user for group in groups for user in tenant.members.get(group, ())}
    users = [user for user in tenant.users if user not in inside][:2]
    keys = [
        program.approved("grant", user, f"group:{group}:member")
        for user, group in zip(users, groups, strict=True)
    ]
    spoilt = {"value": [{"unheard": "of"}]}
    program.simulator.faults(
        [{"match": {"path": f"/users/{users[0]}/memberOf"}, "respond": {"body": spoilt}}]
    )
    try:
        done = program.json("apply", code=3)
        assert [rule["fired"] > 0 for rule in program.simulator.stats()["faults"]] == [True]
    finally:
        program.simulator.faults([])
    assert [each["state"] for each in done["requests"]] == ["failed", "written"]
    assert done["problems"][0]["id"] == keys[0]
    assert "not understood (KeyError)" in done["problems"][0]["reasons"][0]
    assert program.effects() == [("add_group_member", groups[1], users[1])]


def test_programs_do_the_same_with_the_same_values(program: Program, tenant: Tenant) -> None:
    group = list(tenant.plain())[13]
    user = tenant.stranger(group)
    for name in provisioning.__all__:
        assert getattr(provisioning, name).__name__ == name
    with provisioning.Provisioning(program.settings()) as opened:
        grant = provisioning.Grant(
            principal_id=user, access=provisioning.GroupAccess(group_id=group)
        )
        who = provisioning.os_user()
        request = provisioning.Request(
            body=grant, asked_by=who, reason="ticket 4711", idempotency_key="4711-anna"
        )
        (filed,) = opened.file([request])
        _, plan = opened.plan(filed.id)
        assert isinstance(plan, provisioning.Plan)
        opened.approve(filed.id, plan.hash, who, None)
        carried = opened.carry_out(wait=True, most_seconds=60)
    assert carried.requests == {filed.id: provisioning.RequestState.DONE}
    assert program.effects() == [("add_group_member", group, user)]
