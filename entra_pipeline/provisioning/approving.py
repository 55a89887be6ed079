"""Whether somebody's approval of a plan counts.

Here: who may approve, and the separation of those who ask, benefit and approve. Not here: how many
approvals a plan needs (`planning`), recording them (`ledger`).

Two people are told apart only when both are known in the same way: an operating system's user and
a signed-in one may be the same person. What cannot be told is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from entra_pipeline.provisioning.ledger import Approval, Filed
from entra_pipeline.provisioning.plans import Plan
from entra_pipeline.provisioning.policy import Policy
from entra_pipeline.provisioning.values import Identity, IdentityKind


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
    asked = {filed.request.asked_by.key: filed.request.asked_by for filed in batch}
    if by.key in asked:
        return ["you asked for it: somebody else has to approve it"]
    unlike = sorted(key for key, who in asked.items() if who.kind is not by.kind)
    if unlike:
        return [
            f"whether you are who asked ({unlike[0]}) cannot be told: ask and approve in the same "
            "way (--sign-in), or have the policy say `separate: {requester: false}`"
        ]
    return []
