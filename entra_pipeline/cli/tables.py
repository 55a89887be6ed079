"""What is there: `tables` (the reference), `status` (how complete), `export` (take it with you)."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entra_pipeline.cli import moments, options, output
from entra_pipeline.cli.events import summary, troubles
from entra_pipeline.cli.exits import CliError
from entra_pipeline.cli.export import Format, opened, write
from entra_pipeline.cli.output import Col, count, moment
from entra_pipeline.cli.warehouse import dated, existing, look_back, open_warehouse

if TYPE_CHECKING:
    from entra_pipeline.lake import (
        CommitInfo,
        DataDirectory,
        Reconciled,
        SyncRecord,
        TableStatus,
    )
    from entra_pipeline.tables import Table

_STYLES = {
    "complete": "green",
    "failed": "bold red",
    "quarantined": "bold red",
    "never": "dim",
    "not_configured": "dim",
}


def tables(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One table.", show_default=False)
    ] = None,
    json_: options.Json = False,
) -> None:
    """The reference: every table, or one with its columns, permissions and source.

    [bold]Examples[/]

      entra-pipeline tables

      entra-pipeline tables group_members
    """
    from entra_pipeline.tables import DECLARED, get

    if name is None:
        if output.is_json():
            output.print_json({"tables": [_described(table) for table in DECLARED.values()]})
            return
        for group in dict.fromkeys(table.group for table in DECLARED.values()):
            output.print_table(
                [Col("Table", style="bold"), Col("What it holds", wrap=True)],
                [[t.name, t.doc] for t in DECLARED.values() if t.group == group],
                title=group.capitalize(),
            )
            output.show("")
        output.say("One with its columns: entra-pipeline tables NAME")
        return
    try:
        table = get(name, DECLARED)
    except KeyError as error:
        raise CliError(
            str(error.args[0]), remedy="`entra-pipeline tables` lists them all."
        ) from None
    if output.is_json():
        output.print_json(_described(table))
    else:
        _print_table(table)


def status(json_: options.Json = False, data_dir: options.DataDir = None) -> None:
    """How complete and how old each table is, how it is kept, and how the last sync ended.

    Kept by [bold]changes[/]: Graph tells what changed. By [bold]hints[/]: audits point at what to
    read again. [bold]full[/]: read whole every time. Ages are those of the rows, of the last
    whole read, and of the cursor that the next sync goes on from.
    """
    directory = existing(data_dir)
    document = statuses(directory)
    document["feed"] = heard = summary(directory)
    if output.is_json():
        output.print_json(document)
        return
    print_statuses(document["tables"])
    sync = document["sync"]
    if sync is None:
        output.show("No sync yet: run entra-pipeline sync")
    else:
        ended = f"at {moment(sync['finished'])} UTC" if sync["finished"] else "not yet"
        output.show(f"Last sync: {sync['outcome']}, ended {ended} ({sync['id']})")
    for line in troubles(heard) if heard is not None else ():
        output.show(line, style="yellow")


def statuses(directory: DataDirectory) -> dict[str, Any]:
    """Give the document of `status`: the last sync and the latest word on each table."""
    from entra_pipeline.lake import Books, Lake
    from entra_pipeline.lake.books import rfc3339
    from entra_pipeline.orchestration.staleness import limits

    books, lake = Books(directory), Lake(directory.lake)
    books.close_dead_syncs()
    compared = books.reconciled()
    syncs = books.syncs(limit=1)
    known = sorted(books.statuses(limits()).values(), key=lambda status: _place(status.table))
    # What is not set up here is missed by nobody.
    wanted = [status for status in known if status.status != "not_configured"]
    return {
        "sync": _sync(syncs[0]) if syncs else None,
        "tables": [
            {
                "table": status.table,
                "status": str(status.status),
                "rows": status.rows,
                "as_of": None if status.as_of is None else rfc3339(status.as_of),
                "reason": status.reason,
                "permission": status.permission,
                **_standing(status, lake.info(status.table), compared.get(status.table)),
                "requests": status.requests,
                "round_trips": status.round_trips,
                "units": status.units,
                "notes": dict(status.notes),
            }
            for status in known
        ],
        "complete": all(status.status == "complete" for status in wanted),
        "missing": [
            {"table": status.table, "status": str(status.status), "reason": status.reason}
            for status in wanted
            if status.status != "complete"
        ],
    }


def _standing(
    status: TableStatus, info: CommitInfo | None, compared: Reconciled | None
) -> dict[str, Any]:
    """Give how a table is kept, with ages in seconds, and its last comparison with a full read."""
    from datetime import UTC, datetime

    from entra_pipeline.extract.standing import standing
    from entra_pipeline.lake.books import rfc3339

    now = datetime.now(UTC)
    found = standing(info)
    moments = {"full": found.full_as_of, "cursor": found.cursor_as_of}
    document: dict[str, Any] = {
        "mode": str(found.mode),
        "age_s": None if status.as_of is None else round((now - status.as_of).total_seconds()),
    }
    for name, at in moments.items():
        document[f"{name}_as_of"] = None if at is None else rfc3339(at)
        document[f"{name}_age_s"] = None if at is None else round((now - at).total_seconds())
    document["reconciled"] = compared and {
        "as_of": rfc3339(compared.at),
        "rows": compared.rows,
        "differences": compared.differences,
    }
    return document


def _sync(record: SyncRecord) -> dict[str, Any]:
    from entra_pipeline.lake.books import rfc3339

    return {
        "id": record.sync_id,
        "kind": record.kind,
        "started": rfc3339(record.started),
        "finished": None if record.finished is None else rfc3339(record.finished),
        "outcome": str(record.outcome),
        **asdict(record.counters),
    }


def _place(name: str) -> int:
    """Put tables in the order of their declarations, those of other versions last."""
    from entra_pipeline.tables import EXCHANGE, TABLES

    known = [*TABLES, *EXCHANGE]
    return known.index(name) if name in known else len(known)


def print_statuses(rows: list[dict[str, Any]]) -> None:
    """Print tables with rows and completeness; how they are kept, and reasons, where there are."""
    from rich.text import Text

    kept = any("mode" in row for row in rows)
    ages = [Col("Age", right=True), Col("Whole read", right=True), Col("Cursor", right=True)]
    output.print_table(
        [
            "Table",
            "Status",
            Col("Rows", right=True),
            *(["Kept by", *ages] if kept else ["As of (UTC)"]),
            Col("Why", wrap=True),
        ],
        [
            [
                row["table"],
                Text(row["status"], style=_STYLES.get(row["status"], "yellow")),
                row["rows"],
                *(_ages(row) if kept else [moment(row["as_of"])]),
                _why(row),
            ]
            for row in sorted(rows, key=lambda row: _place(row["table"]))
        ],
    )


def _ages(row: dict[str, Any]) -> list[str]:
    return [row["mode"], *(_age(row[name]) for name in ("age_s", "full_age_s", "cursor_age_s"))]


def _age(seconds: int | None) -> str:
    """Write an age in its largest unit, from two of it on: 90 s, 45 min, 26 h, 5 d."""
    if seconds is None:
        return ""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{max(seconds, 0)} s"


def _why(row: dict[str, Any]) -> str | None:
    """Give the reason of a status, else what a comparison with a full read found wrong."""
    compared = row.get("reconciled")
    if row["reason"] is None and compared and compared["differences"]:
        differing = count(compared["differences"], "row")
        return f"{differing} differed from a full read at {moment(compared['as_of'])}"
    reason: str | None = row["reason"]
    return reason


def export(
    what: Annotated[
        str,
        typer.Argument(
            metavar="TABLE|QUERY",
            help="A table or view, such as effective_grants, or a SELECT.",
            show_default=False,
        ),
    ],
    format_: Annotated[
        Format, typer.Option("--format", "-f", help="csv, parquet, or json (an array of objects).")
    ] = Format.CSV,
    file: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where to; without it: standard output."
        ),
    ] = None,
    json_: options.Json = False,
    as_of: moments.AsOf = None,
    data_dir: options.DataDir = None,
) -> None:
    """Write a table, a view or a query's result to a file; streamed, however long it is.

    [bold]Examples[/]

      entra-pipeline export effective_grants --format parquet -o effective.parquet

      entra-pipeline export grants --as-of 2026-11-01 -o grants.csv

      entra-pipeline export "SELECT * FROM users WHERE user_type = 'Guest'" -o guests.csv
    """
    if output.is_json() and file is None:
        raise CliError("--json needs -o FILE: standard output holds the export itself")
    when = look_back(data_dir, as_of)
    with open_warehouse(data_dir, when) as warehouse:
        rows = write(*opened(warehouse, what, ordered=when is not None), format_, file)
    if output.is_json():
        output.print_json({**dated(when), "file": str(file), "format": format_.value, "rows": rows})
    elif file is not None:
        output.say(f"{count(rows, 'row')} written to {file}")


def _described(table: Table) -> dict[str, Any]:
    from entra_pipeline.tables.reference import type_name

    return {
        "table": table.name,
        "doc": table.doc,
        "group": table.group,
        "key": list(table.key),
        "permissions": list(table.permissions),
        "all_permissions_needed": table.all_of,
        "license": table.license,
        "absent_clouds": sorted(table.absent_clouds),
        "source": table.source_doc or None,
        "columns": [
            {"name": column.name, "type": type_name(column.type), "doc": column.doc}
            for column in table.columns
        ],
        "references": [
            {"columns": list(reference.columns), "table": reference.table}
            for reference in table.references
        ],
    }


def _print_table(table: Table) -> None:
    from rich.markup import escape

    from entra_pipeline.tables.reference import type_name

    output.show(f"[bold]{table.name}[/]  {escape(table.doc)}")
    facts = [("Key", ", ".join(table.key))]
    if table.permissions:
        word = " and " if table.all_of else " or "
        facts.append(("Permission", word.join(table.permissions)))
    if table.license:
        facts.append(("Licence", f"Entra ID {table.license.upper()}"))
    if table.absent_clouds:
        facts.append(("Absent in", ", ".join(sorted(table.absent_clouds))))
    if table.source_doc:
        facts.append(("Source", table.source_doc))
    facts.extend(("Refers to", f"{r.table} by {', '.join(r.columns)}") for r in table.references)
    for title, value in facts:
        output.show(f"{title:<11}{escape(value)}")
    output.show("")
    output.print_table(
        [Col("Column", style="bold"), Col("Type", wrap=True), Col("Meaning", wrap=True)],
        [[column.name, type_name(column.type), column.doc] for column in table.columns],
    )
