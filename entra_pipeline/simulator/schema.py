"""What Microsoft's published metadata says about each type, and what Graph returns by default.

The metadata is `graph_types.json`; the default and select-only properties are from the reference
pages of the resource types (graph "user resource type", "group resource type", "List users").
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

USER_DEFAULTS = (
    "businessPhones",
    "displayName",
    "givenName",
    "jobTitle",
    "mail",
    "mobilePhone",
    "officeLocation",
    "preferredLanguage",
    "surname",
    "userPrincipalName",
    "id",
)
GROUP_DEFAULTS = (
    "id",
    "deletedDateTime",
    "classification",
    "createdDateTime",
    "description",
    "displayName",
    "expirationDateTime",
    "groupTypes",
    "isAssignableToRole",
    "mail",
    "mailEnabled",
    "mailNickname",
    "membershipRule",
    "membershipRuleProcessingState",
    "onPremisesDomainName",
    "onPremisesLastSyncDateTime",
    "onPremisesNetBiosName",
    "onPremisesSamAccountName",
    "onPremisesSecurityIdentifier",
    "onPremisesSyncEnabled",
    "preferredDataLocation",
    "preferredLanguage",
    "proxyAddresses",
    "renewedDateTime",
    "resourceBehaviorOptions",
    "resourceProvisioningOptions",
    "securityEnabled",
    "securityIdentifier",
    "theme",
    "visibility",
    "onPremisesProvisioningErrors",
    "serviceProvisioningErrors",
)

DEFAULTS: dict[str, tuple[str, ...]] = {"user": USER_DEFAULTS, "group": GROUP_DEFAULTS}
"""Types that return less than everything unless asked, and what they return."""

SELECT_ONLY: dict[str, frozenset[str]] = {
    "application": frozenset({"managerApplications", "logo", "federatedIdentityCredentials"}),
    "servicePrincipal": frozenset({"customSecurityAttributes"}),
    "device": frozenset({"hostnames"}),
}
"""Of the types that return everything, what they still hold back."""

SINGLE_ONLY: dict[str, frozenset[str]] = {
    "user": frozenset(
        {
            "aboutMe",
            "birthday",
            "hireDate",
            "interests",
            "mySite",
            "pastProjects",
            "preferredName",
            "responsibilities",
            "schools",
            "skills",
            "mailboxSettings",
        }
    ),
    "group": frozenset(
        {
            "allowExternalSenders",
            "autoSubscribeNewMembers",
            "hideFromAddressLists",
            "hideFromOutlookClients",
            "isSubscribedByMail",
            "unseenCount",
        }
    ),
}
"""Properties that only a request for one object may select; a list answers 501."""

_STORED_NAVIGATIONS = frozenset({"federatedIdentityCredentials", "servicePrincipalId", "userId"})
"""Keys inside a tenant's objects that are no properties on the wire."""


@dataclass(frozen=True, slots=True)
class Property:
    """A property as the metadata declares it; `type` such as `Edm.String`."""

    type: str
    is_collection: bool
    nullable: bool

    @property
    def empty(self) -> Any:
        """What stands in an answer when the tenant holds nothing: null, or an empty list."""
        return [] if self.is_collection else None


@cache
def _document() -> dict[str, Any]:
    path = Path(__file__).with_name("graph_types.json")
    document: dict[str, Any] = json.loads(path.read_bytes())
    return document


@cache
def properties(type_name: str) -> dict[str, Property]:
    """Declared properties, inherited ones included, of `user` or `microsoft.graph.user`.

    Empty for a type that the metadata file does not describe.
    """
    qualified = type_name if "." in type_name else f"microsoft.graph.{type_name}"
    declared = _document()["types"].get(qualified)
    if declared is None:
        return {}
    base = declared.get("base")
    found = dict(properties(base)) if base else {}
    if base == "microsoft.graph.entity" or (base is None and declared.get("kind") == "entity"):
        found.setdefault("id", Property("Edm.String", False, False))
    for name, (edm, is_collection, nullable) in declared["props"].items():
        found[name] = Property(edm, bool(is_collection), bool(nullable))
    return found


@cache
def default_properties(type_name: str) -> tuple[str, ...]:
    """What the type returns when nothing is selected."""
    if type_name in DEFAULTS:
        return DEFAULTS[type_name]
    held_back = SELECT_ONLY.get(type_name, frozenset()) | SINGLE_ONLY.get(type_name, frozenset())
    names = [name for name in properties(type_name) if name not in held_back]
    if "id" in names:
        names.remove("id")
        names.insert(0, "id")
    return tuple(names)


def held_back(type_name: str) -> frozenset[str]:
    """Keys of a stored object that an answer without `$select` must not show."""
    return SELECT_ONLY.get(type_name, frozenset()) | _STORED_NAVIGATIONS


def is_enum(edm_type: str) -> bool:
    """Whether the type name is one of Graph's enumerations."""
    return edm_type in _document()["enums"]


def is_complex(edm_type: str) -> bool:
    """Whether the type has properties of its own."""
    return edm_type in _document()["types"]
