"""Finding out who sits at the terminal: a sign-in by device code, and the id token checked.

Belongs here: the sign-in, which keeps nothing, and the checks of the token's signature, issuer,
audience, tenant and times. Does not belong here: the administrator's sign-in that reads the tenant
(`device_code`), what a known person may do.

Source: https://learn.microsoft.com/entra/identity-platform/id-tokens
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import jwt
import msal

from entra_pipeline.msgraph.auth import TokenHttp, application_arguments
from entra_pipeline.msgraph.clock import SYSTEM, Clock
from entra_pipeline.msgraph.device_code import DeviceCode
from entra_pipeline.msgraph.errors import AuthenticationError, GraphError
from entra_pipeline.msgraph.token_errors import WHERE, token_error, token_failure
from entra_pipeline.msgraph.transport import SessionFactory, session_factory
from entra_pipeline.settings import Settings

_SKEW_S: Final = 300
"""Between the authority's clock and ours."""


def sign_in(
    settings: Settings,
    show: Callable[[DeviceCode], None],
    *,
    clock: Clock = SYSTEM,
    sessions: SessionFactory | None = None,
) -> str:
    """The object id of who signs in now, from a verified id token. No token is kept.

    `show` is called once with what to show. Raises AuthenticationError, ConnectionFailedError.
    """
    http = TokenHttp((sessions or session_factory(settings))(), clock)
    client_id = settings.sign_in_client_id or settings.client_id
    failure: GraphError
    try:
        app = msal.PublicClientApplication(client_id, **application_arguments(settings, http))
        # No scope of its own: MSAL asks for `openid`, and Graph is not touched.
        flow = app.initiate_device_flow(scopes=[])
        if "user_code" not in flow:
            failure = token_error(flow)
        else:
            show(
                DeviceCode(
                    user_code=str(flow["user_code"]),
                    url=str(flow["verification_uri"]),
                    expires_in_s=int(flow.get("expires_in", 900)),
                )
            )
            result = app.acquire_token_by_device_flow(flow)
            if "id_token" in result:
                return _object_id(settings, http, client_id, str(result["id_token"]))
            failure = token_error(result)
    except GraphError:
        raise
    except Exception as error:
        # Texts of MSAL and of the authority name accounts.
        failure = token_failure(error)
    finally:
        http.close()
    raise failure


def _object_id(settings: Settings, http: TokenHttp, client_id: str, token: str) -> str:
    """The object id in a token, checked by what the authority publishes of itself."""
    tenant = settings.tenant_id.lower()
    root = f"{settings.endpoints.authority_url}/{tenant}"
    discovered = _document(http, f"{root}/v2.0/.well-known/openid-configuration")
    keys = _document(http, discovered["jwks_uri"])["keys"]
    return verified(token, keys, issuer=discovered["issuer"], audience=client_id, tenant=tenant)


def verified(
    token: str, keys: Sequence[Mapping[str, Any]], *, issuer: str, audience: str, tenant: str
) -> str:
    """The object id in an id token, its signature by one of `keys` and its claims checked.

    Raises AuthenticationError for a token that cannot be trusted.
    """
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        key = next(dict(key) for key in keys if key.get("kid") == kid)
        claims = jwt.decode(
            token,
            jwt.PyJWK(key, algorithm="RS256"),
            algorithms=["RS256"],
            audience=audience,
            issuer=issuer,
            leeway=_SKEW_S,
            options={"require": ["exp", "iat", "aud", "iss", "oid", "tid"]},
        )
    except (jwt.PyJWTError, StopIteration) as error:
        raise _unverified(type(error).__name__) from None
    if str(claims["tid"]).lower() != tenant.lower():
        raise _unverified("it is another tenant's")
    return str(claims["oid"]).lower()


def _unverified(why: str) -> AuthenticationError:
    return AuthenticationError(
        "IdTokenNotVerified",
        method="POST",
        path_template=WHERE,
        detail=f"the id token cannot be trusted ({why})",
    )


def _document(http: TokenHttp, url: str) -> Mapping[str, Any]:
    answer = http.get(url)
    answer.raise_for_status()
    found: Mapping[str, Any] = answer.json()
    return found
