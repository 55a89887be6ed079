"""Which grants still want their application's provisioning job started, and what came of it.

A grant's mark stands in its operation's result (`provisioning_job`), so that `show` has it, the
audit tells of it, and another worker goes on where one has died. Here: the marks. Not here: asking
Graph (`scim`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from entra_pipeline.provisioning import canonical
from entra_pipeline.provisioning.ledger import schema
from entra_pipeline.provisioning.ledger.schema import micros
from entra_pipeline.provisioning.ledger.store import Ledger
from entra_pipeline.provisioning.ledger.writing import transaction
from entra_pipeline.provisioning.plans import Action
from entra_pipeline.provisioning.states import OperationState

MARK: Final = "provisioning_job"
WINDOW: Final = timedelta(hours=2)
"""Older grants are left to the job's own rounds, which come every 40 minutes."""
_LEASE: Final = timedelta(minutes=5)
_OPEN: Final = frozenset({"starting", "waiting"})
_O = OperationState
_GIVEN: Final = (_O.WRITTEN.value, _O.VERIFIED.value, _O.UNVERIFIED.value)


@dataclass(frozen=True)
class Wanted:
    """Grants (operations) to one application that want its jobs started; `tries` so far."""

    resource_id: str
    operations: tuple[str, ...]
    tries: int


def pending(ledger: Ledger) -> bool:
    """Whether any job is to be started now."""
    with ledger.database.read() as connection:
        return bool(_due(connection, ledger.clock()))


def take(ledger: Ledger) -> list[Wanted]:
    """What is to be started now, taken by whoever asks: nobody else gets it for five minutes."""
    now = ledger.clock()
    found: dict[str, list[tuple[str, int]]] = {}
    with transaction(ledger.database, now) as tx:
        for row, result in _due(tx.connection, now):
            tries = int((result.get(MARK) or {}).get("tries", 0))
            found.setdefault(row.target_id, []).append((row.id, tries))
            mark = {"state": "starting", "tries": tries, "due": micros(now + _LEASE)}
            values = {"result": canonical.text({**result, MARK: mark}), "changed_at": tx.now}
            tx.update(schema.operations, "job_starting", row.id, values)
    return [
        Wanted(resource, tuple(key for key, _ in rows), max(tries for _, tries in rows))
        for resource, rows in found.items()
    ]


def noted(ledger: Ledger, operations: Iterable[str], mark: Mapping[str, Any]) -> None:
    """What came of it, in each of the grants that wanted it."""
    table = schema.operations
    keys = list(operations)
    with transaction(ledger.database, ledger.clock()) as tx:
        query = sa.select(table.c.id, table.c.result).where(table.c.id.in_(keys))
        for row in tx.connection.execute(query).all():
            result = {} if row.result is None else json.loads(row.result)
            values = {"result": canonical.text({**result, MARK: dict(mark)}), "changed_at": tx.now}
            tx.update(table, f"job_{mark['state']}", row.id, values)


def _due(connection: sa.Connection, now: datetime) -> list[tuple[Any, dict[str, Any]]]:
    table = schema.operations
    query = sa.select(table.c.id, table.c.target_id, table.c.result).where(
        table.c.written_at >= micros(now - WINDOW),
        table.c.action == Action.ASSIGN_APP_ROLE.value,
        table.c.added.is_(sa.true()),
        table.c.state.in_(_GIVEN),
    )
    found = []
    for row in connection.execute(query):
        result = {} if row.result is None else json.loads(row.result)
        mark = result.get(MARK)
        if mark is None or (mark["state"] in _OPEN and mark["due"] <= micros(now)):
            found.append((row, result))
    return found
