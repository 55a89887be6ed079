"""Requests of all kinds at random, about objects of a simulated tenant that no other one is about.

Plain documents, as files of requests have them. Some ask for what is so already, and some are asked
for twice.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from entra_pipeline.simulator.process import Simulator
from tests.provisioning.people import plain_users
from tests.provisioning.tenant import Tenant

READERS = "88d8e3e3-8f55-4a1e-953a-9b9898b8876b"  # Directory Readers
KINDS = (
    "member",
    "owner",
    "no_member",
    "app_role",
    "no_app_role",
    "role",
    "pim_role",
    "pim_group",
    "licence",
    "create_user",
    "invite_guest",
    "delete_user",
    "restore_user",
    "rotate_password",
    "state",
    "update_user",
    "set_manager",
    "create_group",
    "revoke_sessions",
    "revoke_mfa",
    "check_upn",
)

LIST_KINDS = ("list_member", "list_owner", "no_list_member")
"""About lists that Exchange keeps."""


class Asking:
    """Makes requests; each user is the subject of at most one, so that each stands for itself.

    `ends`: after how many minutes at least, and at most, what is granted for a while ends.
    `lists`: about groups that Exchange keeps, too.
    """

    def __init__(
        self,
        simulator: Simulator,
        rng: random.Random,
        now: datetime,
        ends: tuple[int, int] = (20, 60),
        *,
        lists: bool = False,
    ) -> None:
        self._rng, self._now, self._ends = rng, now, ends
        self._tenant = tenant = Tenant(simulator)
        users = {user["id"]: user for user in simulator.truth("users")}
        held = {
            row["principalId"]
            for name in ("role", "group")
            for kind in ("assignment", "eligibility")
            for row in simulator.truth(f"{name}_{kind}_schedule_instances")
        }
        plain = [key for key in plain_users(simulator) if key not in held]
        rng.shuffle(plain)
        synced = [key for key in plain if users[key]["onPremisesSyncEnabled"]]
        plain = [key for key in plain if not users[key]["onPremisesSyncEnabled"]]
        self._users = users
        # Whose accounts may be acted on; whom access may be given to; who manages and owns, and is
        # no request's subject, so that they stay what they are.
        self._members = [key for key in plain if users[key]["userType"] == "Member"]
        self._anyone, self._managers = synced[5:], synced[:5]
        self._guests = [key for key in plain if users[key]["userType"] == "Guest"]
        self._groups = list(tenant.plain())
        self._kinds = (*KINDS, *LIST_KINDS) if lists else KINDS
        self._lists = [
            group["id"]
            for group in tenant.groups
            if group["mailEnabled"] and not group["groupTypes"]
            if not group["onPremisesSyncEnabled"]
        ]
        self._binned = [
            row["id"]
            for row in simulator.truth("deleted_items")
            if row["@odata.type"] == "#microsoft.graph.user"
        ]
        self._app, self._app_role = tenant.custom_app()
        self._app_held = tenant.holders(
            "app_role_assignments", resourceId=self._app, appRoleId=self._app_role
        )
        self._methods = {row["userId"] for row in simulator.truth("authentication_methods")}
        self._skus = simulator.truth("subscribed_skus")
        self._units = {
            sku["skuId"]: sku["prepaidUnits"]["enabled"] - sku["consumedUnits"]
            for sku in self._skus
        }

    def some(self, count: int) -> Iterator[tuple[dict[str, Any], datetime | None]]:
        """Bodies of so many requests with their ends, each kind in its turn."""
        made = 0
        turn = list(self._kinds)
        while made < count:
            self._rng.shuffle(turn)
            for kind in turn:
                asked = self._one(kind)
                if asked is None:
                    continue
                yield asked
                made += 1
                body, end = asked
                twice = body["kind"] in ("grant", "revoke") and "mode" not in body and end is None
                if twice and self._rng.random() < 0.1:
                    yield asked  # somebody else asks for the very same
                    made += 1
                if made >= count:
                    return

    def _user(self) -> str:
        return (self._anyone or self._members).pop()

    def _reachable(self, among: list[str]) -> str | None:
        """Somebody with a mail address, who is then no other request's subject."""
        user = next((each for each in reversed(among) if self._users[each]["mail"]), None)
        if user is not None:
            self._anyone.remove(user)
        return user

    def _account(self) -> str:
        return self._members.pop()

    def _one(self, kind: str) -> tuple[dict[str, Any], datetime | None] | None:
        rng, number = self._rng, self._rng.randrange(10**9)
        if not self._members:
            raise AssertionError("the tenant has too few users for so many requests")
        match kind:
            case "member" | "owner":
                group = rng.choice(self._groups)
                access = {"type": "group", "group_id": group, "relation": kind}
                return self._grant(access, ends=rng.random() < 0.3)
            case "list_member" | "list_owner":
                user = self._reachable(self._anyone)
                if user is None:
                    return None
                access = {"type": "group", "group_id": rng.choice(self._lists)}
                access["relation"] = kind.removeprefix("list_")
                end = self._now + timedelta(minutes=rng.randint(*self._ends))
                body = {"kind": "grant", "principal_id": user, "access": access}
                return body, end if rng.random() < 0.3 else None
            case "no_list_member":
                held = {user for each in self._lists for user in self._tenant.members.get(each, ())}
                user = self._reachable([each for each in self._anyone if each in held])
                if user is None:
                    return None
                group = next(g for g in self._lists if user in self._tenant.members.get(g, ()))
                access = {"type": "group", "group_id": group, "relation": "member"}
                return {"kind": "revoke", "principal_id": user, "access": access}, None
            case "no_member":
                user = self._user()
                held = [g for g in self._groups if user in self._tenant.members.get(g, ())]
                group = rng.choice(held or self._groups)  # else it is so already
                access = {"type": "group", "group_id": group, "relation": "member"}
                return {"kind": "revoke", "principal_id": user, "access": access}, None
            case "app_role" | "no_app_role":
                access = {"type": "app", "service_principal_id": self._app}
                access["app_role_id"] = self._app_role
                if kind == "app_role":
                    return self._grant(access, ends=rng.random() < 0.3)
                holders = [user for user in self._anyone if user in self._app_held]
                if not holders:
                    return None
                self._anyone.remove(holders[0])
                return {"kind": "revoke", "principal_id": holders[0], "access": access}, None
            case "role":
                access = {"type": "role", "role_definition_id": READERS, "scope": "/"}
                return self._grant(access)
            case "pim_role":
                access = {"type": "role", "role_definition_id": READERS, "scope": "/"}
                return self._held(access, rng.choice(["pim_active", "pim_eligible"]))
            case "pim_group":
                relation = rng.choice(["member", "owner"])
                group = rng.choice(self._groups)
                access = {"type": "group", "group_id": group, "relation": relation}
                return self._held(access, "pim_eligible")
            case "licence":
                return self._licence()
            case "create_user":
                name = f"random{number}"
                made = {"display_name": "Random", "mail_nickname": name, "kind": kind}
                made["user_principal_name"] = f"{name}@contoso.example"
                return {**made, "manager": rng.choice(self._managers)}, None
            case "invite_guest":
                return {"kind": kind, "mail": f"random{number}@fabrikam.example"}, None
            case "create_group":
                body = {"kind": kind, "display_name": f"Random {number}"}
                return {**body, "owner_ids": [rng.choice(self._managers)]}, None
            case "delete_user":
                pool = self._guests or self._members
                return {"kind": kind, "user_id": pool.pop()}, None
            case "restore_user":
                if not self._binned:
                    return None
                return {"kind": kind, "user_id": self._binned.pop()}, None
            case "state":
                verb = rng.choice(["enable_user", "disable_user"])  # one of them is so already
                return {"kind": verb, "user_id": self._account()}, None
            case "update_user":
                attributes = {"jobTitle": f"Nurse {number}", "city": f"Lund {number}"}
                return {"kind": kind, "user_id": self._account(), "attributes": attributes}, None
            case "set_manager":
                user = self._account()
                manager = rng.choice([each for each in self._managers if each != user])
                return {"kind": kind, "user_id": user, "manager": manager}, None
            case "revoke_mfa":
                user = next((each for each in self._members if each in self._methods), None)
                if user is None:
                    return None
                self._members.remove(user)
                return {"kind": kind, "user_id": user}, None
            case "check_upn":
                name = f"free{number}@contoso.example"
                return {"kind": kind, "user_principal_name": name}, None
        return {"kind": kind, "user_id": self._account()}, None

    def _grant(
        self, access: dict[str, Any], *, ends: bool = False
    ) -> tuple[dict[str, Any], datetime | None]:
        end = self._now + timedelta(minutes=self._rng.randint(*self._ends)) if ends else None
        return {"kind": "grant", "principal_id": self._user(), "access": access}, end

    def _held(self, access: dict[str, Any], mode: str) -> tuple[dict[str, Any], datetime | None]:
        body, _ = self._grant(access)
        end = self._now + timedelta(hours=4) if mode == "pim_active" else None
        return {**body, "mode": mode}, end

    def _licence(self) -> tuple[dict[str, Any], datetime | None] | None:
        for user in reversed(self._anyone):
            known = self._users[user]
            held = {state["skuId"] for state in known["licenseAssignmentStates"]}
            for sku, units in self._units.items():
                if known["usageLocation"] and units > 1 and sku not in held:
                    self._units[sku] -= 1
                    self._anyone.remove(user)
                    access = {"type": "license", "sku_id": sku}
                    return {"kind": "grant", "principal_id": user, "access": access}, None
        return None
