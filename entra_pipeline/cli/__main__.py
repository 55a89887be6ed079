"""`python -m entra_pipeline.cli`: the same as the console script."""

from __future__ import annotations

from entra_pipeline.cli.app import main

main()
