"""The audits of what happens while the simulator runs: a change becomes the entries it leaves.

Names of activities: Microsoft's list of audit categories and activities; the order and the naming
of targets are those of captured logs. Whatever belongs to the service's own bookkeeping (licence
counts, registration report) leaves none.
"""

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence

from entra_pipeline.simulator import roles
from entra_pipeline.simulator.clock import Clock
from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.generate.build import new_id
from entra_pipeline.simulator.logs.audits import membership
from entra_pipeline.simulator.logs.entries import (
    PIM,
    Activity,
    Writer,
    modified,
    resource,
    updated,
)
from entra_pipeline.simulator.logs.feed import Recorded, ticks
from entra_pipeline.simulator.tenant import KINDS
from entra_pipeline.simulator.wire import JsonObject, encode_json

_Entry = tuple[Activity, list[JsonObject]]

_WORDS = {
    "user": "User",
    "group": "Group",
    "servicePrincipal": "ServicePrincipal",
    "device": "Device",
    "orgContact": "Other",
    "application": "Application",
    "administrativeUnit": "AdministrativeUnit",
    "role_definitions": "Role",
    "conditional_access_policies": "Policy",
}
"""Graph's type, or a collection of what is no directory object -> the word in `targetResources`."""

_LIVES: dict[str, tuple[str, dict[str, str]]] = {
    "users": (
        "UserManagement",
        {
            "put": "Add user",
            "patch": "Update user",
            "soft_delete": "Delete user",
            "remove": "Hard Delete user",
            "restore": "Restore user",
        },
    ),
    "groups": (
        "GroupManagement",
        {
            "put": "Add group",
            "patch": "Update group",
            "soft_delete": "Delete group",
            "remove": "Hard Delete group",
            "restore": "Restore Group",
        },
    ),
    "applications": (
        "ApplicationManagement",
        {
            "put": "Add application",
            "patch": "Update application",
            "soft_delete": "Delete application",
            "remove": "Hard Delete application",
            "restore": "Restore application",
        },
    ),
    "service_principals": (
        "ApplicationManagement",
        {
            "put": "Add service principal",
            "patch": "Update service principal",
            "soft_delete": "Remove service principal",
            "remove": "Hard delete service principal",
            "restore": "Restore service principal",
        },
    ),
    "devices": (
        "Device",
        {"put": "Add device", "patch": "Update device", "remove": "Delete device"},
    ),
    "administrative_units": (
        "AdministrativeUnit",
        {
            "put": "Add administrative unit",
            "patch": "Update administrative unit",
            "remove": "Delete administrative unit",
        },
    ),
    "contacts": (
        "Contact",
        {"put": "Add contact", "patch": "Update contact", "remove": "Delete contact"},
    ),
    "role_definitions": (
        "RoleManagement",
        {
            "put": "Add role definition",
            "patch": "Update role definition",
            "remove": "Delete role definition",
        },
    ),
    "conditional_access_policies": ("Policy", {"patch": "Update conditional access policy"}),
}
"""Collection -> category, and what happens to its objects."""
_OPERATIONS = {"put": "Add", "patch": "Update", "restore": "Update"}

_LINKS: dict[str, tuple[str, str, str]] = {
    "group_members": ("GroupManagement", "member", "group"),
    "group_owners": ("GroupManagement", "owner", "group"),
    "application_owners": ("ApplicationManagement", "owner", "application"),
    "service_principal_owners": ("ApplicationManagement", "owner", "service principal"),
    "device_owners": ("Device", "registered owner", "device"),
    "device_users": ("Device", "registered users", "device"),
    "administrative_unit_members": ("AdministrativeUnit", "member", "administrative unit"),
}
"""Relation -> category, what the target is to the source, what the source is called."""

_APP_ROLE = {
    "User": ("Add app role assignment grant to user", "Remove app role assignment from user"),
    "Group": ("Add app role assignment to group", "Remove app role assignment from group"),
    "ServicePrincipal": (
        "Add app role assignment to service principal",
        "Remove app role assignment from service principal",
    ),
}
"""Kind of principal -> activity of giving, and of taking."""


class Trail:
    """Writes the audits of one simulator's changes into a record."""

    def __init__(self, directory: Directory, clock: Clock, recorded: Recorded, seed: int) -> None:
        self._directory = directory
        self._clock = clock
        self._recorded = recorded
        self._rng = random.Random(f"{seed}:trail")
        self._writer = Writer(directory)
        self._by: tuple[JsonObject, str] | None = None
        """Who is changing things by name, and under which id; None: somebody who may."""
        self._assignments: dict[str, Callable[[str, JsonObject], list[_Entry]]] = {
            "role_assignments": self._role,
            "role_assignment_schedule_instances": self._pim_role,
            "role_eligibility_schedule_instances": self._eligible_role,
            "group_eligibility_schedule_instances": self._eligible_group,
            "group_assignment_schedule_instances": self._assigned_group,
            "app_role_assignments": self._app_role,
            "oauth2_permission_grants": self._consent,
        }

    @contextlib.contextmanager
    def by(self, initiator: JsonObject, correlation: str) -> Iterator[None]:
        """What happens in here was done by this initiator, in one request."""
        self._by = (initiator, correlation)
        try:
            yield
        finally:
            self._by = None

    def observe(
        self,
        operation: str,
        target: str,
        ids: tuple[str, ...],
        before: JsonObject | None,
        after: JsonObject | None,
    ) -> None:
        """Write what a change leaves in the log, if anything.

        `operation` and `ids` as in `changes.base.Change`; `before` and `after` are the object,
        None where there was, or is, none, and for links.
        """
        entries = self._entries(operation, target, ids, before, after)
        if not entries:
            return
        by = self._by or (self._writer.initiator(self._rng), new_id(self._rng))
        for activity, targets in entries:
            details = self._pim_details(after or before or {}) if activity.service == PIM else ()
            self._write(activity, targets, by, details)

    def note(
        self,
        activity: Activity,
        targets: list[JsonObject],
        details: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Write an entry for what changes no object of the directory (sessions, passwords)."""
        by = self._by or (self._writer.initiator(self._rng), new_id(self._rng))
        self._write(activity, targets, by, details)

    def _write(
        self,
        activity: Activity,
        targets: list[JsonObject],
        by: tuple[JsonObject, str],
        details: Sequence[tuple[str, str]],
    ) -> None:
        at = self._recorded.stamp(ticks(self._clock.time()))
        entry = self._writer.entry(
            self._rng,
            at,
            activity,
            targets,
            initiator=by[0],
            correlation=by[1],
            details=details,
        )
        self._recorded.add(at, encode_json(entry))

    def _entries(
        self,
        operation: str,
        target: str,
        ids: tuple[str, ...],
        before: JsonObject | None,
        after: JsonObject | None,
    ) -> list[_Entry]:
        if target in _LIVES:
            return self._life(operation, target, before or {}, after or {})
        if target in _LINKS:
            return self._link(operation == "link", target, *ids)
        if target == "managers":
            return self._manager(operation == "link", *ids)
        write = self._assignments.get(target)
        row = after if operation != "remove" else before
        return write(operation, row) if write is not None and row is not None else []

    # Objects

    def _life(
        self, operation: str, collection: str, before: JsonObject, after: JsonObject
    ) -> list[_Entry]:
        category, names = _LIVES[collection]
        name = names.get(operation)
        if name is None:
            return []
        kind = _WORDS[KINDS.get(collection, collection)]
        if operation == "patch":
            return self._updates(category, name, kind, before, after)
        properties = []
        if operation == "put":
            told = [each for each in ("accountEnabled", "displayName") if after.get(each)]
            properties = updated({}, after, told)
        targets = [resource(kind, after or before, properties)]
        entry = (Activity(name, category, _OPERATIONS.get(operation, "Delete")), targets)
        if operation == "remove" and not before.get("deletedDateTime") and "soft_delete" in names:
            # Deleted at once: first into the recycle bin, then out of it.
            return [(Activity(names["soft_delete"], category, "Delete"), targets), entry]
        return [entry]

    def _updates(
        self, category: str, name: str, kind: str, before: JsonObject, after: JsonObject
    ) -> list[_Entry]:
        changed = [each for each in after if after[each] != before.get(each)]
        if not changed:
            return []
        properties = updated(before, after, changed)
        if kind == "User":
            member = after.get("userType") or "Member"
            properties.append(modified("TargetId.UserType", None, member))
        update = (Activity(name, category, "Update"), [resource(kind, after, properties)])
        named: list[str] = []
        if kind == "User" and "accountEnabled" in changed:
            named.append("Enable account" if after["accountEnabled"] else "Disable account")
        if kind == "User" and "assignedLicenses" in changed:
            named.append("Change user license")
        if kind == "Application" and {"passwordCredentials", "keyCredentials"} & set(changed):
            # The dash and the space after it are Microsoft's.
            named.append("Update application \N{EN DASH} Certificates and secrets management ")
        return [
            update,
            *(
                (Activity(each, category, "Update"), [resource(kind, after, properties[:1])])
                for each in named
            ),
        ]

    # Links

    def _link(self, joined: bool, relation: str, source_id: str, target_id: str) -> list[_Entry]:
        category, role, place = _LINKS[relation]
        name = f"Add {role} to {place}" if joined else f"Remove {role} from {place}"
        source_kind, source = self._object(source_id)
        target_kind, target = self._object(target_id)
        activity = Activity(name, category, "Assign" if joined else "Unassign")
        return [(activity, membership(target, target_kind, source, source_kind, joined))]

    def _manager(self, joined: bool, user_id: str, manager_id: str) -> list[_Entry]:
        _, user = self._object(user_id)
        _, manager = self._object(manager_id)
        name = manager.get("userPrincipalName") or manager_id
        change = modified("Manager", None if joined else name, name if joined else None)
        activity = Activity("Update user", "UserManagement", "Update")
        return [(activity, [resource("User", user, [change])])]

    # Roles

    def _role(self, operation: str, row: JsonObject) -> list[_Entry]:
        given = operation == "put"
        scoped = "scoped " if row.get("directoryScopeId") not in (None, "/") else ""
        name = f"Add {scoped}member to role" if given else f"Remove {scoped}member from role"
        activity = Activity(name, "RoleManagement", "Assign" if given else "Unassign")
        return [(activity, self._role_targets(row, given))]

    def _pim_role(self, operation: str, row: JsonObject) -> list[_Entry]:
        given, term = operation == "put", _term(row)
        if row.get("assignmentType") == "Activated":
            name = (
                "Add member to role completed (PIM activation)"
                if given
                else "Remove member from role (PIM activation expired)"
            )
        elif given:
            name = f"Add member to role in PIM completed ({term})"
        else:
            name = f"Remove member from role in PIM completed ({term})"
        return [(Activity(name, "RoleManagement", _operation(given), PIM), self._pim_targets(row))]

    def _eligible_role(self, operation: str, row: JsonObject) -> list[_Entry]:
        given, term = operation == "put", _term(row)
        verb, word = ("Add", "to") if given else ("Remove", "from")
        core = Activity(f"{verb} eligible member {word} role", "RoleManagement", _operation(given))
        name = f"{verb} eligible member {word} role in PIM completed ({term})"
        done = Activity(name, "RoleManagement", _operation(given), PIM)
        return [(core, self._role_targets(row, given)), (done, self._pim_targets(row))]

    def _role_targets(self, row: JsonObject, given: bool) -> list[JsonObject]:
        kind, principal = self._object(row["principalId"])
        role = self._role_of(row)
        named = {
            "Role.ObjectID": role.get("id"),
            "Role.DisplayName": role.get("displayName"),
            "Role.TemplateId": role.get("templateId") or role.get("id"),
            "Role.WellKnownObjectName": None,
        }
        properties = [
            modified(name, None, value) if given else modified(name, value, None)
            for name, value in named.items()
        ]
        return [resource(kind, principal, properties), resource("Role", role)]

    def _pim_targets(self, row: JsonObject) -> list[JsonObject]:
        """As PIM lists them: the role, the request, the principal, the directory, the rest."""
        role = self._role_of(row)
        kind, principal = self._object(row["principalId"])
        organization = next(iter(self._directory.collection("organization").values()), {})
        properties = [
            modified("RoleDefinitionOriginId", None, role.get("id")),
            modified("RoleDefinitionOriginType", None, "BuiltInRole"),
            modified("TemplateId", None, role.get("templateId") or role.get("id")),
        ]
        return [
            resource("Role", role, properties),
            resource("Request", {"id": new_id(self._rng), "displayName": None}),
            resource(kind, principal),
            resource("Directory", organization),
            resource("Other", {"id": None, "displayName": None}),
        ]

    def _pim_details(self, row: JsonObject) -> list[tuple[str, str]]:
        role = row.get("roleDefinitionId")
        told = {
            "RoleDefinitionOriginId": role,
            "TemplateId": role,
            "StartTime": row.get("startDateTime"),
            "ExpirationTime": row.get("endDateTime"),
            "Justification": "Needed for the work at hand.",
            "tid": self._directory.tenant.tenant_id,
            "RequestId": new_id(self._rng),
        }
        return [(key, str(value)) for key, value in told.items() if value is not None]

    def _eligible_group(self, operation: str, row: JsonObject) -> list[_Entry]:
        given, access = operation == "put", row.get("accessId") or "member"
        verb, word = ("Add", "to") if given else ("Remove", "from")
        name = f"{verb} eligible {access} {word} group in PIM completed ({_term(row)})"
        return self._pim_group(name, given, row)

    def _assigned_group(self, operation: str, row: JsonObject) -> list[_Entry]:
        given, access = operation == "put", row.get("accessId") or "member"
        activated = str(row.get("assignmentType")).lower() == "activated"
        if activated and given:
            name = f"Add {access} to group completed (PIM activation)"
        elif activated:
            name = f"Remove {access} from group (PIM activation expired)"
        elif given:
            name = f"Add {access} to group in PIM completed ({_term(row)})"
        else:
            name = f"Remove {access} from group in PIM completed ({_term(row)})"
        return self._pim_group(name, given, row)

    def _pim_group(self, name: str, given: bool, row: JsonObject) -> list[_Entry]:
        group_kind, group = self._object(row["groupId"])
        kind, principal = self._object(row["principalId"])
        activity = Activity(name, "GroupManagement", _operation(given), PIM)
        targets = membership(principal, kind, group, group_kind, given)
        return [(activity, targets)]

    def _role_of(self, row: JsonObject) -> JsonObject:
        role_id = row["roleDefinitionId"]
        return self._directory.collection("role_definitions").get(role_id) or {"id": role_id}

    # Applications

    def _app_role(self, operation: str, row: JsonObject) -> list[_Entry]:
        given = operation == "put"
        names = _APP_ROLE.get(str(row.get("principalType")), _APP_ROLE["User"])
        kind, principal = self._object(row["principalId"])
        _, target = self._object(row["resourceId"])
        role: JsonObject = next(
            (each for each in target.get("appRoles") or () if each["id"] == row["appRoleId"]), {}
        )
        named = {
            "AppRole.Id": row["appRoleId"],
            "AppRole.Value": role.get("value"),
            "AppRole.DisplayName": role.get("displayName"),
            f"{kind}.ObjectID": row["principalId"],
            "TargetId.ServicePrincipalNames": target.get("appId"),
        }
        if kind == "User":
            named["User.UPN"] = principal.get("userPrincipalName")
        properties = [
            modified(name, None, value) if given else modified(name, value, None)
            for name, value in named.items()
        ]
        category = {"User": "UserManagement", "Group": "GroupManagement"}.get(
            kind, "ApplicationManagement"
        )
        activity = Activity(names[0 if given else 1], category, _operation(given))
        targets = [resource("ServicePrincipal", target, properties), resource(kind, principal)]
        return [(activity, targets)]

    def _consent(self, operation: str, row: JsonObject) -> list[_Entry]:
        given = operation != "remove"
        _, client = self._object(row["clientId"])
        _, target = self._object(row["resourceId"])
        named = {
            "DelegatedPermissionGrant.Scope": row.get("scope"),
            "DelegatedPermissionGrant.ConsentType": row.get("consentType"),
            "ServicePrincipal.ObjectID": row["clientId"],
            "TargetId.ServicePrincipalNames": target.get("appId"),
        }
        properties = [
            modified(name, None, value) if given else modified(name, value, None)
            for name, value in named.items()
        ]
        name = "Add delegated permission grant" if given else "Remove delegated permission grant"
        targets = [
            resource("ServicePrincipal", target, properties),
            resource("ServicePrincipal", client),
        ]
        entries = [(Activity(name, "ApplicationManagement", _operation(given)), targets)]
        if operation == "put":
            everyone = row.get("consentType") == "AllPrincipals"
            context = [modified("ConsentContext.IsAdminConsent", None, str(everyone))]
            entries.append(
                (
                    Activity("Consent to application", "ApplicationManagement", "Assign"),
                    [resource("ServicePrincipal", client, context)],
                )
            )
        return entries

    def _object(self, object_id: str) -> tuple[str, JsonObject]:
        """The word for an object's kind, and the object; an id alone for what is gone."""
        found = roles.find(self._directory, object_id)
        if found is not None:
            return _WORDS.get(found[0], "Other"), found[1]
        gone = self._directory.collection("deleted_items").get(object_id)
        kind = self._directory.former_kinds.get(object_id, "")
        return _WORDS.get(kind, "Other"), gone or {"id": object_id}


def _term(row: JsonObject) -> str:
    return "timebound" if row.get("endDateTime") else "permanent"


def _operation(given: bool) -> str:
    return "Assign" if given else "Unassign"
