"""Whether somebody's approval of a plan counts.

Here: who may approve, beforehand or (closing the review of emergency access) afterwards, and the
separation of those who ask, benefit and approve. Not here: how many approvals a plan needs
(`planning`), recording them (`ledger`).

Two people are told apart only when both are known in the same way: an operating system's user and
a signed-in one may be the same person. What cannot be told is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from entra_pipeline.provisioning.ledger import Approval, Filed
from entra_pipeline.provisioning.plans import Plan
from entra_pipeline.provisioning.policy import Policy
from entra_pipeline.provisioning.values import Grant, Identity, IdentityKind, Source


def against_approval(
    policy: Policy, plan: Plan, batch: Sequence[Filed], said: Sequence[Approval], by: Identity
) -> list[str]:
    """Why this person cannot approve this plan; empty when they can.

    `batch`: the plan's requests; `said`: what others said of the plan.
    """
    reasons = []
    if plan.policy_hash != policy.hash:
        reasons.append("the policy has changed since the plan was made: plan again")
    if by.kind is IdentityKind.OS_USER and not policy.os_user_approves:
        reasons.append(
            "the policy wants approvals by people who are signed in: approve with --sign-in"
        )
    elif not policy.may_approve(by):
        reasons.append(f"the policy does not let {by.key} approve")
    if policy.separate.requester:
        reasons += _as_requester(batch, by)
    if policy.separate.beneficiary:
        own = {filed.request.for_whom for filed in batch}
        for operation in plan.operations:
            own |= {operation.principal_id, operation.target_id}
        if by.subject in own:
            reasons.append("the plan is for you: somebody else has to approve it")
    others = {approval.identity.kind for approval in said if approval.verdict == "approve"}
    if plan.approvals_needed > 1 and others - {by.kind}:
        reasons.append(
            "an earlier approval is by somebody known in another way, so that you and they cannot "
            "be told apart: approve as they did"
        )
    return reasons


def _as_requester(batch: Sequence[Filed], by: Identity) -> list[str]:
    # What the directory's date of leaving has filed, nobody asked for.
    asked = {
        filed.request.asked_by.key: filed.request.asked_by
        for filed in batch
        if filed.request.source is not Source.LEAVE_DATE
    }
    if by.key in asked:
        return ["you asked for it: somebody else has to approve it"]
    unlike = sorted(key for key, who in asked.items() if who.kind is not by.kind)
    if unlike:
        return [
            f"whether you are who asked ({unlike[0]}) cannot be told: ask and approve in the same "
            "way (--sign-in), or have the policy say `separate: {requester: false}`"
        ]
    return []


def against_closing(policy: Policy, filed: Filed, by: Identity) -> list[str]:
    """Why this person cannot close the review of that emergency; empty when they can.

    Whoever asked never can, whatever the policy says of approvals: somebody else has to look.
    """
    reasons = []
    asked = filed.request.asked_by
    if by.kind is IdentityKind.OS_USER and not policy.os_user_approves:
        reasons.append("the policy wants people who are signed in: close it with --sign-in")
    elif not policy.may_approve(by):
        reasons.append(f"the policy does not let {by.key} approve, and so close reviews")
    if by.key == asked.key:
        reasons.append("you asked for it: somebody else has to look at it")
    elif asked.kind is IdentityKind.SYSTEM and by.kind is not IdentityKind.ENTRA:
        reasons.append("who launched it is not known: close it with --sign-in")
    elif asked.kind not in (by.kind, IdentityKind.SYSTEM) and policy.separate.requester:
        reasons.append(
            f"whether you are who asked ({asked.key}) cannot be told: be known in the same way, or "
            "have the policy say `separate: {requester: false}`"
        )
    body = filed.request.body
    whose = {filed.request.for_whom, body.principal_id if isinstance(body, Grant) else None}
    if policy.separate.beneficiary and by.subject in whose:
        reasons.append("the access was for you: somebody else has to look at it")
    return reasons
