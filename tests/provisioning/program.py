"""The command line with settings that may write, a data directory and a policy of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from entra_pipeline.settings import Settings
from entra_pipeline.simulator.process import Simulator
from tests.cli.program import Done, cli

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
        done = cli(*arguments, env={**self.env, **env}, cwd=self.folder, timeout=_PATIENCE_S)
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
