"""Credentials that live in files: certificates and federated tokens.

Belongs here: reading them and saying clearly what is wrong with them. Does not belong here: what
they are used for (`auth`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from entra_pipeline.settings import Settings, SettingsError


def read_federated_token(path: Path) -> str:
    """The federated token now in the file: Kubernetes replaces it about hourly."""
    problem = "is empty"
    try:
        token = path.read_text(encoding="ascii").strip()
    except OSError as error:
        token, problem = "", error.strerror or "cannot be read"
    except UnicodeDecodeError:
        token, problem = "", "is not a token"
    if not token:
        raise SettingsError(
            [
                f"ENTRA_FEDERATED_TOKEN_FILE: {path}: {problem}. Check the projected token of "
                "the workload identity."
            ]
        )
    return token


def certificate_credential(settings: Settings) -> dict[str, str]:
    """MSAL's credential from the PEM files of the settings; raises SettingsError."""
    cert_path = settings.client_certificate_path
    assert cert_path is not None  # noqa: S101 - Settings.load checks it
    key_path = settings.client_certificate_key_path or cert_path
    secret = settings.client_certificate_password
    password = secret.get_secret_value() if secret else None
    pem = _read_pem("ENTRA_CLIENT_CERTIFICATE_PATH", cert_path)
    key_name = (
        "ENTRA_CLIENT_CERTIFICATE_KEY_PATH"
        if settings.client_certificate_key_path
        else "ENTRA_CLIENT_CERTIFICATE_PATH"
    )
    key_pem = _read_pem(key_name, key_path)
    problem = None
    try:
        certificate = x509.load_pem_x509_certificates(pem)[0]
    except ValueError:
        problem = (
            f"ENTRA_CLIENT_CERTIFICATE_PATH: {cert_path} holds no PEM certificate. Convert it to "
            "PEM (openssl pkcs12 -in FILE -out FILE.pem)."
        )
    if problem:
        raise SettingsError([problem])
    key_block = _private_key_block(key_pem)
    if key_block is None:
        raise SettingsError(
            [
                f"{key_name}: {key_path} holds no private key. Give the key's PEM file in "
                "ENTRA_CLIENT_CERTIFICATE_KEY_PATH."
            ]
        )
    try:
        key = serialization.load_pem_private_key(key_block, password.encode() if password else None)
    except (ValueError, TypeError):
        problem = (
            "ENTRA_CLIENT_CERTIFICATE_PASSWORD: missing or wrong for the private key of "
            f"{key_path}, or that key is damaged."
        )
    if problem:
        raise SettingsError([problem])
    if _public_bytes(key.public_key()) != _public_bytes(certificate.public_key()):
        raise SettingsError(
            [
                f"{key_name}: the private key of {key_path} does not belong to the first "
                f"certificate of {cert_path}. Put the app's own certificate first."
            ]
        )
    credential = {
        "private_key": key_block.decode("ascii"),
        "public_certificate": _certificate_blocks(pem),
    }
    if password:
        credential["passphrase"] = password
    return credential


def _public_bytes(key: Any) -> bytes:
    result: bytes = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return result


def _read_pem(name: str, path: Path) -> bytes:
    problem = None
    try:
        return path.read_bytes()
    except OSError as error:
        problem = error.strerror or "cannot be read"
    raise SettingsError([f"{name}: {path}: {problem}. Give the path of a readable PEM file."])


def _private_key_block(pem: bytes) -> bytes | None:
    lines: list[bytes] = []
    for line in pem.splitlines():
        if line.startswith(b"-----BEGIN ") and b"PRIVATE KEY" in line:
            lines = [line]
        elif lines:
            lines.append(line)
            if line.startswith(b"-----END "):
                return b"\n".join(lines) + b"\n"
    return None


def _certificate_blocks(pem: bytes) -> str:
    kept: list[str] = []
    inside = False
    for line in pem.decode("utf-8", "replace").splitlines():
        inside = inside or line.startswith("-----BEGIN CERTIFICATE")
        if inside:
            kept.append(line)
        inside = inside and not line.startswith("-----END ")
    return "\n".join(kept) + "\n"
