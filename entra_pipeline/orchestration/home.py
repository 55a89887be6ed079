"""Where Dagster keeps its records: choosing, making and opening the home (DAGSTER_HOME).

A home is a directory with a `dagster.yaml`. One that exists is used as it is, whatever storage it
names; one that does not is made with ours, readable by its owner alone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import dagster as dg
from dagster._core.instance.ref import InstanceRef

from entra_pipeline.orchestration.sqlite_events import overrides
from entra_pipeline.settings import Settings

CONFIG: Final = "dagster.yaml"
VARIABLE: Final = "DAGSTER_HOME"


class HomeError(RuntimeError):
    """Dagster's home cannot be used; the message says which, why, and what to do."""


def choose(
    settings: Settings, environment: Mapping[str, str], override: Path | None = None
) -> Path:
    """The home to use: `override`, else DAGSTER_HOME, else `dagster` in the data directory.

    Returns an absolute path (Dagster refuses any other); nothing is made yet.
    """
    named = override or (Path(environment[VARIABLE]) if environment.get(VARIABLE) else None)
    return (named or settings.data_dir / ".dagster").expanduser().absolute()


def prepare(home: Path) -> Path:
    """Make the home if there is none; give it our `dagster.yaml` if it has none. Absolute path.

    Raises:
        HomeError: the directory cannot be made or written.
    """
    home = home.expanduser().absolute()
    config = home / CONFIG
    try:
        home.mkdir(parents=True, mode=0o700, exist_ok=True)
        if not config.exists():
            # Renamed into place: two commands started at once must not see half a file.
            draft = home / f".{CONFIG}.{os.getpid()}"
            draft.write_text(template(), encoding="utf-8")
            draft.replace(config)
    except OSError as error:
        raise HomeError(
            f"{home}: cannot be Dagster's home: {error.strerror}. Set {VARIABLE} to a directory "
            "that can be written."
        ) from None
    return home


def template() -> str:
    """The text of the `dagster.yaml` that new homes get."""
    return Path(__file__).with_name(CONFIG).read_text(encoding="utf-8")


@contextmanager
def open_instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """Dagster's records below `home`, open until the end of the block.

    Raises:
        HomeError: the storage that its `dagster.yaml` names cannot be opened.
    """
    # Alembic tells at INFO about every table of a new storage: noise on an operator's console.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        instance = dg.DagsterInstance.from_ref(
            InstanceRef.from_dir(str(home), overrides=overrides(home))
        )
    except Exception as error:
        # The storage's own message may carry its address with the password in it.
        raise HomeError(
            f"{home / CONFIG}: Dagster's storage cannot be opened ({type(error).__name__}). "
            "Correct the file, or the variables that it names."
        ) from None
    with instance:
        yield instance
