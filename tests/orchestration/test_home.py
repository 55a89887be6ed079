"""Dagster's home: made for its owner alone, never overwritten, and the same on Postgres."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from entra_pipeline.orchestration import home
from entra_pipeline.settings import Settings

ROOT = Path(__file__).parents[2]


def test_a_home_is_made_absolute_and_readable_by_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = home.prepare(Path("here/.dagster"))
    assert made == tmp_path / "here" / ".dagster"
    assert made.stat().st_mode & 0o077 == 0
    assert (made / "dagster.yaml").read_text() == home.template()


def test_a_home_that_somebody_configured_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    home.prepare(tmp_path)
    assert (tmp_path / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"


def test_the_home_is_the_given_one_else_dagsters_variable_else_in_the_data_directory(
    tmp_path: Path,
) -> None:
    settings = Settings.for_data_only(data_dir=tmp_path)
    assert home.choose(settings, {}) == tmp_path / ".dagster"
    assert home.choose(settings, {"DAGSTER_HOME": "/var/dagster"}) == Path("/var/dagster")
    assert home.choose(settings, {"DAGSTER_HOME": "/x"}, Path("/given")) == Path("/given")


def test_a_home_that_cannot_be_made_is_named_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(home.HomeError, match=r"file/home.*DAGSTER_HOME"):
        home.prepare(tmp_path / "file" / "home")


def test_storage_that_cannot_be_opened_is_said_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dagster.yaml").write_text((ROOT / "deploy/postgres/dagster.yaml").read_text())
    # No such driver: refused at once, where a server that is down would be asked again and again.
    address = "postgresql+nosuchdriver://dagster:hunter2@127.0.0.1:1/none"
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", address)
    with pytest.raises(home.HomeError) as raised, home.open_instance(tmp_path):
        pass
    assert "hunter2" not in str(raised.value)
    assert str(tmp_path / "dagster.yaml") in str(raised.value)


def test_the_three_instance_files_differ_in_storage_alone() -> None:
    ours = yaml.safe_load(home.template())
    assert yaml.safe_load((ROOT / "dagster.yaml").read_text()) == ours
    postgres = yaml.safe_load((ROOT / "deploy/postgres/dagster.yaml").read_text())
    assert postgres.pop("storage") == {
        "postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}
    }
    assert postgres == ours


def test_the_instance_keeps_what_the_template_promises(tmp_path: Path) -> None:
    with home.open_instance(home.prepare(tmp_path / "home")) as instance:
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_max_runtime_seconds > 0
        assert instance.run_monitoring_settings["free_slots_after_run_end_seconds"] > 0
        assert not instance.run_retries_enabled
        assert not instance.run_retries_retry_on_asset_or_op_failure
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert queue.tag_concurrency_limits == [{"key": "entra_pipeline/writes", "limit": 1}]
