"""A signed checkpoint finds that the end of the audit was cut off, and cannot be made up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from entra_pipeline.provisioning.checkpoints import CheckpointError
from entra_pipeline.provisioning.service import Provisioning
from entra_pipeline.settings import SettingsError
from entra_pipeline.simulator.process import Simulator
from tests.provisioning.making import grant
from tests.provisioning.program import Program


def pem(path: Path, key: Ed25519PrivateKey) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def public(path: Path, key: Ed25519PrivateKey) -> Path:
    form = PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, form))
    return path


@pytest.fixture
def program(written_to: Simulator, tmp_path: Path) -> Program:
    made = Program(written_to, tmp_path)
    made.env["ENTRA_CHECKPOINT_DIR"] = str(tmp_path / "elsewhere")
    key = Ed25519PrivateKey.generate()
    made.env["ENTRA_CHECKPOINT_KEY_FILE"] = str(pem(tmp_path / "audit.pem", key))
    public(tmp_path / "audit.pub", key)
    return made


def checkpointed(program: Program) -> Path | None:
    with Provisioning(program.settings()) as opened:
        return opened.checkpoint()


def filed(program: Program) -> None:
    with Provisioning(program.settings()) as opened:
        opened.file([grant()])


def test_truncation_is_found_beside_a_checkpoint(program: Program, tmp_path: Path) -> None:
    filed(program)
    first = checkpointed(program)
    assert first is not None
    assert checkpointed(program) is None
    shutil.copy(program.data / "ledger.sqlite", tmp_path / "short")
    filed(program)
    second = checkpointed(program)
    assert second is not None
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == [
        first.name,
        second.name,
    ]
    for checkpoint in (first, second):
        program("verify-audit", "--checkpoint", str(checkpoint))
    # The end is cut off, and all that it spoke of with it: the chain alone shows nothing.
    (program.data / "ledger.sqlite").unlink()
    shutil.copy(tmp_path / "short", program.data / "ledger.sqlite")
    program("verify-audit")
    program("verify-audit", "--checkpoint", str(first))
    found = program.json("verify-audit", "--checkpoint", str(second), code=1)
    assert "the end was cut off" in found["findings"][0]["problem"]
    with pytest.raises(CheckpointError, match="written of a later one"):
        checkpointed(program)


def test_a_checkpoint_that_was_changed_or_made_up_is_not_believed(
    program: Program, tmp_path: Path
) -> None:
    filed(program)
    kept = checkpointed(program)
    assert kept is not None
    with_public = ("--public-key", str(tmp_path / "audit.pub"))
    gone = {"ENTRA_CHECKPOINT_KEY_FILE": "", "ENTRA_CHECKPOINT_DIR": ""}
    program("verify-audit", "--checkpoint", str(kept), *with_public, **gone)
    no_key = program("verify-audit", "--checkpoint", str(kept), code=3, **gone)
    assert "--public-key" in no_key.err
    said = json.loads(kept.read_text())
    for name, value in (
        ("seq", said["seq"] - 1),
        ("hash", "0" * 64),
        ("at", "2026-01-01T00:00:00Z"),
    ):
        forged = tmp_path / "forged.json"
        forged.write_text(json.dumps({**said, name: value}))
        refused = program("verify-audit", "--checkpoint", str(forged), code=3)
        assert "was not signed with the key" in refused.err
    other = public(tmp_path / "other.pub", Ed25519PrivateKey.generate())
    refused = program("verify-audit", "--checkpoint", str(kept), "--public-key", str(other), code=3)
    assert "was not signed with the key" in refused.err


def test_half_of_the_settings_and_other_keys_are_refused(program: Program, tmp_path: Path) -> None:
    filed(program)
    key_file = program.env.pop("ENTRA_CHECKPOINT_KEY_FILE")
    with pytest.raises(SettingsError):
        checkpointed(program)
    rsa = generate_private_key(65537, 2048)
    form = PrivateFormat.PKCS8
    (tmp_path / "rsa.pem").write_bytes(rsa.private_bytes(Encoding.PEM, form, NoEncryption()))
    program.env["ENTRA_CHECKPOINT_KEY_FILE"] = str(tmp_path / "rsa.pem")
    with pytest.raises(CheckpointError, match="not Ed25519"):
        checkpointed(program)
    program.env["ENTRA_CHECKPOINT_KEY_FILE"] = key_file
    assert checkpointed(program) is not None
