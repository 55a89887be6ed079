"""The command line in processes of its own, forked from one that has loaded it and done nothing.

Not from the tests' own process: that has threads by now (Arrow's, DuckDB's), and who waits for one
of them after a fork waits for ever.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from entra_pipeline.cli import main
from entra_pipeline.settings import Settings
from entra_pipeline.simulator.process import Simulator
from tests.cli.program import Done, environment

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "entra_pipeline.cli.provisioning.asking",
        "entra_pipeline.cli.provisioning.deciding",
        "entra_pipeline.cli.provisioning.showing",
        "entra_pipeline.cli.provisioning.working",
        "entra_pipeline.provisioning.applying",
        "entra_pipeline.provisioning.planning",
        "entra_pipeline.provisioning.service",
        __name__,
    ]
)
# A command that takes longer hangs.
_PATIENCE_S: Final = 240.0

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
    """Run the command in a process that has loaded everything already."""
    with tempfile.TemporaryDirectory() as name:
        out, err = Path(name) / "out", Path(name) / "err"
        process = _CONTEXT.Process(
            target=_become, args=(arguments, environment(**env), cwd, out, err)
        )
        process.start()
        process.join(_PATIENCE_S)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"{arguments} takes longer than {_PATIENCE_S} s: {err.read_text()}")
        return Done(process.exitcode, out.read_text(), err.read_text())


def _become(
    arguments: tuple[str, ...], env: Mapping[str, str], cwd: Path, out: Path, err: Path
) -> None:
    code = 70
    try:
        for path, descriptor in ((out, 1), (err, 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
        os.environ.clear()
        os.environ.update(env)
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
