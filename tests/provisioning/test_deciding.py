"""Whose approval counts, and a person's word on what could not be found out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from entra_pipeline.provisioning.actions import HANDLERS
from entra_pipeline.provisioning.approving import against_approval
from entra_pipeline.provisioning.errors import TransitionError
from entra_pipeline.provisioning.identities import LAUNCHPAD, os_user
from entra_pipeline.provisioning.ledger import Ledger, looking, schema, verify
from entra_pipeline.provisioning.ledger.confirming import Confirming
from entra_pipeline.provisioning.ledger.diverting import divert
from entra_pipeline.provisioning.ledger.resolving import Word, resolve
from entra_pipeline.provisioning.ledger.work import Outcome, Work
from entra_pipeline.provisioning.plans import Plan
from entra_pipeline.provisioning.policy import Policy
from entra_pipeline.provisioning.states import OperationState, RequestState
from entra_pipeline.provisioning.values import Identity, Tier
from tests.provisioning.clock import Clock
from tests.provisioning.making import grant, guid, person, plan_of


def judged(
    ledger: Ledger, policy: str, by: Identity, *, earlier: Identity | None = None, **request: Any
) -> list[str]:
    """What is said against an approval of a plan that takes two."""
    rules = Policy.parse(f"version: 1\n{policy}")
    filed = ledger.file([grant(**request)])
    plan = plan_of(filed, approvals=2, tier=Tier.CONTROL)
    plan = Plan(**{**dict(plan), "policy_hash": rules.hash})
    ledger.save_plan(filed[0].batch_id, plan)
    if earlier is not None:
        ledger.approve(plan.hash, earlier)
    return against_approval(rules, plan, filed, ledger.approvals(plan.hash), by)


MACHINE = os_user()
KNOWN = "os_user_approves: true\nseparate: {requester: false}"


@pytest.mark.parametrize(
    ("policy", "by", "more", "said"),
    [
        ("", person(2), {}, None),
        ("", person(1), {}, "you asked for it"),
        ("", person(2), {"asked_by": MACHINE}, "cannot be told"),
        ("", person(2), {"asked_by": LAUNCHPAD}, "cannot be told"),
        ("separate: {requester: false}", person(2), {"asked_by": LAUNCHPAD}, None),
        ("", person(2), {"for_whom": person(2).subject}, "the plan is for you"),
        ("separate: {requester: false}", MACHINE, {}, "people who are signed in"),
        (KNOWN, MACHINE, {}, None),
        (KNOWN, MACHINE, {"earlier": person(3)}, "cannot be told apart"),
        ("", person(2), {"earlier": person(3)}, None),
        (f"approvers: ['entra:{guid(903)}']", person(2), {}, "does not let"),
        (f"approvers: ['entra:{guid(902)}']", person(2), {}, None),
    ],
)
def test_who_may_approve(
    ledger: Ledger, policy: str, by: Identity, more: dict[str, Any], said: str | None
) -> None:
    reasons = judged(ledger, policy, by, **more)
    assert (reasons == []) if said is None else (said in "; ".join(reasons))


def test_nobody_approves_access_for_themselves(ledger: Ledger) -> None:
    reasons = judged(ledger, "", Identity(kind="entra", subject=guid(1), machine=None))
    assert reasons == ["the plan is for you: somebody else has to approve it"]


def ambiguous(ledger: Ledger) -> str:
    """A request whose write was lost and cannot be found."""
    filed = ledger.file([grant()])
    plan = plan_of(filed)
    ledger.save_plan(filed[0].batch_id, plan)
    ledger.approve(plan.hash, person(2))
    work = Work(ledger, "worker")
    (claim,) = work.claim(10)
    attempts = work.begin(claim.steps)
    lost = Outcome(OperationState.AMBIGUOUS, "no answer")
    work.end({step.id: lost for step in claim.steps}, attempts)
    work.settle(filed[0].id, RequestState.AMBIGUOUS, ["not found"])
    return filed[0].id


@pytest.mark.parametrize(
    ("word", "request_state", "operation_state"),
    [
        (Word.WRITTEN, RequestState.DONE, OperationState.WRITTEN),
        (Word.NOT_WRITTEN, RequestState.APPROVED, OperationState.RETRYABLE),
        (Word.GIVEN_UP, RequestState.FAILED, OperationState.REFUSED),
    ],
)
def test_a_person_says_what_became_of_it(
    ledger: Ledger, word: Word, request_state: RequestState, operation_state: OperationState
) -> None:
    key = ambiguous(ledger)
    assert resolve(ledger, key, word, person(4)).state is request_state
    (operation,) = looking.operations(ledger, key)
    assert operation.state is operation_state
    # Not known to be ours: the end of the grant would not take it.
    assert operation.added is False
    with pytest.raises(TransitionError, match="nothing to resolve"):
        resolve(ledger, key, word, person(4))
    assert verify(ledger.database).findings == ()
    assert len(Work(ledger, "next").claim(10)) == (word is Word.NOT_WRITTEN)


def test_a_program_has_no_word(ledger: Ledger, reopen: Callable[..., Ledger]) -> None:
    with pytest.raises(TransitionError, match="a program"):
        resolve(ledger, ambiguous(ledger), Word.WRITTEN, LAUNCHPAD)


def test_what_cannot_be_read_any_more_is_set_aside_wherever_it_stands(
    ledger: Ledger, clock: Clock
) -> None:
    end = clock.now + timedelta(hours=1)
    keys = []
    for number, state in enumerate((RequestState.WRITTEN, RequestState.DONE, None, None)):
        filed = ledger.file([grant(number, expires_at=end)])
        plan = plan_of(filed)
        ledger.save_plan(filed[0].batch_id, plan)
        ledger.approve(plan.hash, person(2))
        keys.append(filed[0].id)
        if state is not None:
            work = Work(ledger, "worker")
            (claim,) = work.claim(10)
            attempts = work.begin(claim.steps)
            written = Outcome(OperationState.WRITTEN, added=True)
            every = timedelta(seconds=5)
            outcomes = {step.id: written for step in claim.steps}
            work.end(outcomes, attempts, verify_in=every, verify_for=every)
            work.settle(filed[0].id, state)
    broken = keys[:3]
    with ledger.database.write() as connection:
        table = schema.requests
        connection.execute(table.update().where(table.c.id.in_(broken)).values(document="{}"))
    clock.advance(hours=2)
    set_aside = divert(ledger, "p" * 64, HANDLERS.keys())
    assert set(broken) <= set(set_aside)
    assert all("cannot be read" in set_aside[key] for key in broken)
    assert set_aside[keys[3]] == "its end has passed before it was given"
    confirming = Confirming(ledger)
    assert (confirming.to_verify(10), confirming.expiring(10)) == ([], [])
    assert looking.next_verification(ledger) is None
    states = [each.state.value for each in looking.listed(ledger)]
    assert states == ["stale", "malformed", "malformed", "malformed"]
