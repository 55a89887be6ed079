"""Which groups Graph lets be changed, and what may go into them.

Graph "Add members", "Add owners", "Group resource type" (kinds of groups), "Restricted management
administrative units". Messages are those that callers have recorded.
"""

from entra_pipeline.simulator.errors import GraphError, bad_request
from entra_pipeline.simulator.wire import JsonObject
from entra_pipeline.simulator.writes import needs
from entra_pipeline.simulator.writes.administrators import check_restricted
from entra_pipeline.simulator.writes.write import Write

MAX_OWNERS = 100
MAX_ROLE_ASSIGNABLE = 500
ON_PREMISES = (
    "Unable to update the specified properties for on-premises mastered Directory Sync objects or "
    "objects currently undergoing migration."
)
_MAIL_ENABLED = "Cannot Update a mail-enabled security groups and or distribution list."


def is_dynamic(group: JsonObject) -> bool:
    """Whether a rule decides who is a member."""
    return "DynamicMembership" in (group.get("groupTypes") or ())


def is_unified(group: JsonObject) -> bool:
    """Whether it is a Microsoft 365 group."""
    return "Unified" in (group.get("groupTypes") or ())


def is_exchange(group: JsonObject) -> bool:
    """Whether only Exchange can change it: mail-enabled security groups, distribution lists."""
    return bool(group.get("mailEnabled")) and not is_unified(group)


def is_role_assignable(group: JsonObject) -> bool:
    """Whether directory roles may be given to it."""
    return bool(group.get("isAssignableToRole"))


def check_changeable(write: Write, group: JsonObject) -> None:
    """Refuse groups that Graph cannot change at all. Raises GraphError 400 or 403."""
    if group.get("onPremisesSyncEnabled"):
        raise bad_request(ON_PREMISES)
    if is_exchange(group):
        raise bad_request(_MAIL_ENABLED)
    if is_role_assignable(group):
        write.need(needs.ROLE_ASSIGNABLE)
    check_restricted(write, group["id"])


def check_members_changeable(write: Write, group: JsonObject) -> None:
    """As `check_changeable`, and refuse groups whose members a rule decides."""
    check_changeable(write, group)
    if is_dynamic(group):
        raise bad_request(
            "The membership of a group with dynamic membership cannot be changed directly."
        )


_MEMBER_NEEDS = {
    "service_principals": needs.APPLICATIONS,
    "devices": needs.DEVICES,
    "contacts": needs.CONTACTS,
}
_INVALID = "Invalid object type for a reference in the property '{}'."


def check_member(write: Write, group: JsonObject, collection: str, obj: JsonObject) -> None:
    """Refuse what cannot be a member of the group. Raises GraphError 400 or 403."""
    need = _MEMBER_NEEDS.get(collection)
    if need is not None:
        write.need(need)
    if collection not in ("users", "groups", "service_principals", "devices", "contacts"):
        raise bad_request(_INVALID.format("members"))
    if is_unified(group) and collection != "users":
        raise bad_request(_INVALID.format("members"))
    if collection == "groups":
        if obj["id"] == group["id"]:
            raise bad_request("A group cannot be a member of itself.")
        if is_role_assignable(group):
            raise bad_request(
                "Nested groups are not supported in groups that can be assigned to a role."
            )
        if is_unified(obj) or not obj.get("securityEnabled"):
            raise bad_request(_INVALID.format("members"))


def check_owner(write: Write, collection: str) -> None:
    """Refuse what cannot own a group. Raises GraphError 400 or 403."""
    if collection == "service_principals":
        write.need(needs.APPLICATIONS)
    elif collection != "users":
        raise bad_request(_INVALID.format("owners"))


def check_owner_quota(write: Write, group_id: str, more: int) -> None:
    """403 when the group would have more owners than it may."""
    if len(write.directory.targets("group_owners", group_id)) + more > MAX_OWNERS:
        raise GraphError(
            403,
            "Authorization_RequestDenied",
            f"The link change would exceed the maximum quota count of {MAX_OWNERS} for "
            "forward-link property 'owners'.",
        )


def check_last_owner(write: Write, group_id: str, owner_id: str) -> None:
    """400 for the last owner who is a user: an application as owner does not count."""
    users = write.directory.collection("users")
    if owner_id not in users:
        return
    owners = write.directory.targets("group_owners", group_id)
    if not any(each in users and each != owner_id for each in owners):
        raise bad_request(
            "The group must have at least one owner, hence this owner cannot be removed."
        )
