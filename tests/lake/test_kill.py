"""SIGKILL at any moment of a commit leaves the previous version or the new one, whole."""

import random
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

import entra_pipeline
from entra_pipeline.lake import Lake
from entra_pipeline.lake.digests import digest
from entra_pipeline.lake.rows import in_order

ROOT = Path(entra_pipeline.__file__).parent.parent

# Commits version after version of `domains`, saying each number once it is committed. Every row
# of one version carries its number, and versions differ in length.
COMMITTER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
import pyarrow as pa
from entra_pipeline.lake import Lake
from entra_pipeline.tables import get

lake, table = Lake(Path(sys.argv[1])), get("domains")
number = int(sys.argv[2])
while True:
    count = 2_000 + number
    columns = {f.name: pa.nulls(count, f.type) for f in table.schema()}
    columns["id"] = pa.array([f"{i:08}" for i in reversed(range(count))])
    kind = table.schema().field("state").type
    columns["state"] = pa.array([{"status": str(number)}] * count, kind)
    rows = pa.table(columns)
    for text in (f"s{number}", f"t{number}"):  # the second writes no data, only the log
        lake.commit(table, rows, sync_id=text, as_of=datetime.now(UTC), cursor=str(number))
    print(number, flush=True)
    number += 1
"""

# Amends rows here and there in many files of `domains`: in one version they carry one number.
AMENDER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
import pyarrow as pa
from entra_pipeline.lake import Lake
from entra_pipeline.tables import get

lake, table = Lake(Path(sys.argv[1]), file_rows=100), get("domains")
number = int(sys.argv[2])

def rows(chosen):
    columns = {f.name: pa.nulls(len(chosen), f.type) for f in table.schema()}
    columns["id"] = pa.array([f"{i:08}" for i in chosen])
    kind = table.schema().field("state").type
    columns["state"] = pa.array([{"status": str(number)}] * len(chosen), kind)
    return pa.table(columns)

while True:
    said = dict(sync_id=f"s{number}", as_of=datetime.now(UTC), cursor=str(number))
    if lake.info("domains") is None:
        lake.commit(table, rows(range(2_000)), **said)
    else:
        lake.amend(table, upserts=rows(range(0, 2_000, 250)), **said)
    print(number, flush=True)
    number += 1
"""


def look_at_some(lake: Lake) -> int:
    """As `look`, for what the amender writes."""
    info = lake.info("domains")
    if info is None:
        return 0
    read = lake.read("domains")
    states = read.column("state").combine_chunks().field("status")
    numbers = set(states.take(pa.array(range(0, 2_000, 250))).to_pylist())
    assert len(numbers) == 1
    again = lake.info("domains")
    assert again is not None
    if again.version == info.version:
        table = lake._tables["domains"]
        assert info.digest == digest(table, in_order(table, read), like=info.digest)
        assert info.rows == read.num_rows == 2_000
        assert numbers == {info.cursor}
    return int(numbers.pop())


def look(lake: Lake) -> int:
    """The number of the version that a reader sees now; fails if it is not whole."""
    info = lake.info("domains")
    if info is None:
        return 0
    read = lake.read("domains")
    numbers = set(read.column("state").combine_chunks().field("status").to_pylist())
    assert len(numbers) == 1
    number = int(numbers.pop())
    assert read.num_rows == 2_000 + number
    again = lake.info("domains")
    assert again is not None
    if again.version == info.version:  # otherwise the committer went on between the two reads
        assert info.cursor == str(number)
        table = lake._tables["domains"]
        assert info.digest == digest(table, in_order(table, read), like=info.digest)
        assert info.rows == read.num_rows
    return number


def kill_often(
    root: Path, times: int, program: str = COMMITTER, look: Callable[[Lake], int] = look
) -> Lake:
    lake = Lake(root)
    moments = random.Random(7)
    start = 1
    for _ in range(times):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(root), str(start)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as committer:
            assert committer.stdout is not None
            first = committer.stdout.readline()
            assert first == f"{start}\n"
            seen = start
            end = time.monotonic() + moments.uniform(0.0, 0.4)
            while time.monotonic() < end:
                number = look(lake)
                assert number >= seen, "a reader saw an older version than before"
                seen = number
            committer.kill()
            said = [int(line) for line in committer.stdout.read().split()] or [start]
        found = look(lake)
        assert found in (said[-1], said[-1] + 1)
        assert found >= seen
        start = found + 1
    assert lake.maintain("domains", grace=timedelta(0)) > 0
    assert look(lake) == start - 1
    assert len(list((root / "domains").glob("*.parquet"))) == len(lake.files("domains"))
    return lake


def test_a_killed_commit_leaves_a_whole_version(tmp_path: Path) -> None:
    kill_often(tmp_path / "lake", 5)


def test_a_killed_amendment_leaves_a_whole_version_of_many_files(tmp_path: Path) -> None:
    lake = kill_often(tmp_path / "lake", 3, AMENDER, look_at_some)
    assert len(lake.files("domains")) > 5


@pytest.mark.soak
def test_a_hundred_killed_commits_leave_a_whole_version(tmp_path: Path) -> None:
    kill_often(tmp_path / "lake", 100)


def test_a_kill_before_the_first_commit_reads_as_never_committed(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    (tmp_path / "domains" / "_delta_log").mkdir(parents=True)
    (tmp_path / "domains" / "part-0.parquet").write_bytes(b"PAR1")
    (tmp_path / "domains" / "_delta_log" / "_commit_x.json.tmp").write_text("{")
    assert lake.info("domains") is None
    assert lake.read("domains").num_rows == 0
    rows = lake.read("domains")
    assert lake.commit(lake._tables["domains"], rows, sync_id="s", as_of=datetime.now(UTC)).changed
