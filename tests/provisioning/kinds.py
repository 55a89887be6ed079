"""Requests of every kind, each with the effects that just it has on the simulated tenant."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from entra_pipeline.provisioning.values import (
    AppAccess,
    CreateGroup,
    CreateUser,
    DeleteUser,
    DisableUser,
    EnableUser,
    Grant,
    GroupAccess,
    InviteGuest,
    LicenseAccess,
    Mode,
    Offboard,
    RestoreUser,
    Revoke,
    RevokeMfa,
    RevokeSessions,
    RoleAccess,
    RotatePassword,
    SetManager,
    UpdateUser,
)
from entra_pipeline.simulator.process import Simulator
from tests.provisioning.leaver import Leaver
from tests.provisioning.lists import Lists
from tests.provisioning.people import plain_users, somebody, users
from tests.provisioning.tenant import Tenant

READER = "88d8e3e3-8f55-4a1e-953a-9b9898b8876b"  # Directory Readers
_numbers = itertools.count(1)

Kind = Callable[[Simulator], tuple[Any, list[str]]]


def member(sim: Simulator) -> tuple[Any, list[str]]:
    tenant = Tenant(sim)
    group = next(tenant.plain())
    access = GroupAccess(group_id=group)
    return Grant(principal_id=tenant.stranger(group), access=access), ["add_group_member"]


def no_member(sim: Simulator) -> tuple[Any, list[str]]:
    tenant = Tenant(sim)
    group, user = next(
        (group, user)
        for group in tenant.plain()
        for user in tenant.members.get(group, ())
        if user in tenant.users
    )
    access = GroupAccess(group_id=group)
    return Revoke(principal_id=user, access=access), ["remove_group_member"]


def app_role(sim: Simulator) -> tuple[Any, list[str]]:
    tenant = Tenant(sim)
    app, role = tenant.custom_app()
    held = tenant.holders("app_role_assignments", resourceId=app, appRoleId=role)
    user = next(user for user in tenant.users if user not in held)
    access = AppAccess(service_principal_id=app, app_role_id=role)
    return Grant(principal_id=user, access=access), ["assign_app_role"]


def without(sim: Simulator, *collections: str) -> str:
    """A user whom none of these know."""
    held = {row["principalId"] for name in collections for row in sim.truth(name)}
    return next(user for user in plain_users(sim) if user not in held)


def role(sim: Simulator) -> tuple[Any, list[str]]:
    user = without(sim, "role_assignment_schedule_instances")
    return Grant(principal_id=user, access=RoleAccess(role_definition_id=READER)), ["assign_role"]


def pim_role(sim: Simulator) -> tuple[Any, list[str]]:
    user = without(sim, "role_assignment_schedule_instances")
    access = RoleAccess(role_definition_id=READER)
    body = Grant(principal_id=user, access=access, mode=Mode.PIM_ACTIVE)
    return body, ["assign_role_assignment"]


def pim_eligible_owner(sim: Simulator) -> tuple[Any, list[str]]:
    tenant = Tenant(sim)
    group = next(tenant.plain())
    user = without(sim, "group_eligibility_schedule_instances")
    access = GroupAccess(group_id=group, relation="owner")
    body = Grant(principal_id=user, access=access, mode=Mode.PIM_ELIGIBLE)
    return body, ["assign_group_eligibility"]


def licence(sim: Simulator) -> tuple[Any, list[str]]:
    for sku in sim.truth("subscribed_skus"):
        units = sku["prepaidUnits"]
        if units["enabled"] + units["warning"] - sku["consumedUnits"] < 1:
            continue
        for user in users(sim).values():
            held = {state["skuId"] for state in user["licenseAssignmentStates"]}
            if user["usageLocation"] and sku["skuId"] not in held:
                access = LicenseAccess(sku_id=sku["skuId"])
                return Grant(principal_id=user["id"], access=access), ["assign_license"]
    raise AssertionError("no licence to give")


def new_user(sim: Simulator) -> tuple[Any, list[str]]:
    name = f"failing{next(_numbers)}"
    body = CreateUser(
        display_name="Failing",
        mail_nickname=name,
        user_principal_name=f"{name}@contoso.example",
        manager=somebody(sim),
    )
    return body, ["create_user", "set_manager"]


def guest(sim: Simulator) -> tuple[Any, list[str]]:
    return InviteGuest(mail=f"failing{next(_numbers)}@fabrikam.example"), ["invite_user"]


def deletion(sim: Simulator) -> tuple[Any, list[str]]:
    return DeleteUser(user_id=somebody(sim, "Guest")), ["delete_user"]


def restoration(sim: Simulator) -> tuple[Any, list[str]]:
    taken = {str(row["userPrincipalName"]).lower() for row in users(sim).values()}
    item = next(
        row["id"]
        for row in sim.truth("deleted_items")
        if row["@odata.type"] == "#microsoft.graph.user"
        # In the bin the name begins with the id; who has that name by now must keep it.
        and str(row["userPrincipalName"]).lower().removeprefix(row["id"].replace("-", ""))
        not in taken
    )
    return RestoreUser(user_id=item), ["restore_user"]


def password(sim: Simulator) -> tuple[Any, list[str]]:
    known = users(sim)
    # The one whose password is the oldest: what changed twice in a second looks as if it had once.
    user = min(
        (somebody(sim, place=place) for place in range(4)),
        key=lambda each: str(known[each]["lastPasswordChangeDateTime"]),
    )
    return RotatePassword(user_id=user), ["reset_password"]


def state(sim: Simulator) -> tuple[Any, list[str]]:
    user = somebody(sim)
    body = DisableUser if users(sim)[user]["accountEnabled"] else EnableUser
    return body(user_id=user), ["update_user"]


def properties(sim: Simulator) -> tuple[Any, list[str]]:
    attributes = {"jobTitle": f"Nurse {next(_numbers)}", "city": None}
    return UpdateUser(user_id=somebody(sim), attributes=attributes), ["update_user"]


def manager(sim: Simulator) -> tuple[Any, list[str]]:
    user = somebody(sim)
    now = sim.truth("managers").get(user, [None])
    now = now[0] if isinstance(now, list) else now
    other = next(each for each in plain_users(sim) if each not in (user, now))
    return SetManager(user_id=user, manager=other), ["set_manager"]


def group(sim: Simulator) -> tuple[Any, list[str]]:
    body = CreateGroup(display_name=f"Failing {next(_numbers)}", owner_ids=(somebody(sim),))
    return body, ["create_group", "add_group_owner"]


def sessions(sim: Simulator) -> tuple[Any, list[str]]:
    known = users(sim)
    user = min(
        plain_users(sim), key=lambda each: str(known[each]["signInSessionsValidFromDateTime"])
    )
    return RevokeSessions(user_id=user), ["revoke_sessions"]


def methods(sim: Simulator) -> tuple[Any, list[str]]:
    held: dict[str, int] = {}
    for row in sim.truth("authentication_methods"):
        held[row["userId"]] = held.get(row["userId"], 0) + 1
    # Two besides the password; when everybody who had so many was taken, as many as there are.
    some = [user for user in plain_users(sim) if held.get(user, 0) > 1]
    user = min(some, key=lambda each: abs(held[each] - 3))
    return RevokeMfa(user_id=user), ["delete_method"] * (held[user] - 1)


def list_member(sim: Simulator) -> tuple[Any, list[str]]:
    lists = Lists(sim)
    group = next(lists.every(secure=False))
    access = GroupAccess(group_id=group)
    return Grant(principal_id=lists.stranger(group), access=access), ["add_exchange_member"]


def no_list_member(sim: Simulator) -> tuple[Any, list[str]]:
    lists = Lists(sim)
    group, user = next(
        (group, user)
        for group in lists.every()
        for user in lists.members.get(group, ())
        if lists.users.get(user, {}).get("mail")
    )
    body = Revoke(principal_id=user, access=GroupAccess(group_id=group))
    return body, ["remove_exchange_member"]


def list_owner(sim: Simulator) -> tuple[Any, list[str]]:
    lists = Lists(sim)
    group = next(lists.every(secure=True))
    access = GroupAccess(group_id=group, relation="owner")
    return Grant(principal_id=lists.stranger(group), access=access), ["add_exchange_owner"]


def no_list_owner(sim: Simulator) -> tuple[Any, list[str]]:
    lists = Lists(sim)
    group, user = lists.with_owners()
    access = GroupAccess(group_id=group, relation="owner")
    return Revoke(principal_id=user, access=access), ["remove_exchange_owner"]


def _this_second() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def leaver(sim: Simulator) -> tuple[Any, list[str]]:
    """Somebody who was given a membership and ownerships, some of them to be handed on."""
    found = Leaver(sim, 1, manager=2)
    # Graph tells in whole seconds since when sessions count: twice in one second looks like once.
    while users(sim)[found.id]["signInSessionsValidFromDateTime"] == _this_second():
        time.sleep(0.1)
    found.give(3)
    next(found.lists())
    tenant, lists, own = Tenant(sim), Lists(sim), users(sim)[found.id]
    headed = [each for each in lists.every() if found.id in lists.owners[each]]
    joined = [*tenant.plain()]
    joined += [group["id"] for group in tenant.groups if group["groupTypes"] == ["Unified"]]
    methods = [row for row in sim.truth("authentication_methods") if row["userId"] == found.id]
    roles = tenant.holders("app_role_assignments", principalId=found.id)
    counted = {
        "update_user": 1,
        "revoke_sessions": 1,
        "delete_method": sum("password" not in row["@odata.type"] for row in methods),
        "add_group_owner": sum({*tenant.owners.get(each, ())} == {found.id} for each in joined),
        "remove_app_role": len(roles),
        "remove_group_owner": sum(found.id in tenant.owners.get(each, ()) for each in joined),
        "remove_group_member": sum(found.id in tenant.members.get(each, ()) for each in joined),
        "add_exchange_owner": sum(len(lists.owners[each]) == 1 for each in headed),
        "remove_exchange_owner": len(headed),
        # Of which Graph knows, too.
        "remove_exchange_member": sum(
            found.id in lists.members[each] and found.id in tenant.members.get(each, ())
            for each in lists.every()
        ),
        "remove_license": sum(
            state["assignedByGroup"] is None for state in own["licenseAssignmentStates"]
        ),
    }
    effects = [kind for kind, number in counted.items() for _ in range(number)]
    return Offboard(user_id=found.id, hand_over_to=None), effects


KINDS: list[Kind] = [
    member,
    no_member,
    app_role,
    role,
    pim_role,
    pim_eligible_owner,
    licence,
    new_user,
    guest,
    deletion,
    restoration,
    password,
    state,
    properties,
    manager,
    group,
    sessions,
    methods,
    list_member,
    no_list_member,
    list_owner,
    no_list_owner,
    leaver,
]
