"""Tokens for Graph: every kind of credential, through MSAL.

Belongs here: turning settings into an MSAL application, getting and renewing a token, reading
its claims for diagnostics. Does not belong here: certificate and token files (`credentials`),
what the token endpoint's errors mean (`token_errors`), the signed-in administrator's token cache
on disk (`device_code`), sending requests (`client`).

MSAL's own habits that shape this module: an answer of 4xx comes back as a dictionary, 5xx as an
exception; an answer of 429 or 5xx is remembered inside MSAL for seconds, so retries happen below
it, in `TokenHttp`; instance discovery asks Microsoft's public host and is left out for an
overridden authority; a token is looked up in MSAL's cache on each call, which costs more than a
request's worth of CPU, so it is kept here until shortly before it expires.
"""

from __future__ import annotations

import base64
import binascii
import logging
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import msal
import msgspec
import requests

from entra_pipeline.msgraph.budget import backoff, parse_retry_after
from entra_pipeline.msgraph.clock import Clock
from entra_pipeline.msgraph.credentials import certificate_credential, read_federated_token
from entra_pipeline.msgraph.errors import AuthenticationError, GraphError
from entra_pipeline.msgraph.token_errors import WHERE, token_error, token_failure
from entra_pipeline.settings import Auth, Settings, SettingsError

log = logging.getLogger(__name__)

RENEW_BEFORE_S = 300.0
"""A token is renewed when it has less than this left, or a tenth of a shorter life."""
TOKEN_ATTEMPTS = 5
MAX_TOKEN_PAUSE_S = 60.0


class TokenSource(Protocol):
    """Where the client gets bearer tokens."""

    def token(self) -> str:
        """A token that is valid for now."""
        ...

    def renew(self, stale: str, claims: str | None = None) -> str:
        """A token other than `stale`, which Graph refused; `claims` is its claims challenge."""
        ...


@dataclass(frozen=True)
class Claims:
    """What a token says, for diagnostics only: Graph's tokens are formally opaque to clients.

    roles: application permissions; scopes: delegated permissions; is_app: no user signed in.
    """

    tenant_id: str | None
    app_id: str | None
    object_id: str | None
    audience: str | None
    roles: frozenset[str]
    scopes: frozenset[str]
    directory_roles: frozenset[str]
    issued_at: datetime | None
    expires_at: datetime | None

    @property
    def is_app(self) -> bool:
        """Whether the token is the app's own rather than a user's."""
        return not self.scopes

    @property
    def permissions(self) -> frozenset[str]:
        """Permissions of either kind."""
        return self.roles | self.scopes


class _Payload(msgspec.Struct):
    tid: str | None = None
    appid: str | None = None
    azp: str | None = None
    oid: str | None = None
    aud: str | list[str] | None = None
    roles: list[str] = []
    scp: str = ""
    wids: list[str] = []
    iat: float | None = None
    exp: float | None = None


def decode_claims(token: str) -> Claims:
    """The claims of a JWT, its signature unchecked; empty claims for an opaque token."""
    try:
        middle = token.split(".")[1]
        raw = base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4))
        payload = msgspec.json.decode(raw, type=_Payload)
    except (IndexError, binascii.Error, msgspec.DecodeError, UnicodeDecodeError):
        payload = _Payload()

    def when(seconds: float | None) -> datetime | None:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

    audience = payload.aud[0] if isinstance(payload.aud, list) and payload.aud else payload.aud
    return Claims(
        tenant_id=payload.tid,
        app_id=payload.appid or payload.azp,
        object_id=payload.oid,
        audience=audience if isinstance(audience, str) else None,
        roles=frozenset(payload.roles),
        scopes=frozenset(payload.scp.split()),
        directory_roles=frozenset(payload.wids),
        issued_at=when(payload.iat),
        expires_at=when(payload.exp),
    )


class TokenHttp:
    """What MSAL sends its requests with: our session, with retries below MSAL's memory."""

    def __init__(
        self, session: requests.Session, clock: Clock, rng: random.Random | None = None
    ) -> None:
        self._session = session
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - jitter

    def get(self, url: str, **kwargs: Any) -> requests.Response:
        """GET, retried on 429, 5xx and broken connections."""
        return self._send(lambda: self._session.get(url, **kwargs))

    def post(self, url: str, **kwargs: Any) -> requests.Response:
        """POST, retried likewise: asking for a token twice does no harm."""
        return self._send(lambda: self._session.post(url, **kwargs))

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _send(self, send: Callable[[], requests.Response]) -> requests.Response:
        attempt = 0
        while True:
            attempt += 1
            pause = backoff(attempt, self._rng)
            try:
                response = send()
            except requests.exceptions.SSLError:
                raise
            except (requests.ConnectionError, requests.Timeout):
                if attempt >= TOKEN_ATTEMPTS:
                    raise
            else:
                retried = response.status_code == 429 or response.status_code >= 500
                if not retried or attempt >= TOKEN_ATTEMPTS:
                    return response
                asked = parse_retry_after(response.headers.get("Retry-After"), self._clock.now())
                if asked is not None:
                    if asked > MAX_TOKEN_PAUSE_S:
                        return response
                    pause = max(pause, asked)
            self._clock.sleep(pause)


class MsalTokens:
    """Tokens for one resource from the credential that the settings give. Thread-safe.

    Nothing is sent before the first `token()`, but files of credentials are read at once: raises
    SettingsError when they cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        session: requests.Session,
        clock: Clock,
        *,
        resource: str | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._http = TokenHttp(session, clock)
        self._resource = resource or settings.endpoints.graph_url
        self._kind = settings.auth_kind
        self._lock = threading.Lock()
        self._token: str | None = None
        self._renew_at = 0.0
        self._acquire: Callable[[bool, str | None], Mapping[str, Any]] | None = None
        if self._kind in {Auth.CERTIFICATE, Auth.WORKLOAD_IDENTITY}:
            self._credential()

    def token(self) -> str:
        """A token that is valid for now; raises AuthenticationError, ConnectionFailedError."""
        token = self._token
        if token is not None and self._clock.monotonic() < self._renew_at:
            return token
        with self._lock:
            if self._token is not None and self._clock.monotonic() < self._renew_at:
                return self._token
            return self._fetch(force=False, claims=None)

    def renew(self, stale: str, claims: str | None = None) -> str:
        """A token other than `stale`; threads that ask at the same time share one request."""
        with self._lock:
            if self._token is not None and self._token != stale:
                return self._token
            return self._fetch(force=True, claims=claims)

    def _fetch(self, *, force: bool, claims: str | None) -> str:
        failure: GraphError
        try:
            if self._acquire is None:
                self._acquire = self._application()
            result = self._acquire(force, claims)
        except GraphError:
            raise
        except SettingsError as error:
            # A file that was there at the start is gone or spoilt now.
            failure = AuthenticationError(
                "CredentialUnusable",
                method="POST",
                path_template=WHERE,
                detail=" ".join(error.messages),
            )
        except Exception as error:
            # MSAL raises ValueError, its own errors and whatever its HTTP raised; their text can
            # hold URLs and answers, so only their meaning is kept.
            failure = token_failure(error)
        else:
            token = result.get("access_token")
            if token:
                self._token = str(token)
                life = float(result.get("expires_in") or 3600)
                margin = min(RENEW_BEFORE_S, life / 10)
                self._renew_at = self._clock.monotonic() + life - margin
                return self._token
            failure = token_error(result)
        raise failure

    def _application(self) -> Callable[[bool, str | None], Mapping[str, Any]]:
        if self._kind is Auth.MANAGED_IDENTITY:
            return self._managed_identity()
        if self._kind is Auth.DEVICE_CODE:
            # It builds on this module.
            from entra_pipeline.msgraph.device_code import silent_acquirer

            return silent_acquirer(self._settings, self._http)
        app = msal.ConfidentialClientApplication(
            self._settings.client_id,
            client_credential=self._credential(),
            **application_arguments(self._settings, self._http),
        )
        scopes = [f"{self._resource}/.default"]

        def acquire(force: bool, claims: str | None) -> Mapping[str, Any]:
            if force:
                app.remove_tokens_for_client()
            result: Mapping[str, Any] = app.acquire_token_for_client(
                scopes, claims_challenge=claims
            )
            return result

        return acquire

    def _credential(self) -> Any:
        settings = self._settings
        if self._kind is Auth.SECRET:
            assert settings.client_secret is not None  # noqa: S101 - Settings.load checks it
            return settings.client_secret.get_secret_value()
        if self._kind is Auth.CERTIFICATE:
            return certificate_credential(settings)
        path = settings.federated_token_file
        assert path is not None  # noqa: S101 - Settings.load checks it
        read_federated_token(path)
        return {"client_assertion": lambda: read_federated_token(path)}

    def _managed_identity(self) -> Callable[[bool, str | None], Mapping[str, Any]]:
        client_id = self._settings.client_id
        identity = (
            msal.UserAssignedManagedIdentity(client_id=client_id)
            if client_id
            else msal.SystemAssignedManagedIdentity()
        )

        def client() -> Any:
            return msal.ManagedIdentityClient(
                identity, http_client=self._http, client_capabilities=["CP1"]
            )

        kept = client()

        def acquire(force: bool, claims: str | None) -> Mapping[str, Any]:
            nonlocal kept
            if force:
                # Its cache cannot be emptied; a new client has a new one.
                kept = client()
            result: Mapping[str, Any] = kept.acquire_token_for_client(
                resource=self._resource, claims_challenge=claims
            )
            return result

        return acquire


def application_arguments(settings: Settings, http: TokenHttp) -> dict[str, Any]:
    """Arguments that every MSAL application of ours is made with."""
    endpoints = settings.endpoints
    return {
        "authority": f"{endpoints.authority_url}/{settings.tenant_id}",
        "http_client": http,
        # Only Microsoft's own hosts are known to instance discovery.
        "instance_discovery": None if endpoints.authority_is_known else False,
        # We answer claims challenges, so Graph may revoke at once instead of at expiry.
        "client_capabilities": ["CP1"],
    }
