"""The questions: `access`, `who-can`, `explain`, `query`.

Each asks the warehouse once and prints the answer it gives; what people see is made from the same
document that `--json` prints, so the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from entra_pipeline.cli import options, output
from entra_pipeline.cli.exits import ExitCode
from entra_pipeline.cli.output import Col, count
from entra_pipeline.cli.warehouse import find, open_warehouse

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
    data_dir: options.DataDir = None,
) -> None:
    """Everything a principal can reach.

    [bold]Examples[/]

      entra-pipeline access anna.berg@contoso.com

      entra-pipeline access "Payroll sync" --json
    """
    with open_warehouse(data_dir) as warehouse:
        found = find(warehouse, "principal", principal)
        answer = warehouse.access(found.id, limit=_limit(limit), cursor=cursor)
        document = answer.to_json()
    if output.is_json():
        output.print_json(document)
    else:
        rows = document["entitlements"]
        who = _named(document["principal"])
        _headline(f"{who} holds {count(_total(document, rows), 'entitlement')}")
        _list(
            rows,
            [
                ("Kind", lambda row: _kind(row["resource"]["kind"])),
                ("Resource", lambda row: row["resource"]["name"]),
                ("Entitlement", lambda row: row["name"]),
                ("State", lambda row: row["state"]),
                ("Scope", lambda row: _scope(row.get("scope"))),
                ("How", _how),
                ("Paths", lambda row: row["paths"]),
            ],
            ids=("Entitlement id", lambda row: row["entitlement_id"]) if ids else None,
        )
        _rest(document)
    _end(document, document["entitlements"])


def who_can(
    entitlement: Entitlement,
    json_: options.Json = False,
    limit: options.Limit = None,
    cursor: options.Cursor = None,
    ids: options.Ids = False,
    data_dir: options.DataDir = None,
) -> None:
    """Everyone who has an entitlement, directly or through groups, active or eligible.

    [bold]Examples[/]

      entra-pipeline who-can "Global Administrator"

      entra-pipeline who-can group:6f1c…:member --json --limit 1000
    """
    with open_warehouse(data_dir) as warehouse:
        found = find(warehouse, "entitlement", entitlement)
        answer = warehouse.who_can(found.id, limit=_limit(limit), cursor=cursor)
        document = answer.to_json()
    if output.is_json():
        output.print_json(document)
    else:
        rows = document["principals"]
        what = _named(document["entitlement"])
        _headline(f"{what}: {count(_total(document, rows), 'holder')}")
        _list(
            rows,
            [
                ("Kind", lambda row: _kind(row["kind"])),
                ("Principal", lambda row: row["name"]),
                ("Enabled", lambda row: row["enabled"]),
                ("State", lambda row: row["state"]),
                ("How", _how),
                ("Paths", lambda row: row["paths"]),
            ],
            ids=("Principal id", lambda row: row["principal_id"]) if ids else None,
        )
        _rest(document)
    _end(document, document["principals"])


def explain(
    principal: Principal,
    entitlement: Entitlement,
    json_: options.Json = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, metavar="N", help="At most N paths.", show_default=False),
    ] = None,
    data_dir: options.DataDir = None,
) -> None:
    """Why a principal has an entitlement: every path, step by step.

    [bold]Example[/]

      entra-pipeline explain anna.berg@contoso.com "Global Administrator"
    """
    with open_warehouse(data_dir) as warehouse:
        who = find(warehouse, "principal", principal)
        what = find(warehouse, "entitlement", entitlement)
        bound = {} if limit is None else {"limit": limit}
        document = warehouse.explain(who.id, what.id, **bound).to_json()
    if output.is_json():
        output.print_json(document)
    else:
        paths = document["paths"]
        if paths:
            _headline(f"{who.name} → {what.name}: {count(len(paths), 'path')}")
            for number, path in enumerate(paths, start=1):
                _path(number, path)
        else:
            _headline(f"{who.name} → {what.name}: no path")
        if document["truncated"]:
            output.say("There are more paths; --limit raises the number shown.")
        _rest(document)
    _end(document, document["paths"])


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One statement that only reads.")],
    json_: options.Json = False,
    limit: options.Limit = None,
    data_dir: options.DataDir = None,
) -> None:
    """Read the warehouse with SQL (DuckDB's); nothing can be written.

    `entra-pipeline tables` lists what is there. Whole tables are better taken with `export`.

    [bold]Examples[/]

      entra-pipeline query "SELECT kind, count(*) FROM principals GROUP BY kind"

      entra-pipeline query "FROM who_can('role:62e90394-69f5-4237-9190-012177145e10@/')" --json
    """
    with open_warehouse(data_dir) as warehouse:
        document = warehouse.query(sql, limit=_limit(limit)).to_json()
    rows: list[list[Any]] = document["rows"]
    if output.is_json():
        output.print_json(document)
    else:
        numeric = [
            bool(rows) and all(isinstance(row[at], int | float | None) for row in rows)
            for at in range(len(document["columns"]))
        ]
        output.print_table(
            [
                Col(name, right=right)
                for name, right in zip(document["columns"], numeric, strict=True)
            ],
            rows,
        )
        _headline(count(len(rows), "row"))
        _rest(document)
    if not rows and not document["complete"]:
        raise typer.Exit(ExitCode.UNKNOWN)


def _limit(given: int | None) -> int | None:
    if given is None:
        return None if output.is_json() else PEOPLE
    return given or None


def _total(document: dict[str, Any], rows: Sequence[Any]) -> int:
    return int(document.get("total", len(rows)))


def _headline(text: str) -> None:
    from rich.markup import escape

    output.show(escape(text), style="bold")


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
        [Col(title, right=title == "Paths") for title, _ in shown],
        ([value(row) for _, value in shown] for row in rows),
    )


def _named(thing: dict[str, Any]) -> str:
    """Write a principal or an entitlement as people name it: name, then what tells it apart."""
    name = thing.get("name") or thing.get("id")
    resource = thing.get("resource")
    if isinstance(resource, dict) and resource.get("name") not in {None, name}:
        name = f"{resource['name']}: {name}"
    more = [_kind(thing["kind"])] if thing.get("kind") else []
    if upn := thing.get("user_principal_name"):
        more.append(upn)
    return f"{name} ({', '.join(more)})" if more else str(name)


def _kind(kind: str | None) -> str:
    return (kind or "").replace("_", " ")


def _scope(scope: Any) -> str:
    if isinstance(scope, dict):
        scope = scope.get("name") or scope.get("id")
    return "" if scope in {None, "/"} else str(scope)


def _how(row: dict[str, Any]) -> str:
    depth = row["depth"]
    through = f"through {count(depth, 'group')}" if depth else "through a group"
    if row["direct"]:
        return "direct" if row["paths"] <= 1 else "direct and through groups"
    return through


def _path(number: int, steps: Sequence[dict[str, Any]]) -> None:
    from rich.markup import escape

    first = steps[0]["from"]
    output.show(f"[dim]{number:>3}.[/] [bold]{escape(_end_name(first))}[/]")
    for step in steps:
        target = step["to"]
        via = _kind(step.get("via") or step.get("kind"))
        output.show(f"     [dim]└─ {escape(via)} →[/] {escape(_end_name(target))}")


def _end_name(end: dict[str, Any]) -> str:
    return f"{end.get('name') or end.get('id')} ({_kind(end.get('kind'))})"


def _rest(document: dict[str, Any]) -> None:
    """Say what the answer leaves out: rows cut by the limit, tables that are incomplete."""
    if document.get("next_cursor"):
        output.say("There is more: --limit 0 shows all.")
    if not document["complete"]:
        from rich.markup import escape

        lines = [
            f"  {row['table']}: {row['status']}: {row['reason']}" for row in document["missing"]
        ]
        output.say("[yellow]This may lack something; these tables are incomplete:[/]")
        output.say(escape("\n".join(lines)))


def _end(document: dict[str, Any], found: Sequence[Any]) -> NoReturn:
    if found:
        raise typer.Exit(ExitCode.OK)
    raise typer.Exit(ExitCode.NO if document["complete"] else ExitCode.UNKNOWN)
