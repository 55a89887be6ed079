"""The lives of requests and operations: their states, and from which to which they may go."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class RequestState(StrEnum):
    """Where a request stands."""

    FILED = "filed"
    """Asked for; not planned yet."""
    REFUSED = "refused"
    """A guard or the policy stands against it; the reasons are kept. It can be planned again."""
    PLANNED = "planned"
    """It waits for the approvals that its plan needs."""
    APPROVED = "approved"
    """It runs when its time has come."""
    RUNNING = "running"
    """A worker has claimed it."""
    WRITTEN = "written"
    """Everything was written, or was so already; reads have yet to confirm it."""
    DONE = "done"
    """Confirmed by reads."""
    STALE = "stale"
    """What the plan rested on has changed; nothing was written. Plan it again."""
    FAILED = "failed"
    """Graph refused; the reasons are kept."""
    AMBIGUOUS = "ambiguous"
    """Whether it was written could not be found out: a person decides."""
    DIVERGED = "diverged"
    """It was written, and reads show something else."""
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    MALFORMED = "malformed"
    """It could not be read; set aside with its reason."""


ENDED: Final = frozenset(
    {
        RequestState.DONE,
        RequestState.FAILED,
        RequestState.DIVERGED,
        RequestState.REJECTED,
        RequestState.CANCELLED,
        RequestState.MALFORMED,
    }
)

_R = RequestState
REQUEST_MOVES: Final[Mapping[RequestState, frozenset[RequestState]]] = {
    _R.FILED: frozenset({_R.PLANNED, _R.REFUSED, _R.CANCELLED, _R.MALFORMED}),
    _R.REFUSED: frozenset({_R.PLANNED, _R.REFUSED, _R.CANCELLED}),
    _R.PLANNED: frozenset({_R.PLANNED, _R.APPROVED, _R.REFUSED, _R.REJECTED, _R.CANCELLED}),
    _R.APPROVED: frozenset({_R.RUNNING, _R.CANCELLED, _R.STALE, _R.MALFORMED}),
    _R.RUNNING: frozenset(
        {_R.APPROVED, _R.WRITTEN, _R.DONE, _R.STALE, _R.FAILED, _R.AMBIGUOUS, _R.MALFORMED}
    ),
    _R.WRITTEN: frozenset({_R.DONE, _R.DIVERGED}),
    _R.STALE: frozenset({_R.PLANNED, _R.REFUSED, _R.CANCELLED}),
    _R.AMBIGUOUS: frozenset({_R.WRITTEN, _R.DONE, _R.FAILED, _R.APPROVED}),
    _R.DIVERGED: frozenset({_R.DONE}),
}


class OperationState(StrEnum):
    """Where one operation of a plan stands."""

    PLANNED = "planned"
    WRITING = "writing"
    """Durable before the call: after a crash it is found out by reading, never just sent again."""
    WRITTEN = "written"
    ALREADY = "already"
    """It was so before: a success without a write."""
    AMBIGUOUS = "ambiguous"
    REFUSED = "refused"
    RETRYABLE = "retryable"
    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    """Reads did not agree before the deadline, and none contradicted it for good."""
    DIVERGED = "diverged"
    SKIPPED = "skipped"
    """An operation before it in the same request failed."""


_O = OperationState
OPERATION_MOVES: Final[Mapping[OperationState, frozenset[OperationState]]] = {
    _O.PLANNED: frozenset({_O.WRITING, _O.ALREADY, _O.REFUSED, _O.SKIPPED}),
    _O.WRITING: frozenset({_O.WRITTEN, _O.ALREADY, _O.AMBIGUOUS, _O.REFUSED, _O.RETRYABLE}),
    _O.RETRYABLE: frozenset({_O.WRITING, _O.ALREADY, _O.REFUSED, _O.SKIPPED}),
    _O.AMBIGUOUS: frozenset({_O.WRITTEN, _O.ALREADY, _O.RETRYABLE, _O.REFUSED}),
    _O.WRITTEN: frozenset({_O.VERIFIED, _O.UNVERIFIED, _O.DIVERGED}),
    _O.ALREADY: frozenset({_O.VERIFIED, _O.UNVERIFIED, _O.DIVERGED}),
    _O.UNVERIFIED: frozenset({_O.VERIFIED, _O.DIVERGED}),
    _O.DIVERGED: frozenset({_O.VERIFIED}),
}
