"""Spans of time, half open, and sets of them: pure.

Here: joining, cutting and subtracting. Not here: what a span means (`events` keeps those that were
read whole).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

Span: TypeAlias = tuple[datetime, datetime]
"""From, to: the first moment belongs to it, the last does not."""


def joined(spans: Iterable[Span]) -> list[Span]:
    """The same moments in as few spans as possible, in order; empty spans are dropped."""
    found: list[Span] = []
    for start, end in sorted((a.astimezone(UTC), b.astimezone(UTC)) for a, b in spans if a < b):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def missing(whole: Span, spans: Sequence[Span]) -> list[Span]:
    """The parts of `whole` that no span has, in order."""
    found: list[Span] = []
    at, last = whole
    for start, end in joined(spans):
        if start > at:
            found.append((at, min(start, last)))
        at = max(at, end)
        if at >= last:
            break
    if at < last:
        found.append((at, last))
    return [(a, b) for a, b in found if a < b]


def since(moment: datetime, spans: Iterable[Span]) -> list[Span]:
    """What the spans hold of the time from `moment` on."""
    return joined((max(start, moment), end) for start, end in spans)
