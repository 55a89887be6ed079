"""Every navigation the simulator serves, by the type of object it starts from.

Paths, costs and quirks are those of the Graph reference (one page per "List ..."); the functions
here only say which ids or rows stand at the other end.
"""

import base64
import uuid
from collections.abc import Callable, Sequence

from entra_pipeline.simulator import permissions, roles
from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.errors import GraphError
from entra_pipeline.simulator.model import Item, Navigation
from entra_pipeline.simulator.odata.filter import EQUALITY
from entra_pipeline.simulator.wire import JsonObject

_Items = Callable[[Directory, JsonObject], Sequence[Item]]


def _targets(relation: str) -> _Items:
    return lambda directory, obj: directory.targets(relation, obj["id"])


def _sources(*relations: str) -> _Items:
    def items(directory: Directory, obj: JsonObject) -> Sequence[Item]:
        if len(relations) == 1:
            return directory.sources(relations[0], obj["id"])
        return [each for name in relations for each in directory.sources(name, obj["id"])]

    return items


def _stored(key: str) -> _Items:
    return lambda directory, obj: obj.get(key) or []


def _rows(collection: str, name: str) -> _Items:
    return lambda directory, obj: directory.grouped(collection, name).get(obj["id"], [])


def _nothing(directory: Directory, obj: JsonObject) -> Sequence[Item]:
    return []


def _one(collection: str, name: str) -> _Items:
    """The object that the row names in a property."""

    def items(directory: Directory, obj: JsonObject) -> Sequence[Item]:
        found = directory.collection(collection).get(obj.get(name) or "")
        return [found] if found is not None else []

    return items


def _principal(directory: Directory, obj: JsonObject) -> Sequence[Item]:
    principal_id = obj.get("principalId") or ""
    return [principal_id] if roles.find(directory, principal_id) else []


def _scope(directory: Directory, obj: JsonObject) -> Sequence[Item]:
    object_id = str(obj.get("directoryScopeId") or "").rpartition("/")[2]
    return [object_id] if roles.find(directory, object_id) else []


def member_of(directory: Directory, obj: JsonObject) -> list[str]:
    """Groups, directory roles and administrative units that hold the object directly."""
    object_id = obj["id"]
    return [
        *directory.sources("group_members", object_id),
        *roles.roles_of(directory, object_id),
        *directory.sources("administrative_unit_members", object_id),
    ]


def transitive_groups(directory: Directory, object_id: str) -> list[str]:
    """Groups that hold the object, directly or through groups; cycles are no trouble."""
    found: dict[str, None] = {}
    frontier = [object_id]
    while frontier:
        step = frontier.pop()
        for holder in directory.sources("group_members", step):
            if holder not in found:
                found[holder] = None
                frontier.append(holder)
    found.pop(object_id, None)
    return list(found)


def transitive_member_of(directory: Directory, obj: JsonObject) -> list[str]:
    """As `member_of`, through groups."""
    object_id = obj["id"]
    groups = transitive_groups(directory, object_id)
    held = [role for each in (object_id, *groups) for role in roles.roles_of(directory, each)]
    units = directory.sources("administrative_unit_members", object_id)
    return list(dict.fromkeys([*groups, *held, *units]))


def transitive_members(directory: Directory, obj: JsonObject) -> list[str]:
    """Members of a group, through nested groups."""
    found: dict[str, None] = {}
    frontier = [obj["id"]]
    while frontier:
        for member in directory.targets("group_members", frontier.pop()):
            if member not in found:
                found[member] = None
                frontier.append(member)
    found.pop(obj["id"], None)
    return list(found)


def _user_app_roles(directory: Directory, obj: JsonObject) -> Sequence[Item]:
    """A user's assignments, and those of groups that hold the user directly."""
    by_principal = directory.grouped("app_role_assignments", "principalId")
    holders = [obj["id"], *directory.sources("group_members", obj["id"])]
    return [row for holder in holders for row in by_principal.get(holder, ())]


def _license_details(directory: Directory, obj: JsonObject) -> Sequence[Item]:
    skus = directory.grouped("subscribed_skus", "skuId")
    rows: list[JsonObject] = []
    for held in obj.get("assignedLicenses") or ():
        for sku in skus.get(held["skuId"], ())[:1]:
            key = uuid.UUID(obj["id"]).bytes_le + uuid.UUID(held["skuId"]).bytes_le
            rows.append(
                {
                    "id": base64.urlsafe_b64encode(key).decode().rstrip("="),
                    "skuId": sku["skuId"],
                    "skuPartNumber": sku.get("skuPartNumber"),
                    "servicePlans": sku.get("servicePlans") or [],
                }
            )
    return rows


def _mailbox_settings(directory: Directory, obj: JsonObject) -> Sequence[Item]:
    settings = obj.get("mailboxSettings")
    if settings is None:
        if not obj.get("mail"):
            raise GraphError(
                404,
                "MailboxNotEnabledForRESTAPI",
                "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
            )
        settings = {"userPurpose": "user", "timeZone": "UTC"}
    return [settings]


def _sync_behavior(directory: Directory, obj: JsonObject) -> Sequence[Item]:
    return [{"id": obj["id"], "isCloudManaged": obj.get("onPremisesSyncEnabled") is not True}]


_DIRECTORY_OBJECT = "directoryObject"


def _mixed(name: str, items: _Items, units: int = 1, *, hides: bool = False) -> Navigation:
    return Navigation(name, _DIRECTORY_OBJECT, items, units=units, hides=hides)


_MEMBER_OF = _mixed("memberOf", member_of)
_TRANSITIVE_MEMBER_OF = _mixed("transitiveMemberOf", transitive_member_of)
_OWNED = _sources("group_owners", "application_owners", "service_principal_owners")
_SYNC_BEHAVIOR = Navigation(
    "onPremisesSyncBehavior",
    "onPremisesSyncBehavior",
    _sync_behavior,
    single=True,
    expandable=False,
    context="onPremisesSyncBehavior",
)


def _assignments(name: str, items: _Items, units: int = 1) -> Navigation:
    return Navigation(
        name,
        "appRoleAssignment",
        items,
        permissions.APPLICATIONS,
        units=units,
        context="appRoleAssignments",
    )


def _grants(name: str) -> Navigation:
    return Navigation(
        "oauth2PermissionGrants",
        "oAuth2PermissionGrant",
        _rows("oauth2_permission_grants", name),
        permissions.GRANTS,
        units=2,
        context="oauth2PermissionGrants",
    )


_FEDERATED = Navigation(
    "federatedIdentityCredentials",
    "federatedIdentityCredential",
    _stored("federatedIdentityCredentials"),
    context="federatedIdentityCredentials",
)
_MANAGER = Navigation("manager", _DIRECTORY_OBJECT, _targets("managers"), single=True)
_PRINCIPAL = Navigation(
    "principal", _DIRECTORY_OBJECT, _principal, single=True, optional=False, filter=EQUALITY
)
_ROLE = Navigation(
    "roleDefinition",
    "unifiedRoleDefinition",
    _one("role_definitions", "roleDefinitionId"),
    single=True,
    optional=False,
    context="roleManagement/directory/roleDefinitions",
)
_SCOPE = Navigation("directoryScope", _DIRECTORY_OBJECT, _scope, single=True, optional=False)
_GROUP = Navigation(
    "group", "group", _one("groups", "groupId"), single=True, optional=False, context="groups"
)
_POLICY = Navigation(
    "policy",
    "unifiedRoleManagementPolicy",
    lambda directory, obj: [roles.policy(directory, obj)],
    single=True,
    context="policies/roleManagementPolicies",
)
_RULES = Navigation(
    "rules",
    "unifiedRoleManagementPolicyRule",
    lambda directory, obj: roles.policy_rules(directory, obj),
    context="rules",
)

_DECLARED: dict[str, tuple[Navigation, ...]] = {
    "user": (
        _MANAGER,
        _mixed("directReports", _sources("managers")),
        _mixed("memberOf", member_of, units=2),
        _mixed("transitiveMemberOf", transitive_member_of, units=2),
        _mixed("ownedObjects", _OWNED, units=2),
        _mixed("createdObjects", _nothing),
        _mixed("ownedDevices", _sources("device_owners")),
        _mixed("registeredDevices", _sources("device_users")),
        Navigation(
            "licenseDetails",
            "licenseDetails",
            _license_details,
            units=2,
            expandable=False,
            context="licenseDetails",
        ),
        Navigation(
            "authentication/methods",
            "authenticationMethod",
            _rows("authentication_methods", "userId"),
            permissions.AUTHENTICATION_METHODS,
            expandable=False,
            filter=None,
            bucket="reports",
            context="authentication/methods",
            absent=frozenset({"bleu", "delos"}),
        ),
        _assignments("appRoleAssignments", _user_app_roles),
        _grants("principalId"),
        Navigation(
            "mailboxSettings",
            "mailboxSettings",
            _mailbox_settings,
            permissions.MAILBOX_SETTINGS,
            single=True,
            expandable=False,
            context="mailboxSettings",
        ),
        _SYNC_BEHAVIOR,
    ),
    "group": (
        Navigation(
            "members",
            _DIRECTORY_OBJECT,
            _targets("group_members"),
            units=3,
            omits_service_principals=True,
            hides=True,
        ),
        _mixed("transitiveMembers", transitive_members, units=5, hides=True),
        _mixed("owners", _targets("group_owners")),
        _MEMBER_OF,
        _TRANSITIVE_MEMBER_OF,
        _assignments("appRoleAssignments", _rows("app_role_assignments", "principalId")),
        _mixed("membersWithLicenseErrors", _nothing),
        _SYNC_BEHAVIOR,
    ),
    "application": (_mixed("owners", _targets("application_owners")), _FEDERATED),
    "servicePrincipal": (
        _mixed("owners", _targets("service_principal_owners")),
        _MEMBER_OF,
        _TRANSITIVE_MEMBER_OF,
        _mixed("ownedObjects", _OWNED),
        _mixed("createdObjects", _nothing),
        _assignments("appRoleAssignedTo", _rows("app_role_assignments", "resourceId")),
        _assignments("appRoleAssignments", _rows("app_role_assignments", "principalId"), units=2),
        _grants("clientId"),
        _FEDERATED,
        Navigation(
            "synchronization/jobs",
            "synchronizationJob",
            _rows("synchronization_jobs", "servicePrincipalId"),
            permissions.SYNCHRONIZATION,
            expandable=False,
            filter=None,
            context="synchronization/jobs",
            absent=frozenset({"govsg"}),
        ),
    ),
    "device": (
        _mixed("registeredOwners", _targets("device_owners")),
        _mixed("registeredUsers", _targets("device_users")),
        _MEMBER_OF,
        _TRANSITIVE_MEMBER_OF,
    ),
    "orgContact": (_MEMBER_OF, _TRANSITIVE_MEMBER_OF, _MANAGER, _SYNC_BEHAVIOR),
    "administrativeUnit": (
        _mixed("members", _targets("administrative_unit_members"), hides=True),
        Navigation(
            "scopedRoleMembers",
            "scopedRoleMembership",
            roles.scoped_members_of_unit,
            permissions.ROLES,
            context="scopedRoleMemberships",
        ),
    ),
    "directoryRole": (
        Navigation("members", _DIRECTORY_OBJECT, roles.role_members, max_top=None),
        Navigation(
            "scopedMembers",
            "scopedRoleMembership",
            roles.scoped_members_of_role,
            context="scopedRoleMemberships",
        ),
    ),
    "unifiedRoleAssignment": (_PRINCIPAL, _ROLE, _SCOPE),
    "unifiedRoleAssignmentScheduleInstance": (
        _PRINCIPAL,
        _ROLE,
        _SCOPE,
        Navigation(
            "activatedUsing",
            "unifiedRoleEligibilityScheduleInstance",
            _nothing,
            single=True,
            optional=False,
        ),
    ),
    "unifiedRoleEligibilityScheduleInstance": (_PRINCIPAL, _ROLE, _SCOPE),
    "unifiedRoleAssignmentScheduleRequest": (_PRINCIPAL, _ROLE, _SCOPE),
    "unifiedRoleEligibilityScheduleRequest": (_PRINCIPAL, _ROLE, _SCOPE),
    "unifiedRoleAssignmentSchedule": (_PRINCIPAL, _ROLE, _SCOPE),
    "unifiedRoleEligibilitySchedule": (_PRINCIPAL, _ROLE, _SCOPE),
    "privilegedAccessGroupAssignmentScheduleRequest": (_PRINCIPAL, _GROUP),
    "privilegedAccessGroupEligibilityScheduleRequest": (_PRINCIPAL, _GROUP),
    "privilegedAccessGroupEligibilityScheduleInstance": (_PRINCIPAL, _GROUP),
    "privilegedAccessGroupAssignmentScheduleInstance": (_PRINCIPAL, _GROUP),
    "unifiedRoleManagementPolicyAssignment": (_POLICY,),
    "unifiedRoleManagementPolicy": (_RULES,),
}

NAVIGATIONS: dict[str, dict[str, Navigation]] = {
    owner: {navigation.name.lower(): navigation for navigation in declared}
    for owner, declared in _DECLARED.items()
}
"""Type of the object one starts from -> navigation's name in lower case -> navigation."""
