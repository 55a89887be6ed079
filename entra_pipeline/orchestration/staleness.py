"""How long a table may be left alone before it counts as stale.

The same limits feed Dagster's freshness policies and the `stale` status that the warehouse shows,
so that both say it of the same tables. Imports no Dagster: the command line asks too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from entra_pipeline.tables import EXCHANGE, TABLES, Table

# Six and four times the schedules' intervals: a lost run or two is a warning, a day of nothing
# (four days for the slow tables) is stale.
WARN_AFTER: Final = timedelta(hours=9)
STALE_AFTER: Final = timedelta(hours=24)
SLOW_WARN_AFTER: Final = timedelta(hours=50)
SLOW_STALE_AFTER: Final = timedelta(hours=96)


def warn_after(table: Table) -> timedelta:
    """Age from which a table is late."""
    return SLOW_WARN_AFTER if table.slow else WARN_AFTER


def stale_after(table: Table) -> timedelta:
    """Age from which a table is stale."""
    return SLOW_STALE_AFTER if table.slow else STALE_AFTER


def limits() -> Mapping[str, timedelta]:
    """`stale_after` of every table by its name, as the books ask for it."""
    return {name: stale_after(table) for name, table in {**TABLES, **EXCHANGE}.items()}
