"""Random requests carried out by Dagster, of which every part is killed, and its storage deleted.

Judged from outside, as in `test_oracle`. Long: who is killed holds what it had claimed for minutes.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil
import pyrage
import pytest
import sqlalchemy as sa

from entra_pipeline.orchestration import home as homes
from entra_pipeline.orchestration import serve
from entra_pipeline.orchestration.provision import SENSOR
from entra_pipeline.provisioning import Plan, Provisioning, Request, os_user
from entra_pipeline.provisioning.ledger import verify
from entra_pipeline.provisioning.values import BODY
from entra_pipeline.simulator.process import Simulator, running
from tests.orchestration.graphql import ask, until
from tests.provisioning.at_random import Asking
from tests.provisioning.judge import Documents, judge
from tests.provisioning.program import Program
from tests.provisioning.test_oracle import ADMINISTRATOR, BUSY, COUNT, ITEM
from tests.provisioning.test_served import LOCATION, START

POLICY: Final = """\
version: 1
os_user_approves: true
separate: {requester: false, beneficiary: false}
approvals: {control: 1, sensitive: 1, ordinary: 1}
"""
VICTIMS: Final = ("worker", "daemon", "code server", "everything")


def asked(program: Program, rng: random.Random, bodies: Iterable[Any], name: str) -> int:
    """File, plan and mostly approve requests; how many were approved."""
    approved = 0
    with Provisioning(program.settings()) as opened:
        for number, (body, end) in enumerate(bodies):
            request = Request(
                body=BODY.validate_python(body),
                asked_by=os_user(),
                reason="at random",
                expires_at=end,
                idempotency_key=f"random-{name}-{number:06}",
            )
            (filed,) = opened.file([request])
            _, plan = opened.plan(filed.id)
            if not isinstance(plan, Plan) or (plan.approvals_needed and rng.random() < 0.15):
                continue
            if plan.approvals_needed:
                opened.approve(filed.id, plan.hash, os_user(), None)
            approved += 1
    return approved


def states(program: Program) -> Counter[str]:
    """Requests by state; `ending`: what was granted for a while and is not taken back yet."""
    with Provisioning(program.settings()) as opened, opened.ledger.database.read() as connection:
        found = Counter(connection.execute(sa.text("SELECT state FROM requests")).scalars())
        found["ending"] = connection.execute(
            sa.text(
                "SELECT count(*) FROM requests WHERE expires_at IS NOT NULL AND ended_by IS NULL"
                " AND state = 'done' AND document NOT LIKE '%\"pim_%'"
            )
        ).scalar_one()
    return found


def kill(served: serve.Served, victim: str) -> int:
    """SIGKILL; how many processes it met. Runs are children of the code server."""
    parts = {name: psutil.Process(each.pid) for name, each in served.processes.items()}

    def children() -> list[psutil.Process] | None:
        return parts["code server"].children(recursive=True) or None

    runs = until("a run", children, 120)
    met = {
        "worker": runs,
        "daemon": [parts["daemon"]],
        "code server": [parts["code server"]],  # its runs go on as orphans
        "everything": [*parts.values(), *runs],
    }[victim]
    for process in met:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    return len(met)


def spoil(simulator: Simulator) -> None:
    """Some writes go wrong, in every way, and some reads are behind for a while."""
    ways: list[dict[str, Any]] = [
        {"when": "after", "reset": True},
        {"reset": True},
        {"respond": {"status": 503, "body": BUSY}},
    ]
    simulator.faults(
        [
            {"match": {"method": method, **ITEM, "probability": 0.04}, **way}
            for method in ("POST", "PATCH", "PUT", "DELETE")
            for way in ways
        ]
    )
    simulator.stale_reads(3.0, fresh_share=0.3)


def start(served: serve.Served) -> None:
    selector = {**LOCATION, "sensorName": SENSOR}
    assert ask(served.url, START, selector=selector)["startSensor"]["__typename"] == "Sensor"


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_what_is_done_happened_once_whatever_is_killed_and_forgotten(tmp_path: Path) -> None:
    rng = random.Random(20261124)
    key = pyrage.x25519.Identity.generate()
    with running(
        users=100 + 3 * COUNT,
        groups=100 + COUNT,
        seed=31,
        writer=True,
        writer_roles=[ADMINISTRATOR],
    ) as simulator:
        program = Program(simulator, tmp_path)
        program.policy(POLICY)
        program.env["ENTRA_SEAL_TO"] = str(key.to_public())
        before = Documents.now(simulator.truth)
        bodies = Asking(simulator, rng, datetime.now(UTC), ends=(5, 9)).some(COUNT)
        settings = program.settings()
        variables = serve.environment(settings, os.environ)
        met: Counter[str] = Counter()
        approved = 0
        home = tmp_path / "home"
        for victim in VICTIMS:
            part = list(itertools.islice(bodies, -(-COUNT // len(VICTIMS))))
            approved += asked(program, rng, part, victim.replace(" ", "-"))
            spoil(simulator)
            simulator.reset_stats()
            with serve.children(variables, homes.prepare(home)) as served:
                known = len(program.effects())
                start(served)
                until("an effect", lambda: len(program.effects()) > known or None, 240)  # noqa: B023
                time.sleep(rng.uniform(0, 2))
                met[victim] += kill(served, victim)
                met["faults"] += simulator.stats()["faults_fired"]
                time.sleep(5)  # orphans go on
            shutil.rmtree(home)
        simulator.faults([])
        simulator.stale_reads(0)
        with serve.children(variables, homes.prepare(home)) as served:
            start(served)

            def ended() -> bool | None:
                found = states(program)
                moving = [found[each] for each in ("approved", "running", "written", "ending")]
                return None if any(moving) else True

            until("the end of all requests", ended, 3600)
        found = judge(
            sa.create_engine(f"sqlite:///{program.data / 'ledger.sqlite'}"),
            simulator.effects(),
            before,
            Documents.now(simulator.truth),
        )
        assert found.complaints == []
        assert found.states["done"] >= approved * 0.8
        assert all(met[each] > 0 for each in (*VICTIMS, "faults")), met
        with Provisioning(settings) as opened:
            assert verify(opened.ledger.database).findings == ()
