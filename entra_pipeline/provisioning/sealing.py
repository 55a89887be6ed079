"""Passwords: generated here, sealed to people's keys, and kept where only those can read them.

Belongs here: making passwords, sealing them, and the places where sealed ones are kept. Does not
belong here: setting them (`actions`), and when (`applying`): sealed and durable before Graph knows
the password at all, and thrown away when Graph is known not to have taken it.

Sealed with age (https://age-encryption.org/v1) to X25519 keys: `age --decrypt -i key.txt FILE`
opens a file, as does any other program for age.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import pyrage

from entra_pipeline.provisioning import canonical
from entra_pipeline.provisioning.actions.base import Call
from entra_pipeline.provisioning.errors import ProvisioningError
from entra_pipeline.provisioning.plans import Operation
from entra_pipeline.settings.recipients import check

log = logging.getLogger(__name__)

LENGTH: Final = 24
# Without letters and digits that are taken for each other when read aloud or from paper.
_CLASSES: Final = (
    "".join(sorted(set(string.ascii_lowercase) - set("l"))),
    "".join(sorted(set(string.ascii_uppercase) - set("IO"))),
    "23456789",
    "!#%+-=?@_",
)
_SUFFIX: Final = ".age"


class SealingError(ProvisioningError):
    """A password cannot be sealed or kept: then it is not set either."""


class Vault(Protocol):
    """A place for sealed passwords."""

    @property
    def recipients(self) -> tuple[str, ...]:
        """The public keys of those who can open what is kept here, sorted."""
        ...

    def keep(self, request_id: str, attempt_id: str, document: Mapping[str, Any]) -> None:
        """Seal a document and keep it: durable when this returns. Raises SealingError."""
        ...

    def discard(self, request_id: str, attempt_id: str) -> None:
        """Forget what was sealed for an attempt that set no password."""
        ...

    def kept(self, request_id: str) -> dict[str, str]:
        """What is kept for a request: name to SHA-256 of the sealed content."""
        ...


def new_password() -> str:
    """A random password of about 145 bits, with something of every class that Entra asks for."""
    signs = "".join(_CLASSES)
    while True:
        password = "".join(secrets.choice(signs) for _ in range(LENGTH))
        if all(any(sign in part for sign in password) for part in _CLASSES):
            return password


def check_recipients(recipients: Iterable[str]) -> tuple[str, ...]:
    """The public keys, sorted, each once. SealingError for what is none."""
    try:
        return check(recipients)
    except ValueError as error:
        raise SealingError(str(error)) from None


def seal(document: Mapping[str, Any], recipients: Iterable[str]) -> bytes:
    """A document that only the owners of these keys can read. Raises SealingError."""
    keys = [pyrage.x25519.Recipient.from_str(each) for each in check_recipients(recipients)]
    if not keys:
        raise SealingError("there is nobody to seal the password to: name recipients")
    return pyrage.encrypt(canonical.text(dict(document)).encode(), keys, armored=True)


class SealedFiles:
    """Sealed passwords as files of a directory that only its owner can look into."""

    def __init__(self, folder: Path, recipients: Iterable[str]) -> None:
        self._folder = folder
        self._recipients = check_recipients(recipients)
        if not self._recipients:
            raise SealingError("there is nobody to seal passwords to: name recipients")

    @property
    def recipients(self) -> tuple[str, ...]:
        """The public keys of those who can open the files, sorted."""
        return self._recipients

    def keep(self, request_id: str, attempt_id: str, document: Mapping[str, Any]) -> None:
        """Seal and write through to the disk, name and all. Raises SealingError."""
        sealed = seal(document, self._recipients)
        path = self._path(request_id, attempt_id)
        part = path.with_suffix(".part")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as to:
                to.write(sealed)
                to.flush()
                os.fsync(to.fileno())
            part.replace(path)
            _sync(self._folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise SealingError(
                f"sealed passwords cannot be kept in {self._folder}: {error.strerror}"
            ) from None

    def discard(self, request_id: str, attempt_id: str) -> None:
        """Remove the file of an attempt; that it is not there is as good."""
        self._path(request_id, attempt_id).unlink(missing_ok=True)

    def kept(self, request_id: str) -> dict[str, str]:
        """Files of a request: name to SHA-256, the oldest first."""
        found = sorted(
            self._folder.glob(f"{request_id}.*{_SUFFIX}"), key=lambda path: path.stat().st_mtime_ns
        )
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

    def _path(self, request_id: str, attempt_id: str) -> Path:
        return self._folder / f"{request_id}.{attempt_id}{_SUFFIX}"


def _sync(folder: Path) -> None:
    """Have the directory's own entries reach the disk, where the system knows such a thing."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Sealing:
    """Puts new passwords into writes, after they were sealed and kept. `vault` None: it cannot."""

    def __init__(self, vault: Vault | None) -> None:
        self._vault = vault

    def against(self, operation: Operation) -> str | None:
        """Why an operation's password cannot be sealed as it was approved."""
        if self._vault is None:
            return "there is nobody to seal the password to: name recipients, and plan again"
        if list(self._vault.recipients) != list(operation.arguments["recipients"]):
            return "passwords are sealed to others than when it was planned: plan again"
        return None

    def body(self, operation: Operation, call: Call, attempt: str) -> Mapping[str, Any] | None:
        """The call's body, with a new password where it sets one. Raises SealingError."""
        if call.seals is None:
            return call.body
        if (reason := self.against(operation)) is not None or self._vault is None:
            raise SealingError(reason or "there is nobody to seal the password to")
        password = new_password()
        said = {"request": operation.request_id, "attempt": attempt, "password": password}
        self._vault.keep(operation.request_id, attempt, {**call.seals, **said})
        profile = {"password": password, "forceChangePasswordNextSignIn": True}
        return {**(call.body or {}), "passwordProfile": profile}

    def settle(
        self, operation: Operation, call: Call, attempt: str, *, happened: bool | None
    ) -> None:
        """Throw away what was sealed for a write that is known not to have happened."""
        if call.seals is None or happened is not False or self._vault is None:
            return
        try:
            self._vault.discard(operation.request_id, attempt)
        except (OSError, SealingError) as error:
            # What became of the write is to be recorded all the same.
            log.warning("a sealed password that was not set could not be removed: %s", error)

    def kept(self, operation: Operation) -> dict[str, str]:
        """What a result says of an operation's sealed passwords; nothing of other operations."""
        if self._vault is None or "recipients" not in operation.arguments:
            return {}
        try:
            kept = self._vault.kept(operation.request_id)
        except (OSError, SealingError) as error:
            log.warning("sealed passwords cannot be looked at: %s", error)
            return {}
        return {f"sealed:{name}": digest for name, digest in kept.items()}
