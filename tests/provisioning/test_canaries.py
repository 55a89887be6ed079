"""Secrets and tokens of the writer are in no file, database, log or event, whatever goes wrong.

Passwords have tests of their own: they are only ever in the sealed file.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from entra_pipeline.definitions import build_definitions
from entra_pipeline.orchestration import home as homes
from entra_pipeline.orchestration.provision import DUE_JOB, JOB
from entra_pipeline.simulator.process import Simulator
from tests.provisioning.program import Program
from tests.provisioning.tenant import Tenant

SECRET = "Canary-5f0c-Secret"
SIGNED = "Canary-91be-Signature"


@pytest.fixture
def program(written_to: Simulator, tmp_path: Path) -> Iterator[Program]:
    yield Program(written_to, tmp_path)
    written_to.faults([])


def canary(token: str) -> str:
    """A token of the tenant with a signature by which it is known anywhere, and nowhere good."""
    head, claims, _ = token.split(".")
    signature = base64.urlsafe_b64encode(SIGNED.encode()).decode().rstrip("=")
    return f"{head}.{claims}.{signature}"


def everything(*folders: Path) -> Iterator[tuple[str, bytes]]:
    """All that was left on disk: files of data, databases with their journals, logs."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                yield str(path.relative_to(folder)), path.read_bytes()


@pytest.mark.timeout(180)
def test_secrets_and_tokens_of_the_writer_are_left_nowhere(
    program: Program, tenant: Tenant, caplog: pytest.LogCaptureFixture, tmp_path_factory: Any
) -> None:
    home = homes.prepare(tmp_path_factory.mktemp("home"))
    said: list[tuple[str, bytes]] = []
    groups = list(tenant.plain())[24:27]
    forged = canary(program.simulator.token(writer=True))
    with dg.DagsterInstance.from_config(str(home)) as instance:

        def applied(*arguments: str, well: bool, **env: str) -> None:
            """From the command line."""
            done = program("apply", *arguments, code=None, **env)
            assert (done.code == 0) is well, done
            said.append(("apply", f"{done.out}{done.err}".encode()))

        def ran(job: str, config: dict[str, Any], *, well: bool, **env: str) -> None:
            """From Dagster."""
            definitions = build_definitions(program.settings(**env))
            run = definitions.resolve_job_def(job).execute_in_process(
                run_config=config, instance=instance, raise_on_error=False
            )
            assert run.success is well, run.all_events
            said.append((f"events of {job}", str(run.all_events).encode()))

        def approved(group: str) -> tuple[str, dict[str, Any]]:
            key = program.approved("grant", tenant.stranger(group), f"group:{group}:member")
            return key, {"request": {"filed": {"request_id": key}}}

        approved(groups[0])
        applied("--wait", well=True)
        _, form = approved(groups[1])
        ran(JOB, {"mode": "apply", **form}, well=True)
        assert len(program.effects()) == 2
        # The tenant refuses the secret.
        key, form = approved(groups[2])
        wrong = {"ENTRA_WRITER_CLIENT_SECRET": SECRET}
        applied("--wait", well=False, **wrong)
        ran(JOB, {"mode": "apply", **form}, well=False, **wrong)
        ran(DUE_JOB, {}, well=False, **wrong)
        # Graph refuses the token.
        patch = [{"op": "replace", "path": "/access_token", "value": forged}]
        rule = {"match": {"path": "oauth2/v2.0/token"}, "when": "after", "patch": patch}
        program.simulator.reset_stats()
        program.simulator.faults([rule])
        ran(JOB, {"mode": "dry_run", **form}, well=False)
        applied(well=False)  # put off: it may be granted yet
        assert b"put off until " in said[-1][1]
        assert b"could not be read" in said[-1][1]
        assert program.simulator.stats()["faults_fired"] >= 2
        assert len(program.effects()) == 2
        shown = program("show", key, "--json")
        said.append(("show", f"{shown.out}{shown.err}".encode()))
        (waits,) = shown.json["request"]["reasons"]
        assert "could not be read" in waits
    info = program.simulator.info
    assert info.writer_client_secret is not None
    wanted = {
        "the writer's secret": info.writer_client_secret,
        "the reader's secret": info.client_secret,
        "a wrong secret": SECRET,
        "a token that Graph refuses": forged.rpartition(".")[2],
        "the claims of a token": forged.split(".")[1],
        "any token": f"{forged.split('.')[0]}.",
    }
    left = [*everything(program.folder, home), *said, ("log", caplog.text.encode())]
    assert len(left) > 10
    assert key.encode() in b"".join(content for _, content in left)
    found = [
        (what, place)
        for what, text in wanted.items()
        for place, content in left
        if text.encode() in content
    ]
    assert found == []
