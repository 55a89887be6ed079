"""Tables, bounds, and the document that shows them."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Bound:
    """One figure and what it may be at most (or at least)."""

    what: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def held(self) -> bool:
        """Whether the figure keeps to its limit."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass(frozen=True)
class Table:
    """Rows of figures under a heading."""

    title: str
    heading: Sequence[str]
    rows: Sequence[Sequence[object]]

    def markdown(self) -> str:
        """As GitHub shows it."""
        lines = [f"## {self.title}", "", "| " + " | ".join(self.heading) + " |"]
        lines.append("|" + "---|" * len(self.heading))
        lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in self.rows]
        return "\n".join(lines) + "\n"


def bounds_table(bounds: Sequence[Bound]) -> Table:
    """All bounds, held or not."""
    return Table(
        "Bounds",
        ["what", "measured", "limit", "held"],
        [
            [
                bound.what,
                f"{bound.value:.2f}",
                f"{'≥' if bound.at_least else '≤'} {bound.limit:.2f}",
                "yes" if bound.held else "**no**",
            ]
            for bound in bounds
        ],
    )


def write(path: Path, tables: Sequence[Table], bounds: Sequence[Bound]) -> None:
    """The document, whole."""
    versions = f"Python {platform.python_version()}, {os.cpu_count()} cores"
    parts = [
        "# Performance",
        "",
        "Written by `make bench`; every comparison is between processes of one run on one machine,",
        "in turn: read the ratios, not the seconds. CPU and memory are the operating system's own",
        "accounting of each finished process.",
        "",
        f"Measured {datetime.now(UTC):%Y-%m-%d} with {versions}.",
        "",
        bounds_table(bounds).markdown(),
        *(table.markdown() for table in tables),
    ]
    path.write_text("\n".join(line.rstrip() for line in "\n".join(parts).splitlines()) + "\n")
