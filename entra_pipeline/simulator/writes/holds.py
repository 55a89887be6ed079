"""What PIM holds: schedules that begin, become instances, and end when the clock says so.

Here: the state behind PIM requests and what happens by itself as time passes. The requests are in
pim.py. Only holds that began with a request end by themselves; what the tenant started with stays.
"""

import heapq
import random
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Literal

from entra_pipeline.simulator.changes.base import Session
from entra_pipeline.simulator.changes.licences import inherit
from entra_pipeline.simulator.clock import Clock
from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.generate.build import new_id, new_token
from entra_pipeline.simulator.logs.entries import by_application
from entra_pipeline.simulator.logs.trail import Trail
from entra_pipeline.simulator.tenant import JsonObject
from entra_pipeline.simulator.writes import role_assignments
from entra_pipeline.simulator.writes.spans import Span, seconds_of, stamp

_MS_PIM = {
    "id": "3fd1e0a5-5c0b-4ac6-9a2c-0f6a1b5a9c11",
    "appId": "01fc33a7-78ba-4d2f-a4b7-768e336e890e",
    "displayName": "MS-PIM",
}
_SCHEDULE_IDS = (
    "roleAssignmentScheduleId",
    "roleEligibilityScheduleId",
    "assignmentScheduleId",
    "eligibilityScheduleId",
)
Step = Literal["provision", "end"]


@dataclass(frozen=True)
class Family:
    """One of the four kinds of hold.

    `thing` names the property that says what is held (a role or a group), `place` the one that
    says where (a scope) or as what (member or owner).
    """

    name: str
    requests: str
    instances: str
    thing: str
    place: str
    active: bool

    @property
    def of_groups(self) -> bool:
        """Whether groups are held rather than roles."""
        return self.thing == "groupId"


ROLE_ACTIVE = Family(
    "role_assignment",
    "role_assignment_schedule_requests",
    "role_assignment_schedule_instances",
    "roleDefinitionId",
    "directoryScopeId",
    True,
)
ROLE_ELIGIBLE = Family(
    "role_eligibility",
    "role_eligibility_schedule_requests",
    "role_eligibility_schedule_instances",
    "roleDefinitionId",
    "directoryScopeId",
    False,
)
GROUP_ACTIVE = Family(
    "group_assignment",
    "group_assignment_schedule_requests",
    "group_assignment_schedule_instances",
    "groupId",
    "accessId",
    True,
)
GROUP_ELIGIBLE = Family(
    "group_eligibility",
    "group_eligibility_schedule_requests",
    "group_eligibility_schedule_instances",
    "groupId",
    "accessId",
    False,
)


@dataclass(frozen=True, slots=True)
class Key:
    """Who holds what where."""

    principal: str
    thing: str
    place: str


@dataclass
class Schedule:
    """A hold that a request made, from its acceptance to its end."""

    id: str
    family: Family
    key: Key
    span: Span
    request: str
    provisioned: bool = False
    over: bool = False
    revision: int = 0
    """Grows when the span changes: ends that were planned before no longer count."""


@dataclass(order=True)
class _Due:
    at: float
    number: int
    step: Step = field(compare=False)
    schedule: Schedule = field(compare=False)
    revision: int = field(compare=False)


@dataclass
class Policy:
    """How PIM behaves; `/_sim/pim` changes it."""

    expiration_required: bool = False
    maximum: dict[str, str] = field(
        default_factory=lambda: {"assignment": "P180D", "eligibility": "P365D"}
    )
    """The longest hold where one must end, as ISO 8601 durations."""
    justification_required: bool = False
    minimum_active_s: float = 300.0
    """The shortest active hold that may be asked for."""
    minimum_age_s: float = 0.0
    """How old an active hold must be before it may be taken away."""
    delay_s: float = 0.0
    """How long a request is `PendingProvisioning`."""


class Holds:
    """All holds of one simulator that came from requests."""

    def __init__(
        self, directory: Directory, clock: Clock, trail: Trail, rng: random.Random
    ) -> None:
        self.policy = Policy()
        self._directory = directory
        self._clock = clock
        self._trail = trail
        self._rng = rng
        self._due: list[_Due] = []
        self._numbers = count()
        self._schedules: dict[tuple[str, Key], Schedule] = {}
        for family in (ROLE_ACTIVE, ROLE_ELIGIBLE, GROUP_ACTIVE, GROUP_ELIGIBLE):
            directory.collection(family.requests)  # empty, and there to be looked at

    def set_policy(self, **changes: Any) -> None:
        """Change fields of the policy. Raises TypeError or ValueError for nonsense."""
        changed = replace(self.policy, **changes)
        for duration in changed.maximum.values():
            seconds_of(duration)
        self.policy = changed
        self._directory.limit_holds(required=changed.expiration_required, **changed.maximum)

    def tick(self) -> None:
        """Let everything begin and end that is due."""
        now = self._clock.time()
        while self._due and self._due[0].at <= now:
            due = heapq.heappop(self._due)
            schedule = due.schedule
            if schedule.over or schedule.revision != due.revision:
                continue
            session = Session(self._directory, self._rng, self._clock.now(), self._trail.observe)
            with self._trail.by(by_application(_MS_PIM), new_id(self._rng)):
                if due.step == "provision":
                    self._begin(session, schedule)
                elif self._stands(schedule):
                    self.finish(session, schedule.family, schedule.key)

    def pending(self, family: Family, key: Key) -> Schedule | None:
        """A hold that was accepted and has not begun."""
        found = self._schedules.get((family.name, key))
        return found if found is not None and not found.over and not found.provisioned else None

    def known(self, family: Family, key: Key) -> Schedule | None:
        """The last hold of this key that a request made, over or not."""
        return self._schedules.get((family.name, key))

    def accept(
        self, session: Session, family: Family, key: Key, span: Span, request: str
    ) -> Schedule:
        """Take up a hold; it begins at once unless its start or PIM's delay is still to come."""
        now = self._clock.time()
        begins = max(span.start, now + self.policy.delay_s)
        schedule = Schedule(self._new_id(family, key), family, key, span, request)
        self._schedules[family.name, key] = schedule
        if begins <= now:
            self.provision(session, schedule)
        else:
            self._plan(begins, "provision", schedule)
        if span.end is not None:
            self._plan(span.end, "end", schedule)
        return schedule

    def change(self, session: Session, family: Family, key: Key, span: Span, request: str) -> str:
        """Give a hold another end (for one that has not begun: another start too); its id."""
        schedule = self._schedules.get((family.name, key))
        if schedule is None or schedule.over:
            schedule = Schedule(
                self._schedule_of_instance(family, key), family, key, span, request, True
            )
            self._schedules[family.name, key] = schedule
        schedule.revision += 1
        schedule.span, schedule.request = span, request
        if not schedule.provisioned:
            self._plan(max(span.start, self._clock.time()), "provision", schedule)
        for row in self.instances(family, key):
            end = None if span.end is None else stamp(span.end)
            session.patch(family.instances, row["id"], {"endDateTime": end})
        if span.end is not None:
            self._plan(span.end, "end", schedule)
        return schedule.id

    def instances(self, family: Family, key: Key) -> list[JsonObject]:
        """Rows of a hold that are the principal's own and no activation."""
        rows = self._directory.grouped(family.instances, "principalId").get(key.principal, ())
        return [
            row
            for row in rows
            if row[family.thing] == key.thing
            and _place(family, row) == key.place
            and str(row.get("memberType") or "Direct").lower() == "direct"
            and str(row.get("assignmentType") or "Assigned").lower() == "assigned"
        ]

    def is_held(self, family: Family, key: Key) -> bool:
        """Whether there is such a hold now, however it came about."""
        if self.instances(family, key):
            return True
        if family is ROLE_ACTIVE:
            return any(
                not self._is_activation(row)
                for row in role_assignments.held(
                    self._directory, key.principal, key.thing, key.place
                )
            )
        if family is GROUP_ACTIVE:
            return self._directory.is_linked(_relation(key), key.thing, key.principal)
        return False

    def provision(self, session: Session, schedule: Schedule) -> None:
        """Let a hold begin."""
        family, key, span = schedule.family, schedule.key, schedule.span
        schedule.provisioned = True
        start = stamp(max(span.start, self._clock.time()))
        end = None if span.end is None else stamp(span.end)
        if family is ROLE_ACTIVE:
            held = role_assignments.held(self._directory, key.principal, key.thing, key.place)
            row = held[0] if held else None
            row = row or role_assignments.put_assignment(
                session, key.principal, key.thing, key.place
            )
            role_assignments.put_instance(session, row, schedule.id, start, end)
        elif family.of_groups:
            session.put(family.instances, self._group_instance(schedule, start, end))
            if family.active and session.link(_relation(key), key.thing, key.principal):
                inherit(session, key.thing, key.principal, gained=True)
        else:
            session.put(
                family.instances,
                {
                    "id": new_token(self._rng) + "-1-e",
                    "appScopeId": None,
                    "directoryScopeId": key.place,
                    "endDateTime": end,
                    "memberType": "Direct",
                    "principalId": key.principal,
                    "roleDefinitionId": key.thing,
                    "roleEligibilityScheduleId": schedule.id,
                    "startDateTime": start,
                },
            )
        if schedule.request in self._directory.collection(family.requests):
            session.patch(
                family.requests,
                schedule.request,
                {"status": "Provisioned", "completedDateTime": stamp(self._clock.time())},
            )

    def finish(self, session: Session, family: Family, key: Key) -> None:
        """End a hold, with what it gave."""
        schedule = self._schedules.get((family.name, key))
        if schedule is not None:
            schedule.over = True
            if not schedule.provisioned:
                session.patch(family.requests, schedule.request, {"status": "Canceled"})
        rows = self.instances(family, key)
        if family is ROLE_ACTIVE:
            for row in role_assignments.held(self._directory, key.principal, key.thing, key.place):
                if not self._is_activation(row):
                    role_assignments.remove_assignment(session, self._directory, row)
        elif family is ROLE_ELIGIBLE:
            ids = {row.get("roleEligibilityScheduleId") or row["id"] for row in rows}
            for row in list(self._directory.collection(family.instances).values()):
                # Rows of a group's members follow from the group's eligibility.
                if (row.get("roleEligibilityScheduleId") or row["id"]) in ids:
                    session.remove(family.instances, row["id"])
            self._end_activations(session, key)
        for row in rows:
            if row["id"] in self._directory.collection(family.instances):
                session.remove(family.instances, row["id"])
        if family is GROUP_ACTIVE and session.unlink(_relation(key), (key.thing, key.principal)):
            inherit(session, key.thing, key.principal, gained=False)

    # The inside

    def _begin(self, session: Session, schedule: Schedule) -> None:
        """Let a hold begin, unless who was to have it, or what, has gone meanwhile."""
        key = schedule.key
        ends = [key.principal, key.thing] if schedule.family.of_groups else [key.principal]
        if all(self._directory.find(each) for each in ends):
            self.provision(session, schedule)
            return
        schedule.over = True
        session.patch(schedule.family.requests, schedule.request, {"status": "Failed"})

    def _stands(self, schedule: Schedule) -> bool:
        """Whether the hold is still the one that the schedule made."""
        rows = self.instances(schedule.family, schedule.key)
        if any(schedule.id in (row.get(name) for name in _SCHEDULE_IDS) for row in rows):
            return True
        schedule.over = True
        return False

    def _end_activations(self, session: Session, key: Key) -> None:
        for row in role_assignments.held(self._directory, key.principal, key.thing, key.place):
            if self._is_activation(row):
                role_assignments.remove_assignment(session, self._directory, row)

    def _is_activation(self, assignment: JsonObject) -> bool:
        instances = self._directory.grouped(
            "role_assignment_schedule_instances", "roleAssignmentOriginId"
        ).get(assignment["id"], ())
        return bool(instances) and all(
            row.get("assignmentType") == "Activated" for row in instances
        )

    def _plan(self, at: float, step: Step, schedule: Schedule) -> None:
        heapq.heappush(self._due, _Due(at, next(self._numbers), step, schedule, schedule.revision))

    def _new_id(self, family: Family, key: Key) -> str:
        made = new_id(self._rng)
        return f"{key.thing}_{key.place}_{made}" if family.of_groups else made

    def _schedule_of_instance(self, family: Family, key: Key) -> str:
        for row in self.instances(family, key):
            for name in _SCHEDULE_IDS:
                if row.get(name):
                    return str(row[name])
        return self._new_id(family, key)

    def _group_instance(self, schedule: Schedule, start: str, end: str | None) -> JsonObject:
        row: JsonObject = {
            "id": schedule.id,
            "accessId": schedule.key.place,
            "endDateTime": end,
            "groupId": schedule.key.thing,
            "memberType": "direct",
            "principalId": schedule.key.principal,
            "startDateTime": start,
        }
        if schedule.family.active:
            return {**row, "assignmentScheduleId": schedule.id, "assignmentType": "assigned"}
        return {**row, "eligibilityScheduleId": schedule.id}


def _relation(key: Key) -> str:
    return "group_owners" if key.place == "owner" else "group_members"


def _place(family: Family, row: JsonObject) -> str:
    return str(row.get(family.place) or ("member" if family.of_groups else "/"))
