"""`apply` carries out what is due; `stop` and `resume` are the kill switch; `verify-audit`."""

from __future__ import annotations

import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entra_pipeline.cli import options, output
from entra_pipeline.cli.exits import CliError, ExitCode
from entra_pipeline.cli.provisioning.opened import identity, provisioning

if TYPE_CHECKING:
    from entra_pipeline.provisioning.ledger.looking import Listed
    from entra_pipeline.provisioning.service import Carried, Provisioning

MOST_S = 24 * 3600.0
_TELLING_S = 5.0
_BAD = frozenset({"failed", "stale", "ambiguous", "diverged", "malformed", "approved"})
"""Approved: it was taken up, could not be finished, and is to be taken up again."""


def apply(
    wait: Annotated[
        bool, typer.Option("--wait", help="Until reads have confirmed what was written.")
    ] = False,
    json_: options.Json = False,
) -> None:
    """Carry out every approved request whose time has come; take back first what has expired.

    The sensor `provision_watch` has the same done while `serve` runs. Exit 3 when a request failed
    or was put off, its plan is stale, or what came of it is not known.

    [bold]Example[/]

      entra-pipeline apply --wait
    """
    with provisioning(tenant=True) as opened:
        if not opened.enabled:
            raise CliError(
                "nothing is written to the tenant: provisioning is off",
                remedy="Set ENTRA_PROVISIONING=true to open the write gate (docs/provisioning.md).",
            )
        carried = opened.carry_out(wait=wait, most_seconds=MOST_S, say=_say)
        held = _held(opened, carried)
        _tell(opened)
    if output.is_json():
        output.print_json({**_document(carried), "problems": held})
    else:
        _print(carried, held)
    bad = held or any(state.value in _BAD for state in carried.requests.values())
    raise typer.Exit(ExitCode.FAILED if bad else ExitCode.OK)


def stop(
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why.")] = "by hand",
    json_: options.Json = False,
) -> None:
    """Stop all writing before its next call, everywhere; `resume` lets it go on.

    Makes the stop file and tells the ledger. One of the two is enough: a writer that cannot ask
    the ledger does not write.

    [bold]Example[/]

      entra-pipeline stop --reason "wrong group in plan 3f9a"
    """
    problem: str | None = None
    with provisioning() as opened:
        file = opened.stop_file
        who = identity(sign_in=False)
        made = _make(file, f"{who.key}: {reason}\n")
        try:
            opened.ledger.stop(who, reason)
        except Exception as error:
            problem = f"the ledger was not told: {_one_line(error)}"
        if problem and not made:
            raise CliError(
                f"not stopped: {file} cannot be made, and {problem}",
                code=ExitCode.FAILED,
                remedy=f"Make {file} on the machine that writes, or end its processes.",
            )
    if output.is_json():
        document = {"stopped": True, "file": str(file) if made else None}
        output.print_json({**document, "ledger": problem is None, "problem": problem})
        return
    output.show(f"Stopped{f' by {file}' if made else ''}. `entra-pipeline resume` lets it go on.")
    if problem:
        output.say(problem, style="yellow")


def resume(json_: options.Json = False) -> None:
    """Let writing go on after a `stop`.

    [bold]Example[/]

      entra-pipeline resume
    """
    with provisioning() as opened:
        # The ledger first: when it does not answer, everything stays stopped.
        opened.ledger.resume(identity(sign_in=False))
        opened.stop_file.unlink(missing_ok=True)
    if output.is_json():
        output.print_json({"stopped": False})
    else:
        output.show("Writing may go on.")


def verify_audit(
    head: Annotated[
        str | None,
        typer.Option(
            "--head",
            metavar="SEQ:HASH",
            help="A head that was noted earlier: finds that newer entries were cut off.",
            show_default=False,
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            metavar="FILE",
            help="A signed checkpoint that a sync wrote: the same, and nobody can have made it up.",
            show_default=False,
        ),
    ] = None,
    public_key: Annotated[
        Path | None,
        typer.Option(
            "--public-key",
            metavar="FILE",
            help="PEM file with the key to check it with; without it ENTRA_CHECKPOINT_KEY_FILE.",
            show_default=False,
        ),
    ] = None,
    json_: options.Json = False,
) -> None:
    """Check that the ledger is what it became step by step. Exit 1 when it is not, with each row.

    [bold]Examples[/]

      entra-pipeline verify-audit --head 1204:9c0f…

      entra-pipeline verify-audit --checkpoint audit-000000001204-9c0f….json --public-key audit.pub
    """
    from entra_pipeline.provisioning.ledger import verify

    if head is not None and checkpoint is not None:
        raise CliError("--head and --checkpoint: give one of them")
    noted = _noted(head)
    with provisioning() as opened:
        if checkpoint is not None:
            noted = opened.signed_head(checkpoint, public_key)
        report = verify(opened.ledger.database, noted)
    now = f"{report.head.seq}:{report.head.hash}"
    if output.is_json():
        findings = [asdict(each) for each in report.findings]
        output.print_json(
            {"entries": report.entries, "rows": report.rows, "head": now, "findings": findings}
        )
    else:
        for finding in report.findings:
            output.show(f"{finding.row} {finding.problem}", style="red", breaks=False)
        verdict = "as it was written" if not report.findings else "not as it was written"
        entries = output.count(report.entries, "entry", "entries")
        output.show(f"{entries}, {output.count(report.rows, 'row')}: {verdict}.")
        output.show(f"Head, to be noted elsewhere: {now}", breaks=False)
    raise typer.Exit(ExitCode.NO if report.findings else ExitCode.OK)


def _noted(text: str | None) -> Any:
    from entra_pipeline.provisioning.ledger import Head

    if text is None:
        return None
    if not (found := re.fullmatch(r"(\d+):([0-9a-f]{64})", text.strip().lower())):
        raise CliError(f"{text!r} is not a head", remedy="`verify-audit` prints one: SEQ:HASH.")
    return Head(int(found[1]), found[2])


def _tell(opened: Provisioning) -> None:
    """Have a listener told of ends that are near and of what went wrong; wait but a moment."""
    settings = opened.settings
    if settings.requests_webhook_url is None:
        return
    from entra_pipeline.orchestration.courier import Courier
    from entra_pipeline.orchestration.notices import look, notices

    courier = Courier()
    look(settings)
    courier.wake_for(settings, notices(settings))
    courier.wait(_TELLING_S)


def _make(file: Any, text: str) -> bool:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            opened.write(text)
    except OSError:
        return file.exists() is True
    return True


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _held(opened: Provisioning, carried: Carried) -> list[dict[str, Any]]:
    """Requests that did not come to a good end, with their reasons."""
    from entra_pipeline.provisioning.ledger import looking

    keys = [key for key, state in carried.requests.items() if state.value in _BAD]
    keys += [*carried.diverted, *carried.ends_refused]
    found = [looking.one(opened.ledger, key) for key in dict.fromkeys(keys)]
    return [{"id": r.id, "state": r.state, "reasons": _reasons(r)} for r in found]


def _reasons(request: Listed) -> list[str]:
    if request.state.value != "approved":
        return list(request.reasons)
    why = request.reasons or ("whether it was written is not known yet",)
    return [f"put off until {request.due_at:%H:%M:%S} UTC: {each}" for each in why]


def _document(carried: Carried) -> dict[str, Any]:
    return {
        "requests": [{"id": key, "state": state} for key, state in carried.requests.items()],
        "ended": carried.ended,
        "jobs": carried.jobs,
    }


def _say(reached: dict[str, Any]) -> None:
    counted: dict[str, int] = {}
    for state in reached.values():
        counted[str(state)] = counted.get(str(state), 0) + 1
    output.say(", ".join(f"{number} {state}" for state, number in counted.items()), style="dim")


def _print(carried: Carried, held: list[dict[str, Any]]) -> None:
    if not carried.requests and not held:
        output.show("Nothing is due.")
    for key, state in carried.requests.items():
        output.show(f"{key}  {state.value}", breaks=False)
    for each in held:
        for reason in each["reasons"]:
            output.show(f"  {each['id']}: {reason}", style="yellow", breaks=False)
    for app, became in carried.jobs.items():
        output.show(f"provisioning job of {app}: {became}", breaks=False)
    waiting = sum(state.value == "written" for state in carried.requests.values())
    if waiting:
        output.say(f"{output.count(waiting, 'request')} written; reads have yet to confirm.")
