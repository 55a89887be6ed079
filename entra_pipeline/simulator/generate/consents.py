"""What applications may do and who may use them.

Here: app role assignments (users, groups, application permissions), delegated consents, and
provisioning jobs. Not here: the applications themselves (`applications`) and the demo's named
figures (`demo`).
"""

import random

from entra_pipeline.simulator.generate.applications import AppSets
from entra_pipeline.simulator.generate.build import NEVER, ZERO_ID, Build, new_id, new_token, pick
from entra_pipeline.simulator.generate.first_party import (
    EXCHANGE_APP_ID,
    GRAPH_APP_ID,
    GRAPH_APP_ROLES,
    GRAPH_SCOPES,
    POWERSHELL_APP_ID,
)
from entra_pipeline.simulator.generate.groups import GroupSets
from entra_pipeline.simulator.tenant import JsonObject

_PRINCIPAL_TYPES = {
    "users": "User",
    "groups": "Group",
    "service_principals": "ServicePrincipal",
}

_DANGEROUS = (
    "RoleManagement.ReadWrite.Directory",
    "AppRoleAssignment.ReadWrite.All",
    "Application.ReadWrite.All",
    "Directory.ReadWrite.All",
    "Mail.ReadWrite",
    "Sites.FullControl.All",
)
_USUAL = (
    "User.Read.All",
    "Group.Read.All",
    "Directory.Read.All",
    "AuditLog.Read.All",
    "Mail.Send",
    "Sites.Selected",
    "Reports.Read.All",
    "Device.Read.All",
    "GroupMember.Read.All",
    "Calendars.Read",
)
_SIGN_IN = "openid profile email offline_access User.Read"

JOB_TEMPLATE = "scim"


def assign(
    build: Build, rng: random.Random, resource_id: str, principal_id: str, app_role_id: str
) -> JsonObject:
    """Assign an app role of a resource to a principal and return the assignment."""
    resource = build.get("service_principals", resource_id)
    collection = build.tenant.collection_of(principal_id)
    principal = build.get(collection, principal_id) if collection else None
    assignment = {
        "id": new_token(rng),
        "deletedDateTime": None,
        "appRoleId": app_role_id,
        "createdDateTime": build.past_time(rng)[:-1] + f".{rng.randrange(10**7):07d}Z",
        "principalDisplayName": principal["displayName"] if principal else "Removed principal",
        "principalId": principal_id,
        "principalType": _PRINCIPAL_TYPES.get(collection or "users", "User"),
        "resourceDisplayName": resource["displayName"],
        "resourceId": resource_id,
    }
    build.add("app_role_assignments", assignment)
    return assignment


def roles_for(resource: JsonObject, member_type: str) -> list[str]:
    """Ids of the roles that a resource offers to users and groups, or to applications."""
    return [
        role["id"] for role in resource["appRoles"] if member_type in role["allowedMemberTypes"]
    ]


def add_consents(build: Build, apps: AppSets, groups: GroupSets) -> None:
    """Add application permissions, app role assignments, consents and provisioning jobs."""
    _application_permissions(build, apps)
    _assignments(build, apps, groups)
    _delegated(build, apps)
    _provisioning(build, apps)


def _application_permissions(build: Build, apps: AppSets) -> None:
    rng = build.rng("application permissions")
    graph = apps.first_party[GRAPH_APP_ID]
    exchange = apps.first_party[EXCHANGE_APP_ID]
    manage_exchange = roles_for(build.get("service_principals", exchange), "Application")[0]
    with_jobs = [
        (resource, role)
        for resource in apps.own
        for role in roles_for(build.get("service_principals", resource), "Application")
    ]
    for principal in apps.own + apps.managed + apps.gallery[::6]:
        chance = rng.random()
        if chance < 0.55:
            permissions = set(pick(rng, _USUAL, 1 + int(chance * 100) % 4))
            if chance < 0.06:
                permissions.add(rng.choice(_DANGEROUS))
            for permission in sorted(permissions):
                assign(build, rng, graph, principal, GRAPH_APP_ROLES[permission])
        if chance > 0.97:
            assign(build, rng, exchange, principal, manage_exchange)
        if with_jobs and rng.random() < 0.15:
            resource, role = rng.choice(with_jobs)
            if resource != principal:
                assign(build, rng, resource, principal, role)


def _assignments(build: Build, apps: AppSets, groups: GroupSets) -> None:
    """Users and groups on enterprise applications: most have a few, some have thousands."""
    rng = build.rng("app role assignments")
    assignable = (
        groups.cloud_security
        + groups.synced_security
        + groups.microsoft_365[:50]
        + groups.dynamic[:40]
    )
    large = max(
        groups.dynamic + groups.cloud_security,
        key=lambda group: len(build.tenant.links["group_members"].get(group, ())),
        default=None,
    )
    people = build.staff + build.guests
    for index, resource_id in enumerate(apps.own + apps.gallery):
        resource = build.get("service_principals", resource_id)
        chance = rng.random()
        if chance < 0.25 or not people:
            continue
        roles = roles_for(resource, "User") or [ZERO_ID]
        if chance > 0.97:
            wanted = rng.randrange(300, 1600)
        elif chance > 0.8:
            wanted = rng.randrange(20, 120)
        else:
            wanted = int(15 * rng.random() ** 2)
        for user_id in pick(rng, people, min(wanted, len(people) // 2)):
            assign(build, rng, resource_id, user_id, rng.choice(roles))
        for group_id in pick(rng, assignable, rng.choice((0, 0, 1, 1, 2, 4))):
            assign(build, rng, resource_id, group_id, rng.choice(roles))
        if large and index % 12 == 5:
            assign(build, rng, resource_id, large, roles[0])
        if roles != [ZERO_ID] and index % 9 == 4:  # from before the roles existed
            assign(build, rng, resource_id, rng.choice(people), ZERO_ID)


def grant(
    build: Build,
    rng: random.Random,
    client_id: str,
    resource_id: str,
    scope: str,
    principal_id: str | None = None,
) -> None:
    """A delegated consent for one user, or (no principal) for everyone."""
    build.add(
        "oauth2_permission_grants",
        {
            "id": new_token(rng),
            "clientId": client_id,
            "consentType": "Principal" if principal_id else "AllPrincipals",
            "principalId": principal_id,
            "resourceId": resource_id,
            "scope": scope,
        },
    )


def _delegated(build: Build, apps: AppSets) -> None:
    rng = build.rng("delegated consents")
    graph = apps.first_party[GRAPH_APP_ID]
    scopes = sorted(GRAPH_SCOPES)
    own_scopes = [
        (principal, build.get("service_principals", principal)["oauth2PermissionScopes"])
        for principal in apps.own
    ]
    own_scopes = [(principal, offered) for principal, offered in own_scopes if offered]
    for client in apps.own + apps.gallery:
        chance = rng.random()
        if chance > 0.8:
            continue
        # Graph keeps scopes as they were joined: often with a space before the first one.
        lead = " " if chance < 0.3 else ""
        extra = " ".join(pick(rng, scopes, 1 + int(chance * 1000) % 4))
        grant(
            build, rng, client, graph, f"{lead}{_SIGN_IN} {extra}" if chance > 0.1 else "User.Read"
        )
        if own_scopes and chance < 0.2:
            resource, offered = rng.choice(own_scopes)
            if resource != client:
                grant(build, rng, client, resource, " ".join(s["value"] for s in offered))
    shell = apps.first_party[POWERSHELL_APP_ID]
    grant(
        build,
        rng,
        shell,
        graph,
        " Directory.AccessAsUser.All RoleManagement.ReadWrite.Directory User.ReadWrite.All",
    )
    clients = [shell, *apps.gallery, *apps.own[:20]]
    variants = [
        _SIGN_IN,
        f" {_SIGN_IN}",
        "User.Read",
        f" {_SIGN_IN} Calendars.Read",
        f"{_SIGN_IN} Files.Read Mail.Read",
    ]
    for user_id in pick(rng, build.staff, round(len(build.staff) * 0.3)):
        grant(build, rng, rng.choice(clients), graph, rng.choice(variants), user_id)


def _provisioning(build: Build, apps: AppSets) -> None:
    """SCIM jobs: most run, some never did, one is in quarantine."""
    rng = build.rng("provisioning")
    for index, principal in enumerate(apps.gallery[::3]):
        quarantined = index == 1
        state = "Quarantine" if quarantined else ("Active", "Active", "NotRun", "Paused")[index % 4]
        began = build.ago(0.03)
        execution = {
            "activityIdentifier": new_id(rng),
            "countEntitled": rng.randrange(2000),
            "countEntitledForProvisioning": rng.randrange(2000),
            "countEscrowed": 12 if quarantined else 0,
            "countEscrowedRaw": 12 if quarantined else 0,
            "countExported": rng.randrange(20),
            "countExports": rng.randrange(20),
            "countImported": rng.randrange(2000),
            "countImportedDeltas": 0,
            "countImportedReferenceDeltas": 0,
            "error": {
                "code": "SystemForCrossDomainIdentityManagementCredentialValidationUnavailable",
                "message": "The target did not accept the credentials.",
                "tenantActionable": True,
            }
            if quarantined
            else None,
            "state": "Failed" if quarantined else "Succeeded",
            "timeBegan": began,
            "timeEnded": build.ago(0.029),
        }
        ran = state != "NotRun"
        build.add(
            "synchronization_jobs",
            {
                "id": f"{JOB_TEMPLATE}.{build.tenant.tenant_id.replace('-', '')}.{new_id(rng)}",
                "servicePrincipalId": principal,
                "templateId": JOB_TEMPLATE,
                "schedule": {
                    "expiration": None,
                    "interval": "PT40M",
                    "state": "Paused" if state == "Paused" else "Active",
                },
                "status": {
                    "code": state,
                    "countSuccessiveCompleteFailures": 4 if quarantined else 0,
                    "escrowsPruned": False,
                    "lastExecution": execution if ran else None,
                    "lastSuccessfulExecution": execution if ran and not quarantined else None,
                    "lastSuccessfulExecutionWithExports": None,
                    "progress": [],
                    "quarantine": {
                        "currentBegan": build.ago(6),
                        "error": execution["error"],
                        "nextAttempt": build.ago(-0.5),
                        "reason": "EncounteredQuarantineException",
                        "seriesBegan": build.ago(9),
                        "seriesCount": 4,
                    }
                    if quarantined
                    else None,
                    "steadyStateFirstAchievedTime": build.ago(300) if ran else NEVER,
                    "steadyStateLastAchievedTime": build.ago(0.5) if ran else NEVER,
                    "synchronizedEntryCountByType": [
                        {"key": "User to User", "value": rng.randrange(2000)}
                    ],
                    "troubleshootingUrl": None,
                },
                "synchronizationJobSettings": [],
            },
        )
