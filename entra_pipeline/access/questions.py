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
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb

from entra_pipeline.access import needs
from entra_pipeline.access.answers import (
    Access,
    AccessRow,
    Completeness,
    Entitlement,
    Explanation,
    Missing,
    Node,
    NotFound,
    Principal,
    Rows,
    StatusAnswer,
    Step,
    TableState,
    WhoCan,
    WhoRow,
    plain,
)

if TYPE_CHECKING:
    import pyarrow as pa

# The layout that this code reads; a warehouse says which it has.
FORMAT: Final = 1
# Candidates to list for a text that is ambiguous or names nothing.
CANDIDATES: Final = 10
STATES: Final = ("active", "eligible")
MEMORY: Final = "600MB"

_PRINCIPAL = """
SELECT p.id, p.kind, p.name, p.enabled, p.user_principal_name, p.mail, p.app_id,
       CASE WHEN p.kind = 'managed_identity' THEN
           (SELECT s.azure_resource_id FROM service_principals s WHERE s.id = p.id) END
FROM internal.principals p
"""
_ENTITLEMENT = """
SELECT e.entitlement_id, e.resource_id, e.resource_kind, e.resource_name, e.display_name,
       e.purpose, e.tier, e.scope, e.eix
FROM internal.entitlements e
"""
# From the surest name to the loosest; the first that fits anything decides.
_PRINCIPAL_NAMES = ("user_principal_name", "app_id", "mail", "name")


class WarehouseError(Exception):
    """The warehouse cannot be read; the message names it, the reason and the remedy."""


class CursorError(ValueError):
    """A cursor that no answer gave out, or that a newer warehouse cannot go on from."""


class QueryError(ValueError):
    """A query that the warehouse refuses; the message is the engine's."""


class Warehouse:
    """A published warehouse, open for reading. One object serves one thread at a time.

    It stays on the version that was current when it was opened, however often a newer one is
    published meanwhile. Use as a context manager, or `close()` it.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        self._connection = connection
        self._statuses: dict[str, Missing] | None = None
        # Numbers of the entitlements found so far: asking about one follows finding it.
        self._numbers: dict[str, int] = {}
        self.path = path

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
        warehouse = cls(connection, version)
        warehouse._check_format(path)
        return warehouse

    def _check_format(self, path: Path) -> None:
        try:
            found = self._all("SELECT format FROM internal.warehouse")[0][0]
        except duckdb.CatalogException:
            self.close()
            raise WarehouseError(f"{path} is not a warehouse of entra-pipeline") from None
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

    # ------------------------------------------------------------------ finding

    def find_principal(self, text: str) -> Principal | NotFound:
        """The principal that `text` names: object id, sign-in name, appId, mail or unique name.

        An exact id always wins; everything else is compared without regard to case, the surest
        kind of name first.
        """
        # Ids are lower case, and a sign-in name mostly comes as it is written: both are found
        # without looking at every name of the tenant.
        for where, value in (
            ("p.id = ?", text),
            ("p.id = ?", text.lower()),
            ("p.user_principal_name = ?", text),
        ):
            if exact := self._principals(where, [value]):
                return exact[0]
        same = " OR ".join(f"lower(p.{name}) = lower($1)" for name in _PRINCIPAL_NAMES)
        matches = self._principals(f"({same}) ORDER BY p.ix", [text])
        for name in _PRINCIPAL_NAMES:
            fitting = [p for p in matches if (getattr(p, name) or "").lower() == text.lower()]
            if len(fitting) == 1:
                return fitting[0]
            if fitting:
                return NotFound("principal", text, True, tuple(fitting[:CANDIDATES]))
        like = " OR ".join(f"contains(lower(p.{name}), lower($1))" for name in _PRINCIPAL_NAMES)
        near = self._principals(f"{like} ORDER BY p.ix LIMIT {CANDIDATES}", [text]) if text else []
        if not near:
            near = self._principals(
                "jaro_winkler_similarity(lower(p.name), lower($1)) > 0.85 ORDER BY "
                f"jaro_winkler_similarity(lower(p.name), lower($1)) DESC, p.ix LIMIT {CANDIDATES}",
                [text],
            )
        certain = self.completeness(needs.PRINCIPALS)
        return NotFound("principal", text, False, tuple(near), certain)

    def find_entitlement(self, text: str) -> Entitlement | NotFound:
        """The entitlement that `text` names: its id, the name shown, or its resource's name.

        A resource's name is enough when there is one entitlement on it.
        """
        if exact := self._entitlements("e.entitlement_id = ?", [text]):
            return exact[0]
        for where in (
            "lower(e.entitlement_id) = lower($1)",
            "lower(e.display_name) = lower($1)",
            "lower(e.resource_name) = lower($1) OR e.resource_id = lower($1)",
        ):
            matches = self._entitlements(
                f"({where}) ORDER BY e.display_name, e.entitlement_id LIMIT {CANDIDATES}", [text]
            )
            if len(matches) == 1:
                return matches[0]
            if matches:
                return NotFound("entitlement", text, True, tuple(matches))
        near = (
            self._entitlements(
                "contains(lower(e.display_name), lower($1)) OR lower(e.slug) = lower($1) "
                f"ORDER BY e.display_name, e.entitlement_id LIMIT {CANDIDATES}",
                [text],
            )
            if text
            else []
        )
        certain = self.completeness(needs.ENTITLEMENTS)
        return NotFound("entitlement", text, False, tuple(near), certain)

    # ------------------------------------------------------------------ asking

    def access(
        self, principal: Principal, *, limit: int | None = None, cursor: str | None = None
    ) -> Access:
        """What a principal holds, by entitlement id and state; `limit` rows from `cursor` on."""
        after_id, after_state = _position(cursor)
        known = self._all(
            "SELECT ix, is_group, kind IN ('user', 'guest') FROM internal.principals WHERE id = ?",
            [principal.id],
        )
        # Numbers in the statement itself: the engine then reads only what they can be in.
        number, a_group, a_person = known[0] if known else (-1, False, False)
        rows = self._all(
            f"""
            SELECT e.entitlement_id, e.resource_id, e.resource_kind, e.resource_name,
                   e.display_name, a.state, e.scope, a.direct, a.depth, a.paths, e.purpose, e.tier
            FROM internal.reach_of({int(number)}, {bool(a_group)}, {bool(a_person)}) a
            JOIN internal.entitlements e ON e.eix = a.eix
            WHERE $1 IS NULL OR (e.entitlement_id, a.state) > ($1, $2)
            ORDER BY e.entitlement_id, a.state
            """
            + _limit(limit),
            [after_id, after_state],
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
                )
                for row in rows
            ),
            self.completeness(needs.of_principal(principal.kind)),
            _cursor(rows[-1][0], rows[-1][5]) if more else None,
        )

    def who_can(
        self, entitlement: Entitlement, *, limit: int | None = None, cursor: str | None = None
    ) -> WhoCan:
        """Who holds an entitlement; `limit` rows from `cursor` on.

        In order of kind (users first, principals that no table has any more last), id and state.
        """
        number = self._number(entitlement)
        after_id, after_state = _position(cursor)
        after = self._principal_position(after_id) if after_id is not None else -1
        # Numbers first, names only for the rows of the page.
        self._connection.execute(
            "CREATE OR REPLACE TEMP TABLE page AS "
            f"SELECT pix, state, direct, depth, paths FROM internal.effective({number}, {number}) "
            "WHERE pix > $1 OR (pix = $1 AND state > $2) ORDER BY pix, state" + _limit(limit),
            [after, after_state],
        )
        rows = self._all(
            """
            SELECT p.id, p.kind, p.name, p.enabled, a.state, a.direct, a.depth, a.paths
            FROM page a JOIN internal.principals p ON p.ix = a.pix
            ORDER BY a.pix, a.state
            """
        )
        rows, more = _page(rows, limit)
        return WhoCan(
            entitlement,
            tuple(
                WhoRow(row[0], row[1], row[2], row[3], STATES[row[4]], row[5], row[6], row[7])
                for row in rows
            ),
            self.completeness(needs.of_entitlement(entitlement.entitlement_id)),
            _cursor(rows[-1][0], rows[-1][4]) if more else None,
        )

    def explain(
        self, principal: Principal, entitlement: Entitlement, *, limit: int | None = None
    ) -> Explanation:
        """Every path between the two, shortest first; at most `limit`, and within the macro's
        bounds (see docs/access-model.md). No path: an empty list.
        """
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
        truncated = bool(rows and rows[0][10])
        kept = list(paths.values())
        if limit is not None and len(kept) > limit:
            kept, truncated = kept[:limit], True
        return Explanation(
            principal,
            entitlement,
            tuple(tuple(path) for path in kept),
            truncated,
            self.completeness(needs.of_entitlement(entitlement.entitlement_id)),
        )

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
            self.completeness([row[0] for row in rows]),
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
        try:
            tables = needs.of_stored(self._connection.get_table_names(sql), self._states())
        except duckdb.Error:
            # Several statements, or a form whose tables the engine does not tell.
            tables = list(self._states())
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

    def completeness(self, tables: Sequence[str]) -> Completeness:
        """Which of the tables are not whole, in the order given."""
        states = self._states()
        return Completeness(
            tuple(
                state
                for table in dict.fromkeys(tables)
                if (state := states.get(table, Missing(table, "never"))).status != "complete"
            )
        )

    # ------------------------------------------------------------------ inside

    def _all(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, values).fetchall()

    def _states(self) -> dict[str, Missing]:
        if self._statuses is None:
            rows = self._all('SELECT "table", status, reason FROM table_status ORDER BY "table"')
            self._statuses = {row[0]: Missing(*row) for row in rows}
        return self._statuses

    def _principals(self, where: str, values: Sequence[object]) -> list[Principal]:
        return [Principal(*row) for row in self._all(f"{_PRINCIPAL} WHERE {where}", values)]

    def _entitlements(self, where: str, values: Sequence[object]) -> list[Entitlement]:
        rows = self._all(f"{_ENTITLEMENT} WHERE {where}", values)
        self._numbers.update((row[0], row[8]) for row in rows)
        return [
            Entitlement(row[0], Node(row[1], row[2], row[3]), row[4], row[5], row[6], row[7])
            for row in rows
        ]

    def _number(self, entitlement: Entitlement) -> int:
        """The entitlement's number in this warehouse; -1 when it has none."""
        if entitlement.entitlement_id not in self._numbers:
            self._entitlements("e.entitlement_id = ?", [entitlement.entitlement_id])
        return self._numbers.get(entitlement.entitlement_id, -1)

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


def _limit(limit: int | None) -> str:
    """One row more than asked for tells whether there is a next page."""
    return "" if limit is None else f" LIMIT {int(limit) + 1}"


def _page(rows: list[tuple[Any, ...]], limit: int | None) -> tuple[list[tuple[Any, ...]], bool]:
    if limit is None or len(rows) <= limit:
        return rows, False
    return rows[:limit], bool(limit)


def _cursor(identity: str, state: int) -> str:
    text = json.dumps([identity, state], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _position(cursor: str | None) -> tuple[str | None, int]:
    """The last row that a page before gave; raises CursorError."""
    if cursor is None:
        return None, -1
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        identity, state = json.loads(text)
        if isinstance(identity, str) and state in (0, 1):
            return identity, int(state)
    except (ValueError, binascii.Error):
        pass
    raise CursorError(
        f"{cursor!r} is not a cursor: use the one that the page before gave, or none to begin"
    )
