"""`request`: grant, revoke, and files of many requests. Asking writes to the ledger alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entra_pipeline.cli import options, output
from entra_pipeline.cli.exits import CliError, ExitCode
from entra_pipeline.cli.provisioning.opened import SignIn, identity, provisioning

if TYPE_CHECKING:
    from entra_pipeline.provisioning.ledger import Filed

Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why, in a line; kept with the request.")
]
ForWhom = Annotated[
    str | None,
    typer.Option(
        "--for", metavar="ID", help="Object id of the person it is for.", show_default=False
    ),
]
NotBefore = Annotated[
    str | None,
    typer.Option(
        "--not-before",
        metavar="TIME",
        help="Not carried out earlier: 2026-12-01T08:00:00Z.",
        show_default=False,
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="TEXT",
        help="Idempotency key: filed again under the same key, it is the same request.",
        show_default=False,
    ),
]
How = Annotated[
    str,
    typer.Option(
        "--mode",
        metavar="MODE",
        help="direct, or by PIM: pim_active or pim_eligible (roles, groups).",
    ),
]
Principal = Annotated[
    str,
    typer.Argument(metavar="PRINCIPAL", help="Object id, or a name that the warehouse knows."),
]
Entitlement = Annotated[
    str,
    typer.Argument(
        metavar="ENTITLEMENT",
        help="Its id, such as group:…:member, app:…:…, role:…@/ or license:…; or its name.",
    ),
]


def grant(
    principal: Principal,
    entitlement: Entitlement,
    reason: Reason,
    expires_at: Annotated[
        str | None,
        typer.Option(
            "--expires-at",
            metavar="TIME",
            help="When it ends and is taken back: 2026-12-31T00:00:00Z.",
            show_default=False,
        ),
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option(
            "--duration", metavar="TIME", help="How long it lasts: 8h, 90d.", show_default=False
        ),
    ] = None,
    not_before: NotBefore = None,
    mode: How = "direct",
    for_whom: ForWhom = None,
    key: Key = None,
    emergency: Annotated[
        bool,
        typer.Option(
            "--emergency",
            help="Without approval beforehand, where the policy lets; short, told, and reviewed.",
        ),
    ] = False,
    sign_in: SignIn = False,
    json_: options.Json = False,
) -> None:
    """Ask for access to be given.

    [bold]Examples[/]

      entra-pipeline request grant anna.berg@contoso.com "Finance Readers" --reason "ticket 4711"

      entra-pipeline request grant 6f1c…e2 role:fdd7…3b@/ --duration 8h --reason "on call" --sign-in
    """
    _ask(
        {
            "kind": "grant",
            "mode": mode,
            "reason": reason,
            "expires_at": expires_at,
            "duration": duration,
            "not_before": not_before,
            "for_whom": for_whom,
            "key": key,
            "emergency": True if emergency else None,
        },
        principal,
        entitlement,
        sign_in=sign_in,
    )


def revoke(
    principal: Principal,
    entitlement: Entitlement,
    reason: Reason,
    not_before: NotBefore = None,
    mode: How = "direct",
    key: Key = None,
    sign_in: SignIn = False,
    json_: options.Json = False,
) -> None:
    """Ask for access to be taken away.

    [bold]Example[/]

      entra-pipeline request revoke anna.berg@contoso.com "Finance Readers" --reason "left the team"
    """
    _ask(
        {
            "kind": "revoke",
            "mode": mode,
            "reason": reason,
            "not_before": not_before,
            "key": key,
        },
        principal,
        entitlement,
        sign_in=sign_in,
    )


def offboard(
    principal: Annotated[
        str,
        typer.Option(
            "--principal", metavar="USER", help="Who leaves: object id, or a name; required."
        ),
    ],
    reason: Reason,
    hand_over_to: Annotated[
        str | None,
        typer.Option(
            "--hand-over-to",
            metavar="USER",
            help="Who gets what only the leaver owns; the manager if nobody is named.",
            show_default=False,
        ),
    ] = None,
    not_before: NotBefore = None,
    key: Key = None,
    sign_in: SignIn = False,
    json_: options.Json = False,
) -> None:
    """Ask for all access of somebody who leaves to be taken: one plan, the account first.

    The policy has to have an `offboard` entry.

    [bold]Example[/]

      entra-pipeline request offboard --principal anna.berg@contoso.com --reason "left, ticket 4711"
    """
    fields = {
        "kind": "offboard",
        "user_id": principal_id(principal),
        "hand_over_to": None if hand_over_to is None else principal_id(hand_over_to),
        "reason": reason,
        "not_before": not_before,
        "key": key,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    file_fields(given, sign_in=sign_in)


def file(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="YAML or JSON; docs/provisioning.md.")
    ],
    sign_in: SignIn = False,
    json_: options.Json = False,
) -> None:
    """Ask for everything in a file: many requests that are planned and approved together.

    [bold]Example[/]

      entra-pipeline request file joiners.yaml
    """
    from entra_pipeline.provisioning import files

    _file(lambda who, now: files.read(path, asked_by=who, now=now), sign_in=sign_in)


def _ask(fields: dict[str, Any], principal: str, entitlement: str, *, sign_in: bool) -> None:
    from entra_pipeline.provisioning import files

    given = {name: value for name, value in fields.items() if value is not None}
    given["principal_id"] = principal_id(principal)
    given["access"] = _access(entitlement)
    if given.get("emergency") and not given.keys() & {"expires_at", "duration"}:
        given["duration"] = _emergency_lasts()
    _file(lambda who, now: [files.request(given, asked_by=who, now=now)], sign_in=sign_in)


def _emergency_lasts() -> str:
    """How long emergency access lasts when nothing shorter is asked for, as the policy says."""
    with provisioning() as opened:
        rule = opened.policy.emergency
    if rule is None:
        raise CliError(
            "the policy has no `emergency` entry: nothing is given before it is approved",
            code=ExitCode.NO,
            remedy="Ask without --emergency (docs/provisioning.md#emergency-access).",
        )
    return f"{int(rule.longest.total_seconds() // 60)}m"


def file_fields(fields: dict[str, Any], *, sign_in: bool) -> None:
    """File one request of any kind from its fields."""
    from entra_pipeline.provisioning import files

    _file(lambda who, now: [files.request(fields, asked_by=who, now=now)], sign_in=sign_in)


def _file(make: Callable[[Any, datetime], Sequence[Any]], *, sign_in: bool) -> None:
    with provisioning() as opened:
        ledger = opened.ledger
        who = identity(sign_in=sign_in)
        apart = opened.policy.separate.requester and not opened.policy.os_user_approves
        filed = opened.file(make(who, ledger.clock()))
    print_filed(filed)
    if apart and not sign_in:
        output.say(
            f"You are known as {who.key}. The policy wants whoever approves to be another person, "
            "and signed in: to be told apart from them, ask with --sign-in.",
            style="yellow",
        )


def print_filed(filed: Sequence[Filed]) -> None:
    """Say what was filed, and what comes next."""
    batch = filed[0].batch_id
    if output.is_json():
        output.print_json(
            {
                "batch": batch,
                "requests": [
                    {"id": each.id, "kind": each.request.kind, "state": each.state}
                    for each in filed
                ],
            }
        )
        return
    if len(filed) == 1:
        output.show(filed[0].id)
    else:
        output.show(f"{batch}: {output.count(len(filed), 'request')}")
    name = filed[0].id if len(filed) == 1 else batch
    output.say(f"Next: entra-pipeline plan {name}")


def principal_id(text: str) -> str:
    """The object id that a text is, or that the warehouse knows by that name."""
    from entra_pipeline.cli import moments

    if moments.OBJECT_ID.fullmatch(text.strip().lower()):
        return text
    from entra_pipeline.cli.warehouse import find_principal, open_warehouse

    with open_warehouse(None) as warehouse:
        found = find_principal(warehouse, text)
    output.say(f"{text}: {found.kind} {found.id}", style="dim")
    return found.id


def _access(text: str) -> str:
    from entra_pipeline.provisioning import files

    if files.access(text) is not None:
        return text
    from entra_pipeline.cli.warehouse import find_entitlement, open_warehouse

    with open_warehouse(None) as warehouse:
        found = find_entitlement(warehouse, text)
    output.say(f"{text}: {found.entitlement_id}", style="dim")
    return found.entitlement_id
