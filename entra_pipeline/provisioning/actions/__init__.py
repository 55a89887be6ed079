"""Every kind of write, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from entra_pipeline.provisioning.actions import accounts, credentials, new_groups, profiles
from entra_pipeline.provisioning.actions.app_roles import AppRole
from entra_pipeline.provisioning.actions.base import Call, Handler, Seen
from entra_pipeline.provisioning.actions.exchange import ListLink
from entra_pipeline.provisioning.actions.groups import Link
from entra_pipeline.provisioning.actions.licenses import License
from entra_pipeline.provisioning.actions.owners import AppOwner
from entra_pipeline.provisioning.actions.pim import Hold
from entra_pipeline.provisioning.actions.roles import Role
from entra_pipeline.provisioning.plans import Action

HANDLERS: Final[Mapping[Action, Handler]] = {
    Action.ADD_GROUP_MEMBER: Link("member", adds=True),
    Action.REMOVE_GROUP_MEMBER: Link("member", adds=False),
    Action.ADD_GROUP_OWNER: Link("owner", adds=True),
    Action.REMOVE_GROUP_OWNER: Link("owner", adds=False),
    Action.ADD_EXCHANGE_MEMBER: ListLink("member", adds=True),
    Action.REMOVE_EXCHANGE_MEMBER: ListLink("member", adds=False),
    Action.ADD_EXCHANGE_OWNER: ListLink("owner", adds=True),
    Action.REMOVE_EXCHANGE_OWNER: ListLink("owner", adds=False),
    Action.ADD_APP_OWNER: AppOwner(adds=True),
    Action.REMOVE_APP_OWNER: AppOwner(adds=False),
    Action.ASSIGN_APP_ROLE: AppRole(adds=True),
    Action.REMOVE_APP_ROLE: AppRole(adds=False),
    Action.ASSIGN_ROLE: Role(adds=True),
    Action.REMOVE_ROLE: Role(adds=False),
    Action.PIM_ASSIGN_ROLE: Hold("role", adds=True),
    Action.PIM_REMOVE_ROLE: Hold("role", adds=False),
    Action.PIM_ASSIGN_GROUP: Hold("group", adds=True),
    Action.PIM_REMOVE_GROUP: Hold("group", adds=False),
    Action.ASSIGN_LICENSE: License(adds=True),
    Action.REMOVE_LICENSE: License(adds=False),
    Action.CREATE_USER: accounts.CreateUser(),
    Action.INVITE_GUEST: accounts.InviteGuest(),
    Action.DELETE_USER: accounts.DeleteUser(),
    Action.RESTORE_USER: accounts.RestoreUser(),
    Action.SET_PASSWORD: accounts.SetPassword(),
    Action.UPDATE_USER: profiles.UpdateUser(),
    Action.SET_MANAGER: profiles.Manager(adds=True),
    Action.REMOVE_MANAGER: profiles.Manager(adds=False),
    Action.CHECK_UPN: new_groups.CheckUpn(),
    Action.CREATE_GROUP: new_groups.CreateGroup(),
    Action.REVOKE_SESSIONS: credentials.RevokeSessions(),
    Action.REMOVE_METHODS: credentials.RemoveMethods(),
}

__all__ = ["HANDLERS", "Call", "Handler", "Seen"]
