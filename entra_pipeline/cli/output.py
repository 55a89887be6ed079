"""What a command prints: tables for people, one JSON document for programs.

Answers go to standard output; progress, logs and errors go to standard error. With ``--json`` the
standard output holds exactly one document, also when the command fails.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from entra_pipeline.cli.exits import CliError

if TYPE_CHECKING:
    from rich.console import Console

#: Wide enough that a table in a pipe or a file is never cut.
_UNLIMITED = 100_000

# What a terminal obeys or hides instead of showing. Names are chosen by whoever is in the
# directory, guests too: they must neither clear a screen nor forge a line of an answer.
_OBEYED = {
    **{code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))},
    **{ord(char): name for char, name in (("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"))},
    **{
        code: f"\\u{code:04x}"
        for code in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    },
}
_OBEYED_IN_LINES = {code: name for code, name in _OBEYED.items() if code != ord("\n")}

#: Characters up to which a column is never made narrower.
SHORT = 20

#: The exit code of a program killed by SIGPIPE: what `entra-pipeline … | head` ends with.
_BROKEN_PIPE = 141


@dataclass
class _Mode:
    json: bool = False
    tracebacks: bool = False
    consoles: dict[str, Console] = field(default_factory=dict)


_mode = _Mode()


def use_json(wanted: bool) -> bool:
    """Remember that this process answers in JSON (the callback of every ``--json``)."""
    _mode.json = wanted
    return wanted


def is_json() -> bool:
    """Tell whether this process answers in JSON."""
    return _mode.json


def use_tracebacks(wanted: bool) -> None:
    """Remember whether unexpected errors show where they happened."""
    _mode.tracebacks = wanted


def tracebacks() -> bool:
    """Tell whether unexpected errors show where they happened."""
    return _mode.tracebacks


def out() -> Console:
    """Give the console on standard output."""
    return _console("out")


def err() -> Console:
    """Give the console on standard error."""
    return _console("err")


def _console(name: str) -> Console:
    if name not in _mode.consoles:
        from rich.console import Console

        stream = sys.stderr if name == "err" else sys.stdout
        width = None if stream.isatty() or "COLUMNS" in os.environ else _UNLIMITED
        _mode.consoles[name] = Console(
            stderr=name == "err", width=width, highlight=False, soft_wrap=width is not None
        )
    return _mode.consoles[name]


def say(text: str, *, style: str | None = None) -> None:
    """Print a line for people on standard error, unless a program is reading."""
    if not _mode.json:
        err().print(text.translate(_OBEYED_IN_LINES), style=style, markup=False)


def print_json(document: Any) -> None:
    """Print the one document; times RFC 3339 in UTC, what JSON cannot hold as text or null."""
    indent = 2 if sys.stdout.isatty() else None
    ascii_only = "utf" not in (sys.stdout.encoding or "").lower()
    try:
        text = json.dumps(
            document, ensure_ascii=ascii_only, allow_nan=False, default=plain, indent=indent
        )
    except (ValueError, TypeError):
        text = json.dumps(_deep(document), ensure_ascii=ascii_only, indent=indent)
    write(text + "\n")


def write(text: str) -> None:
    """Write to standard output; end quietly when the reader of a pipe has gone."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        leave_broken_pipe()


def leave_broken_pipe() -> NoReturn:
    """End as a program whose reader went away: quietly."""
    # Python would complain a second time while it flushes at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(_BROKEN_PIPE) from None


def plain(value: Any) -> Any:
    """Turn one value of a warehouse into what JSON can hold."""
    match value:
        case datetime():
            moment = value if value.tzinfo else value.replace(tzinfo=UTC)
            return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case bytes():
            return value.hex()
        case set() | frozenset() | tuple():
            return list(value)
    return str(value)


def _deep(value: Any) -> Any:
    match value:
        case dict():
            return {str(key): _deep(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_deep(item) for item in value]
        case float():
            return value if math.isfinite(value) else None
        case None | bool() | int() | str():
            return value
    return plain(value)


def cell(value: Any) -> str:
    """Write one value for people."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.3f}".rstrip("0").rstrip(".")
        case datetime():
            moment = value.astimezone(UTC) if value.tzinfo else value
            return moment.strftime("%Y-%m-%d %H:%M")
        case str():
            return value.translate(_OBEYED)
        case list() | tuple():
            return ", ".join(cell(item) for item in value)
        case dict():
            return json.dumps(_deep(value), ensure_ascii=False).translate(_OBEYED)
    return str(plain(value))


def moment(value: str | datetime | None) -> str:
    """Write a time, given as RFC 3339 text or as a value, for people: minutes, in UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return str(value)
    return cell(value)


@dataclass(frozen=True)
class Col:
    """One column of a table for people."""

    title: str
    right: bool = False
    wrap: bool = False
    style: str | None = None


def print_table(
    columns: Sequence[Col | str], rows: Iterable[Sequence[Any]], *, title: str | None = None
) -> None:
    """Print a table for people. Markup in the values is shown, never obeyed."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    cells = [[v if isinstance(v, Text) else Text(cell(v)) for v in row] for row in rows]
    table = Table(
        box=box.SIMPLE_HEAD,
        title=escape(title) if title else None,
        title_justify="left",
        title_style="bold",
        show_edge=False,
        pad_edge=False,
    )
    for at, column in enumerate(columns):
        col = Col(column) if isinstance(column, str) else column
        widest = max(len(col.title), *(row[at].cell_len for row in cells), 0)
        table.add_column(
            escape(col.title),
            justify="right" if col.right else "left",
            no_wrap=not col.wrap,
            overflow="fold" if col.wrap else "ellipsis",
            style=col.style,
            # Where it is narrow, long columns give way; what is short stays whole.
            min_width=widest if widest <= SHORT else None,
        )
    for row in cells:
        table.add_row(*row)
    show(table)


def print_fields(fields: Iterable[tuple[str, Any]]) -> None:
    """Print names and values, a line each, without those that are empty."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in fields:
        if value is not None:
            grid.add_row(Text(name), Text(cell(value)))
    show(grid)


def show(renderable: Any, *, style: str | None = None, breaks: bool = True) -> None:
    """Print anything for people on standard output; a command to be copied without `breaks`."""
    console = out()
    if isinstance(renderable, str):
        renderable = renderable.translate(_OBEYED_IN_LINES)
    soft_wrap = None if breaks else True
    if console.is_terminal:
        console.print(renderable, style=style, soft_wrap=soft_wrap)
        return
    # Tables are padded with spaces to the end of the line; a pipe or a file wants none.
    with console.capture() as capture:
        console.print(renderable, style=style, soft_wrap=soft_wrap)
    write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Write ``1 user``, ``2,000 users``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def report(error: CliError) -> None:
    """Print an error: as the document when a program reads, otherwise for people on stderr."""
    if _mode.json:
        print_json(error.to_json())
        return
    from rich.markup import escape

    console = err()
    console.print(f"[bold red]error:[/] {escape(error.message.translate(_OBEYED_IN_LINES))}")
    for candidate in error.candidates:
        kind, name, identity = (cell(candidate.get(key) or "") for key in ("kind", "name", "id"))
        console.print(
            f"  [bold]{escape(str(name))}[/]  {escape(str(kind))}  [dim]{escape(str(identity))}[/]"
        )
    if error.remedy:
        console.print(escape(error.remedy))
