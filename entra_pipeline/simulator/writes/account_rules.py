"""What Graph demands of a user's properties, and who may set which.

Permissions of single properties: graph "Update user", table of least privileged permissions.
"""

from collections.abc import Mapping
from typing import Any

from entra_pipeline.simulator.entity_sets import BY_TYPE
from entra_pipeline.simulator.errors import GraphError, bad_request
from entra_pipeline.simulator.keys import by_alternate
from entra_pipeline.simulator.permissions import Acceptable
from entra_pipeline.simulator.wire import JsonObject
from entra_pipeline.simulator.writes import needs
from entra_pipeline.simulator.writes.administrators import check_password, check_sensitive
from entra_pipeline.simulator.writes.group_rules import ON_PREMISES
from entra_pipeline.simulator.writes.write import Write, conflict, invalid_value

MANAGER = "manager@odata.bind"
_OF_PROPERTY: dict[str, Acceptable] = {
    "accountEnabled": needs.ENABLE_USER,
    "passwordProfile": needs.PASSWORD,
    "otherMails": needs.MAIL,
    "businessPhones": needs.PHONE,
    "mobilePhone": needs.PHONE,
    "identities": needs.IDENTITIES,
    "employeeLeaveDateTime": needs.LIFE_CYCLE,
}
_SENSITIVE = frozenset(
    {"accountEnabled", "businessPhones", "mobilePhone", "otherMails", "userPrincipalName"}
)
_DELEGATED_ONLY = frozenset(
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
    }
)
_CLOUD_OWNED = frozenset(
    {"usageLocation", "otherMails", "passwordPolicies", "employeeLeaveDateTime", "identities"}
)
"""What stays the cloud's own for users who come from on premises."""
_CLASSES = (str.islower, str.isupper, str.isdigit, lambda each: not each.isalnum())
_SHORTEST, _LONGEST = 8, 256


def check_update(write: Write, sent: Mapping[str, Any], user: JsonObject | None = None) -> None:
    """403 for what the caller may not set; with the user, also for an administrator's."""
    general = set(sent) - _OF_PROPERTY.keys()
    if user is None:
        for name in sent.keys() & _OF_PROPERTY.keys():
            write.need(_OF_PROPERTY[name])
        if general or not sent:
            write.need(needs.UPDATE_USER)
        if write.caller.user_id is None and general & _DELEGATED_ONLY:
            raise bad_request(
                "The request cannot be carried out with application permissions: "
                f"{sorted(general & _DELEGATED_ONLY)[0]}."
            )
        return
    if _SENSITIVE & sent.keys():
        check_sensitive(write, user)
    if "passwordProfile" in sent:
        check_password(write, user)


def check_synced(user: JsonObject, sent: Mapping[str, Any]) -> None:
    """400 for what belongs to the directory on premises."""
    if user.get("onPremisesSyncEnabled") and set(sent) - _CLOUD_OWNED:
        raise bad_request(ON_PREMISES)


def check_principal_name(write: Write, values: JsonObject, user: JsonObject | None) -> None:
    """400 for a principal name that is malformed, of a foreign domain, or taken."""
    name = values["userPrincipalName"]
    local, at, domain = name.rpartition("@") if isinstance(name, str) else ("", "", "")
    if not at or not local or " " in name or "@" in local or len(local) > 64:
        raise invalid_value("userPrincipalName", "User")
    domains = {str(key).lower(): row for key, row in write.directory.collection("domains").items()}
    found = domains.get(domain.lower())
    if found is None or not found.get("isVerified"):
        raise bad_request(
            "The domain portion of the userPrincipalName property is invalid. You must use one of "
            "the verified domain names in your organization."
        )
    immutable = values.get("onPremisesImmutableId") or (user or {}).get("onPremisesImmutableId")
    if found.get("authenticationType") == "Federated" and not immutable:
        raise bad_request(
            "Property onPremisesImmutableId is required: the domain of the userPrincipalName is "
            "federated."
        )
    other = by_alternate(write.directory, BY_TYPE["user"], "userPrincipalName", name)
    if other is not None and (user is None or other["id"] != user["id"]):
        raise conflict(
            "Another object with the same value for property userPrincipalName already exists.",
            "userPrincipalName",
        )


def check_password_text(profile: Any, principal_name: str, *, update: bool = False) -> None:
    """400 without a password, or for one that Entra's rules refuse; never says which it was."""
    password = profile.get("password") if isinstance(profile, dict) else None
    if password is None:
        if update and isinstance(profile, dict):
            return
        raise bad_request("A password must be specified to create a new user.")
    local = principal_name.partition("@")[0].lower()
    kinds = sum(any(test(each) for each in password) for test in _CLASSES)
    if (
        not _SHORTEST <= len(password) <= _LONGEST
        or kinds < 3
        or (len(local) > 3 and local in password.lower())
    ):
        message = (
            "The specified password does not comply with password complexity requirements. Please "
            "provide a different password."
        )
        raise GraphError(
            400,
            "Request_BadRequest",
            message,
            details=[
                {"code": "PasswordComplexity", "message": message, "target": "passwordProfile"}
            ],
        )
