"""What is done to accounts and groups that are there: properties, managers, sessions, methods."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.provisioning.actions.credentials import methods_report
from entra_pipeline.provisioning.gate import STOP_FILE, Gate, GateClosedError
from entra_pipeline.provisioning.ledger import Ledger
from entra_pipeline.provisioning.plans import Plan
from entra_pipeline.provisioning.states import OperationState as O
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.values import (
    CheckUpn,
    CreateGroup,
    DisableUser,
    EnableUser,
    RevokeMfa,
    RevokeSessions,
    SetManager,
    Tier,
    UpdateProfile,
    UpdateUser,
)
from entra_pipeline.simulator.process import Simulator
from tests.provisioning.clock import Clock
from tests.provisioning.making import grant, guid
from tests.provisioning.people import administrators, plain_users, somebody, synced, users
from tests.provisioning.stage import Stage, staged
from tests.provisioning.tenant import Tenant
from tests.provisioning.walking import refused, steps, walk

_numbers = itertools.count(1)


@pytest.fixture
def ledger_url(tmp_path: Path) -> Path:
    """SQLite alone: nothing here is different for another ledger."""
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def stage(ledger: Ledger, trusting: Simulator, tmp_path: Path, clock: Clock) -> Iterator[Stage]:
    with staged(ledger, trusting, tmp_path, clock) as opened:
        yield opened
    trusting.faults([])
    trusting.stale_reads(0)


@pytest.fixture
def user(trusting: Simulator) -> str:
    return somebody(trusting, place=3)


def planned(stage: Stage, body: Any) -> Plan:
    (filed,) = stage.ledger.file([grant(body=body)])
    plan = stage.plan([filed])
    assert isinstance(plan, Plan), plan
    return plan


def test_an_account_is_disabled_and_enabled_once_each(stage: Stage, user: str) -> None:
    enabled = users(stage.simulator)[user]["accountEnabled"]
    on, off = EnableUser(user_id=user), DisableUser(user_id=user)
    stations = [(on, O.WRITTEN), (on, O.ALREADY), (off, O.WRITTEN), (off, O.ALREADY)]
    walk(stage, *((stations[2:] + stations[:2]) if enabled else stations))
    assert len(stage.effects()) == 2
    assert "an hour" in planned(stage, off).warnings[0]
    walk(stage, (on, O.ALREADY if enabled else O.WRITTEN))


def test_properties_are_set_cleared_and_planned_with_what_they_were(
    stage: Stage, user: str
) -> None:
    before = users(stage.simulator)[user]
    attributes = {"jobTitle": "Ward sister", "city": "Ulm", "officeLocation": None}
    body = UpdateUser(user_id=user, attributes=attributes)
    inverse = planned(stage, body).operations[0].inverse
    assert inverse is not None
    assert inverse.arguments["properties"] == {name: before[name] for name in attributes}
    walk(stage, (body, O.WRITTEN), (body, O.ALREADY))
    after = users(stage.simulator)[user]
    assert {name: after[name] for name in attributes} == attributes
    assert stage.effects() == [("update_user", user, user)]


def test_a_profile_changes_only_in_what_is_given(stage: Stage, user: str) -> None:
    before = users(stage.simulator)[user]
    body = UpdateProfile(
        user_id=user,
        department="Pharmacy",
        country="Malta",
        extension_attributes={"extensionAttribute7": "north", "extensionAttribute8": "4"},
    )
    walk(stage, (body, O.WRITTEN), (body, O.ALREADY))
    after = users(stage.simulator)[user]
    assert after["onPremisesExtensionAttributes"]["extensionAttribute7"] == "north"
    changed = {name for name, value in after.items() if value != before.get(name)}
    assert changed == {"department", "country", "onPremisesExtensionAttributes"}


def test_properties_that_cannot_be_set_are_refused_by_name(stage: Stage, user: str) -> None:
    for attributes, said in (
        ({"shoeSize": 44}, "cannot be read"),
        ({"manager@odata.bind": "x"}, "not the name of a property"),
    ):
        assert said in refused(stage, UpdateUser(user_id=user, attributes=attributes))
    kept = synced(stage.simulator)
    body = UpdateProfile(user_id=kept, department="x")
    assert "mastered on premises" in refused(stage, body)
    walk(stage, (UpdateUser(user_id=kept, attributes={"usageLocation": "MT"}), O.WRITTEN))
    assert "there is no user" in refused(stage, EnableUser(user_id=guid(9)))


def test_a_property_that_somebody_else_changed_meanwhile_makes_a_plan_stale(
    stage: Stage, user: str
) -> None:
    (first,) = stage.approved(grant(body=UpdateProfile(user_id=user, job_title="One")))
    (second,) = stage.approved(grant(body=UpdateProfile(user_id=user, job_title="Two")))
    (third,) = stage.approved(grant(body=UpdateProfile(user_id=user, company_name="Contoso N")))
    stage.run([first.id])
    stage.run([second.id, third.id])
    stale = stage.ledger.request(second.id)
    assert stale.state is RequestState.STALE
    assert "jobTitle" in stale.reasons[0]
    assert stage.ledger.request(third.id).state is RequestState.DONE


def test_the_last_administrators_are_not_disabled(stage: Stage) -> None:
    admins = administrators(stage.simulator)
    plan = planned(stage, DisableUser(user_id=admins[0]))
    assert plan.tier is Tier.CONTROL
    assert any(each.fact == "role.others" for each in plan.operations[0].preconditions)
    assert planned(stage, UpdateProfile(user_id=admins[0], job_title="x")).tier is Tier.ORDINARY


def test_a_manager_is_named_by_id_name_or_number_and_removed(stage: Stage, user: str) -> None:
    walk_to_none = SetManager(user_id=user, manager="")
    stage.done(grant(body=walk_to_none))
    stage.seen_effects = len(stage.simulator.effects())
    others = [
        each
        for key, each in users(stage.simulator).items()
        if key != user and each["employeeId"] and each["userType"] == "Member"
    ][:3]
    walk(
        stage,
        (SetManager(user_id=user, manager=others[0]["id"]), O.WRITTEN),
        (SetManager(user_id=user, manager=others[0]["userPrincipalName"]), O.ALREADY),
        (SetManager(user_id=user, manager=others[1]["userPrincipalName"]), O.WRITTEN),
        (SetManager(user_id=user, manager=others[2]["employeeId"]), O.WRITTEN),
        (walk_to_none, O.WRITTEN),
        (walk_to_none, O.ALREADY),
    )
    assert stage.effects() == [
        *(("set_manager", user, each["id"]) for each in others),
        ("remove_manager", user, others[2]["id"]),
    ]
    assert "manager is not found" in refused(stage, SetManager(user_id=user, manager=guid(3)))
    assert "its own manager" in refused(stage, SetManager(user_id=user, manager=user))


def test_a_name_is_free_or_the_next_free_one_is_told_and_nothing_is_written(stage: Stage) -> None:
    taken = users(stage.simulator)[somebody(stage.simulator)]["userPrincipalName"]
    (filed,) = stage.ledger.file([grant(body=CheckUpn(user_principal_name=taken.upper()))])
    plan = stage.plan([filed])
    assert isinstance(plan, Plan)
    local, _, domain = taken.upper().partition("@")
    assert plan.warnings == (f"{taken.upper()} is taken: {local}2@{domain} is free",)
    stage.ledger.save_plan(filed.batch_id, plan)
    stage.run([filed.id])
    assert stage.ledger.request(filed.id).state is RequestState.DONE
    (step,) = steps(stage, filed)
    assert step.result == {"free": False, "suffix": 2}
    free = planned(stage, CheckUpn(user_principal_name="nobody.has.it@contoso.example"))
    assert free.warnings == ("nobody.has.it@contoso.example is free",)
    assert stage.effects() == []


def test_groups_of_both_sorts_are_made_once_with_owners_and_members(
    stage: Stage, user: str, trusting: Simulator
) -> None:
    other = somebody(trusting, place=4)
    for number, kind in enumerate(("security", "microsoft_365")):
        name = f"Größe {next(_numbers)} & Co"
        body = CreateGroup(
            display_name=name, type=kind, owner_ids=(user,), member_ids=(user, other)
        )
        (filed,) = stage.done(grant(body=body))
        assert filed.state is RequestState.DONE, filed.reasons
        (step,) = steps(stage, filed)
        made = next(each for each in trusting.truth("groups") if each["id"] == step.result["id"])
        assert (made["displayName"], made["mailNickname"]) == (name, body.nickname)
        assert (made["mailEnabled"], made["groupTypes"]) == (
            (True, ["Unified"]) if number else (False, [])
        )
        assert set(Tenant(trusting).members[made["id"]]) == {user, other}
        assert [kind for kind, _, _ in stage.effects()].count("create_group") == number + 1
        if number:
            assert "has the mail nickname" in refused(stage, body)
        else:
            assert "has the same name" in planned(stage, body).warnings[0]
    assert stage.simulator.stats()["contended_writes"] == 0


def test_a_group_whose_making_was_answered_by_nobody_is_made_once(stage: Stage) -> None:
    stage.simulator.faults(
        [{"match": {"path": "/groups$", "method": "POST", "times": 1}, "when": "after",
          "reset": True}]
    )  # fmt: skip
    stage.simulator.stale_reads(3600)
    (filed,) = stage.approved(grant(body=CreateGroup(display_name=f"Once {next(_numbers)}")))
    worker = stage.worker()
    for _ in range(3):
        worker.apply()
        stage.clock.advance(seconds=31)
    assert steps(stage, filed)[0].state is O.RETRYABLE
    stage.simulator.stale_reads(0)
    stage.run([filed.id])
    assert stage.ledger.request(filed.id).state is RequestState.DONE
    assert steps(stage, filed)[0].added
    assert [kind for kind, _, _ in stage.effects()] == ["create_group"]


def test_who_cannot_be_in_a_group_is_told_before_it_is_made(
    stage: Stage, trusting: Simulator
) -> None:
    tenant = Tenant(trusting)
    group, app = next(tenant.plain()), tenant.service_principals[0]["id"]
    people = tuple(tenant.users[:21])
    for more, said in (
        ({"member_ids": (guid(1),)}, "there is no principal"),
        ({"owner_ids": (group,)}, "cannot be owner"),
        ({"type": "microsoft_365", "member_ids": (app,)}, "cannot be member"),
        ({"is_assignable_to_role": True, "member_ids": (group,)}, "cannot be member"),
        ({"member_ids": people}, "20 owners and members at most"),
    ):
        assert said in refused(stage, CreateGroup(display_name="Never", **more))
    body = CreateGroup(display_name="Powers", is_assignable_to_role=True)
    plan = planned(stage, body)
    assert (plan.tier, plan.approvals_needed) == (Tier.CONTROL, 2)
    assert "has no owner" in plan.warnings[0]


def test_sessions_end_with_each_request_and_once(stage: Stage, trusting: Simulator) -> None:
    user = somebody(trusting, place=5)
    before = users(trusting)[user]["signInSessionsValidFromDateTime"]
    (filed,) = stage.done(grant(body=RevokeSessions(user_id=user)))
    assert filed.state is RequestState.DONE, filed.reasons
    assert users(trusting)[user]["signInSessionsValidFromDateTime"] != before
    assert stage.effects() == [("revoke_sessions", user, user)]


def with_methods(simulator: Simulator, default: str) -> str:
    """A plain user with password, phone (default `sms`) and Authenticator (default `push`)."""
    held: dict[str, int] = {}
    for row in simulator.truth("authentication_methods"):
        held[row["userId"]] = held.get(row["userId"], 0) + 1
    fitting = {
        row["id"]
        for row in simulator.truth("user_registration_details")
        if row["userPreferredMethodForSecondaryAuthentication"] == default
    }
    return next(u for u in plain_users(simulator) if held.get(u) == 3 and u in fitting)


def refusing(path: str, status: int, code: str, message: str, **match: Any) -> dict[str, Any]:
    """A fault: removals at that path are refused."""
    return {
        "match": {"path": path, "method": "DELETE", **match},
        "respond": {"status": status, "body": {"error": {"code": code, "message": message}}},
    }


def test_every_method_goes_but_the_password_and_the_default_last(
    stage: Stage, trusting: Simulator
) -> None:
    user = with_methods(trusting, "sms")
    body = RevokeMfa(user_id=user)
    assert "1 phoneAuthenticationMethod" in planned(stage, body).warnings[0]
    (filed,) = stage.approved(grant(body=body))
    trusting.reset_stats()
    # The phone is refused at first, and goes within the same run when the others are gone.
    assert stage.worker().apply() == {filed.id: RequestState.WRITTEN}
    assert trusting.stats()["by_status"]["400"] == 1
    stage.run([filed.id])
    assert stage.ledger.request(filed.id).state is RequestState.DONE
    report = methods_report(steps(stage, filed)[0].result)
    assert {each["outcome"] for each in report.pop("methods")} == {"deleted"}
    assert report == {"success": True, "deleted_count": 2, "failed_count": 0, "skipped_count": 1}
    assert stage.effects() == [("delete_method", user, user)] * 2
    walk(stage, (body, O.ALREADY))
    assert trusting.stats()["contended_writes"] == 0


def test_a_method_that_cannot_be_removed_is_told_and_holds_up_no_other(
    stage: Stage, trusting: Simulator
) -> None:
    user = with_methods(trusting, "push")
    trusting.faults(
        [refusing("Authenticator", 403, "Authorization_RequestDenied", "Insufficient privileges.")]
    )
    (filed,) = stage.done(grant(body=RevokeMfa(user_id=user)))
    assert filed.state is RequestState.FAILED
    assert "Privileged Authentication Administrator" in filed.reasons[0]
    report = methods_report(steps(stage, filed)[0].result)
    assert {each["type"]: each["outcome"] for each in report.pop("methods")} == {
        "phoneAuthenticationMethod": "deleted",
        "microsoftAuthenticatorAuthenticationMethod": "failed",
    }
    assert report == {"success": False, "deleted_count": 1, "failed_count": 1, "skipped_count": 1}
    assert stage.effects() == [("delete_method", user, user)]


def test_a_stop_in_the_midst_of_several_writes_is_heard_and_the_rest_follows_later(
    stage: Stage, trusting: Simulator
) -> None:
    user = with_methods(trusting, "push")
    (filed,) = stage.approved(grant(body=RevokeMfa(user_id=user)))
    answers: list[dict[str, str] | None] = [None, None, None]
    stop = {"by": "somebody", "at": "now", "reason": "wait"}
    go_on = stage.gate
    stage.gate = Gate(
        enabled=True,
        stop_file=stage.folder / STOP_FILE,
        stopped=lambda: answers.pop(0) if answers else stop,
    )
    with pytest.raises(GateClosedError):
        stage.worker().apply()
    assert len(stage.effects()) == 1
    stage.gate = go_on
    stage.clock.advance(seconds=31)
    stage.run([filed.id])
    report = methods_report(steps(stage, filed)[0].result)
    assert (report["success"], report["deleted_count"]) == (True, 2)
    assert len(stage.effects()) == 2
