"""Events in the lake: Delta tables that grow, one partition a day, each id once.

Belongs here: adding events, which spans of time were read whole, reading back, and letting old
days go. Tables of state belong to `store`; what is read when to `extract.activity`.

    lake/<table>/_delta_log/          as for every Delta table
    lake/<table>/day=2026-11-23/…     Parquet files; `day` is the UTC date of the event

An event that is there already is not written again: readings overlap, because events come late
and repeatedly. What a commit says about itself (spans covered, how the last reading ended) is in
the commit's own metadata, so that it becomes durable together with the rows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from datetime import time as clock_time
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute
from deltalake import DeltaTable, Schema
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions
from filelock import FileLock

from entra_pipeline import tables as registry
from entra_pipeline.lake import event_files
from entra_pipeline.lake.errors import NewerTableError, RowsError
from entra_pipeline.lake.event_files import DAY
from entra_pipeline.lake.event_merge import by_day, by_time, distinct, merged
from entra_pipeline.lake.event_metadata import EventsInfo, load, properties
from entra_pipeline.lake.log import opened
from entra_pipeline.lake.rows import conform
from entra_pipeline.lake.spans import Span, joined, since
from entra_pipeline.tables import Status, Table

__all__ = ["DAY", "Events", "EventsCommit", "EventsInfo"]

# The stubs spell out overloads by element type; "whatever is declared" fits few of them.
pc: Any = pyarrow.compute

# A day of readings every quarter of an hour makes a hundred files. More than so many small ones
# of a day become one.
_SMALL_FILES: Final = 16
_SMALL: Final = 10_000
_GRACE: Final = timedelta(hours=6)
_LOCK_WAIT_S: Final = 600


@dataclass(frozen=True)
class EventsCommit:
    """What a commit did."""

    info: EventsInfo
    inserted: int  # events that were not there
    replaced: int  # events that were there with other content
    repeated: int  # events that were there as they are, or came twice


class Events:
    """The tables of events below one directory. Safe to use from many threads and processes.

    `tables` are the declarations known to this program; the registry's unless given.
    """

    def __init__(self, root: Path, tables: Mapping[str, Table] = registry.EVENTS) -> None:
        self.root = root
        self._tables = tables

    # ---- writing -----------------------------------------------------------------------------

    def commit(
        self,
        table: Table,
        rows: pa.Table,
        *,
        sync_id: str,
        as_of: datetime,
        covers: Span | None = None,
    ) -> EventsCommit | None:
        """Adds events, each id once, in one atomic step.

        An event that is stored as it comes is left alone, one that is stored otherwise is
        replaced. That it is stored is looked up among the events of its time: the time of an
        event never changes. `covers`: with these rows that span was read whole. None when there
        is nothing to say.

        Raises RowsError for rows that do not fit the declaration or have no time, and
        NewerTableError when a newer program wrote the table.
        """
        rows = conform(table, rows)
        if missing := rows.column(table.time).null_count:
            raise RowsError(
                f"events for table {table.name}: {missing} have no {table.time}; the reader must "
                "drop and count such rows"
            )
        if not rows.num_rows and covers is None:
            return None
        once = distinct(table, rows)
        repeated = rows.num_rows - once.num_rows
        adds: list[AddAction] = []
        removes: list[RemoveAction] = []
        replaced = fresh_rows = 0
        with self._writing(table) as current:
            stored = self._open(table.name)
            folder = self.root / table.name
            try:
                for day, part in by_day(table, once):
                    change = merged(
                        table, folder, day, part, event_files.listed(table, stored, day)
                    )
                    adds += change.adds
                    removes += change.removes
                    fresh_rows += change.inserted
                    replaced += change.replaced
                    repeated += change.repeated
            except BaseException:
                # A full disk should not fill further with each attempt. What a commit may have
                # named already is not touched: `maintain` finds what is left over.
                for add in adds:
                    (folder / add.path).unlink(missing_ok=True)
                raise
            info = self._next(table, current, sync_id, as_of)
            info = replace(
                info,
                rows=info.rows + fresh_rows,
                covered=tuple(joined([*info.covered, *([covers] if covers else [])])),
            )
            self._write(table, stored, info, adds, removes)
            if adds:
                info = self._gathered(
                    table, info, sorted({event_files.day_of(add.path) for add in adds})
                )
        return EventsCommit(info, fresh_rows, replaced, repeated)

    def note(
        self,
        table: Table,
        status: Status,
        *,
        sync_id: str,
        as_of: datetime,
        reason: str | None = None,
        permission: str | None = None,
    ) -> EventsInfo:
        """Records how a reading ended; events and spans stay as they are."""
        with self._writing(table) as current:
            info = self._next(table, current, sync_id, as_of)
            info = replace(info, status=status, reason=reason, permission=permission)
            self._write(table, self._open(table.name), info, [], [])
        return info

    def forget(self, name: str, before: datetime) -> int:
        """Removes the days that ended by `before`, and what is known of them; the events removed.

        The files go with the next `maintain` after its grace.
        """
        table = self._tables[name]
        cut = before.astimezone(UTC).date()
        start = datetime.combine(cut, clock_time(), UTC)
        with self._writing(table) as current:
            stored = self._open(name)
            if current is None or stored is None:
                return 0
            old = [file for file in event_files.listed(table, stored) if file.day < cut.isoformat()]
            covered = tuple(since(start, current.covered))
            if not old and covered == current.covered:
                return 0
            gone = sum(file.rows for file in old)
            info = replace(
                current, version=current.version + 1, rows=current.rows - gone, covered=covered
            )
            self._write(table, stored, info, [], [event_files.removed(file) for file in old])
        return gone

    def maintain(self, name: str, *, grace: timedelta = _GRACE) -> int:
        """Removes files that no version younger than the grace needs; how many there were."""
        table = self._tables[name]
        with self._writing(table):
            stored = self._open(name)
            if stored is None:
                return 0
            # A dry run only lists: a real one would add commits that do not say what is covered.
            doomed = stored.vacuum(
                retention_hours=max(0, int(grace.total_seconds() // 3600)),
                dry_run=True,
                enforce_retention_duration=False,
                full=True,
            )
            paths = [self.root / name / path for path in doomed if path.endswith(".parquet")]
            log, oldest = self.root / name / "_delta_log", time.time() - grace.total_seconds()
            paths += [path for path in log.glob("*.tmp") if path.stat().st_mtime < oldest]
            for path in paths:
                path.unlink(missing_ok=True)
        return len(paths)

    # ---- reading -----------------------------------------------------------------------------

    def info(self, name: str) -> EventsInfo | None:
        """What the current version says about itself; None when it was never asked for."""
        stored = self._open(name)
        return None if stored is None else load(self.root, name, stored.version())

    def info_at(self, name: str, moment: datetime) -> EventsInfo | None:
        """What the table said about itself after the last reading that began by then.

        None when it had never been asked for. Where the log is trimmed, what its oldest version
        says stands in.
        """
        log = self.root / name / "_delta_log"
        versions = sorted(int(path.stem) for path in log.glob("*.json") if path.stem.isdigit())
        found: EventsInfo | None = None
        low, high = 0, len(versions)
        while low < high:
            middle = (low + high) // 2
            info = load(self.root, name, versions[middle])
            if info.as_of <= moment:
                found, low = info, middle + 1
            else:
                high = middle
        if found is None and versions and versions[0] > 0:
            return load(self.root, name, versions[0])
        return found

    def covered(self, name: str) -> list[Span]:
        """The spans of time that were read whole, in order, none touching the next."""
        info = self.info(name)
        return [] if info is None else list(info.covered)

    def days(self, name: str) -> dict[str, int]:
        """How many events each day has, by its UTC date, in order; days without any are absent."""
        counted: dict[str, int] = {}
        for file in event_files.listed(self._tables[name], self._open(name)):
            counted[file.day] = counted.get(file.day, 0) + file.rows
        return counted

    def files(
        self, name: str, start: datetime | None = None, end: datetime | None = None
    ) -> list[str]:
        """The Parquet files with all events from `start` to before `end`, and maybe others.

        They stay in place for a grace after a newer version replaced them (`maintain`).
        """
        table = self._tables[name]
        stored = self._open(name)
        if stored is not None:
            self._refuse_newer(table, load(self.root, name, stored.version()))
        return [
            str(self.root / name / file.path)
            for file in event_files.listed(table, stored)
            if (start is None or file.last >= start) and (end is None or file.first < end)
        ]

    def read(
        self,
        name: str,
        start: datetime | None = None,
        end: datetime | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """The events from `start` to before `end`, by time, then id, in the declared schema.

        No events does not mean that nothing happened: `covered` tells the two apart.
        """
        table = self._tables[name]
        wanted = list(columns if columns is not None else table.schema().names)
        read = list(dict.fromkeys([*wanted, table.time, *table.key]))
        schema = pa.schema([table.schema().field(column) for column in read])
        pieces = []
        for path in self.files(name, start, end):
            piece = pa.concat_tables(
                [schema.empty_table(), *event_files.batches(Path(path), schema)]
            )
            times = piece.column(table.time)
            if start is not None:
                piece = piece.filter(pc.greater_equal(times, _moment(start)))
                times = piece.column(table.time)
            if end is not None:
                piece = piece.filter(pc.less(times, _moment(end)))
            pieces.append(piece)
        whole = pa.concat_tables(pieces) if pieces else schema.empty_table()
        return by_time(table, whole).select(wanted)

    # ---- inside ------------------------------------------------------------------------------

    def _writing(self, table: Table) -> _Writing:
        return _Writing(self, table)

    def _open(self, name: str) -> DeltaTable | None:
        return opened(self.root / name)

    def _gathered(self, table: Table, info: EventsInfo, days: list[str]) -> EventsInfo:
        """Makes one file of many small ones of a day; the rows stay the same."""
        folder = self.root / table.name
        stored = self._open(table.name)
        assert stored is not None  # noqa: S101 - it was just written
        for day in days:
            small = [f for f in event_files.listed(table, stored, day) if f.rows < _SMALL]
            if len(small) <= _SMALL_FILES:
                continue
            batches = (
                b for f in small for b in event_files.batches(folder / f.path, table.schema())
            )
            add = event_files.write(folder, table, day, batches, data_change=False)
            removes = [event_files.removed(file, data_change=False) for file in small]
            info = replace(info, version=info.version + 1)
            self._write(table, stored, info, [add] if add else [], removes)
            stored.update_incremental()
        return info

    def _next(
        self, table: Table, current: EventsInfo | None, sync_id: str, as_of: datetime
    ) -> EventsInfo:
        """What the next commit says unless told otherwise."""
        if current is None:
            current = EventsInfo(table.name, -1, 0, as_of, sync_id, table.version, (), Status.NEVER)
        return replace(
            current,
            version=current.version + 1,
            as_of=max(as_of.astimezone(UTC), current.as_of),
            sync_id=sync_id,
            declaration=table.version,
        )

    def _write(
        self,
        table: Table,
        stored: DeltaTable | None,
        info: EventsInfo,
        adds: list[AddAction],
        removes: list[RemoveAction],
    ) -> None:
        """One commit to the log."""
        schema = Schema.from_arrow(event_files.stored_schema(table))
        if stored is None:
            create_table_with_add_actions(
                str(self.root / table.name),
                schema,
                adds,
                partition_by=[DAY],
                name=table.name,
                description=table.doc,
                commit_properties=properties(info),
            )
            return
        stored.create_write_transaction(
            [*adds, *removes],
            mode="append",
            schema=stored.schema(),
            partition_by=[DAY],
            commit_properties=properties(info),
        )

    def _evolve(self, table: Table, info: EventsInfo) -> EventsInfo:
        """Adds the columns that an older declaration lacked; stored events have null there."""
        stored = self._open(table.name)
        if stored is None or info.declaration == table.version:
            return info
        present = {field.name for field in stored.schema().fields}
        fields = Schema.from_arrow(event_files.stored_schema(table)).fields
        if new := [field for field in fields if field.name not in present]:
            info = replace(info, version=info.version + 1, declaration=table.version)
            stored.alter.add_columns(new, commit_properties=properties(info))
        return info

    def _refuse_newer(self, table: Table, info: EventsInfo) -> None:
        if info.declaration > table.version:
            raise NewerTableError(
                f"table {table.name} in {self.root} was written with version {info.declaration} of "
                f"its declaration, this program knows version {table.version}: use the newer "
                "entra-pipeline that wrote it, or another data directory"
            )


class _Writing:
    """The right to write one table, also against other processes: days may be read side by side."""

    def __init__(self, events: Events, table: Table) -> None:
        self._events = events
        self._table = table
        folder = events.root / table.name
        folder.mkdir(parents=True, exist_ok=True)
        # Delta leaves alone what begins with an underscore.
        self._lock = FileLock(folder / "_lock", timeout=_LOCK_WAIT_S, mode=0o600)

    def __enter__(self) -> EventsInfo | None:
        self._lock.acquire()
        try:
            info = self._events.info(self._table.name)
            if info is not None:
                self._events._refuse_newer(self._table, info)
                info = self._events._evolve(self._table, info)
            return info
        except BaseException:
            self._lock.release()
            raise

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _moment(moment: datetime) -> pa.Scalar[Any]:
    return pa.scalar(moment.astimezone(UTC), pa.timestamp("us", "UTC"))
