"""What the demo keeps in `.demo/`: the tenant's parameters, so that `serve` can start it again.

The simulated tenant is a function of its parameters. Recorded with its port and its certificate
authority, it comes back the same at the same address; only credentials are made anew.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from entra_pipeline.cli.exits import CliError, ExitCode

if TYPE_CHECKING:
    from entra_pipeline.settings import Settings
    from entra_pipeline.simulator.process import Simulator

HOME = Path(".demo")
_RECORD = "demo.json"
_LOCK = "lock"
_FORMAT = 1


@dataclass(frozen=True)
class Parameters:
    """What the simulated tenant is made of."""

    users: int = 2000
    groups: int = 600
    seed: int = 7
    license: str = "p2"


@dataclass(frozen=True)
class Demo:
    """A demo's directory, the tenant's parameters and the port that it answers on."""

    home: Path
    parameters: Parameters
    port: int = 0

    @property
    def data_dir(self) -> Path:
        """Where the demo's lake, warehouse and books are."""
        return self.home / "data"

    @contextmanager
    def tenant(self) -> Iterator[Simulator]:
        """Run the simulated tenant beside us; it is stopped at the end, however that comes."""
        from entra_pipeline.simulator.process import running

        with running(
            **asdict(self.parameters),
            port=self.port,
            tls_dir=self.home / "simulator",
        ) as simulator:
            yield simulator

    def use(self, simulator: Simulator) -> Settings:
        """Point this process, and those it starts, at the simulated tenant and nothing else.

        Settings of a real tenant in the environment or in `.env` must not leak into the demo, nor
        the demo's runs into a home of Dagster's that is somebody's: every such variable is removed
        and the demo's own file is read.
        """
        from entra_pipeline.settings import PREFIX, Settings

        ours: Mapping[str, str] = {
            **simulator.settings_env(),
            "ENTRA_AUTH": "secret",
            "ENTRA_DATA_DIR": str(self.data_dir.resolve()),
        }
        for name in [*os.environ]:
            if name.startswith(PREFIX) or name == "DAGSTER_HOME":
                del os.environ[name]
        os.environ.update(ours)
        env_file = self.home / "settings.env"
        _write_private(env_file, "".join(f"{name}={value}\n" for name, value in ours.items()))
        return Settings.load(env_file)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory: a demo and a `serve` of it never meet on the same port and files."""
        from filelock import FileLock, Timeout

        self.home.mkdir(mode=0o700, exist_ok=True)
        try:
            with FileLock(self.home / _LOCK, timeout=0):
                yield
        except Timeout:
            raise CliError(
                f"{self.home} is in use by another demo or serve",
                code=ExitCode.FAILED,
                remedy="Stop that one first (ctrl-c in its terminal).",
            ) from None

    def record(self, port: int) -> Demo:
        """Write down what `serve` needs to start the same tenant again."""
        demo = Demo(self.home, self.parameters, port)
        document = {"format": _FORMAT, "port": port, "parameters": asdict(self.parameters)}
        _write_private(self.home / _RECORD, json.dumps(document, indent=2) + "\n")
        return demo

    def clear(self) -> None:
        """Make the directory empty; refuses one that no demo made."""
        if not (self.home / _RECORD).exists() and any(self._contents()):
            raise CliError(
                f"{self.home} holds something that no demo made",
                remedy="Move it away, or run the demo in another directory.",
            )
        for entry in self._contents():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        self.record(0)

    def _contents(self) -> list[Path]:
        return [entry for entry in self.home.iterdir() if entry.name != _LOCK]


def port_of(simulator: Simulator) -> int:
    """Give the port that a simulated tenant answers on."""
    port = urlsplit(simulator.info.graph_url).port
    if port is None:
        raise ValueError(f"{simulator.info.graph_url} names no port")
    return port


def read(home: Path = HOME) -> Demo | None:
    """Give the demo that was run here before; None when there was none."""
    record = home / _RECORD
    try:
        document: dict[str, Any] = json.loads(record.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unreadable(record) from error
    if document.get("format") != _FORMAT or not document.get("port"):
        raise _unreadable(record)
    return Demo(home.absolute(), Parameters(**document["parameters"]), int(document["port"]))


def _unreadable(record: Path) -> CliError:
    return CliError(
        f"{record} is not the record of a finished demo",
        code=ExitCode.USAGE,
        remedy="Run `entra-pipeline demo` once more.",
    )


def _write_private(path: Path, text: str) -> None:
    beside = path.with_name(path.name + ".new")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    beside.replace(path)
