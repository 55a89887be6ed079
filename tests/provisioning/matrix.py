"""What became of every kind in every trouble, as a page: written from a run, not by hand.

    PROVISIONING_MATRIX=docs/provisioning-matrix.md \\
        pytest tests/provisioning/test_failures.py -m soak -k sqlite
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

VARIABLE: Final = "PROVISIONING_MATRIX"
COLUMNS: Final = {
    "twice": "asked for again",
    "answer_lost": "answer lost",
    "request_lost": "request lost",
    "unavailable": "503",
    "killed": "worker killed",
    "behind": "answer lost, reads behind",
}
_HEAD: Final = """# Every kind in every trouble

Written by the tests from a run against the simulated tenant, which counts what was really
changed (`/_sim/effects`). `once`: just the effects named, confirmed by reads, and known as ours.

The troubles: the answer to a write is lost after the tenant did it; the request is lost before;
the service answers 503; the worker is killed (SIGKILL) between the write and its record; reads
do not show the change for a minute and a half, and the answer was lost too. Asked for again: what
a second request for the same comes to.

"""


class Matrix:
    """Cells by kind and column, and the effects of each kind."""

    def __init__(self) -> None:
        self.effects: dict[str, str] = {}
        self.cells: dict[tuple[str, str], str] = {}

    def note(self, kind: str, effects: Sequence[str], column: str, said: str) -> None:
        """Fill a cell."""
        counted = {each: effects.count(each) for each in effects}
        self.effects[kind] = "; ".join(
            f"`{each}`" + (f", {count} of them" if count > 1 else "")
            for each, count in counted.items()
        )
        self.cells[kind, column] = said

    def write(self) -> None:
        """Write the page, if one is wanted."""
        path = os.environ.get(VARIABLE)
        if not path:
            return
        rows = [["kind", "effects", *COLUMNS.values()], ["---"] * (len(COLUMNS) + 2)]
        for kind, effects in self.effects.items():
            cells = [self.cells.get((kind, column), "not run") for column in COLUMNS]
            rows.append([kind.replace("_", " "), effects, *cells])
        lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        Path(path).write_text(f"{_HEAD}{lines}\n", encoding="utf-8")
