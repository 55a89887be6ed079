"""What every kind of write has to say of itself, without doing anything.

A handler is pure: it names what has to be read, says from that what is so, how the write is worded,
and what an answer means. Who reads and writes is `applying`; who plans, `planning`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Protocol
from urllib.parse import quote

from entra_pipeline.msgraph import Service, Written
from entra_pipeline.msgraph.errors import (
    AuthenticationError,
    ConnectionFailedError,
    GraphError,
    ServerError,
    ThrottledError,
)
from entra_pipeline.msgraph.writing import GaveUpError
from entra_pipeline.provisioning.ledger.work import Outcome
from entra_pipeline.provisioning.plans import Operation
from entra_pipeline.provisioning.reads import Facts, Read
from entra_pipeline.provisioning.states import OperationState


@dataclass(frozen=True)
class Seen:
    """What reads say of an operation.

    `holds`: its effect is there already. `against`: what of its preconditions is no longer so: then
    the plan is stale. `facts`: values that the write needs. `mine`: the effect counts only when a
    write of ours may have made it; before any it is somebody else's. `unclear`: after a lost
    answer, why a person has to decide. `result`: what a success leaves behind.
    """

    holds: bool
    against: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    mine: bool = False
    unclear: str | None = None
    result: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """A write as Graph wants it: `url` relative to the version root; `units` of the write quota.

    Of Exchange (`service`), `url` is a command's name and `body` its parameters.

    `seals`: what is sealed together with a new password, which goes into the body as
    `passwordProfile`. `note`: what the record of a success says. `result`: what is kept whatever
    comes of it. `more`: writes that belong to it, each sent when the one before was answered; of
    those that have a `label` the result keeps what became of them.
    """

    method: str
    url: str
    body: Mapping[str, Any] | None = None
    units: int = 1
    seals: Mapping[str, Any] | None = None
    note: str | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    label: str | None = None
    more: tuple[Call, ...] = ()
    service: Service = Service.DIRECTORY


AT_ONCE: Final = timedelta(0)


class Handler(Protocol):
    """One family of writes."""

    @property
    def visible_within(self) -> timedelta:
        """For how long what was written may not show."""
        ...

    @property
    def again_after(self) -> timedelta | None:
        """After a lost answer, for how long the effect must not have shown before it is written
        once more: zero where Graph refuses to do the same twice; None: a person decides."""
        ...

    def reads(self, operation: Operation) -> tuple[Read, ...]:
        """What `see` needs."""
        ...

    def see(self, operation: Operation, facts: Facts) -> Seen:
        """What is so. Raises UnreadError when it cannot be known."""
        ...

    def call(self, operation: Operation, seen: Seen, root: str) -> Call:
        """The write. `root`: where objects are referred to, such as https://…/v1.0."""
        ...

    def judge(self, operation: Operation, written: Written) -> Outcome:
        """What an answer means."""
        ...


RETRIED: Final = (
    AuthenticationError,
    ConnectionFailedError,
    GaveUpError,
    ServerError,
    ThrottledError,
)
"""What says nothing of the write itself, where nothing was done: no token, no way, no time."""


def judged(
    written: Written,
    *,
    already: tuple[str, ...] = (),
    later: tuple[str, ...] = (),
    advice: Mapping[str, str] | None = None,
) -> Outcome:
    """The common part of judging an answer.

    `already`: parts of messages that mean that it was so before; `later`: that something it needs
    has not shown yet; `advice`: parts of refusals -> what to do about them.
    """
    error = written.error
    if error is None:
        return Outcome(OperationState.WRITTEN, added=True)
    said = says(error)
    if written.happened is None:
        return Outcome(OperationState.AMBIGUOUS, str(error))
    if any(part in said for part in already):
        return Outcome(OperationState.ALREADY, str(error))
    if isinstance(error, RETRIED) or any(part in said for part in later):
        return Outcome(OperationState.RETRYABLE, str(error))
    remedies = [remedy for part, remedy in (advice or {}).items() if part in said]
    return Outcome(OperationState.REFUSED, "; ".join((str(error), *remedies)))


_ADDED: Final = ("references already exist",)
# The message is the same for a link that is not there and for an object that is not: which of the
# two it is was read beforehand.
_REMOVED: Final = ("removed object references do not exist", "request_resourcenotfound")
_NOT_YET: Final = ("request_resourcenotfound", "objects being referenced don't exist")


def reference_call(links: str, principal_id: str | None, root: str, *, adds: bool) -> Call:
    """`POST …/$ref`, or `DELETE …/{id}/$ref`: without `/$ref` the object itself would be deleted.

    `links`: where Graph has them, such as /groups/{id}/members.
    """
    if adds:
        return Call(
            "POST", f"{links}/$ref", {"@odata.id": f"{root}/directoryObjects/{principal_id}"}
        )
    return Call("DELETE", f"{links}/{principal_id}/$ref")


def judged_reference(written: Written, *, adds: bool) -> Outcome:
    """What Graph's answer to such a call means."""
    if adds:
        return judged(written, already=_ADDED, later=_NOT_YET)
    return judged(written, already=_REMOVED)


ADMINISTRATORS: Final = {
    "authorization_requestdenied": (
        "the writing application lacks a permission for this; for an administrator's account, and "
        "for anybody's password, it needs a directory role too, such as Privileged Authentication "
        "Administrator: `doctor` says what is missing"
    )
}
"""What to do when Graph lets us not touch an account.
Source: https://learn.microsoft.com/graph/api/resources/users#who-can-perform-sensitive-actions"""


def quoted(text: str) -> str:
    """A value for an address: within quotes of a filter or key, or as a segment."""
    return quote(text.replace("'", "''"), safe="@'")


def says(error: GraphError) -> str:
    """Code and message in one text, in lower case."""
    return f"{error.code}: {error.detail}".lower()
