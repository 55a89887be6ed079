"""Finding principals and entitlements by the names that people have for them.

Here belongs what a text may mean, and in which order its meanings are tried. What is asked about
the thing found is `questions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import duckdb

from entra_pipeline.access import needs
from entra_pipeline.access.answers import (
    Completeness,
    Entitlement,
    Missing,
    Node,
    NotFound,
    Principal,
)

# Candidates to list for a text that is ambiguous or names nothing.
CANDIDATES: Final = 10
PRINCIPAL = """
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


class Names:
    """The names in an open warehouse, and which of its tables are whole."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        self._connection = connection
        self._statuses: dict[str, Missing] | None = None
        # Numbers of the entitlements found so far: asking about one follows finding it.
        self._numbers: dict[str, int] = {}
        self.path = path

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

    def _all(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, values).fetchall()

    def _states(self) -> dict[str, Missing]:
        if self._statuses is None:
            rows = self._all('SELECT "table", status, reason FROM table_status ORDER BY "table"')
            self._statuses = {row[0]: Missing(*row) for row in rows}
        return self._statuses

    def _principals(self, where: str, values: Sequence[object]) -> list[Principal]:
        return [Principal(*row) for row in self._all(f"{PRINCIPAL} WHERE {where}", values)]

    def _entitlements(self, where: str, values: Sequence[object]) -> list[Entitlement]:
        rows = self._all(f"{_ENTITLEMENT} WHERE {where}", values)
        self._numbers.update((row[0], row[8]) for row in rows)
        return [
            Entitlement(row[0], Node(row[1], row[2], row[3]), row[4], row[5], row[6], row[7])
            for row in rows
        ]
