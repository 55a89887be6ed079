"""Somebody with access of every kind, given by Graph itself, so that no ledger knows of it."""

from __future__ import annotations

import itertools
import json
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from entra_pipeline.simulator.process import Simulator
from tests.provisioning.lists import Lists
from tests.provisioning.people import somebody, users
from tests.provisioning.tenant import Tenant

_numbers = itertools.count(1)


class Leaver:
    """A user of the simulated tenant, enabled, with a manager, and what is given to them here.

    `last_owned`: what nobody else owns: kind of entitlement and id. `exchange`: lists, too.
    """

    def __init__(
        self,
        simulator: Simulator,
        place: int,
        manager: int | None = None,
        *,
        exchange: bool = False,
    ) -> None:
        self._exchange = exchange
        self.simulator, self._token = simulator, simulator.token(writer=True)
        self.tenant = Tenant(simulator)
        self.id = self._enabled(place)
        self.manager = None if manager is None else self._enabled(manager)
        self.last_owned: list[str] = []
        if self.manager is not None:
            self.graph("PUT", f"users/{self.id}/manager/$ref", self._reference(self.manager))

    def _enabled(self, place: int) -> str:
        user = somebody(self.simulator, place=place)
        if not users(self.simulator)[user]["accountEnabled"]:
            self.graph("PATCH", f"users/{user}", {"accountEnabled": True})
        return user

    def graph(self, method: str, path: str, body: Any = None) -> Any:
        """A write of somebody else's."""
        request = urllib.request.Request(
            f"{self.simulator.info.http_graph_url}/v1.0/{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def give(self, number: int) -> int:
        """Give so many things, of every kind in turn, as long as the tenant has them."""
        kinds = [
            self.memberships(),
            self.ownerships(),
            self.last_ownerships(),
            *([self.lists()] if self._exchange else []),
            self.app_roles(),
            self.roles(),
            self.pim(),
            self.applications(),
            self.licences(),
            self.memberships(),
        ]
        given = 0
        while kinds and given < number:
            for kind in list(kinds):
                if given == number:
                    break
                try:
                    next(kind)
                    given += 1
                except StopIteration:
                    kinds.remove(kind)
        return given

    def memberships(self) -> Iterator[str]:
        for group in self._groups():
            self.graph("POST", f"groups/{group}/members/$ref", self._reference(self.id))
            yield group

    def ownerships(self) -> Iterator[str]:
        for group in list(self.tenant.plain())[:6]:
            owners = self.tenant.owners.get(group, [])
            if self.id in owners or not set(owners) & set(self.tenant.users):
                continue
            self.graph("POST", f"groups/{group}/owners/$ref", self._reference(self.id))
            yield group

    def last_ownerships(self) -> Iterator[str]:
        for _ in range(4):
            name = f"Own {next(_numbers)}"
            group = self._group(name, owners=[self.id])
            self.last_owned.append(f"group:{group}:owner")
            yield group

    def lists(self) -> Iterator[str]:
        """Alone at the head of a list, into one, and beside those who manage one; in turn."""
        lists = Lists(self.simulator)
        bypass = {"BypassSecurityGroupManagerCheck": True}
        for place, group in enumerate(lists.every()):
            if place % 3 == 1:
                if self.id in lists.members[group]:
                    continue
                lists.ask("Add-DistributionGroupMember", group, Member=self.id, **bypass)
            else:
                more = {"@odata.type": "#Exchange.GenericHashTable", "Add": [self.id]}
                managers = more if place % 3 else [self.id]
                lists.ask("Set-DistributionGroup", group, ManagedBy=managers, **bypass)
                if place % 3 == 0:
                    self.last_owned.append(f"group:{group}:owner")
            yield group

    def app_roles(self) -> Iterator[str]:
        held = self.tenant
        for app in held.service_principals:
            for role in app.get("appRoles") or ():
                if not role["isEnabled"] or "User" not in role["allowedMemberTypes"]:
                    continue
                if self.id in held.holders(
                    "app_role_assignments", resourceId=app["id"], appRoleId=role["id"]
                ):
                    continue
                body = {"principalId": self.id, "resourceId": app["id"], "appRoleId": role["id"]}
                self.graph("POST", f"servicePrincipals/{app['id']}/appRoleAssignedTo", body)
                yield app["id"]

    def roles(self) -> Iterator[str]:
        for role in self._role_definitions()[:4]:
            self._role(role, "/")
            yield role
        units = self.simulator.truth("administrative_units")
        plain = [each["id"] for each in units if not each.get("isMemberManagementRestricted")]
        self._role(self._role_definitions()[0], f"/administrativeUnits/{plain[0]}")
        yield plain[0]

    def pim(self) -> Iterator[str]:
        roles, base = self._role_definitions()[4:8], "roleManagement/directory"
        groups = "identityGovernance/privilegedAccess/group"
        own = [self._group(f"Held {next(_numbers)}", owners=[]) for _ in range(3)]
        for word, role in (("Assignment", roles[0]), ("Eligibility", roles[1])):
            body = {"roleDefinitionId": role, "directoryScopeId": "/"}
            self._schedule(f"{base}/role{word}ScheduleRequests", body)
            yield role
        for word, place, group in (
            ("assignment", "member", own[0]),
            ("eligibility", "member", own[1]),
            ("eligibility", "owner", own[2]),
        ):
            body = {"groupId": group, "accessId": place}
            self._schedule(f"{groups}/{word}ScheduleRequests", body)
            yield group
        self._schedule(
            f"{base}/roleEligibilityScheduleRequests",
            {"roleDefinitionId": roles[2], "directoryScopeId": "/"},
        )
        yield roles[2]

    def applications(self) -> Iterator[str]:
        for collection, prefix, path in (
            ("applications", "application", "applications"),
            ("service_principals", "app", "servicePrincipals"),
        ):
            owners = self.simulator.truth(f"{prefix_of(collection)}_owners")
            free = [each["id"] for each in self.simulator.truth(collection)]
            taken = [each for each in free if set(owners.get(each, [])) & set(self.tenant.users)]
            lonely = [each for each in free if not owners.get(each)]
            for key in (*lonely[:2], *taken[:2]):
                if self.id in owners.get(key, []):
                    continue
                self.graph("POST", f"{path}/{key}/owners/$ref", self._reference(self.id))
                if not owners.get(key):
                    self.last_owned.append(f"{prefix}:{key}:owner")
                yield key

    def licences(self) -> Iterator[str]:
        held = users(self.simulator)[self.id]
        if not held["usageLocation"]:
            self.graph("PATCH", f"users/{self.id}", {"usageLocation": "SE"})
        for sku in self.simulator.truth("subscribed_skus"):
            states = held["licenseAssignmentStates"]
            units = sku["prepaidUnits"]["enabled"] - sku["consumedUnits"]
            if units < 2 or any(each["skuId"] == sku["skuId"] for each in states):
                continue
            add = [{"skuId": sku["skuId"], "disabledPlans": []}]
            body = {"addLicenses": add, "removeLicenses": []}
            self.graph("POST", f"users/{self.id}/assignLicense", body)
            yield sku["skuId"]

    # ---- the inside ----------------------------------------------------------------------------

    def _groups(self) -> Iterator[str]:
        """Groups that the leaver may still join: those there are, then new ones."""
        for group in self.tenant.plain():
            if self.id not in self.simulator.truth("group_members").get(group, ()):
                yield group
        while True:
            yield self._group(f"Joined {next(_numbers)}", owners=[])

    def _group(self, name: str, owners: list[str]) -> str:
        root = f"{self.simulator.info.graph_url}/v1.0"
        body = {
            "displayName": name,
            "mailNickname": name.replace(" ", ""),
            "mailEnabled": False,
            "securityEnabled": True,
            "owners@odata.bind": [f"{root}/users/{each}" for each in owners],
        }
        return str(self.graph("POST", "groups", body)["id"])

    def _reference(self, key: str) -> dict[str, str]:
        return {"@odata.id": f"{self.simulator.info.graph_url}/v1.0/directoryObjects/{key}"}

    def _role_definitions(self) -> list[str]:
        """Roles that few would mind, always in the same order."""
        return sorted(
            str(row["id"])
            for row in self.simulator.truth("role_definitions")
            if row.get("isBuiltIn") and "Reader" in row["displayName"]
        )

    def _role(self, role: str, scope: str) -> None:
        body = {"principalId": self.id, "roleDefinitionId": role, "directoryScopeId": scope}
        self.graph("POST", "roleManagement/directory/roleAssignments", body)

    def _schedule(self, path: str, body: dict[str, Any]) -> None:
        now = datetime.now(UTC)
        end = (now + timedelta(days=20)).isoformat()
        expiration = {"type": "afterDateTime", "endDateTime": end}
        info = {"startDateTime": now.isoformat(), "expiration": expiration}
        whole = {"action": "adminAssign", "principalId": self.id, "scheduleInfo": info}
        self.graph("POST", path, {**whole, "justification": "test", **body})


def prefix_of(collection: str) -> str:
    """What the simulator's relations of owners begin with."""
    return collection.removesuffix("s")
