"""Claims challenges: what Graph demands of the next token when it revokes one early.

Belongs here: reading `WWW-Authenticate`. Source: continuous access evaluation,
https://learn.microsoft.com/entra/identity-platform/claims-challenge.
"""

from __future__ import annotations

import base64
import binascii
import json
import re

_CLAIMS = re.compile(r'\bclaims="([^"]*)"')


def claims_of_challenge(header: str | None) -> str | None:
    """The JSON text of the claims in a `WWW-Authenticate` header; None without one."""
    match = _CLAIMS.search(header or "")
    if match is None:
        return None
    text = match[1]
    padded = text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)
    try:
        claims = base64.b64decode(padded, validate=True).decode()
        return claims if isinstance(json.loads(claims), dict) else None
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
