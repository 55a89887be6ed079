"""Filing, planning and approving, in SQLite and in Postgres."""

import stat
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from entra_pipeline.provisioning.errors import (
    LedgerError,
    NotFoundError,
    OtherTenantError,
    RequestError,
    SchemaError,
    TransitionError,
)
from entra_pipeline.provisioning.ledger import Ledger, looking
from entra_pipeline.provisioning.ledger.schema import metadata
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.values import Identity, IdentityKind, Tier
from tests.provisioning.clock import START, Clock
from tests.provisioning.making import TENANT, grant, guid, person, plan_of


def test_what_is_filed_is_found_again_as_it_was(
    ledger: Ledger, reopen: Callable[..., Ledger]
) -> None:
    asked = grant(expires_at=START + timedelta(days=1), for_whom=guid(1))
    (filed,) = ledger.file([asked])
    with reopen() as again:
        found = again.request(filed.id)
    assert found == filed
    assert (found.request, found.state) == (asked, RequestState.FILED)


def test_filing_the_same_again_files_nothing(ledger: Ledger) -> None:
    asked = [grant(1), grant(2)]
    first = ledger.file(asked)
    assert ledger.file(asked) == first
    assert len(ledger.requests()) == 2


def test_the_same_key_for_something_else_is_refused_and_nothing_is_filed(ledger: Ledger) -> None:
    ledger.file([grant(1, idempotency_key="the-same-key")])
    with pytest.raises(RequestError, match=r"the-same-key was used for req_"):
        ledger.file([grant(2), grant(3, idempotency_key="the-same-key")])
    assert len(ledger.requests()) == 1


def test_requests_are_listed_latest_first_by_pages_and_states(ledger: Ledger) -> None:
    filed = [ledger.file([grant(number)])[0] for number in range(5)]
    ledger.cancel(filed[2].id, person())
    ids = [each.id for each in filed]
    first = ledger.requests(limit=3)
    assert [each.id for each in first] == ids[:1:-1]
    assert [each.id for each in ledger.requests(before=first[-1].id)] == [ids[1], ids[0]]
    assert [r.id for r in ledger.requests(states=[RequestState.CANCELLED])] == [ids[2]]
    with pytest.raises(NotFoundError, match="req_nothing"):
        ledger.request("req_nothing")


def test_a_batch_keeps_its_order(ledger: Ledger) -> None:
    filed = ledger.file([grant(number) for number in range(50)])
    assert ledger.batch(filed[0].batch_id) == filed


def test_a_plan_waits_for_all_its_approvals_and_one_person_counts_once(ledger: Ledger) -> None:
    filed = ledger.file([grant(1), grant(2)])
    plan = plan_of(filed, approvals=2, tier=Tier.CONTROL)
    planned = ledger.save_plan(filed[0].batch_id, plan)
    assert {(each.state, each.tier) for each in planned} == {(RequestState.PLANNED, Tier.CONTROL)}
    for _ in range(2):
        assert {r.state for r in ledger.approve(plan.hash, person(2))} == {RequestState.PLANNED}
    assert {r.state for r in ledger.approve(plan.hash, person(3))} == {RequestState.APPROVED}
    assert [each.identity for each in ledger.approvals(plan.hash)] == [
        person(2),
        person(2),
        person(3),
    ]


def test_the_same_name_on_another_machine_is_somebody_else(ledger: Ledger) -> None:
    filed = ledger.file([grant()])
    plan = plan_of(filed, approvals=2)
    ledger.save_plan(filed[0].batch_id, plan)
    for machine, state in (("one", RequestState.PLANNED), ("two", RequestState.APPROVED)):
        by = Identity(kind=IdentityKind.OS_USER, subject="root", machine=machine)
        assert ledger.approve(plan.hash, by)[0].state is state


def test_another_plan_needs_another_approval(ledger: Ledger) -> None:
    filed = ledger.file([grant()])
    first, second = plan_of(filed), plan_of(filed, tier=Tier.SENSITIVE)
    ledger.save_plan(filed[0].batch_id, first)
    ledger.save_plan(filed[0].batch_id, second)
    with pytest.raises(TransitionError, match="of another plan by now"):
        ledger.approve(first.hash, person(2))
    assert ledger.approve(second.hash, person(2))[0].state is RequestState.APPROVED


def test_a_plan_that_is_made_again_is_the_same_plan(ledger: Ledger) -> None:
    filed = ledger.file([grant()])
    plan = plan_of(filed, approvals=2)
    ledger.save_plan(filed[0].batch_id, plan)
    ledger.approve(plan.hash, person(2))
    ledger.save_plan(filed[0].batch_id, plan)
    assert ledger.approve(plan.hash, person(3))[0].state is RequestState.APPROVED
    assert ledger.plan(plan.hash[:12]) == plan


def test_a_plan_that_needs_no_approval_may_run(ledger: Ledger) -> None:
    filed = ledger.file([grant()])
    saved = ledger.save_plan(filed[0].batch_id, plan_of(filed, approvals=0))
    assert saved[0].state is RequestState.APPROVED


def test_a_plan_of_something_else_is_not_kept(ledger: Ledger) -> None:
    filed, other = ledger.file([grant(1)]), ledger.file([grant(2)])
    plan = plan_of(filed)
    with pytest.raises(LedgerError, match="was not made of request"):
        ledger.save_plan(filed[0].batch_id, plan.model_copy(update={"requests": {filed[0].id: ""}}))
    with pytest.raises(LedgerError, match="was not made of request"):
        ledger.save_plan(other[0].batch_id, plan)
    assert ledger.request(filed[0].id).state is RequestState.FILED


def test_what_was_rejected_cannot_be_approved(ledger: Ledger) -> None:
    filed = ledger.file([grant()])
    plan = plan_of(filed)
    ledger.save_plan(filed[0].batch_id, plan)
    rejected = ledger.reject(plan.hash, person(2), "not this ward")
    assert (rejected[0].state, rejected[0].reasons) == (RequestState.REJECTED, ("not this ward",))
    with pytest.raises(TransitionError, match="are rejected"):
        ledger.approve(plan.hash, person(3))


def test_a_program_approves_nothing(ledger: Ledger) -> None:
    filed = ledger.file([grant()])
    plan = plan_of(filed)
    ledger.save_plan(filed[0].batch_id, plan)
    with pytest.raises(TransitionError, match="program"):
        ledger.approve(plan.hash, Identity(kind=IdentityKind.SYSTEM, subject="expiry"))


def test_refused_requests_say_why_and_can_be_planned_again(ledger: Ledger) -> None:
    filed = ledger.file([grant()])
    (refused,) = ledger.refuse({filed[0].id: ["it is the last owner", "no policy for this"]})
    assert refused.reasons == ("it is the last owner", "no policy for this")
    (planned,) = ledger.save_plan(refused.batch_id, plan_of([refused]))
    assert (planned.state, planned.reasons) == (RequestState.PLANNED, ())


def test_what_was_cancelled_stays_so(ledger: Ledger) -> None:
    filed = ledger.file([grant()])
    ledger.cancel(filed[0].id, person())
    for again in (
        lambda: ledger.cancel(filed[0].id, person()),
        lambda: ledger.save_plan(filed[0].batch_id, plan_of(filed)),
    ):
        with pytest.raises(TransitionError, match="is cancelled"):
            again()


def test_the_kill_switch_holds_until_somebody_lets_go(
    ledger: Ledger, reopen: Callable[..., Ledger]
) -> None:
    assert ledger.stopped() is None
    ledger.stop(person(2), "something is wrong")
    with reopen() as again:
        said = again.stopped()
        assert said is not None
        assert (said["by"], said["reason"]) == (person(2).key, "something is wrong")
        again.resume(person(3))
    assert ledger.stopped() is None


def test_a_ledger_belongs_to_one_tenant(ledger: Ledger, reopen: Callable[..., Ledger]) -> None:
    reopen(TENANT.upper()).close()
    with pytest.raises(OtherTenantError, match=TENANT):
        reopen("99999999-2222-3333-4444-555555555555")


def test_a_ledger_of_a_newer_program_is_left_alone(
    ledger: Ledger, reopen: Callable[..., Ledger]
) -> None:
    with ledger.database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaError, match="use the newer program"):
        reopen()


def test_migrations_make_the_declared_tables(ledger: Ledger) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    with ledger.database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_list_of_several_states_is_one_list_the_latest_first(ledger: Ledger) -> None:
    filed = [ledger.file([grant(number)])[0].id for number in range(6)]
    for key in (filed[1], filed[4]):
        ledger.cancel(key, person())
    states = [RequestState.CANCELLED, RequestState.FILED, RequestState.DONE]
    latest = [each.id for each in looking.listed(ledger, states=states, limit=4)]
    assert latest == list(reversed(filed))[:4]
    older = looking.listed(ledger, states=states, before=latest[-1], limit=4)
    assert [each.id for each in older] == [filed[1], filed[0]]
    cancelled = looking.listed(ledger, states=states[:1], limit=None)
    assert [each.id for each in cancelled] == [filed[4], filed[1]]


def test_many_who_file_at_once_lose_nothing(
    ledger: Ledger, reopen: Callable[..., Ledger], clock: Clock
) -> None:
    def work(number: int) -> None:
        with reopen() as own:
            for each in range(10):
                own.file([grant(number, each), grant(number, each + 100)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.requests(limit=1000)) == 120


def test_a_ledger_that_cannot_be_reached_says_so_without_the_password() -> None:
    url = "postgresql://me:canary-password@127.0.0.1:9/none"
    with pytest.raises(LedgerError, match=r"me:\*\*\*@127.0.0.1:9/none cannot be opened") as raised:
        Ledger(url, TENANT)
    assert "canary" not in str(raised.value)
    with pytest.raises(LedgerError, match="SQLite or Postgres"):
        Ledger("mysql://127.0.0.1/x", TENANT)


def test_a_ledger_in_a_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.sqlite"
    Ledger(path, TENANT).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_filed_under_a_key_again_and_again_is_numbered_without_a_gap(
    ledger: Ledger,
) -> None:
    assert looking.latest_of_key(ledger, "the-form") == (None, 0)
    ids = []
    for number in range(102):
        key = "the-form" if number == 0 else f"the-form-{number}"
        (filed,) = ledger.file([grant(number + 1, idempotency_key=key)])
        ids.append(filed.id)
    ledger.file(
        [grant(500, idempotency_key="the-form-else"), grant(501, idempotency_key="the-form-900")]
    )
    latest, free = looking.latest_of_key(ledger, "the-form")
    assert latest is not None
    assert (latest.id, free) == (max(ids), 102)
