"""What the token endpoint's refusals mean, and what to do about them.

Belongs here: AADSTS codes with their remedy, MSAL's exceptions turned into our errors. The
endpoint's own descriptions name accounts and applications, so they are not passed on.

Source: https://learn.microsoft.com/entra/identity-platform/reference-error-codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msal
import requests

from entra_pipeline.msgraph.errors import (
    AuthenticationError,
    ConnectionFailedError,
    GraphError,
)

WHERE = "token endpoint"

_MEANINGS: Mapping[int, str] = {
    7000215: "the client secret is wrong: ENTRA_CLIENT_SECRET must be its value, not its id",
    7000222: "the client secret has expired: make a new one and set ENTRA_CLIENT_SECRET",
    700016: "the tenant knows no application with this id: check ENTRA_CLIENT_ID and "
    "ENTRA_TENANT_ID",
    90002: "there is no such tenant: check ENTRA_TENANT_ID and ENTRA_CLOUD",
    700027: "the certificate is not registered on the app, or its key is another one's: check "
    "ENTRA_CLIENT_CERTIFICATE_PATH",
    700024: "the assertion is not valid now: set this machine's clock (NTP)",
    70021: "no federated credential of the app matches the token's issuer, subject and audience",
    700213: "no federated credential of the app matches the token's issuer, subject and audience",
    500011: "the tenant does not know this Graph: check ENTRA_CLOUD and ENTRA_GRAPH_URL",
    53003: "Conditional Access for workload identities blocks the app",
    65001: "an administrator has not consented to the app's permissions",
    7000218: "the app registration must allow public client flows for signing in by device code",
    50173: "the sign-in is no longer valid: run `entra-pipeline login` again",
    70043: "the sign-in is no longer valid: run `entra-pipeline login` again",
    50078: "the sign-in is no longer valid: run `entra-pipeline login` again",
    700082: "the sign-in is no longer valid: run `entra-pipeline login` again",
    70008: "the sign-in is no longer valid: run `entra-pipeline login` again",
}
_WORDS: Mapping[str, str] = {
    "authorization_declined": "the sign-in was declined",
    "expired_token": "the code was not entered in time: run `entra-pipeline login` again",
    "code_expired": "the code was not entered in time: run `entra-pipeline login` again",
    "interaction_required": "run `entra-pipeline login` again",
    "invalid_grant": "run `entra-pipeline login` again",
}


def token_error(result: Mapping[str, Any]) -> AuthenticationError:
    """What a refusal of the token endpoint means.

    Its description names accounts and applications, so only the codes are kept.
    """
    codes = [code for code in result.get("error_codes") or [] if isinstance(code, int)]
    error = str(result.get("error") or "unknown_error")
    if not error.replace("_", "").isalnum():
        error = "unknown_error"
    detail = next((_MEANINGS[code] for code in codes if code in _MEANINGS), None)
    correlation = str(result.get("correlation_id") or "")
    return AuthenticationError(
        f"AADSTS{codes[0]}" if codes else error,
        method="POST",
        path_template=WHERE,
        detail=detail or _WORDS.get(error) or f"the token endpoint answered {error}",
        request_id=correlation if correlation.replace("-", "").isalnum() else None,
    )


def token_failure(error: Exception) -> GraphError:
    """What an exception of MSAL's, or of the HTTP below it, means.

    Their own text can hold URLs and answers, so only the kind is kept.
    """
    code, detail, kind = _meaning(error)
    return kind(code, method="POST", path_template=WHERE, detail=detail)


def _meaning(error: Exception) -> tuple[str, str, type[GraphError]]:
    if isinstance(error, requests.exceptions.SSLError):
        return (
            "CertificateNotTrusted",
            "the authority's certificate is not trusted: check ENTRA_CA_BUNDLE",
            ConnectionFailedError,
        )
    if isinstance(error, requests.exceptions.ProxyError):
        return (
            "ProxyFailed",
            "the proxy refused: check HTTPS_PROXY and NO_PROXY",
            ConnectionFailedError,
        )
    if isinstance(error, requests.RequestException):
        return (
            type(error).__name__,
            (
                "the sign-in authority cannot be reached: check the network, ENTRA_CLOUD and "
                "ENTRA_AUTHORITY_URL"
            ),
            ConnectionFailedError,
        )
    if isinstance(error, msal.ManagedIdentityError):
        return (
            "ManagedIdentityUnavailable",
            ("no managed identity answers here: assign one to this machine, or set ENTRA_AUTH"),
            AuthenticationError,
        )
    if isinstance(error, msal.exceptions.MsalServiceError):
        return "AuthorityFailed", "the sign-in authority kept failing", AuthenticationError
    if isinstance(error, ValueError):
        # MSAL's construction: discovery failed, mostly for an unknown tenant.
        return (
            "AuthorityUnusable",
            (
                "the authority does not know the tenant or is not one: check "
                "ENTRA_TENANT_ID, ENTRA_CLOUD and ENTRA_AUTHORITY_URL"
            ),
            AuthenticationError,
        )
    return type(error).__name__, "the token could not be read", AuthenticationError
