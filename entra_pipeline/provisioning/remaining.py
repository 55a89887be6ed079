"""What a revoke does not take: access that its principal keeps by other ways.

Here: asking the published warehouse for the paths that are left beside the one that goes. Not here:
what else a plan gains or loses (which no plan says yet), and live facts (`reads`).

The warehouse is as old as its last sync; which that was, stands beside the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from entra_pipeline.access.answers import NotFound, Step
from entra_pipeline.access.questions import Warehouse, WarehouseError
from entra_pipeline.provisioning.ledger import Filed
from entra_pipeline.provisioning.plans import Change, Delta, Plan
from entra_pipeline.provisioning.values import Mode, Revoke

MOST: Final = 200
"""Revokes that are looked at; a larger plan says for how many others it is not known."""
NOT_WORKED_OUT: Final = "all that is gained and lost through groups"


def with_remaining(plan: Plan, batch: Sequence[Filed], warehouse: Path) -> Plan:
    """The plan with what remains after its revokes, and with what is not known of that."""
    revokes = {f.id: f.request.body for f in batch if isinstance(f.request.body, Revoke)}
    unknown = [NOT_WORKED_OUT]
    remains: list[Change] = []
    as_of = None
    if revokes and not warehouse.exists():
        unknown.append("what remains after a revoke, as nothing was synced yet")
    elif revokes:
        try:
            with Warehouse.open(warehouse) as opened:
                as_of = (opened.status().sync or {}).get("sync_id")
                found, missing = _all(opened, revokes)
                remains += found
                unknown += missing
        except WarehouseError:
            unknown.append("what remains after a revoke, as the warehouse cannot be read")
    delta = Delta(remains=tuple(remains), unknown=tuple(unknown))
    fields = {name: getattr(plan, name) for name in Plan.model_fields}
    return Plan(**{**fields, "delta": delta, "facts_as_of": as_of})


def _all(warehouse: Warehouse, revokes: Mapping[str, Revoke]) -> tuple[list[Change], list[str]]:
    found: list[Change] = []
    unknown: dict[str, None] = {}
    for number, body in enumerate(revokes.values()):
        if number == MOST:
            unknown[f"what remains after {len(revokes) - MOST} further revokes"] = None
            break
        principal = warehouse.find_principal(body.principal_id)
        entitlement = warehouse.find_entitlement(body.access.entitlement_id)
        if isinstance(principal, NotFound) or isinstance(entitlement, NotFound):
            unknown["what remains of access that the last sync did not see"] = None
            continue
        answer = warehouse.explain(principal, entitlement)
        for missing in answer.completeness.missing:
            unknown[f"what remains through {missing.table} ({missing.status})"] = None
        found += [_kept(path, body) for path in answer.paths if not _goes(path, body)]
    return found, list(unknown)


def _kept(path: Sequence[Step], body: Revoke) -> Change:
    return Change(
        principal_id=body.principal_id,
        entitlement_id=body.access.entitlement_id,
        state="eligible" if any(step.state == "eligible" for step in path) else "active",
        through=tuple(step.via for step in path),
    )


def _goes(path: Sequence[Step], body: Revoke) -> bool:
    """Whether a path is the hold itself that is taken."""
    if len(path) != 1:
        return False
    eligible = path[0].state == "eligible"
    return eligible is (body.mode is Mode.PIM_ELIGIBLE)
