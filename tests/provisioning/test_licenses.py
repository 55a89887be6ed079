"""Licences: given with plans off, given anew, taken; what only a group gives stays the group's."""

from datetime import timedelta
from typing import Any

import pytest

from entra_pipeline.provisioning.plans import Action, Plan
from entra_pipeline.provisioning.states import OperationState as O
from entra_pipeline.provisioning.values import Grant, LicenseAccess, Revoke, Source
from entra_pipeline.simulator.process import Simulator
from tests.provisioning.making import grant, guid
from tests.provisioning.stage import Stage
from tests.provisioning.tenant import Tenant
from tests.provisioning.walking import refused, walk


class Licensing:
    """What the tests want of the tenant's licences."""

    def __init__(self, simulator: Simulator) -> None:
        self.skus: list[dict[str, Any]] = simulator.truth("subscribed_skus")
        self.users: list[dict[str, Any]] = simulator.truth("users")

    @staticmethod
    def free(sku: dict[str, Any]) -> int:
        units = sku["prepaidUnits"]
        return int(units["enabled"] + units["warning"] - sku["consumedUnits"])

    def sku(self, plans: int = 2) -> dict[str, Any]:
        """One with units to spare and so many plans, which not everybody has."""
        return next(
            sku
            for sku in self.skus
            if self.free(sku) > 5
            and len(sku["servicePlans"]) >= plans
            and len(self.without(sku)) > len(self.users) // 2
        )

    def without(self, sku: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            user
            for user in self.users
            if not any(s["skuId"] == sku["skuId"] for s in user["licenseAssignmentStates"])
        ]

    def user(self, sku: dict[str, Any], *, located: bool = True) -> str:
        """Somebody without it."""
        found: str = next(
            user["id"] for user in self.without(sku) if bool(user["usageLocation"]) is located
        )
        return found


@pytest.fixture
def licensing(written_to: Simulator) -> Licensing:
    return Licensing(written_to)


def test_a_licence_is_given_changed_and_taken_once_each(stage: Stage, licensing: Licensing) -> None:
    sku = licensing.sku()
    user, sku_id = licensing.user(sku), sku["skuId"]
    off = sku["servicePlans"][0]["servicePlanId"]
    less = LicenseAccess(sku_id=sku_id, disabled_plans=(off,))
    full = LicenseAccess(sku_id=sku_id)
    walk(
        stage,
        (Grant(principal_id=user, access=less), O.WRITTEN),
        (Grant(principal_id=user, access=less), O.ALREADY),
        (Grant(principal_id=user, access=full), O.WRITTEN),
        (Revoke(principal_id=user, access=full), O.WRITTEN),
        (Revoke(principal_id=user, access=full), O.ALREADY),
    )
    assert stage.effects() == [
        ("assign_license", user, user),
        ("assign_license", user, user),
        ("remove_license", user, user),
    ]


def test_a_group_gets_and_loses_a_licence(
    stage: Stage, licensing: Licensing, tenant: Tenant
) -> None:
    group = list(tenant.plain())[-1]
    access = LicenseAccess(sku_id=licensing.sku()["skuId"])
    walk(
        stage,
        (Grant(principal_id=group, access=access), O.WRITTEN),
        (Grant(principal_id=group, access=access), O.ALREADY),
        (Revoke(principal_id=group, access=access), O.WRITTEN),
        (Revoke(principal_id=group, access=access), O.ALREADY),
    )
    assert stage.effects() == [
        ("assign_license", group, group),
        ("remove_license", group, group),
    ]


def test_what_a_change_of_plans_is_taken_back_by_is_the_licence_of_before(
    stage: Stage, licensing: Licensing
) -> None:
    sku = licensing.sku()
    user, off = licensing.user(sku), sku["servicePlans"][0]["servicePlanId"]
    access = LicenseAccess(sku_id=sku["skuId"], disabled_plans=(off,))
    walk(stage, (Grant(principal_id=user, access=access), O.WRITTEN))
    full = LicenseAccess(sku_id=sku["skuId"])
    (filed,) = stage.ledger.file([grant(body=Grant(principal_id=user, access=full))])
    plan = stage.plan([filed])
    assert isinstance(plan, Plan)
    assert "the plans that are off are replaced" in plan.warnings[0]
    (operation,) = plan.operations
    assert operation.inverse is not None
    assert operation.inverse.action is Action.ASSIGN_LICENSE
    assert operation.inverse.arguments["disabled_plans"] == [off]
    ending = {"expires_at": stage.clock() + timedelta(hours=1)}
    assert "its end would take all of it" in refused(
        stage, Grant(principal_id=user, access=full), **ending
    )
    walk(stage, (Revoke(principal_id=user, access=full), O.WRITTEN))


def test_a_licence_that_a_group_gives_is_the_groups_to_take(
    stage: Stage, licensing: Licensing
) -> None:
    user, state = next(
        (user["id"], state)
        for user in licensing.users
        for state in user["licenseAssignmentStates"]
        if state["assignedByGroup"] is not None
        and not any(
            other["skuId"] == state["skuId"] and other["assignedByGroup"] is None
            for other in user["licenseAssignmentStates"]
        )
    )
    access = LicenseAccess(sku_id=state["skuId"])
    said = refused(stage, Revoke(principal_id=user, access=access))
    assert f"by group {state['assignedByGroup']}" in said
    # The end of a grant whose licence somebody took meanwhile has nothing to take.
    ending = grant(body=Revoke(principal_id=user, access=access), source=Source.EXPIRY)
    (filed,) = stage.ledger.file([ending])
    plan = stage.plan([filed])
    assert isinstance(plan, Plan)
    assert plan.operations[0].already
    assert stage.effects() == []


def test_what_the_user_or_the_tenant_lacks_is_said_with_what_helps(
    stage: Stage, licensing: Licensing
) -> None:
    sku = licensing.sku()
    nowhere = licensing.user(sku, located=False)
    access = LicenseAccess(sku_id=sku["skuId"])
    assert "no usageLocation" in refused(stage, Grant(principal_id=nowhere, access=access))
    somebody = licensing.user(sku)
    for wrong, said in (
        (LicenseAccess(sku_id=guid(1)), "the tenant has no SKU"),
        (LicenseAccess(sku_id=sku["skuId"], disabled_plans=(guid(2),)), "no service plan"),
        (
            LicenseAccess(
                sku_id=sku["skuId"],
                disabled_plans=tuple(p["servicePlanId"] for p in sku["servicePlans"]),
            ),
            "would be off",
        ),
    ):
        assert said in refused(stage, Grant(principal_id=somebody, access=wrong))
    full = next(each for each in licensing.skus if licensing.free(each) <= 0)
    person, access = licensing.user(full), LicenseAccess(sku_id=full["skuId"])
    assert "no free unit" in refused(stage, Grant(principal_id=person, access=access))
