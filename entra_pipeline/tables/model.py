"""The vocabulary of declarations: what a table, a column and a reference are.

Here belong the types that declarations are written in and what can be derived from a declaration
alone (Arrow schema, `$select`, the schema of Graph's raw JSON). Declarations themselves live in
the files by subject beside this one; how rows are read is extract's, how they are stored lake's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Final, Literal

import pyarrow as pa

TEXT: Final = pa.string()
BOOL: Final = pa.bool_()
INT8: Final = pa.int8()
INT32: Final = pa.int32()
INT64: Final = pa.int64()
TIME: Final = pa.timestamp("us", "UTC")
TEXTS: Final = pa.list_(TEXT)

Group = Literal["directory", "access", "bookkeeping", "activity", "provisioning"]
License = Literal["p1", "p2"]
CLOUDS: Final = ("global", "usgov", "usgov_dod", "china")
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


class Status(StrEnum):
    """How complete a table is, as of its last sync. Everything but `complete` means: not whole."""

    COMPLETE = "complete"  # read whole and published
    PARTIAL = "partial"  # published, but some objects could not be read
    UNLICENSED = "unlicensed"  # the tenant lacks the licence that this table needs
    FORBIDDEN = "forbidden"  # the application lacks the permission
    UNSUPPORTED = "unsupported"  # this cloud does not have the feature
    QUARANTINED = "quarantined"  # read, but suspiciously small: the previous version stays
    STALE = "stale"  # was complete, but has not been refreshed for too long
    FAILED = "failed"  # could not be read: the reason says why
    NEVER = "never"  # no sync has read it yet
    NOT_CONFIGURED = "not_configured"  # it is not set up here that it is read


def struct(**fields: pa.DataType) -> pa.StructType:
    """A struct type from its fields, all nullable."""
    return pa.struct([pa.field(name, kind) for name, kind in fields.items()])


def structs(**fields: pa.DataType) -> pa.ListType[pa.StructType]:
    """A list of structs."""
    return pa.list_(struct(**fields))


def camel(name: str) -> str:
    """Graph's spelling of one of our names: `employee_org_data` → `employeeOrgData`."""
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)


@dataclass(frozen=True)
class Column:
    """One column of a table.

    `graph` is the path of the property in Graph's JSON, relative to the table's `entity`, with
    dots between levels (`signInActivity.lastSignInDateTime`). None means that the row mapping
    computes the value. `navigation` marks a path whose first part is a relationship: it comes by
    `$expand`, never by `$select`.
    """

    name: str
    type: pa.DataType
    doc: str
    graph: str | None = None
    navigation: bool = False


def column(
    name: str, kind: pa.DataType, doc: str, graph: str = "", *, navigation: bool = False
) -> Column:
    """A column read from Graph; the path is the name in Graph's spelling unless given."""
    return Column(name, kind, doc, graph or camel(name), navigation)


def computed(name: str, kind: pa.DataType, doc: str) -> Column:
    """A column that Graph does not have as such: the row mapping works it out."""
    return Column(name, kind, doc)


@dataclass(frozen=True)
class Reference:
    """The values of `columns` (where not null) are keys of `table`. Reported, never blocking."""

    columns: tuple[str, ...]
    table: str


@dataclass(frozen=True)
class Table:
    """The declaration of one table; everything that knows about tables derives from it."""

    name: str
    doc: str
    group: Group
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    # Application permissions, most specific first. One suffices, unless `all_of`.
    permissions: tuple[str, ...] = ()
    all_of: bool = False
    license: License | None = None
    absent_clouds: frozenset[str] = frozenset()
    references: tuple[Reference, ...] = ()
    # Grows by one whenever columns are added; see lake for what older and newer code do with it.
    version: int = 1
    slow: bool = False
    reader: str = ""
    # The Graph page that the declaration follows, and the collection that it is read from.
    source_doc: str = ""
    path: str = ""
    # Graph's type of the object (or of the nested item) that one row is made from.
    entity: str = ""
    # Rows nested in other objects: the table of those objects, and their properties or
    # relationships that hold the rows.
    parent: str = ""
    within: tuple[str, ...] = ()
    # Of events: the column that says when they happened; empty for tables of state.
    time: str = ""
    _by_name: dict[str, Column] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {column.name: column for column in self.columns}
        object.__setattr__(self, "_by_name", by_name)
        for name in (self.name, *by_name):
            if not _NAME.fullmatch(name):
                raise ValueError(f"table {self.name}: {name!r} is not snake_case")
        if len(by_name) != len(self.columns):
            raise ValueError(f"table {self.name}: a column is declared twice")
        referring = [name for reference in self.references for name in reference.columns]
        for name in (*self.key, *referring):
            if name not in by_name:
                raise ValueError(
                    f"table {self.name}: no column {name!r}, declare it or mend the key"
                )
        if self.time and (self.time not in by_name or by_name[self.time].type != TIME):
            raise ValueError(f"table {self.name}: {self.time!r} is no column that holds a time")
        if unknown := self.absent_clouds - set(CLOUDS):
            raise ValueError(f"table {self.name}: unknown clouds {sorted(unknown)}, use {CLOUDS}")

    def column(self, name: str) -> Column:
        """The column of that name; KeyError names table and column."""
        try:
            return self._by_name[name]
        except KeyError:
            raise KeyError(f"table {self.name} has no column {name!r}") from None

    def missing_permissions(self, granted: Collection[str]) -> tuple[str, ...]:
        """What to grant so that the table can be read; empty when the granted ones suffice.

        A permission to write includes the one to read: `X.ReadWrite.Y` stands for `X.Read.Y`.
        """
        missing = tuple(
            name
            for name in self.permissions
            if name not in granted and name.replace(".Read.", ".ReadWrite.") not in granted
        )
        if self.all_of:
            return missing
        return missing[:1] if len(missing) == len(self.permissions) else ()

    def schema(self) -> pa.Schema:
        """The Arrow schema of stored rows: a description per field, key columns not nullable."""
        return self._schema

    @cached_property
    def _schema(self) -> pa.Schema:
        return pa.schema(
            [
                pa.field(
                    column.name,
                    column.type,
                    nullable=column.name not in self.key,
                    metadata={"description": column.doc},
                )
                for column in self.columns
            ],
            metadata={"table": self.name, "description": self.doc},
        )

    def select(self) -> tuple[str, ...]:
        """The properties to name in `$select`: first parts of the paths that are no navigation."""
        heads = [c.graph.partition(".")[0] for c in self.columns if c.graph and not c.navigation]
        return tuple(dict.fromkeys(heads))

    def raw_schema(self, *, times: pa.DataType = TEXT) -> pa.Schema:
        """The schema of Graph's JSON for one object: Graph's names, nested where paths are.

        Times stay text unless `times` says otherwise: Graph sends up to seven fractional digits
        and the year 1 for "never", which no nanosecond timestamp holds.
        """
        tree: dict[str, object] = {}
        for column in self.columns:
            if column.graph is None:
                continue
            *parents, leaf = column.graph.split(".")
            level = tree
            for part in parents:
                inner = level.setdefault(part, {})
                if not isinstance(inner, dict):
                    raise ValueError(
                        f"table {self.name}: {column.graph} runs through a whole value"
                    )
                level = inner
            level[leaf] = raw_type(column.type, times)
        return pa.schema(_raw_fields(tree))


def raw_type(kind: pa.DataType, times: pa.DataType = TEXT) -> pa.DataType:
    """A declared type as Graph's JSON spells it: camelCase inside structs, times as `times`."""
    if isinstance(kind, pa.StructType):
        return pa.struct([pa.field(camel(f.name), raw_type(f.type, times)) for f in _fields(kind)])
    if isinstance(kind, pa.ListType):
        return pa.list_(raw_type(kind.value_type, times))
    return times if pa.types.is_timestamp(kind) else kind


def _fields(kind: pa.StructType) -> Sequence[pa.Field[pa.DataType]]:
    return [kind.field(index) for index in range(kind.num_fields)]


def _raw_fields(tree: dict[str, object]) -> list[pa.Field[pa.DataType]]:
    fields: list[pa.Field[pa.DataType]] = []
    for name, value in tree.items():
        kind = pa.struct(_raw_fields(value)) if isinstance(value, dict) else value
        assert isinstance(kind, pa.DataType)  # noqa: S101 - narrows for the type checker
        fields.append(pa.field(name, kind))
    return fields
