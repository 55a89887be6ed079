"""Would a request be carried out? What the writer, the ledger and the policy lack, line by line.

Here: the checks that `doctor` prints while the write gate is open. Not here: checks of reading, and
what each kind of write takes (`permissions`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final, Literal

from entra_pipeline.msgraph import Claims, GraphError
from entra_pipeline.provisioning.actions import HANDLERS
from entra_pipeline.provisioning.errors import ProvisioningError
from entra_pipeline.provisioning.leavers import PERMISSIONS
from entra_pipeline.provisioning.permissions import (
    EXCHANGE_READ_ROLES,
    MANAGE_EXCHANGE,
    NEEDS,
    START_JOBS,
    Lack,
    lacks,
)
from entra_pipeline.provisioning.plans import Action
from entra_pipeline.provisioning.service import Provisioning
from entra_pipeline.settings import Settings, SettingsError

State = Literal["ok", "warning", "failed", "skipped"]
Line = tuple[str, State, str, str | None]
"""Name, state, what was found, what to do about it."""

LISTS: Final = frozenset(
    {
        Action.ADD_EXCHANGE_MEMBER,
        Action.REMOVE_EXCHANGE_MEMBER,
        Action.ADD_EXCHANGE_OWNER,
        Action.REMOVE_EXCHANGE_OWNER,
    }
)
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
        yield _sealing(opened, settings)
        yield from _checkpoints(settings)
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


def _sealing(opened: Provisioning, settings: Settings) -> Line:
    name, place = "new passwords", {"azure": " in Key Vault", "hashicorp": " in HashiCorp Vault"}
    try:
        vault = opened.vault
    except (ProvisioningError, SettingsError) as error:
        return name, "warning", _said(error), "Passwords are not set until that is mended."
    if vault is None:
        return (
            name,
            "warning",
            "nobody to seal them to: accounts are not made and passwords not changed",
            "Name public keys of those who may read them in ENTRA_SEAL_TO (`age-keygen`).",
        )
    where = place.get(settings.vault, "")
    if settings.vault_unsealed:
        return name, "ok", f"kept{where} as they are", None
    keys = len(vault.recipients)
    return name, "ok", f"sealed to {keys} key{'s' if keys > 1 else ''}{where}", None


def _checkpoints(settings: Settings) -> Iterator[Line]:
    folder, file = settings.checkpoint_dir, settings.checkpoint_key_file
    if folder is None and file is None:
        return
    name = "audit checkpoints"
    if folder is None or file is None:
        missing = "ENTRA_CHECKPOINT_DIR" if folder is None else "ENTRA_CHECKPOINT_KEY_FILE"
        yield name, "warning", f"{missing} is missing: none are written", "Set both, or neither."
        return
    from entra_pipeline.provisioning import checkpoints

    try:
        checkpoints.private_key(file)
    except checkpoints.CheckpointError as error:
        yield name, "warning", str(error), "None are written until that is mended."
        return
    newest = checkpoints.latest(folder)
    yield name, "ok", f"in {folder}, the newest {newest.name if newest else 'not yet'}", None


def _said(error: Exception) -> str:
    return " ".join(error.messages) if isinstance(error, SettingsError) else str(error)


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
    held, roles = claims.permissions, claims.directory_roles
    kinds = [each for each in HANDLERS if settings.exchange or each not in LISTS]
    if settings.exchange:
        found = yield from _exchange(opened, settings)
        if found is None:
            kinds = [each for each in kinds if each not in LISTS]
        else:
            held, roles = held | found.permissions, roles | found.directory_roles
    else:
        yield (
            "exchange",
            "skipped",
            "not configured: distribution lists and mail-enabled security groups are refused",
            "Set ENTRA_EXCHANGE=true to have them changed; docs/provisioning.md has the steps.",
        )
    if settings.schedule_scim_provisioning and START_JOBS not in held:
        yield (
            "writer: provisioning jobs",
            "warning",
            f"cannot be started after grants, missing: {START_JOBS}",
            f"Grant the writer {START_JOBS}, or turn ENTRA_SCHEDULE_SCIM_PROVISIONING off.",
        )
    missing = lacks(held, roles, kinds)
    whole = [lack for lack in missing if lack.whole]
    if not whole:
        yield "writer", "ok", f"can carry out all {len(kinds)} kinds of writes", None
    for lack in whole:
        yield f"writer: {lack.action}", "warning", _says(lack), _GUIDE
    if some := _some(missing):
        yield "writer: some objects", "warning", f"out of reach: {some}", _GUIDE
    if any(lack.administrators for lack in missing):
        those = ", ".join(lack.action for lack in missing if lack.administrators)
        yield (
            "writer: administrators",
            "warning",
            f"administrators are out of reach of {those}",
            "Give the writer's service principal the directory role Privileged Authentication "
            "Administrator, if it is to act on administrators.",
        )


def _exchange(opened: Provisioning, settings: Settings) -> Generator[Line, None, Claims | None]:
    """What keeps plans from seeing lists; and what the writer may do in Exchange."""
    try:
        reader, writer = opened.exchange_claims()
    except SettingsError as error:
        yield "exchange", "warning", " ".join(error.messages), _GUIDE
        return None
    except GraphError as error:
        yield "exchange", "warning", str(error), "No token for Exchange Online could be had."
        return None
    yield _looked_at(reader, settings)
    return writer


def lists_read(settings: Settings) -> Line:
    """Whether a sync can read what Exchange keeps of groups."""
    from entra_pipeline.exchange import ExchangeClient

    try:
        client = ExchangeClient.from_settings(settings)
    except SettingsError as error:
        return "exchange", "warning", " ".join(error.messages), _GUIDE
    try:
        return _looked_at(client.token_claims(), settings)
    except GraphError as error:
        return "exchange", "warning", str(error), "No token for Exchange Online could be had."
    finally:
        client.close()


def _looked_at(reader: Claims, settings: Settings) -> Line:
    lacking = [MANAGE_EXCHANGE] if MANAGE_EXCHANGE not in reader.permissions else []
    if not EXCHANGE_READ_ROLES & reader.directory_roles:
        lacking.append("a directory role such as Global Reader")
    if lacking:
        said = f"lists cannot be looked at, the reading application lacks: {', '.join(lacking)}"
        return "exchange", "warning", said, _GUIDE
    return "exchange", "ok", f"{settings.endpoints.exchange_url} lets lists be looked at", None


def _says(lack: Lack) -> str:
    parts = [*lack.permissions]
    if lack.role:
        parts.append(f"a directory role such as {NEEDS[lack.action].role}")
    return f"cannot be carried out, missing: {', '.join(parts)}"


def _some(missing: tuple[Lack, ...]) -> str:
    found: dict[str, list[str]] = {}
    for lack in missing:
        for what, permission in lack.some:
            found.setdefault(f"{what} ({permission})", []).append(lack.action)
    return "; ".join(f"{what} for {', '.join(kinds)}" for what, kinds in found.items())
