"""A full read beside the tables kept by changes: what differs is found, counted and mended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from entra_pipeline.extract.extraction import Phase, Progress
from entra_pipeline.extract.reconcile import FOLDER, Reconciliation, reconcile
from entra_pipeline.lake import DataDirectory
from entra_pipeline.simulator.process import running
from entra_pipeline.tables import Status, get
from tests.extract.support import Rig

TABLES = ("users", "license_assignments", "groups", "group_members", "contacts", "domains")
KEPT = set(TABLES) - {"domains"}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A small tenant that changed, synced before and after."""
    with running(users=60, groups=30, seed=8) as simulator:
        rig = Rig(simulator, tmp_path)
        rig.sync(*TABLES)
        simulator.mutate(1, 60)
        rig.sync(*TABLES)
        yield rig
        rig.close()


def compare(rig: Rig, **more: object) -> Reconciliation:
    directory = DataDirectory.existing(rig.settings.data_dir)
    given: dict[str, object] = {"pause_s": 0.1, **more}
    return reconcile(
        rig.settings,
        rig.client,
        directory,
        rig.lake,
        rig.books,
        rig.books.begin_sync("reconcile", TABLES),
        TABLES,
        **given,  # type: ignore[arg-type]
    )


def counted(done: Reconciliation) -> dict[str, int]:
    return {name: verdict.differences for name, verdict in done.verdicts.items()}


def test_tables_kept_by_changes_do_not_differ_and_count_as_read_in_full(rig: Rig) -> None:
    rig.simulator.mutate(2, 50)
    before = {name: rig.lake.info(name) for name in KEPT}
    done = compare(rig)
    assert counted(done) == dict.fromkeys(KEPT, 0)
    assert {s.status for s in done.statuses.values()} == {Status.COMPLETE}
    assert set(done.statuses) == set(TABLES)
    for name in KEPT:
        info, former = rig.lake.info(name), before[name]
        assert info is not None
        assert former is not None
        assert info.full_as_of > former.full_as_of
        assert info.cursor is not None
        assert done.statuses[name].version == info.version
        assert rig.books.statuses()[name] == replace(
            done.statuses[name], sync_id=rig.books.statuses()[name].sync_id
        )
    assert done.statuses["users"].round_trips > 3  # the full read and both rounds
    assert not (rig.settings.data_dir / FOLDER).exists()
    # And changes can be followed from there.
    whole = {name: full_as_of(rig, name) for name in KEPT}
    rig.simulator.mutate(3, 30)
    assert {s.status for s in rig.sync(*TABLES).values()} == {Status.COMPLETE}
    assert {name: full_as_of(rig, name) for name in KEPT} == whole


def full_as_of(rig: Rig, name: str) -> datetime:
    info = rig.lake.info(name)
    assert info is not None
    return info.full_as_of


def test_rows_that_changes_should_have_told_of_are_counted_and_mended(rig: Rig) -> None:
    truth = {name: rig.digest(name) for name in KEPT}
    users, members = rig.lake.read("users"), rig.lake.read("group_members")
    column = users.column_names.index("display_name")
    wrong = users.slice(0, 2).set_column(column, "display_name", pa.array(["Eve", "Mallory"]))
    now = rig.lake.info("users")
    assert now is not None
    said = {"sync_id": "tampered", "as_of": now.as_of}
    rig.lake.amend(
        get("users"),
        upserts=wrong.cast(users.schema),
        deletes=users.slice(2, 1).select(["id"]),
        cursor=now.cursor,
        **said,  # type: ignore[arg-type]
    )
    info = rig.lake.info("group_members")
    assert info is not None
    rig.lake.amend(
        get("group_members"),
        upserts=members.slice(0, 0),
        deletes=members.slice(0, 5).select(["group_id", "member_id"]),
        cursor=info.cursor,
        **said,  # type: ignore[arg-type]
    )
    done = compare(rig)
    assert counted(done) == dict.fromkeys(KEPT, 0) | {"users": 3, "group_members": 5}
    assert {name: rig.digest(name) for name in KEPT} == truth
    found = rig.books.reconciled()
    assert {name: found[name].differences for name in KEPT} == counted(done)
    assert found["users"].rows == users.num_rows
    assert counted(compare(rig)) == dict.fromkeys(KEPT, 0)


def test_what_moves_between_the_two_is_no_difference(rig: Rig) -> None:
    moved: list[object] = []

    def change(progress: Progress) -> None:
        # After our tables were brought up to date, and before the others are.
        if progress.phase is Phase.DONE:
            done.add(progress.table)
        if done == set(TABLES) and not moved:
            moved.extend(rig.simulator.mutate(20, 60))

    done: set[str] = set()
    rig.simulator.reset_stats()
    found = compare(rig, on_progress=change)
    assert moved
    assert counted(found) == dict.fromkeys(KEPT, 0)
    # There was something to look at twice.
    rounds = rig.simulator.stats()["by_route"]["GET /users/delta"]
    assert rounds >= 5  # the bookmark, and two rounds of each
    held = {name: rig.digest(name) for name in KEPT}
    rig.sync(*TABLES, full=True)
    assert {name: rig.digest(name) for name in KEPT} == held


def test_a_table_that_cannot_be_read_in_full_has_no_verdict(rig: Rig) -> None:
    refused = {"error": {"code": "Request_BadRequest", "message": "no"}}
    rig.simulator.faults(
        [{"match": {"path": r"/contacts\?"}, "respond": {"status": 400, "body": refused}}]
    )
    done = compare(rig)
    assert "contacts" not in done.verdicts
    assert counted(done) == dict.fromkeys(KEPT - {"contacts"}, 0)


def test_a_table_that_must_be_read_in_full_this_time_has_no_verdict(rig: Rig) -> None:
    rig.simulator.end_deltas("expire")
    done = compare(rig)
    assert {s.status for s in done.statuses.values()} == {Status.COMPLETE}
    assert done.verdicts == {}


def test_a_full_read_with_too_few_rows_is_not_taken_over(tmp_path: Path) -> None:
    with running(users=60, groups=5, seed=8) as simulator:
        rig = Rig(simulator, tmp_path)
        rig.sync("users")
        users, info = rig.lake.read("users"), rig.lake.info("users")
        assert info is not None
        more = pa.concat_tables(
            users.set_column(0, "id", pa.array([f"{n}-{i}" for i in users["id"].to_pylist()]))
            for n in range(3)
        ).cast(users.schema)
        rig.lake.amend(
            get("users"), upserts=more, sync_id="tampered", as_of=info.as_of, cursor=info.cursor
        )
        digest = rig.digest("users")
        directory = DataDirectory.existing(rig.settings.data_dir)
        done = reconcile(
            rig.settings,
            rig.client,
            directory,
            rig.lake,
            rig.books,
            rig.books.begin_sync("reconcile", ["users"]),
            ["users"],
            pause_s=0,
        )
        assert done.statuses["users"].status is Status.QUARANTINED
        assert done.verdicts["users"].differences == more.num_rows
        assert rig.digest("users") == digest
        rig.close()
