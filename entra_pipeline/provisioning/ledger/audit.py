"""Proving that the ledger is what it became step by step, and naming what is not.

Found: a row or an entry that was changed, taken away, added or put elsewhere. That the newest
entries were cut off together with everything they speak of can only be seen beside a head that was
noted elsewhere: `Head` is what to note.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from entra_pipeline.provisioning.ledger import schema
from entra_pipeline.provisioning.ledger.database import GENESIS, Database
from entra_pipeline.provisioning.ledger.writing import entry_hash, key_of, row_digest, row_name

_AT_ONCE: Final = 10_000


@dataclass(frozen=True)
class Head:
    """The newest entry of the audit."""

    seq: int
    hash: str


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was written: which row, and what is wrong with it."""

    row: str
    problem: str


@dataclass(frozen=True)
class Report:
    """What a check found; `entries` and `rows` were looked at."""

    entries: int
    rows: int
    head: Head
    findings: tuple[Finding, ...]


def head(database: Database) -> Head:
    """The newest entry, to be noted elsewhere."""
    with database.read() as connection:
        return _head(connection)


def verify(database: Database, noted: Head | None = None) -> Report:
    """Check the chain, every row against it, and the head against one `noted` earlier."""
    with database.read() as connection:
        newest = _head(connection)
        last: dict[str, tuple[int, str]] = {}
        findings = []
        entries = 0
        previous, expected = GENESIS, 1
        seen_noted = noted is None or noted.seq == 0
        for entry in _entries(connection):
            entries += 1
            name = f"audit/{entry.seq}"
            if entry.seq != expected:
                gone = f"{expected}" if entry.seq == expected + 1 else f"{expected}-{entry.seq - 1}"
                findings.append(Finding(f"audit/{gone}", "is missing"))
            elif entry.previous != previous:
                findings.append(Finding(name, "does not follow the entry before it"))
            own = entry_hash(
                entry.previous, entry.seq, entry.at, entry.kind, entry.row, entry.content
            )
            if own != entry.hash:
                findings.append(Finding(name, "was changed: its text does not have its hash"))
            if noted is not None and entry.seq == noted.seq:
                seen_noted = True
                if entry.hash != noted.hash:
                    findings.append(Finding(name, "is not the entry that was noted elsewhere"))
            last[entry.row] = (entry.seq, _digest_in(entry.content))
            previous, expected = entry.hash, entry.seq + 1
        if expected - 1 != newest.seq or previous != newest.hash:
            findings.append(
                Finding(
                    f"audit/{newest.seq}",
                    f"is the newest by the ledger's own word, but the chain ends at {expected - 1}",
                )
            )
        if noted is not None and not seen_noted:
            findings.append(
                Finding(
                    f"audit/{noted.seq}", "was noted elsewhere and is missing: the end was cut off"
                )
            )
        rows = 0
        for table in schema.AUDITED:
            for row in _rows(connection, table):
                rows += 1
                name = row_name(table, getattr(row, key_of(table).name))
                told = last.pop(name, None)
                if told is None:
                    findings.append(Finding(name, "is not in the audit: it was put there"))
                elif told[1] != row_digest(table, row):
                    findings.append(
                        Finding(name, f"was changed since entry {told[0]} of the audit told of it")
                    )
        findings += [
            Finding(name, f"is missing: entry {seq} of the audit told of it last")
            for name, (seq, digest) in sorted(last.items())
            if digest
        ]
    return Report(entries, rows, newest, tuple(findings))


def _head(connection: sa.Connection) -> Head:
    found = connection.execute(
        sa.select(schema.ledger.c.audit_seq, schema.ledger.c.audit_hash)
    ).one()
    return Head(found.audit_seq, found.audit_hash)


def _entries(connection: sa.Connection) -> Iterator[Any]:
    audit = schema.audit
    after = -(2**62)
    while True:
        query = sa.select(audit).where(audit.c.seq > after).order_by(audit.c.seq).limit(_AT_ONCE)
        part = connection.execute(query).all()
        yield from part
        if len(part) < _AT_ONCE:
            return
        after = part[-1].seq


def _rows(connection: sa.Connection, table: sa.Table) -> Iterator[Any]:
    key = key_of(table)
    after = ""
    while True:
        query = sa.select(table).where(key > after).order_by(key).limit(_AT_ONCE)
        part = connection.execute(query).all()
        yield from part
        if len(part) < _AT_ONCE:
            return
        after = getattr(part[-1], key.name)


def _digest_in(content: str) -> str:
    try:
        return str(json.loads(content).get("row_digest", ""))
    except (ValueError, AttributeError):
        return ""
