"""Directory roles: what they allow, who holds them, who may activate them."""

from entra_pipeline.tables.model import (
    BOOL,
    INT8,
    TEXT,
    TEXTS,
    TIME,
    Column,
    Reference,
    Table,
    column,
    computed,
    structs,
)

ROLE_READ = ("RoleManagement.Read.Directory", "RoleManagement.Read.All", "Directory.Read.All")

ROLE_DEFINITIONS = Table(
    name="role_definitions",
    doc="Directory roles, built-in and custom.",
    group="directory",
    key=("id",),
    permissions=ROLE_READ,
    reader="role_definitions",
    source_doc="https://learn.microsoft.com/graph/api/rbacapplication-list-roledefinitions",
    path="/roleManagement/directory/roleDefinitions",
    entity="unifiedRoleDefinition",
    columns=(
        column("id", TEXT, "Id of the role; equals template_id for built-in roles."),
        column("display_name", TEXT, "Name."),
        column("description", TEXT, "Description."),
        column("is_built_in", BOOL, "False for custom roles."),
        column("is_enabled", BOOL, "Whether it can be assigned."),
        column("template_id", TEXT, "The same in every tenant for built-in roles."),
        column("version", TEXT, "Version of the definition."),
        column("resource_scopes", TEXTS, "Scopes that the permissions apply to."),
        column(
            "role_permissions",
            structs(
                allowed_resource_actions=TEXTS, excluded_resource_actions=TEXTS, condition=TEXT
            ),
            "Permissions as Graph groups them, with their conditions.",
        ),
        computed(
            "allowed_resource_actions",
            TEXTS,
            "Every allowed action, over all permissions, each once.",
        ),
        computed(
            "tier",
            INT8,
            "0: can take over the tenant; 1: important accounts, applications or data; "
            "2: other administration; null: not privileged. From our own dated table.",
        ),
    ),
)

ROLE_ASSIGNMENTS = Table(
    name="role_assignments",
    doc="Active assignments of directory roles at every scope, activated PIM ones included.",
    group="directory",
    key=("id",),
    permissions=ROLE_READ,
    references=(Reference(("role_definition_id",), "role_definitions"),),
    reader="role_assignments",
    source_doc="https://learn.microsoft.com/graph/api/rbacapplication-list-roleassignments",
    path="/roleManagement/directory/roleAssignments",
    entity="unifiedRoleAssignment",
    columns=(
        column("id", TEXT, "Id of the assignment."),
        column("principal_id", TEXT, "Object id of the holder: user, group, service principal."),
        column("role_definition_id", TEXT, "Id of the role."),
        column(
            "directory_scope_id",
            TEXT,
            "/ for the tenant, /administrativeUnits/{id}, or /{object id}.",
        ),
        column("app_scope_id", TEXT, "Scope inside an application, when not the directory."),
        column("principal_organization_id", TEXT, "Tenant of the principal."),
        column("condition", TEXT, "Condition on the assignment."),
    ),
)


def _instance_columns(*middle: Column) -> tuple[Column, ...]:
    """What both kinds of PIM instance share, with their own columns in the middle."""
    return (
        column("id", TEXT, "Id of the instance."),
        column("principal_id", TEXT, "Object id of the holder."),
        column("role_definition_id", TEXT, "Id of the role."),
        column(
            "directory_scope_id",
            TEXT,
            "/ for the tenant, /administrativeUnits/{id}, or /{object id}.",
        ),
        column("app_scope_id", TEXT, "Scope inside an application, when not the directory."),
        *middle,
        column("member_type", TEXT, "Direct, Group (derived from a group's) or Inherited."),
        column("start_date_time", TIME, "Start of the window."),
        column("end_date_time", TIME, "End of the window; null: no end."),
    )


ROLE_ASSIGNMENT_SCHEDULE_INSTANCES = Table(
    name="role_assignment_schedule_instances",
    doc="PIM: active role assignments and how they came to be (assigned or activated).",
    group="directory",
    key=("id",),
    permissions=(
        "RoleAssignmentSchedule.Read.Directory",
        "RoleManagement.Read.Directory",
        "RoleManagement.Read.All",
    ),
    license="p2",
    references=(Reference(("role_definition_id",), "role_definitions"),),
    reader="role_assignment_schedule_instances",
    source_doc=(
        "https://learn.microsoft.com/graph/api/rbacapplication-list-roleassignmentscheduleinstances"
    ),
    path="/roleManagement/directory/roleAssignmentScheduleInstances",
    entity="unifiedRoleAssignmentScheduleInstance",
    columns=_instance_columns(
        column("assignment_type", TEXT, "Assigned, or Activated from an eligibility."),
        column("role_assignment_origin_id", TEXT, "The role assignment that it stands for."),
        column("role_assignment_schedule_id", TEXT, "The schedule that it belongs to."),
    ),
)

ROLE_ELIGIBILITY_SCHEDULE_INSTANCES = Table(
    name="role_eligibility_schedule_instances",
    doc="PIM: who may activate which role.",
    group="directory",
    key=("id",),
    permissions=(
        "RoleEligibilitySchedule.Read.Directory",
        "RoleManagement.Read.Directory",
        "RoleManagement.Read.All",
    ),
    license="p2",
    references=(Reference(("role_definition_id",), "role_definitions"),),
    reader="role_eligibility_schedule_instances",
    source_doc=(
        "https://learn.microsoft.com/graph/api/"
        "rbacapplication-list-roleeligibilityscheduleinstances"
    ),
    path="/roleManagement/directory/roleEligibilityScheduleInstances",
    entity="unifiedRoleEligibilityScheduleInstance",
    columns=_instance_columns(
        computed("assignment_type", TEXT, "Always Eligible."),
        column("role_eligibility_schedule_id", TEXT, "The schedule that it belongs to."),
    ),
)

TABLES = (
    ROLE_DEFINITIONS,
    ROLE_ASSIGNMENTS,
    ROLE_ASSIGNMENT_SCHEDULE_INSTANCES,
    ROLE_ELIGIBILITY_SCHEDULE_INSTANCES,
)
