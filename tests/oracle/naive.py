"""The naive answer: every simple path, found by walking Graph's own JSON.

What belongs here: the slowest, plainest reading of Entra's rules, over the objects and links as
Graph would send them (see ``random_tenant``). It imports nothing of the product and knows
neither tables nor SQL, so that a mistake has to be made twice to go unnoticed. What does not:
speed, and anything the product derives.

The rules, each with Microsoft's page:

- membership of groups and holding of directory roles through groups is transitive;
- an app role assigned to a group reaches its direct members only ("How to assign users and
  groups to an application": nested groups are not supported);
- a licence assigned to a group reaches first-level members only ("Group-based licensing"), and
  which of them have it is what the users say of themselves (licenseAssignmentState: those in
  state Error or Disabled do not); who may become a member may have it;
- adding a group to an administrative unit does not add the group's members to it
  ("Administrative units in Microsoft Entra ID": groups);
- an eligible hold is no active access, and whatever is reached over an eligible hop is eligible;
- a path never visits one node twice: a group on a nesting cycle is no member of itself.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

ZERO = "00000000-0000-0000-0000-000000000000"
EVERYONE = "*everyone*"

# What the walk has to be given of a tenant.
OBJECTS = (
    "users",
    "groups",
    "devices",
    "contacts",
    "applications",
    "service_principals",
    "administrative_units",
    "role_definitions",
    "role_assignments",
    "role_assignment_schedule_instances",
    "role_eligibility_schedule_instances",
    "group_eligibility_schedule_instances",
    "app_role_assignments",
    "oauth2_permission_grants",
    "subscribed_skus",
)
LINKS = (
    "group_members",
    "group_owners",
    "application_owners",
    "service_principal_owners",
    "device_owners",
    "administrative_unit_members",
)

Objects = dict[str, list[dict[str, Any]]]
Links = dict[str, dict[str, list[str]]]


@dataclass(frozen=True)
class Hold:
    """A direct hold of an entitlement: by whom, in which state, how far it reaches down groups."""

    holder: str
    state: str
    reach: str  # 'deep', 'members' (direct members only), 'licensed' or 'self'


@dataclass
class Naive:
    """All holds of a tenant and the walks over them."""

    objects: Objects
    links: Links
    now: datetime
    up: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    holds: dict[str, set[Hold]] = field(default_factory=lambda: defaultdict(set))
    resource: dict[str, str] = field(default_factory=dict)
    licensed: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))

    def __post_init__(self) -> None:
        """Read the JSON once."""
        self.users = {user["id"] for user in self.objects.get("users", [])}
        self._membership()
        self._ownership()
        self._roles()
        self._applications()
        self._licences()
        self._units()

    # ---------------------------------------------------------------- reading

    def _current(self, row: dict[str, Any]) -> bool:
        end = row.get("endDateTime")
        return end is None or datetime.fromisoformat(end.replace("Z", "+00:00")) > self.now

    def _hold(self, entitlement: str, resource: str, hold: Hold) -> None:
        self.holds[entitlement].add(hold)
        self.resource[entitlement] = resource

    def _membership(self) -> None:
        edges: set[tuple[str, str, str]] = set()
        for group, members in self.links.get("group_members", {}).items():
            edges.update((member, group, "active") for member in members)
        for row in self.objects.get("group_eligibility_schedule_instances", []):
            if row["memberType"] == "direct" and self._current(row):
                if row["accessId"] == "member":
                    edges.add((row["principalId"], row["groupId"], "eligible"))
                else:
                    self._hold(
                        f"group:{row['groupId']}:owner",
                        row["groupId"],
                        Hold(row["principalId"], "eligible", "self"),
                    )
        for member, group, state in sorted(edges):
            self.up[member].append((group, state))
            self._hold(f"group:{group}:member", group, Hold(member, state, "deep"))

    def _ownership(self) -> None:
        for relation, form in (
            ("group_owners", "group:{}:owner"),
            ("application_owners", "application:{}:owner"),
            ("service_principal_owners", "app:{}:owner"),
            ("device_owners", "device:{}:owner"),
        ):
            for thing, owners in self.links.get(relation, {}).items():
                for owner in owners:
                    self._hold(form.format(thing), thing, Hold(owner, "active", "self"))

    def _roles(self) -> None:
        for collection, state in (
            ("role_assignments", "active"),
            ("role_assignment_schedule_instances", "active"),
            ("role_eligibility_schedule_instances", "eligible"),
        ):
            for row in self.objects.get(collection, []):
                if row.get("memberType", "Direct") != "Direct" or not self._current(row):
                    continue
                entitlement = f"role:{row['roleDefinitionId']}@{row['directoryScopeId']}"
                self._hold(entitlement, entitlement, Hold(row["principalId"], state, "deep"))

    def _applications(self) -> None:
        for row in self.objects.get("app_role_assignments", []):
            self._hold(
                f"app:{row['resourceId']}:{row['appRoleId']}",
                row["resourceId"],
                Hold(row["principalId"], "active", "members"),
            )
        for principal in self.objects.get("service_principals", []):
            if (
                principal["servicePrincipalType"] == "Application"
                and principal["appRoleAssignmentRequired"] is False
            ):
                self._hold(
                    f"app:{principal['id']}:{ZERO}",
                    principal["id"],
                    Hold(EVERYONE, "active", "self"),
                )
        for row in self.objects.get("oauth2_permission_grants", []):
            for scope in row["scope"].split():
                self._hold(
                    f"delegated:{row['resourceId']}:{scope}",
                    row["resourceId"],
                    Hold(row["clientId"], "active", "self"),
                )

    def _licences(self) -> None:
        for user in self.objects.get("users", []):
            for row in user.get("licenseAssignmentStates") or []:
                if (row.get("state") or "Active").lower() in ("error", "disabled"):
                    continue  # what could not be given, or was taken back, is not had
                sku = f"license:{row['skuId']}"
                group = row.get("assignedByGroup")
                if group is None:
                    self._hold(sku, sku, Hold(user["id"], "active", "self"))
                else:
                    self.licensed[user["id"], sku].add(group)
        for group in self.objects.get("groups", []):
            for row in group.get("assignedLicenses") or []:
                sku = f"license:{row['skuId']}"
                self._hold(sku, sku, Hold(group["id"], "active", "licensed"))

    def _units(self) -> None:
        for unit, members in self.links.get("administrative_unit_members", {}).items():
            for member in members:
                self._hold(f"unit:{unit}:member", unit, Hold(member, "active", "self"))

    # ---------------------------------------------------------------- walking

    def paths(self, principal: str, entitlement: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Every simple path as (state, (principal, group, …, resource)), each once."""
        holders: dict[str, set[Hold]] = defaultdict(set)
        for hold in self.holds.get(entitlement, ()):
            holders[hold.holder].add(hold)
        end = self.resource.get(entitlement, entitlement)

        def walk(
            node: str, trail: tuple[str, ...], state: str
        ) -> Iterator[tuple[str, tuple[str, ...]]]:
            hops = len(trail) - 1
            # An application may hold something on itself; a group is never a member of itself.
            if not (end in trail and entitlement == f"group:{end}:member"):
                for hold in holders.get(node, ()):
                    limit = {"self": 0, "members": 1, "licensed": 1, "deep": 10**9}[hold.reach]
                    may_be = hops == 0 or (state == "eligible" and principal in self.users)
                    if hops <= limit and (hold.reach != "licensed" or may_be):
                        both = "eligible" if "eligible" in (state, hold.state) else "active"
                        yield both, (*trail, end)
            for group, edge in self.up.get(node, ()):
                if group not in trail:
                    yield from walk(
                        group, (*trail, group), "eligible" if edge == "eligible" else state
                    )

        yield from walk(principal, (principal,), "active")
        for group in self.licensed.get((principal, entitlement), ()):
            yield "active", (principal, group, end)

    def principals(self) -> set[str]:
        """Every id that holds anything, directly or as a member of a group."""
        return set(self.up) | {h.holder for h in itertools.chain(*self.holds.values())}

    def effective(self) -> dict[tuple[str, str, str], tuple[bool, int]]:
        """(principal, entitlement, state) → (is any path direct, number of simple paths)."""
        found: dict[tuple[str, str, str], tuple[bool, int]] = {}
        for entitlement in self.holds:
            for principal in self.principals():
                for state, trail in self.paths(principal, entitlement):
                    direct, count = found.get((principal, entitlement, state), (False, 0))
                    found[principal, entitlement, state] = (direct or len(trail) == 2, count + 1)
        return found
