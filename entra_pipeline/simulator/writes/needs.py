"""Which permissions open which writes, and what a writing application is granted.

Each constant lists the permissions of which any one suffices, least privileged first, from the
permission tables of the Graph reference; where a write needs two, a handler asks for both.
"""

from entra_pipeline.simulator.permissions import Acceptable

_DIRECTORY = "Directory.ReadWrite.All"


def _any_of(*names: str) -> Acceptable:
    return frozenset(names)


GROUP_MEMBERS = _any_of("GroupMember.ReadWrite.All", "Group.ReadWrite.All", _DIRECTORY)
GROUPS = _any_of("Group.ReadWrite.All", _DIRECTORY)
CREATE_GROUP = _any_of("Group.Create", "Group.ReadWrite.All", _DIRECTORY)
ROLE_ASSIGNABLE = _any_of("RoleManagement.ReadWrite.Directory")
APPLICATIONS = _any_of("Application.ReadWrite.All", _DIRECTORY)
DEVICES = _any_of("Device.ReadWrite.All", _DIRECTORY)
CONTACTS = _any_of("OrgContact.Read.All", "Directory.Read.All", _DIRECTORY)

APP_ROLES = _any_of("AppRoleAssignment.ReadWrite.All")
READ_APPLICATIONS = _any_of(
    "Application.Read.All", "Application.ReadWrite.All", "Directory.Read.All", _DIRECTORY
)

ROLES = _any_of("RoleManagement.ReadWrite.Directory")
ROLE_SCHEDULES = _any_of(
    "RoleAssignmentSchedule.ReadWrite.Directory", "RoleManagement.ReadWrite.Directory"
)
ROLE_ELIGIBILITIES = _any_of(
    "RoleEligibilitySchedule.ReadWrite.Directory", "RoleManagement.ReadWrite.Directory"
)
GROUP_SCHEDULES = _any_of("PrivilegedAssignmentSchedule.ReadWrite.AzureADGroup")
GROUP_ELIGIBILITIES = _any_of("PrivilegedEligibilitySchedule.ReadWrite.AzureADGroup")

LICENSES = _any_of("LicenseAssignment.ReadWrite.All", "User.ReadWrite.All", _DIRECTORY)
GROUP_LICENSES = _any_of("LicenseAssignment.ReadWrite.All", "Group.ReadWrite.All", _DIRECTORY)

CREATE_USER = _any_of("User.ReadWrite.All", _DIRECTORY)
UPDATE_USER = _any_of("User.ReadUpdate.All", "User.ReadWrite.All", _DIRECTORY)
ENABLE_USER = _any_of("User.EnableDisableAccount.All", "User.ReadWrite.All", _DIRECTORY)
PASSWORD = _any_of("User-PasswordProfile.ReadWrite.All", "User.ReadWrite.All", _DIRECTORY)
MAIL = _any_of("User-Mail.ReadWrite.All", "User.ReadWrite.All", _DIRECTORY)
PHONE = _any_of("User-Phone.ReadWrite.All", "User.ReadWrite.All", _DIRECTORY)
IDENTITIES = _any_of("User.ManageIdentities.All", "User.ReadWrite.All", _DIRECTORY)
LIFE_CYCLE = _any_of("User-LifeCycleInfo.ReadWrite.All")
DELETE_USER = _any_of("User.DeleteRestore.All", "User.ReadWrite.All", _DIRECTORY)
REVOKE_SESSIONS = _any_of("User.RevokeSessions.All", "User.ReadWrite.All", _DIRECTORY)
INVITE = _any_of("User.Invite.All", "User.ReadWrite.All", _DIRECTORY)
METHODS = _any_of("UserAuthenticationMethod.ReadWrite.All")

SYNCHRONIZATION = _any_of("Synchronization.ReadWrite.All")

WRITER_GRANTED: tuple[str, ...] = (
    "AppRoleAssignment.ReadWrite.All",
    "Application.ReadWrite.All",
    "AuditLog.Read.All",
    "Device.ReadWrite.All",
    "Directory.Read.All",
    "Group.Create",
    "Group.ReadWrite.All",
    "GroupMember.ReadWrite.All",
    "LicenseAssignment.ReadWrite.All",
    "PrivilegedAssignmentSchedule.ReadWrite.AzureADGroup",
    "PrivilegedEligibilitySchedule.ReadWrite.AzureADGroup",
    "RoleAssignmentSchedule.ReadWrite.Directory",
    "RoleEligibilitySchedule.ReadWrite.Directory",
    "RoleManagement.ReadWrite.Directory",
    "Synchronization.ReadWrite.All",
    "User-LifeCycleInfo.ReadWrite.All",
    "User-PasswordProfile.ReadWrite.All",
    "User.DeleteRestore.All",
    "User.EnableDisableAccount.All",
    "User.Invite.All",
    "User.ReadWrite.All",
    "User.RevokeSessions.All",
    "UserAuthenticationMethod.ReadWrite.All",
)
"""What the simulator's writing application holds unless told otherwise."""
