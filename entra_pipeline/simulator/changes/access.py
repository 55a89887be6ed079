"""Steps that change roles, eligibility, app role assignments, consents and units."""

from entra_pipeline.simulator.changes.base import Session, Step
from entra_pipeline.simulator.generate.build import ZERO_ID, new_id, new_token
from entra_pipeline.simulator.tenant import JsonObject

_HOLDERS = ("users", "users", "users", "service_principals", "groups")


def _role_holder(s: Session) -> str | None:
    collection = s.rng.choice(_HOLDERS)
    if collection != "groups":
        return s.some(collection)
    return s.some_group(lambda group: bool(group.get("isAssignableToRole")))


def _scope(s: Session) -> str:
    chance = s.rng.random()
    unit, application = s.some("administrative_units"), s.some("applications")
    if chance > 0.8 and unit:
        return f"/administrativeUnits/{unit}"
    if chance > 0.7 and application:
        return f"/{application}"
    return "/"


def _has_pim(s: Session) -> bool:
    return bool(
        s.objects["role_eligibility_schedule_instances"]
        or s.objects["role_assignment_schedule_instances"]
    )


def assign_role(s: Session) -> bool:
    """A role for a principal; where PIM is in use, its schedule instance too."""
    role, principal, scope = s.some("role_definitions"), _role_holder(s), _scope(s)
    if not role or not principal:
        return False
    key = (role, principal, scope)
    if any(
        (row["roleDefinitionId"], row["principalId"], row.get("directoryScopeId")) == key
        for row in s.objects["role_assignments"].values()
    ):
        return False
    pim = _has_pim(s)
    assignment_id = new_token(s.rng) + "-1"
    made = s.put(
        "role_assignments",
        {
            "id": assignment_id,
            "appScopeId": None,
            "condition": None,
            "directoryScopeId": scope,
            "principalId": principal,
            "principalOrganizationId": s.directory.tenant.tenant_id,
            "roleDefinitionId": role,
        },
    )
    if pim:
        s.put(
            "role_assignment_schedule_instances",
            {
                "id": assignment_id,
                "appScopeId": None,
                "assignmentType": "Assigned",
                "directoryScopeId": scope,
                "endDateTime": None,
                "memberType": "Direct",
                "principalId": principal,
                "roleAssignmentOriginId": assignment_id,
                "roleAssignmentScheduleId": new_id(s.rng),
                "roleDefinitionId": role,
                "startDateTime": s.stamp,
            },
        )
    return made


def unassign_role(s: Session) -> bool:
    """Take a role away, with its schedule instances."""
    found = s.some("role_assignments")
    if not found:
        return False
    instances = [
        key
        for key, row in s.objects["role_assignment_schedule_instances"].items()
        if row.get("roleAssignmentOriginId") == found
    ]
    for key in instances:
        s.remove("role_assignment_schedule_instances", key)
    return s.remove("role_assignments", found)


def make_eligible(s: Session) -> bool:
    """Make a principal eligible for a role, where PIM is in use."""
    role, principal = s.some("role_definitions"), _role_holder(s)
    if not role or not principal or not _has_pim(s):
        return False
    return s.put(
        "role_eligibility_schedule_instances",
        {
            "id": new_token(s.rng) + "-1-e",
            "appScopeId": None,
            "directoryScopeId": _scope(s),
            "endDateTime": None,
            "memberType": "Direct",
            "principalId": principal,
            "roleDefinitionId": role,
            "roleEligibilityScheduleId": new_id(s.rng),
            "startDateTime": s.stamp,
        },
    )


def end_eligible(s: Session) -> bool:
    """End an eligibility with all rows that derive from it."""
    found = s.some("role_eligibility_schedule_instances")
    if not found:
        return False
    rows = s.objects["role_eligibility_schedule_instances"]
    schedule = rows[found].get("roleEligibilityScheduleId")
    same = [k for k, row in rows.items() if row.get("roleEligibilityScheduleId") == schedule]
    for key in same if schedule else [found]:
        s.remove("role_eligibility_schedule_instances", key)
    return True


def make_group_eligible(s: Session) -> bool:
    """Make a user eligible for membership or ownership of a role-assignable group."""
    group = s.some_group(lambda g: bool(g.get("isAssignableToRole")))
    user = s.some("users")
    if not group or not user or not _has_pim(s):
        return False
    access = s.rng.choice(("member", "member", "owner"))
    row_id = f"{group}_{access}_{new_id(s.rng)}"
    return s.put(
        "group_eligibility_schedule_instances",
        {
            "id": row_id,
            "accessId": access,
            "eligibilityScheduleId": row_id,
            "endDateTime": None,
            "groupId": group,
            "memberType": "direct",
            "principalId": user,
            "startDateTime": s.stamp,
        },
    )


def end_group_eligible(s: Session) -> bool:
    """End an eligibility for a group."""
    found = s.some("group_eligibility_schedule_instances")
    return bool(found) and s.remove("group_eligibility_schedule_instances", str(found))


def assign_app_role(s: Session) -> bool:
    """Give a user, a group or an application a role of an application."""
    resource_id = s.some("service_principals")
    collection, kind = s.rng.choice(
        (
            ("users", "User"),
            ("users", "User"),
            ("groups", "Group"),
            ("service_principals", "ServicePrincipal"),
        )
    )
    principal = s.some(collection)
    if not resource_id or not principal or principal == resource_id:
        return False
    resource = s.objects["service_principals"][resource_id]
    wanted = "Application" if collection == "service_principals" else "User"
    roles = [r["id"] for r in resource.get("appRoles") or () if wanted in r["allowedMemberTypes"]]
    if not roles and wanted == "Application":
        return False
    role = s.rng.choice(roles) if roles else ZERO_ID
    # Graph refuses the same assignment twice.
    if any(
        row["principalId"] == principal
        and row["resourceId"] == resource_id
        and row["appRoleId"] == role
        for row in s.rows_naming("app_role_assignments", principal)
    ):
        return False
    return s.put(
        "app_role_assignments",
        {
            "id": new_token(s.rng),
            "deletedDateTime": None,
            "appRoleId": role,
            "createdDateTime": s.stamp,
            "principalDisplayName": s.objects[collection][principal].get("displayName"),
            "principalId": principal,
            "principalType": kind,
            "resourceDisplayName": resource.get("displayName"),
            "resourceId": resource_id,
        },
    )


def unassign_app_role(s: Session) -> bool:
    """Take an app role away."""
    found = s.some("app_role_assignments")
    return bool(found) and s.remove("app_role_assignments", str(found))


def consent(s: Session) -> bool:
    """A delegated consent of one user or, rarely, for everyone."""
    client, resource_id = s.some("service_principals"), None
    for _ in range(40):
        candidate = s.some("service_principals")
        if candidate and s.objects["service_principals"][candidate].get("oauth2PermissionScopes"):
            resource_id = candidate
            break
    if not client or not resource_id or client == resource_id:
        return False
    principal = s.some("users") if s.rng.random() < 0.7 else None
    # One row for a client, a resource and a principal: more scopes go into the same row.
    if any(
        (row["clientId"], row["resourceId"], row.get("principalId"))
        == (client, resource_id, principal)
        for row in s.rows_naming("oauth2_permission_grants", client)
    ):
        return False
    return s.put(
        "oauth2_permission_grants",
        {
            "id": new_token(s.rng),
            "clientId": client,
            "consentType": "Principal" if principal else "AllPrincipals",
            "principalId": principal,
            "resourceId": resource_id,
            "scope": " " + " ".join(_scopes(s, s.objects["service_principals"][resource_id])),
        },
    )


def _scopes(s: Session, resource: JsonObject) -> list[str]:
    offered = [scope["value"] for scope in resource["oauth2PermissionScopes"]]
    return s.rng.sample(offered, min(len(offered), s.rng.randrange(1, 4)))


def change_consent(s: Session) -> bool:
    """Other scopes in an existing consent."""
    found = s.some("oauth2_permission_grants")
    if not found:
        return False
    row = s.objects["oauth2_permission_grants"][found]
    resource = s.objects["service_principals"].get(row["resourceId"])
    if not resource or not resource.get("oauth2PermissionScopes"):
        return False
    scope = " ".join(_scopes(s, resource))
    return s.patch("oauth2_permission_grants", found, {"scope": scope})


def withdraw_consent(s: Session) -> bool:
    """Take a consent away."""
    found = s.some("oauth2_permission_grants")
    return bool(found) and s.remove("oauth2_permission_grants", str(found))


def join_unit(s: Session) -> bool:
    """Put something into an administrative unit that has no rule."""
    unit = s.some("administrative_units")
    if not unit or s.objects["administrative_units"][unit].get("membershipType") == "Dynamic":
        return False
    target = s.some(s.rng.choice(("users", "users", "groups", "devices")))
    return s.link("administrative_unit_members", unit, target)


def leave_unit(s: Session) -> bool:
    """Take something out of an administrative unit that has no rule."""
    units = s.objects["administrative_units"]
    found = s.some_link(
        "administrative_unit_members",
        lambda unit: units.get(unit, {}).get("membershipType") != "Dynamic",
    )
    return s.unlink("administrative_unit_members", found)


STEPS: tuple[Step, ...] = (
    ("assign a role", assign_role, 3),
    ("take a role away", unassign_role, 3),
    ("make eligible for a role", make_eligible, 2),
    ("end an eligibility", end_eligible, 2),
    ("make eligible for a group", make_group_eligible, 1),
    ("end an eligibility for a group", end_group_eligible, 1),
    ("assign an app role", assign_app_role, 5),
    ("take an app role away", unassign_app_role, 4),
    ("consent", consent, 3),
    ("change a consent", change_consent, 1),
    ("withdraw a consent", withdraw_consent, 2),
    ("put into a unit", join_unit, 2),
    ("take out of a unit", leave_unit, 2),
)
