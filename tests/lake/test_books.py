"""The books: syncs, the completeness of tables, the dead, the stale."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import entra_pipeline
from entra_pipeline.lake import (
    Books,
    Counters,
    DataDirectory,
    LakeError,
    Outcome,
    TableStatus,
)
from entra_pipeline.tables import TABLES, Status

ROOT = Path(entra_pipeline.__file__).parent.parent
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TENANT = "11111111-2222-3333-4444-555555555555"

SYNC = """
import sys, time
from pathlib import Path
from entra_pipeline.lake import Books, DataDirectory
directory = DataDirectory.existing(Path(sys.argv[1]))
books = Books(directory)
with directory.lock():
    print(books.begin_sync("full", ["users"]), flush=True)
    time.sleep(60)
"""


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    return DataDirectory.claim(tmp_path / "data", TENANT)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def books(directory: DataDirectory, clock: Clock) -> Books:
    return Books(directory, now=clock)


def full(table: str, as_of: datetime = NOON) -> TableStatus:
    return TableStatus(
        table,
        Status.COMPLETE,
        rows=3,
        as_of=as_of,
        version=4,
        duration_s=1.5,
        requests=7,
        round_trips=2,
        units=9,
        bytes=1000,
        retries=1,
        throttled_s=0.25,
        notes={"duplicates": 2},
    )


def test_a_sync_is_recorded_from_begin_to_end(books: Books, clock: Clock) -> None:
    sync_id = books.begin_sync("full", ["users", "groups"])
    (running,) = books.syncs()
    assert (running.outcome, running.finished, running.started) == (Outcome.RUNNING, None, NOON)
    assert running.tables == ("users", "groups")
    books.record(sync_id, full("users"))
    books.record(sync_id, full("groups"))
    clock.now += timedelta(minutes=5)
    ended = books.finish_sync(sync_id, "succeeded")
    assert ended == books.syncs()[0]
    assert (ended.outcome, ended.finished) == (Outcome.SUCCEEDED, NOON + timedelta(minutes=5))
    assert ended.table_versions == {"users": 4, "groups": 4}
    assert ended.counters == Counters(
        requests=14, round_trips=4, units=18, bytes=2000, retries=2, throttled_s=0.5
    )


def test_counters_given_are_those_recorded(books: Books) -> None:
    sync_id = books.begin_sync("only", ["users"])
    books.record(sync_id, full("users"))
    counted = Counters(requests=100, round_trips=10)
    assert books.finish_sync(sync_id, Outcome.FAILED, counted).counters == counted


def test_a_status_comes_back_as_it_was_recorded(books: Books) -> None:
    sync_id = books.begin_sync("full", ["users"])
    status = TableStatus(
        "users",
        Status.FORBIDDEN,
        reason="403",
        permission="User.Read.All",
        notes={"null names": 3},
    )
    books.record(sync_id, status)
    assert books.statuses()["users"] == TableStatus(**{**vars(status), "sync_id": sync_id})


def test_the_latest_word_on_a_table_counts_and_history_keeps_the_others(books: Books) -> None:
    first = books.begin_sync("full", ["users", "groups"])
    books.record(first, full("users"))
    books.record(first, full("groups"))
    second = books.begin_sync("only", ["users"])
    books.record(second, TableStatus("users", Status.FAILED, rows=3, reason="500"))
    statuses = books.statuses()
    assert (statuses["users"].status, statuses["users"].sync_id) == (Status.FAILED, second)
    assert (statuses["groups"].status, statuses["groups"].sync_id) == (Status.COMPLETE, first)
    assert [s.status for s in books.history("users")] == [Status.FAILED, Status.COMPLETE]


def test_a_table_recorded_twice_in_one_sync_keeps_the_later_word(books: Books) -> None:
    sync_id = books.begin_sync("full", ["users"])
    books.record(sync_id, TableStatus("users", Status.FAILED, reason="500"))
    books.record(sync_id, full("users"))
    assert books.statuses()["users"].status is Status.COMPLETE
    assert len(books.history("users")) == 1


def test_tables_that_no_sync_dealt_with_are_never_and_not_missing(books: Books) -> None:
    statuses = books.statuses()
    expected = {name for name, table in TABLES.items() if table.group == "directory"}
    assert set(statuses) == expected
    assert {status.status for status in statuses.values()} == {Status.NEVER}


def test_a_table_left_alone_turns_stale_by_the_clock_and_only_when_asked(
    books: Books, clock: Clock
) -> None:
    sync_id = books.begin_sync("full", ["users", "groups", "devices"])
    books.record(sync_id, full("users"))
    books.record(sync_id, full("groups", NOON + timedelta(hours=20)))
    books.record(sync_id, TableStatus("devices", Status.FORBIDDEN, as_of=NOON, reason="403"))
    clock.now = NOON + timedelta(hours=26)
    assert books.statuses(timedelta(hours=26))["users"].status is Status.COMPLETE
    clock.now += timedelta(seconds=1)
    aged = books.statuses(timedelta(hours=26))
    assert aged["users"].status is Status.STALE
    assert "2026-11-23T12:00:00Z" in (aged["users"].reason or "")
    assert aged["groups"].status is Status.COMPLETE
    assert aged["devices"].status is Status.FORBIDDEN
    assert books.statuses()["users"].status is Status.COMPLETE
    by_table = books.statuses({"groups": timedelta(hours=1)})
    assert by_table["users"].status is Status.COMPLETE
    assert by_table["groups"].status is Status.STALE


def test_a_sync_whose_process_was_killed_is_closed_as_died(
    books: Books, directory: DataDirectory
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SYNC, str(directory.path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        sync_id = process.stdout.readline().strip()
        assert books.close_dead_syncs() == []
        assert books.syncs()[0].outcome is Outcome.RUNNING
        process.kill()
    assert books.close_dead_syncs() == [sync_id]
    assert books.syncs()[0].outcome is Outcome.DIED
    assert books.close_dead_syncs() == []


def test_whoever_holds_the_lock_knows_that_all_others_are_dead(
    books: Books, directory: DataDirectory
) -> None:
    dead = books.begin_sync("full", ["users"])
    with directory.lock():
        assert books.close_dead_syncs() == []
        assert books.close_dead_syncs(holding_lock=True) == [dead]


def test_times_are_stored_as_rfc_3339_in_utc(books: Books, directory: DataDirectory) -> None:
    sync_id = books.begin_sync("full", ["users"])
    books.record(sync_id, full("users"))
    books.finish_sync(sync_id, "succeeded")
    with sqlite3.connect(directory.books) as connection:
        row = connection.execute(
            "SELECT started, finished, as_of FROM syncs JOIN current_status USING (sync_id)"
        ).fetchone()
        assert row == ("2026-11-23T12:00:00Z",) * 3
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_ids_of_syncs_sort_by_time(books: Books, clock: Clock) -> None:
    ids = []
    for _ in range(5):
        ids.append(books.begin_sync("full", []))
        clock.now += timedelta(milliseconds=1)
    assert ids == sorted(ids)
    assert [sync.sync_id for sync in books.syncs(limit=2)] == [ids[4], ids[3]]


@pytest.mark.parametrize(
    "call",
    [
        lambda books: books.record("nothing", full("users")),
        lambda books: books.finish_sync("nothing", "failed"),
    ],
)
def test_an_unknown_sync_is_refused_by_name(books: Books, call: Callable[[Books], None]) -> None:
    with pytest.raises(LakeError, match="no sync 'nothing'"):
        call(books)


def test_books_of_a_newer_format_are_refused(books: Books, directory: DataDirectory) -> None:
    with sqlite3.connect(directory.books) as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.raises(LakeError, match=r"format 9.*knows 2.*newer"):
        Books(directory)


def test_many_threads_open_and_write_at_once(directory: DataDirectory) -> None:
    sync_id = Books(directory).begin_sync("full", list(TABLES))
    faults: list[Exception] = []

    def write(name: str) -> None:
        try:
            Books(directory).record(sync_id, full(name))
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in TABLES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(Books(directory).finish_sync(sync_id, "succeeded").table_versions) == len(TABLES)


def test_many_processes_may_open_new_books_at_once(directory: DataDirectory) -> None:
    code = (
        "import sys; from pathlib import Path; from entra_pipeline.lake import *; "
        "Books(DataDirectory.existing(Path(sys.argv[1]))).begin_sync('full', [])"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(directory.path)], cwd=ROOT)
        for _ in range(4)
    ]
    assert [process.wait() for process in processes] == [0, 0, 0, 0]
    assert len(Books(directory).syncs()) == 4
