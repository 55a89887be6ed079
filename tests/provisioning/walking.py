"""Requests one after the other, each carried out and confirmed."""

from __future__ import annotations

from typing import Any

from entra_pipeline.provisioning.ledger import Filed, verify
from entra_pipeline.provisioning.ledger.steps import Step
from entra_pipeline.provisioning.ledger.work import Work
from entra_pipeline.provisioning.planning import Refusal
from entra_pipeline.provisioning.states import OperationState as O
from entra_pipeline.provisioning.states import RequestState
from tests.provisioning.making import grant
from tests.provisioning.stage import Stage


def steps(stage: Stage, filed: Filed) -> tuple[Step, ...]:
    """A request's operations as the ledger has them."""
    return Work(stage.ledger, "looking").steps(filed.id)


def walk(stage: Stage, *stations: tuple[Any, O], **more: Any) -> None:
    """Each body asked for, carried out, and confirmed by reads; its one operation's state between.

    What was so already must not have been written: `effects` of the stage tell.
    """
    for body, state in stations:
        (filed,) = stage.approved(grant(body=body, **more))
        assert stage.worker().apply() == {filed.id: RequestState.WRITTEN}, stage.ledger.request(
            filed.id
        ).reasons
        (step,) = steps(stage, filed)
        assert (step.state, step.added) == (state, state is O.WRITTEN)
        stage.run([filed.id])
        assert stage.ledger.request(filed.id).state is RequestState.DONE
    assert verify(stage.ledger.database).findings == ()


def refused(stage: Stage, body: Any, **more: Any) -> str:
    """Why a request for this gets no plan."""
    (filed,) = stage.ledger.file([grant(body=body, **more)])
    plan = stage.plan([filed])
    assert isinstance(plan, Refusal), plan
    return "; ".join(plan.reasons[filed.id])
