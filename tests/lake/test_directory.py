"""The data directory: whose it is, who may read it, one sync at a time."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import entra_pipeline
from entra_pipeline.lake import (
    DataDirectory,
    DirectoryBusyError,
    DirectoryError,
    OtherTenantError,
)

ROOT = Path(entra_pipeline.__file__).parent.parent
CONTOSO = "11111111-2222-3333-4444-555555555555"
FABRIKAM = "99999999-2222-3333-4444-555555555555"

HOLD = """
import sys, time
from pathlib import Path
from entra_pipeline.lake import DataDirectory
with DataDirectory.existing(Path(sys.argv[1])).lock(command="entra-pipeline sync"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@contextmanager
def held(path: Path, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock for so long."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), str(seconds)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_claimed_directory_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "data"
    directory = DataDirectory.claim(path, CONTOSO)
    assert path.stat().st_mode & 0o777 == 0o700
    assert directory.lake.is_dir()
    assert directory.warehouses.is_dir()
    assert json.loads((path / "tenant.json").read_text())["tenant_id"] == CONTOSO


def test_a_directory_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    DataDirectory.claim(tmp_path, CONTOSO)
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_claiming_again_for_the_same_tenant_is_nothing_new(tmp_path: Path) -> None:
    first = DataDirectory.claim(tmp_path, CONTOSO)
    before = (tmp_path / "tenant.json").read_bytes()
    assert DataDirectory.claim(tmp_path, CONTOSO.upper()) == first
    assert (tmp_path / "tenant.json").read_bytes() == before
    assert DataDirectory.existing(tmp_path) == first


def test_another_tenant_is_refused_by_name(tmp_path: Path) -> None:
    DataDirectory.claim(tmp_path, CONTOSO)
    with pytest.raises(OtherTenantError, match=f"{CONTOSO}, not to {FABRIKAM}.*ENTRA_DATA_DIR"):
        DataDirectory.claim(tmp_path, FABRIKAM)


def test_of_many_who_claim_at_once_one_tenant_wins(tmp_path: Path) -> None:
    tenants = [f"{number:08}-0000-0000-0000-000000000000" for number in range(12)]
    outcomes: list[str] = []

    def claim(tenant: str) -> None:
        try:
            outcomes.append(DataDirectory.claim(tmp_path / "data", tenant).tenant_id)
        except OtherTenantError:
            outcomes.append("refused")

    threads = [threading.Thread(target=claim, args=(tenant,)) for tenant in tenants]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("refused") == 11
    winner = DataDirectory.existing(tmp_path / "data").tenant_id
    assert winner in outcomes
    assert [f.name for f in (tmp_path / "data").iterdir() if f.name.startswith(".")] == []


def test_a_place_without_data_says_how_to_get_some(tmp_path: Path) -> None:
    with pytest.raises(DirectoryError, match="no data directory: run `entra-pipeline sync`"):
        DataDirectory.existing(tmp_path / "nothing")


def test_a_file_in_the_place_of_the_directory_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(DirectoryError, match=f"{file}.*ENTRA_DATA_DIR"):
        DataDirectory.claim(file, CONTOSO)
    with pytest.raises(DirectoryError, match=f"{file} is not a directory"):
        DataDirectory.existing(file)


def test_no_tenant_id_is_an_error_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(DirectoryError, match="ENTRA_TENANT_ID"):
        DataDirectory.claim(tmp_path / "data", " ")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not readable as the mark"), ('{"format": 9, "tenant_id": "x"}', "format 9.*newer")],
)
def test_a_mark_that_cannot_be_understood_is_never_overwritten(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "tenant.json").write_text(content)
    with pytest.raises(DirectoryError, match=message):
        DataDirectory.claim(tmp_path, CONTOSO)
    assert (tmp_path / "tenant.json").read_text() == content


def test_a_second_sync_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    directory = DataDirectory.claim(tmp_path, CONTOSO)
    with held(tmp_path, 60) as other:
        assert directory.is_locked()
        expected = rf"entra-pipeline sync \(pid {other.pid} on .*, since 20.*Z\)"
        with pytest.raises(DirectoryBusyError, match=expected), directory.lock():
            pytest.fail("two processes hold the lock")


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    directory = DataDirectory.claim(tmp_path, CONTOSO)
    with held(tmp_path, 60) as other:
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        assert not directory.is_locked()
        with directory.lock(command="mine"):
            holder = directory.holder()
            assert holder is not None
            assert (holder.pid, holder.command) == (os.getpid(), "mine")
    assert directory.holder() is None


def test_a_second_sync_can_wait_for_the_first(tmp_path: Path) -> None:
    directory = DataDirectory.claim(tmp_path, CONTOSO)
    with held(tmp_path, 0.8):
        before = time.monotonic()
        with directory.lock(wait=30):
            assert time.monotonic() - before > 0.3
            assert directory.is_locked()


def test_waiting_ends_with_the_time_given(tmp_path: Path) -> None:
    directory = DataDirectory.claim(tmp_path, CONTOSO)
    with (
        held(tmp_path, 60),
        pytest.raises(DirectoryBusyError, match=r"waited 0\.6 s"),
        directory.lock(wait=0.6),
    ):
        pytest.fail("two processes hold the lock")


def test_looking_whether_it_is_locked_does_not_lock_anybody_out(tmp_path: Path) -> None:
    directory = DataDirectory.claim(tmp_path, CONTOSO)
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            directory.is_locked()

    onlookers = [threading.Thread(target=look) for _ in range(2)]
    for onlooker in onlookers:
        onlooker.start()
    try:
        for _ in range(10):
            with directory.lock():
                assert directory.is_locked()
    finally:
        stop.set()
        for onlooker in onlookers:
            onlooker.join()


def test_an_error_inside_gives_the_lock_back(tmp_path: Path) -> None:
    directory = DataDirectory.claim(tmp_path, CONTOSO)
    with pytest.raises(RuntimeError, match="inside"), directory.lock():
        raise RuntimeError("inside")
    assert not directory.is_locked()
