"""The Microsoft identity platform: discovery, token endpoint, device code, managed identity.

Grants understood: client_credentials (secret, certificate assertion, federated assertion), device
code, refresh token. Errors have the platform's shape and AADSTS codes (learn "Microsoft Entra
authentication and authorization error codes").
"""

import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from entra_pipeline.simulator import roles
from entra_pipeline.simulator.clients import (
    FEDERATION_AUDIENCE,
    Client,
    TokenError,
    authenticate,
    bad_scope,
    required,
)
from entra_pipeline.simulator.clock import Clock
from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.errors import GraphError
from entra_pipeline.simulator.permissions import hidden_kinds
from entra_pipeline.simulator.tokens import InvalidTokenError, Signer, b64
from entra_pipeline.simulator.wire import JsonObject, Response, encode_json

GRAPH_HOSTS = frozenset(
    {
        "graph.microsoft.com",
        "graph.microsoft.us",
        "dod-graph.microsoft.us",
        "microsoftgraph.chinacloudapi.cn",
    }
)
EXCHANGE_HOSTS = frozenset(
    {
        "outlook.office365.com",
        "outlook.office365.us",
        "outlook-dod.office365.us",
        "partner.outlook.cn",
    }
)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_OPENID_SCOPES = frozenset({"openid", "profile", "offline_access", "email"})
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_LIFE_S = 3599
_DEVICE_CODE_LIFE_S = 900


@dataclass(frozen=True)
class Caller:
    """Who sent a request: what the access token says."""

    app_id: str
    permissions: frozenset[str]
    user_id: str | None
    """The signed-in user of a delegated token; None for an application's own token."""
    expires: float
    hidden_kinds: frozenset[str] = frozenset()
    resource: str = "graph"
    principal_id: str = ""
    """The object that acts: the signed-in user, or the application's service principal."""
    roles: frozenset[str] = frozenset()
    """Directory roles that the application holds without an assignment in the tenant."""


@dataclass
class _DeviceCode:
    client: Client
    resource: str
    expires: float
    polls: int = 0


class IdentityPlatform:
    """Issues tokens for one tenant and recognises them again."""

    def __init__(self, directory: Directory, clock: Clock, clients: list[Client]) -> None:
        self._directory = directory
        self._clock = clock
        self._signer = Signer()
        self._clients = {client.app_id: client for client in clients}
        self._callers: dict[str, Caller] = {}
        self._device_codes: dict[str, _DeviceCode] = {}
        self._refresh_tokens: dict[str, tuple[Client, str]] = {}

    # Tokens

    def federated_token(self, client: Client) -> str:
        """A long-lived external token that the client may present as its assertion."""
        issuer, subject = client.federated[0]
        now = int(self._clock.time())
        return self._signer.sign(
            {
                "iss": issuer,
                "sub": subject,
                "aud": FEDERATION_AUDIENCE,
                "iat": now,
                "exp": now + 10 * 365 * 86400,
            }
        )

    def caller(self, headers: Mapping[str, str], resource: str = "graph") -> Caller:
        """Who calls Graph, or Exchange. GraphError 401 for a missing, foreign or expired token."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise _unauthenticated("Access token is empty.")
        known = self._callers.get(token)
        if known is None:
            try:
                self._signer.verify(token)
            except InvalidTokenError:
                raise _unauthenticated("IDX10511: Signature validation failed.") from None
            raise _unauthenticated("Access token validation failure.")
        if known.expires <= self._clock.time():
            raise _unauthenticated("Lifetime validation failed, the token is expired.")
        if known.resource != resource:
            raise _unauthenticated("Access token validation failure. Invalid audience.")
        return known

    def _access_token(
        self, client: Client, resource: str, base: str, user_id: str | None = None
    ) -> str:
        now = int(self._clock.time())
        tenant_id = self._directory.tenant.tenant_id
        kind = "exchange" if urlsplit(resource).hostname in EXCHANGE_HOSTS else "graph"
        granted = client.permissions if kind == "graph" else client.exchange_permissions
        claims: JsonObject = {
            "aud": resource,
            "iss": f"https://sts.windows.net/{tenant_id}/",
            "iat": now,
            "nbf": now,
            "exp": now + _LIFE_S + 1,
            "app_displayname": "entra_pipeline",
            "appid": client.app_id,
            "tid": tenant_id,
            "ver": "1.0",
            "uti": b64(secrets.token_bytes(12)),
        }
        if user_id is None:
            claims |= {
                "appidacr": "1",
                "idtyp": "app",
                "oid": client.object_id,
                "sub": client.object_id,
                "roles": sorted(granted),
                "wids": sorted(client.roles | self._roles_held(client.object_id)),
            }
        else:
            claims |= {
                "idtyp": "user",
                "oid": user_id,
                "sub": user_id,
                "scp": " ".join(sorted(granted)),
            }
        token = self._signer.sign(claims)
        self._callers[token] = Caller(
            client.app_id,
            granted,
            user_id,
            float(claims["exp"]),
            hidden_kinds(granted),
            kind,
            user_id or client.object_id,
            client.roles,
        )
        return token

    def _roles_held(self, principal_id: str) -> frozenset[str]:
        """Directory roles that a principal holds for the whole tenant."""
        rows = self._directory.grouped("role_assignments", "principalId").get(principal_id, ())
        return frozenset(
            row["roleDefinitionId"] for row in rows if row.get("directoryScopeId") == "/"
        )

    def administrator(self) -> JsonObject:
        """Who signs in by device code: the first Global Administrator, else the first user."""
        users = self._directory.collection("users")
        holders = self._directory.grouped("role_assignments", "roleDefinitionId")
        for assignment in holders.get(roles.GLOBAL_ADMINISTRATOR, ()):
            user = users.get(assignment["principalId"])
            if user is not None and user.get("accountEnabled") is not False:
                return user
        if not users:
            raise TokenError(400, "invalid_grant", 50034, "The tenant has no user to sign in.")
        return next(iter(users.values()))

    # Endpoints

    def answer(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, base: str
    ) -> Response | None:
        """Answer an identity request; None if the path is not the identity platform's."""
        segments = path.strip("/").split("/")
        lowered = "/".join(segments).lower()
        if lowered in ("metadata/identity/oauth2/token", "msi/token"):
            return self._managed_identity(lowered, dict(parse_qsl(query)), headers)
        if lowered == "common/discovery/instance":
            asked = dict(parse_qsl(query)).get("authorization_endpoint", "")
            tenant = urlsplit(asked).path.strip("/").partition("/")[0]
            return _json({"tenant_discovery_endpoint": f"{base}/{tenant}/v2.0/{_WELL_KNOWN}"})
        rest = "/".join(segments[1:]).lower()
        if rest not in _ENDPOINTS:
            return None
        try:
            tenant = self._tenant(segments[0])
            if rest in (_WELL_KNOWN, f"v2.0/{_WELL_KNOWN}"):
                return _json(self._discovery(base, tenant, rest.startswith("v2.0")))
            if rest.endswith("keys"):
                return _json(self._signer.jwks())
            form = dict(parse_qsl(body.decode("utf-8", "replace")))
            if method != "POST":
                raise TokenError(400, "invalid_request", 900561, "The endpoint only accepts POST.")
            if rest.endswith("devicecode"):
                return _json(self._device_code(form, base))
            return _json(self._token(form, base))
        except TokenError as error:
            return self._refusal(error, headers)

    def _tenant(self, name: str) -> str:
        tenant_id = self._directory.tenant.tenant_id
        if name.lower() in (tenant_id.lower(), "common", "organizations"):
            return tenant_id
        domains = {each.lower() for each in self._directory.collection("domains")}
        if name.lower() in domains:
            return tenant_id
        raise TokenError(
            400,
            "invalid_tenant" if "-" not in name else "invalid_request",
            90002,
            f"Tenant '{name}' not found. Check to make sure you have the correct tenant ID and "
            "are signing into the correct cloud.",
        )

    def _discovery(self, base: str, tenant: str, v2: bool) -> JsonObject:
        root = f"{base}/{tenant}"
        return {
            "issuer": f"{root}/v2.0" if v2 else root,
            "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
            "token_endpoint": f"{root}/oauth2/v2.0/token",
            "device_authorization_endpoint": f"{root}/oauth2/v2.0/devicecode",
            "jwks_uri": f"{root}/discovery/v2.0/keys",
            "token_endpoint_auth_methods_supported": [
                "client_secret_post",
                "private_key_jwt",
            ],
            "response_types_supported": ["code", "id_token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "tenant_region_scope": "EU",
            "cloud_instance_name": "microsoftonline.com",
            "msgraph_host": urlsplit(base).netloc,
        }

    def _token(self, form: Mapping[str, str], base: str) -> JsonObject:
        grant = required(form, "grant_type")
        if grant == "client_credentials":
            client = self._client(form)
            authenticate(client, form, self._signer, self._clock.time())
            resource = self._resource(form, base, application=True)
            return {
                "token_type": "Bearer",
                "expires_in": _LIFE_S,
                "ext_expires_in": _LIFE_S,
                "access_token": self._access_token(client, resource, base),
            }
        if grant in (_DEVICE_GRANT, "device_code"):
            return self._redeem_device_code(form, base)
        if grant == "refresh_token":
            held = self._refresh_tokens.get(required(form, "refresh_token"))
            if held is None or held[0].app_id != form.get("client_id"):
                raise TokenError(
                    400, "invalid_grant", 70043, "The refresh token has expired or is invalid."
                )
            return self._delegated(held[0], held[1], self._resource(form, base), base)
        raise TokenError(
            400,
            "unsupported_grant_type",
            70003,
            f"The app requested an unsupported grant type '{grant}'.",
        )

    def _client(self, form: Mapping[str, str]) -> Client:
        app_id = required(form, "client_id")
        client = self._clients.get(app_id)
        if client is None:
            raise TokenError(
                400,
                "unauthorized_client",
                700016,
                f"Application with identifier '{app_id}' was not found in the directory "
                f"'{self._directory.tenant.tenant_id}'.",
            )
        return client

    def _resource(self, form: Mapping[str, str], base: str, *, application: bool = False) -> str:
        scope = form.get("scope", "")
        names = [each for each in scope.split() if each not in _OPENID_SCOPES]
        if not names:
            if "resource" in form:
                return self._known(form["resource"].rstrip("/"))
            if application:
                raise TokenError(
                    400,
                    "invalid_request",
                    900144,
                    "The request body must contain the following parameter: 'scope'.",
                )
            return base
        if application and (len(names) != 1 or not names[0].endswith("/.default")):
            raise bad_scope(scope)
        resource = names[0].rpartition("/")[0].rstrip("/")
        # A bare delegated scope such as `User.Read` means Microsoft Graph.
        return self._known(resource) if "://" in resource else base

    def _known(self, resource: str) -> str:
        host = urlsplit(resource).hostname or ""
        if host in GRAPH_HOSTS or host in EXCHANGE_HOSTS or host in _LOOPBACK:
            return resource
        raise TokenError(
            400,
            "invalid_resource",
            500011,
            f"The resource principal named {resource} was not found in the tenant.",
        )

    # Delegated sign-in

    def _device_code(self, form: Mapping[str, str], base: str) -> JsonObject:
        client = self._client(form)
        code = secrets.token_urlsafe(48)
        user_code = secrets.token_hex(5)[:9].upper()
        self._device_codes[code] = _DeviceCode(
            client, self._resource(form, base), self._clock.time() + _DEVICE_CODE_LIFE_S
        )
        page = f"{base}/common/oauth2/deviceauth"
        return {
            "user_code": user_code,
            "device_code": code,
            "verification_uri": page,
            "expires_in": _DEVICE_CODE_LIFE_S,
            "interval": 1,
            "message": f"To sign in, use a web browser to open the page {page} and enter the "
            f"code {user_code} to authenticate.",
        }

    def _redeem_device_code(self, form: Mapping[str, str], base: str) -> JsonObject:
        code = form.get("device_code") or required(form, "code")
        held = self._device_codes.get(code)
        if held is None or held.client.app_id != form.get("client_id"):
            raise TokenError(400, "invalid_grant", 70000, "The provided device code is not valid.")
        if held.expires < self._clock.time():
            raise TokenError(400, "expired_token", 70020, "The provided device code has expired.")
        held.polls += 1
        if held.polls == 1:
            # Somebody takes a moment to type the code; then the simulator signs in by itself.
            raise TokenError(
                400,
                "authorization_pending",
                70016,
                "OAuth 2.0 device flow error. Authorization is pending. Continue polling.",
            )
        del self._device_codes[code]
        return self._delegated(held.client, self.administrator()["id"], held.resource, base)

    def _delegated(self, client: Client, user_id: str, resource: str, base: str) -> JsonObject:
        user = self._directory.collection("users").get(user_id)
        if user is None:
            raise TokenError(400, "invalid_grant", 50034, "The user account does not exist.")
        tenant_id = self._directory.tenant.tenant_id
        now = int(self._clock.time())
        refresh_token = secrets.token_urlsafe(64)
        self._refresh_tokens[refresh_token] = (client, user_id)
        id_token = self._signer.sign(
            {
                "aud": client.app_id,
                "iss": f"{base}/{tenant_id}/v2.0",
                "iat": now,
                "nbf": now,
                "exp": now + _LIFE_S + 1,
                "name": user.get("displayName"),
                "preferred_username": user.get("userPrincipalName"),
                "oid": user_id,
                "sub": user_id,
                "tid": tenant_id,
                "ver": "2.0",
            }
        )
        granted = " ".join(sorted(client.permissions))
        return {
            "token_type": "Bearer",
            "scope": f"{granted} openid profile offline_access",
            "expires_in": _LIFE_S,
            "ext_expires_in": _LIFE_S,
            "access_token": self._access_token(client, resource, base, user_id),
            "refresh_token": refresh_token,
            "id_token": id_token,
            "client_info": b64(encode_json({"uid": user_id, "utid": tenant_id})),
        }

    # Managed identity

    def _managed_identity(
        self, path: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> Response:
        """IMDS and App Service; both want a header that a forged request could not set."""
        app_service = path == "msi/token"
        allowed = (
            headers.get("x-identity-header") is not None
            if app_service
            else headers.get("metadata", "").lower() == "true"
        )
        if not allowed or "resource" not in query:
            wanted = "X-IDENTITY-HEADER" if app_service else "Metadata: true"
            return _json(
                {
                    "error": "invalid_request",
                    "error_description": f"Required {wanted} header or resource not specified",
                },
                400,
            )
        client = next(iter(self._clients.values()))
        resource = query["resource"].rstrip("/")
        try:
            self._known(resource)
        except TokenError as error:
            return self._refusal(error, headers)
        expires = str(int(self._clock.time()) + 86399)
        return _json(
            {
                "access_token": self._access_token(client, resource, ""),
                "client_id": client.app_id,
                "expires_in": str(_LIFE_S),
                "expires_on": expires if app_service else str(int(self._clock.time()) + _LIFE_S),
                "ext_expires_in": str(_LIFE_S),
                "not_before": str(int(self._clock.time())),
                "resource": query["resource"],
                "token_type": "Bearer",
            }
        )

    def _refusal(self, error: TokenError, headers: Mapping[str, str]) -> Response:
        trace = str(uuid.uuid4())
        correlation = headers.get("client-request-id") or str(uuid.uuid4())
        stamp = self._clock.now().strftime("%Y-%m-%d %H:%M:%SZ")
        return _json(
            {
                "error": error.error,
                "error_description": f"{error} Trace ID: {trace} Correlation ID: {correlation} "
                f"Timestamp: {stamp}",
                "error_codes": [error.code],
                "timestamp": stamp,
                "trace_id": trace,
                "correlation_id": correlation,
                "error_uri": f"https://login.microsoftonline.com/error?code={error.code}",
            },
            error.status,
        )


_WELL_KNOWN = ".well-known/openid-configuration"
_ENDPOINTS = frozenset(
    {
        _WELL_KNOWN,
        f"v2.0/{_WELL_KNOWN}",
        "discovery/v2.0/keys",
        "oauth2/v2.0/token",
        "oauth2/token",
        "oauth2/v2.0/devicecode",
        "oauth2/devicecode",
    }
)


def _json(document: JsonObject, status: int = 200) -> Response:
    return Response(
        status=status, body=encode_json(document), content_type="application/json; charset=utf-8"
    )


def _unauthenticated(message: str) -> GraphError:
    return GraphError(
        401,
        "InvalidAuthenticationToken",
        message,
        headers={
            "WWW-Authenticate": 'Bearer realm="", authorization_uri="/common/oauth2/authorize", '
            'client_id="00000003-0000-0000-c000-000000000000"'
        },
    )
