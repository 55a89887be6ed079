"""Steps that change applications and service principals."""

from entra_pipeline.simulator.changes.base import Session, Step, blank
from entra_pipeline.simulator.generate.build import new_id


def register_application(s: Session) -> bool:
    """A new application and its service principal."""
    rng = s.rng
    application, principal = s.some("applications"), s.some("service_principals")
    if not application or not principal:
        return False
    app_id, name = new_id(rng), f"New application {rng.getrandbits(24)}"
    roles = [
        {
            "allowedMemberTypes": ["User"],
            "description": "Use it",
            "displayName": "Use it",
            "id": new_id(rng),
            "isEnabled": True,
            "origin": "Application",
            "value": "Use",
        }
    ]
    application_id, principal_id = new_id(rng), new_id(rng)
    s.put(
        "applications",
        {
            **blank(s.objects["applications"][application]),
            "id": application_id,
            "appId": app_id,
            "appRoles": roles,
            "createdDateTime": s.stamp,
            "displayName": name,
            "oauth2RequirePostResponse": False,
            "signInAudience": "AzureADMyOrg",
        },
    )
    s.put(
        "service_principals",
        {
            **blank(s.objects["service_principals"][principal]),
            "id": principal_id,
            "accountEnabled": True,
            "appDisplayName": name,
            "appId": app_id,
            "appOwnerOrganizationId": s.directory.tenant.tenant_id,
            "appRoleAssignmentRequired": rng.random() < 0.5,
            "appRoles": roles,
            "displayName": name,
            "servicePrincipalNames": [app_id],
            "servicePrincipalType": "Application",
            "signInAudience": "AzureADMyOrg",
        },
    )
    s.link("application_owners", application_id, s.some("users"))
    return True


def change_credentials(s: Session) -> bool:
    """Add a client secret, or take the oldest away."""
    found = s.some("applications")
    if not found:
        return False
    held = s.objects["applications"][found].get("passwordCredentials") or []
    if held and s.rng.random() < 0.5:
        return s.patch("applications", found, {"passwordCredentials": held[1:]})
    year = int(s.stamp[:4]) + 1
    secret = {
        "customKeyIdentifier": None,
        "displayName": "added",
        "endDateTime": f"{year}{s.stamp[4:8]}01T00:00:00Z",
        "hint": "x7Q",
        "keyId": new_id(s.rng),
        "secretText": None,
        "startDateTime": s.stamp,
    }
    return s.patch("applications", found, {"passwordCredentials": [*held, secret]})


def change_service_principal(s: Session) -> bool:
    """Switch an enterprise application on or off, or its need of an assignment."""
    found = s.some("service_principals")
    if not found:
        return False
    name = s.rng.choice(("accountEnabled", "appRoleAssignmentRequired"))
    value = not s.objects["service_principals"][found].get(name)
    return s.patch("service_principals", found, {name: value})


def rename_application(s: Session) -> bool:
    """Another name for a registration, and so for its service principal."""
    found = s.some("applications")
    if not found:
        return False
    name = f"Renamed application {s.rng.getrandbits(20)}"
    s.patch("applications", found, {"displayName": name})
    for principal in _principals_of(s, found):
        s.patch("service_principals", principal, {"displayName": name, "appDisplayName": name})
    return True


def change_app_roles(s: Session) -> bool:
    """A further role of an application, or one that nobody holds is taken away."""
    found = s.some("applications")
    if not found:
        return False
    roles = s.objects["applications"][found].get("appRoles") or []
    principals = _principals_of(s, found)
    held = {
        row["appRoleId"]
        for principal in principals
        for row in s.rows_naming("app_role_assignments", principal)
    }
    free = [role["id"] for role in roles if role["id"] not in held]
    if free and s.rng.random() < 0.5:
        gone = s.rng.choice(free)
        roles = [role for role in roles if role["id"] != gone]
    else:
        number = s.rng.getrandbits(20)
        role = {
            "allowedMemberTypes": ["User"],
            "description": "Added later",
            "displayName": f"Role {number}",
            "id": new_id(s.rng),
            "isEnabled": True,
            "origin": "Application",
            "value": f"Role.{number}",
        }
        roles = [*roles, role]
    s.patch("applications", found, {"appRoles": roles})
    for principal in principals:
        s.patch("service_principals", principal, {"appRoles": roles})
    return True


def change_scopes(s: Session) -> bool:
    """An enterprise application offers a further delegated permission."""
    found = s.some("service_principals")
    if not found:
        return False
    number = s.rng.getrandbits(20)
    scope = {
        "adminConsentDescription": "Added later",
        "adminConsentDisplayName": f"Scope {number}",
        "id": new_id(s.rng),
        "isEnabled": True,
        "origin": "Application",
        "type": "User",
        "userConsentDescription": None,
        "userConsentDisplayName": None,
        "value": f"Scope.{number}",
    }
    held = s.objects["service_principals"][found].get("oauth2PermissionScopes") or []
    return s.patch("service_principals", found, {"oauth2PermissionScopes": [*held, scope]})


def delete_application(s: Session) -> bool:
    """Soft-delete a registration; its service principal goes with it."""
    found = s.some("applications")
    if not found:
        return False
    principals = _principals_of(s, found)
    s.soft_delete("applications", found)
    for principal in principals:
        s.soft_delete("service_principals", principal)
    return True


def _principals_of(s: Session, application: str) -> list[str]:
    app_id = s.objects["applications"][application].get("appId")
    return [
        key
        for key, row in s.objects["service_principals"].items()
        if app_id and row.get("appId") == app_id
    ]


STEPS: tuple[Step, ...] = (
    ("register an application", register_application, 1),
    ("change an application's credentials", change_credentials, 2),
    ("change an enterprise application", change_service_principal, 2),
    ("rename an application", rename_application, 1),
    ("change an application's roles", change_app_roles, 1),
    ("change an application's scopes", change_scopes, 1),
    ("delete an application", delete_application, 1),
)
