"""How a body is signed that is posted to a listener, and the headers that say so.

`HMAC-SHA256(secret, timestamp + "." + body)`: the listener must refuse what is not signed so and
what is old. docs/events.md shows how.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

EVENT_HEADER: Final = "Entra-Pipeline-Event"
"""The id of what is told: the same may come twice."""
SIGNATURE_HEADER: Final = "Entra-Pipeline-Signature"


def signature(secret: str, body: bytes, timestamp: int) -> str:
    """The value of the signature's header: `t=<unix time>,v1=<hex>`."""
    signed = f"{timestamp}.".encode() + body
    return f"t={timestamp},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"
