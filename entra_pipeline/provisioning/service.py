"""Provisioning by the settings: the ledger, the policy, the gate and the clients put together.

What the command line, Dagster and programs call. Here: which parts a step needs, and in which
order. Not here: what the steps do (`planning`, `approving`, `applying`, `sweeping`, `ledger`).

Nothing is opened, and nothing of Microsoft Graph is loaded, before it is needed: asking and
approving need the ledger alone, planning the application that reads, writing the one that writes.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from entra_pipeline.provisioning import approving
from entra_pipeline.provisioning.errors import ProvisioningError, TransitionError
from entra_pipeline.provisioning.gate import STOP_FILE, Gate
from entra_pipeline.provisioning.ledger import Filed, Head, Ledger, looking, recent, reviewing
from entra_pipeline.provisioning.ledger.diverting import divert
from entra_pipeline.provisioning.ledger.reviewing import Finding, Review
from entra_pipeline.provisioning.plans import Action, Plan
from entra_pipeline.provisioning.policy import FILE, Policy
from entra_pipeline.provisioning.states import ENDED, REQUEST_MOVES, OperationState, RequestState
from entra_pipeline.provisioning.values import Identity, Request, Source
from entra_pipeline.provisioning.writer import writer_settings
from entra_pipeline.settings import Settings, SettingsError

if TYPE_CHECKING:
    from entra_pipeline.access.prediction import Fact
    from entra_pipeline.exchange import ExchangeClient
    from entra_pipeline.msgraph import Claims, GraphClient
    from entra_pipeline.provisioning.applying import Applier
    from entra_pipeline.provisioning.guards import Amount
    from entra_pipeline.provisioning.leavers import Leavers
    from entra_pipeline.provisioning.planning import Planner, Refusal
    from entra_pipeline.provisioning.sealing import Vault
    from entra_pipeline.provisioning.sweeping import Swept

log = logging.getLogger(__name__)

_TENANT: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_PLANNABLE: Final = frozenset(
    state for state, moves in REQUEST_MOVES.items() if RequestState.PLANNED in moves
)
SEALED: Final = "sealed"
"""The directory of sealed passwords in the data directory."""
AT_ONCE: Final = 200
"""Requests that a worker claims at once."""


@dataclass
class Carried:
    """What a worker did: the states that requests came to, by id; endings; what was set aside.

    `jobs`: what became of applications' provisioning jobs, by service principal.
    """

    requests: dict[str, RequestState] = field(default_factory=dict)
    operations: dict[str, OperationState] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    ends_refused: list[str] = field(default_factory=list)
    diverted: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)
    rounds: int = 0

    def counts(self) -> dict[str, int]:
        """Requests by the state that they came to."""
        counted: dict[str, int] = {}
        for state in self.requests.values():
            counted[state.value] = counted.get(state.value, 0) + 1
        return counted


class Provisioning:
    """Everything that can be done to the tenant, by these settings. Close it when done."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened."""
        self._open.close()

    # ---- the parts -----------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """What it was opened with."""
        return self._settings

    @property
    def enabled(self) -> bool:
        """Whether the write gate is open."""
        return self._settings.provisioning

    @property
    def stop_file(self) -> Path:
        """The file that stops all writing while it is there."""
        return self._settings.stop_file or self._settings.data_dir / STOP_FILE

    @functools.cached_property
    def tenant_id(self) -> str:
        """The tenant's directory id. SettingsError when the settings have a domain instead."""
        tenant = self._settings.tenant_id.lower()
        if not _TENANT.fullmatch(tenant):
            raise SettingsError(
                [
                    "ENTRA_TENANT_ID: provisioning wants the tenant's directory id (GUID), not "
                    "a domain. Set it to the id on the tenant's overview page."
                ]
            )
        return tenant

    @functools.cached_property
    def policy(self) -> Policy:
        """The policy as its file says now. Raises PolicyError."""
        path = self._settings.policy_file
        if path is not None and not path.is_file():
            raise SettingsError(
                [f"ENTRA_POLICY_FILE: {path} is not a file. Correct it, or remove the setting."]
            )
        return Policy.load(path or self._settings.data_dir / FILE)

    @property
    def ledger_file(self) -> Path | None:
        """The ledger's file in the data directory; None for a ledger that is elsewhere."""
        return self._settings.ledger_file

    @functools.cached_property
    def ledger(self) -> Ledger:
        """The ledger, made if there is none. Raises LedgerError."""
        file, url = self.ledger_file, self._settings.ledger_url
        if file is not None and not file.exists():
            from entra_pipeline.lake import DataDirectory

            DataDirectory.claim(self._settings.data_dir, self.tenant_id)
        ledger = Ledger(file or (url.get_secret_value() if url else ""), self.tenant_id)
        self._open.callback(ledger.close)
        return ledger

    def checkpoint(self) -> Path | None:
        """Sign the audit's newest entry and keep it where the settings say; the new file, if any.

        Raises CheckpointError; SettingsError for half of the settings. Nothing is done without
        them.
        """
        folder, file = self._settings.checkpoint_dir, self._settings.checkpoint_key_file
        if folder is None and file is None:
            return None
        if folder is None or file is None:
            raise SettingsError(
                [
                    "ENTRA_CHECKPOINT_DIR: a directory and ENTRA_CHECKPOINT_KEY_FILE belong "
                    "together. Set both, or neither."
                ]
            )
        from entra_pipeline.provisioning import checkpoints
        from entra_pipeline.provisioning.ledger import head

        ledger = self.ledger
        key = checkpoints.private_key(file)
        now = checkpoints.Checkpoint(self.tenant_id, head(ledger.database), ledger.clock())
        return checkpoints.keep(folder, now, key)

    def signed_head(self, checkpoint: Path, public_key: Path | None = None) -> Head:
        """The entry that a checkpoint was signed for. Raises CheckpointError for one that was not
        signed with the key, or is of another tenant."""
        from entra_pipeline.provisioning import checkpoints

        file = public_key or self._settings.checkpoint_key_file
        if file is None:
            raise checkpoints.CheckpointError(
                "there is no key to check the checkpoint with: give --public-key, or set "
                "ENTRA_CHECKPOINT_KEY_FILE"
            )
        found = checkpoints.load(checkpoint, checkpoints.public_key(file))
        if found.tenant_id != self.tenant_id:
            raise checkpoints.CheckpointError(
                f"{checkpoint} is of tenant {found.tenant_id}, not of {self.tenant_id}"
            )
        return found.head

    @functools.cached_property
    def reader(self) -> GraphClient:
        """The client that plans are made with."""
        return self._client(self._settings)

    @functools.cached_property
    def writer(self) -> GraphClient:
        """The client that writes. Raises SettingsError when the writer has no credential."""
        return self._client(writer_settings(self._settings))

    def _client(self, settings: Settings) -> GraphClient:
        from entra_pipeline.msgraph import GraphClient

        client = GraphClient.from_settings(settings)
        self._open.callback(client.close)
        found = client.token_claims().tenant_id
        if found is not None and found.lower() != self.tenant_id:
            raise SettingsError(
                [f"ENTRA_TENANT_ID: the token is for tenant {found}, not for {self.tenant_id}."]
            )
        return client

    def _exchange(self, settings: Settings) -> ExchangeClient | None:
        """Exchange with that application's credential; None where it is not configured."""
        if not settings.exchange:
            return None
        from entra_pipeline.exchange import ExchangeClient

        client = ExchangeClient.from_settings(settings)
        self._open.callback(client.close)
        return client

    def exchange_claims(self) -> tuple[Claims, Claims]:
        """What the tokens for Exchange of the reading and the writing application say.

        Raises SettingsError where Exchange is not configured, and errors of getting a token.
        """
        reading, writing = self._reading_lists, self._writing_lists
        if reading is None or writing is None:
            raise SettingsError(["ENTRA_EXCHANGE: off. Set it to true to reach Exchange."])
        return reading.token_claims(), writing.token_claims()

    @functools.cached_property
    def _reading_lists(self) -> ExchangeClient | None:
        return self._exchange(self._settings)

    @functools.cached_property
    def _writing_lists(self) -> ExchangeClient | None:
        return self._exchange(writer_settings(self._settings))

    def gate(self) -> Gate:
        """What every write has to pass."""
        return Gate(
            enabled=self.enabled, stop_file=self.stop_file, stopped=lambda: self.ledger.stopped()
        )

    def planner(self) -> Planner:
        """What makes plans, with today's policy."""
        from entra_pipeline.provisioning.planning import Planner
        from entra_pipeline.provisioning.reads import FactReader
        from entra_pipeline.provisioning.vaults import recipients_of

        reader = FactReader(self.reader, exchange=self._reading_lists)
        recipients = recipients_of(self._settings)
        own, busy = self._own_ids, self._synchronizing
        return Planner(self.tenant_id, self.policy, reader, own, recipients, busy)

    @functools.cached_property
    def vault(self) -> Vault | None:
        """Where sealed passwords are kept; None when the settings name nobody to seal them to."""
        from entra_pipeline.provisioning.vaults import vault_of

        return vault_of(self._settings, self._settings.data_dir.absolute() / SEALED)

    @functools.cached_property
    def _synchronizing(self) -> frozenset[str]:
        from entra_pipeline.provisioning import own
        from entra_pipeline.provisioning.reads import FactReader

        return own.synchronizing(FactReader(self.reader))

    @functools.cached_property
    def _own_ids(self) -> frozenset[str]:
        from entra_pipeline.provisioning import own
        from entra_pipeline.provisioning.reads import FactReader

        settings = self._settings
        ids = {settings.client_id, settings.writer_client_id, settings.sign_in_client_id}
        objects = own.objects(FactReader(self.reader), ids - {""})
        claims = self.reader.token_claims()
        # A managed identity may have no client id in the settings.
        return objects | ({claims.object_id} if claims.is_app and claims.object_id else set())

    def applier(self) -> Applier:
        """A worker of its own name."""
        from entra_pipeline.provisioning.applying import Applier, Pace

        settings = self._settings
        pace = Pace(
            verify_every=timedelta(seconds=settings.verify_every_seconds),
            verify_reads=settings.verify_reads,
        )
        name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        return Applier(
            self.ledger, self.writer, self.gate(), name, pace, self.vault, self._writing_lists
        )

    # ---- asking, planning, approving -----------------------------------------------------------

    def file(self, requests: Sequence[Request]) -> list[Filed]:
        """File requests as one batch. RequestError when they are not well formed together."""
        return self.ledger.file(requests)

    def plan(
        self, key: str, leave: Mapping[str, int] | None = None
    ) -> tuple[list[Filed], Plan | Refusal]:
        """Plan the batch of a request or batch id and keep the outcome in the ledger.

        `leave`: numbers of effective access `gained` and `lost` that the plan asks leave for, in
        place of the policy's limits. Raises NotFoundError, and TransitionError when nothing of the
        batch can be planned.
        """
        from entra_pipeline.provisioning.planning import Refusal

        batch_id = looking.batch_of(self.ledger, key)
        whole = self.ledger.batch(batch_id)
        batch = [filed for filed in whole if filed.state in _PLANNABLE]
        if not batch:
            states = ", ".join(sorted({str(filed.state) for filed in whole}))
            raise TransitionError(f"{key} cannot be planned: its requests are {states}")
        plan = self._planned(batch, leave or {})
        if isinstance(plan, Refusal):
            held = {filed.id: plan.reasons.get(filed.id, ()) for filed in batch}
            return self.ledger.refuse(held), plan
        saved = self.ledger.save_plan(batch_id, plan)
        if any(filed.request.emergency for filed in saved):
            self.tell()
        return saved, plan

    def preview(self, requests: Sequence[Request]) -> Plan | Refusal:
        """What would be planned for these requests now; nothing is filed and nothing kept."""
        now = self.ledger.clock()
        return self._planned(
            [_unfiled(f"request_{n}", each, now) for n, each in enumerate(requests)]
        )

    def preview_filed(self, key: str) -> Plan | Refusal:
        """What would be planned now for what was filed with a request; nothing is kept."""
        batch = self.ledger.batch(looking.batch_of(self.ledger, key))
        return self._planned(batch)

    def _planned(
        self, batch: Sequence[Filed], leave: Mapping[str, int] | None = None
    ) -> Plan | Refusal:
        from entra_pipeline.provisioning import effects, guards
        from entra_pipeline.provisioning.planning import Refusal

        now, policy = self.ledger.clock(), self.policy
        plan = self.planner().plan(batch, now)
        if not isinstance(plan, Plan):
            return plan
        warehouse = self._settings.data_dir / "warehouse.duckdb"
        since = effects.since(effects.read_times(warehouse))
        written = [] if since is None else self._written(since, {filed.id for filed in batch})
        found = effects.effects(
            plan,
            batch,
            warehouse,
            written=written,
            watch={
                each for conflict in policy.conflicts for side in conflict.sides for each in side
            },
            keep={*policy.protected.principals, *self._synchronizing},
            oldest=None if policy.oldest_facts is None else now - policy.oldest_facts,
        )
        leave = leave or {}
        reasons = guards.against(policy, found, batch, now)
        amount = guards.Amount(found.delta.gained_count, found.delta.lost_count)
        if all(filed.request.source is not Source.EXPIRY for filed in batch):
            limits, before = guards.limits_for(policy, batch), self._before(now)
            for said in (
                *guards.too_much(limits, amount, before, found.total, leave),
                *self._too_many_leavers(batch, now),
            ):
                reasons.setdefault(batch[0].id, []).append(said)
        if reasons:
            return Refusal({key: tuple(said) for key, said in reasons.items()})
        fields = {name: getattr(plan, name) for name in Plan.model_fields}
        # Who asks for more than the policy's limits needs somebody to agree.
        needed = max(plan.approvals_needed, 1) if leave else plan.approvals_needed
        more = {
            "delta": found.delta,
            "facts_as_of": found.facts_as_of,
            "limits": dict(leave),
            "approvals_needed": needed,
        }
        return Plan(**{**fields, **more})

    def _written(self, since: datetime, but: set[str]) -> list[Fact]:
        """What has come true since the last sync, and what approved grants will make true."""
        from entra_pipeline.access.prediction import EVERYTHING, Fact
        from entra_pipeline.provisioning import effects

        found = []
        for done in recent.written(self.ledger, since, but):
            if done.action == Action.DELETE_USER:
                found.append(Fact(False, EVERYTHING, str(done.target_id)))
                continue
            fact = effects.fact_written(done.kind, done.action, done.identity)
            found += [fact] if fact is not None else []
        return found

    def _before(self, now: datetime, but: str | None = None) -> dict[str, Amount]:
        """What other plans change within the hour and the day."""
        from entra_pipeline.provisioning.guards import Amount

        return {
            name: Amount(*recent.changed(self.ledger, now - window, but))
            for name, window in (("hour", timedelta(hours=1)), ("day", timedelta(days=1)))
        }

    def file_once(self, request: Request, key: str) -> Filed:
        """File a request under `key`, unless what was filed under it has not ended yet."""
        latest, count = looking.latest_of_key(self.ledger, key)
        if latest is not None and latest.state not in ENDED:
            return self.ledger.request(latest.id)
        named = key if count == 0 else f"{key}-{count}"
        return self.file([request.model_copy(update={"idempotency_key": named})])[0]

    def waiting_plan(self, key: str, plan_hash: str) -> tuple[Plan, list[Filed]]:
        """The plan of that hash and its requests, when it is what a request's batch waits with."""
        plan = self.ledger.plan(plan_hash.lower())
        batch_id = looking.batch_of(self.ledger, key)
        batch = [each for each in self.ledger.batch(batch_id) if each.plan_hash == plan.hash]
        if not batch or (key != batch_id and key not in {each.id for each in batch}):
            raise TransitionError(
                f"plan {plan.hash[:12]} is not that of {key}: `show {key}` names the latest"
            )
        return plan, batch

    def approve(self, key: str, plan_hash: str, by: Identity, note: str | None) -> list[Filed]:
        """Approve a plan. NotApprovedError when the policy has something against who it is."""
        plan, batch = self.waiting_plan(key, plan_hash)
        said = self.ledger.approvals(plan.hash)
        reasons = approving.against_approval(self.policy, plan, batch, said, by)
        reasons += self._by_now_too_much(plan, batch)
        if reasons:
            raise NotApprovedError(reasons)
        return self.ledger.approve(plan.hash, by, note)

    def _too_many_leavers(self, batch: Sequence[Filed], now: datetime) -> list[str]:
        """Whether this is one offboarding too many within the day."""
        from entra_pipeline.provisioning import guards

        if all(filed.request.kind != "offboard" for filed in batch):
            return []
        before = recent.leavers(self.ledger, now - timedelta(days=1), {f.id for f in batch})
        return guards.too_many_leavers(self.policy, before)

    def _by_now_too_much(self, plan: Plan, batch: Sequence[Filed]) -> list[str]:
        """Limits that the plan goes beyond together with what was approved since it was made."""
        from entra_pipeline.provisioning import effects, guards

        amount = guards.Amount(plan.delta.gained_count, plan.delta.lost_count)
        now = self.ledger.clock()
        limits, before = guards.limits_for(self.policy, batch), self._before(now, plan.hash)
        total = effects.total(self._settings.data_dir / "warehouse.duckdb")
        return [
            *guards.too_much(limits, amount, before, total, plan.limits),
            *self._too_many_leavers(batch, now),
        ]

    def reject(self, key: str, plan_hash: str, by: Identity, note: str | None) -> list[Filed]:
        """Reject a plan: its requests have ended."""
        plan, _ = self.waiting_plan(key, plan_hash)
        return self.ledger.reject(plan.hash, by, note)

    # ---- emergencies ---------------------------------------------------------------------------

    def tell(self) -> int:
        """Alert people of emergency access that nobody has been told of; how many alerts went."""
        from entra_pipeline.provisioning.telling import tell

        return tell(self.ledger, self._settings)

    def close_review(self, key: str, finding: Finding, by: Identity, reason: str) -> Review:
        """Close the review of an emergency. NotApprovedError when this person may not."""
        review = reviewing.one(self.ledger, key)
        filed = self.ledger.request(review.request_id)
        if reasons := approving.against_closing(self.policy, filed, by):
            raise NotApprovedError(reasons, "not closed")
        return reviewing.close(self.ledger, review.id, finding, by, reason)

    # ---- leavers -------------------------------------------------------------------------------

    def file_leavers(self) -> Leavers:
        """File offboardings from the directory's date of leaving, if the policy says so.

        Raises LeaversUnreadError when that date cannot be read.
        """
        from entra_pipeline.provisioning.leavers import Leavers, file_leavers
        from entra_pipeline.provisioning.reads import FactReader

        rule = self.policy.offboard
        if rule is None or not rule.file_from_leave_date:
            return Leavers()
        held = self.reader.token_claims().permissions
        return file_leavers(self.ledger, FactReader(self.reader), held, rule)

    def _look_for_leavers(self) -> None:
        """As `file_leavers`, but what cannot be read holds up nothing that is due."""
        from entra_pipeline.msgraph import GraphError

        try:
            self.file_leavers()
        except (GraphError, ProvisioningError) as error:
            log.warning("%s", error)

    # ---- carrying out --------------------------------------------------------------------------

    def sweep(self) -> Swept:
        """File and plan the endings of grants whose end has come."""
        from entra_pipeline.provisioning.sweeping import sweep

        return sweep(self.ledger, self.planner())

    def divert(self) -> dict[str, str]:
        """Set aside what is due and cannot be carried out; reasons by request id."""
        from entra_pipeline.provisioning.actions import HANDLERS

        return divert(self.ledger, self.policy.hash, HANDLERS.keys())

    def carry_out(
        self,
        *,
        wait: bool,
        most_seconds: float,
        say: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> Carried:
        """Take back what expired, write what is due, confirm what was written.

        Without `wait` until nothing is due; with it until everything written is confirmed, too;
        at most `most_seconds`. Raises GateClosedError.
        """
        self.tell()
        gate = self.gate()
        gate()
        self._look_for_leavers()
        worker = self.applier()
        carried = Carried()
        until = time.monotonic() + most_seconds
        while True:
            carried.rounds += 1
            carried.diverted |= self.divert()
            before = looking.waiting(self.ledger)
            if before.expiring or before.endings or (carried.rounds == 1 and before.refused):
                swept = self.sweep()
                carried.ended += swept.approved
                carried.ends_refused += swept.refused
            reached = worker.apply(AT_ONCE)
            carried.requests |= reached
            for step, state in worker.verify().items():
                if state is not None:
                    carried.operations[step] = state
            if reached:
                say(dict(reached))
            if time.monotonic() >= until:
                break
            now = looking.waiting(self.ledger)
            if now.due and reached:
                continue
            carried.jobs |= self._start_jobs()
            pause = self._pause(carried) if wait else None
            if pause is None:
                break
            time.sleep(min(pause, max(0.0, until - time.monotonic())))
        for key in carried.requests:
            carried.requests[key] = looking.one(self.ledger, key).state
        return carried

    def _start_jobs(self) -> dict[str, str]:
        """Start the provisioning jobs of applications that grants were written to."""
        if not self._settings.schedule_scim_provisioning:
            return {}
        from entra_pipeline.provisioning.reads import FactReader
        from entra_pipeline.provisioning.scim import Starter

        gate = self.gate()
        writer = self.writer.writer(gate)
        return Starter(self.ledger, FactReader(self.writer), writer, gate).start()

    def _pause(self, carried: Carried) -> float | None:
        """How long until there is something more to do; None when nothing is to be waited for."""
        following = looking.next_verification(self.ledger)
        if following is None:
            for key, state in carried.requests.items():
                if state is RequestState.APPROVED:  # put off; or another worker's by now
                    carried.requests[key] = looking.one(self.ledger, key).state
            return 1.0 if RequestState.APPROVED in carried.requests.values() else None
        left = (following - self.ledger.clock()).total_seconds()
        return min(max(left, 0.05), 1.0)


def _unfiled(key: str, request: Request, now: datetime) -> Filed:
    return Filed(
        id=key,
        request=request,
        state=RequestState.FILED,
        reasons=(),
        batch_id="",
        plan_hash=None,
        tier=None,
        filed_at=now,
        due_at=now,
        changed_at=now,
        ended_by=None,
        claimed_by=None,
    )


class NotApprovedError(ProvisioningError):
    """Somebody's approval does not count, or they may not close a review (`what` says which);
    `reasons` says why, each on its own."""

    def __init__(self, reasons: Sequence[str], what: str = "not approved") -> None:
        self.reasons, self.what = tuple(reasons), what
        super().__init__("; ".join(reasons))
