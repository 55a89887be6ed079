"""Asking Dagster's webserver, and waiting for what it comes to."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def ask(url: str, query: str, **variables: Any) -> Any:
    """The data that a query gives."""
    request = urllib.request.Request(
        f"{url}/graphql",
        json.dumps({"query": query, "variables": variables}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        document = json.load(answer)
    assert "errors" not in document, document["errors"]
    return document["data"]


def until(what: str, probe: Callable[[], T | None], seconds: float = 120.0) -> T:
    """What the probe gives as soon as it gives anything."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = probe()
        if found is not None:
            return found
        time.sleep(0.5)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")
