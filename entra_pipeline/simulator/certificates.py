"""Keys and certificates: the simulator's own authority, its server certificate, a client's.

Certificates satisfy strict verification (OpenSSL's X509_STRICT, Python 3.13's default): subject
and authority key identifiers, critical basic constraints and key usage, names of the loopback.
"""

import datetime as dt
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_YEAR = dt.timedelta(days=365)


@dataclass(frozen=True)
class Files:
    """Where the PEM files lie; all but `ca` are readable by their owner alone."""

    ca: Path
    server: Path
    """Server certificate, its authority's, and the private key."""
    client: Path
    """A client certificate with its private key, registered with the simulated application."""


def prepare(directory: Path) -> Files:
    """Use the certificates in the directory, or make them. Kept files stay trusted by clients."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = Files(directory / "ca.pem", directory / "server.pem", directory / "client.pem")
    if not (files.ca.exists() and files.server.exists() and files.client.exists()):
        _make(files)
    return files


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, appearing whole or not at all."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    scratch.replace(path)


def _make(files: Files) -> None:
    now = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("entra_pipeline simulator CA")
    ca_identifier = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = (
        x509.CertificateBuilder()
        .subject_name(ca_name)
        .issuer_name(ca_name)
        .public_key(ca_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + 10 * _YEAR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(ca_identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_identifier),
            critical=False,
        )
        .sign(ca_key, hashes.SHA256())
    )
    server_key = ec.generate_private_key(ec.SECP256R1())
    server = (
        x509.CertificateBuilder()
        .subject_name(_name("localhost"))
        .issuer_name(ca_name)
        .public_key(server_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + 2 * _YEAR)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.DNSName("localhost"),
                    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                    x509.IPAddress(ipaddress.ip_address("::1")),
                ]
            ),
            critical=False,
        )
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(server_key.public_key()), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_identifier),
            critical=False,
        )
        .sign(ca_key, hashes.SHA256())
    )
    # MSAL signs assertions with RSA only.
    client_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    client_name = _name("entra_pipeline simulated client")
    client = (
        x509.CertificateBuilder()
        .subject_name(client_name)
        .issuer_name(client_name)
        .public_key(client_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + 2 * _YEAR)
        .sign(client_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    write_private(files.server, server.public_bytes(pem) + ca.public_bytes(pem) + _key(server_key))
    write_private(files.client, _key(client_key) + client.public_bytes(pem))
    scratch = files.ca.with_name(f".{files.ca.name}.{os.getpid()}")
    scratch.write_bytes(ca.public_bytes(pem))
    scratch.replace(files.ca)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*, sign_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
