"""Privileged Identity Management: roles and groups held for a time, or only the right to them.

PIM ends by itself what has an end, so nothing of ours has to be running then.

Sources: https://learn.microsoft.com/graph/api/rbacapplication-post-roleassignmentschedulerequests,
https://learn.microsoft.com/graph/api/rbacapplication-post-roleeligibilityschedulerequests,
https://learn.microsoft.com/graph/api/privilegedaccessgroup-post-assignmentschedulerequests,
https://learn.microsoft.com/graph/api/privilegedaccessgroup-post-eligibilityschedulerequests
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from entra_pipeline.msgraph import Written
from entra_pipeline.msgraph.errors import UnlicensedError
from entra_pipeline.provisioning.actions import groups, roles
from entra_pipeline.provisioning.actions.base import AT_ONCE, Call, Seen, judged, says
from entra_pipeline.provisioning.ledger.work import Outcome
from entra_pipeline.provisioning.plans import Operation
from entra_pipeline.provisioning.reads import Facts, Read
from entra_pipeline.provisioning.states import OperationState
from entra_pipeline.provisioning.values import Mode

UNLICENSED: Final = (
    "Privileged Identity Management is not to be had in this tenant (it needs Microsoft Entra ID "
    "P2 or Governance): ask with mode 'direct' and an end, which this program then keeps itself"
)
SHORTEST: Final = timedelta(minutes=5)
"""The shortest active hold that PIM gives, and the youngest that it takes."""
PENDING: Final = frozenset(
    {
        "PendingAdminDecision",
        "PendingApproval",
        "PendingExternalProvisioning",
        "PendingProvisioning",
        "PendingScheduleCreation",
    }
)
ACCEPTED: Final = frozenset({"Granted", "ScheduleCreated"})
"""A request that PIM has taken, whose hold may be still to begin."""

_FAILED: Final = frozenset({"Canceled", "Denied", "Failed"})
_SAME: Final = timedelta(seconds=1)
_THERE: Final = ("roleassignmentexists",)
_GONE: Final = ("roleassignmentdoesnotexist",)
_NOT_YET: Final = (
    "subjectnotfound",
    "rolenotfound",
    "resourcenotfound",
    "pendingroleassignmentrequest",
)
_TOO_YOUNG: Final = "activedurationtooshort"
_ADVICE: Final = {
    "policyvalidationfailed": (
        "the settings of the role or group in PIM forbid it: ask with an end within what they allow"
    ),
    _TOO_YOUNG: "PIM gives nothing for less than five minutes: ask for longer",
}


@dataclass(frozen=True)
class Shelf:
    """One of PIM's four collections: what is held (`thing`), and where or as what (`place`)."""

    base: str
    word: str
    thing: str
    place: str
    active: bool

    def requests_url(self, principal_id: str) -> str:
        """The address of what was asked of PIM for a principal."""
        return f"{self.base}/{self.word}ScheduleRequests?$filter=principalId eq '{principal_id}'"

    def instances_url(self, principal_id: str) -> str:
        """The address of what a principal holds now."""
        return f"{self.base}/{self.word}ScheduleInstances?$filter=principalId eq '{principal_id}'"

    def of_thing_url(self, thing_id: str) -> str:
        """The address of all holds of one role or group."""
        return f"{self.base}/{self.word}ScheduleInstances?$filter={self.thing} eq '{thing_id}'"

    def matching(
        self, rows: Sequence[Mapping[str, Any]], thing: str, place: str
    ) -> list[Mapping[str, Any]]:
        """The rows of just that role or group, there."""
        return [
            row
            for row in rows
            if row[self.thing] == thing
            and str(row.get(self.place) or ("member" if self.place == "accessId" else "/")) == place
        ]

    def held(
        self, rows: Sequence[Mapping[str, Any]], thing: str, place: str
    ) -> list[Mapping[str, Any]]:
        """The principal's own holds: none by a group, and no activation."""
        return [
            row
            for row in self.matching(rows, thing, place)
            if str(row.get("memberType") or "Direct").lower() == "direct"
            and str(row.get("assignmentType") or "Assigned").lower() == "assigned"
        ]


_ROLES: Final = "/roleManagement/directory"
_GROUPS: Final = "/identityGovernance/privilegedAccess/group"
SHELVES: Final[Mapping[tuple[str, str], Shelf]] = {
    ("role", Mode.PIM_ACTIVE.value): Shelf(
        _ROLES, "roleAssignment", "roleDefinitionId", "directoryScopeId", True
    ),
    ("role", Mode.PIM_ELIGIBLE.value): Shelf(
        _ROLES, "roleEligibility", "roleDefinitionId", "directoryScopeId", False
    ),
    ("group", Mode.PIM_ACTIVE.value): Shelf(_GROUPS, "assignment", "groupId", "accessId", True),
    ("group", Mode.PIM_ELIGIBLE.value): Shelf(_GROUPS, "eligibility", "groupId", "accessId", False),
}


def moment(text: str) -> datetime:
    """A time as PIM writes it, with up to seven digits after the point."""
    found = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def end_of(rows: Sequence[Mapping[str, Any]]) -> datetime | None:
    """When the last of some holds ends; None: never. There must be one."""
    ends = [row.get("endDateTime") for row in rows]
    return None if None in ends else max(moment(str(end)) for end in ends)


@dataclass(frozen=True)
class Hold:
    """Giving (`adds`) or taking what PIM keeps: of a `role` or a `group`."""

    of: str
    adds: bool
    visible_within: timedelta = timedelta(minutes=15)
    again_after: timedelta | None = AT_ONCE

    def reads(self, operation: Operation) -> tuple[Read, ...]:
        """What the principal holds by PIM, and for active holds what it has at all."""
        arguments, principal = operation.arguments, str(operation.principal_id)
        shelf = SHELVES[self.of, arguments["mode"]]
        reads = [Read(shelf.instances_url(principal))]
        if shelf.active:
            reads.append(Read(plain_url(self.of, arguments, principal)))
        for condition in operation.preconditions:
            if condition.fact == "role.others":
                reads.append(Read(roles.holders_url(arguments["thing"])))
            if condition.fact == "owners.others":
                reads.append(Read(groups.owners_url(arguments["thing"])))
        return tuple(reads)

    def see(self, operation: Operation, facts: Facts) -> Seen:
        """Whether it is held, and for as long as wanted."""
        arguments, principal = operation.arguments, str(operation.principal_id)
        shelf = SHELVES[self.of, arguments["mode"]]
        rows = facts.items(shelf.instances_url(principal)) or []
        held = shelf.held(rows, arguments["thing"], arguments["place"])
        plain = shelf.active and has_plainly(self.of, arguments, principal, rows, facts)
        if self.adds:
            if long_enough(held, plain=plain, arguments=arguments):
                return Seen(True)
            return Seen(False, facts={"action": "adminUpdate" if held else "adminAssign"})
        if not held and not plain:
            return Seen(True)
        return Seen(False, tuple(self._against(operation, facts)))

    def _against(self, operation: Operation, facts: Facts) -> list[str]:
        thing, principal = operation.arguments["thing"], str(operation.principal_id)
        against = []
        for condition in operation.preconditions:
            if condition.fact == "role.others":
                left = roles.others(facts.items(roles.holders_url(thing)) or [], principal)
                if left < roles.LEAST_ADMINISTRATORS:
                    against.append(f"only {left} Global Administrators would be left")
            if condition.fact == "owners.others":
                owners = {each["id"] for each in facts.items(groups.owners_url(thing)) or ()}
                if not owners - {principal}:
                    against.append(f"the last owner of group {thing} would go")
        return against

    def call(self, operation: Operation, seen: Seen, root: str) -> Call:
        """`POST …ScheduleRequests`: adminAssign, adminUpdate (another end) or adminRemove."""
        arguments = operation.arguments
        shelf = SHELVES[self.of, arguments["mode"]]
        body = {
            "action": seen.facts["action"] if self.adds else "adminRemove",
            "justification": arguments["reason"],
            "principalId": operation.principal_id,
            shelf.thing: arguments["thing"],
            shelf.place: arguments["place"],
        }
        if self.adds:
            ends = arguments["ends"]
            body["scheduleInfo"] = {
                # A start that is past means now.
                "startDateTime": arguments["starts"],
                "expiration": {"type": "noExpiration"}
                if ends is None
                else {"type": "afterDateTime", "endDateTime": ends},
            }
        return Call("POST", f"{shelf.base}/{shelf.word}ScheduleRequests", body)

    def judge(self, operation: Operation, written: Written) -> Outcome:
        """What Graph's answer means: PIM may take a request and still fail it."""
        if written.error is not None:
            if isinstance(written.error, UnlicensedError):
                return Outcome(OperationState.REFUSED, UNLICENSED)
            if self.adds:
                return judged(written, already=_THERE, later=_NOT_YET, advice=_ADVICE)
            if _TOO_YOUNG in says(written.error):
                # What has begun less than five minutes ago cannot be taken yet.
                return Outcome(OperationState.RETRYABLE, str(written.error), wait=SHORTEST)
            return judged(written, already=_GONE, later=_NOT_YET)
        answer = msgspec.json.decode(written.body)
        status = str(answer.get("status"))
        if status in _FAILED:
            return Outcome(OperationState.REFUSED, f"PIM answered the request with {status}")
        result = {"request": answer.get("id"), "status": status}
        return Outcome(OperationState.WRITTEN, added=True, result=result)


def plain_url(of: str, arguments: Mapping[str, Any], principal_id: str) -> str:
    """The address of what a principal has, by PIM or not."""
    if of == "role":
        return roles.held_url(principal_id)
    return groups.held_url(arguments["segment"], principal_id, arguments["place"])


def has_plainly(
    of: str,
    arguments: Mapping[str, Any],
    principal_id: str,
    instances: Sequence[Mapping[str, Any]],
    facts: Facts,
) -> bool:
    """Whether a principal has it apart from any activation, so that PIM says that it exists."""
    rows = facts.items(plain_url(of, arguments, principal_id)) or []
    if of == "group":
        return any(row["id"] == arguments["thing"] for row in rows)
    activated = {
        row.get("roleAssignmentOriginId")
        for row in instances
        if str(row.get("assignmentType")).lower() == "activated"
    }
    mine = [row for row in rows if row["id"] not in activated]
    return roles.found(mine, arguments["thing"], arguments["place"]) is not None


def long_enough(
    held: Sequence[Mapping[str, Any]], *, plain: bool, arguments: Mapping[str, Any]
) -> bool:
    """Whether what is held lasts as long as wanted; with `exact` in the arguments, no longer."""
    if not held:
        return plain
    end, wanted = end_of(held), arguments["ends"]
    if end is None or wanted is None:
        return end is None and (wanted is None or not arguments.get("exact"))
    if arguments.get("exact"):
        return abs(end - moment(wanted)) <= _SAME
    return end >= moment(wanted) - _SAME
