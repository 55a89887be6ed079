"""Who may act on administrators: a directory role that the caller's own principal must hold.

Learn "Who can perform sensitive actions": application permissions alone are not enough for an
administrator's password, state, principal name, phones, sessions or deletion. Simplified: three
classes of people, as that table has them for the built-in roles.
"""

from entra_pipeline.simulator.errors import denied
from entra_pipeline.simulator.roles import GLOBAL_ADMINISTRATOR
from entra_pipeline.simulator.wire import JsonObject
from entra_pipeline.simulator.writes.write import Write

PRIVILEGED_AUTHENTICATION_ADMINISTRATOR = "7be44c8a-adaf-4e2a-84d6-ab2649e08a13"
USER_ADMINISTRATOR = "fe930be7-5e62-47db-91af-98c3a49a38b1"
AUTHENTICATION_ADMINISTRATOR = "c4e39bd9-1100-46d3-8c65-fb160da0071f"
HELPDESK_ADMINISTRATOR = "729827e3-9c14-49f7-bb1b-9608f156bbb8"
PASSWORD_ADMINISTRATOR = "966707d0-3269-4727-9be2-8c3a10f19b9d"  # noqa: S105 - a role's id
PRIVILEGED_ROLE_ADMINISTRATOR = "e8611ab8-c189-46e8-94e1-60213ab1f814"

_LIMITED = frozenset(
    {
        "88d8e3e3-8f55-4a1e-953a-9b9898b8876b",  # Directory Readers
        "95e79109-95c0-4d8e-aee3-d01accf2d47b",  # Guest Inviter
        "790c1fb9-7f7d-4f88-86a1-ef1f95c05c1b",  # Message Center Reader
        "4a5d8f65-41da-4de4-8968-e035b65339cf",  # Reports Reader
        "75934031-6c7e-415a-99d7-48dbd49e875e",  # Usage Summary Reports Reader
        "fdd7a751-b60b-444a-984c-02652fe8fa1c",  # Groups Administrator
        HELPDESK_ADMINISTRATOR,
        PASSWORD_ADMINISTRATOR,
        USER_ADMINISTRATOR,
    }
)
_STRONG = frozenset({GLOBAL_ADMINISTRATOR, PRIVILEGED_AUTHENTICATION_ADMINISTRATOR})
_OVER_LIMITED = _STRONG | {USER_ADMINISTRATOR}
_OVER_PASSWORDS = _OVER_LIMITED | {
    AUTHENTICATION_ADMINISTRATOR,
    HELPDESK_ADMINISTRATOR,
    PASSWORD_ADMINISTRATOR,
}


def roles_held(write: Write, principal_id: str, target_id: str | None = None) -> set[str]:
    """Role definitions that a principal holds, itself or by a group, for the tenant.

    With a target, also those for an administrative unit that the target is in, or for it alone.
    """
    directory = write.directory
    scopes = {"/"}
    if target_id is not None:
        units = directory.sources("administrative_unit_members", target_id)
        scopes |= {f"/administrativeUnits/{unit}" for unit in units} | {f"/{target_id}"}
    by_principal = directory.grouped("role_assignments", "principalId")
    holders = [principal_id, *_role_groups(write, principal_id)]
    return {
        row["roleDefinitionId"]
        for holder in holders
        for row in by_principal.get(holder, ())
        if row.get("directoryScopeId") in scopes
    }


def _role_groups(write: Write, principal_id: str) -> list[str]:
    groups = write.directory.collection("groups")
    held = write.directory.sources("group_members", principal_id)
    return [each for each in held if groups.get(each, {}).get("isAssignableToRole")]


def _administrator_class(write: Write, user_id: str) -> str:
    """`none`, `limited` or `full`: how much it takes to act on the user."""
    directory = write.directory
    by_principal = directory.grouped("role_assignments", "principalId")
    groups = _role_groups(write, user_id)
    owned = directory.sources("group_owners", user_id)
    if groups or any(
        directory.collection("groups").get(each, {}).get("isAssignableToRole") for each in owned
    ):
        # Members and owners of a role-assignable group count as the most privileged.
        return "full"
    held = {row["roleDefinitionId"] for row in by_principal.get(user_id, ())}
    if not held:
        return "none"
    return "limited" if held <= _LIMITED else "full"


def check_sensitive(write: Write, user: JsonObject) -> None:
    """403 for a sensitive action on an administrator whom the caller's roles do not reach."""
    needed = {"none": None, "limited": _OVER_LIMITED, "full": _STRONG}[
        _administrator_class(write, user["id"])
    ]
    if needed is not None and not needed & roles_held(write, write.caller.principal_id, user["id"]):
        raise denied()


def check_password(write: Write, user: JsonObject) -> None:
    """403 for another's password without a directory role, administrator or not."""
    needed = {"none": _OVER_PASSWORDS, "limited": _OVER_LIMITED, "full": _STRONG}[
        _administrator_class(write, user["id"])
    ]
    if not needed & roles_held(write, write.caller.principal_id, user["id"]):
        raise denied()


def check_restricted(write: Write, object_id: str) -> None:
    """403 for what is in a restricted unit, unless the caller holds a role for that very unit."""
    units = write.directory.collection("administrative_units")
    for unit_id in write.directory.sources("administrative_unit_members", object_id):
        if not units.get(unit_id, {}).get("isMemberManagementRestricted"):
            continue
        scope = f"/administrativeUnits/{unit_id}"
        rows = write.directory.grouped("role_assignments", "principalId")
        if not any(
            row.get("directoryScopeId") == scope for row in rows.get(write.caller.principal_id, ())
        ):
            raise denied(
                "Insufficient privileges to complete the operation. Target object is a member of "
                "a restricted management administrative unit."
            )
