"""Every kind of access: granted, granted again, revoked, revoked again, granted."""

from collections.abc import Callable
from typing import Any

import pytest

from entra_pipeline.provisioning.ledger import verify
from entra_pipeline.provisioning.ledger.work import Work
from entra_pipeline.provisioning.plans import Plan
from entra_pipeline.provisioning.states import OperationState as O
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.values import (
    Access,
    AppAccess,
    Grant,
    GroupAccess,
    Revoke,
    RoleAccess,
)
from tests.provisioning.making import grant
from tests.provisioning.stage import Stage
from tests.provisioning.tenant import Tenant
from tests.provisioning.walking import walk

READER = "88d8e3e3-8f55-4a1e-953a-9b9898b8876b"  # Directory Readers

Effects = tuple[str, str]
Kind = Callable[[Tenant], tuple[str, Access, Effects]]


def member(tenant: Tenant) -> tuple[str, Access, Effects]:
    group = next(tenant.plain())
    effects = "add_group_member", "remove_group_member"
    return tenant.stranger(group), GroupAccess(group_id=group), effects


def member_service_principal(tenant: Tenant) -> tuple[str, Access, Effects]:
    group = next(tenant.plain())
    principal = next(
        each["id"]
        for each in tenant.service_principals
        if each["id"] not in tenant.members.get(group, ())
    )
    return principal, GroupAccess(group_id=group), ("add_group_member", "remove_group_member")


def owner(tenant: Tenant) -> tuple[str, Access, Effects]:
    group = next(group for group in tenant.plain() if tenant.owners.get(group))
    user = next(user for user in tenant.users if user not in tenant.owners[group])
    effects = "add_group_owner", "remove_group_owner"
    return user, GroupAccess(group_id=group, relation="owner"), effects


def app_role(tenant: Tenant) -> tuple[str, Access, Effects]:
    app, role = tenant.custom_app()
    held = tenant.holders("app_role_assignments", resourceId=app, appRoleId=role)
    user = next(user for user in tenant.users if user not in held)
    access = AppAccess(service_principal_id=app, app_role_id=role)
    return user, access, ("assign_app_role", "remove_app_role")


def role(tenant: Tenant) -> tuple[str, Access, Effects]:
    held = tenant.holders("role_assignments", roleDefinitionId=READER)
    user = next(user for user in tenant.users if user not in held)
    return user, RoleAccess(role_definition_id=READER), ("assign_role", "remove_role")


@pytest.mark.parametrize("kind", [member, member_service_principal, owner, app_role, role])
def test_granted_again_granted_revoked_again_revoked_and_granted(
    stage: Stage, tenant: Tenant, kind: Kind
) -> None:
    principal, access, (given, taken) = kind(tenant)
    expected: list[Any] = []
    for body, state, effect in (
        (Grant, O.WRITTEN, given),
        (Grant, O.ALREADY, None),
        (Revoke, O.WRITTEN, taken),
        (Revoke, O.ALREADY, None),
        (Grant, O.WRITTEN, given),
        (Revoke, O.WRITTEN, taken),
    ):
        (filed,) = stage.approved(grant(body=body(principal_id=principal, access=access)))
        assert stage.worker().apply() == {filed.id: RequestState.WRITTEN}
        (step,) = Work(stage.ledger, "looking").steps(filed.id)
        assert (step.state, step.added) == (state, state is O.WRITTEN)
        stage.run([filed.id])
        assert stage.ledger.request(filed.id).state is RequestState.DONE
        if effect is not None:
            expected.append((effect, access.resource_id, principal))
    assert stage.effects() == expected
    assert verify(stage.ledger.database).findings == ()


def test_what_a_group_gives_is_neither_ones_own_nor_taken_from_the_group(
    stage: Stage, tenant: Tenant
) -> None:
    rows = stage.simulator.truth("app_role_assignments")
    own = {(row["principalId"], row["resourceId"], row["appRoleId"]) for row in rows}
    offered = {
        role["id"]
        for app in tenant.service_principals
        for role in app.get("appRoles") or ()
        if role["isEnabled"] and "User" in role["allowedMemberTypes"]
    }
    user, group, app, wanted = next(
        (user, row["principalId"], row["resourceId"], row["appRoleId"])
        for row in rows
        if row["principalType"] == "Group" and row["appRoleId"] in offered
        for user in tenant.members.get(row["principalId"], ())
        if user in tenant.users and (user, row["resourceId"], row["appRoleId"]) not in own
    )
    access = AppAccess(service_principal_id=app, app_role_id=wanted)
    walk(
        stage,
        (Revoke(principal_id=user, access=access), O.ALREADY),
        (Grant(principal_id=user, access=access), O.WRITTEN),
        (Revoke(principal_id=user, access=access), O.WRITTEN),
    )
    (filed,) = stage.ledger.file([grant(body=Revoke(principal_id=user, access=access))])
    plan = stage.plan([filed])
    assert isinstance(plan, Plan)
    assert plan.warnings == (f"{user} still has {access.entitlement_id} by group {group}",)
    assert stage.effects() == [("assign_app_role", app, user), ("remove_app_role", app, user)]
    assert stage.simulator.truth("app_role_assignments") == rows
