"""An id token says who somebody is only if everything about it holds."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from entra_pipeline.msgraph.errors import AuthenticationError
from entra_pipeline.msgraph.id_tokens import sign_in, verified
from entra_pipeline.simulator.process import running
from tests.support import settings_for

ISSUER, AUDIENCE, TENANT = "https://authority/t/v2.0", "our-client", "00000000-aaaa"
KEY, OTHER = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
JWK = {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key())), "kid": "k1"}


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    made = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "tid": TENANT,
        "oid": "0B1EC7",
        "iat": now,
        "exp": now + 3600,
        **changed,
    }
    return {name: value for name, value in made.items() if value is not None}


def check(token: str) -> str:
    return verified(token, [JWK], issuer=ISSUER, audience=AUDIENCE, tenant=TENANT)


def test_a_token_that_holds_gives_the_object_id() -> None:
    assert check(jwt.encode(claims(), KEY, "RS256", headers={"kid": "k1"})) == "0b1ec7"


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://other/t/v2.0"},
        {"aud": "another-client"},
        {"tid": "11111111-bbbb"},
        {"exp": 1_700_000_000},  # long ago
        {"oid": None},
        {"tid": None},
        {"exp": None},
    ],
    ids=str,
)
def test_a_claim_that_does_not_hold_makes_it_nobodys(changed: dict[str, Any]) -> None:
    with pytest.raises(AuthenticationError, match="cannot be trusted"):
        check(jwt.encode(claims(**changed), KEY, "RS256", headers={"kid": "k1"}))


@pytest.mark.parametrize("kid", ["k1", "k2"])
def test_a_signature_by_another_key_or_by_none_makes_it_nobodys(kid: str) -> None:
    forged = [
        jwt.encode(claims(), OTHER, "RS256", headers={"kid": kid}),
        jwt.encode(claims(), None, "none", headers={"kid": kid}),
        jwt.encode(claims(), "x" * 32, "HS256", headers={"kid": kid}),
        "not.a.token",
    ]
    for token in forged:
        with pytest.raises(AuthenticationError, match="cannot be trusted"):
            check(token)


def test_whoever_signs_in_is_known_by_their_object_id_and_no_token_is_kept(tmp_path: Any) -> None:
    with running(users=12, groups=4, seed=5) as simulator:
        settings = settings_for(simulator, tmp_path / "data")
        shown: list[str] = []
        found = sign_in(settings, lambda code: shown.append(code.user_code))
        assert found in {user["id"] for user in simulator.truth("users")}
    assert len(shown) == 1
    assert not (tmp_path / "data").exists()
