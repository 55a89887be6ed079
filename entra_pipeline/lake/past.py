"""Some rows of a table as they were at a past moment, without the others being read.

`Lake.as_of` undoes a whole table, which takes seconds where there are millions of rows. Here the
rows asked for are looked up in the files of the nearest later state, and only those changes are
undone that concern them. The engine skips in the files what cannot fit.

A row that is asked for by its values may have had others later, so it is found in three ways: by
its values in the later state, by those after some change, and by those before one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import duckdb
import pyarrow.parquet as pq

from entra_pipeline.lake.diff import Operation
from entra_pipeline.tables import Table

if TYPE_CHECKING:
    from entra_pipeline.lake.store import Lake

_WORDS: Final = re.compile(r"\w+")
# Where a change stands in the order of the commits, in names that no column has.
_PLACE: Final = '"#file", "#row"'


@dataclass(frozen=True)
class Past:
    """Files that a past state of a table follows from: undo in `files` what `changes` tell."""

    table: Table
    files: tuple[str, ...]  # of a state at the moment or later; none if it has no rows
    changes: tuple[str, ...]  # of the history, in the order of the commits
    after: datetime  # changes up to and including this moment stay
    until: datetime | None  # later ones came after the state in `files`


class PastRows:
    """Rows of the lake's tables as they were at one moment, as tables of a DuckDB database.

    Several threads may ask for rows, each of other tables of the lake.
    """

    def __init__(self, lake: Lake, moment: datetime, connection: duckdb.DuckDBPyConnection) -> None:
        self._lake = lake
        self._moment = moment
        self._connection = connection
        self._found: dict[str, Past | None] = {}

    def put(
        self,
        target: str,
        table: Table,
        condition: str = "true",
        *,
        columns: Collection[str] | None = None,
    ) -> None:
        """Makes a table of the rows of a table that meet a condition, in no order.

        The condition is SQL over the table's columns, by their bare names. `columns`: the ones
        wanted, all unless given; the key comes always, and those of the condition. Columns that no
        file has are null. A table of which nothing is known at that moment has no rows.
        """
        if table.name not in self._found:
            self._found[table.name] = self._lake.past(table.name, self._moment)
        past = self._found[table.name]
        asked = {*_WORDS.findall(condition)}.intersection(table.schema().names)
        wanted = [
            field
            for field in table.schema().names
            if columns is None or field in {*table.key, *columns, *asked}
        ]
        if past is None or not (past.files or past.changes):
            nothing = ", ".join(f"NULL::VARCHAR AS {_quote(field)}" for field in wanted)
            statements = iter([f"CREATE TABLE {target} AS SELECT {nothing} WHERE false"])
        else:
            reading = _Reading(past, condition, wanted, asked <= {*table.key})
            statements = reading.statements(target)
        with self._connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


class _Reading:
    """One table: its files, the condition, the columns wanted."""

    def __init__(self, past: Past, condition: str, names: Sequence[str], by_key: bool) -> None:
        self._past = past
        self._condition = f"({condition})"
        self._names = names
        self._by_key = by_key
        self._key = _quoted(past.table.key)
        self._stored = _fields(past.files[:1])
        self._told = _fields(past.changes[-1:])
        self._before = _fields(past.changes[-1:], within="before")

    def statements(self, target: str) -> Iterator[str]:
        """What to run, one after the other: the last makes the table, the others its helpers."""
        key, names, condition = self._key, _quoted(self._names), self._condition
        table = f"CREATE TABLE {target}"
        rows = f"SELECT {names} FROM ({self._state()}) WHERE {condition}"
        if not self._past.changes:
            yield f"{table} AS {rows}"
            return
        if self._by_key:
            # Key columns never change: these are all changes of the rows asked for.
            gone = f"{target}_was"
            yield (
                f"{table}_was AS SELECT * FROM ({self._former()}) WHERE {condition} "
                f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {_PLACE}) = 1"
            )
        else:
            # A row of the later state that was changed before equals what its last change told.
            gone = f"{target}_gone"
            yield f"{table}_gone AS SELECT {key} FROM ({self._after()}) WHERE {condition}"
            yield (
                f"{table}_any AS SELECT * FROM ({self._former()}) WHERE {condition} "
                f"AND operation <> '{Operation.INSERT.value}'"
            )
            # What it was at the moment is what it was before the first change.
            yield (
                f"{table}_first AS SELECT {key}, min(row({_PLACE})) AS first "
                f"FROM ({self._later()}) SEMI JOIN {target}_any USING ({key}) GROUP BY {key}"
            )
            yield (
                f"{table}_was AS SELECT a.* FROM {target}_any a JOIN {target}_first USING ({key}) "
                f"WHERE first = row({_PLACE})"
            )
        yield (
            f"{table} AS SELECT {names} FROM ({rows}) ANTI JOIN {gone} USING ({key}) UNION ALL "
            f"SELECT {names} FROM {target}_was WHERE operation <> '{Operation.INSERT.value}'"
        )

    def _state(self) -> str:
        """The later state."""
        if not self._past.files:
            return f"SELECT * FROM ({self._after()}) WHERE false"
        columns = _aliased((name, _quote(name), name in self._stored) for name in self._names)
        return f"SELECT {columns} FROM {_read(self._past.files)}"

    def _later(self, columns: str = "*") -> str:
        """The changes to undo, each with its place in the order of the commits."""
        within = f'"at" > {_time(self._past.after)}'
        if self._past.until is not None:
            within += f' AND "at" <= {_time(self._past.until)}'
        source = _read(self._past.changes, "filename = true, file_row_number = true")
        # The names of the files are in the order of the commits.
        return (
            f'SELECT {columns}, parse_filename(filename) AS "#file", file_row_number AS "#row" '
            f"FROM {source} WHERE {within}"
        )

    def _after(self) -> str:
        """The rows after changes; those deleted as they were."""
        return self._later(
            _aliased((name, _quote(name), name in self._told) for name in self._names)
        )

    def _former(self) -> str:
        """The rows before changes, and what the change was; those inserted as they are then."""
        update = f"operation = '{Operation.UPDATE.value}'"
        columns = _aliased(
            (
                name,
                f"CASE WHEN {update} THEN before.{_quote(name)} ELSE {_quote(name)} END"
                if name in self._before
                else _quote(name),
                name in self._told,
            )
            for name in self._names
        )
        return self._later(f"{columns}, operation")


def _fields(files: Sequence[str], within: str | None = None) -> set[str]:
    """The columns that files have, or the fields of one column."""
    found: set[str] = set()
    for file in files:
        schema = pq.read_schema(file, memory_map=True)
        if within is None:
            found.update(schema.names)
        elif within in schema.names:
            found.update(field.name for field in schema.field(within).type)
    return found


def _aliased(columns: Iterable[tuple[str, str, bool]]) -> str:
    """SQL columns: the name, the expression, and whether there is such a thing."""
    return ", ".join(
        f"{expression if there else 'NULL'} AS {_quote(name)}"
        for name, expression, there in columns
    )


def _read(files: Sequence[str], *options: str) -> str:
    names = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
    return f"read_parquet({', '.join([f'[{names}]', *options])})"


def _time(moment: datetime) -> str:
    return f"TIMESTAMPTZ '{moment.astimezone(UTC).isoformat()}'"


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(_quote, names))
