"""The options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from entra_pipeline.cli.output import use_json

Json = Annotated[
    bool,
    typer.Option("--json", callback=use_json, help="One JSON document on standard output."),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Answer from this data directory instead of ENTRA_DATA_DIR.",
        show_default=False,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=0,
        metavar="N",
        help="At most N rows (0: all). Without it: 100 for people, all for --json.",
        show_default=False,
    ),
]
Cursor = Annotated[
    str | None,
    typer.Option(
        "--cursor",
        metavar="TEXT",
        help="Go on where an answer with --limit ended: its cursor.",
        show_default=False,
    ),
]
#: Days of `--unused` when none are given; the warehouse knows of no more.
UNUSED_DAYS = 90
Unused = Annotated[
    int | None,
    typer.Option(
        "--unused",
        min=1,
        max=UNUSED_DAYS,
        metavar="[DAYS]",
        help="Only what has certainly not been used in the last DAYS days (90 unless given).",
        show_default=False,
    ),
]
Ids = Annotated[bool, typer.Option("--ids", help="Show ids beside the names.")]


class UnusedCommand(TyperCommand):
    """A command whose `--unused` may be given without its days, which Typer cannot declare."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put in the days where none follow."""
        given: list[str] = []
        for at, arg in enumerate(args):
            given.append(arg)
            if arg == "--unused" and not (at + 1 < len(args) and args[at + 1].isdigit()):
                given.append(str(UNUSED_DAYS))
        return super().parse_args(ctx, given)
