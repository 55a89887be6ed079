"""Questions to a published warehouse: who has access to what, and why.

Here belongs the reading side: opening, finding by name, asking, paging. Statements about access
are the macros' (sql/); shapes of answers are `answers`'. A command that asks one question starts
here, so this module imports nothing but DuckDB and the standard library.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb

from entra_pipeline.access import needs, use
from entra_pipeline.access.answers import (
    UNKNOWN,
    UNUSED,
    Access,
    AccessRow,
    Entitlement,
    Explanation,
    Node,
    Principal,
    Rows,
    StatusAnswer,
    Step,
    TableState,
    UsageBasis,
    Use,
    WhoCan,
    WhoRow,
    plain,
)
from entra_pipeline.access.finding import Names

if TYPE_CHECKING:
    import pyarrow as pa

# The layout that this code reads; a warehouse says which it has.
FORMAT: Final = 2
STATES: Final = ("active", "eligible")
# Beyond every principal's number; and how many holders are very many.
_END: Final = 2**31 - 1
_MANY: Final = 10_000
MEMORY: Final = "600MB"


class WarehouseError(Exception):
    """The warehouse cannot be read; the message names it, the reason and the remedy."""


class CursorError(ValueError):
    """A cursor that no answer gave out, or that a newer warehouse cannot go on from."""


class QueryError(ValueError):
    """A query that the warehouse refuses; the message is the engine's."""


class Warehouse(Names):
    """A published warehouse, open for reading. One object serves one thread at a time.

    It stays on the version that was current when it was opened, however often a newer one is
    published meanwhile. Use as a context manager, or `close()` it.
    """

    _format = FORMAT
    # The sync that the warehouse was last built whole by: it put the principals in order.
    _order = ""
    _judgement: use.Judgement | None = None

    @classmethod
    def open(cls, path: Path) -> Warehouse:
        """Open the warehouse that `path` names, a file or the link to the current version.

        Raises WarehouseError when there is none, or when newer code wrote it.
        """
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY,
            # A query reads the warehouse and nothing else of the machine.
            "enable_external_access": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        for attempt in (1, 2):
            # By its own name: within one process DuckDB would give an open connection's older
            # version for the link's name.
            version = Path(os.path.realpath(path))
            try:
                connection = duckdb.connect(str(version), read_only=True, config=config)
                break
            except duckdb.IOException as error:
                if not version.exists():
                    # Replaced and cleared away between looking and opening: look again.
                    if attempt == 1 and os.path.lexists(path):
                        continue
                    raise WarehouseError(
                        f"there is no warehouse at {path}: run `entra-pipeline sync` first"
                    ) from None
                raise WarehouseError(f"cannot open the warehouse {path}: {error}") from None
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET enable_progress_bar = false")
        warehouse = cls(connection, version)
        warehouse._check_format(path)
        return warehouse

    def _check_format(self, path: Path) -> None:
        try:
            self._connection.execute("SELECT * FROM internal.warehouse")
            names = [column[0] for column in self._connection.description or ()]
            said = dict(zip(names, self._connection.fetchall()[0], strict=True))
            found = said["format"]
        except duckdb.CatalogException:
            self.close()
            raise WarehouseError(f"{path} is not a warehouse of entra-pipeline") from None
        self._format = int(found)
        self._order = str(said.get("ordered_by", ""))
        if found > FORMAT:
            self.close()
            raise WarehouseError(
                f"{path} was written by a newer entra-pipeline (format {found}, this one reads "
                f"{FORMAT}): upgrade this installation"
            )

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> Warehouse:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------ asking

    def access(
        self,
        principal: Principal,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        unused: int | None = None,
    ) -> Access:
        """What a principal holds, by entitlement id and state; `limit` rows from `cursor` on.

        `unused`: only what has certainly not been used for so many days.
        """
        after_id, after_state = _position(cursor)
        known = self._all(
            "SELECT ix, is_group, kind IN ('user', 'guest') FROM internal.principals WHERE id = ?",
            [principal.id],
        )
        # Numbers in the statement itself: the engine then reads only what they can be in.
        number, a_group, a_person = known[0] if known else (-1, False, False)
        self._connection.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE page AS
            SELECT {int(number)} AS pix, a.eix, a.state, a.direct, a.depth, a.paths
            FROM internal.reach_of({int(number)}, {bool(a_group)}, {bool(a_person)}) a
            JOIN internal.entitlements e ON e.eix = a.eix
            WHERE $1 IS NULL OR (e.entitlement_id, a.state) > ($1, $2)
            ORDER BY e.entitlement_id, a.state
            """
            + _limit(limit if unused is None else None),
            [after_id, after_state],
        )
        usage, judged, only = self._usage_of_page(unused)
        rows = self._all(
            f"""
            SELECT e.entitlement_id, e.resource_id, e.resource_kind, e.resource_name,
                   e.display_name, a.state, e.scope, a.direct, a.depth, a.paths, e.purpose, e.tier,
                   {use.COLUMNS}
            FROM page a
            JOIN internal.entitlements e ON e.eix = a.eix
            LEFT JOIN ({judged}) u ON u.pix = a.pix AND u.eix = a.eix AND u.state = a.state
            {only} ORDER BY e.entitlement_id, a.state
            """
            + _limit(limit)
        )
        rows, more = _page(rows, limit)
        return Access(
            principal,
            tuple(
                AccessRow(
                    entitlement_id=row[0],
                    resource=Node(row[1], row[2], row[3]),
                    name=row[4],
                    state=STATES[row[5]],
                    scope=row[6],
                    direct=row[7],
                    depth=row[8],
                    paths=row[9],
                    purpose=row[10],
                    tier=row[11],
                    use=_use(row[12:]),
                )
                for row in rows
            ),
            self.completeness(needs.of_principal(principal.kind)),
            _cursor(rows[-1][0], rows[-1][5]) if more else None,
            usage,
        )

    def who_can(
        self,
        entitlement: Entitlement,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        unused: int | None = None,
    ) -> WhoCan:
        """Who holds an entitlement; `limit` rows from `cursor` on.

        In order of kind (users first, principals that no table has any more last), id and state;
        principals that came since the warehouse was last built whole are at the end.
        `unused`: only who has certainly not used it for so many days.
        """
        number = self._number(entitlement)
        after_id, after_state = _position(cursor, self._order)
        after = self._principal_position(after_id) if after_id is not None else -1
        candidates = limit if unused is None else None
        last = self._last_of_page(number, after, candidates)
        while True:
            # Numbers first, names only for the rows of the page.
            self._connection.execute(
                "CREATE OR REPLACE TEMP TABLE page AS "
                f"SELECT pix, {number} AS eix, state, direct, depth, paths "
                f"FROM internal.effective({number}, {number}) WHERE pix BETWEEN {after} AND {last} "
                "AND (pix > $1 OR state > $2) ORDER BY pix, state" + _limit(candidates),
                [after, after_state],
            )
            if candidates is None or last == _END:
                break
            ((found,),) = self._all("SELECT count(*) FROM page")
            if found > candidates:
                break
            last = _END
        usage, judged, only = self._usage_of_page(unused)
        rows = self._all(
            f"""
            SELECT p.id, p.kind, p.name, p.enabled, a.state, a.direct, a.depth, a.paths,
                   {use.COLUMNS}
            FROM page a
            JOIN internal.principals p ON p.ix = a.pix
            LEFT JOIN ({judged}) u ON u.pix = a.pix AND u.eix = a.eix AND u.state = a.state
            {only} ORDER BY a.pix, a.state
            """
            + _limit(limit)
        )
        rows, more = _page(rows, limit)
        return WhoCan(
            entitlement,
            tuple(
                WhoRow(
                    row[0],
                    row[1],
                    row[2],
                    row[3],
                    STATES[row[4]],
                    row[5],
                    row[6],
                    row[7],
                    _use(row[8:]),
                )
                for row in rows
            ),
            self.completeness(needs.of_entitlement(entitlement.entitlement_id)),
            _cursor(rows[-1][0], rows[-1][4], self._order) if more else None,
            usage,
        )

    def explain(
        self, principal: Principal, entitlement: Entitlement, *, limit: int | None = None
    ) -> Explanation:
        """Every path between the two, shortest first; at most `limit`, and within the macro's
        bounds (see docs/access-model.md). No path: an empty list.
        """
        kept, truncated = self._paths(principal, entitlement)
        usage, used = self._use_of_paths(principal, entitlement, kept)
        if limit is not None and len(kept) > limit:
            kept, truncated = kept[:limit], True
        return Explanation(
            principal,
            entitlement,
            tuple(tuple(path) for path in kept),
            truncated,
            self.completeness(needs.of_entitlement(entitlement.entitlement_id)),
            used,
            usage,
        )

    def paths(self, principal: Principal, entitlement: Entitlement, limit: int) -> list[list[Step]]:
        """The first `limit` paths of `explain` alone: half of its time goes into who used what."""
        return self._paths(principal, entitlement)[0][:limit]

    def _paths(
        self, principal: Principal, entitlement: Entitlement
    ) -> tuple[list[list[Step]], bool]:
        """All paths, and whether the macro stopped at its bounds."""
        rows = self._all(
            """
            SELECT path, from_id, from_kind, from_name, to_id, to_kind, to_name, via, kind, state,
                   truncated
            FROM explain($1, $2)
            """,
            [principal.id, entitlement.entitlement_id],
        )
        behalf = self._on_behalf_of(principal, entitlement) if rows else None
        paths: dict[int, list[Step]] = {}
        for row in rows:
            paths.setdefault(row[0], []).append(
                Step(Node(*row[1:4]), Node(*row[4:7]), row[7], row[8], row[9], behalf)
            )
        return list(paths.values()), bool(rows and rows[0][10])

    def status(self) -> StatusAnswer:
        """The last sync that this warehouse was built from, and how complete each table is."""
        cursor = self._connection.execute("SELECT * FROM syncs ORDER BY sync_id DESC LIMIT 1")
        names = [column[0] for column in cursor.description or ()]
        sync = cursor.fetchone()
        rows = self._all(
            'SELECT "table", status, rows, as_of, reason FROM table_status ORDER BY "table"'
        )
        last = {name: plain(value) for name, value in zip(names, sync, strict=True)} if sync else {}
        return StatusAnswer(
            last or None,
            tuple(TableState(*row) for row in rows),
            self.completeness([row[0] for row in rows if row[1] != "not_configured"]),
        )

    def query(self, sql: str, *, limit: int | None = None) -> Rows:
        """Any read-only SQL over the warehouse, at most `limit` rows of its result.

        Complete when the tables are that the statement names, or that what it names is made of.
        Raises QueryError with the engine's message.
        """
        try:
            cursor = self._connection.execute(sql)
            columns = tuple(column[0] for column in cursor.description or ())
            if not columns:
                rows = []
            elif limit is None:
                rows = cursor.fetchall()
            else:
                rows = cursor.fetchmany(limit + 1)
        except duckdb.Error as error:
            raise QueryError(str(error)) from None
        # What is not set up to be read is told of where it is named, not everywhere.
        states = self._states()
        known = [name for name in states if states[name].status != "not_configured"]
        try:
            tables = needs.of_stored(self._connection.get_table_names(sql), known)
        except duckdb.Error:
            # Several statements, or a form whose tables the engine does not tell.
            tables = known
        truncated = limit is not None and len(rows) > limit
        return Rows(columns, rows[:limit], self.completeness(tables), truncated)

    def batches(self, sql: str, *, rows: int = 65_536) -> Iterator[pa.RecordBatch]:
        """The result of a query as a stream of Arrow record batches, never whole in memory.

        Needs pyarrow. Raises QueryError with the engine's message.
        """
        try:
            relation = self._connection.sql(sql)
            if relation is None:
                raise QueryError("this statement gives no rows: export a SELECT")
            yield from relation.to_arrow_reader(rows)
        except duckdb.Error as error:
            raise QueryError(str(error)) from None

    # ------------------------------------------------------------------ inside

    def _usage_of_page(self, unused: int | None) -> tuple[UsageBasis, str, str]:
        """For the holds in the table `page`: what use rests on, SQL that judges, SQL to filter."""
        if self._format < 2:
            # Made before use was known; the next sync makes one that knows.
            basis, judged = UsageBasis(), use.NOTHING
        else:
            if self._judgement is None:
                self._judgement = use.Judgement(self._connection)
            basis, judged = self._judgement.basis(unused), self._judgement.sql(unused)
        if unused is None:
            return basis, judged, ""
        # Judged once, for the count and for the rows.
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE judged AS {judged}")
        ((unknown,),) = self._all(f"SELECT count(*) FROM judged WHERE used = '{UNKNOWN}'")
        basis = replace(basis, days=unused, unknown=unknown)
        return basis, "FROM judged", f"WHERE u.used = '{UNUSED}'"

    def _use_of_paths(
        self, principal: Principal, entitlement: Entitlement, paths: list[list[Step]]
    ) -> tuple[UsageBasis, Use]:
        """The use of what the paths bring: of the active hold if one does, else of the eligible."""
        states = {max(STATES.index(step.state) for step in path) for path in paths}
        state = min(states, default=0)
        direct = any(len(path) == 1 for path in paths)
        self._connection.execute(
            "CREATE OR REPLACE TEMP TABLE page AS "
            f"SELECT ix AS pix, {self._number(entitlement)} AS eix, {state}::TINYINT AS state, "
            f"{direct} AS direct FROM internal.principals WHERE id = $1",
            [principal.id],
        )
        basis, judged, _ = self._usage_of_page(None)
        rows = self._all(f"SELECT {use.COLUMNS} FROM ({judged}) u") if paths else []
        return basis, _use(rows[0]) if rows else Use()

    def _number(self, entitlement: Entitlement) -> int:
        """The entitlement's number in this warehouse; -1 when it has none."""
        if entitlement.entitlement_id not in self._numbers:
            self._entitlements("e.entitlement_id = ?", [entitlement.entitlement_id])
        return self._numbers.get(entitlement.entitlement_id, -1)

    def _last_of_page(self, number: int, after: int, limit: int | None) -> int:
        """Where to stop looking for a page of an entitlement that very many hold.

        Twice as far as their density says that the page lies; without it, all holders would be put
        in order for the first hundred of them.
        """
        if limit is None:
            return _END
        rows = self._all(
            "SELECT effective_active + effective_eligible,"
            " (SELECT max(ix) FROM internal.principals) FROM internal.counts WHERE eix = ?",
            [number],
        )
        if not rows or rows[0][0] < _MANY:
            return _END
        holders, principals = int(rows[0][0]), int(rows[0][1])
        return after + 1 + 2 * (limit + 1) * principals // holders

    def _principal_position(self, principal_id: str) -> int:
        """The number of the principal that the page before ended with."""
        rows = self._all("SELECT ix FROM internal.principals WHERE id = ?", [principal_id])
        if not rows:
            raise CursorError(
                "the principal that this cursor stands at is gone from the warehouse: begin again"
            )
        return int(rows[0][0])

    def _on_behalf_of(
        self, principal: Principal, entitlement: Entitlement
    ) -> tuple[str, ...] | None:
        """Delegated permissions: for which users the client may act; empty for all of them."""
        if not entitlement.entitlement_id.startswith("delegated:"):
            return None
        rows = self._all(
            "SELECT on_behalf_of FROM grants WHERE entitlement_id = ? AND principal_id = ?"
            " ORDER BY on_behalf_of",
            [entitlement.entitlement_id, principal.id],
        )
        users = tuple(row[0] for row in rows)
        return () if None in users else users


def _use(row: Sequence[Any]) -> Use:
    """The use in the columns of `use.COLUMNS`; unknown where nothing was judged."""
    return Use(*row) if row[0] is not None else Use()


def _limit(limit: int | None) -> str:
    """One row more than asked for tells whether there is a next page."""
    return "" if limit is None else f" LIMIT {int(limit) + 1}"


def _page(rows: list[tuple[Any, ...]], limit: int | None) -> tuple[list[tuple[Any, ...]], bool]:
    if limit is None or len(rows) <= limit:
        return rows, False
    return rows[:limit], bool(limit)


def _cursor(identity: str, state: int, *order: str) -> str:
    text = json.dumps([identity, state, *order], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _position(cursor: str | None, *order: str) -> tuple[str | None, int]:
    """The last row that a page before gave; raises CursorError."""
    if cursor is None:
        return None, -1
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        identity, state, *ordered = json.loads(text)
        if isinstance(identity, str) and state in (0, 1):
            if ordered != [*order]:
                raise CursorError(
                    "the principals were put in another order since this cursor was given: begin "
                    "again, or rows would be missed"
                )
            return identity, int(state)
    except CursorError:
        raise
    except (ValueError, binascii.Error):
        pass
    raise CursorError(
        f"{cursor!r} is not a cursor: use the one that the page before gave, or none to begin"
    )
