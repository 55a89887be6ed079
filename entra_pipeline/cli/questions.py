"""The questions: `access`, `who-can`, `explain`, `query`.

Each asks the warehouse once and prints the answer it gives; what people see is made from the same
document that `--json` prints, so the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, NoReturn

import typer

from entra_pipeline.cli import moments, options, output
from entra_pipeline.cli.exits import ExitCode
from entra_pipeline.cli.output import Col, count
from entra_pipeline.cli.warehouse import (
    dated,
    find_entitlement,
    find_principal,
    look_back,
    open_for,
    open_warehouse,
)

#: Characters of a value by which a wide result is judged: longer ones can be broken into lines.
_LONG = 40

#: What people get to see of a long answer unless they ask for more.
PEOPLE = 100

Principal = Annotated[
    str,
    typer.Argument(
        metavar="PRINCIPAL",
        help="Object id, user principal name, mail, application id or unique display name.",
        show_default=False,
    ),
]
Entitlement = Annotated[
    str,
    typer.Argument(
        metavar="ENTITLEMENT",
        help="Id (role:…, group:…:member, app:…) or the name shown by `access`.",
        show_default=False,
    ),
]


def access(
    principal: Principal,
    json_: options.Json = False,
    limit: options.Limit = None,
    cursor: options.Cursor = None,
    ids: options.Ids = False,
    unused: options.Unused = None,
    as_of: moments.AsOf = None,
    data_dir: options.DataDir = None,
) -> None:
    """Everything a principal can reach, and whether it is used.

    [bold]Examples[/]

      entra-pipeline access anna.berg@contoso.com

      entra-pipeline access anna.berg@contoso.com --unused 30

      entra-pipeline access "Payroll sync" --json
    """
    when = look_back(data_dir, as_of)
    with open_for(data_dir, principal, when) as warehouse:
        found = find_principal(warehouse, principal)
        answer = warehouse.access(found, limit=_limit(limit), cursor=cursor, unused=unused)
    document = {**dated(when), **answer.to_json()}
    _give(
        document,
        "principal",
        _ordered(document, "entitlements", cursor, _by_tier),
        f"{_only(unused)}entitlement",
        [
            ("Kind", lambda row: _words(row["resource"]["kind"])),
            ("Entitlement", lambda row: row["name"]),
            ("Tier", lambda row: row["tier"]),
        ],
        ids=("Entitlement id", lambda row: row["entitlement_id"]) if ids else None,
    )


def who_can(
    entitlement: Entitlement,
    json_: options.Json = False,
    limit: options.Limit = None,
    cursor: options.Cursor = None,
    ids: options.Ids = False,
    unused: options.Unused = None,
    as_of: moments.AsOf = None,
    data_dir: options.DataDir = None,
) -> None:
    """Everyone who has an entitlement, directly or through groups, active or eligible.

    [bold]Examples[/]

      entra-pipeline who-can "Global Administrator"

      entra-pipeline who-can group:6f1c…:member --json --limit 1000

      entra-pipeline who-can "Payroll: default access" --unused
    """
    when = look_back(data_dir, as_of)
    with open_warehouse(data_dir, when) as warehouse:
        found = find_entitlement(warehouse, entitlement)
        answer = warehouse.who_can(found, limit=_limit(limit), cursor=cursor, unused=unused)
    document = {**dated(when), **answer.to_json()}
    _give(
        document,
        "entitlement",
        _ordered(document, "principals", cursor, _by_kind),
        f"{_only(unused)}holder",
        [
            ("Kind", lambda row: _words(row["kind"])),
            ("Principal", lambda row: row["name"]),
            ("Enabled", lambda row: row["enabled"]),
        ],
        ids=("Principal id", lambda row: row["principal_id"]) if ids else None,
    )


def explain(
    principal: Principal,
    entitlement: Entitlement,
    json_: options.Json = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, metavar="N", help="At most N paths.", show_default=False),
    ] = None,
    as_of: moments.AsOf = None,
    data_dir: options.DataDir = None,
) -> None:
    """Why a principal has an entitlement: every path, step by step.

    [bold]Example[/]

      entra-pipeline explain anna.berg@contoso.com "Global Administrator"
    """
    when = look_back(data_dir, as_of)
    with open_warehouse(data_dir, when) as warehouse:
        who = find_principal(warehouse, principal)
        what = find_entitlement(warehouse, entitlement)
        answer = warehouse.explain(who, what, limit=limit)
    document = {**dated(when), **answer.to_json()}
    if output.is_json():
        output.print_json(document)
    else:
        paths = document["paths"]
        found = count(len(paths), "path") if paths else "no path"
        if paths and document["usage_signal"]:
            found += f"; use: {_used(document)}"
        _headline(f"{_named(document['principal'])} → {_named(document['entitlement'])}", found)
        for number, path in enumerate(paths, start=1):
            _path(number, path, document["entitlement"])
        if document["truncated"]:
            output.say("There are, or may be, more paths than these.")
        _rest(document)
    _end(document, rows=document["paths"])


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One statement that only reads.")],
    json_: options.Json = False,
    limit: options.Limit = None,
    as_of: moments.AsOf = None,
    data_dir: options.DataDir = None,
) -> None:
    """Read the warehouse with SQL (DuckDB's); nothing can be written.

    `entra-pipeline tables` lists what is there. Whole tables are better taken with `export`.

    [bold]Examples[/]

      entra-pipeline query "SELECT kind, count(*) FROM principals GROUP BY kind"

      entra-pipeline query "FROM who_can('role:62e90394-69f5-4237-9190-012177145e10@/')" --json
    """
    when = look_back(data_dir, as_of)
    with open_warehouse(data_dir, when) as warehouse:
        answer = warehouse.query(sql, limit=_limit(limit))
    document = {**dated(when), **answer.to_json()}
    if output.is_json():
        output.print_json(document)
    else:
        _print_rows(answer.columns, answer.rows)
        found = count(len(answer.rows), "row")
        _headline("", f"the first {found}" if answer.truncated else found)
        _rest(document)
    if not document["rows"] and not document["complete"]:
        raise typer.Exit(ExitCode.UNKNOWN)


def _print_rows(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print the rows of any query: as a table, or row by row where that could not be read."""
    widths = [
        max(len(output.cell(value)) for value in values) for values in zip(*rows, strict=True)
    ]
    if sum(min(width, _LONG) + 3 for width in widths) > 2 * output.out().width:
        for number, row in enumerate(rows, start=1):
            output.show(f"[dim]row {number}[/]")
            output.print_fields(zip(names, row, strict=True))
        return
    columns = []
    for at, name in enumerate(names):
        values = [row[at] for row in rows]
        long = bool(rows) and widths[at] > output.SHORT
        columns.append(Col(name, right=_numeric(values), wrap=long))
    output.print_table(columns, rows)


def _numeric(values: Iterable[Any]) -> bool:
    kinds = {type(value) for value in values} - {type(None)}
    return bool(kinds) and kinds <= {int, float}


def _limit(given: int | None) -> int | None:
    if given is None:
        return None if output.is_json() else PEOPLE
    return given or None


def _give(
    document: dict[str, Any],
    about: str,
    rows: list[dict[str, Any]],
    what: str,
    columns: list[tuple[str, Any]],
    *,
    ids: tuple[str, Any] | None,
) -> None:
    """Print who holds what, or the document itself, and end as the answer is complete or not.

    `columns` are those of what is held, or of who holds it; how it is held is told alike.
    """
    if output.is_json():
        output.print_json(document)
    else:
        _headline(_named(document[about]), _counted(document, rows, what))
        how = [
            ("State", lambda row: row["state"]),
            ("How", _how),
            ("Paths", lambda row: row["paths"]),
        ]
        _list(rows, [*columns, *how, *_use_column(rows)], ids=ids)
        _rest(document)
    _end(document, rows=rows)


def _ordered(
    document: dict[str, Any],
    key: str,
    cursor: str | None,
    order: Callable[[dict[str, Any]], tuple[Any, ...]],
) -> list[dict[str, Any]]:
    """Give the rows in the order that people look for; pages keep the order of their cursors."""
    rows: list[dict[str, Any]] = document[key]
    return rows if cursor or document["cursor"] else sorted(rows, key=order)


_KINDS = ("all_users", "group", "user", "guest", "service_principal", "managed_identity")


def _by_kind(row: dict[str, Any]) -> tuple[Any, ...]:
    place = _KINDS.index(row["kind"]) if row["kind"] in _KINDS else len(_KINDS)
    return not row["direct"], place, row["kind"], row["name"] or "", row["state"]


def _by_tier(row: dict[str, Any]) -> tuple[Any, ...]:
    tier = row["tier"]
    return tier is None, tier, row["resource"]["kind"], row["name"], row["state"]


def _headline(what: str, found: str) -> None:
    from rich.markup import escape

    what = escape(output.cell(what))
    output.show(f"[bold]{what}[/]{': ' if what else ''}{escape(found)}")


def _counted(document: dict[str, Any], rows: Sequence[Any], what: str) -> str:
    more = "the first " if document["cursor"] else ""
    return more + count(len(rows), what) if rows else f"no {what}"


def _list(
    rows: Sequence[dict[str, Any]],
    columns: list[tuple[str, Any]],
    *,
    ids: tuple[str, Any] | None,
) -> None:
    if not rows:
        return
    shown = [*columns, ids] if ids else columns
    output.print_table(
        [Col(title, right=title in _NUMBERS, wrap=title in _NAMES) for title, _ in shown],
        ([value(row) for _, value in shown] for row in rows),
    )


_NUMBERS = {"Paths", "Tier"}
_NAMES = {"Entitlement", "Principal", "Entitlement id", "Principal id"}


def _named(thing: dict[str, Any]) -> str:
    """Write a principal or an entitlement as people name it: its name, then what tells it apart."""
    if "entitlement_id" in thing:
        return output.cell(thing["name"])
    more = [_words(thing["kind"]), thing.get("user_principal_name"), thing.get("azure_resource_id")]
    if thing["enabled"] is False:
        more.append("disabled")
    return output.cell(f"{thing['name'] or thing['id']} ({', '.join(filter(None, more))})")


def _words(name: str | None) -> str:
    return (name or "").replace("_", " ")


def _how(row: dict[str, Any]) -> str:
    if not row["direct"]:
        return f"by {count(row['depth'], 'group')}"
    return "direct" if row["paths"] == 1 else "direct and by group"


def _use_column(rows: Sequence[dict[str, Any]]) -> list[tuple[str, Any]]:
    """Give the column of use, unless nothing is known of the use of any row."""
    return [("Used", _used)] if any(row["used"] != "unknown" for row in rows) else []


def _only(unused: int | None) -> str:
    return "" if unused is None else "unused "


def _used(row: dict[str, Any]) -> str:
    """The day of the last use, else what is known of it."""
    return row["last_used"][:10] if row["used"] == "used" else str(row["used"])


def _path(number: int, steps: Sequence[dict[str, Any]], entitlement: dict[str, Any]) -> None:
    """Print one path as a staircase: who, then each thing that the one before gives."""
    from rich.markup import escape

    output.show(f"[dim]{number:>3}.[/] {escape(output.cell(_node(steps[0]['from'])))}")
    for depth, step in enumerate(steps, start=1):
        how = _words(step["kind"]) + (", eligible" if step["state"] == "eligible" else "")
        last = step["via"] == entitlement["entitlement_id"]
        what = output.cell(entitlement["name"]) if last else _node(step["to"])
        output.show(f"  {'   ' * depth}[dim]└─ {escape(how)}:[/] {escape(output.cell(what))}")


def _node(end: dict[str, Any]) -> str:
    return output.cell(f"{end['name'] or end['id']} ({_words(end['kind'])})")


def _rest(document: dict[str, Any]) -> None:
    """Say what the answer leaves out: rows cut by the limit, tables that are incomplete."""
    if may_be := document.get("usage", {}).get("unknown"):
        output.say(f"Of {may_be:,} more it is not known whether they were used.")
    if document.get("cursor") or document.get("truncated"):
        output.say("There is more: --limit 0 shows all.")
    if not document["complete"]:
        lines = [
            f"  {row['table']}: {row['status']}: {row['reason']}" for row in document["missing"]
        ]
        output.say("This may lack something; these tables are incomplete:", style="yellow")
        output.say("\n".join(lines))


def _end(document: dict[str, Any], *, rows: Sequence[Any]) -> NoReturn:
    if rows:
        raise typer.Exit(ExitCode.OK)
    certain = document["complete"] and not document.get("usage", {}).get("unknown")
    raise typer.Exit(ExitCode.NO if certain else ExitCode.UNKNOWN)
