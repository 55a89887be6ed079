"""Who can receive mail, and how Exchange names them.

Exchange knows an object by its object id in Entra, any of its addresses, or its alias. A mailbox's
Name is its object id in newer ones and a name in older ones, and so are entries of ManagedBy.
"""

from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.wire import JsonObject

_COLLECTIONS = ("users", "groups", "contacts")


def addresses(obj: JsonObject) -> set[str]:
    """All mail addresses of an object, in lower case."""
    found = {str(each).partition(":")[2].lower() for each in obj.get("proxyAddresses") or ()}
    return found | ({str(obj["mail"]).lower()} if obj.get("mail") else set())


def is_list(group: JsonObject) -> bool:
    """Whether it is a distribution list or a mail-enabled security group."""
    return bool(group.get("mailEnabled")) and "Unified" not in (group.get("groupTypes") or ())


def is_recipient(collection: str, obj: JsonObject) -> bool:
    """Whether it can be a member of a list."""
    return is_list(obj) if collection == "groups" else bool(obj.get("mail"))


def find(directory: Directory, identity: str) -> tuple[str, JsonObject] | None:
    """The object of that object id, address or alias, and its collection; recipient or not."""
    key = identity.lower()
    for collection in _COLLECTIONS:
        found = directory.collection(collection).get(key)
        if found is not None:
            return collection, found
    for collection in _COLLECTIONS:
        for obj in directory.collection(collection).values():
            if key in addresses(obj) or key == str(obj.get("mailNickname") or "").lower():
                return collection, obj
    return None


def name_of(obj: JsonObject) -> str:
    """The Name property: of every third object an old one."""
    if int(obj["id"][:8], 16) % 3:
        return str(obj["id"])
    return str(obj.get("displayName") or obj["id"])


def recipient_type(collection: str, obj: JsonObject) -> str:
    """RecipientTypeDetails."""
    if collection == "contacts":
        return "MailContact"
    if collection == "groups":
        secure = obj.get("securityEnabled")
        return "MailUniversalSecurityGroup" if secure else "MailUniversalDistributionGroup"
    if obj.get("userType") == "Guest":
        return "GuestMailUser"
    purpose = (obj.get("mailboxSettings") or {}).get("userPurpose")
    return {"room": "RoomMailbox", "shared": "SharedMailbox"}.get(str(purpose), "UserMailbox")


def as_member(collection: str, obj: JsonObject) -> JsonObject:
    """A row of Get-DistributionGroupMember."""
    return {
        "Identity": name_of(obj),
        "Name": name_of(obj),
        "DisplayName": obj.get("displayName"),
        "ExternalDirectoryObjectId": obj["id"],
        "PrimarySmtpAddress": obj.get("mail") or "",
        "RecipientType": recipient_type(collection, obj),
        "RecipientTypeDetails": recipient_type(collection, obj),
    }


def as_list(group: JsonObject, managers: list[str], named: list[str] | None) -> JsonObject:
    """A row of Get-DistributionGroup; `named`: managers with addresses, where asked for."""
    kind = recipient_type("groups", group)
    secure = ", SecurityEnabled" if group.get("securityEnabled") else ""
    return {
        "Identity": group.get("displayName"),
        "Name": group.get("displayName"),
        "DisplayName": group.get("displayName"),
        "Alias": group.get("mailNickname"),
        "ExternalDirectoryObjectId": group["id"],
        "Guid": group["id"][::-1],
        "GroupType": f"Universal{secure}",
        "RecipientType": kind,
        "RecipientTypeDetails": kind,
        "PrimarySmtpAddress": group.get("mail") or "",
        "EmailAddresses": group.get("proxyAddresses") or [],
        "IsDirSynced": bool(group.get("onPremisesSyncEnabled")),
        "HiddenFromAddressListsEnabled": bool(group.get("hideFromAddressLists")),
        "MemberJoinRestriction": "Closed",
        "MemberDepartRestriction": "Closed",
        "RequireSenderAuthenticationEnabled": True,
        "WhenCreatedUTC": group.get("createdDateTime"),
        "ManagedBy": managers,
        "ManagedByWithDisplayNames": named or [],
    }
