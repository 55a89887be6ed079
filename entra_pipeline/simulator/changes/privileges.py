"""Steps that activate what PIM holds ready, and that change custom roles."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from entra_pipeline.simulator.changes.base import Session, Step
from entra_pipeline.simulator.generate.build import new_id, new_token
from entra_pipeline.simulator.tenant import JsonObject

_HOURS = 8
_CUSTOM_PERMISSION = "microsoft.directory/applications/owners/update"


def _end(s: Session) -> str:
    end = datetime.fromisoformat(s.stamp) + timedelta(hours=_HOURS)
    return end.strftime("%Y-%m-%dT%H:%M:%SZ")


def _fits(rows: Iterable[JsonObject], wanted: JsonObject) -> bool:
    return any(all(row.get(name) == value for name, value in wanted.items()) for row in rows)


def activate_role(s: Session) -> bool:
    """Somebody activates a role they are eligible for: an assignment for some hours."""
    found = s.some("role_eligibility_schedule_instances")
    if not found:
        return False
    held = s.objects["role_eligibility_schedule_instances"][found]
    names = ("principalId", "roleDefinitionId", "directoryScopeId")
    wanted = {name: held.get(name) for name in names}
    # A user does so, also one who is eligible through a group.
    if wanted["principalId"] not in s.objects["users"]:
        return False
    if _fits(s.objects["role_assignments"].values(), wanted):
        return False
    assignment_id = new_token(s.rng) + "-1"
    s.put(
        "role_assignments",
        {
            "id": assignment_id,
            "appScopeId": None,
            "condition": None,
            "principalOrganizationId": s.directory.tenant.tenant_id,
            **wanted,
        },
    )
    return s.put(
        "role_assignment_schedule_instances",
        {
            "id": assignment_id,
            "appScopeId": None,
            "assignmentType": "Activated",
            "endDateTime": _end(s),
            "memberType": "Direct",
            "roleAssignmentOriginId": assignment_id,
            "roleAssignmentScheduleId": new_id(s.rng),
            "startDateTime": s.stamp,
            **wanted,
        },
    )


def end_activation(s: Session) -> bool:
    """An activation of a role ends."""
    rows = s.objects["role_assignment_schedule_instances"]
    active = [key for key, row in rows.items() if row.get("assignmentType") == "Activated"]
    if not active:
        return False
    found = s.rng.choice(active)
    origin = rows[found].get("roleAssignmentOriginId")
    s.remove("role_assignment_schedule_instances", found)
    if origin in s.objects["role_assignments"]:
        s.remove("role_assignments", origin)
    return True


def activate_group(s: Session) -> bool:
    """Somebody activates a membership or ownership they are eligible for."""
    found = s.some("group_eligibility_schedule_instances")
    if not found:
        return False
    held = s.objects["group_eligibility_schedule_instances"][found]
    group, user, access = held["groupId"], held["principalId"], held["accessId"]
    if group not in s.objects["groups"] or user not in s.objects["users"]:
        return False
    relation = "group_members" if access == "member" else "group_owners"
    if not s.link(relation, group, user):
        return False
    row_id = f"{group}_{access}_{new_id(s.rng)}"
    return s.put(
        "group_assignment_schedule_instances",
        {
            "id": row_id,
            "accessId": access,
            "assignmentScheduleId": row_id,
            "assignmentType": "activated",
            "endDateTime": _end(s),
            "groupId": group,
            "memberType": "direct",
            "principalId": user,
            "startDateTime": s.stamp,
        },
    )


def end_group_activation(s: Session) -> bool:
    """An activated membership or ownership ends."""
    rows = s.objects["group_assignment_schedule_instances"]
    active = [key for key, row in rows.items() if row.get("assignmentType") == "activated"]
    if not active:
        return False
    found = s.rng.choice(active)
    row = rows[found]
    s.remove("group_assignment_schedule_instances", found)
    relation = "group_members" if row["accessId"] == "member" else "group_owners"
    s.unlink(relation, (row["groupId"], row["principalId"]))
    return True


def _custom(s: Session) -> list[str]:
    roles = s.objects["role_definitions"]
    return [key for key, role in roles.items() if role.get("isBuiltIn") is False]


def create_role(s: Session) -> bool:
    """A new custom role, where there are some."""
    if not _custom(s):
        return False
    role_id = new_id(s.rng)
    return s.put(
        "role_definitions",
        {
            "id": role_id,
            "description": None,
            "displayName": f"New role {s.rng.getrandbits(20)}",
            "isBuiltIn": False,
            "isEnabled": True,
            "resourceScopes": ["/"],
            "rolePermissions": [
                {
                    "allowedResourceActions": [_CUSTOM_PERMISSION],
                    "condition": None,
                    "excludedResourceActions": [],
                }
            ],
            "templateId": role_id,
            "version": None,
        },
    )


def change_role(s: Session) -> bool:
    """Another name for a custom role, or it is switched on or off."""
    custom = _custom(s)
    if not custom:
        return False
    found = s.rng.choice(custom)
    if s.rng.random() < 0.5:
        name = f"Renamed role {s.rng.getrandbits(20)}"
        return s.patch("role_definitions", found, {"displayName": name})
    enabled = s.objects["role_definitions"][found].get("isEnabled")
    return s.patch("role_definitions", found, {"isEnabled": not enabled})


def delete_role(s: Session) -> bool:
    """A custom role that nobody holds is deleted, but for the last one."""
    held = {
        row["roleDefinitionId"]
        for name in (
            "role_assignments",
            "role_assignment_schedule_instances",
            "role_eligibility_schedule_instances",
        )
        for row in s.objects[name].values()
    }
    custom = _custom(s)
    free = [role for role in custom if role not in held]
    return len(custom) > 1 and bool(free) and s.remove("role_definitions", s.rng.choice(free))


STEPS: tuple[Step, ...] = (
    ("activate a role", activate_role, 2),
    ("end an activation of a role", end_activation, 1),
    ("activate a group", activate_group, 2),
    ("end an activation of a group", end_group_activation, 1),
    ("create a role", create_role, 1),
    ("change a role", change_role, 1),
    ("delete a role", delete_role, 1),
)
