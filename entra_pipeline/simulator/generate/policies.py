"""Conditional Access policies."""

from typing import Any

from entra_pipeline.simulator.generate.applications import DEMO_APPLICATION_NAME
from entra_pipeline.simulator.generate.build import Build, new_id
from entra_pipeline.simulator.generate.groups import GroupSets
from entra_pipeline.simulator.generate.roles import (
    GLOBAL_ADMINISTRATOR,
    PRIVILEGED_ROLE_ADMINISTRATOR,
)
from entra_pipeline.simulator.tenant import JsonObject


def add_policies(build: Build, groups: GroupSets) -> None:
    """Add a dozen policies; a tenant without a premium licence has none."""
    if build.license == "free":
        return
    excluded = groups.role_assignable[:1]
    payroll = build.known.get(f"app {DEMO_APPLICATION_NAME}")
    payroll_app = build.get("service_principals", payroll)["appId"] if payroll else "Office365"
    admins: dict[str, Any] = {"includeRoles": [GLOBAL_ADMINISTRATOR, PRIVILEGED_ROLE_ADMINISTRATOR]}
    everyone: dict[str, Any] = {"includeUsers": ["All"], "excludeGroups": excluded}
    guests: dict[str, Any] = {
        "includeGuestsOrExternalUsers": {
            "externalTenants": {
                "@odata.type": "#microsoft.graph.conditionalAccessAllExternalTenants",
                "membershipKind": "all",
            },
            "guestOrExternalUserTypes": "b2bCollaborationGuest,b2bCollaborationMember",
        }
    }
    for name, users, conditions, controls, state in (
        ("Require MFA for administrators", admins, {}, ["mfa"], "enabled"),
        ("Require MFA for everyone", everyone, {}, ["mfa"], "enabled"),
        ("Block legacy authentication", everyone, _legacy(), ["block"], "enabled"),
        ("Require MFA for guests", guests, {}, ["mfa"], "enabled"),
        (
            "Compliant device for Payroll",
            everyone,
            _app(payroll_app),
            ["compliantDevice"],
            "enabled",
        ),
        ("Block other countries", everyone, _elsewhere(), ["block"], "disabled"),
        (
            "Risky sign-in",
            everyone,
            {"signInRiskLevels": ["high", "medium"]},
            ["mfa"],
            "enabledForReportingButNotEnforced",
        ),
        (
            "Risky user",
            everyone,
            {"userRiskLevels": ["high"]},
            ["mfa", "passwordChange"],
            "enabled",
        ),
        ("Session limit in the browser", everyone, {}, [], "enabled"),
    ):
        _policy(build, name, users, conditions, controls, state)


def _legacy() -> JsonObject:
    return {"clientAppTypes": ["exchangeActiveSync", "other"]}


def _elsewhere() -> JsonObject:
    return {"locations": {"excludeLocations": ["AllTrusted"], "includeLocations": ["All"]}}


def _app(app_id: str) -> JsonObject:
    return {
        "applications": {
            "applicationFilter": None,
            "excludeApplications": [],
            "includeApplications": [app_id],
            "includeAuthenticationContextClassReferences": [],
            "includeUserActions": [],
        }
    }


def _policy(
    build: Build,
    name: str,
    users: dict[str, Any],
    conditions: JsonObject,
    controls: list[str],
    state: str,
) -> None:
    rng = build.rng(f"policy {name}")
    build.add(
        "conditional_access_policies",
        {
            "id": new_id(rng),
            "deletedDateTime": None,
            "conditions": {
                **_app("All"),
                "authenticationFlows": None,
                "clientApplications": None,
                "clientAppTypes": ["all"],
                "devices": None,
                "insiderRiskLevels": None,
                "locations": None,
                "platforms": None,
                "servicePrincipalRiskLevels": [],
                "signInRiskLevels": [],
                "userRiskLevels": [],
                "users": {
                    "excludeGroups": [],
                    "excludeGuestsOrExternalUsers": None,
                    "excludeRoles": [],
                    "excludeUsers": [],
                    "includeGroups": [],
                    "includeGuestsOrExternalUsers": None,
                    "includeRoles": [],
                    "includeUsers": [],
                    **users,
                },
                **conditions,
            },
            "createdDateTime": build.past_time(rng),
            "description": None,
            "displayName": name,
            "grantControls": {
                "builtInControls": controls,
                "customAuthenticationFactors": [],
                "operator": "AND" if len(controls) > 1 else "OR",
                "termsOfUse": [],
            }
            if controls
            else None,
            "modifiedDateTime": build.precise_ago(rng, rng.uniform(1, 200)),
            "sessionControls": None
            if controls
            else {
                "applicationEnforcedRestrictions": None,
                "cloudAppSecurity": None,
                "disableResilienceDefaults": None,
                "persistentBrowser": {"isEnabled": True, "mode": "never"},
                "secureSignInSession": None,
                "signInFrequency": {
                    "authenticationType": "primaryAndSecondaryAuthentication",
                    "frequencyInterval": "timeBased",
                    "isEnabled": True,
                    "type": "hours",
                    "value": 8,
                },
            },
            "state": state,
            "templateId": None,
        },
    )
