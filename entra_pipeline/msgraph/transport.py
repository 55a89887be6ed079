"""HTTP sessions as this product wants them.

Belongs here: trust in certificates, proxies, the connection pool, what libraries may log. Does
not belong here: tokens, retries, Graph's meaning of an answer.

Two habits of requests are turned off on purpose. With `trust_env` it lets REQUESTS_CA_BUNDLE win
over the session's own `verify`, and lets an entry of ~/.netrc replace our bearer token; so it is
off, and the environment's proxies are looked up here. And it follows redirects, to which a token
or a secret in a POST body could leak; so they are not followed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from entra_pipeline.msgraph.errors import path_template
from entra_pipeline.settings import Settings

SessionFactory = Callable[[], requests.Session]


class GraphSession(requests.Session):
    """A session that trusts one CA bundle, uses the environment's proxies, follows no redirect."""

    def __init__(
        self,
        *,
        ca_file: str | None,
        proxies_for: Callable[[str], dict[str, str]],
        connections: int,
        timeout: tuple[float, float],
    ) -> None:
        silence_libraries()
        super().__init__()
        self.trust_env = False
        self.verify = ca_file or True
        self._proxies_for = proxies_for
        self._proxies_by_origin: dict[str, dict[str, str]] = {}
        self._timeout = timeout
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = HTTPAdapter(
            pool_connections=4, pool_maxsize=connections, max_retries=0, pool_block=True
        )
        self.mount("https://", adapter)
        self.mount("http://", adapter)
        self.headers.clear()
        self.headers["User-Agent"] = "entra-pipeline"
        self.headers["Accept-Encoding"] = "gzip"

    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> requests.Response:
        """As `requests.Session.request`, with our timeout and never a redirect."""
        kwargs["allow_redirects"] = False
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self._timeout
        return super().request(method, url, *args, **kwargs)

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        """The environment's proxies, our own trust."""
        parts = urlsplit(str(url))
        origin = f"{parts.scheme}://{parts.netloc}"
        found = self._proxies_by_origin.get(origin)
        if found is None:
            found = self._proxies_by_origin[origin] = self._proxies_for(origin)
        return {
            "proxies": {**found, **(proxies or {})},
            "stream": stream,
            "verify": self.verify,
            "cert": cert,
        }


def session_factory(settings: Settings) -> SessionFactory:
    """Sessions by the settings: one connection per round trip that may be in flight."""

    def make() -> requests.Session:
        return GraphSession(
            ca_file=settings.ca_file,
            proxies_for=settings.proxies_for,
            connections=settings.concurrency,
            timeout=(settings.connect_timeout_seconds, settings.read_timeout_seconds),
        )

    return make


class _PathFilter(logging.Filter):
    """Replaces ids and queries in urllib3's line per request: paths can hold people's names."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple) and any("/" in str(arg) for arg in record.args):
            record.args = tuple(
                path_template(arg)
                if isinstance(arg, str) and (arg.startswith("/") or "://" in arg)
                else arg
                for arg in record.args
            )
        return True


_PATH_FILTER = _PathFilter()


def silence_libraries() -> None:
    """Keep tokens and names out of the logs of the libraries below us.

    urllib3 logs each request's path and query at DEBUG, MSAL whole token responses.
    """
    logging.getLogger("urllib3.connectionpool").addFilter(_PATH_FILTER)
    logging.getLogger("msal").setLevel(logging.WARNING)
