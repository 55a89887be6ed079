"""What users did: sign-in stamps, registered sign-in methods.

Here: `signInActivity` on users (a tenant without a premium licence has none), registration
details of enabled users, and the authentication methods of a share of the users. Not here: logs
of single events.
"""

import random

from entra_pipeline.simulator.generate.build import NEVER, Build, new_id
from entra_pipeline.simulator.generate.roles import GLOBAL_ADMINISTRATOR
from entra_pipeline.simulator.tenant import JsonObject

PASSWORD_METHOD_ID = "28c10230-6103-485e-b985-444c60001490"  # noqa: S105 - Graph's own constant
"""The id of everyone's password method."""

_METHODS_LIMIT = 3000
"""Users who get authentication methods: reading them is one request a user."""


def add_activity(build: Build) -> None:
    """Add sign-in stamps, registration details and authentication methods."""
    if build.license != "free":
        _sign_ins(build)
        _registrations(build)
    _methods(build)


def _sign_ins(build: Build) -> None:
    """Most signed in this month, a tenth not for half a year, some never."""
    rng = build.rng("sign-ins")
    recent = [build.ago(rng.expovariate(1 / 9)) for _ in range(2048)]
    stale = [build.ago(180 + rng.expovariate(1 / 200)) for _ in range(512)]
    never = {"lastSignInDateTime": NEVER, "lastNonInteractiveSignInDateTime": None}
    for user in build.tenant.objects["users"].values():
        chance = rng.random()
        if chance < 0.06 or user["externalUserState"] == "PendingAcceptance":
            continue
        if not user["accountEnabled"] or chance < 0.15:
            last = other = stale[int(rng.random() * 512)]
        else:
            last, other = recent[int(rng.random() * 2048)], recent[int(rng.random() * 2048)]
        user["signInActivity"] = {
            "lastNonInteractiveSignInDateTime": other,
            "lastNonInteractiveSignInRequestId": new_id(rng),
            "lastSignInDateTime": last,
            "lastSignInRequestId": new_id(rng),
            "lastSuccessfulSignInDateTime": last if chance < 0.9 else None,
            "lastSuccessfulSignInRequestId": new_id(rng) if chance < 0.9 else None,
        }
        if chance < 0.065:
            user["signInActivity"] = {**user["signInActivity"], **never}


def _registrations(build: Build) -> None:
    rng = build.rng("registrations")
    updated = build.ago(0.4)
    admins = {
        row["principalId"]
        for row in build.tenant.objects["role_assignments"].values()
        if row["roleDefinitionId"] == GLOBAL_ADMINISTRATOR
    }
    variants: list[tuple[bool, bool, list[str], str]] = [
        (True, False, ["microsoftAuthenticatorPush", "softwareOneTimePasscode"], "push"),
        (True, False, ["mobilePhone", "email"], "sms"),
        (True, True, ["microsoftAuthenticatorPush", "fido2SecurityKey"], "push"),
        (True, True, ["windowsHelloForBusiness", "mobilePhone"], "oath"),
        (False, False, [], "none"),
        (False, False, ["email"], "none"),
    ]
    details = build.tenant.objects["user_registration_details"]
    for user_id, user in build.tenant.objects["users"].items():
        if not user["accountEnabled"]:  # the report leaves out disabled users
            continue
        choice = int(rng.random() ** 1.6 * 6)
        mfa, passwordless, methods, preferred = variants[choice]
        details[user_id] = {
            "id": user_id,
            "isAdmin": user_id in admins,
            "isMfaCapable": mfa,
            "isMfaRegistered": mfa,
            "isPasswordlessCapable": passwordless,
            "isSsprCapable": mfa,
            "isSsprEnabled": True,
            "isSsprRegistered": mfa or bool(methods),
            "isSystemPreferredAuthenticationMethodEnabled": mfa,
            "lastUpdatedDateTime": updated,
            "methodsRegistered": methods,
            "systemPreferredAuthenticationMethods": [],
            "userDisplayName": user["displayName"] or "",
            "userPreferredMethodForSecondaryAuthentication": preferred,
            "userPrincipalName": user["userPrincipalName"],
            "userType": "guest" if user["userType"] == "Guest" else "member",
        }


def _methods(build: Build) -> None:
    rng = build.rng("methods")
    methods = build.tenant.objects["authentication_methods"]
    for user_id in build.members[:_METHODS_LIMIT]:
        rows = [_method("password", PASSWORD_METHOD_ID, build.past_time(rng), password=None)]
        chance = rng.random()
        if chance < 0.6:
            rows.append(
                _method(
                    "microsoftAuthenticator",
                    new_id(rng),
                    build.past_time(rng),
                    deviceTag="SoftwareTokenActivated",
                    displayName="Phone",
                    phoneAppVersion="6.8.3",
                )
            )
        if 0.3 < chance < 0.8:
            rows.append(
                _method(
                    "phone",
                    "3179e48a-750b-4051-897c-87b9720928f7",
                    build.past_time(rng),
                    phoneNumber=f"+1 555 02{int(chance * 100):02d}",
                    phoneType="mobile",
                    smsSignInState="notAllowedByPolicy",
                )
            )
        if chance > 0.85:
            rows.append(_fido2(build, rng))
        for row in rows:
            methods[f"{user_id}/{row['id']}"] = {**row, "userId": user_id}


def _method(kind: str, method_id: str, created: str, **properties: object) -> JsonObject:
    return {
        "@odata.type": f"#microsoft.graph.{kind}AuthenticationMethod",
        "id": method_id,
        "createdDateTime": created,
        **properties,
    }


def _fido2(build: Build, rng: random.Random) -> JsonObject:
    return _method(
        "fido2",
        new_id(rng).replace("-", "")[:22],
        build.past_time(rng),
        aaGuid=new_id(rng),
        attestationCertificates=[],
        attestationLevel="attested",
        displayName="Security key",
        model="Key 5",
        passkeyType="deviceBound",
        publicKeyCredential=None,
    )
