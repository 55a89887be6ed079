"""How many principals hold each entitlement, directly and in effect, active and eligible.

Here belongs the counting only; what a hold is, sql/effective.sql says, and a test holds the two
together. Why not one SQL aggregate over that: a large tenant has some hundred million effective
rows, and to make their principals distinct per entitlement sorts or hashes each of them, for a
minute or more and with spilling. Marking them in an array of one byte a principal takes a
second or two, and no row of the expansion is ever stored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from entra_pipeline.access.engine import script

Numbers = npt.NDArray[np.int32]

# What sql/sources.sql calls reach.
DIRECT_MEMBERS, DEEP, LICENSED = 1, 2, 3
# A few holders are made distinct by sorting them, many by marking.
SORTED_BELOW = 4_000


class _Lists:
    """Lists of numbers by number: `of(key)`, empty when there is none."""

    def __init__(self, keys: Numbers, values: Numbers) -> None:
        if len(keys) and np.any(keys[1:] < keys[:-1]):
            order = np.argsort(keys, kind="stable")
            keys, values = keys[order], values[order]
        self.values = values
        first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))[: len(keys)]
        bounds = zip(first.tolist(), np.append(first, len(keys))[1:].tolist(), strict=True)
        self._at = dict(zip(keys[first].tolist(), bounds, strict=True))
        self._empty = values[:0]

    @classmethod
    def query(cls, connection: duckdb.DuckDBPyConnection, sql: str) -> _Lists:
        """From a query with two columns, key and value."""
        columns = list(connection.execute(sql).fetchnumpy().values())
        return cls(np.asarray(columns[0], np.int32), np.asarray(columns[1], np.int32))

    def of(self, key: int) -> Numbers:
        at = self._at.get(key)
        return self._empty if at is None else self.values[at[0] : at[1]]


class _Tenant:
    """Members of groups, by state, and groups inside groups; `some`: of those to be counted."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, *, some: bool) -> None:
        def within(table: str) -> str:
            only = "SEMI JOIN counted_groups c ON c.group_ix = m.group_ix" if some else ""
            return f"SELECT m.group_ix, m.member_ix FROM internal.{table} m {only}"

        members = within("members_by_group")
        # People stands for everything that is not a group.
        self.people = [
            _Lists.query(connection, f"{members} WHERE NOT m.is_group AND m.state = {state}")
            for state in (0, 1)
        ]
        self.groups = [
            _Lists.query(connection, f"{within('nesting')} WHERE m.state = {state}")
            for state in (0, 1)
        ]
        self.may_be_licensed = _Lists.query(
            connection,
            f"{members} JOIN internal.principals p ON p.ix = m.member_ix"
            " WHERE m.state = 1 AND p.kind IN ('user', 'guest')",
        )
        self.licensed = _Lists.query(
            connection,
            f"SELECT h.eix, h.user_ix FROM internal.licensed_by_entitlement h {_only(some)}",
        )
        # Groups that reach a group over active hops alone, and those over any eligible one.
        self.inside = [
            _Lists.query(connection, f"{within('closure')} WHERE m.state = {state}")
            for state in (0, 1)
        ]

    def all_members(self, group: int, state: int) -> Iterator[tuple[int, Numbers]]:
        """Who is brought what a group is brought in that state: lists of principals by state."""
        for hop in (0, 1):
            yield state | hop, self.people[hop].of(group)
            inside = self.inside[hop].of(group)
            yield state | hop, inside
            for inner in inside.tolist():
                for last in (0, 1):
                    yield state | hop | last, self.people[last].of(inner)

    def direct_members(self, group: int, state: int) -> Iterator[tuple[int, Numbers]]:
        """The same for what reaches direct members only."""
        for hop in (0, 1):
            yield state | hop, self.people[hop].of(group)
            yield state | hop, self.groups[hop].of(group)


class _Distinct:
    """Counts how many different numbers lists hold between them."""

    def __init__(self, size: int) -> None:
        self._marks = np.zeros(size, np.bool_)

    def count(self, lists: list[Numbers]) -> int:
        lists = [one for one in lists if len(one)]
        if len(lists) <= 1:
            return len(lists[0]) if lists else 0  # each list is distinct in itself
        if sum(map(len, lists)) < SORTED_BELOW:
            return len(np.unique(np.concatenate(lists)))
        for one in lists:
            self._marks[one] = True
        found = int(np.count_nonzero(self._marks))
        for one in lists:
            self._marks[one] = False
        return found


def count(connection: duckdb.DuckDBPyConnection) -> int:
    """Make `internal.counts`, one row per entitlement; returns how many."""
    connection.execute(
        "CREATE TABLE internal.counts (eix INTEGER, direct_active BIGINT, direct_eligible BIGINT, "
        "effective_active BIGINT, effective_eligible BIGINT)"
    )
    return _count(connection, some=False)


def recount(connection: duckdb.DuckDBPyConnection) -> int:
    """The same where the counts of all but the entitlements in `counted` (eix) still hold.

    Rows of entitlements that are gone go. The caller says what is to be counted; of which groups
    the members have to be known for that, follows.
    """
    connection.execute(script("counted_groups"))
    connection.execute("DELETE FROM internal.counts n USING counted d WHERE d.eix = n.eix")
    connection.execute(
        "DELETE FROM internal.counts WHERE eix NOT IN (SELECT eix FROM internal.entitlements)"
    )
    return _count(connection, some=True)


def _count(connection: duckdb.DuckDBPyConnection, *, some: bool) -> int:
    tenant = _Tenant(connection, some=some)
    ((entitlements, principals),) = connection.execute(
        "SELECT (SELECT coalesce(max(eix), -1) + 1 FROM internal.entitlements),"
        " (SELECT coalesce(max(ix), 0) + 1 FROM internal.principals)"
    ).fetchall()
    direct = np.zeros((2, entitlements), np.int64)
    counted = connection.execute(_DIRECT.format(only=_only(some))).fetchnumpy()
    direct[counted["state"], counted["eix"]] = counted["number"]
    distinct = _Distinct(principals)
    effective = direct.copy()
    for eix, group in _numbers(
        connection,
        f"SELECT h.eix, h.group_ix FROM internal.entitlements h {_only(some)}"
        " WHERE h.group_ix IN (SELECT group_ix FROM internal.closure)",
    ):
        _put(effective, eix, distinct, tenant.all_members(group, 0))
    held = [
        _Lists.query(
            connection,
            f"SELECT h.eix, h.pix FROM internal.holds_by_entitlement h {_only(some)}"
            f" WHERE h.state = {state}",
        )
        for state in (0, 1)
    ]
    for eix, holders in _passed_on(connection, some=some).items():
        lists = [(state, held[state].of(eix)) for state in (0, 1)]
        _put(effective, eix, distinct, chain(lists, _reached(tenant, eix, holders)))
    connection.register(
        "given",
        {
            "eix": np.arange(entitlements, dtype=np.int32),
            "direct_active": direct[0],
            "direct_eligible": direct[1],
            "effective_active": effective[0],
            "effective_eligible": effective[1],
        },
    )
    # Numbers of entitlements that are gone are not given out again: there are gaps.
    connection.execute(
        "INSERT INTO internal.counts SELECT h.* FROM given h "
        f"SEMI JOIN internal.entitlements e ON e.eix = h.eix {_only(some)} ORDER BY h.eix"
    )
    connection.unregister("given")
    ((number,),) = connection.execute("SELECT count(*) FROM internal.counts").fetchall()
    return int(number)


def _only(some: bool) -> str:
    """What keeps a query of `h` to the entitlements that are to be counted, if not all are."""
    return "SEMI JOIN counted d ON d.eix = h.eix" if some else ""


# Direct holds, and direct members of groups; a group that is its own member says nothing.
_DIRECT = """
SELECT h.eix, h.state, count(*) AS number FROM internal.holds_by_entitlement h {only} GROUP BY ALL
UNION ALL
SELECT h.eix, m.state, count(*)
FROM internal.members_by_group m JOIN internal.entitlements h ON h.group_ix = m.group_ix {only}
WHERE m.member_ix <> m.group_ix
GROUP BY ALL
"""


def _reached(
    tenant: _Tenant, eix: int, holders: list[tuple[int, int, int]]
) -> Iterator[tuple[int, Numbers]]:
    """Everybody whom groups that hold one entitlement pass it on to."""
    yield 0, tenant.licensed.of(eix)
    for holder, state, reach in holders:
        if reach == DEEP:
            yield from tenant.all_members(holder, state)
        elif reach == DIRECT_MEMBERS:
            yield from tenant.direct_members(holder, state)
        elif reach == LICENSED:
            yield 1, tenant.may_be_licensed.of(holder)


def _put(
    effective: npt.NDArray[np.int64],
    eix: int,
    distinct: _Distinct,
    lists: Iterable[tuple[int, Numbers]],
) -> None:
    by_state: tuple[list[Numbers], list[Numbers]] = ([], [])
    for state, numbers in lists:
        by_state[state].append(numbers)
    for state in (0, 1):
        effective[state, eix] = distinct.count(by_state[state])


def _passed_on(
    connection: duckdb.DuckDBPyConnection, *, some: bool
) -> dict[int, list[tuple[int, int, int]]]:
    """By entitlement, the groups that hold it and pass it on: group, state, reach."""
    found: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for eix, group, state, reach in _numbers(
        connection,
        f"SELECT h.eix, h.pix, h.state, h.reach FROM internal.holds_by_entitlement h {_only(some)}"
        " JOIN internal.principals p ON p.ix = h.pix WHERE p.is_group AND h.reach > 0",
    ):
        found[eix].append((group, state, reach))
    return found


def _numbers(connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[tuple[Any, ...]]:
    """Rows of numbers, fetched by column: far cheaper than as rows."""
    columns = connection.execute(sql).fetchnumpy().values()
    yield from zip(*(np.asarray(column).tolist() for column in columns), strict=True)
