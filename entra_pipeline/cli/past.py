"""Looking back: `changes` (which rows), `diff` (whose access), `warehouse` (all of a past state).

The other questions take `--as-of` and are where they always were. A time stands for the last sync
that had ended by then; every answer names it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entra_pipeline.cli import moments, options, output
from entra_pipeline.cli.exits import CliError, ExitCode
from entra_pipeline.cli.export import replacing
from entra_pipeline.cli.output import Col, count
from entra_pipeline.cli.warehouse import (
    dated,
    existing,
    find_entitlement,
    find_principal,
    look_back,
    moment_of,
    open_warehouse,
    past_warehouse,
)

if TYPE_CHECKING:
    from entra_pipeline.access.past import Moment
    from entra_pipeline.lake import DataDirectory

#: What people get to see unless they ask for more; and the longest value beside others.
PEOPLE = 100
_LONG = 40

OnePrincipal = Annotated[
    str | None,
    typer.Option(
        "--principal",
        metavar="PRINCIPAL",
        help="Only what is about this one: an id or a name.",
        show_default=False,
    ),
]
OneEntitlement = Annotated[
    str | None,
    typer.Option(
        "--entitlement",
        metavar="ENTITLEMENT",
        help="Only what is about this one: an id or a name.",
        show_default=False,
    ),
]


def changes(
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="After the state of that time; without it: since anything is known.",
            show_default=False,
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="TIME",
            help="Up to the state of that time; without it: the latest.",
            show_default=False,
        ),
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(
            "--table", metavar="TABLE", help="Only this table; may be repeated.", show_default=False
        ),
    ] = None,
    principal: OnePrincipal = None,
    entitlement: OneEntitlement = None,
    json_: options.Json = False,
    limit: options.Limit = None,
    data_dir: options.DataDir = None,
) -> None:
    """Which rows of which tables changed, and how, the latest first.

    These are the changes that syncs saw; `diff` says what they meant for effective access.

    [bold]Examples[/]

      entra-pipeline changes --since yesterday

      entra-pipeline changes --principal anna.berg@contoso.com --table group_members

      entra-pipeline changes --entitlement "Global Administrator" --since "30 days ago" --json
    """
    from entra_pipeline.access import changes as history
    from entra_pipeline.access import past
    from entra_pipeline.lake import Lake
    from entra_pipeline.orchestration.staleness import limits

    directory = existing(data_dir)
    names = _tables(table)
    start, end = _from(directory, since), moment_of(directory, until or "now")
    if start is not None and start.finished > end.finished:
        raise CliError(f"--since {since} is later than --until {until}")
    found = history.find(
        Lake(directory.lake),
        past.statuses(directory, end, limits()),
        since=start,
        until=end,
        names=names,
        principal=None if principal is None else _principal_id(data_dir, directory, principal),
        entitlement=None if entitlement is None else _entitlement_id(data_dir, entitlement),
        limit=_limit(limit),
    )
    document = found.to_json()
    if output.is_json():
        output.print_json(document)
    else:
        _print_changes(document, data_dir)
    _end(document, document["changes"])


def diff(
    earlier: Annotated[
        str, typer.Argument(metavar="TIME", help="A time, or the id of a sync.", show_default=False)
    ],
    later: Annotated[
        str,
        typer.Argument(metavar="[TIME]", help="A later time; without it: now."),
    ] = "now",
    principal: OnePrincipal = None,
    entitlement: OneEntitlement = None,
    json_: options.Json = False,
    limit: options.Limit = None,
    data_dir: options.DataDir = None,
) -> None:
    """Effective access gained and lost between two times, and the grant or membership behind it.

    [bold]Examples[/]

      entra-pipeline diff yesterday

      entra-pipeline diff 2026-10-01 2026-11-01 --entitlement "Global Administrator" --json
    """
    from entra_pipeline.access import diff as comparing
    from entra_pipeline.access.questions import Warehouse

    directory = existing(data_dir)
    start, end = moment_of(directory, earlier), moment_of(directory, later)
    if start.finished > end.finished:
        raise CliError(
            f"{earlier!r} is later than {later!r}", remedy="Give the earlier time first."
        )
    for word, when in (("From", start), ("To", end)):
        output.say(f"{word} {_said(when)}", style="dim")
    before, after = past_warehouse(data_dir, start), past_warehouse(data_dir, end)
    who, what = None, None
    if principal is not None or entitlement is not None:
        with Warehouse.open(before) as old, Warehouse.open(after) as new:
            if principal is not None:
                who = find_principal(_knowing(new, old, "principal", principal), principal).id
            if entitlement is not None:
                knowing = _knowing(new, old, "entitlement", entitlement)
                what = find_entitlement(knowing, entitlement).entitlement_id
    found = comparing.diff(before, after, principal=who, entitlement=what, limit=_limit(limit))
    document = {"from": start.to_json(), "to": end.to_json(), **found.to_json()}
    if output.is_json():
        output.print_json(document)
    else:
        _print_diff(document)
    _end(document, document["changes"])


def warehouse(
    as_of: Annotated[
        str,
        typer.Option(
            "--as-of",
            metavar="TIME",
            help="The time: 2026-11-01, 'yesterday', '3 days ago', RFC 3339 or a sync's id.",
            show_default=False,
        ),
    ],
    file: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="Where to put it.", show_default=False),
    ],
    json_: options.Json = False,
    data_dir: options.DataDir = None,
) -> None:
    """Write the whole warehouse as it was at a time into one DuckDB file.

    [bold]Example[/]

      entra-pipeline warehouse --as-of 2026-11-01 -o november.duckdb
    """
    when = look_back(data_dir, as_of)
    assert when is not None  # noqa: S101 - the option is required
    built = past_warehouse(data_dir, when)
    with replacing(file) as sink, built.open("rb") as source:
        shutil.copyfileobj(source, sink, 2**20)
        size = sink.tell()
    if output.is_json():
        output.print_json({**dated(when), "file": str(file), "bytes": size})
    else:
        output.say(f"{count(size, 'byte')} written to {file}")


def _tables(wanted: Sequence[str] | None) -> list[str]:
    from entra_pipeline.tables import TABLES, get

    known = [table.name for table in TABLES.values() if table.group == "directory"]
    for name in wanted or ():
        try:
            get(name)
        except KeyError as error:
            raise CliError(
                str(error.args[0]), remedy="`entra-pipeline tables` lists them all."
            ) from None
        if name not in known:
            raise CliError(
                f"{name} has no history of its own: it is made from the directory's tables",
                remedy="`entra-pipeline diff` says what changed in effective access.",
            )
    return [name for name in known if wanted is None or name in wanted]


def _from(directory: DataDirectory, text: str | None) -> Moment | None:
    """Where to begin; a time before the first sync is the beginning of all that is known."""
    from entra_pipeline.lake import Books

    if text is None:
        return None
    first = Books(directory).first_finished()
    if (
        not moments.SYNC_ID.fullmatch(text)
        and first is not None
        and first.finished is not None
        and moments.parse(text) < first.finished
    ):
        output.say(
            f"Nothing is known of the time before {output.moment(first.finished)} UTC.",
            style="yellow",
        )
        return None
    return moment_of(directory, text)


def _principal_id(given: Path | None, directory: DataDirectory, text: str) -> str:
    """The id of a principal that there is, or that there was."""
    from entra_pipeline.access import changes as history
    from entra_pipeline.access.answers import Principal
    from entra_pipeline.lake import Lake

    with open_warehouse(given) as published:
        found = published.find_principal(text)
        if isinstance(found, Principal):
            return found.id
        if not found.ambiguous:
            ids = history.mentioned(Lake(directory.lake), text)
            if len(ids) == 1:
                return ids[0]
            if ids:
                raise CliError(
                    f"{text!r} was the name of more than one principal: say which by its id",
                    candidates=[{"id": one, "kind": None, "name": text} for one in ids],
                )
            if moments.OBJECT_ID.fullmatch(text.lower()):
                return text.lower()
        return find_principal(published, text).id


def _entitlement_id(given: Path | None, text: str) -> str:
    """The id of an entitlement that there is; an id of one that there was is taken as it is."""
    from entra_pipeline.access import needs
    from entra_pipeline.access.answers import Entitlement

    with open_warehouse(given) as published:
        found = published.find_entitlement(text)
        if not isinstance(found, Entitlement) and ":" in text and needs.of_entitlement(text):
            return text
        return find_entitlement(published, text).entitlement_id


def _knowing(new: Any, old: Any, what: str, text: str) -> Any:
    """The warehouse that knows the name: the later, unless only the earlier does."""
    from entra_pipeline.access.answers import NotFound

    later, earlier = (getattr(one, f"find_{what}")(text) for one in (new, old))
    return old if isinstance(later, NotFound) and not isinstance(earlier, NotFound) else new


def _limit(given: int | None) -> int | None:
    if given is None:
        return None if output.is_json() else PEOPLE
    return given or None


def _said(when: Moment) -> str:
    return (
        f"{output.moment(when.asked)} UTC: sync {when.sync.sync_id}, "
        f"ended {output.moment(when.finished)} UTC"
    )


def _print_changes(document: Mapping[str, Any], given: Path | None) -> None:
    rows = document["changes"]
    names = names_of(given, {value for row in rows for value in _ids(row)})
    if rows:
        output.print_table(
            ["Seen (UTC)", "Table", "Change", Col("Row", wrap=True), Col("How", wrap=True)],
            [
                [
                    output.moment(row["at"]),
                    row["table"],
                    row["operation"],
                    _what(row, names),
                    _how(row),
                ]
                for row in rows
            ],
        )
    output.show(count(len(rows), "change") if rows else "no change")
    _rest(document)


def names_of(given: Path | None, ids: set[str]) -> dict[str, str]:
    """Names of today for the ids; what is gone has none here."""
    if not ids:
        return {}
    quoted = ", ".join("'" + one.replace("'", "''") + "'" for one in sorted(ids))
    with open_warehouse(given) as published:
        answer = published.query(
            f"SELECT id, name FROM principals WHERE id IN ({quoted}) AND name IS NOT NULL UNION "
            f"SELECT id, name FROM resources WHERE id IN ({quoted}) AND name IS NOT NULL"
        )
    return {str(row[0]): str(row[1]) for row in answer.rows}


def _what(row: Mapping[str, Any], names: Mapping[str, str]) -> str:
    own = row["row"].get("display_name") or row["row"].get("user_principal_name")
    if own and len(row["key"]) == 1:
        return str(own)
    return ", ".join(names.get(value, value) for value in _ids(row))


def _ids(row: Mapping[str, Any]) -> list[str]:
    """What a row without a name of its own is about: the objects that it names, else its key."""
    named = [
        value
        for column, value in row["row"].items()
        if column.endswith("_id") and isinstance(value, str) and moments.OBJECT_ID.fullmatch(value)
    ]
    return named or [str(value) for value in row["key"].values()]


def _how(row: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{name}: {_short(row['before'][name])} → {_short(row['row'][name])}"
        for name in row["changed"] or ()
    )


def _short(value: Any) -> str:
    text = output.cell(value) or "nothing"
    return text if len(text) <= _LONG else text[: _LONG - 1] + "…"


def _print_diff(document: Mapping[str, Any]) -> None:
    rows = document["changes"]
    if rows:
        output.print_table(
            [
                "Change",
                Col("Principal", wrap=True),
                Col("Entitlement", wrap=True),
                "Tier",
                "State",
                Col("Because", wrap=True),
            ],
            [
                [
                    row["change"] + ("" if row["certain"] else "?"),
                    row["principal"]["name"] or row["principal"]["id"],
                    row["name"],
                    row["tier"],
                    row["state"],
                    "; ".join(_because(row, cause) for cause in row["causes"]),
                ]
                for row in rows
            ],
        )
    output.show(f"{document['gained']:,} gained, {document['lost']:,} lost")
    if not all(row["certain"] for row in rows):
        output.say("? what it rests on was not whole on the other side.", style="yellow")
    _rest(document)


def _because(row: Mapping[str, Any], cause: Mapping[str, Any]) -> str:
    """Who came to hold what; only what it is when it is the very line."""
    went = "went" if row["change"] == "lost" else "came"
    own = (cause["principal"]["id"], cause["entitlement_id"]) == (
        row["principal"]["id"],
        row["entitlement_id"],
    )
    if own and cause["kind"] != "license":
        return f"its {cause['kind']} {went}"
    who = cause["principal"]["name"] or cause["principal"]["id"]
    by = cause.get("group")
    how = f" by {by['name'] or by['id']}" if by else ""
    return f"{cause['kind']} {went}: {who} → {cause['name']}{how}"


def _rest(document: Mapping[str, Any]) -> None:
    if document["truncated"]:
        output.say("There is more: --limit 0 shows all.")
    if document["missing"]:
        output.say("This may lack something; these tables are incomplete:", style="yellow")
        lines = [
            f"  {row['table']}{_side(row)}: {row['status']}: {row['reason']}"
            for row in document["missing"]
        ]
        output.say("\n".join(lines))


def _side(row: Mapping[str, Any]) -> str:
    return {"from": " (earlier)", "to": " (later)"}.get(row.get("side", ""), "")


def _end(document: Mapping[str, Any], rows: Sequence[Any]) -> None:
    if not rows:
        raise typer.Exit(ExitCode.NO if document["complete"] else ExitCode.UNKNOWN)
