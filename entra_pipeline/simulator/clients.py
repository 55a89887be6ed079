"""Applications that may ask for tokens, and how they prove who they are.

A secret, a certificate's assertion, or an assertion from a federated issuer. The endpoint that asks
is in identity.py.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from entra_pipeline.simulator.permissions import EXCHANGE_GRANTED
from entra_pipeline.simulator.tokens import ClientCertificate, InvalidTokenError, Signer, split

FEDERATION_AUDIENCE = "api://AzureADTokenExchange"
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_CLOCK_SKEW_S = 300


@dataclass
class Client:
    """An application that may ask for tokens."""

    app_id: str
    object_id: str
    """The id of its service principal."""
    secret: str
    permissions: frozenset[str]
    certificates: list[ClientCertificate] = field(default_factory=list)
    federated: list[tuple[str, str]] = field(default_factory=list)
    """Issuer and subject of the external tokens it may present."""
    exchange_permissions: frozenset[str] = frozenset(EXCHANGE_GRANTED)
    roles: frozenset[str] = frozenset()
    """Directory roles, by template id, that it holds beside those assigned in the tenant."""


class TokenError(Exception):
    """An error of the token endpoint."""

    def __init__(self, status: int, error: str, code: int, text: str) -> None:
        super().__init__(f"AADSTS{code}: {text}")
        self.status, self.error, self.code, self.text = status, error, code, text


def bad_scope(scope: str) -> TokenError:
    """What a scope other than `<resource>/.default` is answered with."""
    return TokenError(
        400,
        "invalid_scope",
        1002012,
        f"The provided value for scope {scope} is not valid. Client credential flows must have a "
        "scope value with /.default suffixed to the resource identifier (application ID URI).",
    )


def authenticate(client: Client, form: Mapping[str, str], signer: Signer, now: float) -> None:
    """Check the secret or assertion in a token request. Raises TokenError."""
    assertion = form.get("client_assertion")
    if assertion is not None:
        if form.get("client_assertion_type") != _ASSERTION_TYPE:
            raise TokenError(
                400, "invalid_request", 900144, "client_assertion_type is missing or wrong."
            )
        _check_assertion(client, assertion, signer, now)
        return
    if "client_secret" not in form:
        raise TokenError(
            401,
            "invalid_client",
            7000216,
            "'client_assertion', 'client_secret' or 'request' is required for the "
            "'client_credentials' grant type.",
        )
    if not secrets.compare_digest(form["client_secret"].encode(), client.secret.encode()):
        raise TokenError(
            401,
            "invalid_client",
            7000215,
            "Invalid client secret provided. Ensure the secret being sent in the request is "
            "the client secret value, not the client secret ID, for a secret added to app "
            f"'{client.app_id}'.",
        )


def _check_assertion(client: Client, assertion: str, signer: Signer, now: float) -> None:
    try:
        _, claims = split(assertion)
    except InvalidTokenError as error:
        raise TokenError(
            400, "invalid_client", 50027, f"JWT token is invalid or malformed: {error}."
        ) from None
    expires = claims.get("exp")
    if not isinstance(expires, int | float) or expires < now - _CLOCK_SKEW_S:
        raise TokenError(
            401, "invalid_client", 700024, "Client assertion is not within its valid time range"
        )
    if claims.get("iss") == client.app_id:
        if claims.get("sub") != client.app_id:
            raise TokenError(401, "invalid_client", 700021, "Subject and issuer differ.")
        if not any(each.signed(assertion) for each in client.certificates):
            raise TokenError(
                401,
                "invalid_client",
                700027,
                "The certificate with identifier used to sign the client assertion is not "
                "registered on application.",
            )
        return
    if (claims.get("iss"), claims.get("sub")) not in client.federated:
        raise TokenError(
            400,
            "invalid_request",
            700213,
            "No matching federated identity record found for presented assertion subject "
            f"'{claims.get('sub')}'.",
        )
    if claims.get("aud") != FEDERATION_AUDIENCE:
        raise TokenError(
            400, "invalid_request", 700212, "No matching federated identity record found."
        )
    try:
        signer.verify(assertion)
    except InvalidTokenError:
        raise TokenError(
            401, "invalid_client", 700027, "Client assertion failed signature validation."
        ) from None


def required(form: Mapping[str, str], name: str) -> str:
    """A parameter of a token request. Raises TokenError if it is missing."""
    value = form.get(name)
    if not value:
        raise TokenError(
            400,
            "invalid_request",
            900144,
            f"The request body must contain the following parameter: '{name}'.",
        )
    return value
