"""One transaction that changes the ledger, and the audit that it leaves.

Every row that a transaction makes or changes is told to the audit in the same transaction: what
happened, and the digest of the row as it is from then on. Entries form a chain: the hash of each is
taken over the hash of the one before and its own text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from entra_pipeline.provisioning import canonical
from entra_pipeline.provisioning.ledger import schema
from entra_pipeline.provisioning.ledger.database import Database

_WHOLE: Final = "1"
_MANY: Final = 500
"""Keys that are looked up at once."""


class Transaction:
    """What may be done within one transaction. `now` is its one time."""

    def __init__(self, connection: sa.Connection, now: datetime) -> None:
        self.connection = connection
        self.now = schema.micros(now)
        self._told: list[tuple[str, sa.Table, str, Mapping[str, Any]]] = []

    def insert(
        self, table: sa.Table, kind: str, rows: Iterable[Mapping[str, Any]], **content: Any
    ) -> None:
        """New rows of an audited table."""
        values = [dict(row) for row in rows]
        if not values:
            return
        self.connection.execute(table.insert(), values)
        key = key_of(table).name
        for row in values:
            self.tell(kind, table, row[key], content)

    def update(
        self, table: sa.Table, kind: str, key: str, values: Mapping[str, Any], **content: Any
    ) -> None:
        """New values in one row of an audited table."""
        column = key_of(table)
        self.connection.execute(table.update().where(column == key).values(**values))
        self.tell(kind, table, key, content)

    def tell(
        self, kind: str, table: sa.Table, key: str, content: Mapping[str, Any] | None = None
    ) -> None:
        """Have the audit say what happened to a row that was changed."""
        self._told.append((kind, table, key, content or {}))

    def note(self, kind: str, content: Mapping[str, Any]) -> None:
        """Have the audit say what happened to the ledger as a whole."""
        self._told.append((kind, schema.ledger, _WHOLE, content))

    def close(self) -> None:
        """Write the audit of all that was told."""
        if not self._told:
            return
        head = self.connection.execute(
            sa.select(schema.ledger.c.audit_seq, schema.ledger.c.audit_hash)
        ).one()
        seq, previous = head.audit_seq, head.audit_hash
        digests = self._digests()
        entries = []
        for kind, table, key, content in self._told:
            seq += 1
            name = row_name(table, key)
            told = canonical.text({**content, "row_digest": digests[name]})
            hashed = entry_hash(previous, seq, self.now, kind, name, told)
            entries.append(
                {
                    "seq": seq,
                    "at": self.now,
                    "kind": kind,
                    "row": name,
                    "content": told,
                    "previous": previous,
                    "hash": hashed,
                }
            )
            previous = hashed
        self.connection.execute(schema.audit.insert(), entries)
        self.connection.execute(schema.ledger.update().values(audit_seq=seq, audit_hash=previous))
        self._told.clear()

    def _digests(self) -> dict[str, str]:
        keys: dict[sa.Table, dict[str, None]] = {}
        found = {row_name(schema.ledger, _WHOLE): ""}
        for _, table, key, _ in self._told:
            if table is not schema.ledger:
                keys.setdefault(table, {})[key] = None
        for table, wanted in keys.items():
            column = key_of(table)
            names = list(wanted)
            for start in range(0, len(names), _MANY):
                part = names[start : start + _MANY]
                for row in self.connection.execute(sa.select(table).where(column.in_(part))):
                    found[row_name(table, getattr(row, column.name))] = row_digest(table, row)
        return found


@contextmanager
def transaction(database: Database, now: datetime) -> Iterator[Transaction]:
    """A transaction that is durable, with its audit, when the block ends; undone on an error."""
    with database.write() as connection:
        writing = Transaction(connection, now)
        yield writing
        writing.close()


def key_of(table: sa.Table) -> sa.Column[Any]:
    """The one column of a table's primary key."""
    (column,) = table.primary_key.columns
    return column


def row_name(table: sa.Table, key: str) -> str:
    """What the audit calls a row."""
    return f"{table.name}/{key}"


def row_digest(table: sa.Table, row: Any) -> str:
    """The digest of a row's evidence."""
    names = [c.name for c in table.columns if c.name not in schema.NOT_EVIDENCE]
    return canonical.digest(canonical.text({name: getattr(row, name) for name in names}))


def entry_hash(previous: str, seq: int, at: int, kind: str, row: str, content: str) -> str:
    """The hash of an entry of the audit: over the one before and all of its own text."""
    return canonical.digest(previous, str(seq), str(at), kind, row, content)
