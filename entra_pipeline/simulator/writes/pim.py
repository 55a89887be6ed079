"""Requests to PIM: a role or a group for a time, at once or later, or only the right to it.

Graph "Create roleAssignmentScheduleRequests", "Create roleEligibilityScheduleRequests", "Create
assignmentScheduleRequest" and "Create eligibilityScheduleRequest" (PIM for groups). Only
administrators' actions: an application cannot activate anything for itself.
"""

from dataclasses import dataclass

from entra_pipeline.simulator.errors import GraphError, bad_request, not_found
from entra_pipeline.simulator.generate.build import new_id
from entra_pipeline.simulator.keys import GUID
from entra_pipeline.simulator.permissions import Acceptable
from entra_pipeline.simulator.wire import JsonObject, Response
from entra_pipeline.simulator.writes import group_rules, needs, role_assignments
from entra_pipeline.simulator.writes.holds import (
    GROUP_ACTIVE,
    GROUP_ELIGIBLE,
    ROLE_ACTIVE,
    ROLE_ELIGIBLE,
    Family,
    Holds,
    Key,
)
from entra_pipeline.simulator.writes.spans import Span, moment_of, read_span, seconds_of, stamp
from entra_pipeline.simulator.writes.write import Write

_NO_PIM = frozenset({"govsg", "delos"})
_ACTIONS = {
    "adminassign": "adminAssign",
    "adminupdate": "adminUpdate",
    "adminremove": "adminRemove",
    "adminextend": "adminExtend",
    "adminrenew": "adminRenew",
}
_SELF = frozenset({"selfactivate", "selfdeactivate", "selfextend", "selfrenew"})


@dataclass(frozen=True)
class Endpoint:
    """One of the four collections of requests."""

    family: Family
    need: Acceptable
    path: str
    kind: str

    def create(self, write: Write) -> Response:
        """`POST …ScheduleRequests`: 201 with the request and its status."""
        return _Submission(self, write).answer()

    def cancel(self, write: Write) -> Response:
        """`POST …ScheduleRequests/{id}/cancel`: 204, for what has not begun."""
        write.need(self.need, "p2")
        write.not_in(_NO_PIM, self.path.rpartition("/")[2])
        row = write.directory.collection(self.family.requests).get(write.keys[0])
        if row is None:
            raise not_found(write.keys[0])
        key = Key(row["principalId"], row[self.family.thing], row[self.family.place])
        holds = holds_of(write)
        schedule = holds.pending(self.family, key)
        if schedule is None or schedule.request != row["id"]:
            raise bad_request(
                "The request cannot be canceled: it is not pending.",
                "RoleAssignmentRequestNotPending",
            )
        schedule.over = True
        write.session.patch(
            self.family.requests,
            row["id"],
            {"status": "Canceled", "completedDateTime": write.stamp},
        )
        write.effect(
            f"cancel_{self.family.name}", key.thing, key.principal, place=key.place, id=row["id"]
        )
        return write.no_content()


def holds_of(write: Write) -> Holds:
    """The holds of this simulator."""
    found = write.service.state["holds"]
    assert isinstance(found, Holds)  # noqa: S101 - put there when the simulator starts
    return found


class _Submission:
    """One request to PIM."""

    def __init__(self, endpoint: Endpoint, write: Write) -> None:
        self._endpoint = endpoint
        self._family = endpoint.family
        self._write = write
        self._holds = holds_of(write)
        self._now = write.service.clock.time()

    def answer(self) -> Response:
        write, family = self._write, self._family
        write.need(self._endpoint.need, "p2")
        write.not_in(_NO_PIM, self._endpoint.path.rpartition("/")[2])
        action = self._action()
        key = self._key()
        if family is GROUP_ACTIVE or family is GROUP_ELIGIBLE:
            self._check_group(key)
        request_id = new_id(write.service.rng)
        only_validate = write.body.get("isValidationOnly") is True
        if action == "adminRemove":
            span = None
            self._check_removable(key)
        else:
            span = self._span(action, key)
            self._check_policy(span)
        if only_validate:
            return self._respond(request_id, action, key, span, "Granted", None, stored=False)
        if span is None:
            self._holds.finish(write.session, family, key)
            self._effect("remove", key, None, request_id)
            return self._respond(request_id, action, key, None, "Revoked", None)
        if action in ("adminAssign", "adminRenew"):
            schedule = self._holds.accept(write.session, family, key, span, request_id)
            status = "Provisioned"
            if not schedule.provisioned:
                status = "Granted" if span.start > self._now else "PendingProvisioning"
            target = schedule.id
        else:
            target = self._holds.change(write.session, family, key, span, request_id)
            status = "Provisioned"
        verb = {"adminAssign": "assign", "adminRenew": "assign"}.get(action, "update")
        self._effect(verb, key, span, request_id)
        return self._respond(request_id, action, key, span, status, target)

    # Checks

    def _action(self) -> str:
        given = str(self._write.body.get("action") or "").lower()
        if given in _SELF:
            raise bad_request(
                "The action is only valid with delegated authentication.", "InvalidAction"
            )
        if given not in _ACTIONS:
            raise bad_request("The action of the request is missing or unknown.", "InvalidAction")
        return _ACTIONS[given]

    def _key(self) -> Key:
        body, family, write = self._write.body, self._family, self._write
        principal, thing = body.get("principalId"), body.get(family.thing)
        for name, value in (("principalId", principal), (family.thing, thing)):
            if not isinstance(value, str) or not GUID.match(value):
                raise bad_request(f"The value of '{name}' is missing or no id.", "InvalidId")
        principal, thing = str(principal).lower(), str(thing).lower()
        if family.of_groups:
            access = str(body.get("accessId") or "").lower()
            if access not in ("member", "owner"):
                raise bad_request("accessId must be member or owner.", "InvalidAccessId")
            if not self._exists(thing, "groups"):
                raise GraphError(404, "ResourceNotFound", f"The group '{thing}' was not found.")
            self._check_subject(principal)
            return Key(principal, thing, access)
        if thing not in write.directory.collection("role_definitions"):
            raise GraphError(404, "RoleNotFound", "The role is not found.")
        role_assignments.find_role(write, thing)
        self._check_subject(principal)
        scope = body.get("directoryScopeId")
        if not isinstance(scope, str):
            raise bad_request("A value is required for property 'directoryScopeId'.")
        place = role_assignments.check_scope(write, scope)
        if write.body.get("action", "").lower() != "adminremove":
            role_assignments.check_holder(write, principal)
        return Key(principal, thing, place)

    def _exists(self, object_id: str, collection: str | None = None) -> bool:
        try:
            found = self._write.find(object_id)
        except GraphError:
            return False
        return collection is None or found[0] == collection

    def _check_subject(self, principal: str) -> None:
        if not self._exists(principal):
            raise GraphError(404, "SubjectNotFound", "The subject is not found.")

    def _check_group(self, key: Key) -> None:
        write = self._write
        _, group = write.find(key.thing)
        if group_rules.is_dynamic(group) or group.get("onPremisesSyncEnabled"):
            raise bad_request(
                "Groups with dynamic membership and groups synchronized from on-premises cannot be "
                "managed in PIM.",
                "InvalidResource",
            )
        if group_rules.is_exchange(group):
            raise bad_request("Mail-enabled groups cannot be managed in PIM.", "InvalidResource")
        collection, obj = write.find(key.principal)
        if key.place == "owner":
            group_rules.check_owner(write, collection)
        elif collection not in ("users", "groups"):
            raise bad_request("The principal must be a user or a group.", "InvalidSubject")
        else:
            group_rules.check_member(write, group, collection, obj)

    def _check_removable(self, key: Key) -> None:
        family, policy = self._family, self._holds.policy
        if self._holds.pending(family, key) is None and not self._holds.is_held(family, key):
            raise bad_request("The Role assignment does not exist.", "RoleAssignmentDoesNotExist")
        if not family.active:
            return
        for row in self._holds.instances(family, key):
            begun = row.get("startDateTime")
            if begun and self._now - moment_of(begun) < policy.minimum_age_s:
                raise self._too_short()
        if family is GROUP_ACTIVE and key.place == "owner":
            group_rules.check_last_owner(self._write, key.thing, key.principal)

    def _span(self, action: str, key: Key) -> Span:
        family, holds = self._family, self._holds
        span = read_span(self._write.body.get("scheduleInfo"), self._now)
        pending, held = holds.pending(family, key), holds.is_held(family, key)
        if action == "adminAssign":
            if held or (pending is not None and pending.span.start > self._now):
                raise bad_request("The Role assignment already exists.", "RoleAssignmentExists")
            if pending is not None:
                raise bad_request(
                    "There is already an existing pending Role assignment request.",
                    "PendingRoleAssignmentRequest",
                )
        elif action == "adminRenew":
            known = holds.known(family, key)
            if held or pending is not None:
                raise bad_request("The Role assignment already exists.", "RoleAssignmentExists")
            if known is None:
                raise self._missing()
        elif not held and pending is None:
            raise self._missing()
        elif action == "adminExtend":
            ends = [row.get("endDateTime") for row in holds.instances(family, key)]
            if not ends or None in ends:
                raise bad_request(
                    "The Role assignment does not expire and cannot be extended.",
                    "InvalidRoleAssignmentRequest",
                )
            if span.end is not None and span.end <= max(moment_of(str(end)) for end in ends):
                raise bad_request(
                    "The new end of the Role assignment is not later than the present one.",
                    "InvalidRoleAssignmentRequest",
                )
        return span

    def _check_policy(self, span: Span) -> None:
        policy, family = self._holds.policy, self._family
        failed = []
        if policy.expiration_required:
            longest = policy.maximum["assignment" if family.active else "eligibility"]
            if span.end is None or span.end - span.start > seconds_of(longest):
                failed.append("ExpirationRule")
        if policy.justification_required and not self._write.body.get("justification"):
            failed.append("JustificationRule")
        if failed:
            listed = ",".join(f'"{each}"' for each in failed)
            raise bad_request(
                f"The following policy rules failed: [{listed}]",
                "RoleAssignmentRequestPolicyValidationFailed",
            )
        if (
            family.active
            and span.end is not None
            and span.end - span.start < policy.minimum_active_s
        ):
            raise self._too_short()

    def _too_short(self) -> GraphError:
        return bad_request(
            "The active duration is too short. Minimum required is 5 minutes.",
            "ActiveDurationTooShort",
        )

    def _missing(self) -> GraphError:
        return bad_request("The Role assignment does not exist.", "RoleAssignmentDoesNotExist")

    # What comes of it

    def _effect(self, verb: str, key: Key, span: Span | None, request_id: str) -> None:
        times: JsonObject = {}
        if span is not None:
            times = {
                "start": stamp(span.start),
                "end": None if span.end is None else stamp(span.end),
            }
        self._write.effect(
            f"{verb}_{self._family.name}",
            key.thing,
            key.principal,
            place=key.place,
            id=request_id,
            **times,
        )

    def _respond(
        self,
        request_id: str,
        action: str,
        key: Key,
        span: Span | None,
        status: str,
        target: str | None,
        *,
        stored: bool = True,
    ) -> Response:
        write, family, endpoint = self._write, self._family, self._endpoint
        done = status in ("Provisioned", "Revoked")
        row: JsonObject = {
            "id": request_id,
            "status": status,
            "createdDateTime": write.stamp,
            "completedDateTime": write.stamp if done else None,
            "approvalId": None,
            "customData": None,
            "createdBy": {
                "application": {"id": write.caller.app_id, "displayName": None},
                "device": None,
                "user": {"id": write.caller.user_id, "displayName": None},
            },
            "action": action,
            "principalId": key.principal,
            family.thing: key.thing,
            family.place: key.place,
            "isValidationOnly": not stored,
            "targetScheduleId": target,
            "justification": write.body.get("justification"),
            "scheduleInfo": None if span is None else span.document(),
            "ticketInfo": write.body.get("ticketInfo")
            or {"ticketNumber": None, "ticketSystem": None},
        }
        if not family.of_groups:
            row["appScopeId"] = None
        if stored:
            write.session.put(family.requests, row)
        return write.entity(endpoint.kind, row, endpoint.path, status=201)


ENDPOINTS = (
    Endpoint(
        ROLE_ACTIVE,
        needs.ROLE_SCHEDULES,
        "roleManagement/directory/roleAssignmentScheduleRequests",
        "unifiedRoleAssignmentScheduleRequest",
    ),
    Endpoint(
        ROLE_ELIGIBLE,
        needs.ROLE_ELIGIBILITIES,
        "roleManagement/directory/roleEligibilityScheduleRequests",
        "unifiedRoleEligibilityScheduleRequest",
    ),
    Endpoint(
        GROUP_ACTIVE,
        needs.GROUP_SCHEDULES,
        "identityGovernance/privilegedAccess/group/assignmentScheduleRequests",
        "privilegedAccessGroupAssignmentScheduleRequest",
    ),
    Endpoint(
        GROUP_ELIGIBLE,
        needs.GROUP_ELIGIBILITIES,
        "identityGovernance/privilegedAccess/group/eligibilityScheduleRequests",
        "privilegedAccessGroupEligibilityScheduleRequest",
    ),
)
