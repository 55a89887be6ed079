"""A listener is told once of each end that is near and of each request that went wrong."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from entra_pipeline.orchestration.courier import deliver_notices
from entra_pipeline.provisioning.ledger import Ledger, rows
from entra_pipeline.provisioning.ledger.writing import transaction
from entra_pipeline.provisioning.notices import Notices
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.values import Request, Revoke, Source
from entra_pipeline.settings import Settings
from entra_pipeline.simulator.process import Simulator
from tests.orchestration.listener import listening
from tests.provisioning.clock import Clock
from tests.provisioning.making import grant, person, plan_of
from tests.provisioning.program import Program
from tests.provisioning.tenant import Tenant

SECRET = "a secret of the listener's"
BEFORE = timedelta(hours=72)


@pytest.fixture
def notices(tmp_path: Path, clock: Clock) -> Notices:
    return Notices(tmp_path / "notices.sqlite", now=clock)


def came_to(ledger: Ledger, request: Request, *states: RequestState) -> str:
    """A request that was approved and then went through these states."""
    (filed,) = ledger.file([request])
    plan = plan_of([filed])
    ledger.save_plan(filed.batch_id, plan)
    ledger.approve(plan.hash, person(50))
    for state in (RequestState.RUNNING, *states):
        with transaction(ledger.database, ledger.clock()) as tx:
            rows.move(tx, rows.filed(tx.connection, [filed.id])[0], state)
    return filed.id


def told(notices: Notices) -> list[tuple[str, str]]:
    return [(each.body["what"], each.body["request"]) for each in notices.due()]


def test_an_end_is_told_of_when_it_is_near_and_once(
    ledger: Ledger, notices: Notices, clock: Clock
) -> None:
    ends = clock() + timedelta(days=30)
    long = came_to(ledger, grant(expires_at=ends), RequestState.WRITTEN, RequestState.DONE)
    short = came_to(
        ledger,
        grant(user=2, expires_at=clock() + timedelta(hours=8)),
        RequestState.WRITTEN,
        RequestState.DONE,
    )
    came_to(ledger, grant(user=3), RequestState.WRITTEN, RequestState.DONE)
    assert notices.look(ledger, BEFORE) == 0
    clock.advance(seconds=4 * 3600 + 1)
    assert notices.look(ledger, BEFORE) == 1
    assert told(notices) == [("expiring", short)]
    clock.advance(seconds=27 * 86400)
    assert notices.look(ledger, BEFORE) == 1
    assert notices.look(ledger, BEFORE) == 0
    assert told(notices) == [("expiring", short), ("expiring", long)]
    body = notices.due()[1].body
    assert body["entitlement_id"].startswith("group:")
    assert body["expires_at"] == ends.isoformat().replace("+00:00", "Z")
    assert "ward" not in str(body)


def test_what_went_wrong_is_told_of_each_time_that_it_does(
    ledger: Ledger, notices: Notices, clock: Clock
) -> None:
    failed = came_to(ledger, grant(), RequestState.FAILED)
    split = came_to(ledger, grant(user=2), RequestState.WRITTEN, RequestState.DIVERGED)
    unsure = came_to(ledger, grant(user=3), RequestState.AMBIGUOUS)
    body = Revoke(principal_id=grant().body.principal_id, access=grant().body.access)
    ending = Request(
        body=body,
        asked_by=person(),
        reason="its time is over",
        source=Source.EXPIRY,
        idempotency_key="expiry-of-something",
    )
    (filed,) = ledger.file([ending])
    ledger.refuse({filed.id: ["the last owner"]})
    notices.look(ledger, BEFORE)
    assert sorted(told(notices)) == sorted(
        [
            ("failed", failed),
            ("diverged", split),
            ("ambiguous", unsure),
            ("ending_refused", filed.id),
        ]
    )
    # Refused again is not news; ambiguous again is, for a person has looked in between.
    clock.advance(seconds=900)
    ledger.refuse({filed.id: ["the last owner"]})
    with transaction(ledger.database, ledger.clock()) as tx:
        for state in (RequestState.APPROVED, RequestState.RUNNING, RequestState.AMBIGUOUS):
            rows.move(tx, rows.filed(tx.connection, [unsure])[0], state)
    assert notices.look(ledger, BEFORE) == 1
    assert told(notices)[-1] == ("ambiguous", unsure)


def test_what_happened_long_before_anybody_listened_is_not_told(
    ledger: Ledger, notices: Notices, clock: Clock
) -> None:
    came_to(ledger, grant(), RequestState.FAILED)
    clock.advance(seconds=2 * 86400)
    assert notices.look(ledger, BEFORE) == 0
    # Once somebody does, nothing is lost while nobody looks.
    late = came_to(ledger, grant(user=2), RequestState.FAILED)
    clock.advance(seconds=5 * 86400)
    assert notices.look(ledger, BEFORE) == 1
    assert told(notices) == [("failed", late)]


@pytest.fixture
def listened(tmp_path: Path) -> Callable[[str], Settings]:
    def settings(url: str) -> Settings:
        return Settings.for_data_only(data_dir=tmp_path).model_copy(
            update={
                "requests_webhook_url": SecretStr(url),
                "events_webhook_secret": SecretStr(SECRET),
            }
        )

    return settings


@pytest.fixture
def waiting(ledger: Ledger, clock: Clock, tmp_path: Path) -> tuple[Notices, str, str]:
    """Two notices to deliver now."""
    clock.now = datetime.now(UTC)
    notices = Notices(tmp_path / "notices.sqlite")
    first = came_to(ledger, grant(), RequestState.FAILED)
    second = came_to(ledger, grant(user=2), RequestState.FAILED)
    assert notices.look(ledger, BEFORE) == 2
    return notices, first, second


def test_notices_are_signed_tried_again_and_delivered_in_order(
    waiting: tuple[Notices, str, str], ledger: Ledger, listened: Callable[[str], Settings]
) -> None:
    notices, first, second = waiting
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        notices.hasten()

    with listening(answers=(503, 204)) as listener:
        deliver_notices(listened(listener.url), notices, sleep=sleep)
        assert [each["request"] for each in listener.got] == [first, first, second]
        assert listener.got[0] == listener.got[1]
        assert pauses
        said = listener.headers[-1]
        parts = dict(part.split("=", 1) for part in said["Entra-Pipeline-Signature"].split(","))
        signed = parts["t"].encode() + b"." + listener.bodies[-1]
        assert hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest() == parts["v1"]
        assert said["Entra-Pipeline-Event"] == listener.got[-1]["id"]
    assert notices.counts() == {"told": 2}
    assert notices.look(ledger, BEFORE) == 0


def test_a_listener_that_will_not_have_one_holds_up_no_other(
    waiting: tuple[Notices, str, str], listened: Callable[[str], Settings]
) -> None:
    notices, first, second = waiting
    with listening(answers=(400, 204)) as listener:
        deliver_notices(listened(listener.url), notices, sleep=lambda _: notices.hasten())
        assert [each["request"] for each in listener.got] == [first, second, first]
    assert notices.counts() == {"told": 2}


def test_apply_tells_of_what_it_could_not_do(written_to: Simulator, tmp_path: Path) -> None:
    program, tenant = Program(written_to, tmp_path), Tenant(written_to)
    group = list(tenant.plain())[27]
    key = program.approved("grant", tenant.stranger(group), f"group:{group}:member")
    refusal = {"error": {"code": "Authorization_RequestDenied", "message": "Not you."}}
    written_to.faults(
        [
            {
                "match": {"method": "POST", "path": f"{group}/members", "body": "."},
                "respond": {"status": 403, "body": refusal},
            },
            {
                "match": {"method": "PATCH", "path": group},
                "respond": {"status": 403, "body": refusal},
            },
        ]
    )
    try:
        with listening() as listener:
            env = {
                "ENTRA_REQUESTS_WEBHOOK_URL": listener.url,
                "ENTRA_EVENTS_WEBHOOK_SECRET": SECRET,
            }
            program("apply", "--wait", code=3, **env)
            (told,) = listener.got
    finally:
        written_to.faults([])
    assert (told["what"], told["request"], told["entitlement_id"]) == (
        "failed",
        key,
        f"group:{group}:member",
    )
