"""The Delta log of one table of the lake: which version is current, and making the next one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, Schema
from deltalake.exceptions import TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

from entra_pipeline.lake import metadata
from entra_pipeline.lake.metadata import CommitInfo
from entra_pipeline.tables import Table


def latest(folder: Path) -> int | None:
    """The newest version, None if there is none. A look at names: opening a table costs 11 ms."""
    try:
        names = os.listdir(folder / "_delta_log")
    except (FileNotFoundError, NotADirectoryError):
        return None
    stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return max((int(stem) for stem in stems if stem.isdigit()), default=None)


def opened(folder: Path) -> DeltaTable | None:
    """The table in the folder; None if there is none, as after a kill during its first commit."""
    if not (folder / "_delta_log").is_dir():
        return None
    try:
        return DeltaTable(folder)
    except TableNotFoundError:
        return None


def replace_files(
    folder: Path,
    stored: DeltaTable | None,
    table: Table,
    added: Sequence[AddAction],
    removed: Sequence[str] | None,
    info: CommitInfo,
) -> None:
    """A commit of files in place of some (None: of all); the first one if nothing is stored yet."""
    schema = Schema.from_arrow(commented(table))
    if stored is None:
        folder.mkdir(parents=True, exist_ok=True)
        create_table_with_add_actions(
            str(folder),
            schema,
            [*added],
            name=table.name,
            description=table.doc,
            commit_properties=metadata.properties(info),
        )
        return
    now = int(datetime.now(UTC).timestamp() * 1000)
    gone = [
        RemoveAction(name, True, now, (folder / name).stat().st_size, {}) for name in removed or ()
    ]
    stored.create_write_transaction(
        [*gone, *added],
        mode="overwrite" if removed is None else "append",
        schema=schema,
        commit_properties=metadata.properties(info),
    )


def touch(stored: DeltaTable, info: CommitInfo) -> None:
    """A commit without data: the log learns that the same rows were seen again."""
    stored.create_write_transaction(
        [], mode="append", schema=stored.schema(), commit_properties=metadata.properties(info)
    )


def commented(table: Table) -> pa.Schema:
    """The declared schema with descriptions where Spark and Databricks look for them."""
    return pa.schema(
        [
            field.with_metadata({"comment": column.doc})
            for field, column in zip(table.schema(), table.columns, strict=True)
        ]
    )
