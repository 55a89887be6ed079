"""What changed, read by delta, makes every table what a full read makes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from entra_pipeline.extract.feeds import FOLLOWED
from entra_pipeline.lake import TableStatus
from entra_pipeline.simulator.process import Simulator, running
from entra_pipeline.tables import Status
from tests.extract.support import Rig

FOLLOWING = tuple(FOLLOWED)


@pytest.fixture
def changing() -> Iterator[Simulator]:
    """A tenant for one test alone, which may change it."""
    with running(users=120, groups=60, seed=5) as started:
        yield started


def assert_like_a_full_read(rig: Rig, path: Path, *tables: str) -> None:
    """Every table holds row for row what a full read into an empty directory gives."""
    fresh = Rig(rig.simulator, path)
    statuses = fresh.sync(*tables)
    assert {s.status for s in statuses.values()} == {Status.COMPLETE}
    for name in tables:
        if rig.digest(name) != fresh.digest(name):
            ours = {str(row) for row in rig.rows(name)}
            theirs = {str(row) for row in fresh.rows(name)}
            assert (name, sorted(ours - theirs), sorted(theirs - ours)) == (name, [], [])
            raise AssertionError(name)
    fresh.close()


def by_changes(statuses: dict[str, TableStatus]) -> None:
    """Every table is whole, and none was doubted."""
    assert {n: (s.status, s.reason) for n, s in statuses.items()} == dict.fromkeys(
        statuses, (Status.COMPLETE, None)
    )
    doubted = [n for n, s in statuses.items() if "changes_doubted_read_in_full" in s.notes]
    assert doubted == []


@pytest.mark.parametrize("seed", [1, 2])
def test_rounds_of_changes_leave_every_table_as_a_full_read_does(
    changing: Simulator, tmp_path: Path, seed: int
) -> None:
    rig = Rig(changing, tmp_path)
    rig.sync(*FOLLOWING)
    for number in range(6):
        changing.mutate(1000 * seed + number, 120)
        by_changes(rig.sync(*FOLLOWING))
        assert_like_a_full_read(rig, tmp_path / f"full-{number}", *FOLLOWING)
    rig.close()
