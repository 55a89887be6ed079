"""Activities of directory audits by name, and what each of them changes.

Here: the names, compared without what drifts, and the tables behind them. Not here: reading an
audit (`hints`).
Source of the names: https://learn.microsoft.com/entra/identity/monitoring-health/reference-audit-activities
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final


@lru_cache(1_024)  # a log repeats a few names
def activity_name(text: str) -> str:
    """A name without what drifts: case, kinds of dashes and spaces, brackets around suffixes."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    plain = "".join(
        "-" if unicodedata.category(c) == "Pd" or c == "\N{MINUS SIGN}" else c for c in plain
    )
    plain = re.sub(r"[()\[\]]", " ", plain)
    plain = re.sub(r"\s*-\s*", " - ", plain)
    return " ".join(plain.split()).strip(" -.")


Need = tuple[str, str]
"""A table, and the kind of target whose ids own its rows; "" for all of the table."""

ALL: Final = ""
NONE: Final = "none"
PRINCIPAL: Final = "principal"


@dataclass(frozen=True)
class Rule:
    """What an activity changes."""

    needs: tuple[Need, ...]
    in_pim: tuple[Need, ...] = ()
    """What is hinted at besides when PIM did it."""
    lives: str = ""
    """The kind of target that appeared, vanished or came back."""


def _of(kind: str, *tables: str) -> tuple[Need, ...]:
    return tuple((table, kind) for table in tables)


_USER = _of("user", "users", "license_assignments")
_LICENCES = (*_USER, ("subscribed_skus", ALL))
_GROUP = _of("group", "groups")
_MEMBERS = _of("group", "group_members")
_GROUP_OWNERS = _of("group", "group_owners")
_ELIGIBLE_GROUP = _of("group", "group_eligibility_schedule_instances")
_ASSIGNED_GROUP = _of("group", "group_assignment_schedule_instances")
_GROUP_PIM = (*_ELIGIBLE_GROUP, *_ASSIGNED_GROUP)
_ROLE = _of(PRINCIPAL, "role_assignments", "role_assignment_schedule_instances")
_ELIGIBLE_ROLE = _of(PRINCIPAL, "role_eligibility_schedule_instances")
_APPLICATION = _of("application", "applications", "credentials")
_SERVICE_PRINCIPAL = _of(
    "serviceprincipal", "service_principals", "app_roles", "delegated_permissions", "credentials"
)
_APP_ROLES = _of("serviceprincipal", "app_role_assignments")
_CONSENTS = _of("serviceprincipal", "oauth2_permission_grants")
_UNIT = _of("administrativeunit", "administrative_units")
_DEVICE = _of("device", "devices")
_POLICIES = (("conditional_access_policies", ALL),)
_TENANT = (("organization", ALL), ("domains", ALL))

_HELD_BY_USERS = _of(
    NONE,
    "group_members",
    "group_owners",
    "administrative_unit_members",
    "application_owners",
    "service_principal_owners",
    "device_owners",
    "role_assignments",
    "role_assignment_schedule_instances",
    "role_eligibility_schedule_instances",
    "group_eligibility_schedule_instances",
    "group_assignment_schedule_instances",
    "app_role_assignments",
    "oauth2_permission_grants",
)
"""Tables whose rows name users, groups or service principals, as holders or otherwise."""
_BIN = (("deleted_items", ALL),)

_KNOWN: dict[str, Rule] = {}


def _know(names: str | Iterable[str], *needs: tuple[Need, ...], **more: Any) -> None:
    rule = Rule(tuple(need for part in needs for need in part), **more)
    for name in (names,) if isinstance(names, str) else names:
        _KNOWN[activity_name(name)] = rule


def _know_lives(words: str, kind: str, own: tuple[Need, ...], *others: tuple[Need, ...]) -> None:
    """Objects appear, change, vanish and come back by the same verbs."""
    for word in words.split("|"):
        _know(f"Add {word}", own, lives=kind)
        _know((f"Update {word}", f"Set {word}", f"Change {word}"), own)
        _know(
            (
                f"Delete {word}",
                f"Remove {word}",
                f"Soft delete {word}",
                f"Hard delete {word}",
                f"Permanently delete {word}",
                f"Restore {word}",
                f"Recover {word}",
            ),
            own,
            *others,
            lives=kind,
        )


_know_lives("user|guest user", "user", _USER, _HELD_BY_USERS, _BIN)
_know_lives("group", "group", (*_GROUP, *_MEMBERS, *_GROUP_OWNERS), _HELD_BY_USERS, _BIN)
_know_lives("application", "application", (*_APPLICATION, ("application_owners", "application")),
            _of(NONE, "role_assignments"), _BIN)  # fmt: skip
_know_lives(
    "service principal|managed identity|agent identity", "serviceprincipal",
    (*_SERVICE_PRINCIPAL, *_APP_ROLES, *_CONSENTS), _HELD_BY_USERS,
    _of("serviceprincipal", "service_principal_owners"), _BIN,
)  # fmt: skip
_know_lives("device", "device", _DEVICE, _of(NONE, "group_members", "administrative_unit_members"),
            _of("device", "device_owners"))  # fmt: skip
_know_lives("administrative unit", "administrativeunit", _UNIT,
            _of("administrativeunit", "administrative_unit_members"),
            _of(NONE, "role_assignments"), _BIN)  # fmt: skip
_know_lives("contact", "contact", _of("contact", "contacts"), _of(NONE, "group_members"))
_know_lives("role definition|custom role", "", _of("role", "role_definitions"))
_know_lives("conditional access policy|named location|policy", "", _POLICIES)
_know_lives("domain|unverified domain|verified domain|partner|company", "", _TENANT)

# Users
_know(("Disable account", "Enable account", "Invite external user", "Redeem external user invite",
       "Reset user password", "Reset password", "Change user password", "Change password",
       "Set force change user password", "Update StsRefreshTokenValidFrom Timestamp",
       "Convert federated user to managed", "Viral user creation", "Create user",
       "Update external secrets", "Set user manager", "Remove user manager"), _USER)  # fmt: skip
_know(("Invite external user", "Viral user creation", "Create user"), _USER, lives="user")
_know(("Change user license", "Set license properties", "Assign license", "Remove license",
       "Update user license"), _LICENCES)  # fmt: skip

# Groups
_know("Create group", _GROUP, _MEMBERS, _GROUP_OWNERS, lives="group")
_know(("Set group license", "Change group license", "Update group license",
       "Finish applying group based license to users",
       "Start applying group based license to users",
       "Trigger group license recalculation"),
      _GROUP, (("license_assignments", ALL), ("subscribed_skus", ALL)))  # fmt: skip
for _verb in ("Add member to", "Remove member from", "Add members to", "Remove members from"):
    _know(f"{_verb} group", _MEMBERS, in_pim=_GROUP_PIM)
for _verb in ("Add owner to", "Remove owner from", "Add owners to", "Remove owners from"):
    _know(f"{_verb} group", _GROUP_OWNERS, in_pim=_GROUP_PIM)
for _access in ("member", "owner"):
    _know((f"Add eligible {_access} to group", f"Remove eligible {_access} from group",
           f"Update eligible {_access} in group"), _ELIGIBLE_GROUP)  # fmt: skip
    _know(f"Update {_access} in group", _MEMBERS, _GROUP_OWNERS, _ASSIGNED_GROUP)

# Roles
for _scoped in ("", "scoped "):
    _know((f"Add {_scoped}member to role", f"Remove {_scoped}member from role",
           f"Update {_scoped}member in role", f"Add {_scoped}member to role assignment",
           f"Extend {_scoped}member in role", f"Renew {_scoped}member in role"),
          _ROLE)  # fmt: skip
    _know((f"Add eligible {_scoped}member to role", f"Remove eligible {_scoped}member from role",
           f"Update eligible {_scoped}member in role", f"Extend eligible {_scoped}member in role",
           f"Renew eligible {_scoped}member in role"), _ELIGIBLE_ROLE)  # fmt: skip
_know(("Add role assignment to role definition", "Remove role assignment from role definition",
       "Process role update", "Process role removal request"),
      (("role_assignments", ALL), ("role_assignment_schedule_instances", ALL),
       ("role_eligibility_schedule_instances", ALL)))  # fmt: skip
_know(("Update role setting in PIM", "Resolve PIM alert", "Trigger PIM alert", "Update role",
       "Enable PIM alert", "Disable PIM alert", "Refresh PIM alert"))  # fmt: skip

# Applications
for _place, _kind_of_place, _table in (
    ("application", "application", "application_owners"),
    ("service principal", "serviceprincipal", "service_principal_owners"),
):
    _know((f"Add owner to {_place}", f"Remove owner from {_place}"), _of(_kind_of_place, _table))
_know(("Update application - Certificates and secrets management", "Consent to application owner",
       "Add external secret to application", "Add verified publisher", "Unset verified publisher",
       "Create application", "Set verified publisher"), _APPLICATION)  # fmt: skip
_know(("Add service principal credentials", "Remove service principal credentials",
       "Create application password for user"), _SERVICE_PRINCIPAL)  # fmt: skip
_know(("Add app role assignment", "Remove app role assignment", "Update app role assignment"),
      _APP_ROLES)  # fmt: skip
_know(("Add delegated permission grant", "Remove delegated permission grant",
       "Update delegated permission grant", "Add OAuth2PermissionGrant",
       "Remove OAuth2PermissionGrant", "Update OAuth2PermissionGrant"), _CONSENTS)  # fmt: skip
_know(("Consent to application", "Revoke consent"), _CONSENTS,
      _of("serviceprincipal", "service_principals"), _APP_ROLES)  # fmt: skip

# Units, devices, policies, the tenant
for _scoped in ("", "restricted "):
    _know((f"Add member to {_scoped}administrative unit management",
           f"Add member to {_scoped}administrative unit",
           f"Remove member from {_scoped}administrative unit",
           f"Bulk add members to {_scoped}administrative unit"),
          _of("administrativeunit", "administrative_unit_members"))  # fmt: skip
_know(("Add registered owner to device", "Remove registered owner from device"),
      _of("device", "device_owners"))  # fmt: skip
_know(("Add registered users to device", "Remove registered users from device",
       "Add registered user to device", "Remove registered user from device"))  # fmt: skip
_know(("Register device", "Unregister device", "Device no longer compliant",
       "Device no longer managed"), _DEVICE, lives="device")  # fmt: skip
_know(("Verify domain", "Verify email verified domain", "Set company information",
       "Update company settings", "Set domain authentication", "Set federation settings on domain",
       "Promote company to partner"), _TENANT)  # fmt: skip
_know(("User registered security info", "User registered all required security info",
       "User deleted security info", "User changed default security info",
       "Admin registered security info", "Admin deleted security info",
       "Admin updated security info",
       "Add policy to service principal", "Remove policy from service principal",
       "Issue an id_token to the application", "Import", "Export",
       "Validate user authentication", "Self-service password reset flow activity progress",
       "Download users", "Sign-in"))  # fmt: skip

_LENGTHS: Final = sorted({len(name.split()) for name in _KNOWN}, reverse=True)

CATEGORIES: Final[Mapping[str, tuple[Need, ...]]] = {
    "usermanagement": _USER,
    "groupmanagement": (*_GROUP, *_MEMBERS, *_GROUP_OWNERS),
    "rolemanagement": (*_of("role", "role_definitions"), *_ROLE, *_ELIGIBLE_ROLE),
    "applicationmanagement": (*_APPLICATION, *_SERVICE_PRINCIPAL, *_APP_ROLES, *_CONSENTS),
    "administrativeunit": (*_UNIT, *_of("administrativeunit", "administrative_unit_members")),
    "device": (*_DEVICE, *_of("device", "device_owners")),
    "policy": _POLICIES,
    "directorymanagement": _TENANT,
    "contact": _of("contact", "contacts"),
}
"""Category, without case and spaces -> what an unknown write of it may have changed."""

WRITES: Final = frozenset(
    (
        *("activate", "add", "apply", "approve", "assign", "bulk", "change", "consent", "convert"),
        *("create", "deactivate", "delete", "disable", "enable", "extend", "hard", "invite"),
        *("link", "merge", "move", "permanently", "promote", "recover", "redeem", "register"),
        *("remove", "rename", "renew", "reset", "restore", "revoke", "set", "soft", "unassign"),
        *("unlink", "unset", "update", "verify"),
    )
)
"""First words of activities that write."""
WRITING_OPERATIONS: Final = frozenset({"add", "assign", "unassign", "update", "delete", "create"})


def rule_of(name: str) -> Rule | None:
    """The rule of the longest known name that this one begins with, word by word."""
    words = name.split()
    for length in _LENGTHS:
        if length <= len(words) and (rule := _KNOWN.get(" ".join(words[:length]))) is not None:
            return rule
    return None
