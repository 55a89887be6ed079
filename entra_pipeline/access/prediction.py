"""What effective access some facts would give and take, foretold from a published warehouse.

Here: a warehouse with other facts, asked like any other. Not here: which facts a change is made of
(`provisioning`), and the comparison itself, which is that of two warehouses (`diff`).

Nothing is copied: in memory stand views over the published warehouse, with the facts that go left
out and those that come added (sql/predicted.sql). What these can bring about is expanded on both
sides and compared, so that a plan costs what it touches, not what the tenant has. Only when groups
in groups change, the closure of all nesting is made anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from entra_pipeline.access import build
from entra_pipeline.access.engine import MOST_MEMORY, literal, script
from entra_pipeline.access.questions import STATES

EVERYTHING: Final = "*"
"""In place of an entitlement: all that a principal holds."""
_SIDES: Final = ("before", "after")
_COLUMNS: Final[dict[str, pa.DataType]] = {
    "number": pa.int32(),
    "adds": pa.bool_(),
    "what": pa.string(),
    "who": pa.string(),
    "state": pa.int8(),
}


@dataclass(frozen=True)
class Fact:
    """A direct hold that is given or taken; `state` as in answers.

    Of EVERYTHING, which can only be taken, the state does not matter.
    """

    adds: bool
    entitlement_id: str
    principal_id: str
    state: str = "active"


@dataclass(frozen=True)
class Held:
    """Effective access, in one state."""

    principal_id: str
    entitlement_id: str
    state: str
    tier: int | None


@dataclass(frozen=True)
class Prediction:
    """What the facts mean.

    `gained` and `lost` have the most dangerous, up to the number asked for; the counts are of all.
    `kept`: what facts that go brought to their own principals, and other paths still do.
    `unseen`: facts about a principal or an entitlement that the warehouse does not know;
    `otherwise`: facts that are so already, or that go and are not there. `watched`: of those who
    gain a watched entitlement, which they gain and which they hold afterwards. `total`: effective
    access in all, as of the warehouse. `losing`: who of those that are to keep what they have would
    lose something.
    """

    gained: tuple[Held, ...]
    lost: tuple[Held, ...]
    kept: tuple[Held, ...]
    gained_count: int
    lost_count: int
    unseen: tuple[Fact, ...]
    otherwise: tuple[Fact, ...]
    watched: dict[str, tuple[frozenset[str], frozenset[str]]]
    total: int
    losing: frozenset[str] = frozenset()


def predict(
    warehouse: Path,
    facts: Sequence[Fact],
    *,
    since: Sequence[Fact] = (),
    watch: Iterable[str] = (),
    keep: Iterable[str] = (),
    most: int | None = None,
) -> Prediction:
    """What the facts give and take.

    `since`: facts that have come true since the warehouse was made, in order. `watch`: entitlements
    of which it matters who holds several; `keep`: principals who are to lose nothing. Raises
    duckdb.Error when the file is no warehouse.
    """
    with _opened(warehouse) as connection:
        _number(connection, "before", _latest(since))
        _number(connection, "after", _latest([*since, *facts]))
        _more_entitlements(connection)
        for side in _SIDES:
            _overlay(connection, side)
        gained = _compare(connection, "after", "before", watch, (), most)
        lost = _compare(connection, "before", "after", (), keep, most)
        total = _total(connection)
        unseen, otherwise = _strange(connection, facts)
    return Prediction(
        gained.lines,
        lost.lines,
        lost.kept,
        gained.count,
        lost.count,
        unseen,
        otherwise,
        gained.watched,
        total,
        lost.those,
    )


def counted(warehouse: Path) -> int:
    """Effective access in all. Raises duckdb.Error when the file is no warehouse."""
    with _opened(warehouse) as connection:
        return _total(connection)


def _total(connection: duckdb.DuckDBPyConnection) -> int:
    ((total,),) = connection.execute(
        "SELECT coalesce(sum(effective_active + effective_eligible), 0) FROM base.internal.counts"
    ).fetchall()
    return int(total)


@dataclass(frozen=True)
class _Compared:
    lines: tuple[Held, ...]
    count: int
    kept: tuple[Held, ...]
    watched: dict[str, tuple[frozenset[str], frozenset[str]]]
    those: frozenset[str]


@contextmanager
def _opened(warehouse: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{MOST_MEMORY // 2**20}MiB",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    with duckdb.connect(":memory:", config=config) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        # In a process without a main file DuckDB takes standard output for a person's.
        connection.execute("SET enable_progress_bar = false")
        connection.execute(f"ATTACH {literal(str(warehouse.resolve()))} AS base (READ_ONLY)")
        yield connection


def _latest(facts: Iterable[Fact]) -> list[Fact]:
    """Of facts about one hold, the last."""
    found: dict[tuple[str, str, str], Fact] = {}
    for fact in facts:
        key = fact.entitlement_id, fact.principal_id, fact.state
        found.pop(key, None)
        found[key] = fact
    return list(found.values())


def _number(connection: duckdb.DuckDBPyConnection, side: str, facts: Sequence[Fact]) -> None:
    """`given_<side>`: the facts in the numbers of the warehouse, null where it has none."""
    rows = [
        (n, fact.adds, fact.entitlement_id, fact.principal_id, STATES.index(fact.state))
        for n, fact in enumerate(facts)
    ]
    columns = list(zip(*rows, strict=True)) or [()] * len(_COLUMNS)
    arrays = [pa.array(each, t) for each, t in zip(columns, _COLUMNS.values(), strict=True)]
    connection.register("told", pa.table(arrays, names=list(_COLUMNS)))
    connection.execute(
        f"""
        CREATE TABLE given_{side} AS
        SELECT t.*, p.ix AS pix, p.is_group, e.eix, e.group_ix,
               (CASE WHEN t.what LIKE 'role:%' THEN 2
                     WHEN t.what LIKE 'license:%' AND p.is_group THEN 3
                     WHEN t.what LIKE 'app:%' AND t.what NOT LIKE '%:owner' THEN 1
                     ELSE 0 END)::TINYINT AS reach
        FROM told t
        LEFT JOIN base.internal.principals p ON p.id = t.who
        LEFT JOIN base.internal.entitlements e ON e.entitlement_id = t.what
        """
    )
    connection.unregister("told")


def _more_entitlements(connection: duckdb.DuckDBPyConnection) -> None:
    """Roles at scopes where nobody holds them yet: no table offers these."""
    connection.execute(
        """
        CREATE TABLE more_entitlements AS
        SELECT ((SELECT max(eix) FROM base.internal.entitlements)
                   + row_number() OVER (ORDER BY what))::INTEGER AS eix,
               what AS entitlement_id, r.id AS resource_id, 'role' AS resource_kind,
               'role' AS kind, r.tier, split_part(what, '@', 2) AS scope,
               NULL::INTEGER AS group_ix
        FROM (
            SELECT DISTINCT what FROM given_after WHERE adds AND eix IS NULL AND what LIKE 'role:%'
        )
        JOIN base.role_definitions r ON r.id = split_part(substr(what, 6), '@', 1)
        """
    )
    for side in _SIDES:
        connection.execute(
            f"UPDATE given_{side} g SET eix = m.eix FROM more_entitlements m "
            "WHERE m.entitlement_id = g.what AND g.eix IS NULL"
        )


def _overlay(connection: duckdb.DuckDBPyConnection, side: str) -> None:
    connection.execute(f"ATTACH ':memory:' AS {side}")
    text = re.sub(r"\bside\.", f"{side}.", script("predicted"))
    text = re.sub(r"\bgiven f\b", f"memory.given_{side} f", text)
    connection.execute(text.replace("FROM more_entitlements", "FROM memory.more_entitlements"))
    ((nested,),) = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM {side}.internal.given_members WHERE is_group "
        f"UNION ALL SELECT 1 FROM {side}.internal.taken_members t "
        "JOIN base.internal.principals p ON p.ix = t.member_ix WHERE p.is_group)"
    ).fetchall()
    if nested:
        connection.execute(f"USE {side}")
        build.close(connection, "internal.edges")
        connection.execute("USE memory")
    else:
        connection.execute(
            f"CREATE VIEW {side}.internal.closure AS SELECT * FROM base.internal.closure"
        )


def _compare(
    connection: duckdb.DuckDBPyConnection,
    here: str,
    there: str,
    watch: Iterable[str],
    whom: Iterable[str],
    most: int | None,
) -> _Compared:
    """What is held here and not there; what is brought here and held in both."""
    names = {"here": here, "there": there}

    def placed(text: str) -> str:
        return re.sub(r"\b(here|there)\.internal", lambda m: f"{names[m[1]]}.internal", text)

    with connection.cursor() as cursor:
        cursor.execute(placed(script("predicted_facts")))
        cursor.execute(placed(script("brought")))
        for side in ("here", "there"):
            _held(cursor, names[side], side)
        cursor.execute(placed(script("differences")))
        lines = _lines(cursor, "SELECT eix, pix, state FROM differing", most)
        ((count,),) = cursor.execute("SELECT count(*) FROM differing").fetchall()
        kept = _lines(
            cursor,
            "SELECT h.eix, h.pix, h.state FROM held_there h WHERE (h.eix, h.pix) IN "
            "(SELECT b.eix, b.pix FROM brought b JOIN facts f USING (fact) "
            "WHERE f.member_ix = b.pix)",
            most,
        )
        watched = _watched(cursor, here, list(watch))
        ids = ", ".join(map(literal, whom)) or "NULL"
        rows = cursor.execute(
            f"SELECT DISTINCT p.id FROM differing d JOIN {here}.internal.principals p "
            f"ON p.ix = d.pix WHERE p.id IN ({ids})"
        ).fetchall()
    return _Compared(lines, int(count), kept, watched, frozenset(row[0] for row in rows))


def _held(cursor: duckdb.DuckDBPyConnection, database: str, suffix: str) -> None:
    """`held_<suffix>`: in which states the pairs of `pairs_<suffix>` are held."""
    text = script("held").replace("pairs_side", f"pairs_{suffix}")
    text = text.replace("held_side", f"held_{suffix}")
    cursor.execute(re.sub(r"\bside\.", f"{database}.", text))


def _lines(
    cursor: duckdb.DuckDBPyConnection, pairs: str, most: int | None = None
) -> tuple[Held, ...]:
    rows: list[tuple[Any, ...]] = cursor.execute(
        f"""
        SELECT p.id, e.entitlement_id, d.state, e.tier
        FROM ({pairs}) d
        JOIN after.internal.principals p ON p.ix = d.pix
        JOIN after.internal.entitlements e ON e.eix = d.eix
        ORDER BY coalesce(e.tier, 99), p.id, e.entitlement_id, d.state
        """
        + ("" if most is None else f"LIMIT {int(most)}")
    ).fetchall()
    return tuple(Held(row[0], row[1], STATES[row[2]], row[3]) for row in rows)


def _watched(
    cursor: duckdb.DuckDBPyConnection, here: str, watch: Sequence[str]
) -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    if not watch:
        return {}
    cursor.execute(
        f"""
        CREATE TEMP TABLE watched AS
        SELECT eix FROM {here}.internal.entitlements
        WHERE entitlement_id IN ({", ".join(map(literal, watch))});
        CREATE TEMP TABLE pairs_watched AS
        SELECT w.eix, p.ix AS pix, p.is_group, p.kind IN ('user', 'guest') AS is_person
        FROM {here}.internal.principals p, watched w
        WHERE p.ix IN (SELECT pix FROM differing SEMI JOIN watched USING (eix))
        """
    )
    _held(cursor, here, "watched")
    found = _by_principal(_lines(cursor, "SELECT eix, pix, state FROM held_watched"))
    gained = _by_principal(
        _lines(cursor, "SELECT eix, pix, state FROM differing SEMI JOIN watched USING (eix)")
    )
    return {who: (ids, found[who]) for who, ids in gained.items()}


def _by_principal(lines: Iterable[Held]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for held in lines:
        found.setdefault(held.principal_id, set()).add(held.entitlement_id)
    return {who: frozenset(ids) for who, ids in found.items()}


def _strange(
    connection: duckdb.DuckDBPyConnection, facts: Sequence[Fact]
) -> tuple[tuple[Fact, ...], tuple[Fact, ...]]:
    """Facts of unknown things, and facts that change nothing."""
    rows = connection.execute(
        """
        SELECT g.adds, g.what, g.who, g.state,
               g.pix IS NOT NULL AND (g.eix IS NOT NULL OR g.what = '*'),
               EXISTS (
                   SELECT 1 FROM before.internal.members_by_member m
                   WHERE m.member_ix = g.pix AND m.group_ix = g.group_ix AND m.state = g.state
               ) OR (g.group_ix IS NULL AND EXISTS (
                   SELECT 1 FROM before.internal.holds_by_principal h
                   WHERE h.pix = g.pix AND h.eix = g.eix AND h.state = g.state
               )) OR g.what = '*'
        FROM given_after g ORDER BY g.number
        """
    ).fetchall()
    asked = set(facts)
    unseen, otherwise = [], []
    for adds, what, who, state, known, there in rows:
        fact = Fact(adds, what, who, STATES[state])
        if fact not in asked:
            continue
        if not known:
            unseen.append(fact)
        elif adds is there and what != EVERYTHING:
            otherwise.append(fact)
    return tuple(unseen), tuple(otherwise)
