"""Random requests, faults and killed workers: what the ledger calls done happened, just once.

Judged from outside (`judge`), by what the tenant itself says was changed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyrage
import pytest
import sqlalchemy as sa

from entra_pipeline.provisioning.ledger import Ledger, verify
from entra_pipeline.provisioning.ledger.work import LEASE
from entra_pipeline.provisioning.plans import Plan
from entra_pipeline.provisioning.sealing import SealedFiles
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.values import BODY, Request, UpdateUser
from entra_pipeline.simulator.process import running
from tests.provisioning.at_random import Asking
from tests.provisioning.clock import Clock
from tests.provisioning.judge import Documents, Judgement, judge
from tests.provisioning.making import grant, person
from tests.provisioning.stage import Stage, staged

_S = RequestState
MOVING: Final = frozenset({_S.APPROVED, _S.RUNNING, _S.WRITTEN})
ITEM: Final = {"path": r"^(?!.*\$batch)(?!.*/token)"}
"""A write by itself or within a batch: what cuts one off cuts off the answer to all of them."""
BUSY: Final = {"error": {"code": "ServiceUnavailable", "message": "Try later."}}
TROUBLES: Final[dict[str, dict[str, Any]]] = {
    "answer lost": {"when": "after", "reset": True},
    "answer cut": {"when": "after", "truncate_at": 9},
    "request lost": {"reset": True},
    "unavailable": {"respond": {"status": 503, "body": BUSY}},
    "done later": {"when": "later", "reset": True, "delay_ms": 150},
}
COUNT: Final = int(os.environ.get("PROVISIONING_REQUESTS", "500"))
ADMINISTRATOR: Final = "Privileged Authentication Administrator"


class Weather:
    """What goes wrong around a worker, and how often it really did."""

    def __init__(self, stage: Stage, rng: random.Random) -> None:
        self.stage, self.rng = stage, rng
        self.fired: Counter[str] = Counter()
        self._turn: list[str] = []

    def round(self, *, lags: bool) -> None:
        """One worker at work for a while, and something that goes wrong with it."""
        if not self._turn:
            self._turn = [*TROUBLES, "killed", "killed in a write", "calm", "behind", "two"]
            self.rng.shuffle(self._turn)
        trouble = self._turn.pop()
        stage = self.stage
        if trouble in TROUBLES:
            self._spoilt(trouble)
        elif trouble.startswith("killed"):
            self._killed(trouble)
        elif trouble == "behind" and lags:
            stage.simulator.stale_reads(3600, fresh_share=0.3)
            self._work()
            stage.clock.advance(seconds=self.rng.uniform(31, 50))
            self._work()
            stage.simulator.stale_reads(0)
            self.fired[trouble] += 1
        elif trouble == "two":
            child = self._child()
            self._work()
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            stage.clock.now += LEASE
        else:
            self._work()
        stage.clock.advance(seconds=self.rng.uniform(5, 40))

    def _work(self, name: str = "worker") -> None:
        worker = self.stage.worker(name)
        worker.apply(self.rng.randint(1, 8))
        worker.verify()

    def _spoilt(self, trouble: str) -> None:
        simulator = self.stage.simulator
        nth = self.rng.randint(1, 3)
        simulator.reset_stats()
        simulator.faults(
            [
                {"match": {"method": method, **ITEM, "nth": nth}, **TROUBLES[trouble]}
                for method in ("POST", "PATCH", "PUT", "DELETE")
            ]
        )
        self._work()
        self.fired[trouble] += simulator.stats()["faults_fired"]
        simulator.faults([])
        time.sleep(0.2)  # until what is done later is done

    def _killed(self, trouble: str) -> None:
        stage = self.stage
        known = len(stage.effects())
        if trouble == "killed":
            child = self._child()
            time.sleep(self.rng.uniform(0.02, 0.4))
        else:
            rule = {"match": {"effect": True, "times": 1}, "when": "after", "delay_ms": 400}
            stage.simulator.faults([rule])
            child = self._child()
            deadline = time.monotonic() + 3
            while len(stage.effects()) == known and time.monotonic() < deadline:
                time.sleep(0.02)
            self.fired[trouble] += len(stage.effects()) > known
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
        self.fired["killed"] += 1
        stage.simulator.faults([])
        time.sleep(0.5)  # until the tenant is done with it too
        stage.clock.now += LEASE

    def _child(self) -> int:
        """Another worker, in a process of its own, until it is killed."""
        stage, limit = self.stage, self.rng.randint(1, 8)
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
                    worker = other.worker(f"child-{os.getpid()}")
                    while True:
                        worker.apply(limit)
                        worker.verify()
                        time.sleep(0.05)
            finally:
                os._exit(0)
        return child


def asked(stage: Stage, rng: random.Random, count: int) -> dict[str, int]:
    """File and plan so many requests; most are approved. How many are not, by what they became."""
    waiting: list[Request] = []
    for body, end in Asking(stage.simulator, rng, stage.clock(), lists=True).some(count):
        more = {} if end is None else {"expires_at": end}
        waiting.append(grant(body=BODY.validate_python(body), **more))
    rng.shuffle(waiting)
    left: Counter[str] = Counter()
    while waiting:
        size = rng.randint(1, 4)
        batch, waiting = waiting[:size], waiting[size:]
        filed = stage.ledger.file(batch)
        plan = stage.plan(filed)
        if not isinstance(plan, Plan):
            stage.ledger.refuse({each.id: plan.reasons.get(each.id, ()) for each in filed})
            left["refused"] += size
            continue
        stage.ledger.save_plan(filed[0].batch_id, plan)
        fate = rng.choices(["approved", "planned", "rejected", "cancelled"], [12, 1, 1, 1])[0]
        if fate == "approved" or not plan.approvals_needed:
            for number in range(plan.approvals_needed):
                stage.ledger.approve(plan.hash, person(50 + number))
            continue
        left[fate] += size
        if fate == "rejected":
            stage.ledger.reject(plan.hash, person(60))
        elif fate == "cancelled":
            for each in filed:
                stage.ledger.cancel(each.id, person())
    return left


SOMEBODY: Final = "5a3e3f0e-0000-4000-8000-00000000e15e"
"""The client-request-id of somebody else."""


def meddled_with(stage: Stage, most: int) -> int:
    """Somebody else changes what some plans rest on; how many plans those are."""
    info, token = stage.simulator.info, stage.simulator.token(writer=True)
    found = 0
    for filed in map(stage.ledger.request, ids_of(stage)):
        body = filed.request.body
        if filed.state is not _S.APPROVED or not isinstance(body, UpdateUser) or found == most:
            continue
        request = urllib.request.Request(
            f"{info.http_graph_url}/v1.0/users/{body.user_id}",
            json.dumps({"jobTitle": "Meddler"}).encode(),
            {
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/json",
                "client-request-id": SOMEBODY,
            },
            method="PATCH",
        )
        urllib.request.urlopen(request, timeout=30).close()
        found += 1
    return found


def moving(stage: Stage, ids: Sequence[str]) -> int:
    return sum(each.state in MOVING for each in map(stage.ledger.request, ids))


def ids_of(stage: Stage) -> list[str]:
    with stage.ledger.database.read() as connection:
        return list(connection.execute(sa.text("SELECT id FROM requests")).scalars())


def carried_out(stage: Stage, rng: random.Random, count: int) -> tuple[Judgement, Weather]:
    """Everything asked for, carried out in bad weather, taken back where it ends, and judged."""
    before = Documents.now(stage.simulator.truth)
    left = asked(stage, rng, count)
    left["stale"] = meddled_with(stage, 1 + count // 100)
    weather = Weather(stage, rng)
    most = 20 + count
    for lags in (True, False):
        for _ in range(most):
            weather.round(lags=lags)
            if not lags:
                stage.sweep()
            if not moving(stage, ids_of(stage)):
                break
        if lags:  # everything that was granted for a while ends
            stage.clock.advance(minutes=61)
            stage.sweep()
    effects = [
        each
        for each in stage.simulator.effects(stage.seen_effects)
        if each["request_id"] != SOMEBODY
    ]
    engine = stage.ledger.database.engine
    after = Documents.now(stage.simulator.truth)
    found = judge(engine, effects, before, after)
    assert found.complaints == []
    # The judge sees what happened twice, what did not happen, and what nobody asked for.
    stray = {**effects[0], "request_id": SOMEBODY}
    for wrong in ([*effects, effects[0]], effects[1:], [*effects[1:], stray]):
        assert judge(engine, wrong, before, after).complaints
    # Nothing is left in the middle, and whatever was not approved is where it was left.
    settled = {name: found.states[name] for name in ("planned", "rejected", "cancelled")}
    assert settled == {name: left[name] for name in settled}
    assert found.states["stale"] >= left["stale"]
    assert found.states.keys() <= {"done", "stale", "failed", "refused", *settled}, found.states
    assert verify(stage.ledger.database).findings == ()
    return found, weather


def test_what_is_done_happened_once_and_nothing_else_happened(tmp_path: Path, clock: Clock) -> None:
    found, weather = run(
        tmp_path / "ledger.sqlite", tmp_path, clock, seed=4711, count=20, users=150
    )
    assert found.states["done"] >= 12
    assert found.once >= 10
    assert sum(weather.fired[each] for each in TROUBLES) > 0
    assert weather.fired["killed"] > 0


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_what_is_done_of_many_requests_happened_once_and_nothing_else_happened(
    ledger_url: str | Path, tmp_path: Path, clock: Clock
) -> None:
    found, weather = run(
        ledger_url, tmp_path, clock, seed=20261123, count=COUNT, users=100 + 3 * COUNT
    )
    assert found.states["done"] >= 0.7 * COUNT
    assert found.once >= 0.6 * COUNT
    for trouble in (*TROUBLES, "killed", "killed in a write", "behind"):
        assert weather.fired[trouble] > 0, weather.fired


def run(
    ledger_url: str | Path, folder: Path, clock: Clock, *, seed: int, count: int, users: int
) -> tuple[Judgement, Weather]:
    clock.now = datetime.now(UTC)
    key = pyrage.x25519.Identity.generate()
    vault = SealedFiles(folder / "sealed", [str(key.to_public())])
    with (
        simulated(users) as simulator,
        Ledger(ledger_url, simulator.info.tenant_id, clock=clock) as ledger,
        staged(ledger, simulator, folder, clock, vault=vault, exchange=True) as stage,
    ):
        stage.ledger_url = ledger_url
        return carried_out(stage, random.Random(seed), count)


def simulated(users: int) -> Any:
    return running(
        users=users,
        groups=users // 2,
        seed=29,
        writer=True,
        writer_roles=(ADMINISTRATOR, "Exchange Administrator"),
        write_conflicts=True,
    )
