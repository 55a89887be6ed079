"""Would a request be carried out? What the writer, the ledger and the policy lack, line by line.

Here: the checks that `doctor` prints while the write gate is open. Not here: checks of reading, and
what each kind of write takes (`permissions`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from entra_pipeline.msgraph import GraphError
from entra_pipeline.provisioning.actions import HANDLERS
from entra_pipeline.provisioning.errors import ProvisioningError
from entra_pipeline.provisioning.leavers import PERMISSIONS
from entra_pipeline.provisioning.permissions import Lack, lacks
from entra_pipeline.provisioning.service import Provisioning
from entra_pipeline.settings import Settings, SettingsError

State = Literal["ok", "warning", "failed", "skipped"]
Line = tuple[str, State, str, str | None]
"""Name, state, what was found, what to do about it."""

_GUIDE = "docs/provisioning.md has the permissions of each kind."


def checks(settings: Settings) -> Iterator[Line]:
    """One line each; what cannot write is no reason why a sync could not run, so none fails."""
    with Provisioning(settings) as opened:
        yield _policy(opened)
        yield _ledger(opened)
        if opened.stop_file.exists():
            yield (
                "kill switch",
                "warning",
                f"all writing is stopped by {opened.stop_file}",
                "`entra-pipeline resume` lets it go on.",
            )
        yield _sealing(settings)
        yield from _telling(opened, settings)
        yield from _leavers(opened)
        yield from _writer(opened, settings)


def _policy(opened: Provisioning) -> Line:
    try:
        policy = opened.policy
    except (ProvisioningError, SettingsError) as error:
        return "policy", "warning", str(error), "Nothing is planned or written until it is right."
    if policy.os_user_approves:
        return (
            "policy",
            "warning",
            "whoever can run commands on this machine can approve (os_user_approves)",
            "Leave it out to have people sign in for it.",
        )
    return "policy", "ok", f"hash {policy.hash[:12]}", None


def _ledger(opened: Provisioning) -> Line:
    file = opened.ledger_file
    if file is not None and not file.exists():
        return "ledger", "ok", f"{file} will be made by the first request", None
    try:
        stopped = opened.ledger.stopped()
    except (ProvisioningError, SettingsError) as error:
        return "ledger", "warning", str(error), "Nothing is written until the ledger answers."
    if stopped is not None:
        return (
            "ledger",
            "warning",
            f"all writing was stopped by {stopped['by']} at {stopped['at']}",
            "`entra-pipeline resume` lets it go on.",
        )
    return "ledger", "ok", opened.ledger.database.engine.url.render_as_string(), None


def _sealing(settings: Settings) -> Line:
    if keys := len(settings.seal_to):
        return "new passwords", "ok", f"sealed to {keys} key{'s' if keys > 1 else ''}", None
    return (
        "new passwords",
        "warning",
        "nobody to seal them to: accounts are not made and passwords not changed",
        "Name public keys of those who may read them in ENTRA_SEAL_TO (`age-keygen`).",
    )


def _telling(opened: Provisioning, settings: Settings) -> Iterator[Line]:
    try:
        rule = opened.policy.emergency
    except (ProvisioningError, SettingsError):
        return  # said above
    if rule is not None and not (settings.alert_webhook_url or settings.events_webhook_url):
        yield (
            "emergency access",
            "warning",
            "nobody is told of it: there is no webhook",
            "Set ENTRA_ALERT_WEBHOOK_URL.",
        )


def _leavers(opened: Provisioning) -> Iterator[Line]:
    try:
        rule = opened.policy.offboard
        if rule is None or not rule.file_from_leave_date:
            return
        held = opened.reader.token_claims().permissions
    except (ProvisioningError, SettingsError, GraphError):
        return  # said elsewhere
    if not PERMISSIONS & set(held):
        yield (
            "date of leaving",
            "warning",
            "offboardings are not filed from it: it cannot be read",
            "Grant the reading application User-LifeCycleInfo.Read.All.",
        )


def _writer(opened: Provisioning, settings: Settings) -> Iterator[Line]:
    try:
        claims = opened.writer.token_claims()
    except SettingsError as error:
        yield "writer", "warning", " ".join(error.messages), _GUIDE
        return
    except GraphError as error:
        yield "writer", "warning", str(error), "Correct the writer's credential (ENTRA_WRITER_…)."
        return
    if settings.writer_is_reader:
        yield (
            "writer",
            "warning",
            "the application that reads writes too (ENTRA_WRITER_IS_READER)",
            "Give the writer an application of its own, so that the reader cannot write.",
        )
    missing = lacks(claims.permissions, claims.directory_roles, HANDLERS.keys())
    whole = [lack for lack in missing if lack.whole]
    if not whole:
        yield "writer", "ok", f"can carry out all {len(HANDLERS)} kinds of writes", None
    for lack in whole:
        yield f"writer: {lack.action}", "warning", _says(lack), _GUIDE
    if some := _some(missing):
        yield "writer: some objects", "warning", f"out of reach: {some}", _GUIDE
    if any(lack.administrators for lack in missing):
        kinds = ", ".join(lack.action for lack in missing if lack.administrators)
        yield (
            "writer: administrators",
            "warning",
            f"administrators are out of reach of {kinds}",
            "Give the writer's service principal the directory role Privileged Authentication "
            "Administrator, if it is to act on administrators.",
        )


def _says(lack: Lack) -> str:
    parts = [*lack.permissions]
    if lack.role:
        parts.append("a directory role such as User Administrator")
    return f"cannot be carried out, missing: {', '.join(parts)}"


def _some(missing: tuple[Lack, ...]) -> str:
    found: dict[str, list[str]] = {}
    for lack in missing:
        for what, permission in lack.some:
            found.setdefault(f"{what} ({permission})", []).append(lack.action)
    return "; ".join(f"{what} for {', '.join(kinds)}" for what, kinds in found.items())
