"""What a tenant does not give, or gives too little of: the table says so, and so do the answers.

What was published before stays and is answered from; but an answer that rests on it no longer
calls itself complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from entra_pipeline.extract.notes import REFUSED
from entra_pipeline.simulator.generate import DEMO_APPLICATION_NAME, DEMO_USER_UPN
from entra_pipeline.tables import Status
from tests.faults.bench import CROWD, TABLES, Bench, Rule, error, on, patch, respond

ADMIN = "Global Administrator"
READER = f"{DEMO_APPLICATION_NAME}: Reader"
PAG = "PAG-Global-Admins: member"

NO_P2 = respond(
    400,
    error(
        "AadPremiumLicenseRequired",
        "The tenant needs to have Microsoft Entra ID P2 or Microsoft Entra ID Governance license.",
    ),
)
NO_P1 = respond(
    403,
    error(
        "Authentication_RequestFromNonPremiumTenantOrB2CTenant",
        "Neither tenant is B2C or tenant doesn't have premium license",
    ),
)
DENIED = respond(
    403,
    error("Authorization_RequestDenied", "Insufficient privileges to complete the operation."),
)
EMPTY = respond(200, {"value": []})


def no_segment(name: str) -> Rule:
    """What a cloud answers that does not have the API."""
    return respond(400, error("BadRequest", f"Resource not found for the segment '{name}'."))


@dataclass(frozen=True)
class Case:
    """What Graph does not give, what the tables say, and questions that are then uncertain."""

    rules: tuple[Rule, ...]
    told: Mapping[str, tuple[Status, str]]
    who_can: tuple[str, ...] = ()
    access: tuple[str, ...] = ()
    partial: Mapping[str, str] = field(default_factory=dict)
    """Tables that are published all the same, by what was known before, and why they say so."""


PIM_OF_GROUPS = ("group_eligibility_schedule_instances", "group_assignment_schedule_instances")

P2 = (Status.UNLICENSED, "Microsoft Entra ID P2")
P1 = (Status.UNLICENSED, "Microsoft Entra ID P1")
REFUSAL = (Status.FORBIDDEN, "Authorization_RequestDenied")
ABSENT = (Status.UNSUPPORTED, "this cloud does not have the API")
SHRUNK = (Status.QUARANTINED, "--accept-shrink")
BROKEN = (Status.FAILED, "HTTP503")
FAILING = respond(503)

CASES: dict[str, Case] = {
    "no licence for PIM of roles": Case(
        (on("/roleEligibilityScheduleInstances", NO_P2),),
        {"role_eligibility_schedule_instances": P2},
        who_can=(ADMIN,),
        access=(DEMO_USER_UPN,),
    ),
    "no licence for PIM of groups": Case(
        (on("/privilegedAccess/group/eligibility", NO_P2),),
        {"group_eligibility_schedule_instances": P2},
        who_can=(ADMIN, PAG, READER),
        access=(DEMO_USER_UPN,),
    ),
    "no licence for sign-in activity": Case(
        (on("signInActivity", NO_P1),), {"user_sign_in_activity": P1}
    ),
    "no licence for reports": Case((on("/reports/", NO_P1),), {"user_registration_details": P1}),
    "no permission for role assignments": Case(
        (on("/roleManagement/directory/roleAssignments", DENIED),),
        {"role_assignments": REFUSAL},
        who_can=(ADMIN,),
        access=(DEMO_USER_UPN,),
    ),
    "no permission for groups": Case(
        (on(r"/groups\?.*members", DENIED),),
        {"groups": REFUSAL, "group_members": REFUSAL},
        who_can=(ADMIN, PAG, READER),
        access=(DEMO_USER_UPN,),
        # Whose eligibilities to ask for is known from the sync before.
        partial=dict.fromkeys(PIM_OF_GROUPS, "groups could not be read"),
    ),
    "no permission for assignments to applications": Case(
        (on("appRoleAssignedTo", DENIED),),
        {"app_role_assignments": REFUSAL},
        who_can=(READER,),
        access=(DEMO_USER_UPN,),
    ),
    "no permission for applications": Case(
        (on(r"/applications\?", DENIED),),
        {"applications": REFUSAL, "application_owners": REFUSAL, "credentials": REFUSAL},
    ),
    "no consents in this cloud": Case(
        (on("/oauth2PermissionGrants", no_segment("oauth2PermissionGrants")),),
        {"oauth2_permission_grants": ABSENT},
        access=("Legacy Provisioning Connector",),
    ),
    "no PIM in this cloud": Case(
        (on("/roleEligibilityScheduleInstances", no_segment("roleEligibilityScheduleInstances")),),
        {"role_eligibility_schedule_instances": ABSENT},
    ),
    "role assignments come back empty": Case(
        (on("/roleManagement/directory/roleAssignments", EMPTY),),
        {"role_assignments": SHRUNK},
        who_can=(ADMIN,),
        access=(DEMO_USER_UPN,),
    ),
    "applications come back empty": Case(
        (
            on(r"/servicePrincipals\?.*appRoles", EMPTY),
            on(r"/servicePrincipals/\$count", respond(200, 0)),
        ),
        {
            "service_principals": SHRUNK,
            "service_principal_owners": SHRUNK,
            "app_roles": SHRUNK,
            "delegated_permissions": SHRUNK,
            "credentials": SHRUNK,
        },
        who_can=(READER,),
        partial={"synchronization_jobs": "service_principals could not be read"},
    ),
    "users come back sharply fewer": Case(
        (
            on(r"/users\?.*manager.*skiptoken", EMPTY),
            on(r"/users\?.*manager(?!.*skiptoken)", patch(*[("remove", "/value/500")] * 499)),
            on(r"/users/\$count", respond(200, 500)),
        ),
        # Half of the licences would have been believed by themselves.
        {"users": SHRUNK, "license_assignments": (Status.QUARANTINED, "users came back with 500")},
    ),
    "members come back sharply fewer": Case(
        (on(f"/groups/{CROWD}/members", respond(404, error("Request_ResourceNotFound"))),),
        {"group_members": SHRUNK},
    ),
    "members fail": Case(
        (on("/groups/[^/]+/members", FAILING),),
        {"group_members": BROKEN},
        who_can=(ADMIN, READER),
        access=(DEMO_USER_UPN,),
    ),
    "users fail": Case(
        (on(r"/users\?.*manager", FAILING),),
        {"users": BROKEN, "license_assignments": BROKEN},
        access=(DEMO_USER_UPN,),
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_what_is_not_given_is_said_by_the_table_and_by_the_answers(bench: Bench, name: str) -> None:
    case = CASES[name]
    outcome = bench.sync(*case.rules, about={*case.told, *case.partial}, max_attempts=2)
    bench.check(outcome, told=case.told, partial=case.partial)
    for table, reason in case.partial.items():
        assert reason in (outcome.statuses[table].reason or "")
        bench.assert_whole(outcome, table)
    uncertain = {name: str(status) for name, (status, _) in case.told.items()}
    uncertain |= dict.fromkeys(case.partial, str(Status.PARTIAL))
    if not case.who_can and not case.access:
        return
    with outcome.answers() as answers:
        for question in case.who_can:
            missing = answers.missing_for(question)
            assert missing, f"{question} calls itself complete"
            assert missing.items() <= uncertain.items()
            assert answers.who(question), f"{question} forgot what was published"
        for question in case.access:
            missing = answers.missing_of(question)
            assert missing, f"{question} calls itself complete"
            assert missing.items() <= uncertain.items()


def test_without_a_fault_the_same_answers_are_complete(bench: Bench) -> None:
    outcome = bench.sync(about=TABLES)
    bench.check(outcome)
    with outcome.answers() as answers:
        for question in {question for case in CASES.values() for question in case.who_can}:
            assert answers.missing_for(question) == {}
        for question in {question for case in CASES.values() for question in case.access}:
            assert answers.missing_of(question) == {}


def test_what_a_first_sync_is_not_given_is_not_known_rather_than_none(bench: Bench) -> None:
    # The second list repeats the first, where there is PIM.
    rule = on("/directory/(roleAssignments|roleAssignmentScheduleInstances)", DENIED)
    outcome = bench.sync(rule, about=TABLES, earlier=False)
    refused = ("role_assignments", "role_assignment_schedule_instances")
    bench.check(outcome, told=dict.fromkeys(refused, REFUSAL))
    assert [outcome.statuses[name].rows for name in refused] == [None, None]
    with outcome.answers() as answers:
        assert answers.missing_for(ADMIN) == {"role_assignments": "forbidden"}
        assert {state for _, state in answers.who(ADMIN)} == {"eligible"}


def test_an_empty_list_is_published_when_it_is_accepted(bench: Bench) -> None:
    rule = on("/roleManagement/directory/roleAssignments", EMPTY)
    outcome = bench.sync(rule, accept_shrink={"role_assignments"})
    bench.check(outcome, differs=["role_assignments"])
    assert outcome.rows("role_assignments").num_rows == 0


@pytest.mark.parametrize(
    "answer",
    [DENIED, respond(400, error("Request_BadRequest", "This group is odd."))],
    ids=["denied", "bad request"],
)
def test_one_group_refused_makes_the_members_partial(bench: Bench, answer: Rule) -> None:
    refused = bench.largest("group_members", "group_id")[1]
    outcome = bench.sync(on(f"/groups/{refused}/members", answer))
    bench.check(outcome, partial={"group_members"})
    status = outcome.statuses["group_members"]
    assert "Graph refuses 1 objects" in (status.reason or "")
    assert dict(status.notes) == {REFUSED: 1}
    # Published all the same: the others' members are true.
    expected = [r for r in bench.truth["group_members"].to_pylist() if r["group_id"] != refused]
    assert outcome.rows("group_members").to_pylist() == expected
    with outcome.answers() as answers:
        assert answers.missing_for(f"group:{refused}:member") == {"group_members": "partial"}


def test_a_sync_that_gets_no_token_says_so_of_every_table(bench: Bench) -> None:
    refusal = {
        "error": "invalid_client",
        "error_description": "AADSTS7000222: The provided client secret keys are expired.",
        "error_codes": [7000222],
    }
    outcome = bench.sync(on("/oauth2/v2.0/token", respond(401, refusal)))
    reason = (Status.FAILED, "AADSTS7000222")
    bench.check(outcome, told=dict.fromkeys(outcome.statuses, reason))


def test_a_token_that_comes_at_the_second_attempt_is_no_fault(bench: Bench) -> None:
    bench.check(bench.sync(on("/oauth2/v2.0/token", respond(503), nth=1)))
