"""Every collection with a path of its own, declared once: permission, cost, paging, quirks.

Facts are from the Graph reference page of each list operation, costs from "Microsoft Graph
service-specific throttling limits", absences from the clouds' published metadata.
"""

from entra_pipeline.simulator import permissions as may
from entra_pipeline.simulator import roles
from entra_pipeline.simulator.model import EntitySet
from entra_pipeline.simulator.odata.filter import EQUALITY, Rules

_COMPARING = Rules(
    directory=False,
    operators=frozenset({"eq", "ge", "le", "gt", "lt", "and", "or", "in", "any"}),
    functions=frozenset({"startswith"}),
)
_SIGN_INS = Rules(
    directory=False,
    properties=frozenset(
        {
            "appDisplayName",
            "appId",
            "clientAppUsed",
            "conditionalAccessStatus",
            "correlationId",
            "createdDateTime",
            "deviceDetail",
            "id",
            "ipAddress",
            "location",
            "resourceDisplayName",
            "resourceId",
            "riskDetail",
            "riskEventTypes_v2",
            "riskLevelAggregated",
            "riskLevelDuringSignIn",
            "riskState",
            "status",
            "userDisplayName",
            "userId",
            "userPrincipalName",
        }
    ),
    operators=frozenset({"eq", "ge", "le", "and", "or", "any"}),
    functions=frozenset({"startswith"}),
)
_AUDITS = Rules(
    directory=False,
    properties=frozenset(
        {
            "activityDateTime",
            "activityDisplayName",
            "category",
            "correlationId",
            "id",
            "initiatedBy",
            "loggedByService",
            "result",
            "targetResources",
        }
    ),
    operators=frozenset({"eq", "ge", "le", "and", "or", "any"}),
    functions=frozenset({"startswith"}),
)
_PROVISIONING = Rules(
    directory=False,
    operators=frozenset({"eq", "ge", "le", "gt", "lt", "and", "or"}),
    functions=frozenset({"contains"}),
)
_NO_PIM = frozenset({"govsg", "delos"})
_ROLE_INSTANCES = frozenset({"principal", "roledefinition", "directoryscope"})

ENTITY_SETS: tuple[EntitySet, ...] = (
    EntitySet(
        "users",
        "users",
        "user",
        may.USERS,
        keys=("userPrincipalName",),
        expand=frozenset(
            {
                "manager",
                "memberof",
                "transitivememberof",
                "directreports",
                "ownedobjects",
                "owneddevices",
                "registereddevices",
                "approleassignments",
                "oauth2permissiongrants",
            }
        ),
        delta=True,
        units=2,
    ),
    EntitySet(
        "groups",
        "groups",
        "group",
        may.GROUPS,
        keys=("uniqueName",),
        expand=frozenset(
            {
                "members",
                "owners",
                "memberof",
                "transitivemembers",
                "transitivememberof",
                "approleassignments",
            }
        ),
        delta=True,
    ),
    EntitySet(
        "applications",
        "applications",
        "application",
        may.APPLICATIONS,
        keys=("appId", "uniqueName"),
        expand=frozenset({"owners", "federatedidentitycredentials"}),
        delta=True,
        units=2,
    ),
    EntitySet(
        "servicePrincipals",
        "service_principals",
        "servicePrincipal",
        may.APPLICATIONS,
        keys=("appId",),
        expand=frozenset(
            {
                "owners",
                "memberof",
                "transitivememberof",
                "ownedobjects",
                "approleassignedto",
                "approleassignments",
                "oauth2permissiongrants",
                "federatedidentitycredentials",
            }
        ),
        delta=True,
    ),
    EntitySet(
        "devices",
        "devices",
        "device",
        may.DEVICES,
        keys=("deviceId",),
        expand=frozenset({"registeredowners", "registeredusers", "memberof", "transitivememberof"}),
        delta=True,
        delta_absent=frozenset({"usnat", "ussec"}),
    ),
    EntitySet(
        "contacts",
        "contacts",
        "orgContact",
        may.CONTACTS,
        expand=frozenset({"memberof", "transitivememberof", "manager"}),
        delta=True,
    ),
    EntitySet(
        "directory/administrativeUnits",
        "administrative_units",
        "administrativeUnit",
        may.UNITS,
        expand=frozenset({"members", "scopedrolemembers"}),
        delta=True,
        delta_absent=frozenset({"china", "usnat", "ussec"}),
    ),
    EntitySet(
        "directoryRoles",
        "directory_roles",
        "directoryRole",
        may.ROLES,
        max_top=None,
        keys=("roleTemplateId",),
        filter=EQUALITY,
        expand=frozenset({"members", "scopedmembers"}),
        delta=True,
        rows=lambda directory: list(roles.directory_roles(directory).values()),
        depends=("role_assignments", "role_definitions"),
    ),
    EntitySet(
        "directoryRoleTemplates",
        "directory_role_templates",
        "directoryRoleTemplate",
        may.ROLES,
        max_top=None,
        filter=None,
        rows=roles.templates,
        depends=("role_definitions",),
    ),
    EntitySet(
        "oauth2PermissionGrants",
        "oauth2_permission_grants",
        "oAuth2PermissionGrant",
        may.GRANTS,
        filter=Rules(
            operators=frozenset({"eq", "and", "or", "in"}), functions=frozenset({"startswith"})
        ),
        delta=True,
        units=2,
        single_units=2,
    ),
    EntitySet(
        "organization", "organization", "organization", may.ORGANIZATION, max_top=None, filter=None
    ),
    EntitySet("domains", "domains", "domain", may.DOMAINS, max_top=None, filter=None),
    EntitySet(
        "subscribedSkus",
        "subscribed_skus",
        "subscribedSku",
        may.SKUS,
        max_top=None,
        filter=None,
        units=3,
    ),
    EntitySet(
        "roleManagement/directory/roleDefinitions",
        "role_definitions",
        "unifiedRoleDefinition",
        may.ROLES,
        filter=Rules(
            directory=False,
            operators=frozenset({"eq", "in", "and", "or"}),
            functions=frozenset({"startswith"}),
        ),
    ),
    EntitySet(
        "roleManagement/directory/roleAssignments",
        "role_assignments",
        "unifiedRoleAssignment",
        may.ROLES,
        filter=Rules(
            directory=False,
            properties=frozenset({"principalId", "roleDefinitionId", "directoryScopeId"}),
            operators=frozenset({"eq", "and", "or"}),
            functions=frozenset(),
        ),
        expand=_ROLE_INSTANCES,
    ),
    EntitySet(
        "roleManagement/directory/roleAssignmentScheduleInstances",
        "role_assignment_schedule_instances",
        "unifiedRoleAssignmentScheduleInstance",
        may.ROLE_ASSIGNMENT_SCHEDULES,
        filter=_COMPARING,
        expand=_ROLE_INSTANCES | {"activatedusing"},
        license="p2",
        absent=_NO_PIM,
    ),
    EntitySet(
        "roleManagement/directory/roleEligibilityScheduleInstances",
        "role_eligibility_schedule_instances",
        "unifiedRoleEligibilityScheduleInstance",
        may.ROLE_ELIGIBILITY_SCHEDULES,
        filter=_COMPARING,
        expand=_ROLE_INSTANCES,
        license="p2",
        absent=_NO_PIM,
    ),
    EntitySet(
        "identityGovernance/privilegedAccess/group/eligibilityScheduleInstances",
        "group_eligibility_schedule_instances",
        "privilegedAccessGroupEligibilityScheduleInstance",
        may.GROUP_ELIGIBILITY_SCHEDULES,
        filter=_COMPARING,
        expand=frozenset({"principal", "group"}),
        license="p2",
        absent=_NO_PIM,
        need_filter=frozenset({"groupId", "principalId"}),
    ),
    EntitySet(
        "identityGovernance/privilegedAccess/group/assignmentScheduleInstances",
        "group_assignment_schedule_instances",
        "privilegedAccessGroupAssignmentScheduleInstance",
        may.GROUP_ASSIGNMENT_SCHEDULES,
        filter=_COMPARING,
        expand=frozenset({"principal", "group"}),
        license="p2",
        absent=_NO_PIM,
        need_filter=frozenset({"groupId", "principalId"}),
    ),
    EntitySet(
        "policies/roleManagementPolicyAssignments",
        "role_management_policy_assignments",
        "unifiedRoleManagementPolicyAssignment",
        may.ROLE_POLICIES,
        filter=EQUALITY,
        expand=frozenset({"policy"}),
        license="p2",
        absent=_NO_PIM,
        need_filter=frozenset({"scopeId"}),
        rows=roles.policy_assignments,
        depends=("role_definitions",),
    ),
    EntitySet(
        "policies/roleManagementPolicies",
        "role_management_policies",
        "unifiedRoleManagementPolicy",
        may.ROLE_POLICIES,
        filter=EQUALITY,
        expand=frozenset({"rules"}),
        license="p2",
        absent=_NO_PIM,
        need_filter=frozenset({"scopeId"}),
        rows=roles.policies,
        depends=("role_definitions",),
    ),
    EntitySet(
        "identity/conditionalAccess/policies",
        "conditional_access_policies",
        "conditionalAccessPolicy",
        may.CONDITIONAL_ACCESS,
        filter=_COMPARING,
        bucket="conditional_access",
        absent=frozenset({"govsg"}),
    ),
    EntitySet(
        "reports/authenticationMethods/userRegistrationDetails",
        "user_registration_details",
        "userRegistrationDetails",
        may.AUDIT,
        filter=_COMPARING,
        bucket="reports",
    ),
    EntitySet(
        "auditLogs/signIns",
        "sign_ins",
        "signIn",
        may.AUDIT,
        default_top=1000,
        max_top=1000,
        filter=_SIGN_INS,
        license="p1",
        bucket="reports",
        absent=frozenset({"govsg"}),
    ),
    EntitySet(
        "auditLogs/directoryAudits",
        "directory_audits",
        "directoryAudit",
        may.AUDIT,
        default_top=1000,
        max_top=1000,
        filter=_AUDITS,
        bucket="reports",
        absent=frozenset({"china", "govsg"}),
    ),
    EntitySet(
        "auditLogs/provisioning",
        "provisioning_events",
        "provisioningObjectSummary",
        may.AUDIT,
        default_top=1000,
        max_top=1000,
        filter=_PROVISIONING,
        license="p1",
        bucket="reports",
        absent=frozenset({"china", "govsg"}),
    ),
)

BY_PATH: dict[tuple[str, ...], EntitySet] = {
    tuple(entity_set.path.lower().split("/")): entity_set for entity_set in ENTITY_SETS
}
"""Path segments in lower case -> entity set; Graph does not mind the case of segments."""
BY_PATH["administrativeunits",] = BY_PATH["directory", "administrativeunits"]

BY_TYPE: dict[str, EntitySet] = {entity_set.type: entity_set for entity_set in ENTITY_SETS}

DELETED_TYPES: dict[str, frozenset[str]] = {
    "user": may.USERS,
    "group": may.GROUPS,
    "application": may.APPLICATIONS,
    "servicePrincipal": may.APPLICATIONS,
    "device": may.DEVICES,
    "administrativeUnit": may.UNITS,
}
"""Casts of /directory/deletedItems and what reading each needs."""
