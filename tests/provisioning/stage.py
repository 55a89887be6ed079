"""The whole way of a request, against a simulated tenant, without an orchestrator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from entra_pipeline.exchange import ExchangeClient
from entra_pipeline.msgraph import GraphClient
from entra_pipeline.provisioning.applying import Applier, Pace
from entra_pipeline.provisioning.gate import STOP_FILE, Gate
from entra_pipeline.provisioning.ledger import Filed, Ledger
from entra_pipeline.provisioning.planning import Planner, Refusal
from entra_pipeline.provisioning.plans import Plan
from entra_pipeline.provisioning.policy import Policy
from entra_pipeline.provisioning.reads import FactReader
from entra_pipeline.provisioning.sealing import Vault
from entra_pipeline.provisioning.states import RequestState
from entra_pipeline.provisioning.sweeping import Swept, sweep
from entra_pipeline.provisioning.values import Request
from entra_pipeline.simulator.process import Simulator
from tests.provisioning.clock import Clock
from tests.provisioning.making import person
from tests.support import settings_for

PACE = Pace(
    retry_after=timedelta(seconds=30),
    verify_every=timedelta(seconds=5),
    verify_reads=3,
    visible_within=timedelta(minutes=5),
)


class Stage:
    """A ledger, a tenant, and somebody at every post."""

    def __init__(
        self,
        ledger: Ledger,
        simulator: Simulator,
        folder: Path,
        clock: Clock,
        *,
        policy: Policy | None = None,
        enabled: bool = True,
        vault: Vault | None = None,
        exchange: bool = False,
    ) -> None:
        info = simulator.info
        assert info.writer_client_id is not None
        self.settings = settings_for(
            simulator,
            folder / "data",
            client_id=info.writer_client_id,
            client_secret=info.writer_client_secret,
            auth="secret",
            exchange=exchange,
        )
        self.folder, self.clock, self.ledger, self.simulator = folder, clock, ledger, simulator
        self.client = GraphClient.from_settings(self.settings)
        self.exchange = ExchangeClient.from_settings(self.settings) if exchange else None
        self.policy = policy or Policy()
        self.vault = vault
        self.ledger_url: str | Path = ""
        self.gate = Gate(enabled=enabled, stop_file=folder / STOP_FILE, stopped=ledger.stopped)
        self.seen_effects = len(simulator.effects())

    def worker(self, name: str = "worker") -> Applier:
        return Applier(self.ledger, self.client, self.gate, name, PACE, self.vault, self.exchange)

    def plan(self, filed: Sequence[Filed]) -> Plan | Refusal:
        return self.planner().plan(filed, self.clock())

    def planner(self) -> Planner:
        recipients = () if self.vault is None else self.vault.recipients
        reader = FactReader(self.client, exchange=self.exchange)
        return Planner(self.settings.tenant_id, self.policy, reader, frozenset(), recipients)

    def sweep(self) -> Swept:
        return sweep(self.ledger, self.planner())

    def approved(self, *requests: Request) -> list[Filed]:
        """File, plan, approve."""
        filed = self.ledger.file(requests)
        plan = self.plan(filed)
        assert isinstance(plan, Plan), plan
        self.ledger.save_plan(filed[0].batch_id, plan)
        for number in range(plan.approvals_needed):
            self.ledger.approve(plan.hash, person(50 + number))
        return [self.ledger.request(each.id) for each in filed]

    def done(self, *requests: Request) -> list[Filed]:
        """All of it, with as many rounds as it takes; the requests as they ended."""
        filed = self.approved(*requests)
        self.run([each.id for each in filed])
        return [self.ledger.request(each.id) for each in filed]

    def run(self, ids: Sequence[str], rounds: int = 60) -> None:
        """Let a worker work until the requests have ended."""
        worker = self.worker()
        for _ in range(rounds):
            worker.apply()
            worker.verify()
            states = {self.ledger.request(each).state for each in ids}
            if not states & {RequestState.APPROVED, RequestState.RUNNING, RequestState.WRITTEN}:
                return
            self.clock.advance(seconds=6)
        raise AssertionError(f"after {rounds} rounds still {states}")

    def effects(self) -> list[tuple[str, str, str | None]]:
        """What was really written since the stage was set: kind, target, principal."""
        return [
            (each["kind"], each["target"], each["principal"])
            for each in self.simulator.effects(self.seen_effects)
        ]


@contextmanager
def staged(*args: Any, **more: Any) -> Iterator[Stage]:
    """A stage that is cleared afterwards."""
    stage = Stage(*args, **more)
    try:
        yield stage
    finally:
        stage.client.close()
        if stage.exchange is not None:
            stage.exchange.close()
