"""App roles given to users, groups and service principals, and taken away.

Graph "Grant an appRoleAssignment for a service principal" and its siblings on users and groups. An
assignment has no update: another role is another assignment.
"""

from entra_pipeline.simulator.errors import GraphError, bad_request, not_found
from entra_pipeline.simulator.generate.build import ZERO_ID, new_token
from entra_pipeline.simulator.wire import JsonObject, Response
from entra_pipeline.simulator.writes import needs
from entra_pipeline.simulator.writes.write import Write, guid_of

MAX_PER_PRINCIPAL = 1500
_TYPES = {"users": "User", "groups": "Group", "service_principals": "ServicePrincipal"}
_RESOURCE = "AppRoleAssignment"


def grant_from_resource(write: Write) -> Response:
    """`POST /servicePrincipals/{id}/appRoleAssignedTo`: 201 with the assignment."""
    return _grant(write, "resourceId", "service_principals")


def grant_to_user(write: Write) -> Response:
    """`POST /users/{id}/appRoleAssignments`: 201 with the assignment."""
    return _grant(write, "principalId", "users")


def grant_to_group(write: Write) -> Response:
    """`POST /groups/{id}/appRoleAssignments`: 201 with the assignment."""
    return _grant(write, "principalId", "groups")


def grant_to_service_principal(write: Write) -> Response:
    """`POST /servicePrincipals/{id}/appRoleAssignments`: 201 with the assignment."""
    return _grant(write, "principalId", "service_principals")


def revoke_from_resource(write: Write) -> Response:
    """`DELETE /servicePrincipals/{id}/appRoleAssignedTo/{id}`: 204."""
    return _revoke(write, "resourceId", "service_principals")


def revoke_from_user(write: Write) -> Response:
    """`DELETE /users/{id}/appRoleAssignments/{id}`: 204; not what the user has by a group."""
    return _revoke(write, "principalId", "users")


def revoke_from_group(write: Write) -> Response:
    """`DELETE /groups/{id}/appRoleAssignments/{id}`: 204."""
    return _revoke(write, "principalId", "groups")


def revoke_from_service_principal(write: Write) -> Response:
    """`DELETE /servicePrincipals/{id}/appRoleAssignments/{id}`: 204."""
    return _revoke(write, "principalId", "service_principals")


def _grant(write: Write, side: str, collection: str) -> Response:
    write.need(needs.APP_ROLES)
    write.need(needs.READ_APPLICATIONS)
    owner = write.get(collection, write.keys[0])
    principal_id, resource_id, role_id = (
        guid_of(write.body, name, _RESOURCE) for name in ("principalId", "resourceId", "appRoleId")
    )
    if owner["id"] != (principal_id if side == "principalId" else resource_id):
        raise bad_request(f"The value of '{side}' does not match the address of the request.")
    principal_kind, principal = _referred(write, principal_id)
    resource_kind, resource = _referred(write, resource_id)
    if principal_kind not in _TYPES or resource_kind != "service_principals":
        raise _invalid_reference()
    if principal_kind == "groups":
        if not principal.get("securityEnabled"):
            raise bad_request("A group must be security-enabled to be assigned to an application.")
        write.need(needs.APP_ROLES, "p1")
    _check_role(resource, role_id, principal_kind)
    held = write.directory.grouped("app_role_assignments", "principalId").get(principal_id, ())
    if any(row["resourceId"] == resource_id and row["appRoleId"] == role_id for row in held):
        raise bad_request("Permission being assigned already exists on the object")
    if len(held) >= MAX_PER_PRINCIPAL:
        raise GraphError(
            403,
            "Directory_QuotaExceeded",
            "The directory object quota limit for the app role assignments of the principal has "
            "been exceeded.",
        )
    row: JsonObject = {
        "id": new_token(write.service.rng),
        "deletedDateTime": None,
        "appRoleId": role_id,
        "createdDateTime": write.stamp,
        "principalDisplayName": principal.get("displayName"),
        "principalId": principal_id,
        "principalType": _TYPES[principal_kind],
        "resourceDisplayName": resource.get("displayName"),
        "resourceId": resource_id,
    }
    write.session.put("app_role_assignments", row)
    write.effect("assign_app_role", resource_id, principal_id, app_role_id=role_id, id=row["id"])
    return write.entity("appRoleAssignment", row, "appRoleAssignments", status=201)


def _revoke(write: Write, side: str, collection: str) -> Response:
    write.need(needs.APP_ROLES)
    write.need(needs.READ_APPLICATIONS)
    owner = write.get(collection, write.keys[0])
    row = write.get("app_role_assignments", write.keys[1])
    if row[side] != owner["id"]:
        raise not_found(write.keys[1])
    write.session.remove("app_role_assignments", row["id"])
    write.effect(
        "remove_app_role",
        row["resourceId"],
        row["principalId"],
        app_role_id=row["appRoleId"],
        id=row["id"],
    )
    return write.no_content()


def _referred(write: Write, object_id: str) -> tuple[str, JsonObject]:
    try:
        return write.find(object_id)
    except GraphError:
        # Not there, or not there yet: Graph does not tell one from the other here.
        raise _invalid_reference() from None


def _invalid_reference() -> GraphError:
    return bad_request("Not a valid reference update.")


def _check_role(resource: JsonObject, role_id: str, principal_kind: str) -> None:
    """400 for a role that the application does not offer to this kind of principal."""
    wanted = "Application" if principal_kind == "service_principals" else "User"
    offered = [
        role["id"]
        for role in resource.get("appRoles") or ()
        if role.get("isEnabled", True) and wanted in (role.get("allowedMemberTypes") or ())
    ]
    # The default role stands for "no role", where there is none to choose.
    if role_id not in offered and (role_id != ZERO_ID or offered):
        raise bad_request(
            f"Permission being assigned was not found on application '{resource.get('appId')}'."
        )
