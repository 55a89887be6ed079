"""Judging what a plan means by the policy: separation of duties, and how much may change.

Here: reasons against a plan. Not here: what it means (`effects`), and what is judged request by
request (`planning`).

What cannot be judged because something is not known counts as broken where the policy has conflicts
that it may break.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from entra_pipeline.provisioning.ledger import Filed
from entra_pipeline.provisioning.policy import Conflict, Limit, Policy
from entra_pipeline.provisioning.values import Grant, Offboard, Source

if TYPE_CHECKING:
    from entra_pipeline.provisioning.effects import Effects

LEAST_OF_PERCENT: Final = 100
"""A limit in percent allows so many in any case: a part of little is nothing."""


def against_kind(policy: Policy, filed: Filed, together: int, now: datetime) -> list[str]:
    """What the policy has against offboarding and emergency access, which it has to allow.

    `together`: how many requests are planned at once.
    """
    request = filed.request
    if isinstance(request.body, Offboard):
        return _against_offboarding(policy, request.source, together)
    if not request.emergency or not isinstance(request.body, Grant):
        return []
    rule = policy.emergency
    if rule is None:
        return ["the policy has no `emergency` entry: nothing is given before it is approved"]
    reasons = []
    if not rule.lets(request.asked_by):
        reasons.append(f"the policy does not let {request.asked_by.key} ask for emergency access")
    if request.body.access.type not in rule.kinds:
        reasons.append(
            f"the policy knows no emergency access of kind {request.body.access.type}: "
            f"those are {', '.join(rule.kinds)}"
        )
    begins = max(filed.filed_at, request.not_before or filed.filed_at)
    if request.expires_at is None or request.expires_at - begins > rule.longest:
        reasons.append(f"emergency access lasts {rule.longest} at most: ask for less")
    return reasons


def _against_offboarding(policy: Policy, source: Source, together: int) -> list[str]:
    if policy.offboard is None:
        return ["the policy has no `offboard` entry: it lets nobody be offboarded"]
    reasons = []
    if together > 1:
        reasons.append("an offboarding is a plan of its own: file it by itself")
    if source is Source.LEAVE_DATE and not policy.offboard.file_from_leave_date:
        reasons.append("the policy files no offboarding from the date of leaving any more")
    return reasons


def limits_for(policy: Policy, batch: Iterable[Filed]) -> Policy:
    """The policy with the limits that these requests are judged by."""
    offboarding = all(isinstance(filed.request.body, Offboard) for filed in batch)
    if not offboarding or policy.offboard is None:
        return policy
    return policy.model_copy(update={"limits": policy.offboard.limits})


def too_many_leavers(policy: Policy, before: int) -> list[str]:
    """Whether one person more is too many. `before`: how many are offboarded within the day."""
    if policy.offboard is None or before < policy.offboard.people_a_day:
        return []
    return [
        f"{before} people are offboarded within one day, the policy's limit is "
        f"{policy.offboard.people_a_day}: wait, or raise `offboard.people_a_day`"
    ]


@dataclass(frozen=True)
class Amount:
    """Effective access gained and lost."""

    gained: int = 0
    lost: int = 0

    def plus(self, other: Amount) -> Amount:
        """Both together."""
        return Amount(self.gained + other.gained, self.lost + other.lost)


def against(
    policy: Policy, effects: Effects, batch: Sequence[Filed], now: datetime
) -> dict[str, list[str]]:
    """Conflicts that a plan would make, and what it would take from those who are to keep what they
    have, by request id."""
    found: dict[str, list[str]] = {}
    for who in sorted(effects.losing):
        said = f"{who} is protected, and would lose access by it: see who is in the group"
        for filed in batch:
            found.setdefault(filed.id, []).append(said)
    grants = [
        filed
        for filed in batch
        if isinstance(filed.request.body, Grant)
        # Heirs of what a leaver owned gain something, too.
        or (isinstance(filed.request.body, Offboard) and effects.delta.gained_count)
    ]
    if not policy.conflicts or not grants:
        return found
    if effects.why_unsure:
        why = "; ".join(effects.why_unsure)
        said = f"whether it breaks a separation of duties is not known: {why}. Sync, and plan again"
        return {filed.id: [said] for filed in grants}
    for who, (gained, held) in sorted(effects.watched.items()):
        for conflict in policy.conflicts:
            left, right = (sorted(held & set(side)) for side in conflict.sides)
            if not left or not right or not gained & {*conflict.sides[0], *conflict.sides[1]}:
                continue
            if (reason := _exempt(conflict, who, grants, now)) is None:
                continue
            sides = f"{left[0]} and {right[0]}"
            said = f"{who} would hold both sides of {conflict.name!r}: {sides}{reason}"
            of_their_own = [
                filed
                for filed in grants
                if isinstance(filed.request.body, Grant) and filed.request.body.principal_id == who
            ]
            for filed in of_their_own or grants:
                found.setdefault(filed.id, []).append(said)
    return found


def _exempt(conflict: Conflict, who: str, grants: Iterable[Filed], now: datetime) -> str | None:
    """None when an exception covers it; else what is to be said of exceptions, maybe nothing."""
    until = max((each.until for each in conflict.exceptions if each.principal == who), default=None)
    if until is None:
        return ""
    if until <= now:
        return f"; their exception ended {until:%Y-%m-%d %H:%M} UTC"
    ends = [filed.request.expires_at for filed in grants]
    if all(end is not None and end <= until for end in ends):
        return None
    return f"; their exception ends {until:%Y-%m-%d %H:%M} UTC: ask with an end until then"


def too_much(
    policy: Policy,
    plan: Amount,
    before: Mapping[str, Amount],
    total: int | None,
    leave: Mapping[str, int],
) -> list[str]:
    """Which limits a plan goes beyond. `before`: what other plans change within the `hour` and
    `day`; `total`: all effective access there is; `leave`: the numbers that the plan asks for."""
    reasons = []
    for window, limit in (
        ("plan", policy.limits.plan),
        ("hour", policy.limits.hour),
        ("day", policy.limits.day),
    ):
        amount = plan.plus(before.get(window, Amount()))
        for what in ("gained", "lost"):
            number, own = getattr(amount, what), getattr(plan, what)
            most = _most(limit, what, total)
            if most is None or number <= most or not own or number <= leave.get(what, 0):
                continue
            within = "by this plan" if window == "plan" else f"within one {window}"
            reasons.append(
                f"{number} pieces of effective access would be {what} {within}, the policy's limit "
                f"is {most}: plan less at once, or `plan --most-{what} {number}`, which whoever "
                "approves agrees to"
            )
    return reasons


def _most(limit: Limit, what: str, total: int | None) -> int | None:
    numbers = [limit.gained if what == "gained" else limit.lost]
    if what == "lost" and limit.lost_percent is not None and total is not None:
        numbers.append(max(int(total * limit.lost_percent / 100), LEAST_OF_PERCENT))
    given = [number for number in numbers if number is not None]
    return min(given) if given else None
