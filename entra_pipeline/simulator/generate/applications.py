"""Application registrations, service principals and managed identities, and their credentials.

Here: the objects themselves, their owners, secrets, certificates and federated credentials. Not
here: who may use them and what they may do (`consents`).
"""

import random
from dataclasses import dataclass, field

from entra_pipeline.simulator.generate.build import DEFAULT_DOMAIN, Build, new_id, pick
from entra_pipeline.simulator.generate.first_party import (
    FIRST_PARTY,
    GRAPH_APP_ID,
    GRAPH_APP_ROLES,
    GRAPH_SCOPES,
    MICROSOFT_TENANT,
)
from entra_pipeline.simulator.generate.names import PRODUCTS, PROJECTS
from entra_pipeline.simulator.tenant import JsonObject

DEMO_APPLICATION_NAME = "Payroll"
DEMO_CONNECTOR_NAME = "Legacy Provisioning Connector"
DEMO_PORTAL_NAME = "HR Portal"
_DEMO_REGISTRATIONS = (DEMO_APPLICATION_NAME, DEMO_CONNECTOR_NAME, DEMO_PORTAL_NAME)

_NO_URLS: JsonObject = {
    "logoUrl": None,
    "marketingUrl": None,
    "privacyStatementUrl": None,
    "supportUrl": None,
    "termsOfServiceUrl": None,
}
_NO_PUBLISHER: JsonObject = {
    "displayName": None,
    "verifiedPublisherId": None,
    "addedDateTime": None,
}

_APPLICATION: JsonObject = {
    "id": "",
    "deletedDateTime": None,
    "addIns": [],
    "api": None,
    "appId": None,
    "applicationTemplateId": None,
    "appRoles": [],
    "authenticationBehaviors": None,
    "certification": None,
    "createdByAppId": None,
    "createdDateTime": None,
    "defaultRedirectUri": None,
    "description": None,
    "disabledByMicrosoftStatus": None,
    "displayName": None,
    "groupMembershipClaims": None,
    "identifierUris": [],
    "info": _NO_URLS,
    "isDeviceOnlyAuthSupported": None,
    "isDisabled": None,
    "isFallbackPublicClient": None,
    "keyCredentials": [],
    "nativeAuthenticationApisEnabled": None,
    "notes": None,
    "oauth2RequirePostResponse": False,
    "optionalClaims": None,
    "parentalControlSettings": {"countriesBlockedForMinors": [], "legalAgeGroupRule": "Allow"},
    "passwordCredentials": [],
    "publicClient": {"redirectUris": []},
    "publisherDomain": DEFAULT_DOMAIN,
    "requestSignatureVerification": None,
    "requiredResourceAccess": [],
    "samlMetadataUrl": None,
    "serviceManagementReference": None,
    "servicePrincipalLockConfiguration": None,
    "signInAudience": "AzureADMyOrg",
    "spa": {"redirectUris": []},
    "tags": [],
    "tokenEncryptionKeyId": None,
    "uniqueName": None,
    "verifiedPublisher": _NO_PUBLISHER,
    "web": None,
    "federatedIdentityCredentials": [],
}

_SERVICE_PRINCIPAL: JsonObject = {
    "id": "",
    "deletedDateTime": None,
    "accountEnabled": True,
    "addIns": [],
    "alternativeNames": [],
    "appDescription": None,
    "appDisplayName": None,
    "appId": None,
    "applicationTemplateId": None,
    "appOwnerOrganizationId": None,
    "appRoleAssignmentRequired": False,
    "appRoles": [],
    "createdByAppId": None,
    "description": None,
    "disabledByMicrosoftStatus": None,
    "displayName": None,
    "homepage": None,
    "info": _NO_URLS,
    "isDisabled": None,
    "keyCredentials": [],
    "loginUrl": None,
    "logoutUrl": None,
    "notes": None,
    "notificationEmailAddresses": [],
    "oauth2PermissionScopes": [],
    "passwordCredentials": [],
    "preferredSingleSignOnMode": None,
    "preferredTokenSigningKeyThumbprint": None,
    "replyUrls": [],
    "resourceSpecificApplicationPermissions": [],
    "samlSingleSignOnSettings": None,
    "servicePrincipalNames": [],
    "servicePrincipalType": "Application",
    "signInAudience": "AzureADMyOrg",
    "tags": [],
    "tokenEncryptionKeyId": None,
    "verifiedPublisher": _NO_PUBLISHER,
}

_GALLERY_TAG = "WindowsAzureActiveDirectoryIntegratedApp"


@dataclass
class AppSets:
    """Ids of the generated service principals by where they come from."""

    first_party: dict[str, str] = field(default_factory=dict)
    """appId -> service principal id."""
    own: list[str] = field(default_factory=list)
    gallery: list[str] = field(default_factory=list)
    managed: list[str] = field(default_factory=list)
    registrations: list[str] = field(default_factory=list)
    """Ids of the application objects, in the order of `own`."""


def add_applications(build: Build, count: int) -> AppSets:
    """Add `count` registrations, half as many gallery applications, managed identities, and
    Microsoft's own service principals.
    """
    sets = AppSets()
    _first_party(build, sets)
    for index in range(count):
        _registration(build, sets, index)
    for index in range(round(count * 0.5)):
        _gallery(build, sets, index)
    for index in range(round(count * 0.25) + (2 if count else 0)):
        _managed_identity(build, sets, index)
    return sets


def app_role(role_id: str, value: str | None, name: str, *allowed: str) -> JsonObject:
    """An app role in Graph's shape."""
    return {
        "allowedMemberTypes": list(allowed),
        "description": name,
        "displayName": name,
        "id": role_id,
        "isEnabled": True,
        "origin": "Application",
        "value": value,
    }


def _scope(scope_id: str, value: str, consent: str = "User") -> JsonObject:
    return {
        "adminConsentDescription": f"Lets the application use {value} for the signed-in user",
        "adminConsentDisplayName": value,
        "id": scope_id,
        "isEnabled": True,
        "type": consent,
        "userConsentDescription": f"Lets the application use {value} for you",
        "userConsentDisplayName": value,
        "value": value,
    }


def _first_party(build: Build, sets: AppSets) -> None:
    rng = build.rng("first party")
    for name, app_id, roles, scopes in FIRST_PARTY:
        consent = {value: facts[1] for value, facts in GRAPH_SCOPES.items()}
        principal_id = build.add(
            "service_principals",
            {
                **_SERVICE_PRINCIPAL,
                "id": new_id(rng),
                "appDisplayName": name,
                "appId": app_id,
                "appOwnerOrganizationId": MICROSOFT_TENANT,
                "appRoles": [
                    app_role(role_id, value, value, "Application")
                    for value, role_id in roles.items()
                ],
                "displayName": name,
                "oauth2PermissionScopes": [
                    _scope(scope_id, value, consent.get(value, "User"))
                    for value, scope_id in scopes.items()
                ],
                "servicePrincipalNames": [app_id],
                "signInAudience": "AzureADMultipleOrgs",
                "verifiedPublisher": _NO_PUBLISHER,
            },
        )
        sets.first_party[app_id] = principal_id


def _secret(build: Build, rng: random.Random, name: str, ends_in: float) -> JsonObject:
    """A client secret that ends that many days from now (negative: has ended)."""
    return {
        "customKeyIdentifier": None,
        "displayName": name,
        "endDateTime": build.precise_ago(rng, -ends_in),
        "hint": "".join(rng.choices("abcdefghkmnpqrstuvwxyzABCDEFGH23456789~_.", k=3)),
        "keyId": new_id(rng),
        "secretText": None,
        "startDateTime": build.precise_ago(rng, max(1, 365 - ends_in)),
    }


def _certificate(
    build: Build, rng: random.Random, name: str, ends_in: float, usage: str = "Verify"
) -> JsonObject:
    return {
        "customKeyIdentifier": f"{rng.getrandbits(160):040X}",
        "displayName": name,
        "endDateTime": build.ago(-ends_in),
        "key": None,
        "keyId": new_id(rng),
        "startDateTime": build.ago(max(1, 730 - ends_in)),
        "type": "AsymmetricX509Cert",
        "usage": usage,
    }


def _ends_in(rng: random.Random) -> float:
    """Days until a credential ends: some long gone, some soon, most within two years."""
    chance = rng.random()
    if chance < 0.22:
        return -rng.uniform(1, 700)
    if chance < 0.37:
        return rng.uniform(1, 29)
    if chance < 0.97:
        return rng.uniform(31, 730)
    return 36500  # "never", the way people do it


def _registration(build: Build, sets: AppSets, index: int) -> None:
    rng = build.rng(f"registration {index}")
    tenant_id = build.tenant.tenant_id
    demo = index < len(_DEMO_REGISTRATIONS)
    name = (
        _DEMO_REGISTRATIONS[index]
        if demo
        else f"{PRODUCTS[index % len(PRODUCTS)]} "
        f"{('API', 'Web', 'Daemon', 'Bot', 'Sync')[index // 30 % 5]}"
        + (f" {PROJECTS[index // 150 % 26]}" if index >= 150 else "")
        + (f" {index}" if index >= 3900 else "")
    )
    app_id, application_id, principal_id = new_id(rng), new_id(rng), new_id(rng)
    slug = name.lower().replace(" ", "-")
    created = build.past_time(rng)
    roles, scopes = [], []
    if demo or rng.random() < 0.5:
        words = (
            ("Admin", "Approver", "Reader") if demo else pick(rng, ("Read", "Write", "Admin"), 2)
        )
        roles = [app_role(new_id(rng), f"{name.split()[0]}.{word}", word, "User") for word in words]
        if demo or rng.random() < 0.3:
            roles.append(
                app_role(new_id(rng), f"{name.split()[0]}.Process", "Process", "Application")
            )
        if not demo and rng.random() < 0.1:
            roles[-1]["isEnabled"] = False
    if demo or rng.random() < 0.4:
        scopes = [_scope(new_id(rng), f"{name.split()[0]}.Access")]
    single_page = index % 5 == 1
    secrets = [
        _secret(build, rng, f"secret {n + 1}", _ends_in(rng))
        for n in range(rng.choice((0, 1, 1, 2)))
    ]
    certificates = (
        [_certificate(build, rng, f"CN={slug}", _ends_in(rng))] if rng.random() < 0.25 else []
    )
    if name == DEMO_CONNECTOR_NAME:
        secrets = [
            _secret(build, rng, "provisioning 2024", -40),
            _secret(build, rng, "provisioning", 9),
        ]
    graph_access = pick(rng, sorted(GRAPH_APP_ROLES), rng.randrange(4))
    build.add(
        "applications",
        {
            **_APPLICATION,
            "id": application_id,
            "api": {
                "acceptMappedClaims": None,
                "knownClientApplications": [],
                "oauth2PermissionScopes": scopes,
                "preAuthorizedApplications": [],
                "requestedAccessTokenVersion": 2 if index % 2 else None,
            },
            "appId": app_id,
            "appRoles": roles,
            "createdDateTime": created,
            "description": None if index % 3 else f"{name}, run by team {PROJECTS[index % 26]}",
            "displayName": name,
            "groupMembershipClaims": "SecurityGroup" if index % 7 == 0 else None,
            "identifierUris": [f"api://{app_id}"] if scopes else [],
            "keyCredentials": certificates,
            "passwordCredentials": secrets,
            "requiredResourceAccess": [
                {
                    "resourceAppId": GRAPH_APP_ID,
                    "resourceAccess": [
                        {"id": GRAPH_SCOPES["User.Read"][0], "type": "Scope"},
                        *({"id": GRAPH_APP_ROLES[v], "type": "Role"} for v in graph_access),
                    ],
                }
            ],
            "signInAudience": "AzureADMultipleOrgs" if index % 11 == 5 else "AzureADMyOrg",
            "spa": {"redirectUris": [f"https://{slug}.{DEFAULT_DOMAIN}/"] if single_page else []},
            "tags": [],
            "uniqueName": slug if index % 40 == 7 else None,
            "web": {
                "homePageUrl": f"https://{slug}.{DEFAULT_DOMAIN}",
                "implicitGrantSettings": {
                    "enableAccessTokenIssuance": False,
                    "enableIdTokenIssuance": index % 6 == 0,
                },
                "logoutUrl": None,
                "redirectUris": [f"https://{slug}.{DEFAULT_DOMAIN}/auth"],
                "redirectUriSettings": [],
            },
            "federatedIdentityCredentials": _federated(rng, slug) if index % 6 == 1 else [],
        },
    )
    build.add(
        "service_principals",
        {
            **_SERVICE_PRINCIPAL,
            "id": principal_id,
            "accountEnabled": demo or rng.random() > 0.06,
            "appDisplayName": name,
            "appId": app_id,
            "appOwnerOrganizationId": tenant_id,
            "appRoleAssignmentRequired": demo or rng.random() < 0.45,
            "appRoles": roles,
            "displayName": name,
            "homepage": f"https://{slug}.{DEFAULT_DOMAIN}",
            "oauth2PermissionScopes": scopes,
            "replyUrls": [f"https://{slug}.{DEFAULT_DOMAIN}/auth"],
            "servicePrincipalNames": [app_id, *([f"api://{app_id}"] if scopes else [])],
            "signInAudience": "AzureADMultipleOrgs" if index % 11 == 5 else "AzureADMyOrg",
            "tags": [_GALLERY_TAG, *(["HideApp"] if index % 9 == 4 else [])],
        },
    )
    sets.registrations.append(application_id)
    sets.own.append(principal_id)
    build.known.setdefault(f"app {name}", principal_id)
    build.known.setdefault(f"registration {name}", application_id)
    if rng.random() < 0.75 and build.staff:
        owners = pick(rng, build.staff, rng.choice((1, 1, 2, 3)))
        build.link("application_owners", application_id, owners)
        if rng.random() < 0.7:
            build.link("service_principal_owners", principal_id, owners)
    if index % 23 == 9 and len(sets.own) > 1:
        build.link("application_owners", application_id, [sets.own[index // 2]])
        build.link("service_principal_owners", principal_id, [sets.own[index // 2]])


def _federated(rng: random.Random, slug: str) -> list[JsonObject]:
    return [
        {
            "id": new_id(rng),
            "audiences": ["api://AzureADTokenExchange"],
            "description": "Deployment from the main branch",
            "issuer": "https://token.actions.githubusercontent.com",
            "name": f"deploy-{slug}",
            "subject": f"repo:contoso/{slug}:ref:refs/heads/main",
        }
    ]


def _gallery(build: Build, sets: AppSets, index: int) -> None:
    rng = build.rng(f"gallery {index}")
    product = PRODUCTS[(index * 7) % len(PRODUCTS)]
    name = f"{('Fabrikam', 'Adatum', 'Litware', 'Tailspin', 'Wingtip')[index % 5]} {product} Cloud"
    if index >= 30:
        name = f"{name} {index}"
    app_id, publisher_tenant = new_id(rng), new_id(build.rng(f"publisher {index % 5}"))
    saml = index % 2 == 0
    slug = name.lower().replace(" ", "-")
    principal_id = build.add(
        "service_principals",
        {
            **_SERVICE_PRINCIPAL,
            "id": new_id(rng),
            "accountEnabled": rng.random() > 0.08,
            "appDisplayName": name,
            "appId": app_id,
            "applicationTemplateId": new_id(rng) if saml else None,
            "appOwnerOrganizationId": publisher_tenant,
            "appRoleAssignmentRequired": rng.random() < 0.6,
            "appRoles": [
                app_role(new_id(rng), None, "msiam_access", "User"),
                app_role(new_id(rng), "user", "User", "User"),
            ]
            if index % 3
            else [],
            "displayName": name,
            "homepage": f"https://{slug}.example",
            "keyCredentials": [
                _certificate(build, rng, "CN=Microsoft Azure Federated SSO", ends, usage)
                for ends in (_ends_in(rng),)
                for usage in ("Verify", "Sign")
            ]
            if saml
            else [],
            "loginUrl": f"https://{slug}.example/login" if saml else None,
            "notificationEmailAddresses": [f"it@{DEFAULT_DOMAIN}"] if saml else [],
            "preferredSingleSignOnMode": "saml" if saml else None,
            "replyUrls": [f"https://{slug}.example/acs"],
            "servicePrincipalNames": [app_id, f"https://{slug}.example"],
            "signInAudience": "AzureADMultipleOrgs",
            "tags": [_GALLERY_TAG, *(["WindowsAzureActiveDirectoryGalleryApplication"] * saml)],
            "verifiedPublisher": {
                "displayName": name.split()[0],
                "verifiedPublisherId": f"{rng.getrandbits(26)}",
                "addedDateTime": build.past_time(rng),
            }
            if index % 4 == 1
            else _NO_PUBLISHER,
        },
    )
    sets.gallery.append(principal_id)
    if rng.random() < 0.3 and build.staff:
        build.link("service_principal_owners", principal_id, pick(rng, build.staff, 1))


def _managed_identity(build: Build, sets: AppSets, index: int) -> None:
    rng = build.rng(f"managed identity {index}")
    user_assigned = index % 2 == 0
    app_id = new_id(rng)
    product = PRODUCTS[index % len(PRODUCTS)].lower()
    subscription = new_id(build.rng(f"subscription {index % 3}"))
    prefix, resource_type = (
        ("id", "Microsoft.ManagedIdentity/userAssignedIdentities"),
        ("func", "Microsoft.Web/sites"),
        ("id", "Microsoft.ManagedIdentity/userAssignedIdentities"),
        ("vm", "Microsoft.Compute/virtualMachines"),
    )[index % 4]
    name = f"{prefix}-{product}-{index}"
    group = f"/subscriptions/{subscription}/resourcegroups/rg-{product}"
    resource = f"{group}/providers/{resource_type}/{name}"
    sets.managed.append(
        build.add(
            "service_principals",
            {
                **_SERVICE_PRINCIPAL,
                "id": new_id(rng),
                "alternativeNames": [f"isExplicit={user_assigned}", resource],
                "appDisplayName": name,
                "appId": app_id,
                "displayName": name,
                "keyCredentials": [_certificate(build, rng, f"CN={app_id}", rng.uniform(10, 80))],
                "servicePrincipalNames": [
                    app_id,
                    f"https://identity.azure.net/{rng.getrandbits(64)}",
                ],
                "servicePrincipalType": "ManagedIdentity",
                "signInAudience": None,
            },
        )
    )
