"""The second application of a simulated tenant: the one that may write.

It is asked for (`--writer`), because it is a service principal of the tenant like any other and
shows in lists. The reading application stays without any write permission.
"""

from collections.abc import Iterable

from entra_pipeline.simulator.changes.base import blank
from entra_pipeline.simulator.tenant import Tenant
from entra_pipeline.simulator.wire import JsonObject

DISPLAY_NAME = "entra_pipeline writer"


def register(tenant: Tenant, app_id: str, object_id: str, role_names: Iterable[str]) -> None:
    """Put the writer's service principal into the tenant, with directory roles for all of it.

    Roles are named by display name or id. Raises ValueError for one that the tenant lacks.
    """
    service_principals = tenant.objects["service_principals"]
    model: JsonObject = next(iter(service_principals.values()), {})
    service_principals[object_id] = {
        **blank(model),
        "id": object_id,
        "accountEnabled": True,
        "appDisplayName": DISPLAY_NAME,
        "appId": app_id,
        "appOwnerOrganizationId": tenant.tenant_id,
        "appRoleAssignmentRequired": False,
        "appRoles": [],
        "displayName": DISPLAY_NAME,
        "servicePrincipalNames": [app_id],
        "servicePrincipalType": "Application",
        "signInAudience": "AzureADMyOrg",
        "tags": [],
    }
    for name in role_names:
        role = next(
            (
                each["id"]
                for each in tenant.objects["role_definitions"].values()
                if name.lower() in (each["id"], str(each.get("displayName")).lower())
            ),
            None,
        )
        if role is None:
            raise ValueError(f"the tenant has no role '{name}'; give a display name or an id")
        key = f"{object_id}-{role}"
        tenant.objects["role_assignments"][key] = {
            "id": key,
            "appScopeId": None,
            "condition": None,
            "directoryScopeId": "/",
            "principalId": object_id,
            "principalOrganizationId": tenant.tenant_id,
            "roleDefinitionId": role,
        }
