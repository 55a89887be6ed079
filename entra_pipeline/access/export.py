"""The full expansion of effective access, streamed.

Here belongs cutting the whole into pieces that fit; what a row is, the macro says. Each piece is
a run of entitlements whose expansion is known (from the counts of the build) to stay small, so
memory is bounded however large the whole is. It needs pyarrow and is not for the question path.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from entra_pipeline.access.questions import Warehouse

_COLUMNS: dict[str, pa.DataType] = {
    "entitlement_id": pa.string(),
    "principal_id": pa.string(),
    "principal_kind": pa.string(),
    "state": pa.string(),
    "scope": pa.string(),
    "direct": pa.bool_(),
    "depth": pa.int32(),
    "paths": pa.int64(),
}
SCHEMA = pa.schema(_COLUMNS)
# Effective rows of one piece; a single entitlement that everybody holds may be larger.
PIECE_ROWS = 500_000
BATCH_ROWS = 65_536


def effective_grants(
    path: Path, *, piece_rows: int = PIECE_ROWS, ordered: bool = False
) -> Iterator[pa.RecordBatch]:
    """Every row of the view `effective_grants`, in batches of SCHEMA.

    No order is promised unless `ordered`: then equal warehouses give equal rows in equal order, by
    kind of entitlement, resource, permission and scope, then by principal and state, however the
    warehouses came about. The warehouse is opened for the purpose and closed when the iterator ends
    or is closed.
    """
    with Warehouse.open(path) as warehouse:
        for low, high in _pieces(warehouse, piece_rows, ordered=ordered):
            yield from warehouse.batches(
                f"""
                SELECT e.entitlement_id, p.id AS principal_id, p.kind AS principal_kind,
                       CASE a.state WHEN 0 THEN 'active' ELSE 'eligible' END AS state, e.scope,
                       a.direct, a.depth, a.paths
                FROM internal.effective({low}, {high}) a
                JOIN internal.entitlements e ON e.eix = a.eix
                JOIN internal.principals p ON p.ix = a.pix
                """
                + (" ORDER BY a.eix, principal_id, state" if ordered else ""),
                rows=BATCH_ROWS,
            )


def _pieces(warehouse: Warehouse, piece_rows: int, *, ordered: bool) -> Iterator[tuple[int, int]]:
    """Runs of entitlement numbers, first and last, whose expansion has at most so many rows."""
    # Numbers are in the order of what they stand for but for those that a refresh gave out.
    order = "e.kind, e.resource_id, e.permission, e.scope" if ordered else "c.eix"
    rows = warehouse.query(
        "SELECT c.eix, c.effective_active + c.effective_eligible AS number,"
        " row_number() OVER (ORDER BY c.eix) AS place"
        " FROM internal.counts c JOIN internal.entitlements e ON e.eix = c.eix"
        f" WHERE number > 0 ORDER BY {order}"
    ).rows
    low, high, size, last = -1, -1, 0, -1
    for eix, number, place in rows:
        if low >= 0 and (size + number > piece_rows or place != last + 1):
            yield low, high
            low, size = -1, 0
        if low < 0:
            low = eix
        high, last = eix, place
        size += number
    if low >= 0:
        yield low, high
