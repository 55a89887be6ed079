"""New passwords by settings and command: sealed where they are kept, and nowhere else at all."""

from __future__ import annotations

import hashlib
import itertools
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyrage
import pytest

from entra_pipeline.definitions import build_definitions
from entra_pipeline.doctor import diagnose
from entra_pipeline.orchestration.provision import JOB
from entra_pipeline.settings import SettingsError
from entra_pipeline.simulator.process import Simulator
from tests.provisioning.program import Program

KEYS = [pyrage.x25519.Identity.generate() for _ in range(2)]
_numbers = itertools.count(1)


@pytest.fixture
def program(written_to: Simulator, tmp_path: Path) -> Program:
    made = Program(written_to, tmp_path)
    made.env["ENTRA_SEAL_TO"] = ", ".join(str(key.to_public()) for key in KEYS)
    return made


def asked(program: Program) -> str:
    """A request for a new account, planned and approved."""
    name = f"sealed.person{next(_numbers)}"
    return program.approved(
        *("create-account", "--display-name", "New Person", "--mail-nickname", name),
        *("--user-principal-name", f"{name}@contoso.example"),
    )


def opened(program: Program, key: str) -> dict[str, Any]:
    """What either key opens a request's sealed file to."""
    (file,) = (program.data / "sealed").glob(f"{key}.*.age")
    one, two = (json.loads(pyrage.decrypt(file.read_bytes(), [each])) for each in KEYS)
    assert one == two
    found: dict[str, Any] = one
    return found


def places(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below, as it is and, of a database, every value of every row."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        yield str(path), path.read_bytes()
        if path.suffix in {".sqlite", ".db"}:
            with sqlite3.connect(path) as database:
                names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
                for (name,) in names.fetchall():
                    rows = database.execute(f"SELECT * FROM {name}").fetchall()
                    yield f"{path}: {name}", repr(rows).encode()
            database.close()


def test_a_new_password_is_in_its_sealed_file_and_nowhere_else(program: Program) -> None:
    home = program.folder / "dagster"
    home.mkdir()
    program.env["ENTRA_LOG_LEVEL"] = "DEBUG"
    first, second = asked(program), asked(program)
    job = build_definitions(program.settings()).resolve_job_def(JOB)
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        config = {"mode": "apply", "request": {"filed": {"request_id": first}}}
        ran = job.execute_in_process(instance=instance, run_config=config)
        assert ran.success
        logged = " ".join(str(entry) for entry in instance.all_logs(ran.run_id))
    said = program("apply", "--wait")
    shown = [program(*asked_for) for asked_for in (("show", second), ("show", second, "--json"))]
    secrets = [opened(program, key) for key in (first, second)]
    effects = [each for each in program.simulator.effects() if each["kind"] == "create_user"][-2:]
    for key, secret, effect in zip((first, second), secrets, effects, strict=True):
        # It is the one that the tenant was given, and it came with the account that was asked for.
        digest = hashlib.sha256(secret["password"].encode()).hexdigest()
        assert effect["details"]["password_sha256"] == digest
        assert secret["request"] == key
        told = program.json("show", key)
        assert told["request"]["state"] == "done"
        (file,) = (program.data / "sealed").glob(f"{key}.*.age")
        result = told["operations"][0]["result"]
        assert result[f"sealed:{file.name}"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert told["request"]["identity"].endswith(secret["user_principal_name"])
    (program.folder / "streams.txt").write_text(
        "\n".join([logged, *(part for done in (said, *shown) for part in (done.out, done.err))])
    )
    looked_at = list(places(program.folder))
    names = [name for name, _ in looked_at]
    for part in ("ledger.sqlite: attempts", "dagster", "streams.txt", ".age"):
        assert any(part in name for name in names), part
    # The search itself finds what is there.
    assert any(second.encode() in content for _, content in looked_at)
    for secret in secrets:
        password = secret["password"].encode()
        assert [name for name, content in looked_at if password in content] == []


def test_without_recipients_a_plan_says_which_setting_names_them(program: Program) -> None:
    program.env["ENTRA_SEAL_TO"] = ""
    asked_for = ("create-account", "--display-name", "No One", "--mail-nickname", "no.one")
    key = program.asked(*asked_for, "--user-principal-name", "no.one@contoso.example")
    refused = program.json("plan", key, code=1)["refused"]
    assert "ENTRA_SEAL_TO" in refused[0]["reasons"][0]
    checks = {check.name: check for check in diagnose(program.settings()).checks}
    assert checks["new passwords"].state == "warning"
    assert not (program.data / "sealed").exists()


def test_recipients_are_checked_and_what_is_none_is_not_repeated(program: Program) -> None:
    public = str(KEYS[0].to_public())
    given = program.settings(ENTRA_SEAL_TO=f"{public} {KEYS[1].to_public()},{public}")
    assert given.seal_to == tuple(sorted(str(key.to_public()) for key in KEYS))
    for wrong, said in (
        (str(KEYS[0]), "recipient 2 is a secret key"),
        (public[:-1] + ("q" if public[-1] != "q" else "p"), "recipient 2 is not an age"),
    ):
        with pytest.raises(SettingsError, match=said) as caught:
            program.settings(ENTRA_SEAL_TO=f"{KEYS[1].to_public()} {wrong}")
        assert str(caught.value).startswith("ENTRA_SEAL_TO: ")
        assert wrong not in str(caught.value)


def test_a_backup_holds_sealed_passwords_as_they_are_kept(program: Program) -> None:
    key = asked(program)
    program("apply", "--wait")
    program("backup", str(program.folder / "copy"))
    (kept,) = (program.data / "sealed").iterdir()
    (copied,) = (program.folder / "copy" / "sealed").iterdir()
    assert (copied.name, copied.read_bytes()) == (kept.name, kept.read_bytes())
    assert (copied.stat().st_mode & 0o777, copied.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert copied.name.startswith(key)
