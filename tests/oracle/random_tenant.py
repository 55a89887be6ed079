"""Small random tenants in Graph's own JSON, made to be awkward.

What belongs here: a generator of tenant directories (the files that ``simulate --tenant`` loads)
with nesting cycles, repeated holds, holds by deleted principals, eligible and active mixes, and
nested groups where nesting must not count. It shares nothing with the simulator's own generator.
"""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

ZERO = "00000000-0000-0000-0000-000000000000"
GLOBAL_ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"


class Maker:
    """One random tenant: ``objects`` and ``links`` by file stem."""

    def __init__(self, seed: int, now: datetime | None = None) -> None:
        self.rng = random.Random(seed)
        self.now = now or datetime.now(UTC).replace(microsecond=0)
        self.objects: dict[str, list[dict[str, Any]]] = {}
        self.links: dict[str, dict[str, list[str]]] = {}
        self._people()
        self._groups()
        self._applications()
        self._roles()
        self._licences()

    def uid(self) -> str:
        """A random version 4 id."""
        return str(UUID(int=self.rng.getrandbits(128), version=4))

    def stamp(self, days: float) -> str:
        """Now plus days, as Graph writes it, with seven fractional digits."""
        return (self.now + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%S.1234567Z")

    def some(self, things: list[str], most: int) -> list[str]:
        """Up to ``most`` of the things, without repeats."""
        return self.rng.sample(things, min(len(things), self.rng.randint(0, most)))

    def _people(self) -> None:
        rng = self.rng
        self.users = [self.uid() for _ in range(rng.randint(4, 12))]
        self.gone = [self.uid() for _ in range(2)]
        self.objects["organization"] = [
            {
                "id": self.uid(),
                "displayName": "Random",
                "verifiedDomains": [
                    {
                        "capabilities": "Email",
                        "isDefault": True,
                        "isInitial": True,
                        "name": "random.example",
                        "type": "Managed",
                    }
                ],
                "assignedPlans": [
                    {
                        "assignedDateTime": self.stamp(-100),
                        "capabilityStatus": "Enabled",
                        "service": "AADPremiumService",
                        "servicePlanId": "eec0eb4f-6444-4f95-aba0-50c24d67f998",
                    }
                ],
            }
        ]
        self.objects["users"] = [
            {
                "id": user,
                "displayName": None if rng.random() < 0.1 else f"Person {n}",
                "userPrincipalName": f"person{n}@random.example",
                "mail": None if rng.random() < 0.3 else f"person{n}@random.example",
                "accountEnabled": rng.random() < 0.8,
                "userType": rng.choice(["Member", "Member", "Guest", None]),
                "createdDateTime": self.stamp(-300),
                "assignedLicenses": [],
                "licenseAssignmentStates": [],
            }
            for n, user in enumerate(self.users)
        ]
        self.devices = [self.uid() for _ in range(rng.randint(0, 2))]
        self.objects["devices"] = [
            {"id": d, "deviceId": self.uid(), "displayName": f"Device {n}", "accountEnabled": True}
            for n, d in enumerate(self.devices)
        ]
        self.contacts = [self.uid() for _ in range(rng.randint(0, 2))]
        self.objects["contacts"] = [
            {"id": c, "displayName": f"Contact {n}", "mail": f"contact{n}@else.example"}
            for n, c in enumerate(self.contacts)
        ]
        self.links["device_owners"] = {d: self.some(self.users, 2) for d in self.devices}

    def _groups(self) -> None:
        rng = self.rng
        self.groups = [self.uid() for _ in range(rng.randint(3, 10))]
        self.principals = [self.uid() for _ in range(rng.randint(2, 5))]
        self.assignable = set(self.groups[: rng.randint(0, 2)])
        self.objects["groups"] = [
            {
                "id": g,
                "displayName": f"Group {n}",
                "securityEnabled": True,
                "mailEnabled": False,
                "mailNickname": f"group{n}",
                "groupTypes": [],
                "isAssignableToRole": g in self.assignable or None,
                "assignedLicenses": [],
                "createdDateTime": self.stamp(-200),
            }
            for n, g in enumerate(self.groups)
        ]
        members: dict[str, list[str]] = {}
        crowded = rng.random() < 0.3
        for g in self.groups:
            inside = self.some(self.users, len(self.users) if crowded else 4)
            inside += self.some(self.principals, 1) + self.some(self.devices, 1)
            inside += self.some(self.contacts, 1)
            inside += [n for n in self.some(self.groups, 3) if n != g]  # cycles come by themselves
            members[g] = inside
        if rng.random() < 0.3:
            # enough members that the listing's $expand (20 at most) cannot settle the group
            extra = [self.uid() for _ in range(25)]
            for n, user in enumerate(extra):
                self.objects["users"].append(
                    {
                        "id": user,
                        "displayName": f"Extra {n}",
                        "userPrincipalName": f"extra{n}@random.example",
                        "accountEnabled": True,
                        "userType": "Member",
                        "createdDateTime": self.stamp(-30),
                        "assignedLicenses": [],
                        "licenseAssignmentStates": [],
                    }
                )
            members[rng.choice(self.groups)] += extra
        self.links["group_members"] = members
        self.links["group_owners"] = {
            g: self.some(self.users, 2) + self.some(self.principals, 1) for g in self.groups
        }
        self.objects["group_eligibility_schedule_instances"] = [
            {
                "id": f"{g}_{p}_{n}",
                "groupId": g,
                "principalId": p,
                "accessId": rng.choice(["member", "member", "owner"]),
                "memberType": rng.choice(["direct", "direct", "group"]),
                "startDateTime": self.stamp(-5),
                "endDateTime": rng.choice([None, self.stamp(30), self.stamp(-0.5)]),
                "eligibilityScheduleId": self.uid(),
            }
            for n, g in enumerate(sorted(self.assignable))
            for p in self.some(self.users + self.gone[:1], 3)
        ]
        self.units = [self.uid() for _ in range(rng.randint(0, 2))]
        self.objects["administrative_units"] = [
            {"id": u, "displayName": f"Unit {n}"} for n, u in enumerate(self.units)
        ]
        self.links["administrative_unit_members"] = {
            u: self.some(self.users, 3) + self.some(self.groups, 2) + self.some(self.devices, 1)
            for u in self.units
        }

    def _applications(self) -> None:
        rng = self.rng
        self.roles_of: dict[str, list[str]] = {}
        rows = []
        for n, sp in enumerate(self.principals):
            self.roles_of[sp] = [self.uid() for _ in range(rng.randint(0, 2))]
            managed = rng.random() < 0.2
            rows.append(
                {
                    "id": sp,
                    "appId": self.uid(),
                    "displayName": f"Application {n}",
                    "servicePrincipalType": "ManagedIdentity" if managed else "Application",
                    "accountEnabled": True,
                    "appRoleAssignmentRequired": rng.random() < 0.6,
                    "alternativeNames": [
                        "isExplicit=False",
                        f"/subscriptions/{self.uid()}/resourceGroups/r/providers/p/t/n{n}",
                    ]
                    if managed
                    else [],
                    "appRoles": [
                        {
                            "id": role,
                            "value": f"Role.{k}",
                            "displayName": f"Role {k}",
                            "description": "A role",
                            "isEnabled": True,
                            "allowedMemberTypes": ["User", "Application"],
                        }
                        for k, role in enumerate(self.roles_of[sp])
                    ],
                    "oauth2PermissionScopes": [
                        {
                            "id": self.uid(),
                            "value": value,
                            "type": "Admin",
                            "isEnabled": True,
                            "adminConsentDisplayName": value,
                            "adminConsentDescription": value,
                        }
                        for value in ("Read.All", "Write.All")
                    ],
                    "tags": [],
                    "passwordCredentials": [],
                    "keyCredentials": [],
                }
            )
        self.objects["service_principals"] = rows
        registered = rows[: rng.randint(0, len(rows))]
        self.objects["applications"] = [
            {
                "id": self.uid(),
                "appId": row["appId"],
                "displayName": row["displayName"],
                "signInAudience": "AzureADMyOrg",
                "appRoles": row["appRoles"],
                "passwordCredentials": [],
                "keyCredentials": [],
            }
            for row in registered
        ]
        self.links["application_owners"] = {
            a["id"]: self.some(self.users, 2) for a in self.objects["applications"]
        }
        self.links["service_principal_owners"] = {
            sp: self.some(self.users, 2) + [o for o in self.some(self.principals, 1) if o != sp]
            for sp in self.principals
        }
        assigned: set[tuple[str, str, str]] = set()
        for _ in range(rng.randint(0, 14)):
            sp = rng.choice(self.principals)
            gone_role = [self.uid()] if rng.random() < 0.1 else []
            role = rng.choice([ZERO, *self.roles_of[sp], *gone_role])
            who = rng.choice(self.users + self.groups + self.principals)
            if who != sp:
                assigned.add((sp, role, who))
        self.objects["app_role_assignments"] = [
            {
                "id": f"assignment-{n}",
                "resourceId": sp,
                "appRoleId": role,
                "principalId": who,
                "principalType": "User"
                if who in self.users
                else "Group"
                if who in self.groups
                else "ServicePrincipal",
                "principalDisplayName": "shown",
                "resourceDisplayName": "shown",
                "createdDateTime": self.stamp(-20),
            }
            for n, (sp, role, who) in enumerate(sorted(assigned))
        ]
        self.objects["oauth2_permission_grants"] = [
            {
                "id": f"grant-{n}",
                "clientId": rng.choice(self.principals),
                "consentType": "Principal" if who else "AllPrincipals",
                "principalId": who,
                "resourceId": rng.choice(self.principals),
                "scope": rng.choice([" Read.All", "Read.All Write.All", "openid  Read.All"]),
            }
            for n, who in enumerate(
                rng.choice([None, *self.users]) for _ in range(rng.randint(0, 4))
            )
        ]

    def _roles(self) -> None:
        rng = self.rng
        custom = self.uid()
        self.objects["role_definitions"] = [
            {
                "id": role,
                "templateId": role,
                "displayName": name,
                "description": name,
                "isBuiltIn": role != custom,
                "isEnabled": True,
                "resourceScopes": ["/"],
                "version": "1",
                "rolePermissions": [{"allowedResourceActions": ["microsoft.directory/x/read"]}],
            }
            for role, name in ((GLOBAL_ADMINISTRATOR, "Global Administrator"), (custom, "Custom"))
        ]
        roles = [GLOBAL_ADMINISTRATOR, custom, self.uid()]  # the last one is gone
        scopes = ["/", "/"] + [f"/administrativeUnits/{u}" for u in self.units]
        scopes += [f"/{a['id']}" for a in self.objects["applications"][:1]]
        holders = self.users + sorted(self.assignable) + self.principals[:2] + self.gone

        def row(n: int, kind: str) -> dict[str, Any]:
            return {
                "id": f"{kind}-{n}",
                "principalId": rng.choice(holders),
                "roleDefinitionId": rng.choice(roles),
                "directoryScopeId": rng.choice(scopes),
            }

        unique: dict[tuple[str, str, str], dict[str, Any]] = {}
        for n in range(rng.randint(0, 10)):
            made = row(n, "assignment")
            unique[made["principalId"], made["roleDefinitionId"], made["directoryScopeId"]] = made
        self.objects["role_assignments"] = list(unique.values())
        self.objects["role_assignment_schedule_instances"] = [
            {
                **made,
                "id": f"instance-{made['id']}",
                "assignmentType": rng.choice(["Assigned", "Activated"]),
                "memberType": "Direct",
                "startDateTime": self.stamp(-3),
                "endDateTime": rng.choice([None, self.stamp(1)]),
            }
            for made in self.objects["role_assignments"]
            if rng.random() < 0.7
        ]
        self.objects["role_eligibility_schedule_instances"] = [
            {
                **row(n, "eligibility"),
                "memberType": rng.choice(["Direct", "Direct", "Group"]),
                "startDateTime": self.stamp(-3),
                "endDateTime": rng.choice([None, self.stamp(40), self.stamp(-0.5)]),
            }
            for n in range(rng.randint(0, 8))
        ]

    def _licences(self) -> None:
        rng = self.rng
        skus = [self.uid(), self.uid()]
        self.objects["subscribed_skus"] = [
            {
                "id": f"{self.objects['organization'][0]['id']}_{sku}",
                "skuId": sku,
                "skuPartNumber": f"SKU_{n}",
                "consumedUnits": 1,
                "prepaidUnits": {"enabled": 50, "suspended": 0, "warning": 0, "lockedOut": 0},
                "capabilityStatus": "Enabled",
                "appliesTo": "User",
                "servicePlans": [
                    {
                        "servicePlanId": "eec0eb4f-6444-4f95-aba0-50c24d67f998",
                        "servicePlanName": "AAD_PREMIUM_P2",
                        "provisioningStatus": "Success",
                        "appliesTo": "User",
                    }
                ],
            }
            for n, sku in enumerate(skus)
        ]
        by_id = {u["id"]: u for u in self.objects["users"]}

        def licence(user: str, sku: str, group: str | None) -> None:
            rows = by_id[user]["licenseAssignmentStates"]
            rows.append(
                {
                    "skuId": sku,
                    "disabledPlans": [],
                    "assignedByGroup": group,
                    "state": "Active",
                    "error": "None",
                    "lastUpdatedDateTime": self.stamp(-9),
                }
            )
            held = by_id[user]["assignedLicenses"]
            if all(h["skuId"] != sku for h in held):
                held.append({"skuId": sku, "disabledPlans": []})

        for user in self.users:
            for sku in self.some(skus, 1):
                licence(user, sku, None)
        for group in self.objects["groups"]:
            if rng.random() < 0.25:
                sku = rng.choice(skus)
                group["assignedLicenses"] = [{"skuId": sku, "disabledPlans": []}]
                for member in self.links["group_members"][group["id"]]:
                    if member in by_id:
                        licence(member, sku, group["id"])

    def write(self, directory: Path) -> None:
        """Write the tenant as the simulator's directory of JSON files."""
        directory.mkdir(parents=True, exist_ok=True)
        for stem, value in {**self.objects, **self.links}.items():
            (directory / f"{stem}.json").write_text(json.dumps(value))
