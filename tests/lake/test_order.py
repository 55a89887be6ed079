"""Rows that come in key order are stored without being gathered anew; the result is the same.

Here: that both ways agree, through `Lake.commit`. Everything else about commits: `test_store`.
"""

import random
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from entra_pipeline.lake import Lake
from entra_pipeline.tables import TABLES

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MEMBERS = TABLES["group_members"]


def pairs(count: int, seed: int) -> list[dict[str, str]]:
    """Some pairs, a tenth of them twice, the second time with another kind."""
    rng = random.Random(seed)
    found = [
        {"group_id": f"g{rng.randrange(40):03}", "member_id": f"m{n:06}", "member_kind": "user"}
        for n in range(count)
    ]
    again = [{**row, "member_kind": "device"} for row in rng.sample(found, count // 10)]
    return [*found, *again]


@pytest.mark.parametrize("count", [0, 1, 2, 50, 40_000])
def test_sorted_and_shuffled_rows_become_the_same_table(tmp_path: Path, count: int) -> None:
    given = pairs(count, seed=count)
    in_order = sorted(given, key=lambda row: (row["group_id"], row["member_id"]))  # stable
    commits = []
    for name, rows in (("shuffled", given), ("sorted", in_order)):
        lake = Lake(tmp_path / name)
        table = pa.Table.from_pylist(rows, schema=MEMBERS.schema())
        commits.append(lake.commit(MEMBERS, table, sync_id="s", as_of=NOON))
        expected = {(row["group_id"], row["member_id"]): row["member_kind"] for row in rows}
        read = lake.read("group_members").to_pylist()
        keys = [(row["group_id"], row["member_id"]) for row in read]
        assert keys == sorted(expected)
        assert [row["member_kind"] for row in read] == [expected[key] for key in keys]
    assert commits[0].info.digest == commits[1].info.digest
    assert [commit.duplicates for commit in commits] == [count // 10] * 2


def test_the_digest_written_in_one_pass_is_the_one_that_finds_equal_rows(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    table = pa.Table.from_pylist(pairs(40_000, seed=3), schema=MEMBERS.schema())
    lake.commit(MEMBERS, table, sync_id="s1", as_of=NOON)
    again = lake.commit(MEMBERS, lake.read("group_members"), sync_id="s2", as_of=NOON)
    assert not again.changed
