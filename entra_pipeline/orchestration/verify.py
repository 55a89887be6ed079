"""Whether stored rows keep what their table's declaration promises: columns, key, references.

Counts only: no row, id or name ever leaves these functions, because their answers end up in
Dagster's event log. Reading is DuckDB's, straight from the lake's files or the staged warehouse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from uuid import uuid4

import duckdb
import pyarrow as pa

from entra_pipeline.tables import Table, get


@dataclass(frozen=True)
class Verdict:
    """The answer of one check; `facts` are counts and names of tables and columns."""

    passed: bool
    facts: dict[str, int | str] = field(default_factory=dict)


@contextmanager
def database(path: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to check with: the staged file, read-only, or an empty one in memory."""
    connection = _engine().cursor()
    try:
        if path is None:
            yield connection
            return
        name = f"stage_{uuid4().hex}"
        quoted = str(path).replace("'", "''")
        connection.execute(f"ATTACH '{quoted}' AS {name} (READ_ONLY); USE {name}")
        try:
            yield connection
        finally:
            connection.execute(f"USE memory; DETACH {name}")
    finally:
        connection.close()


@cache
def _engine() -> duckdb.DuckDBPyConnection:
    """One for all checks of the process: to start an engine takes longer than most checks."""
    return duckdb.connect(":memory:")


def parquet(files: Sequence[str]) -> str | None:
    """The files as something to select from; None when there are none, that is: no rows."""
    if not files:
        return None
    quoted = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
    return f"read_parquet([{quoted}], union_by_name = true)"


def schema(table: Table, stored: pa.Schema) -> Verdict:
    """Stored columns against declared ones, by name and type."""
    declared = {column.name: column.type for column in table.columns}
    found = {name: stored.field(name).type for name in stored.names}
    wrong = {
        "missing": [name for name in declared if name not in found],
        "unexpected": [name for name in found if name not in declared],
        "other_type": [
            name
            for name, kind in declared.items()
            if name in found and not _same(found[name], kind)
        ],
    }
    facts: dict[str, int | str] = {what: ", ".join(names) for what, names in wrong.items() if names}
    return Verdict(not facts, {"columns": len(found), **facts})


def rows(connection: duckdb.DuckDBPyConnection, table: Table) -> int:
    """How many rows a table of the connected database has."""
    return _row(connection, f'SELECT count(*) FROM "{table.name}"')[0]


def columns(connection: duckdb.DuckDBPyConnection, table: Table) -> pa.Schema:
    """The schema of a table of the connected database."""
    nothing: pa.Table = connection.table(table.name).limit(0).to_arrow_table()
    return nothing.schema


def key(connection: duckdb.DuckDBPyConnection, table: Table, source: str | None) -> Verdict:
    """Keys that are null or stand in more than one row of `source`, a FROM clause."""
    if source is None:
        return Verdict(True, {"rows": 0})
    columns = ", ".join(f'"{name}"' for name in table.key)
    null = " OR ".join(f'"{name}" IS NULL' for name in table.key)
    rows, nulls = _row(connection, f"SELECT count(*), count(*) FILTER (WHERE {null}) FROM {source}")
    # Grouping 64-bit hashes takes a fifth of the memory of grouping the keys themselves. Hashes
    # that repeat, which almost never happens, are then looked at by their true keys.
    repeated = f"SELECT hash({columns}) AS h FROM {source} GROUP BY h HAVING count(*) > 1"
    (duplicates,) = _row(
        connection,
        f"SELECT count(*) FROM (SELECT {columns} FROM {source} WHERE hash({columns}) IN "
        f"({repeated}) GROUP BY {columns} HAVING count(*) > 1)",
    )
    return Verdict(
        nulls == 0 and duplicates == 0,
        {"rows": rows, "null_keys": nulls, "repeated_keys": duplicates},
    )


def references(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    source: str | None,
    parents: Mapping[str, str | None],
) -> Verdict:
    """Ids in `source` that are no row of the table that they should belong to.

    `parents` has the FROM clause of each readable parent table (None: it has no rows). References
    to tables that could not be read are not judged and counted as `unjudged`.
    """
    facts: dict[str, int | str] = {}
    dangling = 0
    for reference in table.references:
        name = f"{'_'.join(reference.columns)}_not_in_{reference.table}"
        if source is None:
            continue
        if reference.table not in parents:
            facts["unjudged"] = int(facts.get("unjudged", 0)) + 1
            continue
        parent = parents[reference.table]
        # An empty text stands for "none" in keys, which may not be null.
        present = " AND ".join(
            f'r."{column}" IS NOT NULL AND r."{column}"::VARCHAR <> \'\''
            for column in reference.columns
        )
        missing = ""
        if parent is not None:
            matched = " AND ".join(
                f'p."{theirs}" = r."{ours}"'
                for ours, theirs in zip(reference.columns, get(reference.table).key, strict=True)
            )
            missing = f" AND NOT EXISTS (SELECT 1 FROM {parent} p WHERE {matched})"
        (count,) = _row(connection, f"SELECT count(*) FROM {source} r WHERE {present}{missing}")
        if count:
            facts[name] = count
            dangling += count
    return Verdict(dangling == 0, {"dangling": dangling, **facts})


def _row(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[int, ...]:
    row = connection.execute(sql).fetchone()
    assert row is not None  # noqa: S101 - an aggregate always gives a row
    return row


def _same(stored: pa.DataType, declared: pa.DataType) -> bool:
    """Equal but for how formats spell it: names and nullability of list items, text's width."""
    if pa.types.is_list(declared) or pa.types.is_large_list(declared):
        return (pa.types.is_list(stored) or pa.types.is_large_list(stored)) and _same(
            stored.value_type, declared.value_type
        )
    if pa.types.is_struct(declared):
        return (
            pa.types.is_struct(stored)
            and [f.name for f in stored] == [f.name for f in declared]
            and all(
                _same(ours.type, theirs.type) for ours, theirs in zip(stored, declared, strict=True)
            )
        )
    if pa.types.is_string(declared):
        return (
            pa.types.is_string(stored)
            or pa.types.is_large_string(stored)
            or (hasattr(pa.types, "is_string_view") and pa.types.is_string_view(stored))
        )
    if pa.types.is_timestamp(declared):
        return pa.types.is_timestamp(stored) and (stored.tz is None) == (declared.tz is None)
    return stored == declared
