"""One text for one value: what hashes of plans and of the audit chain are taken over."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any


def text(value: Any) -> str:
    """Canonical JSON: keys sorted, no spaces, times in UTC with microseconds and Z.

    Numbers that are not whole are refused with TypeError: they have no one text. So is anything
    else that JSON does not know.
    """
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(*parts: str) -> str:
    """SHA-256 over the parts, each led by its length: no two lists of parts look alike."""
    hashing = hashlib.sha256()
    for part in parts:
        data = part.encode()
        hashing.update(f"{len(data)}:".encode())
        hashing.update(data)
    return hashing.hexdigest()


def moment(value: datetime) -> str:
    """A time as it stands in canonical JSON. ValueError for one without a zone."""
    if value.tzinfo is None:
        raise ValueError(f"{value.isoformat()} has no time zone")
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _plain(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case datetime():
            return moment(value)
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case frozenset() | set():
            return sorted(_plain(item) for item in value)
    raise TypeError(f"{type(value).__name__} has no canonical text")
