"""An invented past of directory audits: what administrators of such a tenant do all day.

Each block of entries comes from a random stream of its own, so that the same tenant and seed give
the same entries for the same day, whenever they are asked for. They tell of things that may have
happened before the simulator started; what happens since is written by trail.py.
"""

import random
from collections.abc import Callable

from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.logs.entries import (
    CORE,
    Activity,
    Writer,
    by_user,
    modified,
    resource,
    updated,
)
from entra_pipeline.simulator.logs.feed import BLOCK
from entra_pipeline.simulator.logs.schedule import Schedule
from entra_pipeline.simulator.wire import JsonObject, encode_json

_WEAK_PASSWORD = "The password does not meet the requirements."  # noqa: S105
Make = Callable[["InventedAudits", random.Random, int], JsonObject]


class InventedAudits:
    """Invents the audits of one tenant, as it was when the simulator started."""

    def __init__(self, directory: Directory, schedule: Schedule, seed: int) -> None:
        self._schedule = schedule
        self._seed = seed
        self._writer = Writer(directory)
        self._users = list(directory.collection("users").values())
        self._groups = list(directory.collection("groups").values())
        self._applications = list(directory.collection("service_principals").values())
        self._tenant_id = directory.tenant.tenant_id

    @property
    def possible(self) -> bool:
        """Whether there is anything to tell of."""
        return bool(self._users and self._groups and self._applications)

    def block(self, number: int, policies: bool) -> list[bytes]:
        """The encoded entries of a block."""
        del policies  # audits show none
        rng = random.Random(f"{self._seed}:audits:{number}")
        makers = rng.choices(_MAKERS, _WEIGHTS, k=BLOCK)
        moment, first = self._schedule.moment, number * BLOCK
        return [
            encode_json(make(self, rng, moment(first + position)))
            for position, make in enumerate(makers)
        ]

    def _user(self, rng: random.Random) -> JsonObject:
        return self._users[int(rng.random() * len(self._users))]

    def _update_user(self, rng: random.Random, ticks: int) -> JsonObject:
        user = self._user(rng)
        name = rng.choice(("jobTitle", "department", "mobilePhone", "officeLocation"))
        changes = updated({}, {name: user.get(name)}, [name])
        kind = modified("TargetId.UserType", None, user.get("userType") or "Member")
        return self._writer.entry(
            rng,
            ticks,
            Activity("Update user", "UserManagement", "Update"),
            [resource("User", user, [*changes, kind])],
        )

    def _member(self, rng: random.Random, ticks: int) -> JsonObject:
        group = self._groups[int(rng.random() * len(self._groups))]
        joined = rng.random() < 0.65
        return self._writer.entry(
            rng,
            ticks,
            JOINED if joined else LEFT,
            membership(self._user(rng), "User", group, "Group", joined),
        )

    def _password(self, rng: random.Random, ticks: int) -> JsonObject:
        user = self._user(rng)
        own = rng.random() < 0.5
        name = "Change user password" if own else "Reset user password"
        return self._writer.entry(
            rng,
            ticks,
            Activity(name, "UserManagement", "Update"),
            [resource("User", user)],
            initiator=by_user(user, rng) if own else None,
            failure=_WEAK_PASSWORD if rng.random() < 0.1 else "",
        )

    def _licence(self, rng: random.Random, ticks: int) -> JsonObject:
        return self._writer.entry(
            rng,
            ticks,
            Activity("Change user license", "UserManagement", "Update"),
            [resource("User", self._user(rng))],
        )

    def _revoke(self, rng: random.Random, ticks: int) -> JsonObject:
        stamp = modified("StsRefreshTokensValidFrom", [], ["2026-01-01T00:00:00Z"])
        return self._writer.entry(
            rng,
            ticks,
            Activity("Update StsRefreshTokenValidFrom Timestamp", "UserManagement", "Update"),
            [resource("User", self._user(rng), [stamp])],
        )

    def _update_application(self, rng: random.Random, ticks: int) -> JsonObject:
        application = self._applications[int(rng.random() * len(self._applications))]
        return self._writer.entry(
            rng,
            ticks,
            Activity("Update service principal", "ApplicationManagement", "Update"),
            [
                resource(
                    "ServicePrincipal",
                    application,
                    updated({"accountEnabled": True}, {"accountEnabled": True}, ["accountEnabled"]),
                )
            ],
        )

    def _consent(self, rng: random.Random, ticks: int) -> JsonObject:
        application = self._applications[int(rng.random() * len(self._applications))]
        properties = [
            modified("ConsentContext.IsAdminConsent", None, "False"),
            modified("ConsentAction.Permissions", None, "[] => [[Scope: User.Read]]; "),
        ]
        user = self._user(rng)
        return self._writer.entry(
            rng,
            ticks,
            Activity("Consent to application", "ApplicationManagement", "Assign"),
            [resource("ServicePrincipal", application, properties)],
            initiator=by_user(user, rng),
            details=[("User-Agent", "EvoSTS"), ("AppId", str(application.get("appId")))],
        )


def membership(
    member: JsonObject, member_kind: str, group: JsonObject, prefix: str, joined: bool
) -> list[JsonObject]:
    """Targets of an entry about a member or owner: the member with what it joined, then that."""
    named = [
        (f"{prefix}.ObjectID", group.get("id")),
        (f"{prefix}.DisplayName", group.get("displayName")),
        (f"{prefix}.WellKnownObjectName", None),
    ]
    properties = [
        modified(name, None, value) if joined else modified(name, value, None)
        for name, value in named
    ]
    return [resource(member_kind, member, properties), resource(prefix, group)]


JOINED = Activity("Add member to group", "GroupManagement", "Assign", CORE)
LEFT = Activity("Remove member from group", "GroupManagement", "Unassign", CORE)

_KINDS: tuple[tuple[Make, int], ...] = (
    (InventedAudits._update_user, 40),
    (InventedAudits._member, 30),
    (InventedAudits._password, 10),
    (InventedAudits._licence, 6),
    (InventedAudits._revoke, 4),
    (InventedAudits._update_application, 5),
    (InventedAudits._consent, 5),
)
_MAKERS = [make for make, _ in _KINDS]
_WEIGHTS = [weight for _, weight in _KINDS]
