"""How far a sync is: a live display in a terminal, plain lines anywhere else; on standard error.

Called from the threads that read; draws at its own pace and never slows them down.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from entra_pipeline.cli import output

if TYPE_CHECKING:
    from entra_pipeline.extract.extraction import Progress


class SyncProgress:
    """Shows the tables being read and counts the finished ones; use as a context manager."""

    def __init__(self, total: int, *, quiet: bool = False) -> None:
        self._total = total
        self._quiet = quiet
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._active: dict[str, Progress] = {}
        self._finished: dict[str, str] = {}
        self._note = "starting"
        self._live: Any = None

    def __enter__(self) -> Self:
        if not self._quiet and output.err().is_terminal:
            from rich.live import Live

            self._live = Live(
                get_renderable=self._draw,
                console=output.err(),
                refresh_per_second=8,
                transient=True,
            )
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def note(self, text: str) -> None:
        """Say what is being done now, when it is not the reading of tables."""
        with self._lock:
            self._note = text
        if self._live is None:
            self._line(text)

    def __call__(self, progress: Progress) -> None:
        """Take one report of the extract: a table moved on, or is settled."""
        with self._lock:
            self._note = "reading"
            if progress.status is None:
                self._active[progress.table] = progress
                return
            self._active.pop(progress.table, None)
            again = progress.table in self._finished
            self._finished[progress.table] = str(progress.status)
            if len(self._finished) >= self._total:
                self._note = "checking what was read"
        if self._live is None and not again:
            self._line(
                f"[{len(self._finished):>2}/{self._total}] {progress.table:<38} "
                f"{progress.status!s:<11} {output.count(progress.rows, 'row'):>14}"
            )

    def _line(self, text: str) -> None:
        if not self._quiet:
            seconds = time.monotonic() - self._started
            output.err().print(f"{seconds:6.1f} s  {text}", markup=False)

    def _draw(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        with self._lock:
            active = sorted(self._active.values(), key=lambda item: item.table)
            done, note = len(self._finished), self._note
        head = Table.grid(padding=(0, 1))
        head.add_row(
            ProgressBar(total=max(self._total, 1), completed=done, width=30),
            f"{done}/{self._total} tables",
            f"{time.monotonic() - self._started:.0f} s",
            "" if active else note,
        )
        lines = Table.grid(padding=(0, 2))
        for item in active[:8]:
            rows = f"{item.rows:,}" + (f" of {item.expected:,}" if item.expected else "")
            lines.add_row(f"  {item.table}", str(item.phase), f"{rows} rows")
        if len(active) > 8:
            lines.add_row(f"  and {len(active) - 8} more")
        return Group(head, lines) if active else head
