"""Licences given to users and groups, and taken away, with single plans switched off.

Graph "user: assignLicense", "group: assignLicense", "user: reprocessLicenseAssignment". What a
user has by a group is the group's to take.
"""

from typing import Any

from entra_pipeline.simulator.changes.licences import change_licence
from entra_pipeline.simulator.errors import bad_request
from entra_pipeline.simulator.keys import GUID
from entra_pipeline.simulator.wire import JsonObject, Response
from entra_pipeline.simulator.writes import group_rules, needs
from entra_pipeline.simulator.writes.write import Write

_Wanted = dict[str, list[str]]
"""SKU -> plans that are switched off."""


def assign_to_user(write: Write) -> Response:
    """`POST /users/{id}/assignLicense`: 200 with the user."""
    write.need(needs.LICENSES)
    user = write.get("users", write.keys[0])
    added, removed = _asked(write)
    direct = _direct(user)
    for sku_id in removed:
        if sku_id not in direct:
            if any(state["skuId"] == sku_id for state in user.get("licenseAssignmentStates") or ()):
                raise bad_request(
                    "User license is inherited from a group membership and it cannot be removed "
                    "directly from the user."
                )
            raise bad_request("User does not have a corresponding license.")
    if added and not user.get("usageLocation"):
        raise bad_request("License assignment cannot be done for user with invalid usage location.")
    held = {licence["skuId"] for licence in user.get("assignedLicenses") or ()}
    for sku_id in added:
        if sku_id not in held:
            _check_units(write, sku_id)
    changed = {
        sku_id: disabled
        for sku_id, disabled in added.items()
        if sku_id not in direct or set(direct[sku_id]) != set(disabled)
    }
    if changed or removed:
        _store(write, user, changed, removed)
    for sku_id, disabled in changed.items():
        write.effect("assign_license", user["id"], user["id"], sku_id=sku_id, disabled=disabled)
    for sku_id in removed:
        write.effect("remove_license", user["id"], user["id"], sku_id=sku_id)
    return write.entity("user", write.get("users", user["id"]), "users")


def assign_to_group(write: Write) -> Response:
    """`POST /groups/{id}/assignLicense`: 200 with the group; its direct members follow."""
    write.need(needs.GROUP_LICENSES, "p1")
    group = write.get("groups", write.keys[0])
    if not group.get("securityEnabled") and not group_rules.is_unified(group):
        raise bad_request("Licenses can be assigned to security groups only.")
    added, removed = _asked(write)
    held = {each["skuId"]: each.get("disabledPlans") or [] for each in _licences(group)}
    for sku_id in removed:
        if sku_id not in held:
            raise bad_request("Group does not have a corresponding license.")
    changed = {
        sku_id: disabled
        for sku_id, disabled in added.items()
        if sku_id not in held or set(held[sku_id]) != set(disabled)
    }
    members = list(write.directory.targets("group_members", group["id"]))
    if changed or removed:
        touched = {*changed, *removed}
        lost = {sku: plans for sku, plans in held.items() if sku in touched}
        kept = {sku: plans for sku, plans in held.items() if sku not in touched} | changed
        licences = [{"disabledPlans": plans, "skuId": sku} for sku, plans in kept.items()]
        # Members lose the old form of a licence and get the new one: both by the group.
        _let_inherit(write, group["id"], lost, members, gained=False)
        write.session.patch("groups", group["id"], {"assignedLicenses": licences})
        _let_inherit(write, group["id"], changed, members, gained=True)
    for sku_id, disabled in changed.items():
        write.effect("assign_license", group["id"], group["id"], sku_id=sku_id, disabled=disabled)
    for sku_id in removed:
        write.effect("remove_license", group["id"], group["id"], sku_id=sku_id)
    return write.entity("group", write.get("groups", group["id"]), "groups")


def reprocess(write: Write) -> Response:
    """`POST /users/{id}/reprocessLicenseAssignment`: 200 with the user; nothing changes here."""
    write.need(needs.LICENSES)
    return write.entity("user", write.get("users", write.keys[0]), "users")


def _asked(write: Write) -> tuple[_Wanted, list[str]]:
    adds, removes = write.body.get("addLicenses"), write.body.get("removeLicenses")
    for name, value in (("addLicenses", adds), ("removeLicenses", removes)):
        if not isinstance(value, list):
            raise bad_request(f"One or more parameters of the function import '{name}' are missing")
    added: _Wanted = {}
    for each in adds or ():
        sku_id = each.get("skuId") if isinstance(each, dict) else None
        disabled = each.get("disabledPlans") or [] if isinstance(each, dict) else []
        sku = _sku(write, sku_id)
        plans = {plan["servicePlanId"] for plan in sku.get("servicePlans") or ()}
        if not isinstance(disabled, list) or not plans.issuperset(disabled):
            raise bad_request(
                f"License assignment failed because service plan {disabled} does not belong to "
                f"the license {sku_id}."
            )
        if plans and plans == set(disabled):
            raise bad_request("All service plans of a license cannot be disabled.")
        if sku["skuId"] in added:
            raise bad_request(f"The license {sku_id} was specified more than once.")
        added[sku["skuId"]] = list(disabled)
    removed: list[str] = []
    for each in removes or ():
        sku_id = _sku(write, each)["skuId"]
        if sku_id in added or sku_id in removed:
            raise bad_request(
                f"The license {sku_id} was specified more than once in the add and remove lists."
            )
        removed.append(sku_id)
    return added, removed


def _sku(write: Write, sku_id: Any) -> JsonObject:
    if not isinstance(sku_id, str) or not GUID.match(sku_id):
        raise bad_request(f"License '{sku_id}' is no identifier of a license.")
    found = write.directory.grouped("subscribed_skus", "skuId").get(sku_id.lower(), ())
    if not found:
        raise bad_request(f"License {sku_id} does not correspond to a valid company License.")
    return found[0]


def _check_units(write: Write, sku_id: str) -> None:
    sku = _sku(write, sku_id)
    prepaid = sku.get("prepaidUnits") or {}
    units = (prepaid.get("enabled") or 0) + (prepaid.get("warning") or 0)
    if sku.get("capabilityStatus") in ("Suspended", "LockedOut", "Deleted"):
        units = 0
    if (sku.get("consumedUnits") or 0) >= units:
        raise bad_request(f"Subscription with SKU {sku_id} does not have any available licenses.")


def _direct(user: JsonObject) -> _Wanted:
    """What a user has of its own."""
    return {
        state["skuId"]: state.get("disabledPlans") or []
        for state in user.get("licenseAssignmentStates") or ()
        if state.get("assignedByGroup") is None
    }


def _licences(obj: JsonObject) -> list[JsonObject]:
    return list(obj.get("assignedLicenses") or ())


def _store(write: Write, user: JsonObject, added: _Wanted, removed: list[str]) -> None:
    """Give a user new states, the licences that follow from them, and count the units."""
    before = _licences(user)
    touched = {*added, *removed}
    states: list[JsonObject] = [
        state
        for state in user.get("licenseAssignmentStates") or ()
        if state.get("assignedByGroup") is not None or state["skuId"] not in touched
    ]
    states += [
        {
            "assignedByGroup": None,
            "disabledPlans": disabled,
            "error": "None",
            "lastUpdatedDateTime": write.stamp,
            "skuId": sku_id,
            "state": "Active",
        }
        for sku_id, disabled in added.items()
    ]
    off: dict[str, set[str]] = {}
    for state in states:
        if state.get("state") == "Active":
            # A plan is off only if every way the licence is held by has it off.
            plans = set(state.get("disabledPlans") or ())
            sku_id = state["skuId"]
            off[sku_id] = off[sku_id] & plans if sku_id in off else plans
    licences = [{"disabledPlans": sorted(plans), "skuId": sku} for sku, plans in off.items()]
    write.session.patch(
        "users", user["id"], {"assignedLicenses": licences, "licenseAssignmentStates": states}
    )
    had = {licence["skuId"] for licence in before}
    for sku_id in touched:
        step = (sku_id in off) - (sku_id in had)
        if step:
            sku = _sku(write, sku_id)
            used = (sku.get("consumedUnits") or 0) + step
            write.session.patch("subscribed_skus", sku["id"], {"consumedUnits": used})


def _let_inherit(
    write: Write, group_id: str, licences: _Wanted, members: list[str], *, gained: bool
) -> None:
    """Give a group's direct members licences that they have by the group, or take them."""
    users = write.directory.collection("users")
    for member in members:
        for sku_id, disabled in licences.items():
            if member in users:
                change_licence(write.session, users[member], sku_id, group_id, disabled, gained)
