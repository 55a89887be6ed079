"""What stops a plan before its first write: each guard with something that it has to stop.

Guards that have tests of their own elsewhere: the write gate and the kill switch (`test_groups`),
conflicts and limits (`test_effects`), separation of people (`test_deciding`).
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.provisioning import Plan, Provisioning, os_user
from entra_pipeline.provisioning.drafts.roles import GLOBAL_ADMINISTRATOR
from entra_pipeline.provisioning.ledger import Ledger
from entra_pipeline.provisioning.planning import Refusal
from entra_pipeline.provisioning.service import NotApprovedError
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.values import (
    DeleteUser,
    DisableUser,
    GroupAccess,
    Revoke,
    RoleAccess,
)
from entra_pipeline.simulator.process import Simulator, running
from tests.provisioning.clock import Clock
from tests.provisioning.making import grant
from tests.provisioning.people import administrators
from tests.provisioning.program import ALONE, Program
from tests.provisioning.stage import staged
from tests.provisioning.tenant import Tenant
from tests.support import sync

SYNCHRONIZING = "d29b2b05-8046-44ba-8758-1e26182fcf32"


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running(users=60, groups=40, seed=37, writer=True) as found:
        yield found


@pytest.fixture
def program(simulator: Simulator, tmp_path: Path) -> Program:
    return Program(simulator, tmp_path)


@pytest.fixture
def tenant(simulator: Simulator) -> Tenant:
    return Tenant(simulator)


def by_somebody(simulator: Simulator, method: str, path: str, body: Any) -> None:
    """A change that is not ours."""
    token = simulator.token(writer=True)
    request = urllib.request.Request(
        f"{simulator.info.http_graph_url}/v1.0{path}",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        method=method,
    )
    urllib.request.urlopen(request, timeout=30).close()


def refused(program: Program, *arguments: str) -> str:
    found = program.json("plan", program.asked(*arguments), code=1)["refused"]
    (said,) = (reason for each in found for reason in each["reasons"])
    return str(said)


def test_our_own_applications_and_their_owners_are_left_alone(
    program: Program, tenant: Tenant
) -> None:
    owners = program.simulator.truth("application_owners")
    app, owner = next((a, u) for a, (u, *_) in owners.items() if u in set(tenant.users))
    (app_id,) = (a["appId"] for a in program.simulator.truth("applications") if a["id"] == app)
    (own,) = (each["id"] for each in tenant.service_principals if each["appId"] == app_id)
    group = next(each for each in tenant.plain() if owner not in tenant.members.get(each, ()))
    program.json("plan", program.asked("grant", owner, f"group:{group}:member"))
    program.env["ENTRA_SIGN_IN_CLIENT_ID"] = app_id
    ours = "is this program's own application or owns it: it does not change what it may do itself"
    for who in (own, owner):
        assert refused(program, "grant", who, f"group:{group}:member") == f"{who} {ours}"
    role = f"role:{GLOBAL_ADMINISTRATOR}@/"
    assert ours in refused(program, "grant", own, role, "--duration", "1h")
    made = ("create-group", "--display-name", "Ours", "--owner-ids", owner)
    assert refused(program, *made) == f"{owner} {ours}"


def test_accounts_that_synchronize_the_directory_are_left_alone(
    program: Program, tenant: Tenant
) -> None:
    group = next(tenant.plain())
    user = next(
        each["id"]
        for each in program.simulator.truth("users")
        if not each.get("onPremisesSyncEnabled") and each["id"] not in tenant.members.get(group, ())
    )
    program.json("plan", program.asked("grant", user, f"group:{group}:member"))
    roles = "/roleManagement/directory/roleAssignments"
    found = {each["templateId"]: each["id"] for each in program.simulator.truth("role_definitions")}
    body = {
        "principalId": user,
        "roleDefinitionId": found[SYNCHRONIZING],
        "directoryScopeId": "/",
    }
    by_somebody(program.simulator, "POST", roles, body)
    said = f"{user} synchronizes the directory: nothing here changes it"
    assert refused(program, "grant", user, f"group:{group}:member") == said
    assert refused(program, "disable-user", user) == said


def test_who_is_protected_loses_nothing_through_groups_either(
    program: Program, tenant: Tenant
) -> None:
    outer, inner, other = list(tenant.plain())[3:6]
    user = next(each for each in tenant.users if each not in tenant.members.get(outer, ()))
    for who, what in ((user, inner), (inner, outer)):
        if who not in tenant.members.get(what, ()):
            program.approved("grant", who, f"group:{what}:member")
    program("apply", "--wait")
    sync(program.simulator, program.data)
    revoke = ("revoke", inner, f"group:{outer}:member")
    program.json("plan", program.asked(*revoke))
    program.policy(f"{ALONE}protected: {{principals: ['{user}']}}\n")
    assert f"{user} is protected, and would lose access by it" in refused(program, *revoke)
    program.json("plan", program.asked("grant", inner, f"group:{other}:member"))
    made = ("create-group", "--display-name", "With them", "--member-ids", user)
    assert "is protected by the policy" in refused(program, *made)


def test_a_limit_in_percent_holds_when_a_plan_is_made_and_when_it_is_approved(
    program: Program, tenant: Tenant
) -> None:
    sync(program.simulator, program.data)
    pairs = [(who, what) for what in tenant.plain() for who in tenant.members.get(what, ())]
    people = set(tenant.users) - tenant.holders("role_assignments")
    pairs = [(who, what) for who, what in pairs if who in people]
    limits = "limits: {plan: {}, hour: {lost_percent: 0.01}, day: {}}\n"
    program.policy(f"{ALONE}{limits}")

    access = [Revoke(principal_id=who, access=GroupAccess(group_id=what)) for who, what in pairs]
    said = "would be lost within one hour, the policy's limit is 100"
    with Provisioning(program.settings()) as opened:

        def planned(some: list[Revoke]) -> tuple[str, Plan | Refusal]:
            """At least so much is lost as there are memberships."""
            (first, *_) = opened.file([grant(body=body, asked_by=os_user()) for body in some])
            return first.id, opened.plan(first.id)[1]

        # Not many more than the limit: through what each remains takes its time.
        _, refusal = planned(access[:108])
        assert isinstance(refusal, Refusal)
        assert said in str(refusal.reasons)
        lost = 0
        for key, plan in [planned(access[n : n + 27]) for n in range(0, 108, 27)]:
            assert isinstance(plan, Plan)
            lost += plan.delta.lost_count
            if lost > 100:
                break
            opened.approve(key, plan.hash, os_user(), None)
        with pytest.raises(NotApprovedError, match=f"{lost} pieces of .* {said}"):
            opened.approve(key, plan.hash, os_user(), None)


def test_there_are_always_two_global_administrators(
    simulator: Simulator, tmp_path: Path, clock: Clock
) -> None:
    def assignments() -> list[dict[str, Any]]:
        return [
            row
            for row in simulator.truth("role_assignments")
            if row["roleDefinitionId"] == GLOBAL_ADMINISTRATOR and row["directoryScopeId"] == "/"
        ]

    user = administrators(simulator)[0]

    def fewer(number: int) -> None:
        """Somebody takes the role from all but so many, the user among them."""
        for row in sorted(assignments(), key=lambda r: r["principalId"] != user)[number:]:
            path = f"/roleManagement/directory/roleAssignments/{row['id']}"
            by_somebody(simulator, "DELETE", path, None)

    fewer(3)
    role = RoleAccess(role_definition_id=GLOBAL_ADMINISTRATOR, scope="/")
    bodies = (
        DisableUser(user_id=user),
        DeleteUser(user_id=user),
        Revoke(principal_id=user, access=role),
    )
    with (
        Ledger(tmp_path / "ledger.sqlite", simulator.info.tenant_id, clock=clock) as ledger,
        staged(ledger, simulator, tmp_path, clock) as stage,
    ):
        early = [stage.approved(grant(body=body))[0] for body in bodies]
        fewer(2)
        for filed in early:
            stage.run([filed.id])
            found = ledger.request(filed.id)
            assert found.state is RequestState.STALE
            assert found.reasons == ("only 1 Global Administrators would be left",)
        for body in bodies:
            filed = ledger.file([grant(body=body)])
            refusal = stage.plan(filed)
            assert isinstance(refusal, Refusal)
            (said,) = refusal.reasons[filed[0].id]
            assert said == "only 1 Global Administrators would be left: there must be 2"
    assert {row["principalId"] for row in assignments()} >= {user}
