"""PIM: holds that begin, change, end by the clock and are refused; of roles and of groups."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import pytest

from entra_pipeline.simulator.writes.holds import Policy
from tests.simulator.writing import (
    DYNAMIC,
    LIST,
    NOBODY,
    ON_PREMISES,
    REPORTS_READER,
    ROLE_GROUP,
    STAFF,
    UNIT,
    USER_ADMINISTRATOR,
    Writing,
    writing,
)

ROLES = "/roleManagement/directory"
GROUPS = "/identityGovernance/privilegedAccess/group"
HOUR = {"expiration": {"type": "afterDuration", "duration": "PT1H"}}
FOREVER = {"expiration": {"type": "noExpiration"}}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writing]:
    with writing(tmp_path_factory.mktemp("writing")) as client:
        yield client


@pytest.fixture
def client(shared: Writing) -> Writing:
    """PIM as it is at the start; each test has a user and a group of its own."""
    shared.simulator.pim(**asdict(Policy()))
    shared.news()
    return shared


class Kind:
    """One of the four kinds of hold, as a test needs it."""

    def __init__(self, name: str, client: Writing) -> None:
        self.user = client.new_user()
        family, state = name.split()
        self.roles = family == "roles"
        self.active = state == "active"
        word = "Assignment" if self.active else "Eligibility"
        if self.roles:
            self.base = f"{ROLES}/role{word}"
            self.thing, self.effect = REPORTS_READER, f"role_{word.lower()}"
        else:
            self.base = f"{GROUPS}/{word.lower()}"
            self.thing, self.effect = client.new_group(), f"group_{word.lower()}"
        self.requests = f"{self.base}ScheduleRequests"

    def body(self, action: str, info: Any = None, **more: Any) -> dict[str, Any]:
        what = (
            {"roleDefinitionId": self.thing, "directoryScopeId": "/"}
            if self.roles
            else {"groupId": self.thing, "accessId": "member"}
        )
        times = {"scheduleInfo": info} if info is not None else {}
        return {
            "action": action,
            "principalId": self.user,
            "justification": "x",
            **what,
            **times,
            **more,
        }

    def instances(self, client: Writing) -> list[dict[str, Any]]:
        return client.rows(f"{self.base}ScheduleInstances?$filter=principalId eq '{self.user}'")

    def held(self, client: Writing) -> bool:
        """Whether the access itself is there."""
        if self.roles:
            path = f"{ROLES}/roleAssignments?$filter=principalId eq '{self.user}'"
            return bool(client.rows(path))
        return self.user in client.ids(f"/groups/{self.thing}/members")


KINDS = ["roles active", "roles eligible", "groups active", "groups eligible"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, client: Writing) -> Kind:
    made = Kind(request.param, client)
    client.news()
    return made


def end_of(row: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(row["endDateTime"])


def test_a_hold_begins_is_prolonged_and_ends_by_the_clock(client: Writing, kind: Kind) -> None:
    made = client.done("POST", kind.requests, kind.body("adminAssign", HOUR), 201)
    assert made["status"] == "Provisioned"
    (row,) = kind.instances(client)
    assert timedelta(minutes=59) < end_of(row) - client.now() <= timedelta(hours=1)
    assert kind.held(client) is kind.active
    assert client.get(f"{kind.requests}/{made['id']}").json()["status"] == "Provisioned"
    for again in ("adminAssign", "adminRenew"):
        assert client.refused("POST", kind.requests, kind.body(again, HOUR))[:2] == (
            400,
            "RoleAssignmentExists",
        )
    longer = {"expiration": {"type": "afterDuration", "duration": "PT3H"}}
    assert client.done("POST", kind.requests, kind.body("adminExtend", longer), 201)
    assert client.refused("POST", kind.requests, kind.body("adminExtend", HOUR))[0] == 400
    client.wait(2 * 3600)
    assert len(kind.instances(client)) == 1
    client.wait(3600)
    assert kind.instances(client) == []
    assert not kind.held(client)
    assert client.refused("POST", kind.requests, kind.body("adminRemove"))[:2] == (
        400,
        "RoleAssignmentDoesNotExist",
    )
    client.done("POST", kind.requests, kind.body("adminRenew", HOUR), 201)
    assert len(kind.instances(client)) == 1
    assert [row[0] for row in client.news()] == [
        f"assign_{kind.effect}",
        f"update_{kind.effect}",
        f"assign_{kind.effect}",
    ]


def test_a_hold_without_end_stays_until_it_is_removed(client: Writing, kind: Kind) -> None:
    client.done("POST", kind.requests, kind.body("adminAssign", FOREVER), 201)
    client.wait(400 * 86400)
    (row,) = kind.instances(client)
    assert row["endDateTime"] is None
    assert client.refused("POST", kind.requests, kind.body("adminExtend", HOUR))[0] == 400
    gone = client.done("POST", kind.requests, kind.body("adminRemove"), 201)
    assert gone["status"] == "Revoked"
    assert kind.instances(client) == []
    assert not kind.held(client)
    assert [row[0] for row in client.news()] == [f"assign_{kind.effect}", f"remove_{kind.effect}"]


def test_a_hold_in_the_future_waits_and_can_be_cancelled(client: Writing, kind: Kind) -> None:
    start = client.now() + timedelta(hours=1)
    info = {"startDateTime": start.isoformat(), **HOUR}
    first = client.done("POST", kind.requests, kind.body("adminAssign", info), 201)
    assert first["status"] == "Granted"
    assert kind.instances(client) == []
    assert client.refused("POST", kind.requests, kind.body("adminAssign", HOUR))[0] == 400
    client.done("POST", f"{kind.requests}/{first['id']}/cancel")
    assert client.get(f"{kind.requests}/{first['id']}").json()["status"] == "Canceled"
    assert client.refused("POST", f"{kind.requests}/{first['id']}/cancel")[0] == 400
    client.wait(5400)
    assert kind.instances(client) == []
    start = client.now() + timedelta(hours=1.5)
    info = {"startDateTime": start.isoformat(), **HOUR}
    second = client.done("POST", kind.requests, kind.body("adminAssign", info), 201)
    client.wait(2 * 3600)
    assert client.get(f"{kind.requests}/{second['id']}").json()["status"] == "Provisioned"
    assert kind.held(client) is kind.active
    client.wait(3600)
    assert kind.instances(client) == []


def test_provisioning_may_take_its_time(client: Writing, kind: Kind) -> None:
    client.simulator.pim(delay_s=30)
    made = client.done("POST", kind.requests, kind.body("adminAssign", HOUR), 201)
    assert made["status"] == "PendingProvisioning"
    assert not kind.held(client)
    assert client.refused("POST", kind.requests, kind.body("adminAssign", HOUR))[1] == (
        "PendingRoleAssignmentRequest"
    )
    client.wait(31)
    assert client.get(f"{kind.requests}/{made['id']}").json()["status"] == "Provisioned"
    assert len(kind.instances(client)) == 1
    assert len(client.news()) == 1


def test_validation_changes_nothing(client: Writing, kind: Kind) -> None:
    body = kind.body("adminAssign", HOUR, isValidationOnly=True)
    made = client.done("POST", kind.requests, body, 201)
    assert made["isValidationOnly"] is True
    assert kind.instances(client) == []
    assert client.get(f"{kind.requests}/{made['id']}").status_code == 404
    assert client.news() == []


def test_the_policy_is_asked(client: Writing, kind: Kind) -> None:
    client.simulator.pim(
        expiration_required=True,
        maximum={"assignment": "PT8H", "eligibility": "PT8H"},
        justification_required=True,
    )
    scope = "scopeId eq '/' and scopeType eq 'DirectoryRole'"
    path = f"/policies/roleManagementPolicies?$filter={scope}&$expand=rules"
    rule = client.rows(path)[0]["rules"][0]
    assert (rule["isExpirationRequired"], rule["maximumDuration"]) == (True, "PT8H")
    day = {"expiration": {"type": "afterDuration", "duration": "P1D"}}
    for info in (day, FOREVER):
        _, code, message = client.refused("POST", kind.requests, kind.body("adminAssign", info))
        assert code == "RoleAssignmentRequestPolicyValidationFailed"
        assert message == 'The following policy rules failed: ["ExpirationRule"]'
    body = kind.body("adminAssign", HOUR, justification="")
    assert "JustificationRule" in client.refused("POST", kind.requests, body)[2]
    client.done("POST", kind.requests, kind.body("adminAssign", HOUR), 201)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"principalId": NOBODY}, 404, "SubjectNotFound"),
        ({"principalId": "ada"}, 400, "InvalidId"),
        ({"action": "selfActivate"}, 400, "InvalidAction"),
        ({"action": None}, 400, "InvalidAction"),
        ({"scheduleInfo": None}, 400, "InvalidScheduleInfo"),
        ({"scheduleInfo": {"expiration": {"type": "never"}}}, 400, "InvalidScheduleInfo"),
        (
            {"scheduleInfo": {"expiration": {"type": "afterDuration", "duration": "1h"}}},
            400,
            "InvalidScheduleInfo",
        ),
        (
            {
                "scheduleInfo": {
                    "expiration": {"type": "afterDateTime", "endDateTime": "2020-01-01T00:00:00Z"}
                }
            },
            400,
            "InvalidScheduleInfo",
        ),
        ({"action": "adminUpdate"}, 400, "RoleAssignmentDoesNotExist"),
    ],
)
def test_requests_that_are_refused(
    client: Writing, change: dict[str, Any], status: int, code: str
) -> None:
    for name in KINDS:
        kind = Kind(name, client)
        body = {**kind.body("adminAssign", HOUR), **change}
        assert client.refused("POST", kind.requests, body)[:2] == (status, code)


def test_active_holds_have_a_shortest_length_and_may_be_too_young_to_end(client: Writing) -> None:
    kind = Kind("roles active", client)
    short = {"expiration": {"type": "afterDuration", "duration": "PT4M"}}
    refused = client.refused("POST", kind.requests, kind.body("adminAssign", short))
    assert refused[1] == "ActiveDurationTooShort"
    client.simulator.pim(minimum_age_s=300)
    client.done("POST", kind.requests, kind.body("adminAssign", HOUR), 201)
    refused = client.refused("POST", kind.requests, kind.body("adminRemove"))
    assert refused[1] == "ActiveDurationTooShort"
    client.wait(301)
    client.done("POST", kind.requests, kind.body("adminRemove"), 201)


def test_roles_of_groups_units_and_unknown_roles(client: Writing) -> None:
    kind = Kind("roles active", client)
    body = kind.body("adminAssign", HOUR, principalId=STAFF)
    assert client.refused("POST", kind.requests, body)[0] == 400
    body = kind.body("adminAssign", HOUR, roleDefinitionId=NOBODY)
    assert client.refused("POST", kind.requests, body)[:2] == (404, "RoleNotFound")
    scope = f"/administrativeUnits/{UNIT}"
    for principal in (client.new_user(), ROLE_GROUP):
        body = kind.body("adminAssign", HOUR, principalId=principal, directoryScopeId=scope)
        client.done("POST", kind.requests, body, 201)
        (row,) = client.rows(f"{ROLES}/roleAssignments?$filter=principalId eq '{principal}'")
        assert row["directoryScopeId"] == scope


@pytest.mark.parametrize("group", [DYNAMIC, ON_PREMISES, LIST])
def test_groups_that_pim_does_not_manage(client: Writing, group: str) -> None:
    for name in ("groups active", "groups eligible"):
        kind = Kind(name, client)
        body = kind.body("adminAssign", HOUR, groupId=group)
        assert client.refused("POST", kind.requests, body)[0] == 400


def test_ownership_is_held_too(client: Writing) -> None:
    kind = Kind("groups active", client)
    body = kind.body("adminAssign", HOUR, accessId="owner")
    client.done("POST", kind.requests, body, 201)
    assert client.ids(f"/groups/{kind.thing}/owners") == [kind.user]
    client.wait(3601)
    assert client.ids(f"/groups/{kind.thing}/owners") == []


def test_a_plain_removal_ends_the_hold_and_an_old_end_spares_what_came_after(
    client: Writing,
) -> None:
    groups, roles = Kind("groups active", client), Kind("roles active", client)
    client.done("POST", groups.requests, groups.body("adminAssign", HOUR), 201)
    client.done("POST", roles.requests, roles.body("adminAssign", HOUR), 201)
    client.done("DELETE", f"/groups/{groups.thing}/members/{groups.user}/$ref")
    assert groups.instances(client) == []
    (row,) = client.rows(f"{ROLES}/roleAssignments?$filter=principalId eq '{roles.user}'")
    client.done("DELETE", f"{ROLES}/roleAssignments/{row['id']}")
    assert roles.instances(client) == []
    client.done("POST", f"/groups/{groups.thing}/members/$ref", client.ref(groups.user))
    given = {"roleDefinitionId": REPORTS_READER, "principalId": roles.user, "directoryScopeId": "/"}
    client.done("POST", f"{ROLES}/roleAssignments", given, 201)
    client.wait(7200)
    assert groups.held(client)
    assert roles.held(client)


def test_what_is_held_outside_pim_counts_as_held(client: Writing) -> None:
    kind = Kind("groups active", client)
    client.done("POST", f"/groups/{kind.thing}/members/$ref", client.ref(kind.user))
    refused = client.refused("POST", kind.requests, kind.body("adminAssign", HOUR))
    assert refused[1] == "RoleAssignmentExists"
    client.done("POST", kind.requests, kind.body("adminRemove"), 201)
    assert not kind.held(client)


def test_schedules_follow_requests(client: Writing) -> None:
    kind = Kind("roles eligible", client)
    path = f"{kind.base}Schedules?$filter=principalId eq '{kind.user}'"
    start = client.now() + timedelta(hours=1)
    info = {"startDateTime": start.isoformat(), **HOUR}
    made = client.done("POST", kind.requests, kind.body("adminAssign", info), 201)
    (row,) = client.rows(path)
    assert (row["id"], row["status"]) == (made["targetScheduleId"], "Granted")
    client.wait(3700)
    (row,) = client.rows(path)
    assert (row["id"], row["status"]) == (made["targetScheduleId"], "Provisioned")
    client.wait(3700)
    assert client.rows(path) == []


def test_pim_needs_its_licence_and_its_permissions(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with writing(tmp_path_factory.mktemp("p1"), license="p1") as client:
        for name in KINDS:
            kind = Kind(name, client)
            refused = client.refused("POST", kind.requests, kind.body("adminAssign", HOUR))
            assert refused[:2] == (400, "AadPremiumLicenseRequired")
    lacking = (
        "RoleManagement.ReadWrite.Directory",
        "RoleAssignmentSchedule.ReadWrite.Directory",
        "PrivilegedEligibilitySchedule.ReadWrite.AzureADGroup",
    )
    with writing(tmp_path_factory.mktemp("less"), writer_without_permission=lacking) as client:
        statuses = [
            client.send("POST", each.requests, each.body("adminAssign", HOUR)).status_code
            for each in (Kind(name, client) for name in KINDS)
        ]
        assert statuses == [403, 201, 201, 403]


def test_the_log_tells_of_holds_and_of_who_ended_them(client: Writing) -> None:
    kind = Kind("roles active", client)
    body = kind.body("adminAssign", HOUR, roleDefinitionId=USER_ADMINISTRATOR)
    client.done("POST", kind.requests, body, 201)
    client.wait(3601)
    client.get("/organization")
    rows = [
        row
        for row in client.rows("/auditLogs/directoryAudits")
        if kind.user in [each["id"] for each in row["targetResources"]]
    ]
    by_name = {row["activityDisplayName"]: row["initiatedBy"]["app"] for row in rows}
    given = by_name["Add member to role in PIM completed (timebound)"]
    assert given["appId"] == client.simulator.info.writer_client_id
    taken = by_name["Remove member from role in PIM completed (timebound)"]
    assert taken["displayName"] == "MS-PIM"
