"""What the ledger calls done against what really happened.

An oracle that shares nothing with what it judges. It knows three things: the ledger's rows as plain
SQL gives them, the tenant's raw documents from before and after, and the journal of effects that
only the simulated tenant keeps. It imports nothing of the product: what a request should come to is
written down here once more, from the request's own document.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa

COLLECTIONS = (
    "users",
    "groups",
    "group_members",
    "group_owners",
    "managers",
    "role_assignments",
    "app_role_assignments",
    "authentication_methods",
    "deleted_items",
)


class Key(NamedTuple):
    """One change, by its nature: what, of which object, for whom, and what that leaves open."""

    kind: str
    target: str
    principal: str | None
    detail: Any = None


@dataclass
class Documents:
    """The tenant's raw documents at one time."""

    found: Mapping[str, Any]

    @classmethod
    def now(cls, truth: Callable[[str], Any]) -> Documents:
        """As they are; `truth` gives a collection or relation by its name."""
        return cls({name: truth(name) for name in COLLECTIONS})

    def rows(self, collection: str, **wanted: Any) -> list[dict[str, Any]]:
        return [
            row
            for row in self.found[collection]
            if all(row.get(name) == value for name, value in wanted.items())
        ]

    def linked(self, relation: str, source: str, target: str) -> bool:
        found = self.found[relation].get(source) or ()
        return target in ([found] if isinstance(found, str) else found)


@dataclass
class Judgement:
    """What was found wrong, and what was counted: keys that happened once, requests by state."""

    complaints: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    once: int = 0


def judge(
    ledger: sa.Engine, effects: Iterable[Mapping[str, Any]], before: Documents, after: Documents
) -> Judgement:
    """Exactly one effect for each thing that a done request asked for, and none besides."""
    with ledger.connect() as connection:
        states: dict[str, str] = {}
        bodies: dict[str, Any] = {}
        for row in connection.execute(sa.text("SELECT id, state, document FROM requests")):
            states[row.id], bodies[row.id] = row.state, json.loads(row.document)["body"]
        owners = {
            row.id: row.request_id
            for row in connection.execute(
                sa.text(
                    "SELECT attempts.id, operations.request_id FROM attempts"
                    " JOIN operations ON operations.id = attempts.operation_id"
                )
            )
        }
    found = Judgement(states=Counter(states.values()))
    happened: dict[Key, list[str]] = {}
    for effect in effects:
        key = key_of(effect)
        owner = owners.get(effect["request_id"], "an attempt that the ledger does not know")
        happened.setdefault(key, []).append(owner)
        if (state := states.get(owner, "nowhere")) != "done":
            found.complaints.append(f"{key} is of {owner}, which is {state}")
    wanted: dict[Key, set[str]] = {}
    for key_, body in bodies.items():
        if states[key_] != "done":
            continue
        if "undoes" in body:
            # Taken back is what the grant itself added, and nothing else.
            given = access_key({**body, "kind": "grant"}, before)
            keys = [access_key(body, before)] if body["undoes"] in happened.get(given, ()) else []
        else:
            keys = expected(body, before, after)
        for each in keys:
            wanted.setdefault(each, set()).add(key_)
    for each in sorted(wanted.keys() | happened.keys(), key=repr):
        by, askers = happened.get(each, []), wanted.get(each, set())
        if len(by) == 1 and by[0] in askers:
            found.once += 1
        else:
            found.complaints.append(f"{each}: done by {by}, asked for by {sorted(askers)}")
    return found


_DETAILS = {
    "assign_app_role": "app_role_id",
    "remove_app_role": "app_role_id",
    "assign_role": "scope",
    "remove_role": "scope",
    "assign_license": "sku_id",
    "remove_license": "sku_id",
    "update_user": "properties",
    "delete_method": "id",
}


def key_of(effect: Mapping[str, Any]) -> Key:
    """The nature of an entry of the journal."""
    kind = effect["kind"]
    name = "place" if kind.endswith(("_assignment", "_eligibility")) else _DETAILS.get(kind)
    detail = None if name is None else effect["details"][name]
    return Key(
        kind,
        effect["target"],
        effect["principal"],
        tuple(detail) if isinstance(detail, list) else detail,
    )


def expected(body: Mapping[str, Any], before: Documents, after: Documents) -> list[Key]:
    """What a request that is done must have changed, seen from how the tenant was before."""
    kind, user = body["kind"], body.get("user_id")
    match kind:
        case "grant" | "revoke":
            return [access_key(body, before)] if is_held(body, before) is (kind == "revoke") else []
        case "create_user":
            (made,) = after.rows("users", userPrincipalName=body["user_principal_name"])
            keys = [Key("create_user", made["id"], None)]
            if body.get("manager"):
                keys.append(Key("set_manager", made["id"], body["manager"]))
            return keys
        case "invite_guest":
            (made,) = after.rows("users", mail=body["mail"])
            return [Key("invite_user", made["id"], None)]
        case "create_group":
            (made,) = after.rows("groups", displayName=body["display_name"])
            return [Key("create_group", made["id"], None)] + [
                Key(f"add_group_{relation}", made["id"], each)
                for relation in ("owner", "member")
                for each in body.get(f"{relation}_ids", ())
            ]
        case "restore_user":
            return [Key("restore_user", user, None)]
        case "delete_user":
            return [Key("delete_user", user, user)]
        case "rotate_password":
            return [Key("reset_password", user, user)]
        case "revoke_sessions":
            return [Key("revoke_sessions", user, user)]
        case "enable_user" | "disable_user":
            (was,) = before.rows("users", id=user)
            changes = was["accountEnabled"] is not (kind == "enable_user")
            return [Key("update_user", user, user, ("accountEnabled",))] if changes else []
        case "update_user":
            (was,) = before.rows("users", id=user)
            names = {n for n, value in body["attributes"].items() if was.get(n) != value}
            return [Key("update_user", user, user, tuple(sorted(names)))] if names else []
        case "set_manager":
            there = before.linked("managers", user, body["manager"])
            return [] if there else [Key("set_manager", user, body["manager"])]
        case "revoke_mfa":
            return [
                Key("delete_method", user, user, row["id"])
                for row in before.rows("authentication_methods", userId=user)
                if "password" not in row["@odata.type"].lower()
            ]
        case "check_upn":
            return []
    raise AssertionError(f"nothing is written down here for {kind}")


def access_key(body: Mapping[str, Any], tenant: Documents) -> Key:
    """What giving or taking access changes."""
    access, principal, mode = body["access"], body["principal_id"], body.get("mode", "direct")
    gives = body["kind"] == "grant"
    verb = "assign" if gives else "remove"
    held = "assignment" if mode == "pim_active" else "eligibility"
    match access["type"], mode:
        case "group", "direct":
            verb = "add" if gives else "remove"
            (group,) = tenant.rows("groups", id=access["group_id"])
            # Those that receive mail and are no teams are Exchange's to change.
            lists = group["mailEnabled"] and "Unified" not in group["groupTypes"]
            where = "exchange" if lists else "group"
            return Key(f"{verb}_{where}_{access['relation']}", access["group_id"], principal)
        case "group", _:
            place = access["relation"]
            return Key(f"{verb}_group_{held}", access["group_id"], principal, place)
        case "role", "direct":
            return Key(f"{verb}_role", access["role_definition_id"], principal, access["scope"])
        case "role", _:
            role, place = access["role_definition_id"], access["scope"]
            return Key(f"{verb}_role_{held}", role, principal, place)
        case "app", _:
            app, role = access["service_principal_id"], access["app_role_id"]
            return Key(f"{verb}_app_role", app, principal, role)
    return Key(f"{verb}_license", principal, principal, access["sku_id"])


def is_held(body: Mapping[str, Any], tenant: Documents) -> bool:
    """Whether access is there, held directly and for good (or, by PIM, at all)."""
    access, principal = body["access"], body["principal_id"]
    if body.get("mode", "direct") != "direct":
        return False  # nobody whom these requests are about holds anything by PIM
    match access["type"]:
        case "group":
            return tenant.linked(f"group_{access['relation']}s", access["group_id"], principal)
        case "role":
            role, scope = access["role_definition_id"], access["scope"]
            return bool(
                tenant.rows(
                    "role_assignments",
                    principalId=principal,
                    roleDefinitionId=role,
                    directoryScopeId=scope,
                )
            )
        case "app":
            app, role = access["service_principal_id"], access["app_role_id"]
            return bool(
                tenant.rows(
                    "app_role_assignments",
                    principalId=principal,
                    resourceId=app,
                    appRoleId=role,
                )
            )
    (user,) = tenant.rows("users", id=principal)
    return any(state["skuId"] == access["sku_id"] for state in user["licenseAssignmentStates"])
