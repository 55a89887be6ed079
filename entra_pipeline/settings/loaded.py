"""Settings as everybody uses them: read from the environment and `.env`, and checked.

The only module that reads the environment for settings. Does not belong here: a setting's
declaration (`declared`), anything that uses a setting (credentials live in `msgraph.auth`, the
data directory in `lake`).
"""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import PrivateAttr, ValidationError
from pydantic_settings import DotEnvSettingsSource

from entra_pipeline.clouds import CLOUDS, Endpoints
from entra_pipeline.settings import sign_in
from entra_pipeline.settings.declared import PREFIX, Auth, Declared, variable

DEFAULT_ENV_FILE = Path(".env")


class SettingsError(ValueError):
    """Settings are wrong or missing; `messages` has one line for each, naming the variable."""

    def __init__(self, messages: Iterable[str]) -> None:
        self.messages = tuple(messages)
        super().__init__("\n".join(self.messages))


class Settings(Declared):
    """All settings. Use `Settings.load` (everything a sync needs) or `Settings.for_data_only`."""

    _ca_file: str | None = PrivateAttr(None)
    _unknown: tuple[str, ...] = PrivateAttr(())

    @classmethod
    def load(cls, env_file: Path | None = None, **overrides: Any) -> Self:
        """Settings for a sync: also checks that the sign-in is complete.

        `env_file` defaults to `.env` in the working directory, if there is one. The environment
        wins over the file, `overrides` (by field name) over both. Raises `SettingsError`.
        """
        settings = cls.for_data_only(env_file, **overrides)
        problems = settings._sign_in_problems()
        if problems:
            raise SettingsError(problems)
        return settings

    @classmethod
    def for_data_only(cls, env_file: Path | None = None, **overrides: Any) -> Self:
        """Settings for commands that only read the data directory: no sign-in is demanded."""
        if env_file is not None and not env_file.is_file():
            raise SettingsError([f"{env_file}: no such settings file; give the path of one."])
        path = env_file or DEFAULT_ENV_FILE
        try:
            settings = cls(_env_file=path, **overrides)  # type: ignore[call-arg]
        except ValidationError as error:
            messages = [_message(e) for e in error.errors(include_input=False, include_url=False)]
            raise SettingsError(messages) from None
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise SettingsError([f"{path}: cannot be read: {reason}."]) from None
        settings._ca_file = _first_ca_file(settings.ca_bundle, os.environ)
        settings._unknown = _unknown_names(path)
        return settings

    @functools.cached_property
    def endpoints(self) -> Endpoints:
        """Addresses to use: the cloud's own, each replaced by its override."""
        own = CLOUDS[self.cloud]
        return Endpoints(
            graph_url=self.graph_url or own.graph_url,
            authority_url=self.authority_url or own.authority_url,
            exchange_url=self.exchange_url or own.exchange_url,
            cloud=self.cloud,
            authority_is_known=self.authority_url is None,
        )

    @property
    def auth_kind(self) -> Auth:
        """The credential to use; raises `SettingsError` when it cannot be told."""
        if self.auth is not None:
            return self.auth
        complete = sign_in.complete_sets(self)
        if len(complete) == 1:
            return next(iter(complete))
        raise SettingsError(self._sign_in_problems() or ["ENTRA_AUTH: cannot be deduced."])

    @property
    def ca_file(self) -> str | None:
        """CA bundle to trust for every connection, None for requests' own."""
        return self._ca_file or (str(self.ca_bundle) if self.ca_bundle else None)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Lines about ENTRA_ variables that nothing reads: misspellings, mostly."""
        return self._unknown

    def proxies_for(self, url: str) -> dict[str, str]:
        """Proxies of the environment for `url` by scheme, NO_PROXY respected.

        None for link-local addresses: a machine's own metadata service answers there.
        """
        from requests.utils import get_environ_proxies

        if (urlsplit(url).hostname or "").startswith("169.254."):
            return {}
        return get_environ_proxies(url)

    def _sign_in_problems(self) -> list[str]:
        problems = sign_in.problems_of(self)
        # A misspelt name is often why another is missing.
        return [*problems, *self._unknown] if problems else []


def _message(error: Any) -> str:
    location = str(error["loc"][0]) if error["loc"] else ""
    name = location if location.isupper() else variable(location)
    name = name.replace("AZURE_FEDERATED", "ENTRA_FEDERATED")
    reason = str(error["msg"]).removeprefix("Value error, ").rstrip(".")
    remedy = "Correct or remove it; docs/settings.md describes it."
    return f"{name}: {reason[:1].lower()}{reason[1:]}. {remedy}"


def _first_ca_file(own: Path | None, environ: Mapping[str, str]) -> str | None:
    if own is not None:
        return str(own)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        path = environ.get(name)
        if path and Path(path).exists():
            return path
    return None


def _unknown_names(env_file: Path) -> tuple[str, ...]:
    known = {variable(field) for field in Settings.model_fields}
    given = {name.upper() for name in os.environ}
    if env_file.is_file():
        source = DotEnvSettingsSource(Settings, env_file=env_file)
        given |= {str(name).upper() for name in source.env_vars}
    lines = []
    for name in sorted(given - known):
        if name.startswith(PREFIX):
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            lines.append(f"{name}: no such setting.{hint}")
    return tuple(lines)
