"""From requests to a plan: live facts, structure, policy; or the reasons why there is none.

Belongs here: which reads a batch of requests needs, drafts by kind, and putting them together.
Does not belong here: what a draft of one kind looks like (`drafts`), effective access (`effects`).

One reason stops the whole batch: what people approve is all of it, or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from entra_pipeline.provisioning import canonical, guards
from entra_pipeline.provisioning.drafts import Draft, draft, first_needs, needs
from entra_pipeline.provisioning.ledger import Filed
from entra_pipeline.provisioning.plans import Delta, Operation, Plan
from entra_pipeline.provisioning.policy import Policy
from entra_pipeline.provisioning.reads import FactReader
from entra_pipeline.provisioning.values import CreateGroup, Grant, Source, Tier

_EMERGENCY: Final = (
    "an emergency: carried out without approval; a review stays open until somebody else closes it"
)


@dataclass(frozen=True)
class Refusal:
    """Why there is no plan: reasons by request id; requests without one are held up by the rest."""

    reasons: Mapping[str, tuple[str, ...]]


class Planner:
    """Makes plans for one tenant under one policy.

    `own_ids`: our own applications' objects. `recipients`: the keys that new passwords are sealed
    to; who approves a plan approves them too. `synchronizing`: accounts that synchronize the
    directory.
    """

    def __init__(
        self,
        tenant_id: str,
        policy: Policy,
        reader: FactReader,
        own_ids: frozenset[str],
        recipients: tuple[str, ...] = (),
        synchronizing: frozenset[str] = frozenset(),
    ) -> None:
        self._tenant_id = tenant_id.lower()
        self._policy = policy
        self._reader = reader
        self._own_ids = own_ids
        self._recipients = recipients
        self._synchronizing = synchronizing

    def plan(self, batch: Sequence[Filed], now: datetime) -> Plan | Refusal:
        """The plan of a batch, a pure function of requests, facts and policy; or why not."""
        facts = self._reader.read(read for filed in batch for read in first_needs(filed.request))
        facts |= self._reader.read(
            read
            for filed in batch
            for read in needs(filed.request, facts)
            if read.url not in facts.documents
        )
        # What is known only now, such as that Exchange keeps one of a leaver's groups.
        facts |= self._reader.read(
            read
            for filed in batch
            for read in needs(filed.request, facts)
            if read.url not in facts.documents and read.url not in facts.errors
        )
        drafts = {filed.id: draft(filed, facts, self._recipients) for filed in batch}
        reasons = {
            filed.id: (
                *self._forbids(filed, drafts[filed.id], now),
                *guards.against_kind(self._policy, filed, len(batch), now),
                *drafts[filed.id].reasons,
            )
            for filed in batch
        }
        if any(reasons.values()):
            return Refusal({key: found for key, found in reasons.items() if found})
        operations: list[Operation] = []
        for filed in batch:
            for operation in drafts[filed.id].operations:
                placed = {"position": len(operations)}
                operations.append(operation.model_copy(update=placed))
        tier = min((operation.tier for operation in operations), default=Tier.ORDINARY)
        return Plan(
            tenant_id=self._tenant_id,
            policy_hash=self._policy.hash,
            requests={
                filed.id: canonical.digest(canonical.text(filed.request.document()))
                for filed in batch
            },
            operations=tuple(operations),
            delta=Delta(remains=tuple(k for each in drafts.values() for k in each.kept)),
            warnings=(
                *(_EMERGENCY for filed in batch if filed.request.emergency),
                *(w for each in drafts.values() for w in each.warnings),
            ),
            approvals_needed=self._approvals(batch, tier),
        )

    def _approvals(self, batch: Sequence[Filed], tier: Tier) -> int:
        # An expiry was approved together with its grant.
        if all(filed.request.source is Source.EXPIRY for filed in batch):
            return 0
        if all(filed.request.kind in self._policy.unapproved for filed in batch):
            return 0
        if all(filed.request.emergency for filed in batch):
            return 0  # approved after the fact: the ledger opens a review of it
        return self._policy.approvals.needed(tier)

    def _forbids(self, filed: Filed, drafted: Draft, now: datetime) -> list[str]:
        """What the policy has against a request."""
        request, policy = filed.request, self._policy
        reasons = []
        # Of these three, other parts of the policy say who may ask.
        asked = request.source not in (Source.EXPIRY, Source.LEAVE_DATE) and not request.emergency
        if asked and not policy.may_ask(request.kind, request.asked_by):
            reasons.append(f"the policy does not let {request.asked_by.key} ask for {request.kind}")
        touched = {operation.target_id for operation in drafted.operations} | {
            operation.principal_id for operation in drafted.operations
        }
        if isinstance(request.body, CreateGroup):
            touched |= {*request.body.owner_ids, *request.body.member_ids}
        for protected, what in (
            (policy.protected.principals, "principal"),
            (policy.protected.groups, "group"),
        ):
            reasons += [
                f"{what} {each} is protected by the policy: nothing here changes it"
                for each in sorted(touched & set(protected) - {None}, key=str)
            ]
        if own := touched & self._own_ids:
            reasons.append(
                f"{sorted(map(str, own))[0]} is this program's own application or owns it: "
                "it does not change what it may do itself"
            )
        if busy := touched & self._synchronizing:
            reasons.append(
                f"{sorted(map(str, busy))[0]} synchronizes the directory: nothing here changes it"
            )
        if isinstance(request.body, Grant):
            tier = min((operation.tier for operation in drafted.operations), default=Tier.ORDINARY)
            longest = policy.longest.of(tier)
            if longest is not None:
                begins = max(now, request.not_before or now)
                if request.expires_at is None or request.expires_at - begins > longest:
                    reasons.append(
                        f"the policy wants grants of tier {int(tier)} to end within {longest}: "
                        "ask with an end"
                    )
        if request.expires_at is not None and request.expires_at <= now:
            reasons.append(f"its end, {request.expires_at:%Y-%m-%d %H:%M} UTC, has passed")
        return reasons
