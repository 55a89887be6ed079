"""Signing in as an administrator by device code, and the token cache that is kept for it.

Belongs here: `login`, `logout`, and the cache file in the data directory, readable by its owner
alone. Does not belong here: showing anything to people (the caller's callback does).
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import msal

from entra_pipeline.msgraph.auth import TokenHttp, application_arguments
from entra_pipeline.msgraph.clock import SYSTEM, Clock
from entra_pipeline.msgraph.errors import AuthenticationError, GraphError
from entra_pipeline.msgraph.token_errors import WHERE, token_error, token_failure
from entra_pipeline.msgraph.transport import SessionFactory, session_factory
from entra_pipeline.settings import Settings

log = logging.getLogger(__name__)

CACHE_NAME = "token_cache.json"


@dataclass(frozen=True)
class DeviceCode:
    """What the administrator has to do: enter `user_code` at `url` within `expires_in_s`."""

    user_code: str
    url: str
    expires_in_s: int


class TokenCacheFile:
    """MSAL's token cache on disk, 0600, replaced atomically, used by one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def opened(self) -> Iterator[Any]:
        """The cache, read now and written back at the end if it changed."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with filelock.FileLock(str(self.path) + ".lock", mode=0o600):
            cache = msal.SerializableTokenCache()
            text = self._read()
            if text:
                cache.deserialize(text)
            try:
                yield cache
            finally:
                if cache.has_state_changed:
                    self._write(cache.serialize())

    def remove(self) -> bool:
        """Delete the cache; whether there was one."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        return True

    def _read(self) -> str | None:
        try:
            mode = stat.S_IMODE(self.path.stat().st_mode)
            if mode & 0o077:
                log.warning("%s was readable by others; its mode is now 0600", self.path)
                self.path.chmod(0o600)
            return self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def _write(self, text: str) -> None:
        new = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        handle = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path)


def cache_file(settings: Settings) -> TokenCacheFile:
    """The token cache of this data directory."""
    return TokenCacheFile(settings.data_dir / CACHE_NAME)


def login(
    settings: Settings,
    show: Callable[[DeviceCode], None],
    *,
    clock: Clock = SYSTEM,
    sessions: SessionFactory | None = None,
) -> None:
    """Sign in by device code and keep the tokens.

    `show` is called once with what to show; then this waits until the code was entered, was
    declined or expired. Raises AuthenticationError, ConnectionFailedError.
    """
    http = TokenHttp((sessions or session_factory(settings))(), clock)
    failure: GraphError | None = None
    with cache_file(settings).opened() as cache:
        try:
            app = _application(settings, http, cache)
            flow = app.initiate_device_flow(scopes=_scopes(settings))
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
                for account in app.get_accounts():
                    app.remove_account(account)
                result = app.acquire_token_by_device_flow(flow)
                if "access_token" not in result:
                    failure = token_error(result)
        except GraphError:
            raise
        except Exception as error:
            failure = token_failure(error)
    http.close()
    if failure is not None:
        raise failure


def logout(settings: Settings) -> bool:
    """Forget the kept tokens; whether there were any."""
    file = cache_file(settings)
    with (
        filelock.FileLock(str(file.path) + ".lock", mode=0o600)
        if file.path.exists()
        else (contextlib.nullcontext())
    ):
        return file.remove()


def silent_acquirer(
    settings: Settings, http: TokenHttp
) -> Callable[[bool, str | None], Mapping[str, Any]]:
    """What `MsalTokens` gets tokens by after a login: from the cache, refreshed as needed."""

    def acquire(force: bool, claims: str | None) -> Mapping[str, Any]:
        with cache_file(settings).opened() as cache:
            app = _application(settings, http, cache)
            accounts = app.get_accounts()
            if not accounts:
                raise AuthenticationError(
                    "NotSignedIn",
                    method="POST",
                    path_template=WHERE,
                    detail="nobody is signed in: run `entra-pipeline login`",
                )
            result: Mapping[str, Any] | None = app.acquire_token_silent_with_error(
                _scopes(settings),
                account=accounts[0],
                force_refresh=force,
                claims_challenge=claims,
            )
            return result or {"error": "interaction_required"}

    return acquire


def _application(settings: Settings, http: TokenHttp, cache: Any) -> Any:
    return msal.PublicClientApplication(
        settings.client_id, token_cache=cache, **application_arguments(settings, http)
    )


def _scopes(settings: Settings) -> list[str]:
    return [f"{settings.endpoints.graph_url}/.default"]
