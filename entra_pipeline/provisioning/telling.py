"""Telling people of emergency access: one alert of each, until the webhook has taken it.

The alert goes where alerts go (ENTRA_ALERT_WEBHOOK_URL, else ENTRA_EVENTS_WEBHOOK_URL), and is
signed when there is ENTRA_EVENTS_WEBHOOK_SECRET. What waits is in the ledger, so that it outlives
the process that gave the access. It holds ids, and no names or reasons.
"""

from __future__ import annotations

import json
import logging
import time
from datetime import timedelta
from typing import Any, Final

import requests

from entra_pipeline.provisioning.ledger import Filed, Ledger, reviewing
from entra_pipeline.provisioning.ledger.reviewing import Review
from entra_pipeline.provisioning.values import Grant, IdentityKind
from entra_pipeline.settings import Settings
from entra_pipeline.signing import EVENT_HEADER, SIGNATURE_HEADER, signature

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 10.0
NOBODY: Final = (
    "nobody is told of emergency access: set ENTRA_ALERT_WEBHOOK_URL (or ENTRA_EVENTS_WEBHOOK_URL)"
)


def tell(ledger: Ledger, settings: Settings) -> int:
    """Post what is due; how many alerts were taken. Never raises for what the webhook does."""
    url = settings.alert_webhook_url or settings.events_webhook_url
    taken = 0
    for review, filed in reviewing.to_tell(ledger, timedelta(seconds=2 * TIMEOUT_S)):
        problem = NOBODY if url is None else _post(url.get_secret_value(), settings, review, filed)
        reviewing.told(ledger, review.id, problem)
        taken += problem is None
        if problem is not None:
            log.warning("review %s: %s", review.id, problem)
    return taken


def alert(review: Review, filed: Filed) -> dict[str, Any]:
    """What is told of one."""
    body, asked = filed.request.body, filed.request.asked_by
    access = body if isinstance(body, Grant) else None
    ends = filed.request.expires_at
    what = access.access.entitlement_id if access is not None else ""
    who = access.principal_id if access is not None else ""
    return {
        "event": "emergency_access",
        "text": (
            f"entra-pipeline: emergency access to {what} for {who}, not approved beforehand, "
            f"request {filed.id}. Look at it: entra-pipeline review close {review.id}"
        ),
        "review_id": review.id,
        "request_id": filed.id,
        "principal_id": who,
        "entitlement_id": what,
        "mode": None if access is None else access.mode.value,
        "asked_by_kind": asked.kind.value,
        "asked_by": asked.subject if asked.kind is IdentityKind.ENTRA else None,
        "opened_at": review.opened_at.isoformat(),
        "expires_at": None if ends is None else ends.isoformat(),
    }


def _post(url: str, settings: Settings, review: Review, filed: Filed) -> str | None:
    """Post one; why it was not taken, without the address, which is a secret."""
    body = json.dumps(alert(review, filed), separators=(",", ":")).encode()
    headers = {"Content-Type": "application/json", EVENT_HEADER: review.id}
    if settings.events_webhook_secret is not None:
        secret = settings.events_webhook_secret.get_secret_value()
        headers[SIGNATURE_HEADER] = signature(secret, body, int(time.time()))
    try:
        answer = requests.post(
            url,
            data=body,
            headers=headers,
            timeout=TIMEOUT_S,
            verify=settings.ca_file or True,
            allow_redirects=False,
        )
    except requests.RequestException as error:
        return f"the webhook did not take the alert ({type(error).__name__})"
    if 200 <= answer.status_code < 300:
        return None
    return f"the webhook did not take the alert (HTTP {answer.status_code})"
