"""Carrying out claimed requests: look, say so, write, judge; and reading afterwards.

Belongs here: the order of the steps, and their isolation from each other's failures. Does not
belong here: what a kind of write is (`actions`), whether it was allowed (`guards`), the records
(`ledger`).

Of every operation: what it needs is read just before; what is so already is not written; what no
longer is as planned stops its request as stale; `writing` is durable before the call; and what a
lost answer or a crash leaves open is found out by reading.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from entra_pipeline.exchange.answers import not_configured
from entra_pipeline.msgraph import GraphClient, Service, Write, Written
from entra_pipeline.msgraph.batch import MAX_ITEMS
from entra_pipeline.provisioning.actions import HANDLERS, Call, Seen
from entra_pipeline.provisioning.gate import Gate, GateClosedError
from entra_pipeline.provisioning.ledger import Ledger
from entra_pipeline.provisioning.ledger.confirming import Confirming
from entra_pipeline.provisioning.ledger.steps import Step
from entra_pipeline.provisioning.ledger.work import Claim, LostClaimError, Outcome, Work
from entra_pipeline.provisioning.plans import Action
from entra_pipeline.provisioning.reads import FactReader, UnreadError
from entra_pipeline.provisioning.sealing import Sealing, SealingError, Vault
from entra_pipeline.provisioning.states import OperationState, RequestState

if TYPE_CHECKING:
    from entra_pipeline.exchange import ExchangeClient

log = logging.getLogger(__name__)

_O = OperationState
_OPEN: Final = frozenset({_O.PLANNED, _O.RETRYABLE, _O.AMBIGUOUS})
_UNSURE: Final = "unsure"
"""In an operation's result: an attempt's answer was lost and it did not show."""
_WHY: Final = "refused"
"""In an operation's result: why it was refused, where its request went on."""
_GOOD: Final = frozenset({_O.WRITTEN, _O.ALREADY, _O.VERIFIED, _O.UNVERIFIED})
_APART: Final = frozenset({"offboard"})
"""Kinds whose operations stand each for itself: one that is refused holds up none of the others."""
_FIRST: Final = frozenset({Action.UPDATE_USER, Action.REVOKE_SESSIONS})
"""Of those kinds, what has come to its end, good or bad, before anything else begins."""


@dataclass(frozen=True)
class Pace:
    """How patiently things are tried and read.

    `retry_after`: a request that could not be finished is taken up again then, at most `tries`
    times an operation. `verify_every`: between two reads; `verify_reads`: how many have to agree
    in a row. `visible_within`: in place of the kinds' own figures.
    """

    retry_after: timedelta = timedelta(seconds=30)
    tries: int = 10
    verify_every: timedelta = timedelta(seconds=5)
    verify_reads: int = 5
    visible_within: timedelta | None = None


@dataclass
class _Progress:
    """One claimed request on its way."""

    claim: Claim
    steps: dict[str, Step]
    state: RequestState | None = None
    reasons: list[str] = field(default_factory=list)
    again: bool = False
    wait: timedelta = timedelta(0)
    aside: set[str] = field(default_factory=set)
    """Operations that are tried again later; the others go on, but none on the same object."""

    @property
    def apart(self) -> bool:
        """Whether its operations stand each for itself."""
        return self.claim.filed.request.kind in _APART

    def next_step(self) -> Step | None:
        """The first operation that is not behind us, if the request goes on at all."""
        if self.state is not None or self.again:
            return None
        busy = set()
        for step in self.steps.values():
            if step.id in self.aside:
                if step.operation.action in _FIRST:
                    return None
                busy.add(step.operation.target_id)
            elif step.state in _OPEN and step.operation.target_id not in busy:
                return step
        return None

    def put_off(self, step: Step, reason: str | None = None) -> None:
        """Try this again later; with it the rest, unless that stands for itself."""
        if reason is not None:
            self.reasons = [*self.reasons, reason] if self.apart else [reason]
        if self.apart:
            self.aside.add(step.id)
        else:
            self.again = True

    def end(self) -> None:
        """Have operations that stand for themselves say what the request came to."""
        if not self.apart or self.state is not None or self.again:
            return
        refused = [step for step in self.steps.values() if step.state is _O.REFUSED]
        if self.aside:
            self.again = True
        elif refused:
            self.state = RequestState.FAILED
            self.reasons = [
                f"{len(refused)} of {len(self.steps)} operations were refused, the others are made",
                *(
                    f"{step.operation.action} {step.operation.target_id}: {step.result.get(_WHY)}"
                    for step in refused
                ),
            ]


class Applier:
    """One worker: claims what is due, carries it out, confirms what was written."""

    def __init__(
        self,
        ledger: Ledger,
        client: GraphClient,
        gate: Gate,
        worker: str,
        pace: Pace = Pace(),
        vault: Vault | None = None,
        exchange: ExchangeClient | None = None,
    ) -> None:
        self._ledger = ledger
        self._work = Work(ledger, worker)
        self._confirming = Confirming(ledger)
        self._reader = FactReader(client, exchange=exchange)
        self._gate = gate
        self._writer = client.writer(gate)
        self._commands = None if exchange is None else exchange.writer(gate)
        self._root = client.origin.base
        self._pace = pace
        self._sealing = Sealing(vault)

    # ---- writing -------------------------------------------------------------------------------

    def apply(self, limit: int = 200) -> dict[str, RequestState]:
        """Carry out at most `limit` requests that are due; the states they came to.

        Raises GateClosedError when writing is off or was stopped: what was not begun stays as it
        was, and nothing is left undecided.
        """
        self._gate()
        under_way = [
            _Progress(claim, {step.id: step for step in claim.steps})
            for claim in self._work.claim(limit)
        ]
        try:
            while steps := self._round(under_way):
                self._advance(under_way, steps)
        except GateClosedError:
            for progress in under_way:
                progress.again = True
            self._settle(under_way)
            raise
        except LostClaimError as error:
            # Whoever has them now goes on from the ledger; ours are let go one by one.
            log.warning("%s", error)
            for progress in under_way:
                progress.again = progress.state is None
        return self._settle(under_way)

    @staticmethod
    def _round(under_way: Sequence[_Progress]) -> list[tuple[_Progress, Step]]:
        """The next operation of each request; of those that change one object only the first."""
        chosen = []
        targets: set[str] = set()
        for progress in under_way:
            step = progress.next_step()
            if step is None:
                continue
            target = step.operation.target_id
            if target is not None:
                if target in targets:
                    continue
                targets.add(target)
            chosen.append((progress, step))
        return chosen

    def _advance(
        self, under_way: Sequence[_Progress], steps: Sequence[tuple[_Progress, Step]]
    ) -> None:
        """One round: read what all of them need, then write what is to be written."""
        self._work.renew(
            progress.claim.filed.id
            for progress in under_way
            if progress.state is None and not progress.again
        )
        facts = self._reader.read(
            read
            for _, step in steps
            for read in HANDLERS[step.operation.action].reads(step.operation)
        )
        decided: dict[str, Outcome] = {}
        calls: dict[str, tuple[_Progress, Step, Call]] = {}
        for progress, step in steps:
            handler = HANDLERS[step.operation.action]
            try:
                seen = handler.see(step.operation, facts)
            except UnreadError as error:
                progress.put_off(step, f"what it rests on could not be read: {error}")
                continue
            except Exception as error:
                # An answer that nobody foresaw ends its own request and holds up no other.
                log.error("%s: %s", step.operation.action, type(error).__name__)
                said = (
                    f"what Graph told of it was not understood ({type(error).__name__}); "
                    "nothing was written"
                )
                if progress.apart:
                    decided[step.id] = Outcome(_O.REFUSED, said)
                else:
                    progress.state, progress.reasons = RequestState.FAILED, [said]
                continue
            if (outcome := self._without_writing(progress, step, seen)) is not None:
                decided[step.id] = outcome
            elif progress.next_step() is step:
                call = handler.call(step.operation, seen, self._root)
                if call.seals is not None and (reason := self._sealing.against(step.operation)):
                    progress.state, progress.reasons = RequestState.STALE, [reason]
                else:
                    calls[step.id] = (progress, step, call)
        if decided:
            self._record(steps, decided, {})
        for part in _parts(list(calls)):
            self._write({key: calls[key] for key in part})

    def _without_writing(self, progress: _Progress, step: Step, seen: Seen) -> Outcome | None:
        """What reads alone decide; None when it is to be written, or the request stops here."""
        ambiguous = step.state is _O.AMBIGUOUS
        unsure = ambiguous or bool(step.result.get(_UNSURE))
        if seen.holds and (unsure or not seen.mine):
            # After a lost answer it is ours: before that attempt it was not there.
            result = {**seen.result, **self._sealing.kept(step.operation)}
            return Outcome(
                _O.WRITTEN if ambiguous else _O.ALREADY, added=unsure, result=result or None
            )
        if ambiguous:
            # Not to be seen is not proof: replication may be behind. What Graph refuses to do twice
            # is sent once more; what it would do twice, only once it would have shown by now;
            # anything else is a person's to decide.
            patience = HANDLERS[step.operation.action].again_after
            if patience is not None and seen.unclear is None:
                if self._ledger.clock() - step.changed_at < patience:
                    progress.put_off(step)
                    return None
                said = "it does not show: to be tried once more"
                return Outcome(_O.RETRYABLE, said, result={_UNSURE: True})
            said = seen.unclear or "whether it was written cannot be found out: see `show`"
            progress.state, progress.reasons = RequestState.AMBIGUOUS, [said]
            return None
        if seen.against:
            if progress.apart and self._may_not_show_yet(progress, step):
                progress.put_off(step, f"to show first: {'; '.join(seen.against)}")
                return None
            if any(each.state in _GOOD for each in progress.steps.values()):
                return Outcome(_O.REFUSED, "; ".join(seen.against))
            progress.state = RequestState.AMBIGUOUS if unsure else RequestState.STALE
            progress.reasons = list(seen.against)
        return None

    def _may_not_show_yet(self, progress: _Progress, step: Step) -> bool:
        """Whether an operation before it wrote to the same object, which reads may not tell yet."""
        now = self._ledger.clock()
        for before in progress.steps.values():
            if before.id == step.id:
                return False
            if before.operation.target_id != step.operation.target_id or not before.added:
                continue
            handler = HANDLERS[before.operation.action]
            if now - before.changed_at < (self._pace.visible_within or handler.visible_within):
                return True
        return False

    def _write(self, calls: Mapping[str, tuple[_Progress, Step, Call]]) -> None:
        self._gate()
        steps = [(progress, step) for progress, step, _ in calls.values()]
        attempts = self._work.begin([step for _, step in steps])
        outcomes: dict[str, Outcome] = {}
        bodies = {}
        for key, (_, step, call) in calls.items():
            try:
                bodies[key] = self._sealing.body(step.operation, call, attempts[key])
            except SealingError as error:
                outcomes[key] = Outcome(_O.RETRYABLE, f"nothing was sent: {error}")
        answers: dict[str, list[Written]] = {key: [] for key in bodies}
        closed: GateClosedError | None = None
        lists = {key for key in bodies if calls[key][2].service is Service.EXCHANGE}
        for place in range(max((1 + len(calls[key][2].more) for key in bodies), default=0)):
            writes = [
                Write(
                    key,
                    each.method,
                    each.url,
                    bodies[key] if place == 0 else each.body,
                    each.units,
                    attempts[key],
                )
                for key in bodies
                for each in (calls[key][2], *calls[key][2].more)[place : place + 1]
            ]
            try:
                for result in self._sent(writes, lists):
                    answers[result.id].append(result)
            except GateClosedError as error:
                closed = error
                break
        for key, found in answers.items():
            _, step, call = calls[key]
            outcomes[key] = self._judge(step, call, attempts[key], found)
        self._record(steps, outcomes, attempts)
        if closed is not None:
            raise closed

    def _sent(self, writes: Sequence[Write], lists: Collection[str]) -> Iterator[Written]:
        """Send writes to Graph, and those of `lists` to Exchange."""
        graph = [each for each in writes if each.id not in lists]
        if graph:
            yield from self._writer.write(graph)
        commands = [each for each in writes if each.id in lists]
        if commands and self._commands is None:
            yield from (Written(each.id, 0, b"", not_configured(), False) for each in commands)
        elif commands and self._commands is not None:
            yield from self._commands.write(commands)

    def _judge(self, step: Step, call: Call, attempt: str, found: Sequence[Written]) -> Outcome:
        """What the answers to a call, and to what belongs to it, mean together."""
        operation = step.operation
        handler = HANDLERS[operation.action]
        whole = (call, *call.more)
        parts = [handler.judge(operation, each) for each in found]
        labels = {
            each.label: part.state.value
            for each, part in zip(whole, parts, strict=False)
            if each.label is not None
        }
        # Stopped between saying that we write and writing: the rest was not sent.
        unsent = Outcome(_O.RETRYABLE, "stopped before it was sent")
        parts += [unsent] * (len(whole) - len(parts))
        outcome = parts[0] if len(parts) == 1 else together(parts)
        happened = found[0].happened if found else False
        self._sealing.settle(operation, call, attempt, happened=happened)
        result = {**call.result, **(outcome.result or {}), **labels}
        if outcome.state in _GOOD:
            result |= self._sealing.kept(operation)
        written = outcome.state is _O.WRITTEN
        # What was there already may be what an attempt made whose answer was lost.
        unsure = outcome.state is _O.ALREADY and bool(step.result.get(_UNSURE))
        return replace(
            outcome,
            added=outcome.added or unsure,
            detail=call.note if written and call.note else outcome.detail,
            result=result or None,
        )

    def _record(
        self,
        steps: Sequence[tuple[_Progress, Step]],
        outcomes: Mapping[str, Outcome],
        attempts: Mapping[str, str],
    ) -> None:
        """Have the ledger know, and see what it means for the requests."""
        by_window: dict[timedelta, dict[str, Outcome]] = {}
        places = {step.id: (progress, step) for progress, step in steps}
        merged: dict[str, Outcome] = {}
        for key, outcome in outcomes.items():
            progress, step = places[key]
            before = step.result
            if progress.apart and outcome.state is _O.REFUSED:
                # What is refused now may end its request much later.
                outcome = replace(outcome, result={_WHY: outcome.detail})
            kept = {**before, **outcome.result} if outcome.result else None
            merged[key] = replace(outcome, result=kept)
        for key, outcome in merged.items():
            handler = HANDLERS[places[key][1].operation.action]
            window = self._pace.visible_within or handler.visible_within
            by_window.setdefault(window, {})[key] = outcome
        for window, part in by_window.items():
            self._work.end(
                part,
                {key: attempts[key] for key in part if key in attempts},
                verify_in=self._pace.verify_every,
                verify_for=window,
            )
        for key, outcome in merged.items():
            progress, step = places[key]
            tried = step.attempts + (key in attempts)
            result = outcome.result or step.result
            progress.steps[key] = Step(
                step.id,
                step.operation,
                outcome.state,
                self._ledger.clock(),
                outcome.added,
                result,
                tried,
            )
            if outcome.state is _O.REFUSED:
                self._refused(progress, key, outcome.detail or "Graph refused it")
            elif outcome.state is _O.AMBIGUOUS:
                progress.put_off(step)
            elif outcome.state is _O.RETRYABLE and tried >= self._pace.tries:
                self._refused(progress, key, f"given up after {tried} tries: {outcome.detail}")
            elif outcome.state is _O.RETRYABLE and not outcome.soon:
                progress.put_off(step)
                progress.wait = max(progress.wait, outcome.wait or timedelta(0))

    def _refused(self, progress: _Progress, key: str, why: str) -> None:
        """What an operation that will not be made means for its request."""
        if not progress.apart:
            progress.state, progress.reasons = RequestState.FAILED, [why]
            return
        step = progress.steps[key]
        if step.state is not _O.REFUSED:
            result = {**step.result, _WHY: why}
            self._work.end({key: Outcome(_O.REFUSED, why, result=result)}, {})
            progress.steps[key] = replace(step, state=_O.REFUSED, result=result)

    def _settle(self, under_way: Sequence[_Progress]) -> dict[str, RequestState]:
        """Let go of everything that was claimed."""
        reached: dict[str, RequestState] = {}
        ends: dict[str, tuple[RequestState, Sequence[str]]] = {}
        for progress in under_way:
            progress.end()
            key = progress.claim.filed.id
            if progress.state is not None or not progress.again:
                ends[key] = (progress.state or RequestState.WRITTEN, progress.reasons)
                reached[key] = ends[key][0]
                continue
            pause = max(self._pace.retry_after, progress.wait)
            try:
                self._work.postpone(key, self._ledger.clock() + pause, progress.reasons)
                reached[key] = RequestState.APPROVED
            except LostClaimError:
                log.warning("request %s is another worker's by now", key)
        for key in self._work.settle_all(ends) if ends else ():
            log.warning("request %s is another worker's by now", key)
            del reached[key]
        return reached

    # ---- confirming ----------------------------------------------------------------------------

    def verify(self, limit: int = 500) -> dict[str, OperationState | None]:
        """Read what is to be confirmed now; the states that were reached, None: not yet."""
        checks = {check.step.id: check for check in self._confirming.to_verify(limit)}
        if not checks:
            return {}
        facts = self._reader.read(
            read
            for check in checks.values()
            for read in HANDLERS[check.step.operation.action].reads(check.step.operation)
        )
        reads: dict[str, tuple[bool | None, str | None]] = {}
        for key, check in checks.items():
            operation = check.step.operation
            try:
                seen = HANDLERS[operation.action].see(operation, facts)
                said = None if seen.holds else "; ".join(seen.against) or None
                reads[key] = (seen.holds, said)
            except UnreadError as error:
                reads[key] = (None, str(error))
        return self._confirming.verified(
            reads, needed=self._pace.verify_reads, every=self._pace.verify_every
        )


def together(parts: Sequence[Outcome]) -> Outcome:
    """What the parts of one operation come to.

    What was refused counts once nothing of the rest moves any more.
    """
    states = [each.state for each in parts]
    moved = _O.WRITTEN in states
    details = "; ".join(dict.fromkeys(each.detail for each in parts if each.detail)) or None
    if _O.AMBIGUOUS in states:
        return Outcome(_O.AMBIGUOUS, details)
    if _O.RETRYABLE in states and (moved or _O.REFUSED not in states):
        return Outcome(_O.RETRYABLE, details, soon=moved and any(each.soon for each in parts))
    if _O.REFUSED in states or _O.RETRYABLE in states:
        return Outcome(_O.REFUSED, details)
    return Outcome(_O.WRITTEN if moved else _O.ALREADY, added=moved)


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), MAX_ITEMS):
        yield keys[start : start + MAX_ITEMS]
