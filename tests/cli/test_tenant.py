"""`doctor`, `login`, `logout` as processes, against the simulated tenant."""

from __future__ import annotations

from pathlib import Path

import pytest

from entra_pipeline.simulator.process import Simulator
from tests.cli.program import cli


@pytest.fixture
def env(simulator: Simulator, tmp_path: Path) -> dict[str, str]:
    """The settings of the simulated tenant, with a data directory that does not exist yet."""
    return {**simulator.settings_env(), "ENTRA_DATA_DIR": str(tmp_path / "data")}


def test_doctor_checks_everything_changes_nothing_and_says_that_a_sync_can_run(
    env: dict[str, str], tmp_path: Path
) -> None:
    done = cli("doctor", "--json", env=env, cwd=tmp_path)
    assert done.code == 0, done.out
    document = done.json
    assert document["can_sync"] is True
    states = {check["name"]: check["state"] for check in document["checks"]}
    assert set(states.values()) == {"ok"}
    assert {"settings", "token", "clock", "permissions", "licence"} <= set(states)
    assert any("dagster" in name.lower() for name in states)
    assert list(tmp_path.iterdir()) == []


def test_doctor_with_a_wrong_secret_exits_2_and_skips_what_needs_a_token(
    env: dict[str, str], tmp_path: Path
) -> None:
    secret = "not-the-secret"
    done = cli("doctor", env={**env, "ENTRA_CLIENT_SECRET": secret}, cwd=tmp_path)
    assert done.code == 2
    assert "failed" in done.out
    assert "A sync cannot run yet." in done.out
    assert secret not in done.out + done.err


def test_signing_in_by_hand_is_refused_for_another_kind_of_credential(
    env: dict[str, str], tmp_path: Path
) -> None:
    done = cli("login", env=env, cwd=tmp_path)
    assert done.code == 2
    assert "ENTRA_AUTH=device_code" in done.err


def test_signing_out_when_nobody_is_signed_in_is_done(env: dict[str, str], tmp_path: Path) -> None:
    done = cli("logout", env=env, cwd=tmp_path)
    assert done.code == 0
    assert "Nobody was signed in." in done.err
