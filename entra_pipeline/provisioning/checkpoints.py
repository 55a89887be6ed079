"""Checkpoints of the audit: its newest entry, signed, kept out of reach of the ledger's writers.

The chain itself cannot show that its end was cut off together with everything that it speaks of; a
checkpoint kept elsewhere can (`ledger.audit.verify` with its head). Signed with Ed25519, so that
who may write to that place cannot make one up.

Here: making, keeping and checking them. Not here: when that is done (each sync), nor whether the
place is out of reach, which is the operator's to see to.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from entra_pipeline.provisioning import canonical
from entra_pipeline.provisioning.errors import ProvisioningError
from entra_pipeline.provisioning.ledger import Head

FORMAT: Final = 1
_PATTERN: Final = "audit-*.json"


class CheckpointError(ProvisioningError):
    """A checkpoint cannot be made, kept or believed; the message says which file and why."""


@dataclass(frozen=True)
class Checkpoint:
    """The newest entry of one tenant's audit at a time."""

    tenant_id: str
    head: Head
    at: datetime


def private_key(path: Path) -> Ed25519PrivateKey:
    """The key that checkpoints are signed with: a PEM file without a password."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CheckpointError(
            f"{path} holds no private key in PEM without a password: "
            "`openssl genpkey -algorithm ed25519` makes one"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise CheckpointError(f"{path} holds a key that is not Ed25519")
    return key


def public_key(path: Path) -> Ed25519PublicKey:
    """The key that checkpoints are checked with: a PEM file, the public half or the private."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, UnsupportedAlgorithm):
        return private_key(path).public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise CheckpointError(f"{path} holds a key that is not Ed25519")
    return key


def keep(folder: Path, checkpoint: Checkpoint, key: Ed25519PrivateKey) -> Path | None:
    """Sign it and write it into the folder, through to the disk; None if the newest says the same.

    Files are named by the entry's number, so that the last name is the newest. None is ever
    replaced. Raises CheckpointError when the place does not take it, and when the audit is behind
    what is kept there.
    """
    newest = latest(folder)
    path = folder / f"audit-{checkpoint.head.seq:012}-{checkpoint.head.hash[:16]}.json"
    if newest is not None and newest.name >= path.name:
        if newest.name == path.name:
            return None
        raise CheckpointError(
            f"the audit ends at entry {checkpoint.head.seq}, and {newest.name} was written of a "
            "later one: `verify-audit --checkpoint` says what is missing"
        )
    said = _document(checkpoint)
    signed = {
        **said,
        "key": fingerprint(key.public_key()),
        "signature": base64.b64encode(key.sign(_bytes(said))).decode(),
    }
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8") as to:
            to.write(json.dumps(signed, indent=2) + "\n")
            to.flush()
            os.fsync(to.fileno())
        part.replace(path)
    except OSError as error:
        raise CheckpointError(
            f"no checkpoint of the audit can be kept in {folder}: {error.strerror}"
        ) from None
    return path


def latest(folder: Path) -> Path | None:
    """The newest checkpoint in a folder."""
    try:
        return max(folder.glob(_PATTERN), key=lambda path: path.name, default=None)
    except OSError:
        return None


def load(path: Path, key: Ed25519PublicKey) -> Checkpoint:
    """A checkpoint that was signed with this key. Raises CheckpointError for any other."""
    try:
        signed = json.loads(path.read_bytes())
        said = {name: signed[name] for name in ("format", "tenant_id", "seq", "hash", "at")}
        signature = base64.b64decode(signed["signature"], validate=True)
        checkpoint = Checkpoint(
            str(said["tenant_id"]),
            Head(int(said["seq"]), str(said["hash"])),
            datetime.fromisoformat(said["at"]).astimezone(UTC),
        )
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(f"{path} is not a checkpoint of an audit") from None
    if said["format"] != FORMAT:
        raise CheckpointError(f"{path} has format {said['format']}, this program knows {FORMAT}")
    try:
        key.verify(signature, _bytes(said))
    except InvalidSignature:
        raise CheckpointError(
            f"{path} was not signed with the key {fingerprint(key)[:16]}…: it was changed, or "
            "signed with another"
        ) from None
    return checkpoint


def fingerprint(key: Ed25519PublicKey) -> str:
    """The SHA-256 of a public key, in hexadecimal digits."""
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()


def _document(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "tenant_id": checkpoint.tenant_id,
        "seq": checkpoint.head.seq,
        "hash": checkpoint.head.hash,
        "at": checkpoint.at.astimezone(UTC).isoformat(),
    }


def _bytes(said: dict[str, Any]) -> bytes:
    return b"entra-pipeline audit checkpoint\n" + canonical.text(said).encode()
