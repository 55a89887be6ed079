"""One run of the readers: threads, progress, dependencies, being stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.extract.extraction import Phase, Progress, extractable
from entra_pipeline.extract.turns import CancelledError, Turns
from entra_pipeline.simulator.process import running
from entra_pipeline.tables import Status
from tests.extract.support import Rig


@pytest.fixture
def no_thread_is_left() -> Iterator[None]:
    before = {thread.ident for thread in threading.enumerate()}
    yield
    left = [t.name for t in threading.enumerate() if t.ident not in before and t.is_alive()]
    assert [name for name in left if name.startswith("extract")] == []


@pytest.mark.usefixtures("no_thread_is_left")
def test_results_are_there_table_by_table_and_recorded_in_the_books(rig: Rig) -> None:
    with rig.extraction("users", "group_members", "domains") as extraction:
        domains = extraction.result("domains")
        assert domains.status is Status.COMPLETE
        assert len(rig.rows("domains")) == domains.rows
        members = extraction.result("group_members")
    recorded = rig.books.statuses()
    assert recorded["group_members"] == members
    assert recorded["users"].status is Status.COMPLETE
    # The groups were read for their members' sake, and nobody asked for them.
    assert rig.lake.info("groups") is None
    with pytest.raises(KeyError):
        extraction.result("groups")


def test_a_table_that_no_reader_fills_is_refused_by_name(rig: Rig) -> None:
    with pytest.raises(ValueError, match="grants"):
        rig.extraction("users", "grants")


def test_progress_counts_up_to_what_graph_counts_and_ends_with_a_status(rig: Rig) -> None:
    told: list[Progress] = []
    status = rig.sync("users", on_progress=told.append)["users"]
    reading = [p for p in told if p.phase is Phase.READING]
    assert [p.rows for p in reading] == sorted(p.rows for p in reading)
    assert reading[-1].rows == reading[-1].expected == status.rows
    assert [p.phase for p in told[-2:]] == [Phase.COMMITTING, Phase.DONE]
    assert told[-1] == Progress("users", Phase.DONE, status.rows or 0, status=Status.COMPLETE)


@pytest.mark.usefixtures("no_thread_is_left")
def test_a_watcher_that_fails_costs_no_table(rig: Rig) -> None:
    asked = []

    def watch(progress: Progress) -> None:
        asked.append(progress)
        raise ZeroDivisionError

    statuses = rig.sync("domains", "organization", on_progress=watch)
    assert {status.status for status in statuses.values()} == {Status.COMPLETE}
    assert len(asked) == 1


@pytest.mark.usefixtures("no_thread_is_left")
def test_closing_in_the_middle_settles_every_table_and_leaves_no_thread(tmp_path: Path) -> None:
    with running(users=3000, groups=900, seed=3, latency_ms=40) as simulator:
        rig = Rig(simulator, tmp_path)
        extraction = rig.extraction(*extractable())
        extraction.start()
        time.sleep(0.4)
        extraction.close()
        rig.close()
    results = {name: extraction.result(name) for name in extractable()}
    stopped = [s for s in results.values() if s.status is Status.FAILED]
    assert {status.reason for status in stopped} == {
        "the sync was stopped before the table was read"
    }
    assert results["users"] in stopped
    assert {s.status for s in results.values() if s not in stopped} <= {Status.COMPLETE}
    for name, status in results.items():
        published = rig.lake.info(name)
        assert (published is None) == (status.version is None)


@pytest.mark.usefixtures("no_thread_is_left")
def test_closing_before_the_start_or_twice_is_harmless(rig: Rig) -> None:
    extraction = rig.extraction("domains")
    extraction.close()
    extraction.close()
    assert extraction.result("domains").status is Status.FAILED


def test_what_is_spent_is_that_of_this_extraction(rig: Rig) -> None:
    first = rig.sync("users", "groups", full=True)
    second = rig.sync("users", "groups", full=True)
    for name in ("users", "groups"):
        assert first[name].requests == second[name].requests > 0
        # Links to go on from hold a time, which is not always of the same length.
        assert first[name].bytes == pytest.approx(second[name].bytes, abs=64)
        assert second[name].bytes > 0


def test_credentials_alone_read_both_kinds_of_owner_and_publish_nothing_else(rig: Rig) -> None:
    status = rig.sync("credentials")["credentials"]
    assert (status.status, status.rows) == (Status.COMPLETE, len(rig.rows("credentials")))
    assert {row["owner_kind"] for row in rig.rows("credentials")} == {
        "application",
        "service_principal",
    }
    assert rig.lake.info("applications") is None
    assert status.requests == rig.client.meter.total().requests > 3


def failing(path: str, status: int = 403, code: str = "Authorization_RequestDenied") -> Any:
    return {
        "match": {"path": path},
        "respond": {"status": status, "body": {"error": {"code": code, "message": "no"}}},
    }


def test_credentials_share_the_fate_of_their_owners(rig: Rig) -> None:
    rig.simulator.faults([failing(r"/servicePrincipals\?.*keyCredentials")])
    statuses = rig.sync("applications", "credentials")
    assert statuses["applications"].status is Status.COMPLETE
    status = statuses["credentials"]
    assert status.status is Status.FORBIDDEN
    assert "service_principals could not be read" in (status.reason or "")


def test_a_dependent_table_uses_the_parent_as_it_was_committed_last(rig: Rig) -> None:
    table = "group_assignment_schedule_instances"
    fresh = rig.sync("groups", table)[table]
    rig.simulator.faults([failing(r"/groups\?")])
    statuses = rig.sync("groups", table, full=True)
    assert statuses["groups"].status is Status.FORBIDDEN
    status = statuses[table]
    assert (status.status, status.rows) == (Status.PARTIAL, fresh.rows)
    assert f"those of {fresh.as_of:%Y-%m-%d}" in (status.reason or "")


def test_a_dependent_table_without_a_parent_fails_with_the_reason(rig: Rig) -> None:
    table = "group_assignment_schedule_instances"
    rig.simulator.faults([failing(r"/groups\?", 400, "Request_BadRequest")])
    status = rig.sync("groups", table)[table]
    assert status.status is Status.FAILED
    assert "groups could not be read" in (status.reason or "")


def test_what_nobody_foresaw_fails_one_table_and_quotes_no_data(rig: Rig) -> None:
    log = rig.lake.root / "domains" / "_delta_log"
    log.mkdir(parents=True)
    (log / f"{0:020}.json").write_text('{"commitInfo": "ann@example.org"}')
    statuses = rig.sync("domains", "organization")
    assert statuses["organization"].status is Status.COMPLETE
    assert statuses["domains"].status is Status.FAILED
    reason = statuses["domains"].reason or ""
    assert "unexpected" in reason
    assert "entra_pipeline." in reason
    assert "ann@example.org" not in reason


# ---- turns -------------------------------------------------------------------------------------


def test_the_more_urgent_call_goes_first_when_a_slot_is_free() -> None:
    turns = Turns(1)
    begun, hold = threading.Event(), threading.Event()
    done: list[int] = []

    def work() -> bool:
        begun.set()
        return hold.wait()

    first = turns.submit(5, work)
    assert begun.wait(timeout=10)
    rest = [turns.submit(p, done.append, p) for p in (5, 1, 9, 0)]
    hold.set()
    for future in (first, *rest):
        future.result(timeout=10)
    turns.close()
    assert done == [0, 1, 5, 9]


def test_a_cancelled_queue_sends_everybody_away() -> None:
    turns = Turns(1)
    begun, hold = threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        return hold.wait()

    under_way = turns.submit(0, work)
    assert begun.wait(timeout=10)
    waiting = turns.submit(0, lambda: 1)
    turns.cancel()
    with pytest.raises(CancelledError):
        waiting.result(timeout=10)
    with pytest.raises(CancelledError):
        turns.submit(0, lambda: 1)
    hold.set()
    assert under_way.result(timeout=10)
    turns.close()


def test_calls_raise_what_they_raise() -> None:
    turns = Turns(2)
    with pytest.raises(ZeroDivisionError):
        turns.call(0, lambda: 1 // 0)
    assert turns.call(0, lambda: 7) == 7
    turns.close()


# ---- memory ------------------------------------------------------------------------------------


@pytest.mark.soak
def test_memory_grows_by_less_than_half_of_what_is_received(tmp_path: Path) -> None:
    """Peak of a process that syncs 100,000 users against one that syncs 10,000."""
    from tests.extract.measured import measure

    small = measure(10_000, 3_000, tmp_path / "small")
    large = measure(100_000, 30_000, tmp_path / "large")
    assert large.peak < 1 << 30
    assert large.peak - small.peak < (large.received - small.received) / 2
