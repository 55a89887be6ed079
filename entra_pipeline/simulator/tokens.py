"""Signed tokens: making and reading JSON Web Tokens, and checking client assertions.

No endpoint and no policy here (identity.py).
"""

import base64
import binascii
import hashlib
import secrets
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from entra_pipeline.simulator.wire import JsonObject, decode_json, encode_json


class InvalidTokenError(ValueError):
    """The token cannot be read or its signature does not hold."""


def b64(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """base64url with or without padding. Raises InvalidTokenError."""
    try:
        return base64.urlsafe_b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))
    except (binascii.Error, ValueError) as error:
        raise InvalidTokenError("not base64url") from error


class Signer:
    """The simulator's own key: signs every token it issues, and reads them again."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._public = self._key.public_key()
        self.key_id = b64(secrets.token_bytes(20))

    def sign(self, claims: JsonObject) -> str:
        """A token with these claims, RS256."""
        header = {"typ": "JWT", "alg": "RS256", "x5t": self.key_id, "kid": self.key_id}
        signed = f"{b64(encode_json(header))}.{b64(encode_json(claims))}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{b64(signature)}"

    def verify(self, token: str) -> JsonObject:
        """Claims of a token that this signer made. Raises InvalidTokenError."""
        _, claims = split(token)
        check_signature(token, self._public, ("RS256",))
        return claims

    def jwks(self) -> JsonObject:
        """The public key as `discovery/v2.0/keys` shows it."""
        numbers = self._public.public_numbers()
        return {
            "keys": [
                {
                    "kty": "RSA",
                    "use": "sig",
                    "alg": "RS256",
                    "kid": self.key_id,
                    "x5t": self.key_id,
                    "n": b64(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
                    "e": b64(numbers.e.to_bytes(3, "big")),
                }
            ]
        }


def split(token: str) -> tuple[JsonObject, JsonObject]:
    """Header and claims of a token, unverified. Raises InvalidTokenError."""
    parts = token.split(".")
    if len(parts) != 3:
        raise InvalidTokenError("not a JSON Web Token")
    decoded: list[Any] = []
    for part in parts[:2]:
        try:
            decoded.append(decode_json(unb64(part)))
        except ValueError as error:
            raise InvalidTokenError("not a JSON Web Token") from error
    if not all(isinstance(each, dict) for each in decoded):
        raise InvalidTokenError("not a JSON Web Token")
    return decoded[0], decoded[1]


def check_signature(token: str, key: rsa.RSAPublicKey, algorithms: tuple[str, ...]) -> None:
    """Raise InvalidTokenError unless the key made the token's signature."""
    header, _ = split(token)
    algorithm = header.get("alg")
    if algorithm not in algorithms:
        raise InvalidTokenError(f"algorithm {algorithm} is not accepted")
    scheme: padding.AsymmetricPadding = (
        padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
        if algorithm == "PS256"
        else padding.PKCS1v15()
    )
    signed, _, signature = token.rpartition(".")
    try:
        key.verify(unb64(signature), signed.encode(), scheme, hashes.SHA256())
    except InvalidSignature as error:
        raise InvalidTokenError("the signature does not hold") from error


class ClientCertificate:
    """A certificate registered with an application."""

    def __init__(self, pem: bytes) -> None:
        certificate = x509.load_pem_x509_certificate(pem)
        key = certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            raise ValueError("client certificates must have an RSA key")
        self._key = key
        der = certificate.public_bytes(serialization.Encoding.DER)
        self.sha1 = hashlib.sha1(der, usedforsecurity=False).digest()
        self.sha256 = hashlib.sha256(der).digest()

    @classmethod
    def from_file(cls, path: Path) -> "ClientCertificate":
        """The first certificate in a PEM file, which may hold a key as well."""
        text = path.read_bytes()
        start = text.find(b"-----BEGIN CERTIFICATE-----")
        if start < 0:
            raise ValueError(f"{path}: holds no PEM certificate")
        return cls(text[start:])

    def signed(self, assertion: str) -> bool:
        """Whether the assertion names this certificate and carries its signature.

        MSAL names it by `x5t` (SHA-1) or `x5t#S256`, padded or not, and signs RS256 or PS256.
        """
        try:
            header, _ = split(assertion)
            named = [
                unb64(header[name]) == thumbprint
                for name, thumbprint in (("x5t", self.sha1), ("x5t#S256", self.sha256))
                if isinstance(header.get(name), str)
            ]
            if not named or not all(named):
                return False
            check_signature(assertion, self._key, ("RS256", "PS256"))
        except InvalidTokenError:
            return False
        return True
