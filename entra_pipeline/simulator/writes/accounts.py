"""Users: created, updated, deleted, restored, and their managers.

Graph "Create user", "Update user", "Delete user", "Restore deleted directory object", "Assign
manager". Passwords are checked and thrown away: the simulator keeps none but
as a digest in the list of effects.
"""

import hashlib

from entra_pipeline.simulator.changes.base import blank
from entra_pipeline.simulator.changes.licences import count_user
from entra_pipeline.simulator.changes.users import forget, register
from entra_pipeline.simulator.entity_sets import BY_TYPE
from entra_pipeline.simulator.errors import bad_request, not_found
from entra_pipeline.simulator.generate.build import new_id
from entra_pipeline.simulator.keys import by_alternate
from entra_pipeline.simulator.logs.entries import Activity, modified, resource
from entra_pipeline.simulator.tenant import KINDS
from entra_pipeline.simulator.wire import JsonObject, Response
from entra_pipeline.simulator.writes import needs, references
from entra_pipeline.simulator.writes.account_rules import (
    MANAGER,
    check_password_text,
    check_principal_name,
    check_synced,
    check_update,
)
from entra_pipeline.simulator.writes.administrators import check_restricted, check_sensitive
from entra_pipeline.simulator.writes.group_rules import is_role_assignable
from entra_pipeline.simulator.writes.properties import checked, merged
from entra_pipeline.simulator.writes.write import Write, conflict, text_of

PASSWORD_METHOD = "28c10230-6103-485e-b985-444c60001490"  # noqa: S105 - the same id for everyone
_COLLECTIONS = {f"#microsoft.graph.{kind}": name for name, kind in KINDS.items()}


def create(write: Write) -> Response:
    """`POST /users`: 201 with the user."""
    write.need(needs.CREATE_USER)
    body = write.body
    for name in ("displayName", "mailNickname", "userPrincipalName"):
        text_of(body, name, "User")
    if not isinstance(body.get("accountEnabled"), bool):
        raise bad_request("A value is required for property 'accountEnabled' of resource 'User'.")
    sent = {
        name: value for name, value in body.items() if name != MANAGER and not name.startswith("@")
    }
    values = checked("user", sent)
    profile = values.pop("passwordProfile", None)
    check_principal_name(write, values, None)
    check_password_text(profile, values["userPrincipalName"])
    managers = [references.referenced(write, body[MANAGER])] if MANAGER in body else []
    user = new_user(write, values)
    put_user(write, user)
    write.effect("create_user", user["id"], password_sha256=_digest(profile["password"]))
    for _, manager in managers:
        write.session.link("managers", user["id"], manager["id"])
        write.effect("set_manager", user["id"], manager["id"])
    headers = {
        "Location": f"{write.root()}/directoryObjects/{user['id']}/Microsoft.DirectoryServices.User"
    }
    return write.entity("user", user, "users", status=201, headers=headers)


def _digest(password: str) -> str:
    """What tests can compare a password with: passwords themselves are forgotten."""
    return hashlib.sha256(password.encode()).hexdigest()


def new_user(write: Write, values: JsonObject) -> JsonObject:
    """A user with these properties and what Entra adds by itself."""
    users = write.directory.collection("users")
    model: JsonObject = next(iter(users.values()), {})
    name = values["userPrincipalName"]
    return {
        **blank(model),
        "otherMails": [],
        "proxyAddresses": [],
        "userType": "Member",
        "identities": [
            {
                "signInType": "userPrincipalName",
                "issuer": initial_domain(write),
                "issuerAssignedId": name,
            }
        ],
        **values,
        "id": new_id(write.service.rng),
        "assignedLicenses": [],
        "createdDateTime": write.stamp,
        "lastPasswordChangeDateTime": write.stamp,
        "licenseAssignmentStates": [],
        "signInSessionsValidFromDateTime": write.stamp,
    }


def put_user(write: Write, user: JsonObject) -> None:
    """Store a new user, with the password method that everyone has."""
    write.session.put("users", user)
    if user.get("accountEnabled"):
        register(write.session, user)
    write.session.put(
        "authentication_methods",
        {
            "@odata.type": "#microsoft.graph.passwordAuthenticationMethod",
            "id": PASSWORD_METHOD,
            "createdDateTime": write.stamp,
            "password": None,
            "userId": user["id"],
        },
    )


def initial_domain(write: Write) -> str:
    """The domain that the tenant was made with."""
    domains = write.directory.collection("domains").values()
    found = (each["id"] for each in domains if each.get("isInitial"))
    return str(next(found, "tenant.onmicrosoft.example"))


def update(write: Write) -> Response:
    """`PATCH /users/{id}`: 204."""
    sent = {name: value for name, value in write.body.items() if not name.startswith("@")}
    values = checked("user", sent)
    profile = values.pop("passwordProfile", None)
    check_update(write, sent)
    user = write.get("users", write.keys[0])
    check_restricted(write, user["id"])
    check_synced(user, sent)
    check_update(write, sent, user)
    if "userPrincipalName" in values:
        check_principal_name(write, values, user)
    if "passwordProfile" in sent:
        check_password_text(profile, user.get("userPrincipalName") or "", update=True)
    for name in ("onPremisesExtensionAttributes", "authorizationInfo"):
        if name in values:
            values[name] = merged(user.get(name), values[name])
    changed = {name: value for name, value in values.items() if value != user.get(name)}
    reset = profile is not None and profile.get("password")
    if reset:
        changed["lastPasswordChangeDateTime"] = write.stamp
    if changed:
        write.session.patch("users", user["id"], changed)
        _follow_state(write, user, changed)
    if reset:
        write.service.trail.note(
            Activity("Reset user password", "UserManagement", "Update"),
            [resource("User", user, [modified("ForceChangePassword", None, "True")])],
        )
        digest = _digest(profile["password"])
        write.effect("reset_password", user["id"], user["id"], password_sha256=digest)
        # A copy: replicas have yet to learn of what was changed.
        changed = {name: changed[name] for name in changed if name != "lastPasswordChangeDateTime"}
    elif "passwordProfile" in sent:
        write.effect("set_password_change", user["id"], user["id"])
    if changed:
        write.effect("update_user", user["id"], user["id"], properties=sorted(changed))
    return write.no_content()


def _follow_state(write: Write, user: JsonObject, changed: JsonObject) -> None:
    """The registration report leaves out who is disabled."""
    if "accountEnabled" not in changed:
        return
    if changed["accountEnabled"]:
        register(write.session, {**user, **changed})
    elif user["id"] in write.directory.collection("user_registration_details"):
        write.session.remove("user_registration_details", user["id"])


def delete(write: Write) -> Response:
    """`DELETE /users/{id}`: 204; the user is kept in the recycle bin."""
    write.need(needs.DELETE_USER)
    return delete_user(write, write.get("users", write.keys[0]))


def delete_user(write: Write, user: JsonObject) -> Response:
    """Put a user on the recycle bin: 204."""
    check_restricted(write, user["id"])
    check_sensitive(write, user)
    forget(write.session, user["id"])
    write.session.soft_delete("users", user["id"])
    write.effect("delete_user", user["id"], user["id"])
    return write.no_content()


def set_manager(write: Write) -> Response:
    """`PUT /users/{id}/manager/$ref`: 204."""
    write.need(needs.UPDATE_USER)
    user = write.get("users", write.keys[0])
    check_restricted(write, user["id"])
    check_synced(user, {"manager": None})
    collection, manager = references.single(write)
    if collection not in ("users", "contacts"):
        raise bad_request("The manager must be a user or an organizational contact.")
    if manager["id"] == user["id"]:
        raise bad_request("A user cannot be the manager of itself.")
    held = write.directory.targets("managers", user["id"])
    if held == [manager["id"]]:
        return write.no_content()
    for each in list(held):
        write.session.unlink("managers", (user["id"], each))
    write.session.link("managers", user["id"], manager["id"])
    write.effect("set_manager", user["id"], manager["id"])
    return write.no_content()


def remove_manager(write: Write) -> Response:
    """`DELETE /users/{id}/manager/$ref`: 204; 404 when there is none."""
    write.need(needs.UPDATE_USER)
    user = write.get("users", write.keys[0])
    check_restricted(write, user["id"])
    check_synced(user, {"manager": None})
    held = list(write.directory.targets("managers", user["id"]))
    if not held:
        raise not_found("manager")
    for each in held:
        write.session.unlink("managers", (user["id"], each))
        write.effect("remove_manager", user["id"], each)
    return write.no_content()


# The recycle bin

_BIN_NEEDS = {
    "users": needs.DELETE_USER,
    "groups": needs.GROUPS,
    "applications": needs.APPLICATIONS,
    "service_principals": needs.APPLICATIONS,
}


def restore(write: Write) -> Response:
    """`POST /directory/deletedItems/{id}/restore`: 200 with the object."""
    collection, item = _binned(write)
    if collection == "users":
        _check_binned_administrator(write, item)
        body = write.body if write.request.body else {}
        new_name = body.get("newUserPrincipalName")
        if new_name is not None:
            check_principal_name(write, {"userPrincipalName": new_name}, item)
        name = new_name or item.get("userPrincipalName")
        if _taken(write, name):
            raise conflict(
                "Another object with the same value for property userPrincipalName already exists.",
                "userPrincipalName",
            )
        write.session.restore(collection, item["id"])
        if new_name is not None:
            write.session.patch("users", item["id"], {"userPrincipalName": new_name})
        user = write.directory.collection("users")[item["id"]]
        count_user(write.session, user, 1)
        if user.get("accountEnabled"):
            register(write.session, user)
    else:
        write.session.restore(collection, item["id"])
    restored = write.directory.collection(collection)[item["id"]]
    write.effect(f"restore_{_word(collection)}", item["id"])
    kind = KINDS[collection]
    return write.entity(kind, restored, "directoryObjects")


def purge(write: Write) -> Response:
    """`DELETE /directory/deletedItems/{id}`: 204, for good."""
    collection, item = _binned(write)
    if collection == "users":
        _check_binned_administrator(write, item)
    write.session.end_access(item["id"])
    write.session.remove(collection, item["id"])
    write.effect(f"purge_{_word(collection)}", item["id"])
    return write.no_content()


def _binned(write: Write) -> tuple[str, JsonObject]:
    key = write.keys[0].lower()
    item = write.directory.collection("deleted_items").get(key)
    seen = key in write.view.collection("deleted_items")
    collection = _COLLECTIONS.get(str(item.get("@odata.type")), "") if item else ""
    write.need(_BIN_NEEDS.get(collection, needs.DELETE_USER | needs.GROUPS | needs.APPLICATIONS))
    if item is None or not seen or collection not in _BIN_NEEDS:
        raise not_found(write.keys[0])
    if is_role_assignable(item):
        write.need(needs.ROLE_ASSIGNABLE)
    return collection, item


def _check_binned_administrator(write: Write, item: JsonObject) -> None:
    # Links of a deleted user are out of sight, but role assignments stay.
    check_sensitive(write, item)


def _taken(write: Write, name: str | None) -> bool:
    return bool(name) and (
        by_alternate(write.directory, BY_TYPE["user"], "userPrincipalName", str(name)) is not None
    )


def _word(collection: str) -> str:
    return {"users": "user", "groups": "group", "applications": "application"}.get(
        collection, "service_principal"
    )
