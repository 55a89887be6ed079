"""`drift`: what changed beside the ledger; `request from-drift`: asking that it be undone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from entra_pipeline.cli import moments, options, output
from entra_pipeline.cli.exits import ExitCode
from entra_pipeline.cli.output import Col, count
from entra_pipeline.cli.provisioning import asking
from entra_pipeline.cli.provisioning.opened import SignIn, errors, identity, provisioning

if TYPE_CHECKING:
    from pathlib import Path

    from entra_pipeline.access.answers import Missing
    from entra_pipeline.lake import DataDirectory

_SINCE: Final = timedelta(days=30)
_PEOPLE: Final = 100
_WHOLE: Final = frozenset({"complete", "unlicensed"})
_CAUSES: Final = {
    "out_of_band": "by hand",
    "automation": "known automation",
    "dynamic_rule": "dynamic rule",
    "directory_sync": "directory sync",
    "pim": "PIM",
    "unknown": "not known yet",
}


def drift(
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Seen from then on; without it: in the last 30 days.",
            show_default=False,
        ),
    ] = None,
    all_: Annotated[
        bool,
        typer.Option(
            "--all", help="Also what is not so any more, and what went with deleted objects."
        ),
    ] = False,
    json_: options.Json = False,
    limit: options.Limit = None,
    data_dir: options.DataDir = None,
) -> None:
    """Direct access that somebody changed beside the ledger, and what was revoked and is back.

    Each sync puts every change of a direct grant down to what made it: the ledger, PIM, a dynamic
    group's rule, the directory on premises, known automation (ENTRA_KNOWN_AUTOMATION), or somebody
    (out of band). Exit 1 when there is no drift; 4 when there is none but some changes cannot be
    put down to anything yet, because the directory's audits are missing.

    [bold]Examples[/]

      entra-pipeline drift

      entra-pipeline drift --since yesterday --json
    """
    from entra_pipeline.cli.warehouse import existing
    from entra_pipeline.provisioning.drift import findings

    directory = existing(data_dir)
    start = moments.parse(since) if since is not None else datetime.now(UTC) - _SINCE
    found = findings.find(directory.lake, start, all_of_them=all_)
    most = _limit(limit)
    rows = [each.to_json() for each in found.found[:most]]
    missing = _missing(directory)
    document: dict[str, Any] = {
        "since": output.plain(found.since),
        "drift": rows,
        "truncated": len(rows) < len(found.found),
        "unknown": found.unknown,
        "with_deleted_objects": found.with_objects,
        "complete": not found.unknown and not missing,
        "missing": [{"table": one.table, "status": one.status} for one in missing],
    }
    if output.is_json():
        output.print_json(document)
    else:
        _print(document, data_dir)
    if not rows:
        raise typer.Exit(ExitCode.NO if document["complete"] else ExitCode.UNKNOWN)


def from_drift(
    change: Annotated[
        str, typer.Argument(metavar="ID", help="A change, as `drift` names it, or how it begins.")
    ],
    reason: Annotated[
        str | None,
        typer.Option(
            "--reason",
            metavar="TEXT",
            help="Why, in a line; kept with the request.",
            show_default=False,
        ),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            "--mode",
            metavar="MODE",
            help="direct, pim_active or pim_eligible, if another than the change itself tells.",
            show_default=False,
        ),
    ] = None,
    sign_in: SignIn = False,
    json_: options.Json = False,
) -> None:
    """Ask for a change beside the ledger to be undone: revoke what appeared, grant what went.

    A request like any other: it is planned, approved and applied, never by itself. Asked again
    while it has not ended, it is the same request.

    [bold]Example[/]

      entra-pipeline request from-drift drift_00660f59224f6fa --reason "nobody asked for it"
    """
    from entra_pipeline.cli.warehouse import existing
    from entra_pipeline.provisioning import files
    from entra_pipeline.provisioning.drift import findings
    from entra_pipeline.provisioning.values import Source

    directory = existing(None)
    with errors():
        found = findings.one(directory.lake, change.strip().lower())
        fields = findings.repair(found, mode)
    said = reason or f"repairs {found.id}: {found.row['change']}, {found.row['cause']}"
    with provisioning() as opened:
        who = identity(sign_in=sign_in)
        request = files.request(
            {**fields, "reason": said},
            asked_by=who,
            now=opened.ledger.clock(),
            source=Source.DRIFT,
        )
        filed = opened.file_once(request, found.id)
    asking.print_filed([filed])


def _missing(directory: DataDirectory) -> list[Missing]:
    """Tables of grants that are not whole: their changes may not be all."""
    from entra_pipeline.access.answers import Missing
    from entra_pipeline.lake import Books
    from entra_pipeline.orchestration.staleness import limits
    from entra_pipeline.provisioning.drift.sources import SOURCES

    statuses = Books(directory).statuses(limits())
    found = []
    for source in SOURCES:
        status = statuses[source.table]
        if status.status.value not in _WHOLE:
            found.append(Missing(source.table, status.status.value, status.reason))
    return found


def _limit(given: int | None) -> int | None:
    if given is None:
        return None if output.is_json() else _PEOPLE
    return given or None


def _print(document: dict[str, Any], data_dir: Path | None) -> None:
    from entra_pipeline.cli.past import names_of

    rows = document["drift"]
    ids = {value for row in rows for value in (row["principal_id"], row["actor_id"]) if value}
    ids |= {part for row in rows for part in _parts(row["entitlement_id"])}
    names = names_of(data_dir, ids)
    if rows:
        output.print_table(
            ["Seen (UTC)", "Id", "Change", Col("Who", wrap=True), Col("What", wrap=True),
             Col("By", wrap=True), Col("Undoes", wrap=True)],
            [
                [
                    output.moment(row["seen_at"]),
                    row["id"],
                    row["change"] + ("" if row["stands"] else ", not any more"),
                    names.get(row["principal_id"], row["principal_id"]),
                    _what(row, names),
                    _by(row, names),
                    row["reverts"] or "",
                ]
                for row in rows
            ],
        )  # fmt: skip
    output.show(f"{count(len(rows), 'change')} beside the ledger" if rows else "no drift")
    if rows:
        output.say("Next: entra-pipeline request from-drift ID", style="dim")
    if document["truncated"]:
        output.say("There is more: --limit 0 shows all.")
    if document["with_deleted_objects"]:
        output.say(
            f"{count(document['with_deleted_objects'], 'more change')} came with deleted objects: "
            "--all shows them."
        )
    if document["unknown"]:
        output.say(
            f"Of {count(document['unknown'], 'change')} nobody knows yet what made it: the "
            "directory's audits do not cover the time (entra-pipeline activity, then sync).",
            style="yellow",
        )
    for one in document["missing"]:
        output.say(f"{one['table']} is {one['status']}: its changes may not be all.")


def _parts(entitlement_id: str) -> list[str]:
    return moments.OBJECT_IDS.findall(entitlement_id)


def _what(row: dict[str, Any], names: dict[str, str]) -> str:
    text = str(row["entitlement_id"])
    for part in _parts(text):
        text = text.replace(part, names.get(part, part))
    return text if row["state"] == "active" else f"{text} ({row['state']})"


def _by(row: dict[str, Any], names: dict[str, str]) -> str:
    cause = _CAUSES.get(row["cause"], row["cause"])
    actor = row["actor_id"]
    if actor is None:
        return cause if row["cause"] != "out_of_band" else "somebody (no audit tells)"
    return f"{names.get(actor, actor)} ({cause})"
