"""The lake: one Delta table per declared table, replaced as a whole when something changed.

Belongs here: commits, what a commit says about itself, and reading a table back. What a sync did
and how complete a table is belongs to `books`; where the files lie to `directory`.

Why Delta: the transaction log makes a commit one rename, so a killed process leaves the previous
version or the new one, and readers of either are never disturbed. A commit's own metadata carries
the sync, the time of reading, the digest and the cursor: data and cursor become durable together.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.exceptions import TableNotFoundError
from deltalake.transaction import AddAction, create_table_with_add_actions

from entra_pipeline import tables as registry
from entra_pipeline.lake.errors import LakeError, NewerTableError
from entra_pipeline.lake.rows import Digest, Ordered, conform, digest, in_order
from entra_pipeline.tables import Table

_METADATA: Final = "entra_pipeline"
# At most so many rows in a row group: what DuckDB reads as one unit of parallel work. Row groups
# are encoded in memory, so wide rows make smaller ones, of about 16 MiB.
_ROW_GROUP: Final = 122_880
_GRACE: Final = timedelta(hours=6)


@dataclass(frozen=True)
class CommitInfo:
    """What the current version of a table says about itself."""

    table: str
    version: int  # of the Delta table; grows with every commit
    rows: int
    sync_id: str
    as_of: datetime  # when the rows were read from Graph
    declaration: int  # version of the declaration that they were written with
    digest: str
    cursor: str | None  # delta link or watermark to continue from


@dataclass(frozen=True)
class Commit:
    """What a commit did."""

    info: CommitInfo
    changed: bool  # False: equal content, only the metadata moved on
    duplicates: int  # rows dropped because another had the same key

    @property
    def version(self) -> int:
        """The version of the Delta table that the commit made."""
        return self.info.version

    @property
    def rows(self) -> int:
        """Rows of the table after the commit."""
        return self.info.rows


class Lake:
    """The tables below one directory. Safe to use from many threads, one table from one at a time.

    `tables` are the declarations known to this program; the registry unless given.
    """

    def __init__(self, root: Path, tables: Mapping[str, Table] = registry.TABLES) -> None:
        self.root = root
        self._tables = tables

    def commit(
        self,
        table: Table,
        rows: pa.Table,
        *,
        sync_id: str,
        as_of: datetime,
        cursor: str | None = None,
    ) -> Commit:
        """Makes `rows` the current content of the table, in one atomic step.

        The rows may come in any order. When they equal the current content no data is written:
        the commit only says that they were seen again. `as_of` must have a time zone.

        Raises RowsError when the rows do not fit the declaration and NewerTableError when the
        stored table was written by a newer program; the stored table is then untouched.
        """
        current = self._current(table)
        ordered = in_order(table, conform(table, rows))
        info = CommitInfo(
            table=table.name,
            version=0 if current is None else current.version + 1,
            rows=ordered.count,
            sync_id=sync_id,
            as_of=as_of.astimezone(UTC),
            declaration=table.version,
            digest="",
            cursor=cursor,
        )
        # Gathering rows in order costs more than writing them. So the digest is worked out
        # beforehand only where it can spare the writing.
        if current is not None and current.rows == ordered.count:
            info = replace(info, digest=digest(table, ordered))
        changed = current is None or current.digest != info.digest
        if changed:
            info = self._write(table, ordered, info)
        else:
            self._touch(info)
        return Commit(info, changed=changed, duplicates=ordered.duplicates)

    def info(self, name: str) -> CommitInfo | None:
        """What the current version says about itself; None when nothing was ever committed."""
        stored = self._open(name)
        return None if stored is None else self._info(name, stored.version())

    def files(self, name: str) -> list[str]:
        """The Parquet files of the current version, none when it has no rows.

        They stay in place for a grace after a newer version replaced them (`maintain`). Raises
        NewerTableError as `commit` does.
        """
        stored = self._readable(name)
        return [] if stored is None else sorted(stored.file_uris())

    def read(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The current rows in key order, in the declared schema; columns added since read as null.

        A table that was never committed reads as no rows: ask `info` to tell the two apart.
        """
        table = self._tables[name]
        schema = table.schema()
        if columns is not None:
            schema = pa.schema([schema.field(column) for column in columns])
        pieces = [_read_file(file, schema) for file in self.files(name)]
        return pa.concat_tables(pieces) if pieces else schema.empty_table()

    def evolve(self, name: str) -> bool:
        """Rewrites a table of an older declaration in the present one, new columns as null.

        True when there was something to do. Times and sync stay; the cursor is dropped, because a
        delta would bring the new columns only for rows that change. Readers of `files` (DuckDB)
        can then count on every declared column.
        """
        table = self._tables[name]
        current = self._current(table)
        if current is None or current.declaration == table.version:
            return False
        ordered = in_order(table, self.read(name))
        self._write(
            table,
            ordered,
            CommitInfo(
                table=name,
                version=current.version + 1,
                rows=ordered.count,
                sync_id=current.sync_id,
                as_of=current.as_of,
                declaration=table.version,
                digest="",
                cursor=None,
            ),
        )
        return True

    def maintain(self, name: str, *, grace: timedelta = _GRACE) -> int:
        """Removes files that no version younger than the grace needs; how many there were.

        Also what killed commits left behind. Call it while holding the data directory's lock.
        """
        stored = self._open(name)
        if stored is None:
            return 0
        hours = max(0, int(grace.total_seconds() // 3600))
        # A dry run only lists: a real one would add commits of its own to the log, and the last
        # commit must be the one that says what the table holds.
        doomed = stored.vacuum(
            retention_hours=hours, dry_run=True, enforce_retention_duration=False, full=True
        )
        folder = self.root / name
        paths = [folder / path for path in doomed if path.endswith(".parquet")]
        oldest = time.time() - grace.total_seconds()
        paths += [p for p in (folder / "_delta_log").glob("*.tmp") if p.stat().st_mtime < oldest]
        for path in paths:
            path.unlink(missing_ok=True)
        return len(paths)

    def _open(self, name: str) -> DeltaTable | None:
        folder = self.root / name
        if not (folder / "_delta_log").is_dir():
            return None
        try:
            return DeltaTable(folder)
        except TableNotFoundError:
            return None  # killed during the very first commit

    def _readable(self, name: str) -> DeltaTable | None:
        stored = self._open(name)
        if stored is not None:
            self._refuse_newer(self._tables[name], self._info(name, stored.version()))
        return stored

    def _current(self, table: Table) -> CommitInfo | None:
        info = self.info(table.name)
        if info is not None:
            self._refuse_newer(table, info)
        return info

    def _refuse_newer(self, table: Table, info: CommitInfo) -> None:
        if info.declaration > table.version:
            raise NewerTableError(
                f"table {table.name} in {self.root} was written with version {info.declaration} of "
                f"its declaration, this program knows version {table.version}: use the newer "
                "entra-pipeline that wrote it, or another data directory"
            )

    def _info(self, name: str, version: int) -> CommitInfo:
        path = self.root / name / "_delta_log" / f"{version:020}.json"
        try:
            with path.open("rb") as lines:
                actions = [json.loads(line) for line in lines]
            said: dict[str, Any] = next(a["commitInfo"] for a in actions if "commitInfo" in a)
            said = said[_METADATA]
            return CommitInfo(
                table=name,
                version=version,
                rows=said["rows"],
                sync_id=said["sync_id"],
                as_of=datetime.fromisoformat(said["as_of"]),
                declaration=said["declaration"],
                digest=said["digest"],
                cursor=said["cursor"],
            )
        except (OSError, ValueError, KeyError, StopIteration) as error:
            raise LakeError(
                f"table {name} in {self.root}: version {version} was not committed by this program "
                f"({type(error).__name__}); move the folder away and sync again"
            ) from error

    def _write(self, table: Table, ordered: Ordered, info: CommitInfo) -> CommitInfo:
        """A commit of new data: one file, which the log then names in place of all others.

        Gives what the commit says, its digest filled in.
        """
        folder = self.root / table.name
        folder.mkdir(parents=True, exist_ok=True)
        schema = _commented(table)
        hashing = Digest(table)
        added = [_write_file(folder, table, ordered, schema, hashing)] if ordered.count else []
        info = replace(info, digest=hashing.close())
        if info.version == 0:
            create_table_with_add_actions(
                str(folder),
                Schema.from_arrow(schema),
                added,
                name=table.name,
                description=table.doc,
                commit_properties=_properties(info),
            )
        else:
            DeltaTable(folder).create_write_transaction(
                [*added],
                mode="overwrite",
                schema=Schema.from_arrow(schema),
                commit_properties=_properties(info),
            )
        return info

    def _touch(self, info: CommitInfo) -> None:
        """A commit without data: the log learns that the same rows were seen again."""
        stored = DeltaTable(self.root / info.table)
        stored.create_write_transaction(
            [], mode="append", schema=stored.schema(), commit_properties=_properties(info)
        )


def _commented(table: Table) -> pa.Schema:
    """The declared schema with descriptions where Spark and Databricks look for them."""
    return pa.schema(
        [
            field.with_metadata({"comment": column.doc})
            for field, column in zip(table.schema(), table.columns, strict=True)
        ]
    )


def _properties(info: CommitInfo) -> CommitProperties:
    return CommitProperties(
        custom_metadata={
            _METADATA: {
                "sync_id": info.sync_id,
                "as_of": info.as_of.isoformat().replace("+00:00", "Z"),
                "declaration": info.declaration,
                "digest": info.digest,
                "rows": info.rows,
                "cursor": info.cursor,
            }
        },
        # One writer at a time holds the data directory's lock: a conflict is a fault to show.
        max_commit_retries=0,
    )


def _write_file(
    folder: Path, table: Table, ordered: Ordered, schema: pa.Schema, hashing: Digest
) -> AddAction:
    """The rows as one Parquet file, on disk before the log can name it; hashed on the way."""
    path = folder / f"part-00000-{uuid.uuid4()}.zstd.parquet"
    key = table.key[0]  # the only column whose extremes follow from the order
    extremes: list[Any] = []
    try:
        with path.open("wb") as file:
            with pq.ParquetWriter(file, schema, compression="zstd", compression_level=1) as writer:
                for piece in ordered.slices():
                    hashing.add(piece)
                    writer.write_table(piece.cast(schema), row_group_size=_ROW_GROUP)
                    extremes += (piece.column(key)[0].as_py(), piece.column(key)[-1].as_py())
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)  # a full disk should not fill further with each attempt
        raise
    stats = {
        "numRecords": ordered.count,
        "minValues": {key: extremes[0]},
        "maxValues": {key: extremes[-1]},
    }
    return AddAction(
        path=path.name,
        size=path.stat().st_size,
        partition_values={},
        modification_time=int(path.stat().st_mtime * 1000),
        data_change=True,
        stats=json.dumps(stats),
    )


def _read_file(path: str, schema: pa.Schema) -> pa.Table:
    """One Parquet file in the given schema; columns that it lacks are null."""
    with contextlib.closing(pq.ParquetFile(path, memory_map=True)) as file:
        present = [name for name in schema.names if name in file.schema_arrow.names]
        rows = file.read(columns=present)
    columns = [
        rows.column(field.name).cast(field.type)
        if field.name in present
        else pa.nulls(rows.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
