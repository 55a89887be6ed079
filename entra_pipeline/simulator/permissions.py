"""Which application permissions open which endpoints.

Each constant lists the permissions of which any one suffices, least privileged first, from the
permission tables of the Graph reference. `GRANTED` is what the simulated application holds unless
`--without-permission` takes something away.
"""

from collections.abc import Collection

GRANTED: tuple[str, ...] = (
    "AdministrativeUnit.Read.All",
    "Application.Read.All",
    "AuditLog.Read.All",
    "Device.Read.All",
    "Directory.Read.All",
    "Domain.Read.All",
    "Group.Read.All",
    "GroupMember.Read.All",
    "LicenseAssignment.Read.All",
    "MailboxSettings.Read",
    "Member.Read.Hidden",
    "OrgContact.Read.All",
    "Organization.Read.All",
    "Policy.Read.All",
    "PrivilegedAssignmentSchedule.Read.AzureADGroup",
    "PrivilegedEligibilitySchedule.Read.AzureADGroup",
    "RoleAssignmentSchedule.Read.Directory",
    "RoleEligibilitySchedule.Read.Directory",
    "RoleManagement.Read.Directory",
    "RoleManagementPolicy.Read.Directory",
    "Synchronization.Read.All",
    "User.Read.All",
    "UserAuthenticationMethod.Read.All",
)
EXCHANGE_GRANTED: tuple[str, ...] = ("Exchange.ManageAsApp",)

Acceptable = frozenset[str]


def _any_of(*names: str) -> Acceptable:
    return frozenset(names)


_DIRECTORY = ("Directory.Read.All", "Directory.ReadWrite.All")
_ROLES = ("RoleManagement.Read.Directory", "RoleManagement.Read.All")
_ROLES_WRITE = ("RoleManagement.ReadWrite.Directory",)

USERS = _any_of("User.ReadBasic.All", "User.Read.All", "User.ReadWrite.All", *_DIRECTORY)
GROUPS = _any_of(
    "GroupMember.Read.All",
    "Group.Read.All",
    "GroupMember.ReadWrite.All",
    "Group.ReadWrite.All",
    *_DIRECTORY,
)
APPLICATIONS = _any_of("Application.Read.All", "Application.ReadWrite.All", *_DIRECTORY)
DEVICES = _any_of("Device.Read.All", "Device.ReadWrite.All", *_DIRECTORY)
CONTACTS = _any_of("OrgContact.Read.All", *_DIRECTORY)
UNITS = _any_of("AdministrativeUnit.Read.All", "AdministrativeUnit.ReadWrite.All", *_DIRECTORY)
ORGANIZATION = _any_of("Organization.Read.All", "Organization.ReadWrite.All", *_DIRECTORY)
DOMAINS = _any_of("Domain.Read.All", "Domain.ReadWrite.All", *_DIRECTORY)
SKUS = _any_of(
    "LicenseAssignment.Read.All",
    "LicenseAssignment.ReadWrite.All",
    "Organization.Read.All",
    "Organization.ReadWrite.All",
    *_DIRECTORY,
)
GRANTS = _any_of("DelegatedPermissionGrant.Read.All", *_DIRECTORY)
ROLES = _any_of(*_ROLES, *_ROLES_WRITE, *_DIRECTORY)
ROLE_ASSIGNMENT_SCHEDULES = _any_of(
    "RoleAssignmentSchedule.Read.Directory",
    "RoleAssignmentSchedule.ReadWrite.Directory",
    *_ROLES,
    *_ROLES_WRITE,
)
ROLE_ELIGIBILITY_SCHEDULES = _any_of(
    "RoleEligibilitySchedule.Read.Directory",
    "RoleEligibilitySchedule.ReadWrite.Directory",
    *_ROLES,
    *_ROLES_WRITE,
)
GROUP_ASSIGNMENT_SCHEDULES = _any_of(
    "PrivilegedAssignmentSchedule.Read.AzureADGroup",
    "PrivilegedAssignmentSchedule.ReadWrite.AzureADGroup",
)
GROUP_ELIGIBILITY_SCHEDULES = _any_of(
    "PrivilegedEligibilitySchedule.Read.AzureADGroup",
    "PrivilegedEligibilitySchedule.ReadWrite.AzureADGroup",
)
ROLE_POLICIES = _any_of(
    "RoleManagementPolicy.Read.Directory",
    "RoleManagementPolicy.ReadWrite.Directory",
    *_ROLES,
    *_ROLES_WRITE,
)
CONDITIONAL_ACCESS = _any_of("Policy.Read.ConditionalAccess", "Policy.Read.All")
AUDIT = _any_of("AuditLog.Read.All")
DIRECTORY_READ = _any_of(*_DIRECTORY)
SYNCHRONIZATION = _any_of("Synchronization.Read.All", "Synchronization.ReadWrite.All")
AUTHENTICATION_METHODS = _any_of(
    "UserAuthenticationMethod.Read.All", "UserAuthenticationMethod.ReadWrite.All"
)
MAILBOX_SETTINGS = _any_of("MailboxSettings.Read", "MailboxSettings.ReadWrite")
HIDDEN_MEMBERS = _any_of("Member.Read.Hidden")
ANY_DIRECTORY_OBJECT = USERS | GROUPS | APPLICATIONS | DEVICES | CONTACTS | UNITS | ROLES

OF_KIND: dict[str, Acceptable] = {
    "user": USERS,
    "group": GROUPS,
    "servicePrincipal": APPLICATIONS,
    "application": APPLICATIONS,
    "device": DEVICES,
    "orgContact": CONTACTS,
    "administrativeUnit": UNITS,
    "directoryRole": ROLES,
}
"""What lets a caller see a member's properties; without it only its id and type are shown
(graph "List group members": limited information for inaccessible member objects)."""


def suffices(granted: Collection[str], acceptable: Acceptable) -> bool:
    """Whether one of the granted permissions opens the endpoint."""
    return not acceptable.isdisjoint(granted)


def hidden_kinds(granted: Collection[str]) -> frozenset[str]:
    """Kinds of directory object whose properties the caller may not see."""
    return frozenset(kind for kind, need in OF_KIND.items() if not suffices(granted, need))
