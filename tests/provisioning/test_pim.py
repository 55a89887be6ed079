"""Privileged Identity Management: roles and groups for a time, or the right to them."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.provisioning.ledger import Ledger
from entra_pipeline.provisioning.plans import Plan
from entra_pipeline.provisioning.states import OperationState as O
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.values import (
    Access,
    Grant,
    GroupAccess,
    Mode,
    Revoke,
    RevokeSessions,
    RoleAccess,
)
from entra_pipeline.simulator.process import Simulator, running
from tests.provisioning import people
from tests.provisioning.clock import Clock
from tests.provisioning.making import grant
from tests.provisioning.stage import Stage, staged
from tests.provisioning.tenant import Tenant
from tests.provisioning.walking import refused, walk

READER = "88d8e3e3-8f55-4a1e-953a-9b9898b8876b"  # Directory Readers
ROLE = RoleAccess(role_definition_id=READER)


@pytest.fixture(scope="module")
def pim() -> Iterator[Simulator]:
    """A tenant of these tests alone: they let its time pass."""
    with running(users=60, groups=60, seed=11, license="p2", writer=True) as simulator:
        yield simulator


@pytest.fixture
def ledger_url(tmp_path: Path) -> Path:
    """SQLite alone: nothing here is different for another ledger."""
    return tmp_path / "ledger.sqlite"


class Times:
    """The simulated tenant's time, which tests move on."""

    ahead = timedelta(0)


@pytest.fixture
def stage(ledger: Ledger, pim: Simulator, tmp_path: Path, clock: Clock) -> Iterator[Stage]:
    clock.now = datetime.now(UTC) + Times.ahead
    with staged(ledger, pim, tmp_path, clock) as opened:
        yield opened
    pim.pim(delay_s=0, minimum_age_s=0, expiration_required=False, justification_required=False)


@pytest.fixture
def tenant(pim: Simulator) -> Tenant:
    return Tenant(pim)


def hours(stage: Stage, count: float) -> dict[str, Any]:
    """An end after so many hours."""
    return {"expires_at": stage.clock() + timedelta(hours=count)}


def wait(stage: Stage, **by: float) -> None:
    """Let time pass, ours and the tenant's."""
    span = timedelta(**by)
    stage.clock.now += span
    stage.simulator.advance(span.total_seconds())
    Times.ahead += span


def nobody(stage: Stage, tenant: Tenant, place: int = 0) -> str:
    """A user without that role."""
    held = {
        row["principalId"]
        for name in (
            "role_assignments",
            "role_assignment_schedule_instances",
            "role_eligibility_schedule_instances",
        )
        for row in stage.simulator.truth(name)
    }
    return [user for user in tenant.users if user not in held][place]


Kind = Callable[[Stage, Tenant], tuple[str, Access, str]]


def role(stage: Stage, tenant: Tenant) -> tuple[str, Access, str]:
    return nobody(stage, tenant), ROLE, "role"


def member(stage: Stage, tenant: Tenant) -> tuple[str, Access, str]:
    group = next(tenant.plain())
    return tenant.stranger(group), GroupAccess(group_id=group), "group"


def owner(stage: Stage, tenant: Tenant) -> tuple[str, Access, str]:
    group = next(group for group in tenant.plain() if tenant.owners.get(group))
    user = next(user for user in tenant.users if user not in tenant.owners[group])
    return user, GroupAccess(group_id=group, relation="owner"), "group"


@pytest.mark.parametrize("kind", [role, member, owner])
@pytest.mark.parametrize("mode", [Mode.PIM_ACTIVE, Mode.PIM_ELIGIBLE])
def test_held_for_hours_given_and_taken_once_each(
    stage: Stage, tenant: Tenant, kind: Kind, mode: Mode
) -> None:
    principal, access, what = kind(stage, tenant)
    more = hours(stage, 4)
    given = Grant(principal_id=principal, access=access, mode=mode)
    taken = Revoke(principal_id=principal, access=access, mode=mode)
    walk(stage, (given, O.WRITTEN), (given, O.ALREADY), **more)
    walk(stage, (taken, O.WRITTEN), (taken, O.ALREADY))
    word = "assignment" if mode is Mode.PIM_ACTIVE else "eligibility"
    assert stage.effects() == [
        (f"assign_{what}_{word}", access.resource_id, principal),
        (f"remove_{what}_{word}", access.resource_id, principal),
    ]
    assert stage.simulator.stats()["contended_writes"] == 0


def test_what_pim_keeps_ends_without_us_and_a_later_end_is_kept(
    stage: Stage, tenant: Tenant
) -> None:
    user = nobody(stage, tenant)
    body = Grant(principal_id=user, access=ROLE, mode=Mode.PIM_ACTIVE)
    walk(stage, (body, O.WRITTEN), **hours(stage, 1))
    walk(stage, (body, O.WRITTEN), **hours(stage, 2))
    walk(stage, (body, O.ALREADY), **hours(stage, 1))
    wait(stage, minutes=90)
    assert stage.sweep().approved == ()
    assert user in tenant.holders("role_assignments", roleDefinitionId=READER)
    wait(stage, minutes=45)
    assert stage.sweep().approved == ()
    assert user not in tenant.holders("role_assignments", roleDefinitionId=READER)
    assert [kind for kind, _, _ in stage.effects()] == [
        "assign_role_assignment",
        "update_role_assignment",
    ]


def test_another_end_is_taken_back_to_the_end_of_before(stage: Stage, tenant: Tenant) -> None:
    user = nobody(stage, tenant)
    body = Grant(principal_id=user, access=ROLE, mode=Mode.PIM_ELIGIBLE)
    first = hours(stage, 1)
    walk(stage, (body, O.WRITTEN), **first)
    (filed,) = stage.ledger.file([grant(body=body, **hours(stage, 2))])
    plan = stage.plan([filed])
    assert isinstance(plan, Plan)
    inverse = plan.operations[0].inverse
    assert inverse is not None
    assert inverse.arguments["exact"] is True
    assert abs(datetime.fromisoformat(inverse.arguments["ends"]) - first["expires_at"]) < timedelta(
        seconds=1
    )


def test_a_request_that_pim_is_still_busy_with_is_waited_for(stage: Stage, tenant: Tenant) -> None:
    user = nobody(stage, tenant)
    stage.simulator.pim(delay_s=3600)
    body = Grant(principal_id=user, access=ROLE, mode=Mode.PIM_ACTIVE)
    (filed,) = stage.approved(grant(body=body, **hours(stage, 8)))
    stage.worker().apply()
    stage.clock.advance(seconds=6)
    stage.worker().verify()
    assert stage.ledger.request(filed.id).state is RequestState.WRITTEN
    assert "is PendingProvisioning" in refused(stage, body, **hours(stage, 4))
    wait(stage, hours=1.1)
    # The time it was given to show is over for the stage, whose windows are short.
    stage.worker().verify()
    assert user in tenant.holders("role_assignments", roleDefinitionId=READER)


def test_a_hold_that_is_too_young_to_be_taken_is_taken_later(stage: Stage, tenant: Tenant) -> None:
    user = nobody(stage, tenant)
    given = Grant(principal_id=user, access=ROLE, mode=Mode.PIM_ACTIVE)
    walk(stage, (given, O.WRITTEN), **hours(stage, 4))
    stage.simulator.pim(minimum_age_s=300)
    (filed,) = stage.approved(
        grant(body=Revoke(principal_id=user, access=ROLE, mode=Mode.PIM_ACTIVE))
    )
    assert stage.worker().apply() == {filed.id: RequestState.APPROVED}
    stage.clock.advance(seconds=290)
    assert stage.worker().apply() == {}
    wait(stage, minutes=6)
    assert stage.worker().apply() == {filed.id: RequestState.WRITTEN}
    assert [kind for kind, _, _ in stage.effects()][-1] == "remove_role_assignment"


def test_what_pims_settings_forbid_fails_with_the_way_that_works(
    stage: Stage, tenant: Tenant
) -> None:
    user = nobody(stage, tenant)
    stage.simulator.pim(expiration_required=True)
    body = Grant(principal_id=user, access=ROLE, mode=Mode.PIM_ACTIVE)
    (filed,) = stage.done(grant(body=body))
    assert filed.state is RequestState.FAILED
    assert "ask with an end within what they allow" in filed.reasons[0]
    assert "less than five minutes" in refused(stage, body, **hours(stage, 0.05))
    assert stage.effects() == []


def test_the_last_owner_stays_also_with_pim(stage: Stage, tenant: Tenant) -> None:
    group, user = next(
        (group, owners[0])
        for group in tenant.plain()
        if len(owners := tenant.owners.get(group, [])) == 1 and owners[0] in tenant.users
    )
    access = GroupAccess(group_id=group, relation="owner")
    body = Revoke(principal_id=user, access=access, mode=Mode.PIM_ACTIVE)
    assert "is the last owner" in refused(stage, body)


def test_a_lost_answer_of_pim_is_found_out_by_reading(stage: Stage, tenant: Tenant) -> None:
    user = nobody(stage, tenant)
    body = Grant(principal_id=user, access=ROLE, mode=Mode.PIM_ELIGIBLE)
    stage.simulator.faults(
        [{"match": {"effect": True, "nth": 1, "times": 1}, "when": "after", "reset": True}]
    )
    (filed,) = stage.approved(grant(body=body, **hours(stage, 4)))
    assert stage.worker().apply() == {filed.id: RequestState.APPROVED}
    assert stage.simulator.stats()["faults_fired"] == 1
    stage.simulator.faults([])
    stage.run([filed.id])
    assert stage.ledger.request(filed.id).state is RequestState.DONE
    assert len(stage.effects()) == 1


def test_a_tenant_without_pim_is_told_what_to_do_instead(
    ledger: Ledger, tmp_path: Path, clock: Clock
) -> None:
    with (
        running(users=20, groups=10, seed=11, license="p1", writer=True) as simulator,
        staged(ledger, simulator, tmp_path, clock) as stage,
    ):
        user = Tenant(simulator).users[0]
        for mode in (Mode.PIM_ACTIVE, Mode.PIM_ELIGIBLE):
            said = refused(stage, Grant(principal_id=user, access=ROLE, mode=mode))
            assert "ask with mode 'direct' and an end" in said
        # Who holds what is known without PIM: nothing else is held up by it.
        walk(stage, (RevokeSessions(user_id=people.somebody(simulator)), O.WRITTEN))
