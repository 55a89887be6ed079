"""Warehouses of the past, against the answers that were kept at each moment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from entra_pipeline.access import past
from entra_pipeline.access.diff import diff
from entra_pipeline.access.questions import Warehouse
from entra_pipeline.cli.export import Format, opened, write
from entra_pipeline.lake import Books, DataDirectory, Lake
from entra_pipeline.simulator.process import running
from entra_pipeline.tables import TABLES
from tests.access.asking import entitlement, principal
from tests.cli.program import cli
from tests.support import sync

ROUNDS = 3
CHANGES = 25
# Of principals, and of entitlements that somebody holds, every so many are asked about.
EACH = 3, 7
FORBIDDEN = {
    "match": {"path": "/v1.0/devices"},
    "respond": {
        "status": 403,
        "json": {"error": {"code": "Authorization_RequestDenied", "message": "no"}},
    },
}
SENTENCES = "SELECT principal_id, entitlement_id, state FROM effective_grants"


@dataclass(frozen=True)
class Round:
    """What was true, and what was answered, right after one sync."""

    after: datetime
    answers: dict[str, Any]
    effective: set[tuple[str, str, str]]
    statuses: dict[str, str]


@dataclass
class Story:
    """A data directory and what was kept of each of its moments."""

    directory: DataDirectory
    rounds: list[Round] = field(default_factory=list)

    def past(self, moment: datetime) -> Path:
        return past.warehouse(self.directory, past.at(Books(self.directory), moment))


def answers(path: Path) -> dict[str, Any]:
    """What some hold, who holds what, and why some do: as the JSON of the commands."""
    found: dict[str, Any] = {}
    with Warehouse.open(path) as warehouse:
        ids = [row[0] for row in warehouse.query("SELECT id FROM principals ORDER BY id").rows]
        for one in ids[:: EACH[0]]:
            found[f"access {one}"] = warehouse.access(principal(warehouse, one)).to_json()
        held = warehouse.query("SELECT DISTINCT entitlement_id FROM grants ORDER BY 1").rows
        for (one,) in held[:: EACH[1]]:
            found[f"who {one}"] = warehouse.who_can(entitlement(warehouse, one)).to_json()
        deep = "SELECT principal_id, entitlement_id FROM effective_grants WHERE depth > 1"
        for who, what in warehouse.query(f"{deep} ORDER BY ALL LIMIT 6").rows:
            found[f"explain {who} {what}"] = warehouse.explain(
                principal(warehouse, who), entitlement(warehouse, what)
            ).to_json()
    return found


def effective(path: Path) -> set[tuple[str, str, str]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return {tuple(row) for row in connection.execute(SENTENCES).fetchall()}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Syncs of a tenant that changes between them; in the second one table may not be read."""
    home = tmp_path_factory.mktemp("story") / "data"
    with running(users=20, groups=15, seed=11) as simulator:
        told: Story | None = None
        for number in range(ROUNDS):
            if number:
                simulator.mutate(seed=number, changes=CHANGES)
            simulator.faults([FORBIDDEN] if number == 1 else [])
            synced = sync(simulator, home)
            told = told or Story(DataDirectory.existing(home))
            link = told.directory.warehouse_link.resolve()
            told.rounds.append(
                Round(
                    datetime.now(UTC),
                    answers(link),
                    effective(link),
                    {name: str(status.status) for name, status in synced.statuses.items()},
                )
            )
    assert told is not None
    return told


@pytest.mark.parametrize("number", range(ROUNDS))
def test_every_answer_about_a_moment_is_the_one_that_was_given_then(
    story: Story, number: int
) -> None:
    kept = story.rounds[number].answers
    found = answers(story.past(story.rounds[number].after))
    assert len(kept) > 35
    assert found == kept


def without_the_whole(story: Story, moment: datetime, one: str) -> Any:
    """What a principal holds, from the rows that it takes."""
    when = past.at(Books(story.directory), moment)
    with past.access(story.directory, when, one) as warehouse:
        assert warehouse is not None
        return warehouse.access(principal(warehouse, one)).to_json()


@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_principals_access_is_the_one_that_was_given_then_without_the_whole_warehouse(
    story: Story, number: int
) -> None:
    shutil.rmtree(story.directory.path / "past", ignore_errors=True)
    kept = story.rounds[number].answers
    for question in [one for one in kept if one.startswith("access ")][number::8]:
        found = without_the_whole(story, story.rounds[number].after, question.split()[1])
        assert json.dumps(found) == json.dumps(kept[question])
    assert list((story.directory.path / "past").iterdir()) == []


def test_the_command_answers_from_few_rows_and_says_of_when(story: Story) -> None:
    shutil.rmtree(story.directory.path / "past", ignore_errors=True)
    kept = story.rounds[0]
    question = next(one for one in kept.answers if one.startswith("access "))
    env = {"ENTRA_DATA_DIR": str(story.directory.path)}
    when = kept.after.isoformat()
    ran = cli("access", question.split()[1], "--as-of", when, "--json", env=env)
    document = ran.json
    sync_then = past.at(Books(story.directory), kept.after).sync
    assert document.pop("as_of")["sync"]["id"] == sync_then.sync_id
    assert json.dumps(document) == json.dumps(kept.answers[question])
    nobody = cli("access", "nobody of that name", "--as-of", when, "--json", env=env)
    assert nobody.code != 0
    assert "there is no principal" in nobody.out + nobody.err
    assert list((story.directory.path / "past").iterdir()) == []


@pytest.mark.soak
@pytest.mark.parametrize("number", range(ROUNDS))
def test_every_principals_access_is_the_same_from_few_rows_and_from_all(
    story: Story, number: int, tmp_path: Path
) -> None:
    after = story.rounds[number].after
    with Warehouse.open(story.past(after).rename(tmp_path / "whole.duckdb")) as whole:
        ids = [row[0] for row in whole.query("SELECT id FROM principals ORDER BY id").rows]
        for one in ids:
            if one != "all_users":
                expected = whole.access(principal(whole, one)).to_json()
                assert json.dumps(without_the_whole(story, after, one)) == json.dumps(expected), one


def test_the_story_is_one_of_changes(story: Story) -> None:
    for earlier, later in zip(story.rounds, story.rounds[1:], strict=False):
        assert earlier.effective != later.effective


def test_a_moment_between_two_syncs_is_the_state_of_the_first(story: Story) -> None:
    books = Books(story.directory)
    first, second = sorted(books.syncs(), key=lambda one: one.sync_id)[:2]
    assert first.finished is not None
    assert second.finished is not None
    just_before = second.finished - timedelta(microseconds=1)
    assert past.at(books, just_before).sync == first
    assert past.at(books, second.finished).sync == second
    assert past.after(books, first.sync_id).sync == first


def test_what_was_not_known_then_is_not_known_in_the_answer(story: Story) -> None:
    books = Books(story.directory)
    for kept in story.rounds:
        known = past.statuses(story.directory, past.at(books, kept.after), {})
        assert {name: str(one.status) for name, one in known.items()} == {
            name: kept.statuses[name] for name in known
        }
    assert story.rounds[1].statuses["devices"] != "complete"
    assert story.rounds[2].statuses["devices"] == "complete"


def test_tables_that_had_gone_stale_by_then_are_stale(story: Story) -> None:
    moment = past.at(Books(story.directory), story.rounds[1].after)
    known = past.statuses(story.directory, moment, {"users": timedelta(0)})
    assert known["users"].status == "stale"
    assert known["groups"].status == "complete"


def test_before_the_first_sync_the_error_says_since_when_there_is_something(story: Story) -> None:
    books = Books(story.directory)
    first = books.first_finished()
    assert first is not None
    with pytest.raises(past.PastError, match=f"the first one ended at {first.finished:%Y-%m-%dT}"):
        past.at(books, first.started)
    with pytest.raises(past.PastError, match="there is no sync"):
        past.after(books, "20200101T000000.000000Z-00000000")


def test_tables_whose_history_begins_later_are_never_read_rather_than_empty(
    story: Story, tmp_path: Path
) -> None:
    """A table that an earlier version stored without a history, say."""
    moment = past.at(Books(story.directory), story.rounds[1].after)
    lake = Lake(story.directory.lake)
    info = lake.info("users")
    assert info is not None
    with pytest.raises(past.PastError, match="does not reach back"):
        past.warehouse(
            story.directory,
            past.Moment(moment.asked, _moved(moment, info.known_since - timedelta(days=1))),
        )


def _moved(moment: past.Moment, finished: datetime) -> Any:
    return replace(moment.sync, sync_id=moment.sync.sync_id + "-moved", finished=finished)


def exports(path: Path, folder: Path) -> dict[str, bytes]:
    """Every table and view that can be exported, as CSV; some in every format."""
    folder.mkdir()
    names = [t.name for t in TABLES.values() if t.group in ("directory", "access", "bookkeeping")]
    written = {}
    with Warehouse.open(path) as warehouse:
        for name in [*names, "effective_grants"]:
            # All values are of the kinds that these have.
            for kind in Format if name in ("users", "effective_grants") else (Format.CSV,):
                file = folder / f"{name}.{kind}"
                write(*opened(warehouse, name, ordered=True), kind, file)
                written[file.name] = file.read_bytes()
    return written


def test_the_same_question_gives_the_same_bytes_when_everything_is_made_anew(
    story: Story, tmp_path: Path
) -> None:
    moment = story.rounds[1].after
    path = story.past(moment)
    first = exports(path, tmp_path / "first")
    path.unlink()
    again = story.past(moment)
    assert again == path
    found = exports(again, tmp_path / "again")
    assert [name for name in found if found[name] != first[name]] == []


def test_a_warehouse_is_built_once_and_then_only_opened(story: Story) -> None:
    said: list[str] = []
    moment = past.at(Books(story.directory), story.rounds[0].after)
    first = past.warehouse(story.directory, moment, say=said.append)
    built = first.stat().st_ino
    said.clear()
    again = past.warehouse(story.directory, moment, say=said.append)
    assert (again, again.stat().st_ino, said) == (first, built, [])


def test_what_is_kept_is_for_the_owner_alone_and_bounded(story: Story) -> None:
    folder = story.directory.path / "past"
    kept = story.past(story.rounds[0].after)
    others = [folder / f"{number}-{kept.stem[-12:]}.duckdb" for number in range(past.KEPT + 3)]
    stale = folder / f"{kept.stem[:-12]}0123456789ab.duckdb"
    for other in [*others, stale]:
        other.touch()
    found = story.past(story.rounds[0].after)
    assert found == kept
    assert kept.exists()
    assert not stale.exists(), "built by other code"
    assert len(list(folder.glob("*.duckdb"))) == past.KEPT
    assert folder.stat().st_mode & 0o777 == 0o700
    assert kept.stat().st_mode & 0o777 == 0o600
    for other in others:
        other.unlink(missing_ok=True)


def test_what_a_killed_build_leaves_is_cleared_away_and_a_living_one_is_not(story: Story) -> None:
    folder = story.directory.path / "past"
    folder.mkdir(exist_ok=True)
    program = """
import sys, time
from pathlib import Path
from entra_pipeline.access import past
with past._workshop(Path(sys.argv[1])) as bench:
    (bench / "users.parquet").write_bytes(b"half")
    print(bench, flush=True)
    time.sleep(600)
"""
    builders = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    benches = []
    for builder in builders:
        assert builder.stdout is not None
        benches.append(Path(builder.stdout.readline().strip()))
    try:
        builders[0].kill()
        builders[0].wait()
        old = time.time() - 3600
        for bench in benches:
            os.utime(bench, (old, old))
        kept = story.past(story.rounds[0].after)
        kept.unlink()
        story.past(story.rounds[0].after)
        assert not benches[0].exists()
        assert benches[1].exists()
    finally:
        builders[1].kill()
        for builder in builders:
            builder.wait()
            assert builder.stdout is not None
            builder.stdout.close()


@pytest.mark.parametrize(("earlier", "later"), [(0, 1), (1, 2), (0, 2)])
def test_the_difference_is_that_of_what_was_kept_of_both_moments(
    story: Story, earlier: int, later: int
) -> None:
    before, after = story.rounds[earlier], story.rounds[later]
    found = diff(story.past(before.after), story.past(after.after))
    told = {
        change: {
            (line.principal.id, line.entitlement_id, line.state)
            for line in found.lines
            if line.change == change
        }
        for change in ("gained", "lost")
    }
    assert told["gained"] == after.effective - before.effective
    assert told["lost"] == before.effective - after.effective
    assert told["gained"]
    assert told["lost"]
    assert all(line.causes for line in found.lines)
