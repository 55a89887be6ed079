"""Sealed passwords in vaults elsewhere: there before the account is, or there is no account."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyrage
import pytest

from entra_pipeline.provisioning.ledger import Ledger, looking
from entra_pipeline.provisioning.sealing import SealedFiles, SealingError, Vault
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.values import CreateUser
from entra_pipeline.provisioning.vaults import vault_of
from entra_pipeline.settings import Settings, SettingsError
from entra_pipeline.simulator.process import Simulator
from tests.msgraph.authority import CLIENT, TENANT
from tests.msgraph.scripted import Reply, Seen
from tests.provisioning.clock import Clock
from tests.provisioning.making import grant
from tests.provisioning.stage import Stage, staged
from tests.provisioning.vault_servers import HashicorpVault, KeyVault
from tests.provisioning.walking import steps

KEY = pyrage.x25519.Identity.generate()
TOKEN = "hvs.a-token-of-vault"
_numbers = itertools.count(1)


@pytest.fixture
def ledger_url(tmp_path: Path) -> Path:
    """SQLite alone: nothing here is different for another ledger."""
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[KeyVault]:
    made = KeyVault(tmp_path / "tls")
    with made.server:
        yield made


@pytest.fixture
def hashicorp(tmp_path: Path) -> Iterator[HashicorpVault]:
    made = HashicorpVault(tmp_path / "tls", TOKEN)
    with made.server:
        yield made


def settings(folder: Path, **more: Any) -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("ENTRA_")]:
            patch.delenv(name)
        given = {
            "tenant_id": TENANT,
            "client_id": CLIENT,
            "client_secret": "the reader's",
            "writer_client_id": CLIENT,
            "seal_to": str(KEY.to_public()),
            "data_dir": folder / "data",
        }
        return Settings.load(**{**given, **more})


def for_azure(azure: KeyVault, folder: Path, **more: Any) -> Settings:
    given = {
        "vault": "azure",
        "azure_vault_url": azure.url,
        "authority_url": azure.url,
        "ca_bundle": azure.files.ca,
        **({} if "writer_client_certificate_path" in more else {"writer_client_secret": "s3cret"}),
    }
    return settings(folder, **{**given, **more})


def for_hashicorp(vault: HashicorpVault, folder: Path, **more: Any) -> Settings:
    given = {
        "vault": "hashicorp",
        "hashicorp_vault_url": vault.url,
        "ca_bundle": vault.files.ca,
        **({} if "hashicorp_vault_token_file" in more else {"hashicorp_vault_token": TOKEN}),
    }
    return settings(folder, **{**given, **more})


def made_by(given: Settings, folder: Path) -> Vault:
    found = vault_of(given, folder / "sealed")
    assert found is not None
    return found


Staged = Callable[[Vault], Stage]


@pytest.fixture
def stage_with(
    ledger: Ledger, written_to: Simulator, tmp_path: Path, clock: Clock
) -> Iterator[Staged]:
    stages = []

    def made(vault: Vault) -> Stage:
        context = staged(ledger, written_to, tmp_path, clock, vault=vault)
        stages.append(context)
        return context.__enter__()

    yield made
    for each in stages:
        each.__exit__(None, None, None)


def new() -> CreateUser:
    name = f"vaulted.person{next(_numbers)}"
    return CreateUser(
        display_name="New Person",
        mail_nickname=name,
        user_principal_name=f"{name}@contoso.example",
    )


def check(stage: Stage, filed: Any, sealed: list[str], *, plain: bool = False) -> dict[str, Any]:
    """The one password that is kept is the one that the tenant was given; what it says."""
    (text,) = sealed
    said = text if plain else pyrage.decrypt(text.encode(), [KEY]).decode()
    document: dict[str, Any] = json.loads(said)
    effect = stage.simulator.effects(stage.seen_effects)[-1]
    digest = hashlib.sha256(document["password"].encode()).hexdigest()
    assert effect["details"]["password_sha256"] == digest
    assert document["request"] == filed.id
    (step,) = steps(stage, filed)
    assert "password" not in str(step.result)
    return document


@pytest.mark.parametrize("credential", ["secret", "certificate"])
def test_a_new_password_is_sealed_into_azure_key_vault(
    azure: KeyVault, tmp_path: Path, stage_with: Staged, credential: str
) -> None:
    more: dict[str, Any] = {}
    if credential == "certificate":
        more = {"writer_client_certificate_path": azure.files.client}
    stage = stage_with(made_by(for_azure(azure, tmp_path, **more), tmp_path))
    (filed,) = stage.done(grant(body=new()))
    assert filed.state is RequestState.DONE, filed.reasons
    name = filed.id.replace("_", "-")
    document = check(stage, filed, [each["value"] for each in azure.secrets[name]])
    assert azure.secrets[name][0]["tags"]["attempt"] == document["attempt"]
    form = azure.forms[-1]
    assert form["client_id"] == CLIENT
    assert ("client_secret" in form) == (credential == "secret")
    assert ("client_assertion" in form) == (credential == "certificate")
    sent = b"".join(seen.body for seen in azure.server.seen)
    assert document["password"].encode() not in sent
    assert not (tmp_path / "sealed").exists()


def test_a_new_password_is_sealed_into_hashicorp_vault(
    hashicorp: HashicorpVault, tmp_path: Path, stage_with: Staged
) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    given = for_hashicorp(hashicorp, tmp_path, hashicorp_vault_token_file=token)
    stage = stage_with(made_by(given, tmp_path))
    (filed,) = stage.done(grant(body=new()))
    assert filed.state is RequestState.DONE, filed.reasons
    ((path, kept),) = hashicorp.secrets.items()
    assert path.startswith(f"entra-pipeline/{filed.id}/")
    document = check(stage, filed, [kept["data"]["content"]])
    sent = b"".join(seen.body for seen in hashicorp.server.seen)
    assert document["password"].encode() not in sent
    # Vault's agent has replaced the token.
    hashicorp.token = "hvs.another"
    token.write_text("hvs.another")
    (again,) = stage.done(grant(body=new()))
    assert again.state is RequestState.DONE, again.reasons


@pytest.mark.parametrize("which", ["azure", "hashicorp"])
def test_nothing_is_written_to_the_tenant_while_the_vault_does_not_take_it(
    azure: KeyVault,
    hashicorp: HashicorpVault,
    tmp_path: Path,
    stage_with: Staged,
    clock: Clock,
    which: str,
) -> None:
    server: Any = azure if which == "azure" else hashicorp
    given = (for_azure if which == "azure" else for_hashicorp)(server, tmp_path)
    stage = stage_with(made_by(given, tmp_path))

    def refuse(seen: Seen) -> Reply | None:
        return Reply(403, json={"errors": ["no"], "error": {"code": "Forbidden", "message": "no"}})

    server.refuse = refuse
    (filed,) = stage.approved(grant(body=new()))
    stage.worker().apply()
    stage.worker().verify()
    now = stage.ledger.request(filed.id)
    assert now.state is RequestState.APPROVED
    (step,) = looking.operations(stage.ledger, filed.id)
    assert "nothing was sent: the password could not be kept in the vault" in str(step.tries)
    assert stage.effects() == []
    server.refuse = lambda _: None
    clock.advance(seconds=60)
    stage.run([filed.id])
    assert stage.ledger.request(filed.id).state is RequestState.DONE
    assert [kind for kind, _, _ in stage.effects()] == ["create_user"]


def test_what_graph_did_not_take_is_given_to_nobody(
    azure: KeyVault, hashicorp: HashicorpVault, tmp_path: Path
) -> None:
    document = {"password": "never set", "user_principal_name": "a@b.example"}
    for given in (for_azure(azure, tmp_path), for_hashicorp(hashicorp, tmp_path)):
        vault = made_by(given, tmp_path)
        assert vault.kept("req_1") == {}
        vault.keep("req_1", "att-1", document)
        vault.keep("req_1", "att-2", document)
        assert len(vault.kept("req_1")) == 2
        vault.discard("req_1", "att-1")
        ((name, digest),) = vault.kept("req_1").items()
        assert len(digest) == 64
        assert name
        vault.discard("req_1", "no such attempt")
    assert [each["enabled"] for each in azure.secrets["req-1"]] == [False, True]
    assert list(hashicorp.secrets) == ["entra-pipeline/req_1/att-2"]
    # Written once: nobody's later attempt takes the place of what is there.
    with pytest.raises(SealingError):
        vault.keep("req_1", "att-2", document)


@pytest.mark.parametrize("which", ["azure", "hashicorp"])
def test_a_vault_may_keep_passwords_for_whoever_it_lets_read_them(
    azure: KeyVault, hashicorp: HashicorpVault, tmp_path: Path, which: str
) -> None:
    server: Any = azure if which == "azure" else hashicorp
    given = (for_azure if which == "azure" else for_hashicorp)(
        server, tmp_path, vault_unsealed=True, seal_to=""
    )
    vault = made_by(given, tmp_path)
    # The plan names the vault as who can read them.
    assert vault.recipients == (f"{which}:{server.url}",)
    vault.keep("req_2", "att-1", {"password": "as it is"})
    kept = str(server.secrets)
    assert "as it is" in kept


def test_a_vault_that_is_not_the_one_of_the_settings_gets_nothing(
    azure: KeyVault, tmp_path: Path
) -> None:
    """A server that asks for a token for another domain, and one with another certificate."""
    elsewhere = 'Bearer authorization="{0}/x", resource="https://vault.azure.net"'
    azure.refuse = lambda _: Reply(
        401, json={}, headers={"WWW-Authenticate": elsewhere.format(azure.url)}
    )
    with pytest.raises(SealingError, match="could not be kept"):
        made_by(for_azure(azure, tmp_path), tmp_path).keep("req_3", "a", {"password": "secret"})
    assert azure.forms == []
    assert all(b"secret" not in seen.body for seen in azure.server.seen)
    untrusted = for_azure(azure, tmp_path, ca_bundle=None)
    with pytest.raises(SealingError, match="could not be kept"):
        made_by(untrusted, tmp_path).keep("req_3", "a", {"password": "secret"})


def test_half_of_a_vault_is_refused_by_name(tmp_path: Path) -> None:
    cases = {
        "ENTRA_AZURE_VAULT_URL": {"vault": "azure"},
        "ENTRA_HASHICORP_VAULT_URL": {"vault": "hashicorp", "hashicorp_vault_token": TOKEN},
        "ENTRA_HASHICORP_VAULT_TOKEN": {
            "vault": "hashicorp",
            "hashicorp_vault_url": "https://vault.example",
        },
        "ENTRA_VAULT_UNSEALED": {"vault_unsealed": True},
    }
    for name, given in cases.items():
        with pytest.raises(SettingsError) as caught:
            vault_of(settings(tmp_path, **given), tmp_path / "sealed")
        assert caught.value.messages[0].startswith(name)
    with pytest.raises(SettingsError):
        settings(tmp_path, azure_vault_url="http://plain.example")
    assert isinstance(vault_of(settings(tmp_path), tmp_path / "sealed"), SealedFiles)
    assert vault_of(settings(tmp_path, seal_to=""), tmp_path / "sealed") is None
