"""What the conversation with Graph costs, per table.

Belongs here: counting. Does not belong here: pacing (`budget`) or reporting (`lake.books`).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields


@dataclass
class TableCounts:
    """Costs of one table.

    requests: Graph requests, each item of a `$batch` counted, retries included; round_trips:
    HTTP requests (a `$batch` is one), retries included; units: resource units, as Graph reports
    them or else by the documented cost table; bytes: of answers' bodies after decompression;
    retries: requests sent again; throttled_s: seconds that threads waited for throttling or for
    the budget, summed over threads.
    """

    requests: int = 0
    round_trips: int = 0
    units: int = 0
    bytes: int = 0
    retries: int = 0
    throttled_s: float = 0.0

    def __add__(self, other: TableCounts) -> TableCounts:
        return TableCounts(
            *(getattr(self, f.name) + getattr(other, f.name) for f in fields(TableCounts))
        )


class Meter:
    """Thread-safe counts by table name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables: dict[str, TableCounts] = {}

    def add(
        self,
        table: str,
        *,
        requests: int = 0,
        round_trips: int = 0,
        units: int = 0,
        size: int = 0,
        retries: int = 0,
        throttled_s: float = 0.0,
    ) -> None:
        """Add to one table's counts."""
        with self._lock:
            counts = self._tables.get(table)
            if counts is None:
                counts = self._tables[table] = TableCounts()
            counts.requests += requests
            counts.round_trips += round_trips
            counts.units += units
            counts.bytes += size
            counts.retries += retries
            counts.throttled_s += throttled_s

    def snapshot(self) -> dict[str, TableCounts]:
        """A copy of the counts, by table."""
        with self._lock:
            return {name: counts + TableCounts() for name, counts in self._tables.items()}

    def total(self) -> TableCounts:
        """The counts of all tables together."""
        return sum(self.snapshot().values(), TableCounts())
