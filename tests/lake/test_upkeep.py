"""Histories and logs are kept small, and say afterwards what they said before."""

import os
import random
import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from entra_pipeline.lake import Lake, NewerTableError
from entra_pipeline.lake.metadata import CommitInfo
from tests.lake.states import TABLES, THINGS, Row, arrow, moment

AT_ONCE = timedelta(0)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake with one row that changes again and again."""
    return Lake(tmp_path / "lake", TABLES)


def row(identity: str, **values: object) -> Row:
    return dict.fromkeys(THINGS.schema().names) | {"id": identity, "part": "p"} | values


def go_on(lake: Lake, first: int, last: int, *, day: int = 0) -> None:
    """Commits for some numbers: one row changes, one more appears."""
    for number in range(first, last + 1):
        rows = arrow(THINGS, [row("a", weight=float(number)), row(f"b{number:04}")])
        said: dict[str, Any] = {
            "sync_id": f"s{number}",
            "as_of": moment(number) + timedelta(days=day),
            "cursor": str(number),
        }
        if lake.info("things") is None:
            lake.commit(THINGS, rows, **said)
        else:
            lake.amend(THINGS, upserts=rows, **said)


def past(lake: Lake, moments: list[datetime]) -> list[object]:
    """All that there is to read of the table's past."""
    states = [lake.as_of("things", at) for at in moments]
    return [lake.changes("things"), *states]


def info_of(lake: Lake) -> CommitInfo:
    info = lake.info("things")
    assert info is not None
    return info


def files(lake: Lake, folder: str, pattern: str = "*.parquet") -> list[Path]:
    return sorted((lake.root / folder).glob(pattern))


def age(lake: Lake) -> None:
    """Lets everything on disk be a day older."""
    for path in lake.root.rglob("*"):
        if path.is_file():
            then = path.stat().st_mtime - 86_400
            os.utime(path, (then, then))


def test_many_small_files_of_the_history_become_one_and_say_the_same(lake: Lake) -> None:
    go_on(lake, 0, 34)
    moments = [moment(number) for number in range(0, 40, 5)]
    before, info = past(lake, moments), info_of(lake)
    assert len(files(lake, "things_changes")) == 34
    assert lake.maintain("things") == 0
    assert len(files(lake, "things_changes")) == 35  # those before are read for a while yet
    assert lake.maintain("things", grace=AT_ONCE) >= 34
    assert len(files(lake, "things_changes")) == 1
    assert past(lake, moments) == before
    now = info_of(lake)
    assert (now.sync_id, now.as_of, now.known_since, now.digest, now.cursor) == (
        info.sync_id,
        info.as_of,
        info.known_since,
        info.digest,
        info.cursor,
    )
    go_on(lake, 35, 37)
    assert past(lake, moments[:7])[1:] == before[1:8]
    assert lake.changes("things").num_rows == 2 * 37
    assert DeltaTable(lake.root / "things_changes").to_pyarrow_table().num_rows == 2 * 37


def test_history_older_than_what_is_kept_goes_and_what_is_kept_stays_the_same(lake: Lake) -> None:
    for day in range(6):
        go_on(lake, 2 * day, 2 * day + 1, day=day)
    ends = [moment(2 * day + 1) + timedelta(days=day) for day in range(6)]
    before = past(lake, ends)
    last = info_of(lake)
    keep = timedelta(days=2, hours=1)  # to the last moment of day 3
    for _ in range(2):
        lake.maintain("things", grace=AT_ONCE, keep=keep)
        info = info_of(lake)
        assert info.known_since == ends[3]
        assert (info.first_as_of, info.version) == (moment(0), last.version + 1)
        found = past(lake, ends)
        assert found[1:4] == [None, None, None]
        assert found[4:] == before[4:]
        told = lake.changes("things")
        assert told.equals(lake.changes("things", after=ends[3]))
        assert set(told["id"].to_pylist()) == {"a", "b0008", "b0009", "b0010", "b0011"}
        assert len(files(lake, "things_changes")) == 4
    lake.maintain("things", grace=AT_ONCE, keep=keep - timedelta(hours=1))
    assert info_of(lake) == info  # not worth it yet


def test_history_may_go_altogether(lake: Lake) -> None:
    go_on(lake, 0, 5)
    go_on(lake, 6, 6, day=30)
    lake.maintain("things", grace=AT_ONCE, keep=AT_ONCE)
    assert lake.changes("things").num_rows == 0
    now = moment(6) + timedelta(days=30)
    assert lake.as_of("things", now - timedelta(seconds=1)) is None
    found = lake.as_of("things", now)
    assert found is not None
    assert found.equals(lake.read("things"))
    go_on(lake, 7, 7, day=30)
    assert lake.changes("things")["id"].to_pylist() == ["a", "b0007"]


def test_logs_stay_short_and_the_last_entry_readable(lake: Lake) -> None:
    for number in range(0, 72, 12):
        go_on(lake, number, number + 11)
        age(lake)
        lake.maintain("things")
        assert info_of(lake).cursor == str(number + 11)
    for folder in ("things", "things_changes"):
        assert len(files(lake, folder, "_delta_log/*.json")) < 48, folder
        assert 1 <= len(files(lake, folder, "_delta_log/*.checkpoint.parquet")) <= 3, folder
        assert DeltaTable(lake.root / folder).to_pyarrow_table().num_rows
    for number in (0, 7, 71):
        found = lake.as_of("things", moment(number))
        assert found is not None
        assert found.num_rows == number + 2
        assert found["weight"][0].as_py() == float(number)


def test_versions_current_within_the_grace_can_be_opened_after_logs_were_trimmed(
    lake: Lake,
) -> None:
    go_on(lake, 0, 24)
    lake.maintain("things")
    age(lake)
    held = info_of(lake)
    assert held.changes_version is not None
    go_on(lake, 25, 49)
    for _ in range(3):
        lake.maintain("things")
    assert not (lake.root / "things" / "_delta_log" / f"{0:020}.json").exists()
    assert DeltaTable(lake.root / "things", version=held.version).version() == held.version
    stored = DeltaTable(lake.root / "things_changes", version=held.changes_version)
    assert pa.table(stored.get_add_actions())["num_records"].to_pylist().count(2) == 24
    lake.maintain("things", grace=AT_ONCE)
    assert info_of(lake).cursor == "49"
    assert len(files(lake, "things", "_delta_log/*.json")) < 28


def test_upkeep_drops_what_a_killed_commit_left_in_the_history(lake: Lake) -> None:
    go_on(lake, 0, 3)
    told = lake.changes("things")
    entry = lake.root / "things" / "_delta_log" / f"{4:020}.json"
    go_on(lake, 4, 4)
    entry.unlink()  # as if it had been killed before
    assert lake.changes("things").equals(told)
    lake.maintain("things", grace=AT_ONCE)
    assert lake.changes("things").equals(told)
    assert DeltaTable(lake.root / "things_changes").to_pyarrow_table().num_rows == told.num_rows
    assert len(files(lake, "things")) == 1
    assert len(files(lake, "things_changes")) == 3


def test_content_is_copied_before_a_question_would_replay_too_much(tmp_path: Path) -> None:
    lake = Lake(tmp_path, {"pairs": TABLES["pairs"]}, replay=500)
    table = TABLES["pairs"]
    states = []
    for number in range(12):
        rows = [{"left": f"{i:04}", "right": str(number)} for i in range(number, number + 150)]
        lake.commit(table, arrow(table, rows), sync_id=f"s{number}", as_of=moment(number))
        states.append(rows)
    info = lake.info("pairs")
    assert info is not None
    assert [c.at for c in info.checkpoints] == [moment(number) for number in (2, 4, 6, 8, 10)]
    assert len(files(lake, "pairs_checkpoints")) == 5
    held = lake.root / "pairs_changes"
    for number, rows in enumerate(states):
        found = lake.as_of("pairs", moment(number) + timedelta(seconds=1))
        assert found is not None
        assert found.to_pylist() == rows, number
    # Later history is not looked at for what lies before a copy.
    for path in sorted(held.glob("*.parquet"))[5:]:
        path.unlink()
    for number in range(4):
        found = lake.as_of("pairs", moment(number))
        assert found is not None
        assert found.to_pylist() == states[number]


def copied(lake: Lake, to: Path) -> Lake:
    """The same lake elsewhere, its files of the same age."""
    shutil.copytree(lake.root, to)
    return Lake(to, TABLES)


def listed(lake: Lake) -> set[Path]:
    return {path.relative_to(lake.root) for path in lake.root.rglob("*") if path.is_file()}


def test_trimming_that_was_killed_half_way_leaves_everything_to_read_and_is_ended_later(
    lake: Lake, tmp_path: Path
) -> None:
    go_on(lake, 0, 45)
    lake.maintain("things")
    age(lake)
    go_on(lake, 46, 60)
    moments = [moment(number) for number in range(0, 60, 6)]
    before = past(lake, moments)
    whole = copied(lake, tmp_path / "whole")
    whole.maintain("things", grace=AT_ONCE)
    doomed = sorted(listed(lake) - listed(whole))
    assert {path.parts[0] for path in doomed} == {"things", "things_changes"}
    assert any("_delta_log" in path.parts for path in doomed)
    assert any("_delta_log" not in path.parts for path in doomed)
    chosen = random.Random(3)
    for number in range(6):
        killed = copied(lake, tmp_path / f"killed-{number}")
        for path in chosen.sample(doomed, chosen.randrange(1, len(doomed))):
            (killed.root / path).unlink()
        assert past(killed, moments) == before
        assert killed.read("things").equals(lake.read("things"))
        killed.maintain("things", grace=AT_ONCE)
        assert past(killed, moments) == before
        assert not set(doomed) & listed(killed)
        go_on(killed, 61, 62)


def test_history_that_was_gathered_but_not_named_is_read_as_before_and_gathered_again(
    lake: Lake,
) -> None:
    go_on(lake, 0, 34)
    moments = [moment(number) for number in range(0, 40, 5)]
    before, version = past(lake, moments), info_of(lake).version
    lake.maintain("things")
    assert info_of(lake).version == version + 1
    # As if it had been killed before the table named the new history.
    for path in files(lake, "things", "_delta_log/*"):
        if path.name.startswith((f"{version + 1:020}", "_last_checkpoint")):
            path.unlink()
    assert past(lake, moments) == before
    age(lake)
    assert past(lake, moments) == before
    lake.maintain("things", grace=AT_ONCE)
    assert past(lake, moments) == before
    assert len(files(lake, "things_changes")) == 1


def test_a_summary_that_was_written_but_not_announced_does_no_harm(lake: Lake) -> None:
    go_on(lake, 0, 24)
    lake.maintain("things")
    announced = {
        path: path.read_bytes() for path in lake.root.glob("things*/_delta_log/_last_checkpoint")
    }
    assert len(announced) == 2
    age(lake)
    go_on(lake, 25, 50)
    lake.maintain("things")
    for path, content in announced.items():  # killed before it was announced
        path.write_bytes(content)
    before = past(lake, [moment(30)])
    age(lake)
    lake.maintain("things")
    assert not (lake.root / "things" / "_delta_log" / f"{26:020}.json").exists()
    assert past(lake, [moment(30)]) == before
    assert DeltaTable(lake.root / "things").to_pyarrow_table().num_rows == 52
    go_on(lake, 51, 52)


def test_the_rows_of_a_table_that_became_empty_are_removed_too(lake: Lake) -> None:
    nothing = THINGS.schema().empty_table()
    lake.commit(THINGS, arrow(THINGS, [row("a")]), sync_id="s0", as_of=moment(0))
    lake.commit(THINGS, nothing, sync_id="s1", as_of=moment(1))
    assert lake.maintain("things") == 0  # somebody may read it still
    assert len(files(lake, "things")) == 1
    assert lake.maintain("things", grace=AT_ONCE) == 1
    assert files(lake, "things") == []
    assert lake.maintain("things", grace=AT_ONCE, keep=AT_ONCE, now=moment(200)) == 1
    assert files(lake, "things_changes") == []  # and nobody's name is left
    assert lake.read("things").num_rows == 0


def test_history_of_a_table_that_is_no_longer_read_ends_too(lake: Lake) -> None:
    go_on(lake, 0, 3)
    keep = timedelta(days=30)
    lake.maintain("things", grace=AT_ONCE, keep=keep)
    assert lake.changes("things").num_rows == 6
    now = moment(3) + timedelta(days=32)
    lake.maintain("things", grace=AT_ONCE, keep=keep, now=now)
    assert lake.changes("things").num_rows == 0
    assert info_of(lake).known_since == now - keep
    assert lake.as_of("things", moment(3)) is None
    found = lake.as_of("things", now)
    assert found is not None
    assert found.equals(lake.read("things"))


def test_a_copy_of_content_that_was_just_dropped_can_be_read_for_the_grace(
    tmp_path: Path,
) -> None:
    lake = Lake(tmp_path, {"pairs": TABLES["pairs"]}, replay=50)
    for number in range(8):
        rows = [{"left": f"{i:04}", "right": str(number)} for i in range(40)]
        at = moment(number) + timedelta(days=2 * number)
        lake.commit(TABLES["pairs"], arrow(TABLES["pairs"], rows), sync_id="s", as_of=at)
    held = {path.name for path in files(lake, "pairs_checkpoints")}
    assert len(held) >= 2
    age(lake)
    keep = timedelta(days=1)
    lake.maintain("pairs", grace=timedelta(hours=-1), keep=None)  # nothing is old: all are named
    assert {path.name for path in files(lake, "pairs_checkpoints")} == held
    lake.maintain("pairs", keep=keep)
    info = lake.info("pairs")
    assert info is not None
    named = {checkpoint.file for checkpoint in info.checkpoints}
    assert named < held
    assert {path.name for path in files(lake, "pairs_checkpoints")} == held
    lake.maintain("pairs", grace=AT_ONCE, keep=keep)
    assert {path.name for path in files(lake, "pairs_checkpoints")} == named


def test_an_older_program_does_not_touch_a_newer_table(lake: Lake) -> None:
    go_on(lake, 0, 34)
    newer = Lake(lake.root, {"things": replace(THINGS, version=THINGS.version + 1)})
    newer.evolve("things")
    before = listed(lake)
    with pytest.raises(NewerTableError):
        lake.maintain("things", grace=AT_ONCE, keep=AT_ONCE)
    assert listed(lake) == before


def test_upkeep_is_due_when_commits_left_much_behind_and_not_before(lake: Lake) -> None:
    assert not lake.is_cluttered("things")  # never read
    go_on(lake, 0, 7)
    age(lake)
    assert not lake.is_cluttered("things")
    go_on(lake, 8, 8)
    assert lake.is_cluttered("things")
    age(lake)
    assert lake.maintain("things", grace=AT_ONCE) >= 8
    assert not lake.is_cluttered("things")


def test_upkeep_is_due_when_a_log_grew_long(lake: Lake) -> None:
    go_on(lake, 0, 19)
    assert not lake.is_cluttered("things")
    go_on(lake, 20, 20)
    assert lake.is_cluttered("things")
    lake.maintain("things")
    assert not lake.is_cluttered("things")
