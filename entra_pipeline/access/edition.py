"""Which code made a warehouse: another text of it may make other rows out of the same tables."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

# What building consists of.
_BUILT_BY: Final = ("access", "tables")


@cache
def edition() -> str:
    """A short hash of the code that makes a warehouse out of tables."""
    sha = hashlib.sha256()
    for part in _BUILT_BY:
        for name, text in sorted(_texts(files("entra_pipeline") / part, part)):
            sha.update(f"{name}\n{len(text)}\n".encode())
            sha.update(text)
    return sha.hexdigest()[:12]


def _texts(folder: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.name.startswith("__"):
            yield from _texts(entry, f"{name}/{entry.name}")
        elif entry.name.endswith((".py", ".sql")):
            yield f"{name}/{entry.name}", entry.read_bytes()
