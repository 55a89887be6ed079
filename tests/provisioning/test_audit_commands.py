"""`verify-audit` names what was done to the ledger's file behind its back."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from entra_pipeline.simulator.process import Simulator
from tests.provisioning.program import Program
from tests.provisioning.tenant import Tenant


@pytest.fixture(scope="module")
def lived(written_to: Simulator, tmp_path_factory: pytest.TempPathFactory) -> tuple[Program, str]:
    """A ledger with a life, and the head that was noted of it."""
    program, tenant = Program(written_to, tmp_path_factory.mktemp("audited")), Tenant(written_to)
    group = list(tenant.plain())[16]
    program.approved("grant", tenant.stranger(group), f"group:{group}:member")
    keep(program, "earlier")
    program("apply", "--wait")
    keep(program, "clean")
    clean = program.json("verify-audit")
    assert clean["findings"] == []
    return program, clean["head"]


def keep(program: Program, name: str) -> None:
    """A copy of the ledger as it is."""
    with (
        closing(sqlite3.connect(program.data / "ledger.sqlite")) as file,
        closing(sqlite3.connect(program.folder / name)) as copy,
    ):
        file.backup(copy)


def entry(file: sqlite3.Connection, kind: str) -> int:
    """The first entry of a kind."""
    return int(file.execute("SELECT min(seq) FROM audit WHERE kind = ?", (kind,)).fetchone()[0])


def changed(file: sqlite3.Connection, earlier: Path) -> str:
    file.execute("UPDATE approvals SET subject = 'somebody else'")
    (approval,) = file.execute("SELECT id FROM approvals").fetchone()
    return f"approvals/{approval} was changed since entry"


def deleted(file: sqlite3.Connection, earlier: Path) -> str:
    (attempt,) = file.execute("SELECT id FROM attempts").fetchone()
    file.execute("DELETE FROM attempts")
    return f"attempts/{attempt} is missing"


def deleted_from_the_audit(file: sqlite3.Connection, earlier: Path) -> str:
    seq = entry(file, "approve")
    file.execute("DELETE FROM audit WHERE seq = ?", (seq,))
    return f"audit/{seq} is missing"


def reordered(file: sqlite3.Connection, earlier: Path) -> str:
    seq = entry(file, "writing")
    for old, new in ((seq, -1), (seq - 1, seq), (-1, seq - 1)):
        file.execute("UPDATE audit SET seq = ? WHERE seq = ?", (new, old))
    return f"audit/{seq - 1} does not follow the entry before it"


def cut_off(file: sqlite3.Connection, earlier: Path) -> str:
    (newest,) = file.execute("SELECT max(seq) FROM audit").fetchone()
    file.execute("DELETE FROM audit WHERE seq > ?", (newest - 2,))
    return f"audit/{newest} is the newest by the ledger's own word"


def cut_off_without_a_trace(file: sqlite3.Connection, earlier: Path) -> str:
    """In place of the ledger the one that it was a while ago: its chain is whole."""
    (newest,) = file.execute("SELECT max(seq) FROM audit").fetchone()
    with closing(sqlite3.connect(earlier)) as before:
        before.backup(file)
    return f"audit/{newest} was noted elsewhere and is missing: the end was cut off"


@pytest.mark.parametrize(
    "plant",
    [changed, deleted, deleted_from_the_audit, reordered, cut_off, cut_off_without_a_trace],
    ids=lambda plant: plant.__name__,
)
def test_the_command_names_the_row(
    lived: tuple[Program, str], plant: Callable[[sqlite3.Connection, Path], str]
) -> None:
    program, noted = lived
    ledger: Path = program.data / "ledger.sqlite"
    for rest in (*program.data.glob("ledger.sqlite-*"), ledger):
        rest.unlink()
    shutil.copy(program.folder / "clean", ledger)
    with closing(sqlite3.connect(ledger)) as file:
        expected = plant(file, program.folder / "earlier")
        file.commit()
    done = program("verify-audit", "--head", noted, code=1)
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert any(line.startswith(expected) for line in lines), (expected, done.out)
    assert "not as it was written" in done.out
    named = [
        each["row"] for each in program.json("verify-audit", "--head", noted, code=1)["findings"]
    ]
    assert expected.split()[0] in named
