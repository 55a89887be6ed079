"""Tokens as real clients get them: MSAL with every kind of credential, and bare posts."""

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msal
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from entra_pipeline.simulator.process import Simulator, running
from tests.simulator.conftest import GLOBAL_ADMINISTRATOR, Client


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running(users=30, groups=10, seed=1) as simulator:
        yield simulator


@pytest.fixture(autouse=True)
def _no_foreign_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def confidential(simulator: Simulator, credential: Any) -> msal.ConfidentialClientApplication:
    return msal.ConfidentialClientApplication(
        simulator.info.client_id,
        client_credential=credential,
        authority=f"{simulator.info.authority_url}/{simulator.info.tenant_id}",
        instance_discovery=False,
        verify=simulator.info.ca_file,
    )


def claims(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return decoded


def reads_users(simulator: Simulator, token: str) -> int:
    return requests.get(
        f"{simulator.info.http_graph_url}/v1.0/users?$top=1",
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
    ).status_code


def pem_parts(simulator: Simulator) -> tuple[str, str]:
    text = Path(simulator.info.client_certificate_file).read_text()
    key, certificate = text.split("-----BEGIN CERTIFICATE-----")
    return key, "-----BEGIN CERTIFICATE-----" + certificate


@pytest.mark.parametrize(
    "resource",
    [
        "own",
        "https://graph.microsoft.com",
        "https://graph.microsoft.us",
        "https://dod-graph.microsoft.us",
        "https://microsoftgraph.chinacloudapi.cn",
    ],
)
def test_a_secret_gets_a_token_for_any_clouds_graph(simulator: Simulator, resource: str) -> None:
    base = simulator.info.graph_url if resource == "own" else resource
    app = confidential(simulator, simulator.info.client_secret)
    result = app.acquire_token_for_client([f"{base}/.default"])
    assert "access_token" in result, result
    said = claims(result["access_token"])
    assert said["tid"] == simulator.info.tenant_id
    assert said["appid"] == simulator.info.client_id
    assert said["idtyp"] == "app"
    assert said["aud"] == base
    assert said["oid"]
    assert "User.Read.All" in said["roles"]
    assert reads_users(simulator, result["access_token"]) == 200


def test_a_token_for_exchange_does_not_open_graph(simulator: Simulator) -> None:
    app = confidential(simulator, simulator.info.client_secret)
    result = app.acquire_token_for_client(["https://outlook.office365.com/.default"])
    assert claims(result["access_token"])["roles"] == ["Exchange.ManageAsApp"]
    assert reads_users(simulator, result["access_token"]) == 401


def test_a_certificate_signs_in_both_of_msals_ways(simulator: Simulator) -> None:
    key, certificate = pem_parts(simulator)
    parsed = x509.load_pem_x509_certificate(certificate.encode())
    thumbprint = parsed.fingerprint(hashes.SHA1()).hex()
    for credential in (
        {"private_key": key, "public_certificate": certificate},
        {"private_key": key, "thumbprint": thumbprint},
    ):
        app = confidential(simulator, credential)
        result = app.acquire_token_for_client([f"{simulator.info.graph_url}/.default"])
        assert "access_token" in result, result
        assert reads_users(simulator, result["access_token"]) == 200


def test_a_foreign_certificate_is_refused(simulator: Simulator) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stranger")])
    registered = x509.load_pem_x509_certificate(pem_parts(simulator)[1].encode())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(registered.not_valid_before_utc)
        .not_valid_after(registered.not_valid_after_utc)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    own = certificate.public_bytes(serialization.Encoding.PEM).decode()
    for shown in (own, pem_parts(simulator)[1]):
        app = confidential(simulator, {"private_key": pem, "public_certificate": shown})
        result = app.acquire_token_for_client([f"{simulator.info.graph_url}/.default"])
        assert result["error_codes"] == [700027]


def test_a_federated_assertion_signs_in(simulator: Simulator) -> None:
    token = Path(simulator.info.federated_token_file).read_text()
    app = confidential(simulator, {"client_assertion": lambda: token})
    result = app.acquire_token_for_client([f"{simulator.info.graph_url}/.default"])
    assert reads_users(simulator, result["access_token"]) == 200
    header, payload, _ = token.split(".")
    forged = {**claims(token), "sub": "somebody else"}
    body = base64.urlsafe_b64encode(json.dumps(forged).encode()).rstrip(b"=").decode()
    for bad in (f"{header}.{body}.AAAA", f"{header}.{payload}.AAAA"):
        app = confidential(simulator, {"client_assertion": lambda bad=bad: bad})
        result = app.acquire_token_for_client([f"{simulator.info.graph_url}/.default"])
        assert result["error_codes"] in ([700213], [700027])


def test_an_administrator_signs_in_by_device_code_and_refreshes(simulator: Simulator) -> None:
    app = msal.PublicClientApplication(
        simulator.info.client_id,
        authority=f"{simulator.info.authority_url}/{simulator.info.tenant_id}",
        instance_discovery=False,
        verify=simulator.info.ca_file,
    )
    scopes = [f"{simulator.info.graph_url}/.default"]
    flow = app.initiate_device_flow(scopes)
    assert flow["user_code"] in flow["message"]
    result = app.acquire_token_by_device_flow(flow)
    assert "access_token" in result, result
    said = claims(result["access_token"])
    assert "User.Read.All" in said["scp"]
    me = requests.get(
        f"{simulator.info.http_graph_url}/v1.0/me?$select=id",
        headers={"Authorization": f"Bearer {result['access_token']}"},
        timeout=30,
    ).json()
    administrators = {
        row["principalId"]
        for row in simulator.truth("role_assignments")
        if row["roleDefinitionId"] == GLOBAL_ADMINISTRATOR
    }
    assert me["id"] in administrators
    refreshed = app.acquire_token_by_refresh_token(result["refresh_token"], scopes)
    assert reads_users(simulator, refreshed["access_token"]) == 200
    account = app.get_accounts()[0]
    assert app.acquire_token_silent(scopes, account=account)


def test_managed_identities_of_both_kinds(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = simulator.info.http_graph_url

    def token() -> Any:
        client = msal.ManagedIdentityClient(
            msal.SystemAssignedManagedIdentity(), http_client=requests.Session()
        )
        return client.acquire_token_for_client(resource="https://graph.microsoft.com")

    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", base)
    assert reads_users(simulator, token()["access_token"]) == 200
    monkeypatch.delenv("AZURE_POD_IDENTITY_AUTHORITY_HOST")
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{base}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "x")
    assert reads_users(simulator, token()["access_token"]) == 200
    forged = requests.get(
        f"{base}/metadata/identity/oauth2/token?resource=https://graph.microsoft.com", timeout=30
    )
    assert forged.status_code == 400
    assert os.environ["IDENTITY_HEADER"] == "x"


@pytest.mark.parametrize(
    ("change", "tenant", "status", "code", "word"),
    [
        ({"client_secret": "wrong"}, None, 401, 7000215, "invalid_client"),
        ({"client_secret": None}, None, 401, 7000216, "invalid_client"),
        ({"client_id": "nobody"}, None, 400, 700016, "unauthorized_client"),
        ({}, "9e2d5b2c-0000-4000-8000-000000000000", 400, 90002, "invalid_request"),
        ({"scope": "User.Read.All"}, None, 400, 1002012, "invalid_scope"),
        ({"scope": "https://nowhere.example/.default"}, None, 400, 500011, "invalid_resource"),
        ({"grant_type": "password"}, None, 400, 70003, "unsupported_grant_type"),
        ({"grant_type": None}, None, 400, 900144, "invalid_request"),
        ({"scope": None}, None, 400, 900144, "invalid_request"),
    ],
)
def test_the_token_endpoint_says_what_is_wrong(
    simulator: Simulator,
    change: dict[str, str | None],
    tenant: str | None,
    status: int,
    code: int,
    word: str,
) -> None:
    form: dict[str, str | None] = {
        "client_id": simulator.info.client_id,
        "client_secret": simulator.info.client_secret,
        "grant_type": "client_credentials",
        "scope": "https://graph.microsoft.com/.default",
        **change,
    }
    answer = requests.post(
        f"{simulator.info.http_graph_url}/{tenant or simulator.info.tenant_id}/oauth2/v2.0/token",
        data={name: value for name, value in form.items() if value is not None},
        timeout=30,
    )
    body = answer.json()
    assert (answer.status_code, body["error"], body["error_codes"]) == (status, word, [code])
    assert body["error_description"].startswith(f"AADSTS{code}: ")


def test_a_verified_domain_names_the_tenant(simulator: Simulator) -> None:
    domain = simulator.truth("domains")[0]["id"]
    answer = requests.get(
        f"{simulator.info.http_graph_url}/{domain}/v2.0/.well-known/openid-configuration",
        timeout=30,
    )
    assert simulator.info.tenant_id in answer.json()["token_endpoint"]


@pytest.mark.parametrize("header", ["", "Bearer nonsense", "Basic eDp5", "Bearer a.b.c"])
def test_graph_wants_a_token_of_ours(simulator: Simulator, header: str) -> None:
    answer = requests.get(
        f"{simulator.info.http_graph_url}/v1.0/users",
        headers={"Authorization": header},
        timeout=30,
    )
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "InvalidAuthenticationToken"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_token_expires_by_the_simulators_clock() -> None:
    with running(users=10, groups=3, seed=1) as simulator:
        client = Client(simulator)
        assert client.get("/users").status_code == 200
        simulator.advance(3700)
        assert client.refusal("/users") == (401, "InvalidAuthenticationToken")
        assert Client(simulator).get("/users").status_code == 200


def test_app_only_has_no_me(simulator: Simulator) -> None:
    assert Client(simulator).refusal("/me")[0] == 400


def test_the_secret_and_the_authority_are_kept_in_the_tls_directory(tmp_path: Path) -> None:
    with running(users=5, groups=2, tls_dir=tmp_path) as simulator:
        first = simulator.info
    with running(users=5, groups=2, tls_dir=tmp_path) as simulator:
        assert simulator.info.client_secret == first.client_secret
        assert Path(simulator.info.ca_file).read_text()
        Client(simulator, secure=True).get("/users")
    assert (tmp_path / "client_secret").stat().st_mode & 0o077 == 0
    assert (tmp_path / "server.pem").stat().st_mode & 0o077 == 0
