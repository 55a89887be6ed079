"""HashiCorp Vault by AppRole: signed in once, anew when the token has ended, and never out loud."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.provisioning.sealing import SealingError, Vault
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.vaults import vault_of
from entra_pipeline.settings import SettingsError
from tests.msgraph.scripted import Reply, Seen
from tests.provisioning.making import grant
from tests.provisioning.test_vaults import Staged, check, made_by, new, settings, stage_with
from tests.provisioning.vault_servers import HashicorpVault

ROLE, SECRET = "role-of-the-writer", "secret-id-c0ffee"
DOCUMENT = {"password": "never said", "user_principal_name": "a@b.example"}

__all__ = ["stage_with"]


@pytest.fixture
def ledger_url(tmp_path: Path) -> Path:
    """SQLite alone: nothing here is different for another ledger."""
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def hashicorp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HashicorpVault]:
    # What somebody left in the environment is not what the settings say.
    monkeypatch.setenv("VAULT_TOKEN", "hvs.of-somebody-else")
    made = HashicorpVault(tmp_path / "tls", "nobody's")
    made.roles[ROLE] = SECRET
    with made.server:
        yield made


def vault(server: HashicorpVault, folder: Path, **more: Any) -> Vault:
    given = {
        "vault": "hashicorp",
        "hashicorp_vault_url": server.url,
        "ca_bundle": server.files.ca,
        "hashicorp_vault_role_id": ROLE,
        "hashicorp_vault_secret_id": SECRET,
        "hashicorp_vault_approle_mount": "machines",
    }
    return made_by(settings(folder, **{**given, **more}), folder)


def test_a_new_password_is_kept_by_a_role_that_signs_in_when_it_must(
    hashicorp: HashicorpVault,
    tmp_path: Path,
    stage_with: Staged,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    stage = stage_with(vault(hashicorp, tmp_path))
    (filed,) = stage.done(grant(body=new()))
    assert filed.state is RequestState.DONE, filed.reasons
    check(stage, filed, [each["data"]["content"] for each in hashicorp.secrets.values()])
    assert hashicorp.signed_in == 1
    hashicorp.secrets.clear()
    # The token has ended: the next use is refused, signs in, and is made once.
    hashicorp.token = "hvs.ended"
    (again,) = stage.done(grant(body=new()))
    assert again.state is RequestState.DONE, again.reasons
    assert len(hashicorp.secrets) == 1
    assert hashicorp.signed_in == 2
    assert all("of-somebody-else" not in str(seen.headers) for seen in hashicorp.server.seen)
    told = caplog.text + str(stage.ledger.request(filed.id))
    assert SECRET not in told
    assert "hvs." not in told


def test_what_the_role_may_not_do_is_tried_once_more_and_then_said(
    hashicorp: HashicorpVault, tmp_path: Path
) -> None:
    kept = vault(hashicorp, tmp_path)
    tried: list[str] = []

    def refuse(seen: Seen) -> Reply | None:
        if "/auth/" in seen.path:
            return None
        tried.append(seen.path)
        return Reply(403, json={"errors": [f"permission denied for {SECRET}"]})

    hashicorp.refuse = refuse
    with pytest.raises(SealingError) as caught:
        kept.keep("req_1", "att-1", DOCUMENT)
    assert str(caught.value).endswith("(Forbidden)")
    assert (len(tried), hashicorp.signed_in) == (2, 2)


def test_a_role_that_is_not_let_in_says_so_and_nothing_of_its_secret(
    hashicorp: HashicorpVault, tmp_path: Path
) -> None:
    wrong = vault(hashicorp, tmp_path, hashicorp_vault_secret_id="secret-id-wrong")
    with pytest.raises(SealingError) as caught:
        wrong.keep("req_1", "att-1", DOCUMENT)
    assert str(caught.value).endswith("(signing in: InvalidRequest)")
    kept = vault(hashicorp, tmp_path)
    kept.keep("req_1", "att-1", DOCUMENT)
    # Taken back meanwhile.
    hashicorp.roles.clear()
    hashicorp.token = "hvs.ended"
    with pytest.raises(SealingError) as caught:
        kept.keep("req_1", "att-2", DOCUMENT)
    assert str(caught.value).endswith("(signing in anew: InvalidRequest)")
    assert "secret-id" not in repr(caught.value)
    assert list(hashicorp.secrets) == ["entra-pipeline/req_1/att-1"]


def test_half_of_a_role_or_two_ways_to_sign_in_are_refused_by_name(
    hashicorp: HashicorpVault, tmp_path: Path
) -> None:
    cases: dict[str, dict[str, Any]] = {
        "ENTRA_HASHICORP_VAULT_SECRET_ID: missing": {"hashicorp_vault_role_id": ROLE},
        "ENTRA_HASHICORP_VAULT_ROLE_ID: missing": {"hashicorp_vault_secret_id": SECRET},
        "ENTRA_HASHICORP_VAULT_TOKEN: one too many": {
            "hashicorp_vault_role_id": ROLE,
            "hashicorp_vault_secret_id": SECRET,
            "hashicorp_vault_token": "hvs.x",
        },
        "ENTRA_HASHICORP_VAULT_TOKEN: missing": {},
    }
    for said, given in cases.items():
        wanted = settings(tmp_path, vault="hashicorp", hashicorp_vault_url=hashicorp.url, **given)
        with pytest.raises(SettingsError) as caught:
            vault_of(wanted, tmp_path / "sealed")
        assert caught.value.messages[0].startswith(said)
