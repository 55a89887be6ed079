"""Accounts: made with a sealed password, invited, deleted, restored, given new passwords."""

import itertools
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyrage
import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from entra_pipeline.provisioning import sealing
from entra_pipeline.provisioning.gate import STOP_FILE, Gate, GateClosedError
from entra_pipeline.provisioning.ledger import Ledger, schema
from entra_pipeline.provisioning.planning import Refusal
from entra_pipeline.provisioning.plans import Plan
from entra_pipeline.provisioning.policy import Policy
from entra_pipeline.provisioning.sealing import SealedFiles
from entra_pipeline.provisioning.states import OperationState as O
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.values import (
    CreateGroup,
    CreateUser,
    DeleteUser,
    InviteGuest,
    RestoreUser,
    RotatePassword,
    Tier,
    UpdateUser,
)
from entra_pipeline.simulator.process import Simulator, running
from tests.provisioning.clock import Clock
from tests.provisioning.making import grant, guid
from tests.provisioning.people import administrators, somebody, synced, users
from tests.provisioning.stage import Stage, staged
from tests.provisioning.walking import refused, steps, walk

KEYS = [pyrage.x25519.Identity.generate() for _ in range(2)]
_numbers = itertools.count(1)


@pytest.fixture
def ledger_url(tmp_path: Path) -> Path:
    """SQLite alone: nothing here is different for another ledger."""
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def stage(ledger: Ledger, trusting: Simulator, tmp_path: Path, clock: Clock) -> Iterator[Stage]:
    vault = SealedFiles(tmp_path / "sealed", [str(key.to_public()) for key in KEYS])
    with staged(ledger, trusting, tmp_path, clock, vault=vault) as opened:
        yield opened
    trusting.faults([])
    trusting.stale_reads(0)


def new(**more: Any) -> CreateUser:
    name = f"new.person{next(_numbers)}"
    values: dict[str, Any] = {
        "display_name": "New Person",
        "mail_nickname": name,
        "user_principal_name": f"{name}@contoso.example",
    }
    return CreateUser(**{**values, **more})


def sealed(stage: Stage) -> list[dict[str, Any]]:
    """What the keys' owners can read, the oldest first."""
    paths = sorted((stage.folder / "sealed").glob("*.age"), key=lambda path: path.stat().st_mtime)
    found = [[pyrage.decrypt(path.read_bytes(), [key]) for key in KEYS] for path in paths]
    assert all(one == two for one, two in found)
    return [json.loads(one) for one, _ in found]


def test_an_account_is_made_with_everything_that_was_asked_for(stage: Stage) -> None:
    manager = next(u for u in users(stage.simulator).values() if u["employeeId"])
    body = new(
        given_name="New",
        employee_id="E-77",
        usage_location="DE",
        manager=manager["employeeId"],
        additional_attributes={"officeLocation": "3/114", "companyName": "Contoso"},
    )
    (filed,) = stage.done(grant(body=body))
    assert filed.state is RequestState.DONE, filed.reasons
    (step,) = steps(stage, filed)
    made = users(stage.simulator)[step.result["id"]]
    assert made["userPrincipalName"] == body.user_principal_name
    assert (made["employeeId"], made["officeLocation"]) == ("E-77", "3/114")
    assert stage.effects() == [
        ("create_user", made["id"], None),
        ("set_manager", made["id"], manager["id"]),
    ]
    (secret,) = sealed(stage)
    assert secret["user_principal_name"] == body.user_principal_name
    assert len(secret["password"]) == sealing.LENGTH
    (name,) = (stage.folder / "sealed").iterdir()
    assert f"sealed:{name.name}" in step.result
    assert (name.stat().st_mode & 0o777, name.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_manager_who_is_not_found_is_a_warning(stage: Stage) -> None:
    for manager in ("nobody@contoso.example", guid(7), "no such number", "O'Neil & sons"):
        body = new(manager=manager)
        (filed,) = stage.ledger.file([grant(body=body)])
        plan = stage.plan([filed])
        assert isinstance(plan, Plan), plan
        assert "made without a manager" in plan.warnings[0]
    (filed,) = stage.done(grant(body=new(manager=guid(7))))
    assert filed.state is RequestState.DONE
    assert [kind for kind, _, _ in stage.effects()] == ["create_user"]


def test_what_stands_against_an_account_is_told_before_anything_is_sealed(stage: Stage) -> None:
    taken = next(iter(users(stage.simulator).values()))
    for body, said in (
        (new(user_principal_name=taken["userPrincipalName"]), f"is taken by {taken['id']}"),
        (new(user_principal_name="x@elsewhere.example"), "not a verified domain"),
        (new(user_principal_name="x@corp.contoso.example"), "on_premises_immutable_id"),
        (new(additional_attributes={"manager@odata.bind": "x"}), "not the name of a property"),
    ):
        assert said in refused(stage, body)
    stage.vault = None
    assert "nobody to seal the password to" in refused(stage, new())
    assert not (stage.folder / "sealed").exists()


def test_what_a_lost_answer_left_is_found_and_is_ours(stage: Stage) -> None:
    body = new()
    stage.simulator.faults(
        [{"match": {"path": "/users$", "method": "POST", "times": 1}, "when": "after",
          "reset": True}]
    )  # fmt: skip
    stage.simulator.stale_reads(3600)
    (filed,) = stage.approved(grant(body=body))
    worker = stage.worker()
    worker.apply()
    stage.clock.advance(seconds=31)
    # It does not show, so it is sent once more, and Graph says that the name is taken.
    worker.apply()
    stage.clock.advance(seconds=31)
    worker.apply()
    assert steps(stage, filed)[0].state is O.RETRYABLE
    stage.simulator.stale_reads(0)
    stage.clock.advance(seconds=31)
    stage.run([filed.id])
    assert stage.simulator.stats()["faults_fired"] >= 1
    assert stage.ledger.request(filed.id).state is RequestState.DONE
    (step,) = steps(stage, filed)
    assert (step.state, step.added) == (O.VERIFIED, True)
    assert [kind for kind, _, _ in stage.effects()] == ["create_user"]
    # Of the attempts that Graph refused nothing is left: the one password that is, is the one.
    assert len(sealed(stage)) == 1
    assert len([name for name in step.result if name.startswith("sealed:")]) == 1


def test_an_account_that_somebody_else_made_meanwhile_is_not_taken_for_ours(stage: Stage) -> None:
    body = new()
    first = stage.approved(grant(body=body))[0]
    second = stage.approved(grant(body=body))[0]
    # Graph refuses the second of one batch; looked at again, the name is seen to be taken.
    stage.run([first.id, second.id])
    stale = stage.ledger.request(second.id)
    assert stale.state is RequestState.STALE
    assert "is taken by" in stale.reasons[0]
    assert len(sealed(stage)) == 1


def test_nothing_of_a_password_is_anywhere_but_in_the_sealed_file(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    stage.simulator.faults(
        [{"match": {"path": "/users$", "method": "POST", "times": 1},
          "respond": {"status": 400, "body": {"error": {"code": "Request_BadRequest",
                      "message": "One or more property values specified are invalid."}}}}]
    )  # fmt: skip
    (failed,) = stage.done(grant(body=new()))
    assert failed.state is RequestState.FAILED
    assert not any((stage.folder / "sealed").iterdir())
    (filed,) = stage.done(grant(body=new()))
    assert filed.state is RequestState.DONE
    (secret,) = sealed(stage)
    password = secret["password"].encode()
    assert password not in caplog.text.encode()
    looked_at = [path for path in stage.folder.rglob("*") if path.is_file()]
    assert not any(password in path.read_bytes() for path in looked_at)
    with stage.ledger.database.read() as connection:
        rows = [
            str(row)
            for table in schema.metadata.sorted_tables
            for row in connection.execute(sa.select(table))
        ]
    assert any(filed.id in row for row in rows)
    assert not any(secret["password"] in row for row in rows)


def test_nothing_is_written_when_the_password_cannot_be_kept(stage: Stage) -> None:
    (filed,) = stage.approved(grant(body=new()))
    (stage.folder / "sealed").write_text("in the way")
    assert stage.worker().apply() == {filed.id: RequestState.APPROVED}
    (stage.folder / "sealed").unlink()
    stage.clock.advance(seconds=31)
    stage.run([filed.id])
    assert stage.ledger.request(filed.id).state is RequestState.DONE
    assert len(stage.effects()) == 1


def test_what_was_approved_for_some_readers_is_not_sealed_to_others(stage: Stage) -> None:
    (filed,) = stage.approved(grant(body=new()))
    stage.vault = SealedFiles(stage.folder / "sealed", [str(KEYS[0].to_public())])
    stage.worker().apply()
    stale = stage.ledger.request(filed.id)
    assert stale.state is RequestState.STALE
    assert "sealed to others" in stale.reasons[0]
    assert stage.effects() == []


def test_a_request_has_no_password_and_no_fraction_in_it() -> None:
    for attributes in ({"passwordProfile": {"password": "x"}}, {"id": "x"}, {"a": [{"b": 1.5}]}):
        with pytest.raises(ValidationError, match=r"must not set|must be whole"):
            UpdateUser(user_id=guid(1), attributes=attributes)
    for more in ({"passwordProfile": {}}, {"DisplayName": "x"}, {"height": 1.8}):
        with pytest.raises(ValidationError, match=r"must not set|must be whole"):
            new(additional_attributes=more)


def test_what_was_stopped_before_it_was_sent_leaves_nothing(stage: Stage) -> None:
    (filed,) = stage.approved(grant(body=new()))
    # Asked when work begins, when writing is begun, and before the round trip.
    answers: list[dict[str, str] | None] = [None, None]
    stop = {"by": "somebody", "at": "now", "reason": "something is wrong"}
    go_on = stage.gate
    stage.gate = Gate(
        enabled=True,
        stop_file=stage.folder / STOP_FILE,
        stopped=lambda: answers.pop(0) if answers else stop,
    )
    with pytest.raises(GateClosedError, match="something is wrong"):
        stage.worker().apply()
    assert stage.effects() == []
    assert not any((stage.folder / "sealed").iterdir())
    assert stage.ledger.request(filed.id).state is RequestState.APPROVED
    stage.gate = go_on
    stage.clock.advance(seconds=31)
    stage.run([filed.id])
    assert len(stage.effects()) == len(sealed(stage)) == 1


def test_what_the_policy_protects_is_left_alone(stage: Stage) -> None:
    user = somebody(stage.simulator)
    stage.policy = Policy.parse(f"version: 1\nprotected: {{principals: ['{user}']}}")
    for body in (DeleteUser(user_id=user), RotatePassword(user_id=user)):
        assert "is protected by the policy" in refused(stage, body)


def test_groups_that_are_left_without_an_owner_are_told(stage: Stage) -> None:
    user = somebody(stage.simulator, place=2)
    (filed,) = stage.done(grant(body=CreateGroup(display_name="Orphan", owner_ids=(user,))))
    group = steps(stage, filed)[0].result["id"]
    plan = planned(stage, DeleteUser(user_id=user))
    assert isinstance(plan, Plan)
    assert f"group {group} has no other owner" in plan.warnings


def test_recipients_are_public_keys_and_a_secret_one_is_not_repeated() -> None:
    with pytest.raises(sealing.SealingError, match="recipient 1 is a secret key") as caught:
        sealing.check_recipients([str(KEYS[0])])
    assert str(KEYS[0]) not in str(caught.value)
    with pytest.raises(sealing.SealingError, match="not an age X25519 public key"):
        sealing.check_recipients(["age1nonsense"])
    assert len({sealing.new_password() for _ in range(50)}) == 50


def test_a_guest_is_invited_once(stage: Stage) -> None:
    body = InviteGuest(
        mail=f"somebody{next(_numbers)}@fabrikam.example", display_name="Somebody New"
    )
    walk(stage, (body, O.WRITTEN), (body, O.ALREADY))
    ((kind, guest, _),) = stage.effects()
    assert kind == "invite_user"
    assert users(stage.simulator)[guest]["mail"] == body.mail
    member = next(
        u for u in users(stage.simulator).values() if u["userType"] == "Member" and u["mail"]
    )
    assert "is no guest" in refused(stage, InviteGuest(mail=member["mail"]))
    ours = InviteGuest(mail="nobody.there@contoso.example")
    assert "make an account instead" in refused(stage, ours)


def test_an_account_is_deleted_and_restored_once_each(stage: Stage) -> None:
    user = somebody(stage.simulator)
    gone, back = DeleteUser(user_id=user), RestoreUser(user_id=user)
    walk(
        stage,
        (gone, O.WRITTEN),
        (gone, O.ALREADY),
        (back, O.WRITTEN),
        (back, O.ALREADY),
    )
    assert [kind for kind, _, _ in stage.effects()] == ["delete_user", "restore_user"]
    assert "there is no user" in refused(stage, DeleteUser(user_id=guid(5)))
    assert "nor one in the recycle bin" in refused(stage, RestoreUser(user_id=guid(5)))
    kept = synced(stage.simulator)
    assert "mastered on premises" in refused(stage, DeleteUser(user_id=kept))


def test_an_account_whose_name_was_given_away_is_not_restored_and_the_way_is_told(
    stage: Stage,
) -> None:
    body = new()
    (first,) = stage.done(grant(body=body))
    user = steps(stage, first)[0].result["id"]
    stage.done(grant(body=DeleteUser(user_id=user)))
    (second,) = stage.done(grant(body=body))
    assert second.state is RequestState.DONE, second.reasons
    (failed,) = stage.done(grant(body=RestoreUser(user_id=user)))
    assert failed.state is RequestState.FAILED
    assert "another account has its user principal name" in failed.reasons[0]


def test_a_password_is_rotated_once_a_request(stage: Stage) -> None:
    user = somebody(stage.simulator)
    before = users(stage.simulator)[user]["lastPasswordChangeDateTime"]
    (filed,) = stage.done(grant(body=RotatePassword(user_id=user)))
    assert filed.state is RequestState.DONE, filed.reasons
    assert users(stage.simulator)[user]["lastPasswordChangeDateTime"] != before
    assert stage.effects() == [("reset_password", user, user)]
    (secret,) = sealed(stage)
    assert secret["user_id"] == user
    guest = somebody(stage.simulator, "Guest")
    assert "is a guest" in refused(stage, RotatePassword(user_id=guest))
    kept = synced(stage.simulator)
    assert "mastered on premises" in refused(stage, RotatePassword(user_id=kept))


def test_a_rotation_whose_answer_was_lost_is_found_out_by_reading(stage: Stage) -> None:
    user = somebody(stage.simulator, place=1)  # whose password nobody set in this very second
    stage.simulator.faults(
        [{"match": {"effect": True, "nth": 1, "times": 1}, "when": "after", "reset": True}]
    )
    (filed,) = stage.approved(grant(body=RotatePassword(user_id=user)))
    stage.worker().apply()
    assert stage.simulator.stats()["faults_fired"] >= 1
    stage.simulator.faults([])
    stage.run([filed.id])
    assert stage.ledger.request(filed.id).state is RequestState.DONE
    assert stage.effects() == [("reset_password", user, user)]
    assert len(sealed(stage)) == 1


def test_who_takes_over_an_administrator_needs_what_an_administrator_needs(stage: Stage) -> None:
    admin = administrators(stage.simulator)[0]
    plan = planned(stage, RotatePassword(user_id=admin))
    assert isinstance(plan, Plan)
    assert (plan.tier, plan.approvals_needed) == (Tier.CONTROL, 2)
    plan = planned(stage, RotatePassword(user_id=somebody(stage.simulator)))
    assert isinstance(plan, Plan)
    assert plan.tier is Tier.ORDINARY


def planned(stage: Stage, body: Any) -> Plan | Refusal:
    (filed,) = stage.ledger.file([grant(body=body)])
    return stage.plan([filed])


def test_what_the_writer_may_not_touch_fails_with_what_it_lacks(
    ledger: Ledger, tmp_path: Path, clock: Clock
) -> None:
    vault = SealedFiles(tmp_path / "sealed", [str(KEYS[0].to_public())])
    with (
        running(users=30, groups=10, seed=11, writer=True) as simulator,
        staged(ledger, simulator, tmp_path, clock, vault=vault) as stage,
    ):
        (filed,) = stage.done(grant(body=RotatePassword(user_id=somebody(stage.simulator))))
        assert filed.state is RequestState.FAILED
        assert "Privileged Authentication Administrator" in filed.reasons[0]
        assert stage.effects() == []
        assert not any((tmp_path / "sealed").iterdir())
