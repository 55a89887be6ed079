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

import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.exceptions import TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions
from filelock import FileLock

from entra_pipeline import tables as registry
from entra_pipeline.lake.errors import LakeError, NewerTableError, RowsError
from entra_pipeline.lake.rows import conform, in_order
from entra_pipeline.lake.spans import Span, joined, since
from entra_pipeline.tables import Status, Table

DAY: Final = "day"
"""The partition column of the stored Delta tables."""

# The stubs spell out overloads by element type; "whatever is declared" fits few of them.
pc: Any = pyarrow.compute

_METADATA: Final = "entra_pipeline_events"
_BATCH: Final = 16_384
# A day of readings every quarter of an hour makes a hundred files. More than so many small ones
# of a day become one.
_SMALL_FILES: Final = 16
_SMALL: Final = 10_000
_GRACE: Final = timedelta(hours=6)
_LOCK_WAIT_S: Final = 600


@dataclass(frozen=True)
class EventsInfo:
    """What the current version of a table of events says about itself."""

    table: str
    version: int  # of the Delta table
    rows: int
    as_of: datetime  # when Graph was last asked, whatever it said
    sync_id: str  # of that reading
    declaration: int
    covered: tuple[Span, ...]  # read whole, in order
    status: Status  # of the last reading
    reason: str | None = None
    permission: str | None = None


@dataclass(frozen=True)
class EventsCommit:
    """What a commit did."""

    info: EventsInfo
    inserted: int  # events that were not there
    replaced: int  # events that were there with other content
    repeated: int  # events that were there as they are, or came twice


@dataclass(frozen=True)
class _File:
    path: str  # relative to the table's folder
    size: int
    day: str
    rows: int
    first: datetime
    last: datetime


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
        distinct = _distinct(table, rows)
        repeated = rows.num_rows - distinct.num_rows
        adds: list[AddAction] = []
        removes: list[RemoveAction] = []
        replaced = fresh_rows = 0
        with self._writing(table) as current:
            stored = self._open(table.name)
            folder = self.root / table.name
            try:
                for day, part in _by_day(table, distinct):
                    change = self._merged(table, folder, day, part, self._files(table, stored, day))
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
                info = self._gathered(table, info, sorted({_day_of(add.path) for add in adds}))
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
            old = [file for file in self._files(table, stored) if file.day < cut.isoformat()]
            covered = tuple(since(start, current.covered))
            if not old and covered == current.covered:
                return 0
            gone = sum(file.rows for file in old)
            info = replace(
                current, version=current.version + 1, rows=current.rows - gone, covered=covered
            )
            self._write(table, stored, info, [], [_removed(file) for file in old])
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
        return None if stored is None else self._info(name, stored.version())

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
            info = self._info(name, versions[middle])
            if info.as_of <= moment:
                found, low = info, middle + 1
            else:
                high = middle
        if found is None and versions and versions[0] > 0:
            return self._info(name, versions[0])
        return found

    def covered(self, name: str) -> list[Span]:
        """The spans of time that were read whole, in order, none touching the next."""
        info = self.info(name)
        return [] if info is None else list(info.covered)

    def days(self, name: str) -> dict[str, int]:
        """How many events each day has, by its UTC date, in order; days without any are absent."""
        counted: dict[str, int] = {}
        for file in self._files(self._tables[name], self._open(name)):
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
            self._refuse_newer(table, self._info(name, stored.version()))
        return [
            str(self.root / name / file.path)
            for file in self._files(table, stored)
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
            piece = pa.concat_tables([schema.empty_table(), *_batches(Path(path), schema)])
            times = piece.column(table.time)
            if start is not None:
                piece = piece.filter(pc.greater_equal(times, _moment(start)))
                times = piece.column(table.time)
            if end is not None:
                piece = piece.filter(pc.less(times, _moment(end)))
            pieces.append(piece)
        whole = pa.concat_tables(pieces) if pieces else schema.empty_table()
        return _by_time(table, whole).select(wanted)

    # ---- inside ------------------------------------------------------------------------------

    def _writing(self, table: Table) -> _Writing:
        return _Writing(self, table)

    def _open(self, name: str) -> DeltaTable | None:
        folder = self.root / name
        if not (folder / "_delta_log").is_dir():
            return None
        try:
            return DeltaTable(folder)
        except TableNotFoundError:
            return None  # killed during the very first commit

    def _files(
        self, table: Table, stored: DeltaTable | None, day: str | None = None
    ) -> list[_File]:
        """The files of the current version, of one day or of all, by day and first event."""
        if stored is None:
            return []
        added = pa.table(stored.get_add_actions(flatten=True))
        found = [
            _File(
                path=row["path"],
                size=row["size_bytes"],
                day=str(row[f"partition.{DAY}"]),
                rows=row["num_records"],
                first=_aware(row[f"min.{table.time}"]),
                last=_aware(row[f"max.{table.time}"]),
            )
            for row in added.to_pylist()
        ]
        found.sort(key=lambda file: (file.day, file.first, file.path))
        return found if day is None else [file for file in found if file.day == day]

    def _merged(
        self, table: Table, folder: Path, day: str, part: pa.Table, files: list[_File]
    ) -> _Change:
        """What has to be written so that the day holds these events too, each id once."""
        key = table.key[0]
        times = pc.min_max(part.column(table.time)).as_py()
        inserted, replaced, repeated = part.num_rows, 0, 0
        change = _Change()
        for file in files:
            if file.last < times["min"] or file.first > times["max"] or not part.num_rows:
                continue
            ids = part.column(key)
            if not pc.any(pc.is_in(_ids(folder / file.path, key), value_set=ids)).as_py():
                continue
            there = pa.concat_tables(
                [
                    batch.filter(pc.is_in(batch.column(key), value_set=ids))
                    for batch in _batches(folder / file.path, table.schema())
                ]
            )
            met = pc.is_in(ids, value_set=there.column(key))
            if _same(table, there, part.filter(met)):
                repeated += there.num_rows
                part = part.filter(pc.invert(met))
            else:
                # One of them differs: all that came take the place of those that were there.
                replaced += there.num_rows
                change.removes.append(_removed(file))
                kept = _without(folder / file.path, table, ids)
                if (add := _write_file(folder, table, day, kept)) is not None:
                    change.adds.append(add)
        if (add := _write_file(folder, table, day, [part])) is not None:
            change.adds.append(add)
        change.inserted = inserted - replaced - repeated
        change.replaced, change.repeated = replaced, repeated
        return change

    def _gathered(self, table: Table, info: EventsInfo, days: list[str]) -> EventsInfo:
        """Makes one file of many small ones of a day; the rows stay the same."""
        folder = self.root / table.name
        stored = self._open(table.name)
        assert stored is not None  # noqa: S101 - it was just written
        for day in days:
            small = [f for f in self._files(table, stored, day) if f.rows < _SMALL]
            if len(small) <= _SMALL_FILES:
                continue
            batches = (b for f in small for b in _batches(folder / f.path, table.schema()))
            add = _write_file(folder, table, day, batches, data_change=False)
            removes = [_removed(file, data_change=False) for file in small]
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
        schema = Schema.from_arrow(_stored_schema(table))
        if stored is None:
            create_table_with_add_actions(
                str(self.root / table.name),
                schema,
                adds,
                partition_by=[DAY],
                name=table.name,
                description=table.doc,
                commit_properties=_properties(info),
            )
            return
        stored.create_write_transaction(
            [*adds, *removes],
            mode="append",
            schema=stored.schema(),
            partition_by=[DAY],
            commit_properties=_properties(info),
        )

    def _evolve(self, table: Table, info: EventsInfo) -> EventsInfo:
        """Adds the columns that an older declaration lacked; stored events have null there."""
        stored = self._open(table.name)
        if stored is None or info.declaration == table.version:
            return info
        present = {field.name for field in stored.schema().fields}
        fields = Schema.from_arrow(_stored_schema(table)).fields
        if new := [field for field in fields if field.name not in present]:
            info = replace(info, version=info.version + 1, declaration=table.version)
            stored.alter.add_columns(new, commit_properties=_properties(info))
        return info

    def _refuse_newer(self, table: Table, info: EventsInfo) -> None:
        if info.declaration > table.version:
            raise NewerTableError(
                f"table {table.name} in {self.root} was written with version {info.declaration} of "
                f"its declaration, this program knows version {table.version}: use the newer "
                "entra-pipeline that wrote it, or another data directory"
            )

    def _info(self, name: str, version: int) -> EventsInfo:
        path = self.root / name / "_delta_log" / f"{version:020}.json"
        try:
            with path.open("rb") as lines:
                actions = [json.loads(line) for line in lines]
            said: dict[str, Any] = next(a["commitInfo"] for a in actions if "commitInfo" in a)
            said = said[_METADATA]
            return EventsInfo(
                table=name,
                version=version,
                rows=said["rows"],
                as_of=datetime.fromisoformat(said["as_of"]),
                sync_id=said["sync_id"],
                declaration=said["declaration"],
                covered=tuple(
                    (datetime.fromisoformat(a), datetime.fromisoformat(b))
                    for a, b in said["covered"]
                ),
                status=Status(said["status"]),
                reason=said["reason"],
                permission=said["permission"],
            )
        except (OSError, ValueError, KeyError, StopIteration) as error:
            raise LakeError(
                f"table {name} in {self.root}: version {version} was not committed by this program "
                f"({type(error).__name__}); move the folder away and read the events again"
            ) from error


class _Change:
    """What one day's part of a commit writes."""

    def __init__(self) -> None:
        self.adds: list[AddAction] = []
        self.removes: list[RemoveAction] = []
        self.inserted = self.replaced = self.repeated = 0


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


def _stored_schema(table: Table) -> pa.Schema:
    """The declared schema with descriptions for other readers, and the day."""
    fields = [
        field.with_metadata({"comment": column.doc})
        for field, column in zip(table.schema(), table.columns, strict=True)
    ]
    comment = {"comment": f"UTC date of {table.time}."}
    return pa.schema([*fields, pa.field(DAY, pa.date32(), nullable=False, metadata=comment)])


def _by_day(table: Table, rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    days = pc.cast(rows.column(table.time), pa.date32())
    found: list[date] = sorted(pc.unique(days).to_pylist())
    for day in found:
        yield day.isoformat(), rows if len(found) == 1 else rows.filter(pc.equal(days, day))


def _distinct(table: Table, rows: pa.Table) -> pa.Table:
    """The rows by time, then id; of one id the last given. Gathered once: that costs the most."""
    ordered = in_order(table, rows)
    keys = rows.select([table.time, *table.key])
    if ordered.order is not None:
        keys = keys.take(ordered.order)
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names])
    if ordered.order is not None:
        order = pc.take(ordered.order, order)
    return pa.table(rows.take(order)).cast(table.schema())


def _by_time(table: Table, rows: pa.Table) -> pa.Table:
    keys = [(name, "ascending") for name in (table.time, *table.key)]
    return rows.take(pc.sort_indices(rows.select([name for name, _ in keys]), sort_keys=keys))


def _same(table: Table, there: pa.Table, here: pa.Table) -> bool:
    schema = pa.schema([pa.field(field.name, field.type) for field in table.schema()])
    one, other = (_by_time(table, rows).cast(schema).combine_chunks() for rows in (there, here))
    return bool(one.equals(other))


def _ids(path: Path, key: str) -> pa.ChunkedArray[Any]:
    with pq.ParquetFile(path) as file:
        return file.read(columns=[key]).column(0)


def _batches(path: Path, schema: pa.Schema) -> Iterator[pa.Table]:
    """A file's rows, part by part, in that schema; columns that it lacks are null."""
    with pq.ParquetFile(path) as file:
        present = [name for name in schema.names if name in file.schema_arrow.names]
        for batch in file.iter_batches(_BATCH, columns=present):
            columns = [
                batch.column(field.name).cast(field.type)
                if field.name in present
                else pa.nulls(batch.num_rows, field.type)
                for field in schema
            ]
            yield pa.table(columns, schema=schema)


def _without(path: Path, table: Table, ids: Any) -> Iterator[pa.Table]:
    for batch in _batches(path, table.schema()):
        yield batch.filter(pc.invert(pc.is_in(batch.column(table.key[0]), value_set=ids)))


def _write_file(
    folder: Path, table: Table, day: str, pieces: Iterable[pa.Table], *, data_change: bool = True
) -> AddAction | None:
    """The rows as one Parquet file, on disk before the log can name it; None if there are none."""
    name = f"{DAY}={day}/part-{uuid.uuid4()}.zstd.parquet"
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    schema = pa.schema([pa.field(f.name, f.type, f.nullable) for f in table.schema()])
    rows = 0
    first: datetime | None = None
    last: datetime | None = None
    try:
        with path.open("wb") as file:
            with pq.ParquetWriter(file, schema, compression="zstd", compression_level=1) as writer:
                for piece in pieces:
                    if not piece.num_rows:
                        continue
                    writer.write_table(piece.cast(schema))
                    times = pc.min_max(piece.column(table.time)).as_py()
                    first = times["min"] if first is None else min(first, times["min"])
                    last = times["max"] if last is None else max(last, times["max"])
                    rows += piece.num_rows
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    if first is None or last is None:
        path.unlink()
        return None
    stats = {
        "numRecords": rows,
        "minValues": {table.time: _rfc3339(first)},
        "maxValues": {table.time: _rfc3339(last)},
    }
    return AddAction(
        path=name,
        size=path.stat().st_size,
        partition_values={DAY: day},
        modification_time=int(path.stat().st_mtime * 1000),
        data_change=data_change,
        stats=json.dumps(stats),
    )


def _removed(file: _File, *, data_change: bool = True) -> RemoveAction:
    return RemoveAction(
        file.path,
        data_change,
        int(time.time() * 1000),
        size=file.size,
        partition_values={DAY: file.day},
    )


def _properties(info: EventsInfo) -> CommitProperties:
    return CommitProperties(
        custom_metadata={
            _METADATA: {
                "rows": info.rows,
                "as_of": _rfc3339(info.as_of),
                "sync_id": info.sync_id,
                "declaration": info.declaration,
                "covered": [[_rfc3339(a), _rfc3339(b)] for a, b in info.covered],
                "status": str(info.status),
                "reason": info.reason,
                "permission": info.permission,
            }
        },
        # Writers take turns by a lock: a conflict is a fault to show.
        max_commit_retries=0,
    )


def _day_of(path: str) -> str:
    return path.partition("=")[2].partition("/")[0]


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _moment(moment: datetime) -> pa.Scalar[Any]:
    return pa.scalar(moment.astimezone(UTC), pa.timestamp("us", "UTC"))


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
