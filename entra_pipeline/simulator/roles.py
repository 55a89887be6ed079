"""Directory roles in their older form, and role policies: derived from role definitions.

A tenant stores role definitions and assignments. `/directoryRoles` shows those built-in roles that
are in use ("activated"), with ids of their own; role policies exist one per role definition.
"""

import uuid

from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.wire import JsonObject

GLOBAL_ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"
"""Template id, the same in every tenant (Entra built-in roles reference)."""
_UNIT_PREFIX = "/administrativeUnits/"
_DEPENDS = ("role_assignments", "role_definitions")


def derived_id(directory: Directory, *parts: str) -> str:
    """A stable GUID for something that is computed from the tenant."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join((directory.tenant.tenant_id, *parts))))


def directory_roles(directory: Directory) -> dict[str, JsonObject]:
    """Activated built-in roles by the object id that `/directoryRoles` gives them."""

    def build() -> dict[str, JsonObject]:
        used = {GLOBAL_ADMINISTRATOR, *directory.activated_roles}
        for assignment in directory.collection("role_assignments").values():
            used.add(assignment["roleDefinitionId"])
        found: dict[str, JsonObject] = {}
        for definition in directory.collection("role_definitions").values():
            template = definition.get("templateId")
            if not definition.get("isBuiltIn") or definition["id"] not in used or not template:
                continue
            role_id = derived_id(directory, "directoryRole", template)
            found[role_id] = {
                "id": role_id,
                "deletedDateTime": None,
                "description": definition.get("description"),
                "displayName": definition.get("displayName"),
                "roleTemplateId": template,
            }
        return found

    roles: dict[str, JsonObject] = directory.memo("directory roles", _DEPENDS, build)
    return roles


def role_object_id(directory: Directory, definition_id: str) -> str | None:
    """The `/directoryRoles` id of a role definition; None if it is not shown there."""
    definition = directory.collection("role_definitions").get(definition_id)
    template = definition.get("templateId") if definition else None
    role_id = derived_id(directory, "directoryRole", template) if template else None
    return role_id if role_id in directory_roles(directory) else None


def _assignments_of_role(directory: Directory, role: JsonObject) -> list[JsonObject]:
    by_role = directory.grouped("role_assignments", "roleDefinitionId")
    template = role["roleTemplateId"]
    return [
        assignment
        for definition in directory.grouped("role_definitions", "templateId").get(template, ())
        for assignment in by_role.get(definition["id"], ())
    ]


def role_members(directory: Directory, role: JsonObject) -> list[str]:
    """Principals that hold the role for the whole tenant."""
    return list(
        dict.fromkeys(
            assignment["principalId"]
            for assignment in _assignments_of_role(directory, role)
            if assignment.get("directoryScopeId") == "/"
        )
    )


def roles_of(directory: Directory, principal_id: str) -> list[str]:
    """Ids in `/directoryRoles` of the roles that a principal holds for the whole tenant."""
    held = directory.grouped("role_assignments", "principalId").get(principal_id, ())
    ids = (
        role_object_id(directory, each["roleDefinitionId"])
        for each in held
        if each.get("directoryScopeId") == "/"
    )
    return list(dict.fromkeys(role_id for role_id in ids if role_id))


def find(directory: Directory, object_id: str) -> tuple[str, JsonObject] | None:
    """Graph's type name and the object, for directory objects of every kind, roles included."""
    for collection, kind in directory.kinds.items():
        found = directory.tenant.objects[collection].get(object_id)
        if found is not None:
            return kind, found
    role = directory_roles(directory).get(object_id)
    return ("directoryRole", role) if role is not None else None


def _scoped(directory: Directory, assignment: JsonObject) -> JsonObject:
    principal = find(directory, assignment["principalId"])
    name = principal[1].get("displayName") if principal else None
    return {
        "id": derived_id(directory, "scopedRoleMembership", assignment["id"]),
        "roleId": role_object_id(directory, assignment["roleDefinitionId"]),
        "administrativeUnitId": assignment["directoryScopeId"].removeprefix(_UNIT_PREFIX),
        "roleMemberInfo": {"id": assignment["principalId"], "displayName": name},
    }


def scoped_members_of_role(directory: Directory, role: JsonObject) -> list[JsonObject]:
    """Rows of `/directoryRoles/{id}/scopedMembers`."""
    return [
        _scoped(directory, assignment)
        for assignment in _assignments_of_role(directory, role)
        if str(assignment.get("directoryScopeId")).startswith(_UNIT_PREFIX)
    ]


def scoped_members_of_unit(directory: Directory, unit: JsonObject) -> list[JsonObject]:
    """Rows of `/directory/administrativeUnits/{id}/scopedRoleMembers`."""
    held = directory.grouped("role_assignments", "directoryScopeId")
    return [_scoped(directory, each) for each in held.get(_UNIT_PREFIX + unit["id"], ())]


def templates(directory: Directory) -> list[JsonObject]:
    """Rows of `/directoryRoleTemplates`."""
    return [
        {
            "id": definition["templateId"],
            "deletedDateTime": None,
            "description": definition.get("description"),
            "displayName": definition.get("displayName"),
        }
        for definition in directory.collection("role_definitions").values()
        if definition.get("isBuiltIn") and definition.get("templateId")
    ]


def policy_assignments(directory: Directory) -> list[JsonObject]:
    """Rows of `/policies/roleManagementPolicyAssignments` for directory roles."""
    rows: list[JsonObject] = []
    for definition_id in directory.collection("role_definitions"):
        policy_id = _policy_id(directory, definition_id)
        rows.append(
            {
                "id": f"{policy_id}_{definition_id}",
                "policyId": policy_id,
                "scopeId": "/",
                "scopeType": "DirectoryRole",
                "roleDefinitionId": definition_id,
            }
        )
    return rows


def policies(directory: Directory) -> list[JsonObject]:
    """Rows of `/policies/roleManagementPolicies` for directory roles."""
    return [policy(directory, row) for row in policy_assignments(directory)]


def policy(directory: Directory, assignment: JsonObject) -> JsonObject:
    """The policy of a policy assignment."""
    return {
        "id": assignment["policyId"],
        "displayName": "DirectoryRole",
        "description": "DirectoryRole",
        "isOrganizationDefault": False,
        "scopeId": "/",
        "scopeType": "DirectoryRole",
        "lastModifiedDateTime": None,
        "lastModifiedBy": {"displayName": None, "id": None},
    }


def _policy_id(directory: Directory, definition_id: str) -> str:
    guid = derived_id(directory, "roleManagementPolicy", definition_id)
    return f"DirectoryRole_{directory.tenant.tenant_id}_{guid}"


def policy_rules(directory: Directory, policy_row: JsonObject) -> list[JsonObject]:
    """The rules of a role's policy: how long an eligible or active hold may last, and how."""

    def target(caller: str, level: str) -> JsonObject:
        return {
            "caller": caller,
            "operations": ["All"],
            "level": level,
            "inheritableSettings": [],
            "enforcedSettings": [],
        }

    def expiration(name: str, required: bool, duration: str, where: JsonObject) -> JsonObject:
        return {
            "@odata.type": "#microsoft.graph.unifiedRoleManagementPolicyExpirationRule",
            "id": name,
            "isExpirationRequired": required,
            "maximumDuration": duration,
            "target": where,
        }

    limits = directory.hold_limits
    required, eligible, active = (
        limits[name] for name in ("required", "eligibility", "assignment")
    )
    return [
        expiration(
            "Expiration_Admin_Eligibility", required, eligible, target("Admin", "Eligibility")
        ),
        expiration("Expiration_Admin_Assignment", required, active, target("Admin", "Assignment")),
        expiration("Expiration_EndUser_Assignment", True, "PT8H", target("EndUser", "Assignment")),
        {
            "@odata.type": "#microsoft.graph.unifiedRoleManagementPolicyEnablementRule",
            "id": "Enablement_EndUser_Assignment",
            "enabledRules": ["MultiFactorAuthentication", "Justification"],
            "target": target("EndUser", "Assignment"),
        },
    ]
