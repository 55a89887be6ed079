"""Accounts of the simulated tenant, by what tests want of them."""

from __future__ import annotations

from typing import Any

from entra_pipeline.simulator.process import Simulator

GLOBAL_ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"


def users(simulator: Simulator) -> dict[str, dict[str, Any]]:
    """All of them as they are now, by id."""
    return {user["id"]: user for user in simulator.truth("users")}


def plain_users(simulator: Simulator) -> list[str]:
    """Users without roles and in no restricted unit."""
    set_apart = {row["principalId"] for row in simulator.truth("role_assignments")}
    set_apart |= {
        row["principalId"] for row in simulator.truth("role_eligibility_schedule_instances")
    }
    members = simulator.truth("administrative_unit_members")
    for unit in simulator.truth("administrative_units"):
        if unit.get("isMemberManagementRestricted"):
            set_apart |= set(members.get(unit["id"], ()))
    return [key for key in users(simulator) if key not in set_apart]


def somebody(simulator: Simulator, user_type: str = "Member", place: int = 0) -> str:
    """A plain user from the cloud."""
    known = users(simulator)
    return [
        key
        for key in plain_users(simulator)
        if not known[key]["onPremisesSyncEnabled"] and known[key]["userType"] == user_type
    ][place]


def synced(simulator: Simulator) -> str:
    """A user from on premises."""
    return next(key for key, user in users(simulator).items() if user["onPremisesSyncEnabled"])


def administrators(simulator: Simulator) -> list[str]:
    """Users who are Global Administrators themselves, from the cloud."""
    held = {
        row["principalId"]
        for row in simulator.truth("role_assignments")
        if row["roleDefinitionId"] == GLOBAL_ADMINISTRATOR
    }
    return [
        key
        for key, user in users(simulator).items()
        if key in held and not user["onPremisesSyncEnabled"]
    ]
