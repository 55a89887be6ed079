"""What effective access was gained and lost between two warehouses, and by what.

Here belongs comparing two built warehouses; finding and building those of the past is `past`'s.
The expansion of a tenant's access has far more rows than its facts, and a day changes little of
it: so facts are compared first (holds, memberships, licences), and only what their differences can
bring about is expanded, on both sides, and compared (sql/diff.sql says why nothing is missed).

What is merely not known on one side is not called gained or lost for certain: `certain`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import duckdb

from entra_pipeline.access import needs
from entra_pipeline.access.answers import Json, Missing, Node
from entra_pipeline.access.engine import MOST_MEMORY, literal, script
from entra_pipeline.access.questions import STATES, Warehouse

Change = Literal["gained", "lost"]
Side = Literal["from", "to"]


@dataclass(frozen=True)
class Cause:
    """A direct fact that appeared (of what was gained) or went (of what was lost)."""

    kind: str  # grant, membership, nesting (a group in a group) or license (by way of a group)
    principal: Node  # who holds it directly
    entitlement_id: str
    name: str | None  # of the entitlement
    state: str
    source_table: str | None  # the row that says so
    source_id: str | None
    group: Node | None = None  # licences: the group by which

    def to_json(self) -> Json:
        """All fields; `group` for licences only."""
        found = asdict(self)
        if self.group is None:
            del found["group"]
        return found


@dataclass(frozen=True)
class Line:
    """One entitlement that one principal gained or lost, in one state."""

    change: Change
    principal: Node
    entitlement_id: str
    resource: Node
    name: str
    state: str
    scope: str | None
    purpose: str
    tier: int | None
    certain: bool  # every table was whole that decides whether it was held on the other side
    causes: tuple[Cause, ...]

    def to_json(self) -> Json:
        """All fields, the principal and the resource as `{"id", "kind", "name"}`."""
        found = asdict(self)
        found["causes"] = [cause.to_json() for cause in self.causes]
        return found


@dataclass(frozen=True)
class Difference:
    """Everything that was gained and lost, the most privileged first."""

    lines: tuple[Line, ...]
    gained: int  # in all, also when `lines` are fewer
    lost: int
    missing: tuple[tuple[Side, Missing], ...] = field(default=())

    @property
    def complete(self) -> bool:
        """Whether every table that decides about access was whole on both sides."""
        return not self.missing

    def to_json(self) -> Json:
        """`{"gained", "lost", "changes", "truncated", "complete", "missing"}`."""
        return {
            "gained": self.gained,
            "lost": self.lost,
            "changes": [line.to_json() for line in self.lines],
            "truncated": self.gained + self.lost > len(self.lines),
            "complete": self.complete,
            "missing": [{"side": side, **asdict(missing)} for side, missing in self.missing],
        }


def diff(
    before: Path,
    after: Path,
    *,
    principal: str | None = None,
    entitlement: str | None = None,
    limit: int | None = None,
) -> Difference:
    """Compare two warehouses; of one principal or one entitlement (by id) alone if given.

    At most `limit` lines, in order of tier, principal, entitlement, state and change.
    """
    then, now = _missing(before), _missing(after)
    directions: tuple[tuple[Change, Path, Path, dict[str, Missing]], ...] = (
        ("gained", after, before, then),
        ("lost", before, after, now),
    )
    lines: list[Line] = []
    for change, here, there, other in directions:
        with _attached(here, there) as connection:
            rows = _compare(connection, principal, entitlement)
            causes = _causes(connection)
        lines += (_line(change, row, causes, other) for row in rows)
    lines.sort(key=_order)
    gained = sum(line.change == "gained" for line in lines)
    missing: list[tuple[Side, Missing]] = [("from", one) for one in then.values()]
    missing += [("to", one) for one in now.values()]
    return Difference(tuple(lines[:limit]), gained, len(lines) - gained, tuple(missing))


_LINES: Final = """
SELECT p.id, p.kind, p.name, e.entitlement_id, e.resource_id, e.resource_kind, e.resource_name,
       e.display_name, d.state, e.scope, e.purpose, e.tier, d.facts
FROM differing d
JOIN here.internal.principals p ON p.ix = d.pix
JOIN here.internal.entitlements e ON e.eix = d.eix
WHERE ($1 IS NULL OR p.id = $1) AND ($2 IS NULL OR e.entitlement_id = $2)
"""
_CAUSES: Final = """
WITH used AS (SELECT DISTINCT unnest(facts) AS fact FROM differing),
windows AS (
    SELECT group_ix, member_ix, state, min(source_table) AS source_table,
           min(source_id) AS source_id
    FROM here.internal.membership_windows GROUP BY ALL
),
sources AS (
    SELECT f.fact, min(g.source_table) AS source_table, min(g.source_id) AS source_id
    FROM facts f JOIN here.internal.grants g
      ON g.eix = f.eix AND g.pix = f.member_ix AND g.state = f.state AND g.reach = f.reach
    WHERE f.form = 'grant' GROUP BY f.fact
)
SELECT f.fact,
       CASE WHEN f.form = 'membership' AND f.is_group THEN 'nesting' ELSE f.form END,
       p.id, p.kind, p.name, f.what, e.display_name, f.state,
       CASE f.form WHEN 'license' THEN 'license_assignments' WHEN 'grant' THEN s.source_table
            ELSE CASE WHEN m.is_read THEN 'group_members' ELSE w.source_table END END,
       CASE f.form WHEN 'license' THEN f.who || '/' || e.resource_id || '/' || f.via
            WHEN 'grant' THEN s.source_id
            ELSE CASE WHEN m.is_read THEN g.id || '/' || f.who ELSE w.source_id END END,
       CASE WHEN f.form = 'license' THEN g.id END, g.kind, g.name
FROM used u
JOIN facts f ON f.fact = u.fact
JOIN here.internal.principals p ON p.ix = f.member_ix
JOIN here.internal.entitlements e ON e.entitlement_id = f.what
LEFT JOIN here.internal.principals g ON g.ix = f.group_ix
LEFT JOIN sources s ON s.fact = f.fact
LEFT JOIN here.internal.members_by_group m
       ON f.form = 'membership' AND m.group_ix = f.group_ix AND m.member_ix = f.member_ix
      AND m.state = f.state
LEFT JOIN windows w
       ON f.form = 'membership' AND w.group_ix = f.group_ix AND w.member_ix = f.member_ix
      AND w.state = f.state
ORDER BY f.fact
"""


@contextmanager
def _attached(here: Path, there: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that reads both warehouses and, afterwards, nothing else."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{MOST_MEMORY // 2**20}MiB",
        "temp_directory": f"{here}.spill",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    with duckdb.connect(":memory:", config=config) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH {literal(str(here))} AS here (READ_ONLY)")
        connection.execute(f"ATTACH {literal(str(there))} AS there (READ_ONLY)")
        yield connection


def _compare(
    connection: duckdb.DuckDBPyConnection, principal: str | None, entitlement: str | None
) -> list[tuple[Any, ...]]:
    connection.execute(script("diff"))
    connection.execute(script("brought"))
    for side in ("here", "there"):
        held = script("held")
        for name in ("side.", "pairs_side", "held_side"):
            held = held.replace(name, name.replace("side", side))
        connection.execute(held)
    connection.execute(script("differences"))
    return connection.execute(_LINES, [principal, entitlement]).fetchall()


def _causes(connection: duckdb.DuckDBPyConnection) -> dict[int, Cause]:
    return {
        row[0]: Cause(
            kind=row[1],
            principal=Node(*row[2:5]),
            entitlement_id=row[5],
            name=row[6],
            state=STATES[row[7]],
            source_table=row[8],
            source_id=row[9],
            group=Node(*row[10:13]) if row[10] is not None else None,
        )
        for row in connection.execute(_CAUSES).fetchall()
    }


def _line(
    change: Change, row: tuple[Any, ...], causes: dict[int, Cause], unsure: dict[str, Missing]
) -> Line:
    return Line(
        change=change,
        principal=Node(*row[0:3]),
        entitlement_id=row[3],
        resource=Node(*row[4:7]),
        name=row[7],
        state=STATES[row[8]],
        scope=row[9],
        purpose=row[10],
        tier=row[11],
        certain=unsure.keys().isdisjoint(needs.of_entitlement(row[3])),
        causes=tuple(causes[fact] for fact in row[12] or ()),
    )


def _order(line: Line) -> tuple[Any, ...]:
    tier = 99 if line.tier is None else line.tier
    return tier, line.principal.id, line.entitlement_id, line.state, line.change


def _missing(path: Path) -> dict[str, Missing]:
    """The tables that were not whole, of those that decide about access."""
    with Warehouse.open(path) as warehouse:
        return {one.table: one for one in warehouse.completeness(needs.EVERY).missing}
