"""`requests` lists, `show` tells all of one; both read the ledger alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entra_pipeline.cli import options, output
from entra_pipeline.cli.exits import CliError
from entra_pipeline.cli.output import Col
from entra_pipeline.cli.provisioning.opened import provisioning

if TYPE_CHECKING:
    from entra_pipeline.provisioning.ledger import Approval
    from entra_pipeline.provisioning.ledger.looking import Listed, Looked
    from entra_pipeline.provisioning.ledger.reviewing import Review
    from entra_pipeline.provisioning.states import RequestState

PEOPLE = 100


def requests(
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            metavar="STATE",
            help="Only in this state: filed, refused, planned, approved, …; may be repeated.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--kind", metavar="KIND", help="Only of this kind.", show_default=False),
    ] = None,
    json_: options.Json = False,
    limit: options.Limit = None,
    cursor: options.Cursor = None,
) -> None:
    """What was asked for, the latest first, and where it stands.

    [bold]Examples[/]

      entra-pipeline requests --state planned

      entra-pipeline requests --state ambiguous --state diverged --json
    """
    from entra_pipeline.provisioning.ledger import looking, reviewing

    most = limit if limit is not None else 0 if output.is_json() else PEOPLE
    with provisioning() as opened:
        found = looking.listed(
            opened.ledger,
            states=[_state(each) for each in state or ()],
            kind=kind,
            before=cursor,
            limit=most + 1 if most else None,
        )
        urgent = [each.id for each in found if each.emergency]
        reviews = reviewing.of_requests(opened.ledger, urgent)
    rest = bool(most) and len(found) > most
    found = found[:most] if most else found
    if output.is_json():
        # Only an emergency has a review.
        documents = [
            {**asdict(each), "review": _review(reviews.get(each.id))}
            if each.emergency
            else asdict(each)
            for each in found
        ]
        output.print_json({"requests": documents, "cursor": found[-1].id if rest else None})
        return
    output.print_table(
        ["Request", "State", "Kind", Col("About", wrap=True), "Asked by", "Filed (UTC)", "Ends"],
        [
            [
                each.id,
                each.state.value,
                f"{each.kind} (emergency)" if each.emergency else each.kind,
                each.identity,
                each.asked_by,
                each.filed_at,
                each.expires_at,
            ]
            for each in found
        ],
    )
    if rest:
        output.say(f"There are more: --cursor {found[-1].id}")


def show(
    request: Annotated[str, typer.Argument(metavar="ID", help="The request's id.")],
    json_: options.Json = False,
) -> None:
    """One request: what was asked, its plan, who approved, what was tried, what reads confirmed.

    [bold]Example[/]

      entra-pipeline show req_06fh… --json
    """
    from entra_pipeline.provisioning.ledger import looking, reviewing

    with provisioning() as opened:
        ledger = opened.ledger
        found = looking.one(ledger, request)
        review = reviewing.of_requests(ledger, [request]).get(request)
        operations = looking.operations(ledger, request)
        approvals = [] if found.plan_hash is None else ledger.approvals(found.plan_hash)
        document = looking.document(ledger, request)
    if output.is_json():
        output.print_json(
            {
                "request": {**asdict(found), "document": document},
                "operations": [asdict(each) for each in operations],
                "approvals": [_approval(each) for each in approvals],
                "review": _review(review),
            }
        )
        return
    _print(found, document, operations, approvals, review)


def _print(
    found: Listed,
    document: dict[str, Any] | None,
    operations: list[Looked],
    approvals: list[Approval],
    review: Review | None,
) -> None:
    asked = document or {}
    output.print_fields(
        [
            ("Request", found.id),
            ("State", found.state.value),
            ("About", found.identity),
            ("Why", asked.get("reason")),
            ("Asked by", found.asked_by),
            ("Source", found.source),
            ("Filed", found.filed_at),
            ("Due", found.due_at),
            ("Ends", found.expires_at),
            ("Ended by", found.ended_by),
            ("Batch", found.batch_id),
            ("Plan", found.plan_hash),
            ("Tier", found.tier),
        ]
    )
    for reason in found.reasons:
        output.show(f"  {reason}", style="yellow")
    if found.emergency and review is None:
        output.show("An emergency; nothing was given yet.", style="yellow")
    if review is not None:
        output.show(f"An emergency. {_state_of(review)}", style="yellow", breaks=False)
    for approval in approvals:
        note = f": {approval.note}" if approval.note else ""
        output.show(
            f"{approval.verdict} by {approval.identity.key} at {output.moment(approval.at)}{note}"
        )
    for each in operations:
        if each.plan_hash != found.plan_hash:
            continue
        output.show("")
        output.show(f"{each.position + 1}. {each.action}  {each.identity}", breaks=False)
        ours = ", made so by us" if each.added else ""
        reads = f"; {each.agreeing} of {each.reads} reads agree" if each.reads else ""
        output.show(f"   {each.state}{ours}{reads}")
        for name, value in each.result.items():
            output.show(f"   {name} = {output.cell(value)}", style="dim", breaks=False)
        for tried in each.tries:
            output.show(
                f"   try {tried.number} at {output.moment(tried.began_at)}: "
                f"{tried.outcome or 'not known how it ended'}"
                f"{f' ({tried.detail})' if tried.detail else ''}"
                f"  client-request-id {tried.client_request_id}",
                breaks=False,
            )


def _review(review: Review | None) -> dict[str, Any] | None:
    return None if review is None else asdict(review)


def _state_of(review: Review) -> str:
    """A review in a line."""
    if review.closed_at is None:
        told = "" if review.told_at else f" {review.tell_problem or 'Nobody was told yet'}."
        return f"Review {review.id} is open.{told}"
    when = output.moment(review.closed_at)
    return f"Review {review.id}: {review.finding}, {review.closed_by} at {when}: {review.reason}"


def _approval(approval: Approval) -> dict[str, Any]:
    return {
        "verdict": approval.verdict,
        "by": approval.identity.document(),
        "note": approval.note,
        "at": approval.at,
    }


def _state(text: str) -> RequestState:
    from entra_pipeline.provisioning.states import RequestState

    try:
        return RequestState(text.strip().lower())
    except ValueError:
        known = ", ".join(RequestState)
        raise CliError(f"there is no state {text!r}", remedy=f"States: {known}.") from None
