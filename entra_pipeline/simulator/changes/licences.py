"""Steps that change licences, and what a change of a group's members does to them."""

from typing import Any

from entra_pipeline.simulator.changes.base import Session, Step
from entra_pipeline.simulator.tenant import JsonObject


def inherit(s: Session, group_id: str | None, member: str | None, gained: bool) -> None:
    """Give or take the licences of a group whose direct member a user became or ceased to be."""
    group = s.objects["groups"].get(group_id or "")
    user = s.objects["users"].get(member or "")
    if not group or not user:
        return
    for licence in group.get("assignedLicenses") or ():
        change_licence(
            s, user, licence["skuId"], group["id"], licence.get("disabledPlans") or [], gained
        )


def give_licence(s: Session) -> bool:
    """A licence for one user, directly."""
    sku, user_id = s.some("subscribed_skus"), s.some("users")
    if not sku or not user_id:
        return False
    user = s.objects["users"][user_id]
    return change_licence(s, user, s.objects["subscribed_skus"][sku]["skuId"], None, [], True)


def take_licence(s: Session) -> bool:
    """Take away a licence that a user has directly."""
    for _ in range(30):
        user_id = s.some("users")
        if not user_id:
            return False
        user = s.objects["users"][user_id]
        direct = [
            state["skuId"]
            for state in user.get("licenseAssignmentStates") or ()
            if state.get("assignedByGroup") is None
        ]
        if direct:
            return change_licence(s, user, s.rng.choice(direct), None, [], False)
    return False


def change_licence(
    s: Session,
    user: JsonObject,
    sku_id: str,
    group_id: str | None,
    disabled: list[str],
    gained: bool,
) -> bool:
    """Give a user a licence (by a group, or directly when None) or take it; False if it was so."""
    # Steps before this one may have changed the user.
    user = s.objects["users"][user["id"]]
    before = user.get("licenseAssignmentStates") or []
    # New lists: the generator lets users share equal ones.
    states: list[dict[str, Any]] = [
        state
        for state in before
        if (state["skuId"], state.get("assignedByGroup")) != (sku_id, group_id)
    ]
    held = len(states) < len(before)
    if held == gained:
        return False
    if gained:
        states.append(
            {
                "assignedByGroup": group_id,
                "disabledPlans": disabled,
                "error": "None",
                "lastUpdatedDateTime": s.stamp,
                "skuId": sku_id,
                "state": "Active",
            }
        )
    active = {state["skuId"]: state for state in states if state.get("state") == "Active"}
    licences = [
        {"disabledPlans": state.get("disabledPlans") or [], "skuId": sku}
        for sku, state in active.items()
    ]
    had = any(licence["skuId"] == sku_id for licence in user.get("assignedLicenses") or ())
    s.patch(
        "users",
        user["id"],
        {"assignedLicenses": licences, "licenseAssignmentStates": states},
    )
    _count(s, sku_id, (sku_id in active) - had)
    return True


def count_user(s: Session, user: JsonObject, step: int) -> None:
    """A user who is deleted frees the licences (step -1) and takes them again when restored."""
    for licence in user.get("assignedLicenses") or ():
        _count(s, licence["skuId"], step)


def _count(s: Session, sku_id: str, step: int) -> None:
    for key, sku in s.objects["subscribed_skus"].items():
        if step and sku["skuId"] == sku_id:
            s.patch(
                "subscribed_skus", key, {"consumedUnits": (sku.get("consumedUnits") or 0) + step}
            )


STEPS: tuple[Step, ...] = (
    ("give a licence", give_licence, 3),
    ("take a licence away", take_licence, 2),
)
