"""What the writing application has to hold, by kind of write; and what it lacks.

Here: application permissions of Microsoft Graph and Exchange Online, and the directory roles that
some writes want beside them. Not here: asking for a token (`msgraph`), printing (`doctor`).

Sources: the permission tables of each write's page under https://learn.microsoft.com/graph/api, and
https://learn.microsoft.com/graph/api/resources/users#who-can-perform-sensitive-actions for what
needs a directory role as well.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from entra_pipeline.provisioning.plans import Action

_A = Action

PRIVILEGED_AUTHENTICATION_ADMINISTRATOR: Final = "7be44c8a-adaf-4e2a-84d6-ab2649e08a13"
GLOBAL_ADMINISTRATOR: Final = "62e90394-69f5-4237-9190-012177145e10"
PASSWORD_ROLES: Final = frozenset(
    {
        GLOBAL_ADMINISTRATOR,
        PRIVILEGED_AUTHENTICATION_ADMINISTRATOR,
        "c4e39bd9-1100-46d3-8c65-fb160da0071f",  # Authentication Administrator
        "fe930be7-5e62-47db-91af-98c3a49a38b1",  # User Administrator
        "729827e3-9c14-49f7-bb1b-9608f156bbb8",  # Helpdesk Administrator
        "966707d0-3269-4727-9be2-8c3a10f19b9d",  # Password Administrator
    }
)
EXCHANGE_ADMINISTRATOR: Final = "29232cdf-9323-42fd-ade2-1d097af3e4de"
EXCHANGE_ROLES: Final = frozenset({EXCHANGE_ADMINISTRATOR, GLOBAL_ADMINISTRATOR})
"""One of these lets an application change lists that it does not manage.
Source: https://learn.microsoft.com/powershell/exchange/app-only-auth-powershell-v2"""
EXCHANGE_READ_ROLES: Final = EXCHANGE_ROLES | {"f2ef992c-3afb-46b9-b7cf-a126ee74c451"}
"""With Global Reader, which is enough to look."""
MANAGE_EXCHANGE: Final = "Exchange.ManageAsApp"
"""Of Office 365 Exchange Online, not of Microsoft Graph."""
START_JOBS: Final = "Synchronization.ReadWrite.All"
ADMINISTRATORS_ROLES: Final = frozenset(
    {GLOBAL_ADMINISTRATOR, PRIVILEGED_AUTHENTICATION_ADMINISTRATOR}
)
"""One of these lets the writer act on administrators."""


@dataclass(frozen=True)
class Need:
    """What a kind of write takes.

    `permissions`: one of each; `roles`: one of these directory roles besides, always, such as
    `role`;
    `administrators`: acting on an administrator takes one of `ADMINISTRATORS_ROLES`; `more`: what
    some objects take beside that, as (which objects, permission).
    """

    permissions: tuple[tuple[str, ...], ...]
    roles: frozenset[str] = frozenset()
    role: str = ""
    administrators: bool = False
    more: tuple[tuple[str, str], ...] = ()


_READS = ("Directory.Read.All", "Directory.ReadWrite.All")
_MEMBERS: Final = Need(
    (_READS, ("GroupMember.ReadWrite.All", "Group.ReadWrite.All", "Directory.ReadWrite.All")),
    more=(
        ("groups that can hold roles", "RoleManagement.ReadWrite.Directory"),
        ("service principals", "Application.ReadWrite.All"),
        ("devices", "Device.ReadWrite.All"),
    ),
)
_OWNERS: Final = Need(
    (_READS, ("Group.ReadWrite.All", "Directory.ReadWrite.All")),
    more=(("groups that can hold roles", "RoleManagement.ReadWrite.Directory"),),
)
_LISTS: Final = Need(
    (_READS, (MANAGE_EXCHANGE,)), roles=EXCHANGE_ROLES, role="Exchange Administrator"
)
_APPS: Final = Need(
    (
        ("AppRoleAssignment.ReadWrite.All",),
        ("Application.Read.All", "Application.ReadWrite.All", *_READS),
    )
)
_APP_OWNERS: Final = Need((_READS, ("Application.ReadWrite.All", "Directory.ReadWrite.All")))
_ROLES: Final = Need((_READS, ("RoleManagement.ReadWrite.Directory",)))
_PIM_ROLES: Final = Need(
    (
        _READS,
        ("RoleAssignmentSchedule.ReadWrite.Directory", "RoleManagement.ReadWrite.Directory"),
        ("RoleEligibilitySchedule.ReadWrite.Directory", "RoleManagement.ReadWrite.Directory"),
    )
)
_PIM_GROUPS: Final = Need(
    (
        _READS,
        ("PrivilegedAssignmentSchedule.ReadWrite.AzureADGroup",),
        ("PrivilegedEligibilitySchedule.ReadWrite.AzureADGroup",),
    )
)
_LICENCES: Final = Need(
    (
        _READS,
        ("LicenseAssignment.ReadWrite.All", "User.ReadWrite.All", "Directory.ReadWrite.All"),
    )
)
_USERS: Final = Need((_READS, ("User.ReadWrite.All", "Directory.ReadWrite.All")))
_SENSITIVE: Final = Need(_USERS.permissions, administrators=True)

NEEDS: Final[Mapping[Action, Need]] = {
    _A.ADD_GROUP_MEMBER: _MEMBERS,
    _A.REMOVE_GROUP_MEMBER: _MEMBERS,
    _A.ADD_GROUP_OWNER: _OWNERS,
    _A.REMOVE_GROUP_OWNER: _OWNERS,
    _A.ADD_EXCHANGE_MEMBER: _LISTS,
    _A.REMOVE_EXCHANGE_MEMBER: _LISTS,
    _A.ADD_EXCHANGE_OWNER: _LISTS,
    _A.REMOVE_EXCHANGE_OWNER: _LISTS,
    _A.ADD_APP_OWNER: _APP_OWNERS,
    _A.REMOVE_APP_OWNER: _APP_OWNERS,
    _A.ASSIGN_APP_ROLE: _APPS,
    _A.REMOVE_APP_ROLE: _APPS,
    _A.ASSIGN_ROLE: _ROLES,
    _A.REMOVE_ROLE: _ROLES,
    _A.PIM_ASSIGN_ROLE: _PIM_ROLES,
    _A.PIM_REMOVE_ROLE: _PIM_ROLES,
    _A.PIM_ASSIGN_GROUP: _PIM_GROUPS,
    _A.PIM_REMOVE_GROUP: _PIM_GROUPS,
    _A.ASSIGN_LICENSE: _LICENCES,
    _A.REMOVE_LICENSE: _LICENCES,
    _A.CREATE_USER: _USERS,
    _A.INVITE_GUEST: Need((_READS, ("User.Invite.All", "User.ReadWrite.All"))),
    _A.DELETE_USER: Need(
        (_READS, ("User.DeleteRestore.All", "User.ReadWrite.All")), administrators=True
    ),
    _A.RESTORE_USER: Need(
        (_READS, ("User.DeleteRestore.All", "User.ReadWrite.All")), administrators=True
    ),
    _A.SET_PASSWORD: Need(
        (_READS, ("User-PasswordProfile.ReadWrite.All", "User.ReadWrite.All")),
        roles=PASSWORD_ROLES,
        role="User Administrator",
        administrators=True,
    ),
    _A.UPDATE_USER: Need(
        _USERS.permissions,
        administrators=True,
        more=(("the date of leaving", "User-LifeCycleInfo.ReadWrite.All"),),
    ),
    _A.SET_MANAGER: _USERS,
    _A.REMOVE_MANAGER: _USERS,
    _A.CHECK_UPN: Need((_READS,)),
    _A.CREATE_GROUP: Need(
        (_READS, ("Group.ReadWrite.All", "Directory.ReadWrite.All")),
        more=(("groups that can hold roles", "RoleManagement.ReadWrite.Directory"),),
    ),
    _A.REVOKE_SESSIONS: Need(
        (_READS, ("User.RevokeSessions.All", "User.ReadWrite.All")), administrators=True
    ),
    _A.REMOVE_METHODS: Need(
        (_READS, ("UserAuthenticationMethod.ReadWrite.All",)), administrators=True
    ),
}


@dataclass(frozen=True)
class Lack:
    """What the writer lacks for a kind: `whole`: the kind cannot be carried out at all.

    `permissions`: one of each is missing; `roles`: no directory role that lets it; `some`: objects
    that are out of reach, each with what it takes.
    """

    action: Action
    permissions: tuple[str, ...] = ()
    role: bool = False
    administrators: bool = False
    some: tuple[tuple[str, str], ...] = ()

    @property
    def whole(self) -> bool:
        """Whether the kind cannot be carried out at all."""
        return bool(self.permissions) or self.role


def lacks(
    held: Collection[str], roles: Collection[str], actions: Collection[Action]
) -> tuple[Lack, ...]:
    """What is missing with these permissions and directory roles (template ids), by kind."""
    found = []
    for action in sorted(actions):
        need = NEEDS[action]
        lack = Lack(
            action,
            tuple(each[0] for each in need.permissions if not set(each) & set(held)),
            bool(need.roles) and not need.roles & set(roles),
            need.administrators and not ADMINISTRATORS_ROLES & set(roles),
            tuple((what, each) for what, each in need.more if each not in held),
        )
        if lack.whole or lack.administrators or lack.some:
            found.append(lack)
    return tuple(found)
