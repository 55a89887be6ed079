"""Members and owners of groups: granted, revoked, refused, in a real exchange with the tenant."""

from collections.abc import Iterator
from typing import Any

import pytest

from entra_pipeline.provisioning.gate import GateClosedError
from entra_pipeline.provisioning.ledger import verify
from entra_pipeline.provisioning.planning import Refusal
from entra_pipeline.provisioning.states import OperationState as O
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.values import Grant, GroupAccess, Request, Revoke
from entra_pipeline.simulator.process import Simulator
from tests.provisioning.making import grant, person
from tests.provisioning.stage import Stage


class Tenant:
    """Objects of the simulated tenant, by what they are."""

    def __init__(self, simulator: Simulator) -> None:
        self.users = [user["id"] for user in simulator.truth("users")]
        self.groups = simulator.truth("groups")
        self.members: dict[str, list[str]] = simulator.truth("group_members")
        self.owners: dict[str, list[str]] = simulator.truth("group_owners")

    def group(self, **wanted: Any) -> str:
        """A group with these properties; None: without them."""
        for group in self.groups:
            if all((group.get(name) or None) == value for name, value in wanted.items()):
                found: str = group["id"]
                return found
        raise AssertionError(f"no group with {wanted}")

    def plain(self) -> Iterator[str]:
        for group in self.groups:
            if group.get("securityEnabled") and not any(
                group.get(name)
                for name in (
                    "mailEnabled",
                    "groupTypes",
                    "onPremisesSyncEnabled",
                    "isAssignableToRole",
                )
            ):
                yield group["id"]

    def stranger(self, group: str) -> str:
        """A user who is not a member of the group."""
        return next(user for user in self.users if user not in self.members.get(group, ()))


@pytest.fixture
def tenant(written_to: Simulator) -> Tenant:
    return Tenant(written_to)


def asked(body: Grant | Revoke, **more: Any) -> Request:
    return grant(body=body, **more)


def test_granted_again_granted_revoked_again_revoked(stage: Stage, tenant: Tenant) -> None:
    group = next(tenant.plain())
    user = tenant.stranger(group)
    access = GroupAccess(group_id=group)
    expected: list[tuple[str, str, str | None]] = []
    for body, state, kind in (
        (Grant, O.WRITTEN, "add_group_member"),
        (Grant, O.ALREADY, None),
        (Revoke, O.WRITTEN, "remove_group_member"),
        (Revoke, O.ALREADY, None),
        (Grant, O.WRITTEN, "add_group_member"),
        (Revoke, O.WRITTEN, "remove_group_member"),
    ):
        (filed,) = stage.approved(asked(body(principal_id=user, access=access)))
        worker = stage.worker()
        worker.apply()
        assert worker._work.steps(filed.id)[0].state is state
        stage.run([filed.id])
        assert stage.ledger.request(filed.id).state is RequestState.DONE
        if kind is not None:
            expected.append((kind, group, user))
    assert stage.effects() == expected
    assert verify(stage.ledger.database).findings == ()


def test_many_requests_of_one_batch_are_one_plan_and_few_round_trips(
    stage: Stage, tenant: Tenant
) -> None:
    groups = list(tenant.plain())[:12]
    wanted = [(group, tenant.stranger(group)) for group in groups]
    filed = stage.approved(
        *(asked(Grant(principal_id=u, access=GroupAccess(group_id=g))) for g, u in wanted)
    )
    stage.simulator.reset_stats()
    stage.worker().apply()
    assert stage.simulator.stats()["round_trips"] <= 4
    stage.run([each.id for each in filed])
    assert stage.effects() == [("add_group_member", group, user) for group, user in wanted]
    for group, user in wanted:
        stage.done(asked(Revoke(principal_id=user, access=GroupAccess(group_id=group))))


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"groupTypes": ["DynamicMembership"]}, "its rule decides who is a member"),
        ({"onPremisesSyncEnabled": True}, "mastered on premises"),
        ({"mailEnabled": True, "groupTypes": None}, "managed by Exchange"),
    ],
)
def test_groups_that_are_managed_elsewhere_are_refused_with_the_way_that_works(
    stage: Stage, tenant: Tenant, properties: dict[str, Any], said: str
) -> None:
    group = tenant.group(**properties)
    request = asked(Grant(principal_id=tenant.stranger(group), access=GroupAccess(group_id=group)))
    (filed,) = stage.ledger.file([request])
    refusal = stage.plan([filed])
    assert isinstance(refusal, Refusal)
    assert said in refusal.reasons[filed.id][0]
    assert stage.effects() == []


def test_what_changed_since_the_plan_makes_it_stale_and_nothing_is_written(
    stage: Stage, tenant: Tenant
) -> None:
    group = next(g for g in tenant.plain() if len(tenant.owners.get(g, ())) == 2)
    first, second = tenant.owners[group]
    access = GroupAccess(group_id=group, relation="owner")
    filed = stage.approved(asked(Revoke(principal_id=first, access=access)))
    other = stage.approved(asked(Revoke(principal_id=second, access=access)))
    stage.run([filed[0].id])
    stage.run([other[0].id])
    assert stage.effects() == [("remove_group_owner", group, first)]
    stale = stage.ledger.request(other[0].id)
    assert stale.state is RequestState.STALE
    assert stale.reasons == (f"the last owner of group {group} would go",)
    stage.done(asked(Grant(principal_id=first, access=access)))


def test_nothing_is_written_when_the_gate_is_closed_or_somebody_stopped_it(
    stage: Stage, tenant: Tenant
) -> None:
    group = next(tenant.plain())
    request = asked(Grant(principal_id=tenant.stranger(group), access=GroupAccess(group_id=group)))
    (filed,) = stage.approved(request)
    stage.ledger.stop(person(3), "something is wrong")
    with pytest.raises(GateClosedError, match="something is wrong"):
        stage.worker().apply()
    stage.ledger.resume(person(3))
    stop = stage.folder / "provisioning.stop"
    stop.touch()
    with pytest.raises(GateClosedError, match=r"provisioning\.stop"):
        stage.worker().apply()
    stop.unlink()
    stage.gate._enabled = False
    with pytest.raises(GateClosedError, match="ENTRA_PROVISIONING"):
        stage.worker().apply()
    assert stage.effects() == []
    assert stage.ledger.request(filed.id).state is RequestState.APPROVED
