"""Property values in bodies: whether Graph knows them, lets them be written, and their form.

Types are those of the published metadata; what is read-only is marked so in the pages of the user
and the group resource types.
"""

from datetime import datetime
from typing import Any

from entra_pipeline.simulator import schema
from entra_pipeline.simulator.errors import bad_request
from entra_pipeline.simulator.keys import GUID
from entra_pipeline.simulator.wire import JsonObject
from entra_pipeline.simulator.writes.write import invalid_value

READ_ONLY: dict[str, frozenset[str]] = {
    "user": frozenset(
        {
            "assignedLicenses",
            "assignedPlans",
            "authorizationInfo",
            "createdDateTime",
            "creationType",
            "deletedDateTime",
            "externalUserStateChangeDateTime",
            "id",
            "imAddresses",
            "isManagementRestricted",
            "isResourceAccount",
            "lastPasswordChangeDateTime",
            "licenseAssignmentStates",
            "onPremisesDistinguishedName",
            "onPremisesDomainName",
            "onPremisesLastSyncDateTime",
            "onPremisesSamAccountName",
            "onPremisesSecurityIdentifier",
            "onPremisesSyncEnabled",
            "onPremisesUserPrincipalName",
            "provisionedPlans",
            "proxyAddresses",
            "securityIdentifier",
            "serviceProvisioningErrors",
            "signInActivity",
            "signInSessionsValidFromDateTime",
        }
    ),
    "group": frozenset(
        {
            "assignedLicenses",
            "createdDateTime",
            "deletedDateTime",
            "expirationDateTime",
            "hasMembersWithLicenseErrors",
            "id",
            "licenseProcessingState",
            "mail",
            "onPremisesDomainName",
            "onPremisesLastSyncDateTime",
            "onPremisesNetBiosName",
            "onPremisesProvisioningErrors",
            "onPremisesSamAccountName",
            "onPremisesSecurityIdentifier",
            "onPremisesSyncEnabled",
            "proxyAddresses",
            "renewedDateTime",
            "securityIdentifier",
            "serviceProvisioningErrors",
        }
    ),
}
_LONGEST: dict[str, dict[str, int]] = {
    "user": {
        "city": 128,
        "companyName": 64,
        "country": 128,
        "department": 64,
        "displayName": 256,
        "employeeId": 16,
        "givenName": 64,
        "jobTitle": 128,
        "mailNickname": 64,
        "officeLocation": 128,
        "postalCode": 40,
        "state": 128,
        "streetAddress": 1024,
        "surname": 64,
        "userPrincipalName": 1024,
    },
    "group": {"description": 1024, "displayName": 256, "mailNickname": 64},
}
"""Characters at most (user and group resource types; employeeId: 16)."""
_NEVER_NULL: dict[str, frozenset[str]] = {
    "user": frozenset({"accountEnabled", "displayName", "mail", "userPrincipalName"}),
    "group": frozenset({"displayName", "mailEnabled", "mailNickname", "securityEnabled"}),
}
_EDM: dict[str, type | tuple[type, ...]] = {
    "Edm.String": str,
    "Edm.Boolean": bool,
    "Edm.Int32": int,
    "Edm.Int64": int,
    "Edm.Double": (int, float),
}
_NOT_IN_NICKNAME = set('@()\\[]";:<>, ')
_EXTENSION = "extension_"


def checked(kind: str, values: JsonObject) -> JsonObject:
    """The values as they will be stored. Raises GraphError 400 naming the property."""
    resource = kind.capitalize()
    declared = schema.properties(kind)
    for name, value in values.items():
        if name.startswith(_EXTENSION):
            continue
        known = declared.get(name)
        if known is None:
            raise bad_request(f"Property '{name}' does not exist as a declared property.")
        if name in READ_ONLY[kind]:
            raise bad_request(f"Property '{name}' is read-only and cannot be set.")
        if value is None:
            if name in _NEVER_NULL[kind]:
                raise invalid_value(name, resource)
            continue
        each: Any
        for each in value if known.is_collection and isinstance(value, list) else [value]:
            if known.is_collection and not isinstance(value, list):
                raise invalid_value(name, resource)
            _check_type(name, known.type, each, resource)
        longest = _LONGEST[kind].get(name)
        if longest is not None and isinstance(value, str) and not 1 <= len(value) <= longest:
            raise invalid_value(name, resource)
    nickname = values.get("mailNickname")
    if nickname is not None and (_NOT_IN_NICKNAME & set(nickname) or not nickname.isascii()):
        raise invalid_value("mailNickname", resource)
    location = values.get("usageLocation")
    if location is not None and not (len(location) == 2 and location.isalpha()):
        raise invalid_value("usageLocation", resource)
    phones = values.get("businessPhones")
    if phones is not None and len(phones) > 1:
        raise invalid_value("businessPhones", resource)
    return {name: _empty_is_null(value) for name, value in values.items()}


def _check_type(name: str, edm: str, value: object, resource: str) -> None:
    expected = _EDM.get(edm)
    if expected is not None:
        right = isinstance(value, expected) and (edm == "Edm.Boolean" or value is not True)
    elif edm == "Edm.Guid":
        right = isinstance(value, str) and GUID.match(value) is not None
    elif edm == "Edm.DateTimeOffset":
        right = isinstance(value, str) and _is_moment(value)
    elif schema.is_enum(edm):
        right = isinstance(value, str)
    elif schema.is_complex(edm):
        right = isinstance(value, dict) and not set(value) - set(schema.properties(edm))
    else:
        right = True
    if not right:
        raise invalid_value(name, resource)


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _empty_is_null(value: Any) -> Any:
    return None if value == "" else value


def merged(before: Any, value: Any) -> Any:
    """A complex value after a partial one: parts that were not sent stay."""
    if isinstance(before, dict) and isinstance(value, dict):
        return {**before, **value}
    return value
