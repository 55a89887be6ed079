"""Where a token for Exchange may go: its front door, and the tenant's own place behind it.

The front door answers some requests with a redirect to `<prefix>.outlook.office365.com`. A token
that followed any redirect would be anybody's who can answer in Exchange's name, so that only hosts
below the configured one are followed, over the same scheme and port.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urljoin, urlsplit

from entra_pipeline.msgraph.errors import ForeignLinkError, path_template

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_PORTS: Final = {"https": 443, "http": 80}


class Places:
    """The configured origin and what belongs to it."""

    def __init__(self, exchange_url: str) -> None:
        parts = urlsplit(exchange_url)
        self._scheme = parts.scheme
        self._host = (parts.hostname or "").lower()
        self._port = parts.port or _PORTS.get(parts.scheme)

    def checked(self, link: str, at: str) -> str:
        """A redirect's or a next link's absolute address; `at`: where it was found.

        Raises ForeignLinkError for every other place; no token was sent there.
        """
        url = urljoin(at, link)
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme)
        except ValueError:
            raise _foreign(at, "the link is no address") from None
        odd = not link or any(char <= " " or char == "\\" for char in link) or "@" in parts.netloc
        if odd or parts.scheme != self._scheme or port != self._port or not self._ours(host):
            raise _foreign(at, "the link leads to another scheme, host or port")
        return url

    def _ours(self, host: str) -> bool:
        if self._host in _LOOPBACK:
            return host in _LOOPBACK
        return host == self._host or host.endswith(f".{self._host}")


def _foreign(at: str, why: str) -> ForeignLinkError:
    return ForeignLinkError(
        "ForeignLink", method="POST", path_template=path_template(at), detail=why
    )
