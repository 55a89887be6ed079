"""Which tables an answer rests on: where one is not whole, the answer is not certain.

Only tables that decide who holds what are listed. Without `users`, say, names and kinds are poor
but nobody's membership is lost; PIM's list of *active* assignments repeats others and is no need.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import chain
from typing import Final

# How members of groups come by what a group holds.
_GROUPS: Final = ("groups", "group_members", "group_eligibility_schedule_instances")
_ROLES: Final = ("role_assignments", "role_eligibility_schedule_instances")

# By the form of the entitlement id: its first part, and for owner and member its last.
_BY_FORM: Final = {
    ("group", "member"): _GROUPS,
    ("group", "owner"): ("groups", "group_owners", "group_eligibility_schedule_instances"),
    ("app", "owner"): ("service_principals", "service_principal_owners"),
    ("app", ""): ("service_principals", "app_role_assignments", *_GROUPS),
    ("application", "owner"): ("applications", "application_owners"),
    ("delegated", ""): ("oauth2_permission_grants",),
    ("role", ""): ("role_definitions", *_ROLES, *_GROUPS),
    ("license", ""): ("users", "license_assignments", *_GROUPS),
    ("unit", "member"): ("administrative_units", "administrative_unit_members"),
    ("device", "owner"): ("devices", "device_owners"),
}
_PERSON: Final = (
    *_GROUPS,
    *_ROLES,
    "app_role_assignments",
    "group_owners",
    "administrative_unit_members",
)
_OWNER: Final = ("application_owners", "service_principal_owners", "device_owners")
_BY_KIND: Final = {
    "user": (*_PERSON, *_OWNER, "license_assignments"),
    "guest": (*_PERSON, *_OWNER, "license_assignments"),
    "group": (*_GROUPS, *_ROLES, "app_role_assignments", "administrative_unit_members"),
    "service_principal": (*_PERSON, *_OWNER, "oauth2_permission_grants"),
    "managed_identity": (*_PERSON, *_OWNER, "oauth2_permission_grants"),
    "device": _PERSON,
    "contact": _PERSON,
    "all_users": ("service_principals",),
}

# Where principals and entitlements are looked for by name.
PRINCIPALS: Final = ("users", "groups", "service_principals", "devices", "contacts")
ENTITLEMENTS: Final = (
    "groups",
    "service_principals",
    "app_roles",
    "delegated_permissions",
    "applications",
    "role_definitions",
    "subscribed_skus",
    "administrative_units",
    "devices",
)


# What the warehouse's own tables are made of. Views and macros come down to these.
_ALL: Final = tuple(dict.fromkeys(chain(*_BY_FORM.values())))
# Everything that decides about some access.
EVERY: Final = _ALL
_DERIVED: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("grants", "counts", "holds_by_entitlement", "holds_by_principal"), _ALL),
    **dict.fromkeys(("members_by_group", "members_by_member", "member_kinds"), _GROUPS),
    **dict.fromkeys(("nesting", "closure", "condensed_closure", "components"), _GROUPS),
    **dict.fromkeys(
        ("licensed_by_entitlement", "licensed_by_principal"), ("users", "license_assignments")
    ),
    **dict.fromkeys(("entitlements", "resources"), ENTITLEMENTS),
    "principals": PRINCIPALS,
    **dict.fromkeys(("application_use", "used_applications", "role_use"), PRINCIPALS),
    "principal_use": ("user_sign_in_activity",),
    "exchange_groups": ("exchange_groups",),
    "membership_windows": (
        "group_eligibility_schedule_instances",
        "group_assignment_schedule_instances",
    ),
}
# About the pipeline, or about the warehouse itself: whole by their nature.
_LEDGER: Final = (
    *("requests", "plans", "operations", "approvals", "reviews", "audit"),
    "grant_changes",
)
_OWN: Final = frozenset(
    {"syncs", "table_status", "warehouse", "reading_times", "usage_coverage", *_LEDGER}
)


def of_stored(names: Iterable[str], known: Collection[str]) -> list[str]:
    """The tables that stored tables of those names rest on; `known`: all there are.

    Names are the engine's, without schema. One that is not known here may rest on anything.
    """
    found: dict[str, None] = {}
    for name in sorted(names):
        if name in _DERIVED:
            found |= dict.fromkeys(_DERIVED[name])
        elif name in known:
            found[name] = None
        elif name not in _OWN:
            return list(known)
    return list(found)


def of_principal(kind: str) -> tuple[str, ...]:
    """The tables that decide what a principal of that kind holds."""
    everything = (*_PERSON, *_OWNER, "license_assignments", "oauth2_permission_grants")
    return _BY_KIND.get(kind, everything)


def of_entitlement(entitlement_id: str) -> tuple[str, ...]:
    """The tables that decide who holds an entitlement."""
    form, _, rest = entitlement_id.partition(":")
    last = rest.rpartition(":")[2]
    return _BY_FORM.get((form, last)) or _BY_FORM.get((form, ""), ())
