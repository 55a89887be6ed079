"""Every kind of credential gets a token, over https, with the trust and proxies of the settings."""

from __future__ import annotations

import base64
import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from entra_pipeline.msgraph import GraphClient
from entra_pipeline.msgraph.auth import MsalTokens, decode_claims
from entra_pipeline.msgraph.device_code import DeviceCode, cache_file, login, logout
from entra_pipeline.msgraph.errors import AuthenticationError, ConnectionFailedError
from entra_pipeline.msgraph.transport import session_factory
from entra_pipeline.settings import Settings, SettingsError
from tests.msgraph.authority import CLIENT, TENANT, Authority, ConnectProxy, jwt, refused
from tests.msgraph.scripted import FakeClock, Reply, ScriptedServer

SECRET = "s3cret-value"
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    made = Authority(tmp_path / "tls")
    with made.server:
        yield made


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def settings_for(authority: Authority, **more: object) -> Settings:
    given: dict[str, object] = {
        "tenant_id": TENANT,
        "client_id": CLIENT,
        "authority_url": authority.url,
        "graph_url": authority.url,
        "ca_bundle": authority.files.ca,
        "data_dir": authority.files.ca.parent / "data",
    }
    return Settings.load(**{**given, **more})


def tokens_of(settings: Settings, clock: FakeClock) -> MsalTokens:
    return MsalTokens(settings, session_factory(settings)(), clock)


def test_a_secret_gets_a_token_that_is_kept_until_shortly_before_it_expires(authority, clock):
    tokens = tokens_of(settings_for(authority, client_secret=SECRET), clock)
    first = tokens.token()
    assert tokens.token() == first
    clock.advance(3600 - 301)
    assert tokens.token() == first
    clock.advance(2)
    second = tokens.renew(first)
    assert second != first
    assert tokens.renew(first) == second
    assert authority.issued == 2
    form = authority.forms[0]
    assert form["client_secret"] == SECRET
    assert form["scope"] == f"{authority.url}/.default"
    assert "CP1" in form["claims"]
    assert decode_claims(first).roles == {"User.Read.All"}
    assert decode_claims(first).tenant_id == TENANT
    assert [s.path for s in authority.server.seen if "instance" in s.path] == []


def test_a_claims_challenge_is_passed_on_with_our_capabilities(authority, clock):
    tokens = tokens_of(settings_for(authority, client_secret=SECRET), clock)
    tokens.renew(tokens.token(), '{"access_token":{"nbf":{"value":"1604106651"}}}')
    claims = json.loads(authority.forms[1]["claims"])["access_token"]
    assert claims["nbf"] == {"value": "1604106651"}
    assert claims["xms_cc"] == {"values": ["CP1"]}


@pytest.mark.parametrize("password", [None, "pa ss"])
def test_a_certificate_signs_an_assertion_that_its_public_key_verifies(
    authority, clock, tmp_path, password
):
    pem = authority.files.client.read_bytes()
    more: dict[str, object] = {"client_certificate_path": authority.files.client}
    if password:
        key = serialization.load_pem_private_key(pem, None)
        path = tmp_path / "key.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(password.encode()),
            )
        )
        more |= {"client_certificate_key_path": path, "client_certificate_password": password}
    tokens_of(settings_for(authority, **more), clock).token()
    assertion = authority.forms[0]["client_assertion"]
    head, claims, signature = assertion.split(".")
    header = json.loads(base64.urlsafe_b64decode(head + "=="))
    certificate = x509.load_pem_x509_certificates(pem)[0]
    assert header["alg"] == "PS256"
    assert x509.load_der_x509_certificate(base64.b64decode(header["x5c"][0])) == certificate
    public = certificate.public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    public.verify(
        base64.urlsafe_b64decode(signature + "=="),
        f"{head}.{claims}".encode(),
        padding.PSS(padding.MGF1(hashes.SHA256()), 32),
        hashes.SHA256(),
    )
    assert json.loads(base64.urlsafe_b64decode(claims + "=="))["iss"] == CLIENT


def test_what_is_wrong_with_a_certificate_is_named(authority, clock, tmp_path):
    def message(**more: object) -> str:
        with pytest.raises(SettingsError) as caught:
            tokens_of(settings_for(authority, **more), clock).token()
        return str(caught.value)

    def pem(key: rsa.RSAPrivateKey, *, password: bytes | None = None) -> bytes:
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password:
            encryption = serialization.BestAvailableEncryption(password)
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )

    own = serialization.load_pem_private_key(authority.files.client.read_bytes(), None)
    other = rsa.generate_private_key(65537, 2048)
    files = {
        "empty.pem": b"",
        "locked.pem": pem(own, password=b"right"),
        "other.pem": pem(other),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    client = authority.files.client
    assert "ENTRA_CLIENT_CERTIFICATE_PATH" in message(
        client_certificate_path=tmp_path / "empty.pem"
    )
    assert "holds no private key" in message(client_certificate_path=authority.files.ca)
    locked = {
        "client_certificate_path": client,
        "client_certificate_key_path": tmp_path / "locked.pem",
    }
    assert "ENTRA_CLIENT_CERTIFICATE_PASSWORD" in message(**locked)
    wrong = message(**locked, client_certificate_password="wrong-one")
    assert "ENTRA_CLIENT_CERTIFICATE_PASSWORD" in wrong
    assert "wrong-one" not in wrong
    assert "does not belong" in message(
        client_certificate_path=client, client_certificate_key_path=tmp_path / "other.pem"
    )
    assert authority.forms == []


def test_a_federated_token_is_read_anew_for_each_sign_in(authority, clock, tmp_path):
    file = tmp_path / "token"
    file.write_text("first\n")
    tokens = tokens_of(settings_for(authority, federated_token_file=file), clock)
    token = tokens.token()
    file.write_text("second\n")
    tokens.renew(token)
    assert [form["client_assertion"] for form in authority.forms] == ["first", "second"]
    file.unlink()
    with pytest.raises(AuthenticationError, match="ENTRA_FEDERATED_TOKEN_FILE"):
        tokens.renew(tokens.token())
    with pytest.raises(SettingsError, match="ENTRA_FEDERATED_TOKEN_FILE"):
        tokens_of(settings_for(authority, federated_token_file=file), clock)


@pytest.mark.parametrize("client_id", ["", CLIENT])
def test_a_managed_identity_asks_the_machine(authority, clock, monkeypatch, client_id):
    answers = {"n": 0}

    def imds(_seen: object) -> Reply:
        answers["n"] += 1
        token = jwt(tid=TENANT, roles=["User.Read.All"], n=answers["n"])
        return Reply(
            json={
                "access_token": token,
                "expires_in": "3600",
                "resource": "r",
                "token_type": "Bearer",
            }
        )

    with ScriptedServer(imds) as machine:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", machine.url)
        settings = settings_for(authority, auth="managed_identity", client_id=client_id)
        tokens = tokens_of(settings, clock)
        first = tokens.token()
        assert decode_claims(first).roles == {"User.Read.All"}
        assert tokens.renew(first) != first
        assert all(s.headers["Metadata"] == "true" for s in machine.seen)
        assert f"resource={authority.url}" in machine.seen[0].query
        assert (CLIENT in machine.seen[0].query) is bool(client_id)
    assert authority.forms == []


def test_an_administrator_signs_in_once_by_device_code(authority, clock):
    settings = settings_for(authority, auth="device_code")
    with pytest.raises(AuthenticationError, match="entra-pipeline login"):
        tokens_of(settings, clock).token()
    shown: list[DeviceCode] = []
    waiting = iter([refused("authorization_pending", 70016, 400)])
    authority.answer = lambda form: (
        next(waiting, None) if form.get("grant_type", "").endswith("device_code") else None
    )
    login(settings, shown.append, clock=clock)
    assert shown == [DeviceCode("ABCD-EFGH", "https://login.example/device", 900)]
    path = cache_file(settings).path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    issued = authority.issued
    tokens = tokens_of(settings, clock)
    token = tokens.token()
    assert authority.issued == issued
    claims = decode_claims(token)
    assert claims.permissions == {"User.Read.All"}
    assert not claims.is_app
    path.chmod(0o644)
    assert tokens.renew(token) != token
    assert authority.forms[-1]["grant_type"] == "refresh_token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert logout(settings) is True
    assert logout(settings) is False
    with pytest.raises(AuthenticationError, match="entra-pipeline login"):
        tokens_of(settings, clock).token()


def test_a_declined_sign_in_says_so_and_keeps_nothing(authority, clock):
    settings = settings_for(authority, auth="device_code")
    authority.answer = lambda form: (
        refused("authorization_declined", 70001, 400)
        if form.get("grant_type", "").endswith("device_code")
        else None
    )
    with pytest.raises(AuthenticationError, match="declined"):
        login(settings, lambda _code: None, clock=clock)
    assert not cache_file(settings).path.exists()


@pytest.mark.parametrize(
    ("error", "code", "names"),
    [
        ("invalid_client", 7000215, "ENTRA_CLIENT_SECRET"),
        ("invalid_client", 7000222, "expired"),
        ("unauthorized_client", 700016, "ENTRA_CLIENT_ID"),
        ("invalid_request", 90002, "ENTRA_TENANT_ID"),
        ("invalid_client", 700027, "ENTRA_CLIENT_CERTIFICATE_PATH"),
        ("invalid_request", 700213, "federated credential"),
        ("invalid_grant", 53003, "Conditional Access"),
        ("something_new", 123, "something_new"),
    ],
)
@pytest.mark.parametrize("status", [400, 401])
def test_a_refusal_is_final_and_names_the_remedy(authority, clock, error, code, names, status):
    authority.answer = lambda _form: refused(error, code, status)
    tokens = tokens_of(settings_for(authority, client_secret=SECRET), clock)
    with pytest.raises(AuthenticationError, match=names) as caught:
        tokens.token()
    assert caught.value.code == f"AADSTS{code}"
    assert caught.value.request_id == "abcdef-1"
    assert "anna" not in str(caught.value)
    assert "Contoso" not in str(caught.value)
    assert caught.value.__context__ is None
    assert len(authority.forms) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Reply(429, headers={"Retry-After": "3"}),
        Reply(503),
        Reply(500, body=b"<html>"),
        Reply(reset=True),
    ],
    ids=["429", "503", "500", "reset"],
)
def test_a_passing_fault_of_the_authority_is_survived(authority, clock, fault):
    faults = iter([fault, fault])
    authority.answer = lambda _form: next(faults, None)
    tokens = tokens_of(settings_for(authority, client_secret=SECRET), clock)
    tokens.token()
    assert len(authority.forms) == 3
    assert clock.slept >= (6 if fault.status == 429 else 0.2)


def test_an_authority_that_keeps_failing_is_named(authority, clock):
    authority.answer = lambda _form: Reply(503)
    tokens = tokens_of(settings_for(authority, client_secret=SECRET), clock)
    with pytest.raises(AuthenticationError, match="kept failing"):
        tokens.token()
    assert len(authority.forms) == 5
    nobody = settings_for(authority, client_secret=SECRET, authority_url="https://127.0.0.1:9")
    with pytest.raises(ConnectionFailedError, match="ENTRA_AUTHORITY_URL"):
        tokens_of(nobody, clock).token()


def test_an_unknown_tenant_is_named(authority, clock):
    authority.discovery = lambda: refused("invalid_tenant", 90002, 400)
    tokens = tokens_of(settings_for(authority, client_secret=SECRET), clock)
    with pytest.raises(AuthenticationError, match="ENTRA_TENANT_ID"):
        tokens.token()


def test_a_redirecting_authority_does_not_get_the_secret_sent_on(authority, clock):
    with ScriptedServer(lambda _s: Reply(json={})) as elsewhere:
        authority.answer = lambda _form: Reply(307, headers={"Location": f"{elsewhere.url}/x"})
        tokens = tokens_of(settings_for(authority, client_secret=SECRET), clock)
        with pytest.raises(AuthenticationError):
            tokens.token()
        assert elsewhere.seen == []


@pytest.fixture
def wrong_bundle(tmp_path: Path) -> Path:
    return Authority(tmp_path / "other").files.ca


@pytest.mark.parametrize("name", BUNDLES)
def test_our_ca_bundle_wins_over_the_environments(authority, wrong_bundle, monkeypatch, name):
    for other in BUNDLES:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, str(wrong_bundle))
    client = GraphClient.from_settings(settings_for(authority, client_secret=SECRET))
    client.get("/users", table="users")
    client.close()
    untrusting = settings_for(authority, client_secret=SECRET, ca_bundle=None)
    with pytest.raises(ConnectionFailedError, match="ENTRA_CA_BUNDLE"):
        GraphClient.from_settings(untrusting).get("/users", table="users")
    monkeypatch.setenv(name, str(authority.files.ca))
    trusting = settings_for(authority, client_secret=SECRET, ca_bundle=None)
    GraphClient.from_settings(trusting).get("/users", table="users")


def test_proxies_of_the_environment_are_used_with_our_ca_bundle(
    authority, wrong_bundle, monkeypatch
):
    proxy = ConnectProxy()
    for name in ("NO_PROXY", "no_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(wrong_bundle))
    settings = settings_for(authority, client_secret=SECRET)
    GraphClient.from_settings(settings).get("/users", table="users")
    assert proxy.targets == [f"127.0.0.1:{authority.server.port}"] * 2
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    GraphClient.from_settings(settings).get("/users", table="users")
    assert len(proxy.targets) == 2
    proxy.close()


def test_an_entry_of_netrc_does_not_replace_the_token(authority, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    client = GraphClient.from_settings(settings_for(authority, client_secret=SECRET))
    client.get("/users", table="users")
    seen = authority.server.requests_to("/v1.0/users")
    assert seen[0].headers["Authorization"].startswith("Bearer ey")


def test_signing_in_logs_neither_secrets_nor_tokens_nor_names(authority, clock, caplog):
    caplog.set_level(logging.DEBUG)
    app = settings_for(authority, client_secret=SECRET)
    client = GraphClient.from_settings(app)
    client.get("/users/anna@contoso.example", table="users")
    admin = settings_for(authority, auth="device_code")
    login(admin, lambda _code: None, clock=clock)
    tokens = tokens_of(admin, clock)
    tokens.renew(tokens.token())
    assert caplog.records
    for forbidden in (SECRET, "ey", "refresh-secret", "device-secret", "anna", "contoso"):
        assert forbidden not in caplog.text.replace("key", "")
    assert SECRET not in repr(app)


def test_an_opaque_token_has_no_claims():
    claims = decode_claims("opaque")
    assert claims.permissions == frozenset()
    assert claims.expires_at is None
