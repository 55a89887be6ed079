"""The lake: one Delta table per declared table, replaced or amended when something changed.

Belongs here: commits, and reading a table back, as it is or as it was. What changed is worked out
in `diff` and kept in `history`; what a commit says about itself is in `metadata`. What a sync did
and how complete a table is belongs to `books`; where the files lie to `directory`.

Why Delta: the transaction log makes a commit one rename, so a killed process leaves the previous
version or the new one, and readers of either are never disturbed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from deltalake import DeltaTable

from entra_pipeline import tables as registry
from entra_pipeline.lake import layout, log, metadata, parquet, recent, upkeep
from entra_pipeline.lake.diff import Amendment, Changes, Step, amended, compared
from entra_pipeline.lake.digests import digest, is_made_with, told
from entra_pipeline.lake.errors import LakeError, NewerTableError
from entra_pipeline.lake.history import History, change_schema
from entra_pipeline.lake.metadata import Commit, CommitInfo, StoredFile
from entra_pipeline.lake.past import Past
from entra_pipeline.lake.rows import conform, conform_deletes, conform_within, in_order
from entra_pipeline.lake.version import Replacement, Version
from entra_pipeline.tables import Table

_GRACE: Final = timedelta(hours=6)
# Replaying so many takes about a second.
_REPLAYED: Final = 200_000


class Lake:
    """The tables below one directory. Safe to use from many threads, one table from one at a time.

    `tables` are the declarations known to this program; the registry unless given. `replay`: a
    question about the past replays at most about so many changes, or as many as the table has rows
    if that is more. `file_rows`: a file of a table has at least so many rows, or is the only one.
    All who write a table should agree: what others wrote is written anew when it is amended.
    """

    def __init__(
        self,
        root: Path,
        tables: Mapping[str, Table] = registry.TABLES,
        *,
        replay: int = _REPLAYED,
        file_rows: int = layout.FILE_ROWS,
    ) -> None:
        self.root = root
        self._tables = tables
        self._replay = replay
        self._file_rows = file_rows
        self._chunk = max(1, file_rows // 2)  # so that files end soon after they have their rows
        self._additions = recent.Additions()

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
        the commit only says that they were seen again. `as_of` must have a time zone. What differs
        from the former content goes into the history; the first content ever does not.

        Raises RowsError when the rows do not fit the declaration and NewerTableError when the
        stored table was written by a newer program; the stored table is then untouched.
        """
        current = self._current(table)
        ordered = in_order(table, conform(table, rows))
        info = _following(current, table, sync_id, as_of, cursor)
        info = replace(info, rows=ordered.count, full_as_of=as_of)
        stored = log.opened(self.root / table.name)
        if current is None or stored is None:
            first = (Step(piece) for piece in ordered.slices())
            whole = self._whole(first, ordered.count)
            return self._write(table, stored, (), [whole], info, None, ordered.duplicates)
        # Gathering rows in order costs more than writing them. So the digest is worked out
        # beforehand only where it can spare the writing.
        if current.rows == ordered.count and current.digest == digest(
            table, ordered, like=current.digest
        ):
            log.touch(stored, info)
            return Commit(info, changed=False, duplicates=ordered.duplicates, changes=0)
        former = _pieces(self._paths(current), table.schema())
        whole = self._whole(compared(table, former, ordered.slices()), ordered.count)
        return self._write(table, stored, (), [whole], info, current, ordered.duplicates)

    def amend(
        self,
        table: Table,
        *,
        upserts: pa.Table,
        deletes: pa.Table | None = None,
        within: tuple[str, pa.Array[Any]] | None = None,
        sync_id: str,
        as_of: datetime,
        cursor: str | None = None,
    ) -> Commit:
        """Merges changes into the current content of the table, in one atomic step.

        `upserts`: whole rows, each of which takes the place of the row with its key; of several
        with one key the last counts. All rows go, unless upserted, that equal one of `deletes` in
        all of the columns that those have (any of the table's), or whose value in a column is among
        given ones (`within`: the children of changed parents, of which the upserts are all that
        are left). The same content comes out as if it had been committed whole.

        When nothing differs no data is written; sync, time and cursor move on. `full_as_of` stays.
        Errors as for `commit`; also RowsError for deletes that do not fit the declaration, and
        LakeError when there is no former content to amend in today's columns.
        """
        current = self._current(table)
        stored = log.opened(self.root / table.name)
        if current is None or stored is None or current.declaration < table.version:
            missing = "was never committed" if current is None else "lacks columns declared since"
            raise LakeError(
                f"table {table.name} in {self.root} {missing}, so that changes alone do not make "
                "it whole: read it in full once (sync --full)"
            )
        ordered = in_order(table, conform(table, upserts))
        amendment = Amendment(
            pa.concat_tables([*ordered.slices()] or [table.schema().empty_table()]),
            deletes=None if deletes is None else conform_deletes(table, deletes),
            within=None if within is None else conform_within(table, *within),
        )
        info = _following(current, table, sync_id, as_of, cursor)
        if amendment.is_empty():
            log.touch(stored, info)
            return Commit(info, changed=False, duplicates=0, changes=0)
        files = current.files
        if files is None or not self._is_ours(current) or layout.is_worn(files):
            former = _pieces(self._paths(current), table.schema())
            steps = amended(table.key, former, amendment)
            whole = self._whole(steps, current.rows)
            return self._write(table, stored, (), [whole], info, current, ordered.duplicates)
        parts = layout.parts(files, table.key, amendment, self._file_rows, self._columns(table))
        return self._write(
            table,
            stored,
            files,
            [self._amended(table, files, part) for part in parts],
            info,
            current,
            ordered.duplicates,
        )

    def info(self, name: str) -> CommitInfo | None:
        """What the current version says about itself; None when nothing was ever committed.

        No cursor is given for a table of an older declaration: following it would bring columns
        declared since only for the rows that change.
        """
        version = log.latest(self.root / name)
        if version is None:
            return None
        info = metadata.load(self.root, name, version)
        known = self._tables.get(name)
        if known is not None and info.declaration < known.version:
            info = replace(info, cursor=None)
        return info

    def files(self, name: str) -> list[str]:
        """The Parquet files of the current version in key order, none when it has no rows.

        They stay in place for a grace after a newer version replaced them (`maintain`). Raises
        NewerTableError as `commit` does.
        """
        found = self._readable(name)
        return [] if found is None else found[1]

    def read(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The current rows in key order, in the declared schema; columns added since read as null.

        A table that was never committed reads as no rows: ask `info` to tell the two apart.
        """
        schema = _selected(self._tables[name].schema(), columns)
        rows = [parquet.read(file, schema) for file in self.files(name)]
        return pa.concat_tables(rows) if rows else schema.empty_table()

    def changes(
        self, name: str, *, after: datetime | None = None, until: datetime | None = None
    ) -> pa.Table:
        """What changed after the one moment and not after the other, in order of time, then key.

        The columns are those of `history.change_schema`. A row that changed several times comes as
        often. Before the first commit nothing is known, and its rows are no changes.
        """
        table = self._tables[name]
        found = self._readable(name)
        if found is None:
            return change_schema(table).empty_table()
        return History(self.root, table).changes(found[0].changes_version, after, until)

    def recent(self, name: str, since: int | None) -> pa.Table | None:
        """What this very object added to a table's history after that version of the history.

        As `changes`, without a look at any file. None when it did not add all that is there now,
        or more than it keeps.
        """
        info = self.info(name)
        return None if info is None else self._additions.between(name, since, info.changes_version)

    def as_of(
        self, name: str, moment: datetime, columns: Sequence[str] | None = None
    ) -> pa.Table | None:
        """The rows as they were after all changes up to and including that moment, in key order.

        In today's declared schema. None when nothing is known of that moment: it lies before
        `CommitInfo.known_since`, or the table was never committed.
        """
        table = self._tables[name]
        wanted = _selected(table.schema(), columns)
        found = self._readable(name)
        if found is None or moment < found[0].known_since:
            return None
        info, files = found
        names = [field for field in table.schema().names if field in {*table.key, *wanted.names}]
        schema = _selected(table.schema(), names)
        files, until = self._nearest(info, files, moment)
        pieces = _pieces(files, schema)
        history = History(self.root, table)
        rows = [
            *history.undo(info.changes_version, pieces, names, after=moment, until=until),
        ]
        return pa.concat_tables([schema.empty_table(), *rows]).select(wanted.names)

    def past(self, name: str, moment: datetime) -> Past | None:
        """Where the rows of that moment come from, for who wants but few of them (`PastRows`).

        None when nothing is known of that moment, as for `as_of`.
        """
        found = self._readable(name)
        if found is None or moment < found[0].known_since:
            return None
        info, files = found
        files, until = self._nearest(info, files, moment)
        table = self._tables[name]
        changed = info.changed_as_of > moment
        changes = History(self.root, table).paths(info.changes_version) if changed else []
        return Past(table, tuple(files), tuple(changes), moment, until)

    def evolve(self, name: str) -> bool:
        """Rewrites a table of an older declaration in the present one, new columns as null.

        True when there was something to do. Times and sync stay; the cursor is dropped, because a
        delta would bring the new columns only for rows that change. Readers of `files` (DuckDB)
        can then count on every declared column. No row counts as changed.
        """
        table = self._tables[name]
        current = self._current(table)
        if current is None or current.declaration == table.version:
            return False
        ordered = in_order(table, self.read(name))
        steps = (Step(piece) for piece in ordered.slices())
        info = replace(current, version=current.version + 1, declaration=table.version, cursor=None)
        whole = self._whole(steps, ordered.count)
        self._write(table, log.opened(self.root / name), (), [whole], info, None, 0)
        return True

    def is_cluttered(self, name: str, *, grace: timedelta = _GRACE) -> bool:
        """Whether `maintain` is worth its while: by names and times of files, nothing is opened.

        False as long as no more lies about than a few commits left behind.
        """
        info = self._current(self._tables[name])
        if info is None:
            return False
        current = {file.name for file in info.files or ()}
        history = History(self.root, self._tables[name])
        return (
            (info.files is not None and bool(layout.misfits(info.files, self._file_rows)))
            or upkeep.is_cluttered(self.root / name, grace, current)
            or history.is_scattered()
            or upkeep.is_log_long(history.folder)
        )

    def maintain(
        self,
        name: str,
        *,
        grace: timedelta = _GRACE,
        keep: timedelta | None = None,
        now: datetime | None = None,
    ) -> int:
        """Removes files that no version younger than the grace needs; how many there were.

        Also what killed commits left behind, and old entries of the transaction log. History that
        is older than `keep`, reckoned from `now` or else from when the table was last read, is
        dropped; what is kept is gathered in few files. Call it while holding the data directory's
        lock. Raises NewerTableError as `commit` does.
        """
        info, stored = self._current(self._tables[name]), log.opened(self.root / name)
        if info is None or stored is None:
            return 0
        removed = 0
        info = self._rearranged(self._tables[name], stored, info)
        if info.changes_version is not None:
            history = History(self.root, self._tables[name])
            until = None if keep is None else (now or info.as_of) - keep
            version, trimmed = history.tidy(info.changes_version, until)
            if version != info.changes_version:
                known_since = info.known_since if trimmed is None else trimmed
                kept = tuple(c for c in info.checkpoints if c.at >= known_since)
                for file in _named(info.checkpoints) - _named(kept):
                    # Somebody may have read of it a moment ago: its grace begins now.
                    (self._checkpoints(name) / file).touch()
                info = replace(
                    info,
                    version=info.version + 1,
                    changes_version=version,
                    known_since=known_since,
                    checkpoints=kept,
                )
                log.touch(log.opened(self.root / name) or stored, info)
            is_empty = info.changed_as_of <= info.known_since
            removed += upkeep.tidy(history.folder, grace, files=0 if is_empty else 1)
        current = 1 if info.files is None else len(info.files)
        removed += upkeep.tidy(self.root / name, grace, files=current if info.rows else 0)
        named = _named(info.checkpoints)
        oldest = time.time() - grace.total_seconds()
        return removed + upkeep.remove(
            [
                path
                for path in self._checkpoints(name).glob("*.parquet")
                if path.name not in named and path.stat().st_ctime <= oldest
            ]
        )

    def _checkpoints(self, name: str) -> Path:
        return self.root / f"{name}_checkpoints"

    def _checkpointed(self, info: CommitInfo, former: CommitInfo, changes: int) -> CommitInfo:
        """Counts the changes, and keeps the former content when they have become very many.

        A question about the past then replays no more than about as many changes as the table has
        rows, however long the history.
        """
        if former.changes_since <= max(former.rows, self._replay) or (
            info.changed_as_of == former.changed_as_of  # a time has one state only, the last
        ):
            return replace(info, changes_since=former.changes_since + changes)
        folder = self._checkpoints(info.table)
        names = []
        for file in self.files(info.table):  # none if there were no rows
            folder.mkdir(exist_ok=True)
            path = folder / Path(file).name
            names.append(path.name)
            if path.name in _named(former.checkpoints):
                continue
            path.unlink(missing_ok=True)
            try:
                path.hardlink_to(file)
            except OSError:  # not every file system has links
                shutil.copyfile(file, path)
        if not names:
            return replace(info, changes_since=former.changes_since + changes)
        checkpoint = metadata.Checkpoint(former.changed_as_of, tuple(names))
        return replace(info, changes_since=changes, checkpoints=(*info.checkpoints, checkpoint))

    def _nearest(
        self, info: CommitInfo, files: list[str], moment: datetime
    ) -> tuple[list[str], datetime | None]:
        """The files of the nearest state not before a moment, and its time; None: the present."""
        for checkpoint in info.checkpoints:
            if checkpoint.at >= moment:
                folder = self._checkpoints(info.table)
                return [str(folder / file) for file in checkpoint.files], checkpoint.at
        return files, None

    def _readable(self, name: str) -> tuple[CommitInfo, list[str]] | None:
        """What the current version says, and its files."""
        version = log.latest(self.root / name)
        if version is None:
            return None
        info = metadata.load(self.root, name, version)
        self._refuse_newer(self._tables[name], info)
        return info, self._paths(info)

    def _paths(self, info: CommitInfo) -> list[str]:
        """The files of a version, in key order."""
        folder = self.root / info.table
        if info.files is None:
            return sorted(DeltaTable(folder, version=info.version).file_uris())
        return [str(folder.absolute() / file.name) for file in info.files]

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

    def _whole(self, steps: Iterable[Step], rows: int) -> Replacement:
        """All there is, in new files; `rows` of them, about."""
        return Replacement(0, 0, layout.rows_each(rows, self._file_rows), steps)

    def _amended(self, table: Table, files: Sequence[StoredFile], part: layout.Part) -> Replacement:
        """Some files of a version with what an amendment makes of their rows."""
        former = self._former(table, files[part.start : part.stop])
        steps = amended(table.key, former, part.amendment)
        return Replacement(part.start, part.stop, part.rows_each, steps)

    def _former(self, table: Table, files: Sequence[StoredFile]) -> Iterator[pa.Table]:
        """The rows of some of a table's files."""
        paths = [str(self.root / table.name / file.name) for file in files]
        return _pieces(paths, table.schema())

    def _is_ours(self, info: CommitInfo) -> bool:
        """Whether its files are such as this lake writes, so that some can stay."""
        return is_made_with(info.digest, self._chunk)

    def _columns(self, table: Table) -> layout.Rows:
        """Reads columns of one of a table's files."""

        def read(file: StoredFile, columns: Sequence[str]) -> pa.Table:
            path = str(self.root / table.name / file.name)
            return parquet.read(path, _selected(table.schema(), columns))

        return read

    def _rearranged(self, table: Table, stored: DeltaTable, info: CommitInfo) -> CommitInfo:
        """Writes files anew that amendments left far too large or small; what is said then."""
        files = info.files
        if files is None or not self._is_ours(info) or info.declaration < table.version:
            return info
        spans = layout.misfits(files, self._file_rows)
        if not spans:
            return info
        parts = [
            Replacement(start, stop, rows_each, map(Step, self._former(table, files[start:stop])))
            for start, stop, rows_each in spans
        ]
        info = replace(info, version=info.version + 1)
        return self._write(table, stored, files, parts, info, None, 0).info

    def _write(
        self,
        table: Table,
        stored: DeltaTable | None,
        files: Sequence[StoredFile],
        parts: Iterable[Replacement],
        info: CommitInfo,
        former: CommitInfo | None,
        duplicates: int,
    ) -> Commit:
        """A commit of new data: files in the place of some, or of all if none are given.

        With a former state the history comes first, and a commit without data is made when nothing
        turns out to differ. The rows are counted and hashed on the way.
        """
        # A clock may be set back; the history's order is that of the commits.
        changed_as_of = info.as_of if former is None else max(info.as_of, former.changed_as_of)
        folder = self.root / table.name
        history = History(self.root, table)
        with (
            Version(folder, table, self._chunk, files) as version,
            history.writer(info.version) as changes,
        ):
            kept: list[pa.Table] = []

            def tell(found: pa.Table) -> None:
                rows = history.dated(found, info.sync_id, changed_as_of)
                changes.write(rows)
                if changes.rows <= recent.KEPT:
                    kept.append(rows)

            differing = None if former is None else Changes(table, tell)
            for part in parts:
                version.replace(part, differing)
            if differing is not None:
                differing.close()
            if stored is not None and former is not None and not changes.rows:
                version.discard()
                info = replace(info, rows=former.rows, digest=former.digest)
                log.touch(stored, info)
                return Commit(info, changed=False, duplicates=duplicates, changes=0)
            added, now, gone = version.finish()
            info = replace(
                info,
                rows=sum(file.rows for file in now),
                digest=told(self._chunk, sum(int(file.digest, 16) for file in now)),
                files=tuple(now),
            )
            if former is not None:
                named = history.append(changes, former.changes_version, changed_as_of)
                info = replace(info, changes_version=named, changed_as_of=changed_as_of)
                info = self._checkpointed(info, former, changes.rows)
                few = pa.concat_tables(kept) if changes.rows <= recent.KEPT else None
                self._additions.keep(table.name, former.changes_version, named, few)
            names = [file.name for file in gone] if files else None
            log.replace_files(folder, stored, table, added, names, info)
        return Commit(info, changed=True, duplicates=duplicates, changes=changes.rows)


def _following(
    current: CommitInfo | None, table: Table, sync_id: str, as_of: datetime, cursor: str | None
) -> CommitInfo:
    """What the next commit says, its rows and digest still open."""
    as_of = as_of.astimezone(UTC)
    if current is None:
        return CommitInfo(
            table=table.name,
            version=0,
            rows=0,
            sync_id=sync_id,
            as_of=as_of,
            declaration=table.version,
            digest="",
            cursor=cursor,
            full_as_of=as_of,
            first_as_of=as_of,
            known_since=as_of,
            changed_as_of=as_of,
            changes_version=None,
            changes_since=0,
            checkpoints=(),
            files=(),
        )
    return replace(
        current,
        version=current.version + 1,
        sync_id=sync_id,
        as_of=as_of,
        declaration=table.version,
        cursor=cursor,
    )


def _named(checkpoints: Iterable[metadata.Checkpoint]) -> set[str]:
    return {file for checkpoint in checkpoints for file in checkpoint.files}


def _selected(schema: pa.Schema, columns: Sequence[str] | None) -> pa.Schema:
    if columns is None:
        return schema
    return pa.schema([schema.field(name) for name in columns])


def _pieces(files: Sequence[str], schema: pa.Schema) -> Iterator[pa.Table]:
    for file in files:
        yield from parquet.pieces(file, schema)
