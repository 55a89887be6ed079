"""What this process has just added to histories, so that who publishes it need not read it back.

Opening a history and its files costs tens of milliseconds a table, which is more than most tables'
changes of a quarter of an hour are worth. What was added by others, or long ago, is for `history`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

# Rows of one table: more are read from the files.
KEPT: Final = 20_000


@dataclass(frozen=True)
class _Added:
    since: int | None
    until: int
    rows: pa.Table


class Additions:
    """Rows by table, with the versions of its history before and after them."""

    def __init__(self) -> None:
        self._added: dict[str, _Added] = {}

    def keep(self, table: str, since: int | None, until: int, rows: pa.Table | None) -> None:
        """Remembers what led from one version to the next; None if it was too much to keep."""
        known = self._added.pop(table, None)
        if rows is None:
            return
        if known is not None and known.until == since:
            since, rows = known.since, pa.concat_tables([known.rows, rows])
        if rows.num_rows <= KEPT:
            self._added[table] = _Added(since, until, rows)

    def between(self, table: str, since: int | None, until: int | None) -> pa.Table | None:
        """What led from the one version to the other; None when that is not known here."""
        known = self._added.get(table)
        if known is None or (known.since, known.until) != (since, until):
            return None
        return known.rows
