"""A plan says what a revoke does not take."""

from __future__ import annotations

from pathlib import Path

from entra_pipeline.simulator.process import Simulator
from tests.provisioning.program import ALONE, Program
from tests.provisioning.tenant import Tenant
from tests.support import sync


def test_a_revoked_membership_remains_through_a_group_in_the_group(
    written_to: Simulator, tmp_path: Path
) -> None:
    tenant, program = Tenant(written_to), Program(written_to, tmp_path)
    outer, inner = list(tenant.plain())[16:18]
    user = tenant.stranger(outer)
    access = f"group:{outer}:member"
    for who, group in ((user, outer), (user, inner), (inner, outer)):
        if who not in tenant.members.get(group, ()):
            program.approved("grant", who, f"group:{group}:member")
    program("apply")
    before = program.json("plan", program.asked("revoke", user, access))["plan"]
    assert "nothing was synced yet" in str(before["delta"]["unknown"])
    sync(written_to, program.data)
    key = program.asked("revoke", user, access)
    plan = program.json("plan", key)["plan"]
    through = {tuple(each["through"]) for each in plan["delta"]["remains"]}
    assert (f"group:{inner}:member", access) in through
    assert (access,) not in through
    assert plan["facts_as_of"]
    shown = program("plan", key).out
    assert "Remains all the same:" in shown
    (name,) = (each["displayName"] for each in written_to.truth("users") if each["id"] == user)
    assert name in shown
    assert f"through group:{inner}:member > {access}" in shown
    program.policy(f"{ALONE}limits: {{day: {{lost: 5000}}, plan: {{lost: 5000}}}}\n")
    other = program.json("plan", program.asked("revoke", inner, access))["plan"]
    assert not [each for each in other["delta"]["remains"] if len(each["through"]) == 1]
