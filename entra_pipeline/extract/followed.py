"""Which feeds of Graph each table follows, and what a feed is asked for.

Here: declarations only. Not here: places in feeds and rounds (`feeds`, `delta`), and what a round
means for rows (`increments`).
"""

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from entra_pipeline.extract import mapping
from entra_pipeline.extract.delta import Feed
from entra_pipeline.msgraph import Service
from entra_pipeline.settings import Settings
from entra_pipeline.tables import get

LICENSES = "licenseAssignmentStates"
ROLES = "appRoles"
SCOPES = "oauth2PermissionScopes"
FEDERATED = "federatedIdentityCredentials"
_EXTENSION_ATTRIBUTES = "on_premises_extension_attributes"

_TEXT = pa.string()
_PASSWORD = ("keyId", "displayName", "startDateTime", "endDateTime")
_KEY = (*_PASSWORD, "type", "usage", "customKeyIdentifier")
SECRETS: Mapping[str, pa.DataType] = {
    "passwordCredentials": pa.list_(pa.struct([(name, _TEXT) for name in _PASSWORD])),
    "keyCredentials": pa.list_(pa.struct([(name, _TEXT) for name in _KEY])),
}
FEDERATION = pa.struct(
    [
        *((name, _TEXT) for name in ("id", "name", "issuer", "subject")),
        ("audiences", pa.list_(_TEXT)),
    ]
)


def _of_table(name: str, *further: str) -> Callable[[Settings], tuple[str, Mapping[str, Any]]]:
    def tracks(_: Settings) -> tuple[str, Mapping[str, Any]]:
        table = get(name)
        return mapping.select(table, *further), _fields(mapping.shape(table))

    return tracks


def _of_users(settings: Settings) -> tuple[str, Mapping[str, Any]]:
    table, licenses = get("users"), mapping.child(get("license_assignments"))
    without = () if settings.on_premises_extension_attributes else (_EXTENSION_ATTRIBUTES,)
    shape = mapping.shape(table, {LICENSES: licenses}, without=without)
    return mapping.select(table, LICENSES, without=without), _fields(shape)


def _of_applications(_: Settings) -> tuple[str, Mapping[str, Any]]:
    table = get("applications")
    return mapping.select(table, *SECRETS), _fields(mapping.shape(table, SECRETS))


def _of_service_principals(_: Settings) -> tuple[str, Mapping[str, Any]]:
    table = get("service_principals")
    further = {
        ROLES: mapping.child(get("app_roles")),
        SCOPES: mapping.child(get("delegated_permissions")),
        **SECRETS,
    }
    return mapping.select(table, *further), _fields(mapping.shape(table, further))


def _fields(shape: pa.StructType) -> dict[str, pa.DataType]:
    return {field.name: field.type for field in shape}


PRINCIPALS = ("users", "groups", "service_principals")

FEEDS: Mapping[str, Feed] = {
    feed.name: feed
    for feed in (
        Feed("users", "/users/delta", _of_users, ("manager",), proof="userPrincipalName"),
        Feed(
            "service_principals",
            "/servicePrincipals/delta",
            _of_service_principals,
            proof="appId",
            service=Service.KEY_CREDENTIALS,
        ),
        Feed(
            "applications",
            "/applications/delta",
            _of_applications,
            proof="appId",
            service=Service.KEY_CREDENTIALS,
        ),
        Feed("devices", "/devices/delta", _of_table("devices"), proof="deviceId"),
        Feed(
            "groups",
            "/groups/delta",
            _of_table("groups"),
            ("members", "owners"),
            proof="displayName",
            after=("users", "service_principals"),
        ),
        Feed(
            "administrative_units",
            "/directory/administrativeUnits/delta",
            _of_table("administrative_units"),
            ("members",),
            proof="displayName",
            after=("users", "groups"),
        ),
        Feed("contacts", "/contacts/delta", _of_table("contacts"), proof="displayName"),
        Feed(
            "oauth2_permission_grants",
            "/oauth2PermissionGrants/delta",
            _of_table("oauth2_permission_grants"),
            proof="clientId",
        ),
    )
}

FOLLOWED: Mapping[str, tuple[str, ...]] = {
    "users": ("users",),
    "license_assignments": ("users",),
    "groups": ("groups",),
    "group_members": PRINCIPALS,
    "group_owners": PRINCIPALS,
    "administrative_units": ("administrative_units",),
    "administrative_unit_members": ("administrative_units", "users", "groups"),
    "contacts": ("contacts",),
    "oauth2_permission_grants": ("oauth2_permission_grants",),
    "devices": ("devices",),
    "device_owners": ("devices", "users", "service_principals"),
    "applications": ("applications",),
    "application_owners": ("applications", "users", "service_principals"),
    "service_principals": ("service_principals",),
    "app_roles": ("service_principals",),
    "delegated_permissions": ("service_principals",),
    "service_principal_owners": ("service_principals", "users"),
    "credentials": ("applications", "service_principals"),
    "app_role_assignments": PRINCIPALS,
    "group_eligibility_schedule_instances": ("groups",),
    "group_assignment_schedule_instances": ("groups",),
    "role_assignments": (),
    "role_assignment_schedule_instances": ("groups",),
    "role_eligibility_schedule_instances": ("groups",),
}
"""Tables that can be kept by changes, and the feeds that each of them depends on."""

HINTED: frozenset[str] = frozenset(
    {
        "application_owners",
        "service_principal_owners",
        "device_owners",
        "credentials",
        "app_role_assignments",
        "group_eligibility_schedule_instances",
        "group_assignment_schedule_instances",
        "role_assignments",
        "role_assignment_schedule_instances",
        "role_eligibility_schedule_instances",
    }
)
"""Tables of which no feed tells everything: the directory's audits point at the rest."""

FILTERS: Mapping[str, str] = {
    "groups": "skip_ad_groups",
    "group_members": "skip_ad_groups",
    "group_owners": "skip_ad_groups",
    "service_principals": "skip_unassigned_apps",
    "app_roles": "skip_unassigned_apps",
    "delegated_permissions": "skip_unassigned_apps",
    "service_principal_owners": "skip_unassigned_apps",
    "credentials": "skip_unassigned_apps",
    "app_role_assignments": "skip_unassigned_apps",
}
"""Settings with which a table is always read in full, because they leave out rows by what other
objects are like: a change there shows in no feed of the table's own."""

CHOSEN_BY: Mapping[str, str] = {
    "group_eligibility_schedule_instances": "pim_groups",
    "group_assignment_schedule_instances": "pim_groups",
}
"""Settings that say which objects a table is read for: another value means a full read."""
