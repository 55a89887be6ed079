"""Answers boiled down to what a rule is about."""

from __future__ import annotations

from entra_pipeline.access.answers import Entitlement, Principal
from entra_pipeline.access.questions import Warehouse


def principal(warehouse: Warehouse, text: str) -> Principal:
    found = warehouse.find_principal(text)
    assert isinstance(found, Principal), found
    return found


def entitlement(warehouse: Warehouse, text: str) -> Entitlement:
    found = warehouse.find_entitlement(text)
    assert isinstance(found, Entitlement), found
    return found


def who(warehouse: Warehouse, text: str) -> set[tuple[str, str]]:
    """(principal, state) of everybody who holds it."""
    rows = warehouse.who_can(entitlement(warehouse, text)).principals
    pairs = [(row.principal_id, row.state) for row in rows]
    assert len(set(pairs)) == len(pairs), "one row per principal and state"
    return set(pairs)


def held(warehouse: Warehouse, text: str) -> set[tuple[str, str]]:
    """(entitlement, state) of everything that the principal holds."""
    rows = warehouse.access(principal(warehouse, text)).entitlements
    pairs = [(row.entitlement_id, row.state) for row in rows]
    assert len(set(pairs)) == len(pairs), "one row per entitlement and state"
    return set(pairs)


def paths(warehouse: Warehouse, holder: str, what: str) -> list[str]:
    """Each path as its nodes; steps that are eligible only carry a question mark."""
    answer = warehouse.explain(principal(warehouse, holder), entitlement(warehouse, what))
    shown = []
    for path in answer.paths:
        text = path[0].source.id
        for before, step in zip((None, *path), path, strict=False):
            assert before is None or before.target == step.source, "a path is a chain"
            text += (" ?> " if step.state == "eligible" else " > ") + step.target.id
        shown.append(text)
    return shown


def actives(*ids: str) -> set[tuple[str, str]]:
    return {(one, "active") for one in ids}


def eligibles(*ids: str) -> set[tuple[str, str]]:
    return {(one, "eligible") for one in ids}
