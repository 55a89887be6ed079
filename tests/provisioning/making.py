"""Requests and plans for tests, with ids that say what they are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from entra_pipeline.provisioning import canonical
from entra_pipeline.provisioning.ledger import Filed
from entra_pipeline.provisioning.plans import Action, Inverse, Operation, Plan
from entra_pipeline.provisioning.values import (
    Grant,
    GroupAccess,
    Identity,
    IdentityKind,
    Request,
    Tier,
)

TENANT = "7f7a8f6e-bd42-447b-b21c-a1ee1f88ea6d"  # the simulated tenant
_numbers = itertools.count()


def guid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


def person(number: int = 1) -> Identity:
    return Identity(kind=IdentityKind.ENTRA, subject=guid(900 + number))


def grant(user: int = 1, group: int = 1, **further: Any) -> Request:
    values: dict[str, Any] = {
        "body": Grant(principal_id=guid(user), access=GroupAccess(group_id=guid(500 + group))),
        "asked_by": person(),
        "reason": "joins the ward",
        "idempotency_key": f"test-{next(_numbers):08}",
    }
    return Request(**{**values, **further})


def plan_of(filed: Sequence[Filed], *, approvals: int = 1, tier: Tier = Tier.ORDINARY) -> Plan:
    operations = []
    for position, each in enumerate(filed):
        body = each.request.body
        arguments = {"group_id": body.access.group_id, "principal_id": body.principal_id}
        operations.append(
            Operation(
                position=position,
                request_id=each.id,
                action=Action.ADD_GROUP_MEMBER,
                identity=body.identity,
                target_id=body.access.group_id,
                principal_id=body.principal_id,
                arguments=arguments,
                tier=tier,
                inverse=Inverse(action=Action.REMOVE_GROUP_MEMBER, arguments=arguments),
            )
        )
    return Plan(
        tenant_id=TENANT,
        policy_hash="p" * 64,
        requests={
            each.id: canonical.digest(canonical.text(each.request.document())) for each in filed
        },
        operations=tuple(operations),
        approvals_needed=approvals,
    )
