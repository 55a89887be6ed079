"""Tokens for Exchange: of the cloud's own Exchange, by a secret or a certificate, by no person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from entra_pipeline.exchange import ExchangeClient
from entra_pipeline.settings import SettingsError
from entra_pipeline.simulator.process import Simulator
from tests.support import settings_for


@pytest.mark.parametrize(
    ("cloud", "audience"),
    [
        ("global", "https://outlook.office365.com"),
        ("usgov", "https://outlook.office365.us"),
        ("usgov_dod", "https://outlook-dod.office365.us"),
        ("china", "https://partner.outlook.cn"),
    ],
)
@pytest.mark.parametrize("credential", ["secret", "certificate"])
def test_the_token_is_for_the_clouds_own_exchange(
    simulator: Simulator, tmp_path: Path, cloud: str, audience: str, credential: str
) -> None:
    more: dict[str, Any] = {"cloud": cloud, "auth": credential}
    if credential == "certificate":
        more |= {
            "client_certificate_path": Path(simulator.info.client_certificate_file),
            "client_secret": None,
        }
    client = ExchangeClient.from_settings(settings_for(simulator, tmp_path, **more))
    claims = client.token_claims()
    client.close()
    assert claims.audience == audience
    assert claims.permissions == {"Exchange.ManageAsApp"}
    assert claims.is_app


def test_a_signed_in_user_is_refused_with_what_works(simulator: Simulator, tmp_path: Path) -> None:
    settings = settings_for(simulator, tmp_path, auth="device_code")
    with pytest.raises(SettingsError, match="not by a signed-in user"):
        ExchangeClient.from_settings(settings)
