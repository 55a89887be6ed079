"""Settings come from the environment or .env; each mistake is one line that names the variable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from entra_pipeline import settings_reference
from entra_pipeline.clouds import CLOUDS, Cloud
from entra_pipeline.settings import Auth, Settings, SettingsError, variable

SECRET = {
    "ENTRA_TENANT_ID": "contoso.example",
    "ENTRA_CLIENT_ID": "c1",
    "ENTRA_CLIENT_SECRET": "s1",
}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings in the environment, and an empty working directory."""
    for name in list(os.environ):
        if name.startswith("ENTRA_") or name == "AZURE_FEDERATED_TOKEN_FILE":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def given(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in {**SECRET, **values}.items():
        monkeypatch.setenv(name, value)


def mistakes() -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    return list(caught.value.messages)


def test_nothing_set_names_everything_that_is_missing():
    lines = mistakes()
    assert [line.split(":")[0] for line in lines] == [
        "ENTRA_TENANT_ID",
        "ENTRA_CLIENT_SECRET",
        "ENTRA_CLIENT_ID",
    ]
    assert all("Set it" in line for line in lines)


def test_commands_on_data_need_no_sign_in(monkeypatch):
    monkeypatch.setenv("ENTRA_DATA_DIR", "/srv/entra")
    assert Settings.for_data_only().data_dir == Path("/srv/entra")


def test_the_environment_wins_over_the_file_and_overrides_over_both(monkeypatch, tmp_path):
    groups = ("0a000000-0000-4000-8000-000000000000", "0b000000-0000-4000-8000-000000000000")
    (tmp_path / ".env").write_text(
        "ENTRA_TENANT_ID=from-file\nENTRA_CLIENT_ID=from-file\nENTRA_CLIENT_SECRET=from-file\n"
        f"ENTRA_CONCURRENCY=\nENTRA_PIM_GROUPS={groups[0].upper()}, {groups[1]}\nSOMETHING_ELSE=1\n"
    )
    monkeypatch.setenv("ENTRA_CLIENT_ID", "from-environment")
    settings = Settings.load(data_dir="from-override")
    assert settings.tenant_id == "from-file"
    assert settings.client_id == "from-environment"
    assert settings.client_secret is not None
    assert settings.client_secret.get_secret_value() == "from-file"
    assert settings.concurrency == 8
    assert settings.pim_groups == groups
    assert settings.data_dir == Path("from-override")
    assert settings.warnings == ()


def test_a_settings_file_that_is_named_must_exist(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere\.env"):
        Settings.load(tmp_path / "nowhere.env")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({}, Auth.SECRET),
        ({"ENTRA_CLIENT_SECRET": "", "ENTRA_FEDERATED_TOKEN_FILE": "/t"}, Auth.WORKLOAD_IDENTITY),
        ({"ENTRA_CLIENT_SECRET": "", "AZURE_FEDERATED_TOKEN_FILE": "/t"}, Auth.WORKLOAD_IDENTITY),
        ({"ENTRA_CLIENT_SECRET": "", "ENTRA_CLIENT_CERTIFICATE_PATH": __file__}, Auth.CERTIFICATE),
        ({"ENTRA_CLIENT_SECRET": "", "ENTRA_AUTH": "device_code"}, Auth.DEVICE_CODE),
        (
            {"ENTRA_CLIENT_SECRET": "", "ENTRA_CLIENT_ID": "", "ENTRA_AUTH": "managed_identity"},
            Auth.MANAGED_IDENTITY,
        ),
        ({"ENTRA_AUTH": "secret", "AZURE_FEDERATED_TOKEN_FILE": "/t"}, Auth.SECRET),
    ],
)
def test_the_credential_is_deduced_from_the_one_complete_set(monkeypatch, values, kind):
    given(monkeypatch, **values)
    assert Settings.load().auth_kind is kind


@pytest.mark.parametrize(
    ("values", "name", "says"),
    [
        ({"AZURE_FEDERATED_TOKEN_FILE": "/t"}, "ENTRA_AUTH", "ENTRA_CLIENT_SECRET"),
        ({"ENTRA_CLIENT_CERTIFICATE_PATH": __file__}, "ENTRA_AUTH", "several"),
        ({"ENTRA_AUTH": "certificate"}, "ENTRA_CLIENT_CERTIFICATE_PATH", "missing"),
        ({"ENTRA_AUTH": "password"}, "ENTRA_AUTH", "device_code"),
        ({"ENTRA_PIM_GROUPS": "Finance Admins"}, "ENTRA_PIM_GROUPS", "'Finance' is not"),
        (
            {"ENTRA_CLIENT_SECRET": "", "ENTRA_CLIENT_CERTIFICATE_KEY_PATH": "/k"},
            "ENTRA_CLIENT_CERTIFICATE_PATH",
            "ENTRA_CLIENT_CERTIFICATE_KEY_PATH is set",
        ),
        (
            {"ENTRA_CLIENT_SECRET": "", "ENTRA_CLIENT_CERTIFICATE_PATH": "/no.pem"},
            "ENTRA_CLIENT_CERTIFICATE_PATH",
            "/no.pem",
        ),
        ({"ENTRA_TENANT_ID": "common"}, "ENTRA_TENANT_ID", "one tenant"),
        ({"ENTRA_TENANT_ID": "a b"}, "ENTRA_TENANT_ID", "not an id"),
        ({"ENTRA_CLOUD": "moon"}, "ENTRA_CLOUD", "usgov"),
        ({"ENTRA_CONCURRENCY": "many"}, "ENTRA_CONCURRENCY", "integer"),
        ({"ENTRA_CONCURRENCY": "0"}, "ENTRA_CONCURRENCY", "greater"),
        ({"ENTRA_SKIP_AD_GROUPS": "perhaps"}, "ENTRA_SKIP_AD_GROUPS", "boolean"),
        ({"ENTRA_GRAPH_URL": "graph.microsoft.com"}, "ENTRA_GRAPH_URL", "scheme://host"),
        ({"ENTRA_GRAPH_URL": "http://graph.example"}, "ENTRA_GRAPH_URL", "loopback"),
        ({"ENTRA_GRAPH_URL": "https://h/other"}, "ENTRA_GRAPH_URL", "path"),
        ({"ENTRA_GRAPH_URL": "https://h:99999"}, "ENTRA_GRAPH_URL", "port"),
        ({"ENTRA_GRAPH_URL": "https://a@h"}, "ENTRA_GRAPH_URL", "without user"),
        ({"ENTRA_AUTHORITY_URL": "http://localhost:1"}, "ENTRA_AUTHORITY_URL", "https"),
        ({"ENTRA_CA_BUNDLE": "/no/such.pem"}, "ENTRA_CA_BUNDLE", "/no/such.pem"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(monkeypatch, values, name, says):
    given(monkeypatch, **values)
    [line] = mistakes()
    assert line.startswith(f"{name}: ")
    assert says in line
    assert line.endswith((".", "?"))


def test_a_secret_shows_in_no_message_and_no_representation(monkeypatch):
    given(monkeypatch, ENTRA_CLIENT_SECRET="hush-hush", ENTRA_CONCURRENCY="many")
    assert "hush" not in "".join(mistakes())
    monkeypatch.setenv("ENTRA_CONCURRENCY", "4")
    assert "hush" not in repr(Settings.load()) + str(Settings.load().model_dump())


def test_a_misspelt_name_is_pointed_out(monkeypatch):
    given(monkeypatch, ENTRA_CLIENT_SECRET="", ENTRA_CLIENT_SECERT="s")
    assert mistakes()[-1] == (
        "ENTRA_CLIENT_SECERT: no such setting. Did you mean ENTRA_CLIENT_SECRET?"
    )


@pytest.mark.parametrize("cloud", list(Cloud))
def test_each_cloud_has_its_addresses(monkeypatch, cloud):
    given(monkeypatch, ENTRA_CLOUD=cloud.value)
    assert Settings.load().endpoints == CLOUDS[cloud]
    assert Settings.load().endpoints.authority_is_known


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://localhost:8443", "https://localhost:8443"),
        ("https://localhost:8443/", "https://localhost:8443"),
        ("https://localhost:8443/v1.0", "https://localhost:8443"),
        ("https://localhost:8443/v1.0/", "https://localhost:8443"),
        ("https://Graph.Example:443", "https://graph.example"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_address_is_tolerant_of_what_follows_the_port(monkeypatch, value, expected):
    given(monkeypatch, ENTRA_GRAPH_URL=value, ENTRA_AUTHORITY_URL="https://localhost:1/")
    endpoints = Settings.load().endpoints
    assert endpoints.graph_url == expected
    assert endpoints.authority_url == "https://localhost:1"
    assert not endpoints.authority_is_known


def test_proxies_are_those_of_the_environment_but_for_the_machines_own_metadata(monkeypatch):
    for name in ("NO_PROXY", "no_proxy", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    given(monkeypatch, HTTP_PROXY="http://p:1", HTTPS_PROXY="http://p:2", NO_PROXY="inside.example")
    settings = Settings.load()
    assert settings.proxies_for("https://graph.microsoft.com")["https"] == "http://p:2"
    assert settings.proxies_for("https://inside.example") == {}
    assert settings.proxies_for("http://169.254.169.254/metadata") == {}


def test_every_setting_has_a_description_and_a_section():
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
    assert "Other" not in settings_reference.sections()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (settings_reference.REFERENCE, settings_reference.reference),
        (settings_reference.EXAMPLE, settings_reference.example),
    ],
)
def test_the_written_reference_is_not_stale(path, text):
    written = (settings_reference.ROOT / path).read_text(encoding="utf-8")
    assert written == text(), f"{path} is stale: run `make docs`"


def test_the_example_names_every_setting_and_is_itself_valid(tmp_path):
    example = settings_reference.example()
    for name in Settings.model_fields:
        assert f"{variable(name)}=" in example
    filled = example
    for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET"):
        filled = filled.replace(f"ENTRA_{name}=\n", f"ENTRA_{name}=x\n")
    (tmp_path / ".env").write_text(filled)
    assert Settings.load().auth_kind is Auth.SECRET


def test_reading_settings_loads_neither_msal_nor_requests_nor_dagster():
    code = (
        "import sys; from entra_pipeline.settings import Settings; Settings.for_data_only();"
        "print([m for m in ('msal', 'requests', 'dagster', 'cryptography') if m in sys.modules])"
    )
    root = settings_reference.ROOT
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
