"""Steps that change users, and those on the recycle bin."""

from entra_pipeline.simulator.changes.base import Session, Step, blank
from entra_pipeline.simulator.changes.licences import count_user
from entra_pipeline.simulator.generate.build import DEFAULT_DOMAIN, INITIAL_DOMAIN, new_id
from entra_pipeline.simulator.tenant import KINDS, JsonObject

_COLLECTION_OF = {f"#microsoft.graph.{kind}": collection for collection, kind in KINDS.items()}


def create_user(s: Session) -> bool:
    """A new user who reports to an existing one."""
    model = s.some("users")
    if not model:
        return False
    number = s.rng.getrandbits(28)
    upn = f"new.user{number}@{DEFAULT_DOMAIN}"
    user_id = new_id(s.rng)
    user = {
        **blank(s.objects["users"][model]),
        "id": user_id,
        "accountEnabled": True,
        "createdDateTime": s.stamp,
        "displayName": f"New User {number}",
        "givenName": "New",
        "identities": [
            {
                "signInType": "userPrincipalName",
                "issuer": INITIAL_DOMAIN,
                "issuerAssignedId": upn,
            }
        ],
        "mail": upn,
        "mailNickname": f"new.user{number}",
        "surname": f"User {number}",
        "usageLocation": "SE",
        "userPrincipalName": upn,
        "userType": "Member",
    }
    s.put("users", user)
    register(s, user)
    s.link("managers", user_id, model)
    return True


def switch_user(s: Session) -> bool:
    """Disable an enabled user, or the reverse."""
    user_id = s.some("users")
    if not user_id:
        return False
    user = s.objects["users"][user_id]
    enabled = not user.get("accountEnabled")
    s.patch("users", user_id, {"accountEnabled": enabled})
    if enabled:
        register(s, {**user, "accountEnabled": True})
    elif user_id in s.objects["user_registration_details"]:
        s.remove("user_registration_details", user_id)
    return True


def rename_user(s: Session) -> bool:
    """Another surname and user principal name."""
    user_id = s.some("users")
    if not user_id:
        return False
    number = s.rng.getrandbits(24)
    return s.patch(
        "users",
        user_id,
        {
            "displayName": f"Renamed Person {number}",
            "surname": f"Person {number}",
            "userPrincipalName": f"renamed.person{number}@{DEFAULT_DOMAIN}",
        },
    )


def change_manager(s: Session) -> bool:
    """Another manager."""
    user = s.some("users")
    if not user:
        return False
    for manager in list(s.links["managers"].get(user, ())):
        s.unlink("managers", (user, manager))
    return s.link("managers", user, s.some("users"))


def soft_delete_user(s: Session) -> bool:
    """Put a user on the recycle bin."""
    user_id = s.some("users")
    if not user_id:
        return False
    forget(s, user_id)
    return s.soft_delete("users", user_id)


def hard_delete_user(s: Session) -> bool:
    """Delete a user for good, with what ends with the user."""
    user_id = s.some("users")
    if not user_id:
        return False
    forget(s, user_id)
    s.end_access(user_id)
    return s.remove("users", user_id)


def purge(s: Session) -> bool:
    """Delete for good what lies on the recycle bin."""
    found = s.some("deleted_items")
    if not found:
        return False
    kind = s.objects["deleted_items"][found]["@odata.type"]
    collection = _COLLECTION_OF.get(kind)
    if not collection:
        return False
    s.end_access(found)
    return s.remove(collection, found)


def restore(s: Session) -> bool:
    """Bring something back from the recycle bin."""
    found = s.some("deleted_items")
    if not found:
        return False
    item = s.objects["deleted_items"][found]
    collection = _COLLECTION_OF.get(item["@odata.type"])
    if not collection:
        return False
    s.restore(collection, found)
    if collection == "users":
        count_user(s, item, 1)
        if item.get("accountEnabled"):
            register(s, s.objects["users"][found])
    return True


def register(s: Session, user: JsonObject) -> None:
    """A row in the registration report, if the tenant has the report."""
    if not s.objects["user_registration_details"]:
        return
    flags = ("MfaCapable", "MfaRegistered", "PasswordlessCapable", "SsprCapable")
    s.put(
        "user_registration_details",
        {
            "id": user["id"],
            **{f"is{flag}": False for flag in (*flags, "SsprEnabled", "SsprRegistered")},
            "isAdmin": False,
            "isSystemPreferredAuthenticationMethodEnabled": False,
            "lastUpdatedDateTime": s.stamp,
            "methodsRegistered": [],
            "systemPreferredAuthenticationMethods": [],
            "userDisplayName": user.get("displayName") or "",
            "userPreferredMethodForSecondaryAuthentication": "none",
            "userPrincipalName": user.get("userPrincipalName") or user["id"],
            "userType": "guest" if user.get("userType") == "Guest" else "member",
        },
    )


def forget(s: Session, user_id: str) -> None:
    """What a user who is deleted frees: licences, and the row in the registration report."""
    count_user(s, s.objects["users"][user_id], -1)
    if user_id in s.objects["user_registration_details"]:
        s.remove("user_registration_details", user_id)


STEPS: tuple[Step, ...] = (
    ("create a user", create_user, 4),
    ("switch a user on or off", switch_user, 4),
    ("rename a user", rename_user, 4),
    ("change a manager", change_manager, 2),
    ("soft-delete a user", soft_delete_user, 2),
    ("hard-delete a user", hard_delete_user, 1),
    ("purge a deleted object", purge, 1),
    ("restore a deleted object", restore, 2),
)
