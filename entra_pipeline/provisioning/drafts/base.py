"""What one request would write, and what the directory's own rules have against it.

Here: the shape of a draft, and what drafts of several families share. Drafts rest on live facts
alone; the policy comes later (`planning`), the writes themselves are `actions`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from entra_pipeline.provisioning.ledger import Filed
from entra_pipeline.provisioning.plans import Action, Change, Condition, Inverse, Operation
from entra_pipeline.provisioning.reads import (
    SEGMENTS,
    Facts,
    Read,
    UnreadError,
    kind_of_object,
    principal_url,
)
from entra_pipeline.provisioning.values import Grant, Revoke, Tier


@dataclass(frozen=True)
class Draft:
    """Operations (positions still 0), or the reasons against it; warnings for who approves.

    `kept`: what was to be taken and cannot be, each with the reason.
    """

    operations: tuple[Operation, ...] = ()
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    kept: tuple[Change, ...] = ()


class Family(Protocol):
    """Drafts of one kind of access."""

    def needs(self, body: Grant | Revoke, segment: str) -> Sequence[Read]:
        """The reads that a draft needs; `segment`: where Graph has the principal."""
        ...

    def draft(self, filed: Filed, body: Grant | Revoke, segment: str, facts: Facts) -> Draft:
        """The draft. May raise UnreadError."""
        ...


class Task(Protocol):
    """Drafts of one kind of request that is not about access."""

    def first(self, body: Any) -> Sequence[Read]:
        """What has to be read before it is known what else has to be."""
        ...

    def needs(self, body: Any, facts: Facts) -> Sequence[Read]:
        """The other reads that a draft needs. May raise UnreadError."""
        ...

    def draft(self, filed: Filed, body: Any, facts: Facts, recipients: tuple[str, ...]) -> Draft:
        """The draft. `recipients`: whom passwords are sealed to. May raise UnreadError."""
        ...


def segment_of(principal_id: str, facts: Facts) -> str | None:
    """Where Graph has the principal; None when there is none, or none that can hold access."""
    try:
        return SEGMENTS.get(kind_of_object(facts.document(principal_url(principal_id))))
    except UnreadError:
        return None


def access_operation(
    filed: Filed,
    body: Grant | Revoke,
    actions: tuple[Action, Action],
    arguments: Mapping[str, Any],
    *,
    holds: bool,
    tier: Tier,
    conditions: Sequence[Condition] = (),
    target_id: str | None = None,
    undo: Mapping[str, Any] | None = None,
) -> Draft:
    """The draft of giving or taking one piece of access.

    `actions`: the one that gives and the one that takes; `holds`: the principal has it now.
    `target_id`: what Graph changes, where that is not what the access is to; `undo`: arguments of
    the inverse, where those are not the operation's own.
    """
    adds = isinstance(body, Grant)
    warnings = []
    if adds and holds and filed.request.expires_at is not None:
        warnings.append(
            f"{body.principal_id} has {body.access.entitlement_id} already: it stays when this ends"
        )
    action, opposite = actions if adds else reversed(actions)
    operation = Operation(
        position=0,
        request_id=filed.id,
        action=action,
        identity=body.identity,
        target_id=target_id or body.access.resource_id,
        principal_id=body.principal_id,
        arguments=arguments,
        preconditions=tuple(conditions),
        already=holds is adds,
        tier=tier,
        inverse=Inverse(action=opposite, arguments=arguments if undo is None else undo),
    )
    return Draft((operation,), warnings=tuple(warnings))
