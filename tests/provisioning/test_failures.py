"""Every kind, when answers are lost, workers are killed, and reads are behind: written once."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest

from entra_pipeline.provisioning.ledger import Ledger, verify
from entra_pipeline.provisioning.ledger.work import LEASE
from entra_pipeline.provisioning.sealing import SealedFiles
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.values import Mode
from entra_pipeline.simulator.process import Simulator
from tests.provisioning.clock import Clock
from tests.provisioning.kinds import KINDS, Kind
from tests.provisioning.making import grant
from tests.provisioning.stage import Stage, staged
from tests.provisioning.walking import steps

KEY = pyrage.x25519.Identity.generate()


@pytest.fixture
def stage(
    ledger: Ledger, ledger_url: str | Path, trusting: Simulator, tmp_path: Path, clock: Clock
) -> Iterator[Stage]:
    clock.now = datetime.now(UTC)
    vault = SealedFiles(tmp_path / "sealed", [str(KEY.to_public())])
    with staged(ledger, trusting, tmp_path, clock, vault=vault) as opened:
        opened.ledger_url = ledger_url
        yield opened
    trusting.faults([])
    trusting.stale_reads(0)


# ---- what goes wrong -----------------------------------------------------------------------------


WRITES = r"^(?!.*\$batch)(?!.*/token)"
"""What is no batch of reads, and no request for a token."""


def spoil(stage: Stage, **how: Any) -> None:
    """Let the first write go wrong, and a worker work; then nothing goes wrong any more."""
    stage.simulator.faults(
        [
            {"match": {"method": method, "path": WRITES, "times": 1}, **how}
            for method in ("POST", "PATCH", "PUT", "DELETE")
        ]
    )
    stage.worker().apply()
    reasons = stage.ledger.requests(limit=1)[0].reasons
    assert stage.simulator.stats()["faults_fired"] == 1, reasons
    stage.simulator.faults([])


def answer_lost(stage: Stage, key: str) -> None:
    """It was done, and nobody was told."""
    spoil(stage, when="after", reset=True)
    assert stage.effects()


def request_lost(stage: Stage, key: str) -> None:
    """It never arrived, and nobody knows."""
    spoil(stage, reset=True)
    assert not stage.effects()


def unavailable(stage: Stage, key: str) -> None:
    """The service was not to be had."""
    body = {"error": {"code": "ServiceUnavailable", "message": "Try later."}}
    spoil(stage, respond={"status": 503, "body": body})


def killed(stage: Stage, key: str) -> None:
    """The worker dies after the write and before the record."""
    # The answer takes long enough for the worker to be killed while it waits.
    rule = {"match": {"effect": True, "times": 1}, "when": "after", "delay_ms": 800}
    stage.simulator.faults([rule])
    url, tenant = stage.ledger_url, stage.ledger.tenant_id
    child = os.fork()
    if child == 0:
        try:
            with (
                Ledger(url, tenant, clock=stage.clock) as own,
                staged(own, stage.simulator, stage.folder, stage.clock, vault=stage.vault) as other,
            ):
                other.worker("killed").apply()
        finally:
            os._exit(0)
    deadline = time.monotonic() + 60
    while len(stage.effects()) == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it was not killed in time"
    assert stage.simulator.stats()["faults_fired"] == 1
    stage.simulator.faults([])
    time.sleep(0.8)  # until the tenant is done with it too
    stage.clock.now += LEASE


def behind(stage: Stage, key: str) -> None:
    """Reads do not show for long what was written, and the answer was lost too."""
    stage.simulator.stale_reads(3600)
    answer_lost(stage, key)
    for _ in range(3):
        stage.clock.advance(seconds=31)
        stage.worker().apply()
        stage.worker().verify()
    assert stage.ledger.request(key).state in (RequestState.APPROVED, RequestState.WRITTEN)
    stage.simulator.stale_reads(0)


TROUBLES: list[Callable[[Stage, str], None]] = [
    answer_lost,
    killed,
    behind,
    unavailable,
    request_lost,
]


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("kind", "trouble"), list(zip(KINDS, itertools.cycle(TROUBLES), strict=False))
)
def test_every_kind_comes_through_one_of_the_troubles(
    stage: Stage, kind: Kind, trouble: Callable[[Stage, str], None]
) -> None:
    once(stage, kind, trouble)


@pytest.mark.soak
@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_through_every_trouble(
    stage: Stage, kind: Kind, trouble: Callable[[Stage, str], None]
) -> None:
    once(stage, kind, trouble)


def once(stage: Stage, kind: Kind, trouble: Callable[[Stage, str], None]) -> None:
    body, expected = kind(stage.simulator)
    end = stage.clock() + timedelta(hours=4)
    more = {"expires_at": end} if getattr(body, "mode", Mode.DIRECT) is Mode.PIM_ACTIVE else {}
    (filed,) = stage.approved(grant(body=body, **more))
    stage.simulator.reset_stats()
    trouble(stage, filed.id)
    stage.clock.advance(seconds=121)
    stage.run([filed.id])
    ended = stage.ledger.request(filed.id)
    assert ended.state is RequestState.DONE, ended.reasons
    assert [kind for kind, _, _ in stage.effects()] == expected
    # However it was found out: it is ours, so that its end takes it back.
    assert all(step.added for step in steps(stage, filed))
    assert verify(stage.ledger.database).findings == ()
