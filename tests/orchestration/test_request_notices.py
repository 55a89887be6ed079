"""The sensor that tells of requests: in Dagster, while writing is off, and never twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from entra_pipeline.definitions import build_definitions
from entra_pipeline.lake import DataDirectory
from entra_pipeline.orchestration.notices import SENSOR, notices
from entra_pipeline.provisioning.ledger import Ledger, rows
from entra_pipeline.provisioning.ledger.writing import transaction
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.settings import Settings, SettingsError
from tests.orchestration.listener import listening
from tests.provisioning.making import TENANT, grant, person, plan_of

SECRET = "a secret of the listener's"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def settings(folder: Path, url: str | None) -> Settings:
    return Settings.for_data_only(data_dir=folder / "data", tenant_id=TENANT).model_copy(
        update={
            "requests_webhook_url": None if url is None else SecretStr(url),
            "events_webhook_secret": SecretStr(SECRET),
        }
    )


def tick(given: Settings, instance: dg.DagsterInstance) -> Any:
    definitions = build_definitions(given)
    sensor = definitions.get_sensor_def(SENSOR)
    with dg.build_sensor_context(
        instance=instance, repository_def=definitions.get_repository_def()
    ) as context:
        return sensor(context)


def test_the_sensor_runs_unless_stopped_and_tells_of_what_went_wrong_once(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    definitions = build_definitions(settings(tmp_path, None))
    assert definitions.get_sensor_def(SENSOR).default_status is dg.DefaultSensorStatus.RUNNING
    assert "nobody is to be told" in str(tick(settings(tmp_path, None), instance).skip_message)
    with listening() as listener:
        given = settings(tmp_path, listener.url)
        assert not given.provisioning
        assert "no ledger" in str(tick(given, instance).skip_message)
        DataDirectory.claim(given.data_dir, TENANT)
        with Ledger(given.data_dir / "ledger.sqlite", TENANT) as ledger:
            (filed,) = ledger.file([grant(reason="a reason with a name in it")])
            plan = plan_of([filed])
            ledger.save_plan(filed.batch_id, plan)
            ledger.approve(plan.hash, person(50))
            for state in (RequestState.RUNNING, RequestState.FAILED):
                with transaction(ledger.database, ledger.clock()) as tx:
                    rows.move(tx, rows.filed(tx.connection, [filed.id])[0], state)
        assert "1 new notices" in str(tick(given, instance).skip_message)
        until = time.monotonic() + 20
        while notices(given).counts() != {"told": 1} and time.monotonic() < until:
            time.sleep(0.05)
        assert "0 new notices" in str(tick(given, instance).skip_message)
        (told,) = listener.got
        assert (told["what"], told["request"], told["event"]) == ("failed", filed.id, "request")
        assert b"reason" not in listener.bodies[0]


def test_an_address_without_a_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.for_data_only(data_dir=tmp_path, requests_webhook_url="https://hook.example/x")
    assert "ENTRA_REQUESTS_WEBHOOK_URL" in caught.value.messages[0]
