"""Microsoft's clouds and their addresses.

Belongs here: where each cloud listens, and what an address in the settings may look like. Does
not belong here: which cloud is used (`settings`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit


class Cloud(StrEnum):
    """Microsoft's clouds: https://learn.microsoft.com/graph/deployments."""

    GLOBAL = "global"
    USGOV = "usgov"
    USGOV_DOD = "usgov_dod"
    CHINA = "china"


@dataclass(frozen=True)
class Endpoints:
    """Where one cloud listens; each URL is `scheme://host[:port]` without a trailing slash."""

    graph_url: str
    authority_url: str
    exchange_url: str
    cloud: Cloud = Cloud.GLOBAL
    authority_is_known: bool = True
    """False when the authority was overridden: Microsoft's instance discovery, which knows its
    own hosts only, must then be left out."""


CLOUDS: Mapping[Cloud, Endpoints] = {
    Cloud.GLOBAL: Endpoints(
        "https://graph.microsoft.com",
        "https://login.microsoftonline.com",
        "https://outlook.office365.com",
        Cloud.GLOBAL,
    ),
    Cloud.USGOV: Endpoints(
        "https://graph.microsoft.us",
        "https://login.microsoftonline.us",
        "https://outlook.office365.us",
        Cloud.USGOV,
    ),
    Cloud.USGOV_DOD: Endpoints(
        "https://dod-graph.microsoft.us",
        "https://login.microsoftonline.us",
        "https://outlook-dod.office365.us",
        Cloud.USGOV_DOD,
    ),
    Cloud.CHINA: Endpoints(
        "https://microsoftgraph.chinacloudapi.cn",
        "https://login.partner.microsoftonline.cn",
        "https://partner.outlook.cn",
        Cloud.CHINA,
    ),
}


def parse_origin(value: str) -> str:
    """`scheme://host[:port]` of an address, with `/`, `/v1.0` or `/beta` after it dropped.

    Raises ValueError when it is anything else, or plain http to another machine (a bearer token
    would travel in clear).
    """
    parts = urlsplit(value.strip())
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the port is not a number from 1 to 65535") from None
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise ValueError("must be scheme://host or scheme://host:port")
    if "@" in parts.netloc or parts.query or parts.fragment or "\\" in value:
        raise ValueError("must be scheme://host:port without user, query or fragment")
    if parts.path.rstrip("/") not in {"", "/v1.0", "/beta"}:
        raise ValueError("must be scheme://host:port without a path")
    if parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        raise ValueError("plain http is accepted on loopback only; use https")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    default = {"https": 443, "http": 80}[parts.scheme]
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in {None, default} else "")
