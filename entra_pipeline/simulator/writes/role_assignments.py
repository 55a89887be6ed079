"""Directory roles given and taken away directly: for good, at once, without PIM.

Graph "Create unifiedRoleAssignment", "Delete unifiedRoleAssignment". Where PIM is in use such an
assignment shows there as a permanent active one.
"""

from entra_pipeline.simulator.changes.base import Session
from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.errors import GraphError, bad_request, not_found
from entra_pipeline.simulator.generate.build import new_id, new_token
from entra_pipeline.simulator.model import LICENSE_RANK
from entra_pipeline.simulator.wire import JsonObject, Response
from entra_pipeline.simulator.writes import needs
from entra_pipeline.simulator.writes.write import Write, guid_of, invalid_value, text_of

_RESOURCE = "UnifiedRoleAssignment"
_UNIT_PREFIX = "/administrativeUnits/"
_HOLDERS = ("users", "groups", "service_principals")
_SCOPES = ("applications", "service_principals", "groups", "users", "devices")


def assign(write: Write) -> Response:
    """`POST /roleManagement/directory/roleAssignments`: 201 with the assignment."""
    write.need(needs.ROLES)
    role = find_role(write, guid_of(write.body, "roleDefinitionId", _RESOURCE))
    scope = check_scope(write, text_of(write.body, "directoryScopeId", _RESOURCE))
    principal = guid_of(write.body, "principalId", _RESOURCE)
    check_holder(write, principal)
    if held(write.directory, principal, role, scope):
        raise GraphError(
            400,
            "Request_BadRequest",
            "A conflicting object with one or more of the specified property values is present in "
            "the directory.",
            details=[
                {
                    "code": "ConflictingObjects",
                    "message": "A conflicting object is present in the directory.",
                    "target": "principalId",
                }
            ],
        )
    row = put_assignment(write.session, principal, role, scope)
    if LICENSE_RANK[write.options.license] >= LICENSE_RANK["p2"]:
        put_instance(write.session, row, new_id(write.service.rng), write.stamp, None)
    write.effect("assign_role", role, principal, scope=scope, id=row["id"])
    return write.entity(
        "unifiedRoleAssignment", row, "roleManagement/directory/roleAssignments", status=201
    )


def remove(write: Write) -> Response:
    """`DELETE /roleManagement/directory/roleAssignments/{id}`: 204."""
    write.need(needs.ROLES)
    row = write.get("role_assignments", write.keys[0])
    remove_assignment(write.session, write.directory, row)
    write.effect(
        "remove_role",
        row["roleDefinitionId"],
        row["principalId"],
        scope=row.get("directoryScopeId"),
        id=row["id"],
    )
    return write.no_content()


def find_role(write: Write, role_id: str) -> str:
    """The id of a role definition that may be given. Raises GraphError 400 or 404."""
    definition = write.directory.collection("role_definitions").get(role_id)
    if definition is None:
        raise not_found(role_id)
    if definition.get("isEnabled") is False:
        raise bad_request("The role definition is disabled and cannot be assigned.")
    return role_id


def check_scope(write: Write, scope: str) -> str:
    """A scope that exists, as it is stored. Raises GraphError 400 or 404."""
    if scope == "/":
        return scope
    if not scope.startswith("/"):
        raise invalid_value("directoryScopeId", _RESOURCE)
    if scope.lower().startswith(_UNIT_PREFIX.lower()):
        unit = write.get("administrative_units", scope[len(_UNIT_PREFIX) :])
        return _UNIT_PREFIX + str(unit["id"])
    collection, obj = write.find(scope[1:])
    if collection not in _SCOPES:
        raise invalid_value("directoryScopeId", _RESOURCE)
    return f"/{obj['id']}"


def check_holder(write: Write, principal_id: str) -> str:
    """The collection of a principal that may hold roles. Raises GraphError 400 or 404."""
    collection, obj = write.find(principal_id)
    if collection not in _HOLDERS:
        raise invalid_value("principalId", _RESOURCE)
    if collection == "groups" and not obj.get("isAssignableToRole"):
        raise bad_request(
            "Only groups with isAssignableToRole property set to true can be assigned to a role."
        )
    return collection


def held(directory: Directory, principal: str, role: str, scope: str) -> list[JsonObject]:
    """Active assignments of just this principal, role and scope."""
    rows = directory.grouped("role_assignments", "principalId").get(principal, ())
    return [
        row
        for row in rows
        if row["roleDefinitionId"] == role and (row.get("directoryScopeId") or "/") == scope
    ]


def put_assignment(session: Session, principal: str, role: str, scope: str) -> JsonObject:
    """A new active assignment."""
    row: JsonObject = {
        "id": new_token(session.rng) + "-1",
        "appScopeId": None,
        "condition": None,
        "directoryScopeId": scope,
        "principalId": principal,
        "principalOrganizationId": session.directory.tenant.tenant_id,
        "roleDefinitionId": role,
    }
    session.put("role_assignments", row)
    return row


def put_instance(
    session: Session, assignment: JsonObject, schedule_id: str, start: str, end: str | None
) -> JsonObject:
    """How an active assignment shows in PIM."""
    row: JsonObject = {
        "id": assignment["id"],
        "appScopeId": None,
        "assignmentType": "Assigned",
        "directoryScopeId": assignment["directoryScopeId"],
        "endDateTime": end,
        "memberType": "Direct",
        "principalId": assignment["principalId"],
        "roleAssignmentOriginId": assignment["id"],
        "roleAssignmentScheduleId": schedule_id,
        "roleDefinitionId": assignment["roleDefinitionId"],
        "startDateTime": start,
    }
    session.put("role_assignment_schedule_instances", row)
    return row


def remove_assignment(session: Session, directory: Directory, assignment: JsonObject) -> None:
    """End an active assignment, with the rows that show it in PIM."""
    instances = directory.grouped("role_assignment_schedule_instances", "roleAssignmentOriginId")
    for row in list(instances.get(assignment["id"], ())):
        session.remove("role_assignment_schedule_instances", row["id"])
    session.remove("role_assignments", assignment["id"])
