"""Workers: one does a request, crashes leave nothing undecided, reads confirm."""

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
import sqlalchemy as sa

from entra_pipeline.provisioning.errors import LedgerError, TransitionError
from entra_pipeline.provisioning.ledger import Filed, Ledger, verify
from entra_pipeline.provisioning.ledger.confirming import Confirming
from entra_pipeline.provisioning.ledger.work import LEASE, LostClaimError, Outcome, Work
from entra_pipeline.provisioning.states import OperationState as O
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.values import Request, Source, Tier
from tests.provisioning.clock import START, Clock
from tests.provisioning.making import grant, person, plan_of

SECOND = timedelta(seconds=1)


def approved(
    ledger: Ledger, requests: Sequence[Request], tier: Tier = Tier.ORDINARY
) -> list[Filed]:
    filed = ledger.file(requests)
    plan = plan_of(filed, tier=tier)
    ledger.save_plan(filed[0].batch_id, plan)
    return ledger.approve(plan.hash, person(2))


def done(work: Work, count: int = 10) -> list[str]:
    """Claim and write everything that is due; the ids of the requests."""
    claims = work.claim(count)
    for claim in claims:
        attempts = work.begin(claim.steps)
        work.end(
            {step.id: Outcome(O.WRITTEN, added=True) for step in claim.steps},
            attempts,
            verify_in=SECOND,
            verify_for=10 * SECOND,
        )
        work.settle(claim.filed.id, RequestState.WRITTEN)
    return [claim.filed.id for claim in claims]


def test_only_what_is_approved_and_due_is_claimed_and_endings_first(
    ledger: Ledger, clock: Clock
) -> None:
    ledger.file([grant(1)])
    later = approved(ledger, [grant(2, not_before=START + timedelta(hours=1))])[0]
    now = approved(ledger, [grant(3)])[0]
    ending = approved(ledger, [grant(4, source=Source.EXPIRY)])[0]
    work = Work(ledger, "one")
    assert done(work) == [ending.id, now.id]
    assert done(work) == []
    clock.advance(hours=1)
    assert done(work) == [later.id]
    assert verify(ledger.database).findings == ()


def test_many_workers_at_once_never_have_the_same_request(
    ledger: Ledger, reopen: Callable[..., Ledger]
) -> None:
    approved(ledger, [grant(number, number) for number in range(60)])
    got: list[str] = []

    def run(name: str) -> None:
        with reopen() as own:
            work = Work(own, name)
            while part := done(work, 3):
                got.extend(part)

    threads = [threading.Thread(target=run, args=(f"worker-{number}",)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == len(set(got)) == 60
    assert verify(ledger.database).findings == ()


def test_two_workers_never_change_one_object_at_the_same_time(ledger: Ledger) -> None:
    approved(ledger, [grant(1, group=7), grant(2, group=8)])
    approved(ledger, [grant(3, group=7), grant(4, group=9)])
    one, two = Work(ledger, "one"), Work(ledger, "two")
    first = one.claim(2)
    assert [claim.steps[0].operation.target_id[-1] for claim in first] == ["b", "c"]
    assert [claim.filed.request.body.principal_id[-1] for claim in two.claim(9)] == ["4"]
    for claim in first:
        one.postpone(claim.filed.id, START)
    assert len(two.claim(9)) == 3


def test_changes_of_tier_0_run_one_at_a_time(ledger: Ledger) -> None:
    for number in range(3):
        approved(ledger, [grant(number, number)], Tier.CONTROL)
    approved(ledger, [grant(9, 9)])
    one, two = Work(ledger, "one"), Work(ledger, "two")
    assert [claim.filed.tier for claim in one.claim(9)] == [Tier.CONTROL, Tier.ORDINARY]
    assert two.claim(9) == []


def test_what_a_dead_worker_was_writing_is_ambiguous_and_the_rest_is_untouched(
    ledger: Ledger, clock: Clock
) -> None:
    approved(ledger, [grant(1, 1)])
    approved(ledger, [grant(2, 2)])
    dead = Work(ledger, "dead")
    first, second = dead.claim(2)
    dead.begin(first.steps)
    other = Work(ledger, "other")
    assert other.claim(9) == []
    clock.now += LEASE
    taken = {claim.filed.id: claim for claim in other.claim(9)}
    assert taken[first.filed.id].steps[0].state is O.AMBIGUOUS
    assert taken[first.filed.id].steps[0].attempts == 1
    assert taken[second.filed.id].steps[0].state is O.PLANNED
    # It was only slow: nothing it says counts any more, and it must not write.
    with pytest.raises(LostClaimError):
        dead.begin(second.steps)
    with pytest.raises(LostClaimError):
        dead.settle(first.filed.id, RequestState.WRITTEN)
    assert verify(ledger.database).findings == ()


def test_a_lease_is_kept_by_renewing(ledger: Ledger, clock: Clock) -> None:
    approved(ledger, [grant(1)])
    work = Work(ledger, "slow")
    (claim,) = work.claim(1)
    for _ in range(3):
        clock.now += LEASE - SECOND
        work.renew([claim.filed.id])
    assert Work(ledger, "other").claim(1) == []
    clock.now += LEASE
    with pytest.raises(LostClaimError):
        work.renew([claim.filed.id])


def test_an_operation_is_never_written_twice_without_a_reading(ledger: Ledger) -> None:
    approved(ledger, [grant(1)])
    work = Work(ledger, "one")
    (claim,) = work.claim(1)
    attempts = work.begin(claim.steps)
    with pytest.raises(TransitionError, match="is writing"):
        work.begin(claim.steps)
    (step,) = claim.steps
    work.end({step.id: Outcome(O.AMBIGUOUS, "no answer")}, attempts)
    with pytest.raises(TransitionError, match="is ambiguous"):
        work.begin(claim.steps)
    work.end({step.id: Outcome(O.RETRYABLE, "it is not there")}, {})
    second = work.begin(claim.steps)
    assert second != attempts


def test_enough_reads_in_a_row_confirm_and_one_that_differs_begins_anew(
    ledger: Ledger, clock: Clock
) -> None:
    (filed,) = approved(ledger, [grant(1)])
    done(Work(ledger, "one"))
    confirming = Confirming(ledger)
    assert confirming.to_verify(9) == []
    for agrees in (True, True, False, None, True, True, True):
        clock.now += SECOND
        (check,) = confirming.to_verify(9)
        assert ledger.request(filed.id).state is RequestState.WRITTEN
        confirming.verified({check.step.id: (agrees, None)}, needed=3, every=SECOND)
    assert confirming.to_verify(9) == []
    assert ledger.request(filed.id).state is RequestState.DONE
    assert verify(ledger.database).findings == ()


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ((False, False, False), O.DIVERGED),
        ((None, None, None), O.UNVERIFIED),
        ((False, None, False, True, False, False, None, False), O.DIVERGED),
        ((*(False, True) * 6, False), O.UNVERIFIED),
        ((False, True, True, True), O.VERIFIED),
    ],
    ids=["absent", "unreadable", "one replica ahead", "now this now that", "one behind"],
)
def test_after_the_deadline_reads_have_to_agree_on_what_is_said_of_it(
    ledger: Ledger, clock: Clock, said: tuple[bool | None, ...], state: O
) -> None:
    (filed,) = approved(ledger, [grant(1)])
    work = Work(ledger, "one")
    done(work)
    clock.advance(seconds=11)
    confirming = Confirming(ledger)
    for agrees in said:
        assert work.steps(filed.id)[0].state is O.WRITTEN
        (check,) = confirming.to_verify(9)
        reached = confirming.verified({check.step.id: (agrees, "404")}, needed=3, every=SECOND)
        clock.now += SECOND
    assert reached == {check.step.id: state}
    assert work.steps(filed.id)[0].state is state
    assert confirming.to_verify(9) == []
    found = ledger.request(filed.id)
    if state is O.VERIFIED:
        assert found.state is RequestState.DONE
    else:
        assert found.state is RequestState.DIVERGED
        assert "see `show`" in found.reasons[0]


def test_what_shows_when_somebody_reads_again_after_the_deadline_is_confirmed(
    ledger: Ledger, clock: Clock
) -> None:
    """Nobody was at work for a while: what was written before has not diverged by that."""
    (filed,) = approved(ledger, [grant(1)])
    done(Work(ledger, "one"))
    confirming = Confirming(ledger)
    for _ in range(3):
        clock.advance(hours=1)
        (check,) = confirming.to_verify(9)
        confirming.verified({check.step.id: (True, None)}, needed=3, every=SECOND)
    assert ledger.request(filed.id).state is RequestState.DONE


def test_what_was_confirmed_before_its_worker_was_through_is_done_all_the_same(
    ledger: Ledger, clock: Clock
) -> None:
    (filed,) = approved(ledger, [grant(1)])
    work, confirming = Work(ledger, "slow"), Confirming(ledger)
    (claim,) = work.claim(1)
    written = {step.id: Outcome(O.WRITTEN, added=True) for step in claim.steps}
    work.end(written, work.begin(claim.steps), verify_in=SECOND, verify_for=10 * SECOND)
    clock.now += SECOND
    (check,) = confirming.to_verify(9)  # by another worker, meanwhile
    confirming.verified({check.step.id: (True, None)}, needed=1, every=SECOND)
    assert ledger.request(filed.id).state is RequestState.RUNNING
    work.settle(filed.id, RequestState.WRITTEN)
    assert ledger.request(filed.id).state is RequestState.DONE
    assert verify(ledger.database).findings == ()


def test_grants_whose_end_has_come_are_told_until_something_takes_them_back(
    ledger: Ledger, clock: Clock
) -> None:
    soon, late = approved(
        ledger,
        [grant(1, 1, expires_at=START + SECOND * 60), grant(2, 2, expires_at=START + SECOND * 90)],
    )
    never_given = approved(ledger, [grant(3, 3, expires_at=START + SECOND * 60)])[0]
    ledger.cancel(never_given.id, person())
    work, confirming = Work(ledger, "one"), Confirming(ledger)
    done(work)
    assert confirming.expiring(9) == []
    clock.now = START + SECOND * 60
    assert [each.id for each in confirming.expiring(9)] == [soon.id]
    confirming.ended_by(soon.id, "req_ending")
    confirming.ended_by(soon.id, "req_another")
    assert ledger.request(soon.id).ended_by == "req_ending"
    assert confirming.expiring(9) == []
    clock.now = START + SECOND * 90
    assert [each.id for each in confirming.expiring(9)] == [late.id]


def test_a_plan_that_was_changed_in_the_ledger_is_not_carried_out(ledger: Ledger) -> None:
    approved(ledger, [grant(1)])
    with ledger.database.write() as connection:
        connection.execute(
            sa.text("UPDATE plans SET document = replace(document, '0001\"', '0002\"')")
        )
    with pytest.raises(LedgerError, match="was changed in the ledger"):
        Work(ledger, "one").claim(1)
