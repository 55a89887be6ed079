"""The options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
Ids = Annotated[bool, typer.Option("--ids", help="Show ids beside the names.")]
