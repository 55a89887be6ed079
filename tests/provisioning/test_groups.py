"""Members and owners of groups: granted, revoked, refused, in a real exchange with the tenant."""

from typing import Any

import pytest

from entra_pipeline.provisioning.gate import GateClosedError
from entra_pipeline.provisioning.planning import Refusal
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.values import Grant, GroupAccess, Request, Revoke
from tests.provisioning.making import grant, person
from tests.provisioning.stage import Stage
from tests.provisioning.tenant import Tenant


def asked(body: Grant | Revoke, **more: Any) -> Request:
    return grant(body=body, **more)


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
