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
from entra_pipeline.provisioning.planning import Refusal
from entra_pipeline.provisioning.policy import OffboardRule, Policy
from entra_pipeline.provisioning.sealing import SealedFiles
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.values import Mode
from entra_pipeline.simulator.process import Simulator
from tests.provisioning import kinds
from tests.provisioning.clock import Clock
from tests.provisioning.kinds import KINDS, Kind
from tests.provisioning.making import grant
from tests.provisioning.matrix import Matrix
from tests.provisioning.stage import Stage, staged
from tests.provisioning.walking import steps

KEY = pyrage.x25519.Identity.generate()


@pytest.fixture
def stage(
    ledger: Ledger, ledger_url: str | Path, trusting: Simulator, tmp_path: Path, clock: Clock
) -> Iterator[Stage]:
    clock.now = datetime.now(UTC)
    vault = SealedFiles(tmp_path / "sealed", [str(KEY.to_public())])
    policy = Policy(offboard=OffboardRule())
    with staged(
        ledger, trusting, tmp_path, clock, vault=vault, policy=policy, exchange=True
    ) as opened:
        opened.ledger_url = ledger_url
        yield opened
    trusting.faults([])
    trusting.stale_reads(0)


# ---- what goes wrong -----------------------------------------------------------------------------


WRITES = r"^(?!.*\$batch)(?!.*/token)(?!.*/InvokeCommand)"
"""What is no batch of reads, no request for a token, and no command of Exchange."""
COMMANDS = {"path": "/InvokeCommand", "body": "(Add|Remove|Set)-DistributionGroup"}
"""Commands of Exchange that change something."""


def spoil(stage: Stage, **how: Any) -> None:
    """Let the first write go wrong, and a worker work; then nothing goes wrong any more."""
    stage.simulator.faults(
        [
            {"match": {"method": method, "path": WRITES, "times": 1}, **how}
            for method in ("POST", "PATCH", "PUT", "DELETE")
        ]
        + [{"match": {**COMMANDS, "times": 1}, **how}]
    )
    reached = stage.worker().apply()
    stats = stage.simulator.stats()
    assert stats["faults_fired"] == 1, (reached, stats["by_route"], stats["by_status"])
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
                staged(
                    own,
                    stage.simulator,
                    stage.folder,
                    stage.clock,
                    vault=stage.vault,
                    exchange=True,
                ) as other,
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
    stage: Stage, matrix: Matrix, kind: Kind, trouble: Callable[[Stage, str], None]
) -> None:
    once(stage, matrix, kind, trouble)


@pytest.mark.soak
@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_through_every_trouble(
    stage: Stage, matrix: Matrix, kind: Kind, trouble: Callable[[Stage, str], None]
) -> None:
    once(stage, matrix, kind, trouble)


@pytest.fixture(scope="module")
def matrix() -> Iterator[Matrix]:
    """What this module's tests find out, as a page when one is wanted."""
    found = Matrix()
    yield found
    found.write()


def once(stage: Stage, matrix: Matrix, kind: Kind, trouble: Callable[[Stage, str], None]) -> None:
    body, expected = kind(stage.simulator)
    stage.seen_effects = len(stage.simulator.effects())
    end = stage.clock() + timedelta(hours=4)
    more = {"expires_at": end} if getattr(body, "mode", Mode.DIRECT) is Mode.PIM_ACTIVE else {}
    (filed,) = stage.approved(grant(body=body, **more))
    stage.simulator.reset_stats()
    trouble(stage, filed.id)
    stage.clock.advance(seconds=121)
    stage.run([filed.id])
    ended = stage.ledger.request(filed.id)
    went = [(step.operation.identity, step.state, step.result) for step in steps(stage, filed)]
    assert ended.state is RequestState.DONE, (ended.reasons, went)
    made = [kind for kind, _, _ in stage.effects()]
    # Of an offboarding, what waits for something to show comes after what need not.
    assert (made[:2], sorted(made)) == (expected[:2], sorted(expected))
    # However it was found out: it is ours, so that its end takes it back.
    assert all(step.added or step.operation.already for step in steps(stage, filed))
    assert verify(stage.ledger.database).findings == ()
    again = asked_again(stage, body, more)
    assert (again == "written again") is (kind in NO_STATE)
    matrix.note(kind.__name__, expected, trouble.__name__, "once")
    matrix.note(kind.__name__, expected, "twice", again)


NO_STATE = (kinds.password, kinds.sessions, kinds.group, kinds.leaver)
"""What a second request asks for anew: another password, other sessions, another group."""


def asked_again(stage: Stage, body: Any, more: dict[str, Any]) -> str:
    """What a second request for the same would come to."""
    (filed,) = stage.ledger.file([grant(body=body, **more)])
    plan = stage.plan([filed])
    if isinstance(plan, Refusal):
        return "refused"
    return "nothing is written" if all(e.already for e in plan.operations) else "written again"


def test_the_page_of_the_matrix_has_every_kind_and_nothing_that_was_not_run() -> None:
    page = (Path(__file__).parents[2] / "docs" / "provisioning-matrix.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")][2:]
    assert [row[0].removeprefix("| ") for row in rows] == [
        kind.__name__.replace("_", " ") for kind in KINDS
    ]
    assert "not run" not in page
