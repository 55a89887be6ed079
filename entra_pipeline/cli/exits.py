"""Exit codes, and the error that carries one. What the codes mean is written here and nowhere else.

Scripts rely on the codes; people rely on the message and on the line that says what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    """Yes; or done. A list may still lack something: its ``complete`` says so."""
    NO = 1
    """A certain no: every table that the answer needs was read whole."""
    USAGE = 2
    """The command or the settings are wrong; nothing was attempted."""
    FAILED = 3
    """It was attempted and did not succeed."""
    UNKNOWN = 4
    """Nothing was found, but a table that the answer needs is incomplete."""
    INTERRUPTED = 130


class CliError(Exception):
    """An end that a person can do something about.

    ``remedy`` is one sentence; ``candidates`` are things the person may have meant, each a mapping
    with ``id``, ``kind`` and ``name``; ``details`` goes into the ``--json`` document as it is.
    """

    def __init__(
        self,
        message: str,
        *,
        code: ExitCode = ExitCode.USAGE,
        remedy: str | None = None,
        candidates: Sequence[dict[str, Any]] = (),
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.remedy = remedy
        self.candidates = list(candidates)
        self.details = details or {}

    def to_json(self) -> dict[str, Any]:
        """Give the error as the document that a program reads in place of an answer."""
        error: dict[str, Any] = {"message": self.message, "exit_code": int(self.code)}
        if self.remedy:
            error["remedy"] = self.remedy
        if self.candidates:
            error["candidates"] = self.candidates
        return {"error": error, **self.details}
