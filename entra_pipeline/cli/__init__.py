"""The command line: what people and scripts type, and what they read back.

Here: parsing, exit codes, tables for people, JSON for programs, the demo. Not here: anything that
talks to Microsoft Graph, reads the lake or decides what access means; commands call the domain.
Every domain import happens inside the command that needs it, so that a question never waits for
Dagster and ``--help`` waits for nothing.
"""

from __future__ import annotations

from entra_pipeline.cli.app import main

__all__ = ["main"]
