"""Taking back what was granted for a time.

An expiry is approved together with its grant: it needs no other approval and no fresh tables, only
live reads. It takes back what our own write added, and nothing else. What the directory's rules or
the policy's protections forbid (the last owner, say) is refused, shown, and tried again at the next
sweep.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from entra_pipeline.provisioning.drafts import ending
from entra_pipeline.provisioning.ledger import Filed, Ledger
from entra_pipeline.provisioning.ledger.confirming import Confirming
from entra_pipeline.provisioning.ledger.work import Work
from entra_pipeline.provisioning.planning import Planner, Refusal
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.values import Source

log = logging.getLogger(__name__)

NOTHING = "nothing"
"""In place of a request's id: our write added nothing, so nothing is taken back."""


@dataclass(frozen=True)
class Swept:
    """What a sweep did: endings that may run now, endings refused, grants that we never added."""

    approved: tuple[str, ...]
    refused: tuple[str, ...]
    nothing: tuple[str, ...]


def sweep(ledger: Ledger, planner: Planner, limit: int = 500) -> Swept:
    """File and plan the ending of every grant whose end has come.

    Safe to repeat and to run twice at once: each ending has an idempotency key of its own.
    """
    confirming, work = Confirming(ledger), Work(ledger, "sweep")
    endings: list[Filed] = []
    nothing = []
    for granted in confirming.expiring(limit):
        request = ending(granted, f"ending-of-{granted.id}")
        if request is None or not any(step.added for step in work.steps(granted.id)):
            confirming.ended_by(granted.id, NOTHING, taken_back=False)
            nothing.append(granted.id)
            continue
        (filed,) = ledger.file([request])
        confirming.ended_by(granted.id, filed.id)
        endings.append(filed)
    # Those that were filed and never planned (a crash), or refused before.
    endings += _left(ledger, {filed.id for filed in endings}, limit)
    approved, refused = [], []
    for filed in endings:  # each a plan of its own: one that is refused holds up no other
        plan = planner.plan([filed], ledger.clock())
        if isinstance(plan, Refusal):
            reasons = plan.reasons[filed.id]
            if (filed.state, filed.reasons) != (RequestState.REFUSED, reasons):
                ledger.refuse({filed.id: reasons})
                log.warning("%s cannot end a grant: %s", filed.id, "; ".join(reasons))
            refused.append(filed.id)
        else:
            ledger.save_plan(filed.batch_id, plan)
            approved.append(filed.id)
    return Swept(tuple(approved), tuple(refused), tuple(nothing))


def _left(ledger: Ledger, known: set[str], limit: int) -> Sequence[Filed]:
    states = (RequestState.FILED, RequestState.REFUSED, RequestState.STALE)
    return [
        filed
        for filed in ledger.requests(states=states, source=Source.EXPIRY, limit=limit)
        if filed.id not in known
    ]
