"""Parts of the documentation that are made from declarations, so that they cannot go stale.

`python -m entra_pipeline.cli.readme` writes the permission tables of the README and of the page on
provisioning between their markers; `tests/test_docs.py` fails when they differ from what this
module would write.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from entra_pipeline.provisioning.permissions import NEEDS, Need
from entra_pipeline.tables import TABLES, Table

BEGIN = "<!-- begin: permissions, written by `make docs` -->"
END = "<!-- end: permissions -->"
PROVISIONING = Path("docs/provisioning.md")
BEGIN_WRITES = "<!-- begin: writes, written by `make docs` -->"
END_WRITES = "<!-- end: writes -->"
_BROAD = "Directory.Read.All"


def unlocked(granted: Iterable[str]) -> list[Table]:
    """Give the tables that an application with these permissions can read."""
    held = set(granted)
    return [
        table
        for table in TABLES.values()
        if table.permissions
        and (held.issuperset(table.permissions) if table.all_of else held & set(table.permissions))
    ]


def narrowest() -> dict[str, list[Table]]:
    """Give the most specific permissions, each with the tables that it is the choice for."""
    chosen: dict[str, list[Table]] = {}
    for table in TABLES.values():
        for name in table.permissions if table.all_of else table.permissions[:1]:
            chosen.setdefault(name, []).append(table)
    # The broad one, which some table has no narrower alternative to, would make the others idle.
    return dict(sorted(chosen.items(), key=lambda item: (item[0] == _BROAD, item[0])))


def fewest() -> list[str]:
    """Give few permissions for everything: each next one unlocks the most that is still missing."""
    needed = {table.name for table in TABLES.values() if table.permissions}
    every = {name for table in TABLES.values() for name in table.permissions}
    chosen: list[str] = []
    while len(unlocked(chosen)) < len(needed):
        best = max(sorted(every - set(chosen)), key=lambda name: _gain(chosen, name))
        chosen.append(best)
    return chosen


def _gain(chosen: list[str], name: str) -> tuple[int, int]:
    # A permission that only helps together with another unlocks nothing alone: the second figure
    # counts the tables that mention it, so that such pairs are reached too.
    missing = [t for t in TABLES.values() if t.permissions and t not in unlocked(chosen)]
    return len(unlocked([*chosen, name])), sum(name in table.permissions for table in missing)


def permission_tables() -> str:
    """Write both ways of granting, each permission with the tables that it unlocks."""
    few = fewest()
    rows = []
    for at, permission in enumerate(few):
        before = unlocked(few[:at])
        rows.append((permission, [t for t in unlocked(few[: at + 1]) if t not in before]))
    return "\n".join(
        [
            f"**Few consents**: {len(few)} permissions, each with the tables that it adds to those "
            "of the rows above it.",
            "",
            *_rows(rows),
            "",
            "**Or the narrowest**: each permission with the tables that need it and nothing more. "
            f"`{_BROAD}` includes most of the others: leave it out unless you want its own table.",
            "",
            *_rows(narrowest().items()),
        ]
    )


def _rows(rows: Iterable[tuple[str, list[Table]]]) -> list[str]:
    lines = ["| Application permission | Tables it unlocks |", "|---|---|"]
    for permission, tables in rows:
        names = ", ".join(f"`{table.name}`{_licence(table)}" for table in tables)
        lines.append(f"| `{permission}` | {names} |")
    return lines


def _licence(table: Table) -> str:
    return f" ({table.license.upper()})" if table.license else ""


def write_permissions() -> str:
    """Write what each kind of write takes, those with the same needs in one row."""
    same: dict[Need, list[str]] = {}
    for action, need in NEEDS.items():
        same.setdefault(need, []).append(action.value)
    lines = ["| Kinds of writes | Permissions | For some objects also | |", "|---|---|---|---|"]
    for need, actions in same.items():
        needed = "; ".join(" or ".join(f"`{name}`" for name in each) for each in need.permissions)
        more = "; ".join(f"{what}: `{name}`" for what, name in need.more)
        roles = [f"a directory role such as {need.role}"] if need.roles else []
        roles += ["administrators"] if need.administrators else []
        names = ", ".join(f"`{action}`" for action in actions)
        lines.append(f"| {names} | {needed} | {more} | {', '.join(roles)} |")
    return "\n".join(lines)


def refreshed(text: str) -> str:
    """Give the README with its permission tables written anew."""
    return _between(text, BEGIN, END, permission_tables())


def refreshed_writes(text: str) -> str:
    """Give the page on provisioning with its permission table written anew."""
    return _between(text, BEGIN_WRITES, END_WRITES, write_permissions())


def _between(text: str, begin: str, end: str, written: str) -> str:
    head, found, rest = text.partition(begin)
    _stale, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the document lacks the markers {begin} and {end}")
    return f"{head}{begin}\n{written}\n{end}{tail}"


def main() -> int:
    """Write the tables anew."""
    for page, write in ((Path("README.md"), refreshed), (PROVISIONING, refreshed_writes)):
        page.write_text(write(page.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
