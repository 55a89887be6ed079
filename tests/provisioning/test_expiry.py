"""What was granted for a time ends: what we added goes, what was there before stays."""

from datetime import timedelta

from entra_pipeline.provisioning.policy import Policy
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.sweeping import NOTHING, Swept
from entra_pipeline.provisioning.values import Grant, GroupAccess, Request, Revoke, Source
from tests.provisioning.making import grant
from tests.provisioning.stage import Stage
from tests.provisioning.tenant import Tenant


def hour(stage: Stage, user: str, access: GroupAccess) -> Request:
    """Access for an hour from now."""
    return grant(
        body=Grant(principal_id=user, access=access),
        expires_at=stage.clock() + timedelta(hours=1),
    )


def test_what_was_granted_for_an_hour_is_gone_after_it_and_not_before(
    stage: Stage, tenant: Tenant
) -> None:
    group = next(tenant.plain())
    user = tenant.stranger(group)
    request = hour(stage, user, GroupAccess(group_id=group))
    (granted,) = stage.done(request)
    assert request.expires_at is not None
    stage.clock.now = request.expires_at - timedelta(seconds=1)
    assert stage.sweep() == Swept((), (), ())
    stage.clock.now = request.expires_at
    swept = stage.sweep()
    (ending,) = swept.approved
    assert stage.ledger.request(granted.id).ended_by == ending
    assert stage.sweep().approved == ()
    stage.run([ending])
    assert stage.effects() == [
        ("add_group_member", group, user),
        ("remove_group_member", group, user),
    ]
    ended = stage.ledger.request(ending)
    assert (ended.state, ended.request.source) == (RequestState.DONE, Source.EXPIRY)


def test_what_was_held_before_stays_when_the_grant_ends(stage: Stage, tenant: Tenant) -> None:
    group, user = next(
        (group, user)
        for group in tenant.plain()
        for user in tenant.members.get(group, ())
        if user in tenant.users
    )
    request = hour(stage, user, GroupAccess(group_id=group))
    (filed,) = stage.ledger.file([request])
    plan = stage.plan([filed])
    assert "it stays when this ends" in getattr(plan, "warnings", ())[0]
    stage.done(request.model_copy(update={"idempotency_key": "once-more-please"}))
    stage.clock.advance(hours=2)
    swept = stage.sweep()
    assert (swept.approved, len(swept.nothing)) == ((), 1)
    assert stage.ledger.request(swept.nothing[0]).ended_by == NOTHING
    assert stage.effects() == []


def test_an_end_comes_before_any_grant_after_an_outage(stage: Stage, tenant: Tenant) -> None:
    first, second = list(tenant.plain())[:2]
    user = tenant.stranger(first)
    stage.done(hour(stage, user, GroupAccess(group_id=first)))
    other, access = tenant.stranger(second), GroupAccess(group_id=second)
    stage.approved(grant(body=Grant(principal_id=other, access=access)))
    stage.clock.advance(days=3)
    (ending,) = stage.sweep().approved
    assert list(stage.worker().apply(limit=1)) == [ending]
    assert stage.effects()[-1] == ("remove_group_member", first, user)
    stage.worker().apply()
    stage.done(grant(body=Revoke(principal_id=other, access=access)))


def test_an_end_that_the_directory_forbids_is_refused_shown_and_tried_again(
    stage: Stage, tenant: Tenant
) -> None:
    group, owner = next(
        (group, owners[0])
        for group in tenant.plain()
        if len(owners := tenant.owners.get(group, [])) == 1 and owners[0] in tenant.users
    )
    access = GroupAccess(group_id=group, relation="owner")
    user = next(user for user in tenant.users if user != owner)
    stage.done(hour(stage, user, access))
    stage.done(grant(body=Revoke(principal_id=owner, access=access)))
    stage.clock.advance(hours=2)
    (refused,) = stage.sweep().refused
    assert "is the last owner" in stage.ledger.request(refused).reasons[0]
    assert stage.sweep().refused == (refused,)
    stage.done(grant(body=Grant(principal_id=owner, access=access)))
    assert stage.sweep().approved == (refused,)
    stage.run([refused])
    assert stage.effects()[-1] == ("remove_group_owner", group, user)


def test_a_protected_principal_keeps_what_it_has(stage: Stage, tenant: Tenant) -> None:
    group = next(tenant.plain())
    user = tenant.stranger(group)
    stage.done(hour(stage, user, GroupAccess(group_id=group)))
    stage.clock.advance(hours=2)
    stage.policy = Policy.parse(f"version: 1\nprotected: {{principals: ['{user}']}}")
    (refused,) = stage.sweep().refused
    assert "is protected by the policy" in stage.ledger.request(refused).reasons[0]
    stage.policy = Policy()
    assert stage.sweep().approved == (refused,)
    stage.run([refused])
