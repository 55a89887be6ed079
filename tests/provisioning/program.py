"""The command line in processes of its own, forked from this one: loaded once, run many times."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.cli import main
from entra_pipeline.settings import Settings
from entra_pipeline.simulator.process import Simulator
from tests.cli.program import Done, environment

ALONE = """\
version: 1
os_user_approves: true
separate: {requester: false, beneficiary: true}
"""


class Program:
    """The command line with a data directory and a policy of its own."""

    def __init__(self, simulator: Simulator, folder: Path) -> None:
        self.simulator, self.folder, self.data = simulator, folder, folder / "data"
        info = simulator.info
        assert info.writer_client_id is not None
        assert info.writer_client_secret is not None
        self.env = {
            **simulator.settings_env(),
            "ENTRA_DATA_DIR": str(self.data),
            "ENTRA_WRITER_CLIENT_ID": info.writer_client_id,
            "ENTRA_WRITER_CLIENT_SECRET": info.writer_client_secret,
            "ENTRA_PROVISIONING": "true",
            "ENTRA_POLICY_FILE": str(folder / "policy.yaml"),
            "ENTRA_VERIFY_READS": "2",
            "ENTRA_VERIFY_EVERY_SECONDS": "0.05",
        }
        self.policy(ALONE)
        self._seen = len(simulator.effects())

    def policy(self, text: str) -> None:
        (self.folder / "policy.yaml").write_text(text)

    def settings(self, **env: str) -> Settings:
        """The settings that the commands run with."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**self.env, **env}.items():
                patch.setenv(name, value)
            return Settings.load()

    def __call__(self, *arguments: str, code: int | None = 0, **env: str) -> Done:
        done = forked(*arguments, env={**self.env, **env}, cwd=self.folder)
        assert code is None or done.code == code, (done.code, done.out, done.err)
        return done

    def json(self, *arguments: str, code: int | None = 0, **env: str) -> Any:
        return self(*arguments, "--json", code=code, **env).json

    def asked(self, *arguments: str) -> str:
        found: str = self.json("request", *arguments, "--reason", "ticket 4711")["requests"][0][
            "id"
        ]
        return found

    def planned(self, key: str) -> str:
        found: str = self.json("plan", key)["plan"]["hash"]
        return found

    def approved(self, *arguments: str) -> str:
        key = self.asked(*arguments)
        self("approve", key, "--plan", self.planned(key))
        return key

    def effects(self) -> list[tuple[str, str, str | None]]:
        return [
            (each["kind"], each["target"], each["principal"])
            for each in self.simulator.effects(self._seen)
        ]


def forked(*arguments: str, env: Mapping[str, str], cwd: Path) -> Done:
    """Run the command in a child of this process, which has loaded everything already."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            _become(arguments, env, cwd, out.fileno(), err.fileno())
        _, status = os.waitpid(child, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return Done(os.waitstatus_to_exitcode(status), *texts)


def _become(
    arguments: tuple[str, ...], env: Mapping[str, str], cwd: Path, out: int, err: int
) -> None:
    code = 70
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
        kept = environment(**env)
        os.environ.clear()
        os.environ.update(kept)
        os.chdir(cwd)
        sys.argv = ["entra-pipeline", *arguments]
        main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Nothing of the parent's is to be ended or cleaned up by the child.
        os._exit(code)
