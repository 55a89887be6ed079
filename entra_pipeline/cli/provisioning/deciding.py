"""`plan`, and what people say of one: `approve`, `reject`; and `cancel`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entra_pipeline.cli import options, output
from entra_pipeline.cli.exits import CliError, ExitCode
from entra_pipeline.cli.provisioning.opened import Note, SignIn, identity, provisioning

if TYPE_CHECKING:
    from entra_pipeline.provisioning.ledger import Filed
    from entra_pipeline.provisioning.service import Provisioning
    from entra_pipeline.provisioning.values import Identity

_ID = re.compile(r"(req|batch)_[0-9a-z]{24}")

Id = Annotated[str, typer.Argument(metavar="ID", help="A request's id, or that of its batch.")]
Hash = Annotated[
    str,
    typer.Option(
        "--plan", metavar="HASH", help="The plan's hash, or how it begins (8 characters or more)."
    ),
]


def plan(
    what: Annotated[
        str, typer.Argument(metavar="ID|FILE", help="A request, a batch, or a file to be filed.")
    ],
    most_gained: Annotated[
        int | None,
        typer.Option(
            "--most-gained",
            metavar="N",
            min=1,
            help="Ask leave to give so much effective access, beyond the policy's limits.",
            show_default=False,
        ),
    ] = None,
    most_lost: Annotated[
        int | None,
        typer.Option(
            "--most-lost",
            metavar="N",
            min=1,
            help="Ask leave to take so much effective access, beyond the policy's limits.",
            show_default=False,
        ),
    ] = None,
    sign_in: SignIn = False,
    json_: options.Json = False,
) -> None:
    """What would be written for a request and those filed with it, and the hash to approve.

    Reads the tenant, writes nothing to it. Exit 1 when it is refused, with every reason.

    [bold]Examples[/]

      entra-pipeline plan req_06fh…

      entra-pipeline plan joiners.yaml --json
    """
    from entra_pipeline.cli.provisioning import plans
    from entra_pipeline.provisioning.planning import Refusal

    with provisioning(tenant=True) as opened:
        asked = {"gained": most_gained, "lost": most_lost}
        leave = {name: number for name, number in asked.items() if number is not None}
        filed, found = opened.plan(_filed(opened, what, sign_in=sign_in), leave)
        refused = isinstance(found, Refusal)
        if output.is_json():
            output.print_json(
                {
                    "batch": filed[0].batch_id,
                    "requests": _states(filed),
                    "plan": None if isinstance(found, Refusal) else plans.document(found),
                    "refused": plans.refusal(found) if isinstance(found, Refusal) else [],
                }
            )
        elif isinstance(found, Refusal):
            plans.show_refusal(found)
        else:
            plans.show(found, filed)
    raise typer.Exit(ExitCode.NO if refused else ExitCode.OK)


def approve(
    what: Id,
    plan: Hash,
    note: Note = None,
    sign_in: SignIn = False,
    json_: options.Json = False,
) -> None:
    """Approve the plan of that hash: exactly that is then carried out, or nothing.

    Who approves is known by a sign-in to Entra; or, only where the policy allows it, as the user
    of this machine. Exit 1 when the policy does not let you approve it, with every reason.

    [bold]Example[/]

      entra-pipeline approve req_06fh… --plan 3f9a2c71b0d4e855 --sign-in
    """
    with provisioning() as opened:
        opened.waiting_plan(what, plan)  # nobody signs in for what is not there
        who = _approver(opened, sign_in=sign_in)
        _said(opened.approve(what, plan, who, note))


def reject(
    what: Id,
    plan: Hash,
    note: Note = None,
    sign_in: SignIn = False,
    json_: options.Json = False,
) -> None:
    """Reject the plan of that hash: its requests have ended.

    [bold]Example[/]

      entra-pipeline reject req_06fh… --plan 3f9a2c71b0d4e855 --note "not this group"
    """
    with provisioning() as opened:
        opened.waiting_plan(what, plan)
        _said(opened.reject(what, plan, _approver(opened, sign_in=sign_in), note))


def cancel(
    request: Annotated[str, typer.Argument(metavar="ID", help="The request's id.")],
    sign_in: SignIn = False,
    json_: options.Json = False,
) -> None:
    """Take a request back that has not begun.

    [bold]Example[/]

      entra-pipeline cancel req_06fh…
    """
    with provisioning() as opened:
        _said([opened.ledger.cancel(request, identity(sign_in=sign_in))])


def resolve(
    request: Annotated[str, typer.Argument(metavar="ID", help="The ambiguous request's id.")],
    found: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="WORD",
            help="written, not_written (try again) or given_up: what you found in the tenant.",
        ),
    ],
    sign_in: SignIn = False,
    json_: options.Json = False,
) -> None:
    """Say what became of an ambiguous request, after you looked it up in the tenant.

    Who says so is known as for an approval.

    [bold]Example[/]

      entra-pipeline resolve req_06fh… --as not_written
    """
    from entra_pipeline.provisioning.ledger import resolving

    try:
        word = resolving.Word(found.strip().lower().replace("-", "_"))
    except ValueError:
        known = ", ".join(resolving.Word)
        raise CliError(f"there is no {found!r}", remedy=f"Give one of: {known}.") from None
    with provisioning() as opened:
        by = _approver(opened, sign_in=sign_in)
        _said([resolving.resolve(opened.ledger, request, word, by)])


def _filed(opened: Provisioning, what: str, *, sign_in: bool) -> str:
    """The id to plan: as given, or of a file's requests, which are filed by this."""
    from entra_pipeline.provisioning import files

    if _ID.fullmatch(what):
        return what
    path = Path(what)
    if not path.is_file():
        raise CliError(
            f"{what!r} is neither a request, nor a batch, nor a file",
            remedy="`entra-pipeline requests` lists requests.",
        )
    who = identity(sign_in=sign_in)
    return opened.file(files.read(path, asked_by=who, now=opened.ledger.clock()))[0].batch_id


def _approver(opened: Provisioning, *, sign_in: bool) -> Identity:
    return identity(sign_in=sign_in or not opened.policy.os_user_approves)


def _said(filed: Sequence[Filed]) -> None:
    if output.is_json():
        output.print_json({"requests": _states(filed)})
        return
    for each in filed:
        output.show(f"{each.id}  {each.state}", breaks=False)
    if any(each.state == "planned" for each in filed):
        output.say("Another approval is needed.")


def _states(filed: Sequence[Filed]) -> list[dict[str, Any]]:
    return [
        {
            "id": each.id,
            "kind": each.request.kind,
            "state": each.state,
            "reasons": list(each.reasons),
        }
        for each in filed
    ]
