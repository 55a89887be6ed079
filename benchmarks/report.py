"""Tables, bounds, and the document that shows them.

What a part measured is kept in a file, so that one part can be measured anew without the others.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True)
class Part:
    """What one part measured, and on which day (UTC)."""

    measured: str
    tables: Sequence[Table]
    bounds: Sequence[Bound]

    def save(self, path: Path) -> None:
        """Keep it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), default=str))

    @classmethod
    def load(cls, path: Path) -> Part:
        """What `save` kept."""
        kept = json.loads(path.read_text())
        return cls(
            kept["measured"],
            [Table(**table) for table in kept["tables"]],
            [Bound(**bound) for bound in kept["bounds"]],
        )


def today() -> str:
    """The day of a measurement."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def write(path: Path, parts: Sequence[Part]) -> None:
    """The document, whole."""
    versions = f"Python {platform.python_version()}, {os.cpu_count()} cores"
    days = ", ".join(sorted({part.measured for part in parts}))
    lines = [
        "# Performance",
        "",
        "Written by `make bench`; every comparison is between processes of one run on one machine,",
        "in turn: read the ratios, not the seconds. CPU and memory are the operating system's own",
        "accounting of each finished process.",
        "",
        f"Measured {days} with {versions}.",
        "",
        bounds_table([bound for part in parts for bound in part.bounds]).markdown(),
        *(table.markdown() for part in parts for table in part.tables),
    ]
    path.write_text("\n".join(line.rstrip() for line in "\n".join(lines).splitlines()) + "\n")
