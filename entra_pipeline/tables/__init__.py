"""The registry: every table is declared once, here, and everything else derives from it.

Declarations live in the files by subject; this module gathers them and finds them by name. It
reads nothing and writes nothing: reading is extract's, storing lake's, deriving access's.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from entra_pipeline.tables import (
    access,
    activity,
    applications,
    bookkeeping,
    devices,
    drift,
    exchange,
    groups,
    licenses,
    people,
    policy,
    provisioning,
    roles,
    tenant,
    usage,
)
from entra_pipeline.tables.model import Column, Reference, Status, Table

__all__ = [
    "BESIDE",
    "DECLARED",
    "EVENTS",
    "EXCHANGE",
    "LEDGER",
    "TABLES",
    "Column",
    "Reference",
    "Status",
    "Table",
    "get",
]

_DECLARED = (
    *tenant.TABLES,
    *people.TABLES,
    *groups.TABLES,
    *roles.TABLES,
    *applications.TABLES,
    *licenses.TABLES,
    *devices.TABLES,
    *policy.TABLES,
    *access.TABLES,
    *usage.TABLES,
    *bookkeeping.TABLES,
)

TABLES: Mapping[str, Table] = MappingProxyType({table.name: table for table in _DECLARED})
"""Tables of state: read whole by a sync, or derived from those; the warehouse has all of them."""

EVENTS: Mapping[str, Table] = MappingProxyType({table.name: table for table in activity.TABLES})
"""Tables of events: read in windows of time, kept by day. No sync, no status of completeness and
no warehouse knows of them."""

LEDGER: Mapping[str, Table] = MappingProxyType(
    {table.name: table for table in (*provisioning.TABLES, *drift.TABLES)}
)
"""What each sync makes of the ledger of provisioning, and of what changed beside it. Nothing of
these is read from the tenant."""

EXCHANGE: Mapping[str, Table] = MappingProxyType({table.name: table for table in exchange.TABLES})
"""What each sync reads from Exchange Online, where that is configured."""

BESIDE: Mapping[str, Table] = MappingProxyType({**EXCHANGE, **LEDGER})
"""Tables of the lake and the warehouse that no reader of Graph fills: their files are given."""

DECLARED: Mapping[str, Table] = MappingProxyType({**TABLES, **EVENTS, **BESIDE})
"""All of them, for whoever describes tables."""


def get(name: str, among: Mapping[str, Table] = TABLES) -> Table:
    """The table of that name; KeyError says which names come close."""
    try:
        return among[name]
    except KeyError:
        close = difflib.get_close_matches(name, among, n=3) or sorted(among)
        raise KeyError(f"no table {name!r}; did you mean {', '.join(close)}?") from None
