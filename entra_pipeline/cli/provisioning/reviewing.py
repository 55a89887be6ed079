"""`reviews` lists emergency access that nobody has looked at; `review close` is that look."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entra_pipeline.cli import options, output
from entra_pipeline.cli.exits import CliError
from entra_pipeline.cli.output import Col
from entra_pipeline.cli.provisioning.opened import SignIn, identity, provisioning

if TYPE_CHECKING:
    from entra_pipeline.provisioning.ledger.looking import Listed
    from entra_pipeline.provisioning.ledger.reviewing import Finding, Review

PEOPLE = 100


def reviews(
    everything: Annotated[bool, typer.Option("--all", help="Those that are closed, too.")] = False,
    json_: options.Json = False,
    limit: options.Limit = None,
    cursor: options.Cursor = None,
) -> None:
    """Emergency access that was given before anybody approved it, and who looked at it since.

    [bold]Example[/]

      entra-pipeline reviews
    """
    from entra_pipeline.provisioning.ledger import looking, reviewing

    most = limit if limit is not None else 0 if output.is_json() else PEOPLE
    with provisioning() as opened:
        found = reviewing.listed(
            opened.ledger, closed=everything, before=cursor, limit=most + 1 if most else None
        )
        about = {each.id: looking.one(opened.ledger, each.request_id) for each in found}
    rest = bool(most) and len(found) > most
    found = found[:most] if most else found
    if output.is_json():
        listed = [_document(each, about[each.id]) for each in found]
        output.print_json({"reviews": listed, "cursor": found[-1].id if rest else None})
        return
    output.print_table(
        [
            "Review",
            "Opened (UTC)",
            "Request",
            Col("About", wrap=True),
            "Asked by",
            "Ends",
            "Closed",
        ],
        [
            [
                each.id,
                each.opened_at,
                each.request_id,
                about[each.id].identity,
                about[each.id].asked_by,
                about[each.id].expires_at,
                None if each.closed_at is None else f"{each.finding} by {each.closed_by}",
            ]
            for each in found
        ],
    )
    if rest:
        output.say(f"There are more: --cursor {found[-1].id}")


def close(
    review: Annotated[str, typer.Argument(metavar="ID", help="The review's id, or its request's.")],
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="What you found; kept with the review.")
    ],
    finding: Annotated[
        str,
        typer.Option(
            "--finding",
            metavar="WORD",
            help="justified (the approval after the fact) or not_justified.",
        ),
    ] = "justified",
    sign_in: SignIn = False,
    json_: options.Json = False,
) -> None:
    """Close the review of emergency access, after you looked at it.

    Whoever asked for it cannot; who closes it is known as for an approval. Exit 1 when the policy
    does not let you, with every reason. It takes nothing back: `request revoke` does.

    [bold]Example[/]

      entra-pipeline review close rev_06fh… --reason "outage 812, as agreed by phone" --sign-in
    """
    from entra_pipeline.provisioning.ledger import reviewing

    word = _finding(finding)
    with provisioning() as opened:
        reviewing.one(opened.ledger, review)  # nobody signs in for what is not there
        who = identity(sign_in=sign_in or not opened.policy.os_user_approves)
        closed = opened.close_review(review, word, who, reason)
    if output.is_json():
        output.print_json({"review": asdict(closed)})
    else:
        output.show(f"{closed.id}  closed: {closed.finding}", breaks=False)


def _document(review: Review, about: Listed) -> dict[str, Any]:
    return {
        **asdict(review),
        "identity": about.identity,
        "asked_by": about.asked_by,
        "state": about.state,
        "expires_at": about.expires_at,
    }


def _finding(text: str) -> Finding:
    from entra_pipeline.provisioning.ledger.reviewing import Finding

    try:
        return Finding(text.strip().lower().replace("-", "_"))
    except ValueError:
        known = ", ".join(Finding)
        raise CliError(f"there is no {text!r}", remedy=f"Give one of: {known}.") from None
