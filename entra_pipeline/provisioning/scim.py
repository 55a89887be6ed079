"""Starting the provisioning jobs of applications that somebody was just given.

Entra makes accounts in such applications in rounds of 40 minutes. A job that is started runs its
next round at once, so that one start serves all grants before it. Here: which jobs are started,
and what became of it. Not here: the marks in the ledger (`ledger.jobs`).

A job that somebody paused or disabled stays so, and one in quarantine is left alone: starting it
again and again would keep Entra from mending it.

Sources: https://learn.microsoft.com/graph/api/synchronization-synchronization-list-jobs,
https://learn.microsoft.com/graph/api/synchronization-synchronizationjob-start
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from entra_pipeline.msgraph import GraphError, Service, Write, Writer, Written
from entra_pipeline.msgraph.batch import MAX_ITEMS
from entra_pipeline.msgraph.errors import BadRequestError, NotFoundError, UnsupportedError
from entra_pipeline.provisioning.actions.base import quoted
from entra_pipeline.provisioning.ledger import Ledger, jobs
from entra_pipeline.provisioning.ledger.jobs import Wanted
from entra_pipeline.provisioning.ledger.schema import micros
from entra_pipeline.provisioning.permissions import START_JOBS
from entra_pipeline.provisioning.reads import FactReader, Read, UnreadError

log = logging.getLogger(__name__)

TRIES: Final = 6
_FIRST_WAIT: Final = timedelta(seconds=60)
"""Doubled with every try. Right after an application was made, Graph answers 403 and 409."""


def jobs_read(service_principal_id: str) -> Read:
    """An application's provisioning jobs."""
    path = f"/servicePrincipals/{service_principal_id}/synchronization/jobs"
    return Read(path, Service.GOVERNANCE)


class Starter:
    """Starts jobs with the writer's client. `gate` is asked before anything is taken."""

    def __init__(
        self, ledger: Ledger, reader: FactReader, writer: Writer, gate: Callable[[], None]
    ) -> None:
        self._ledger = ledger
        self._reader = reader
        self._writer = writer
        self._gate = gate

    def start(self) -> dict[str, str]:
        """Start what is wanted, each job once; what became of it, by application.

        Never raises for what Graph answers. Raises GateClosedError.
        """
        if not jobs.pending(self._ledger):
            return {}
        self._gate()
        wanted = jobs.take(self._ledger)
        facts = self._reader.read(jobs_read(each.resource_id) for each in wanted)
        marks: dict[str, dict[str, Any]] = {}
        starts: dict[str, list[str]] = {}
        for each in wanted:
            try:
                found = facts.items(jobs_read(each.resource_id).url)
            except UnreadError as error:
                marks[each.resource_id] = self._failed(each, error.error)
                continue
            marks[each.resource_id], starts[each.resource_id] = _judged(found or ())
        answers = self._sent(starts)
        for each in wanted:
            resource = each.resource_id
            if started := starts.get(resource):
                marks[resource] = self._started(each, marks[resource], started, answers[resource])
            jobs.noted(self._ledger, each.operations, marks[resource])
        return {resource: mark["state"] for resource, mark in marks.items()}

    def _sent(self, starts: Mapping[str, Sequence[str]]) -> dict[str, list[Written]]:
        writes = [
            (
                resource,
                Write(
                    str(uuid.uuid4()),
                    "POST",
                    f"{jobs_read(resource).url}/{quoted(job)}/start",
                    request_id=str(uuid.uuid4()),
                ),
            )
            for resource, found in starts.items()
            for job in found
        ]
        answers: dict[str, list[Written]] = {resource: [] for resource in starts}
        for at in range(0, len(writes), MAX_ITEMS):
            part = writes[at : at + MAX_ITEMS]
            results = self._writer.write([write for _, write in part], service=Service.GOVERNANCE)
            for (resource, _), result in zip(part, results, strict=True):
                answers[resource].append(result)
        return answers

    def _started(
        self, wanted: Wanted, mark: dict[str, Any], found: Sequence[str], answers: list[Written]
    ) -> dict[str, Any]:
        errors = [answer.error for answer in answers if answer.error is not None]
        if errors:
            return self._failed(wanted, errors[0])
        log.info("provisioning of %s started for %d grants", *_count(wanted))
        more = {key: value for key, value in mark.items() if key != "state"}
        return {**more, "state": "started", "started": list(found)}

    def _failed(self, wanted: Wanted, error: GraphError) -> dict[str, Any]:
        """Tried again later; in the end, or where trying does not help, a person's to look at."""
        tries = wanted.tries + 1
        said = str(error)
        # 403 comes right after an application was made, and for ever without the permission.
        lasting = isinstance(error, BadRequestError | NotFoundError | UnsupportedError)
        if (lasting and error.status != 409) or tries >= TRIES:
            if error.status == 403:
                said += f"; the writer needs {START_JOBS}"
            return {"state": "failed", "tries": tries, "said": said}
        due = self._ledger.clock() + _FIRST_WAIT * 2 ** (tries - 1)
        return {"state": "waiting", "tries": tries, "due": micros(due), "said": said}


def _count(wanted: Wanted) -> tuple[str, int]:
    return wanted.resource_id, len(wanted.operations)


def _judged(found: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """What is said of an application's jobs, and which of them are to be started."""
    starts, quarantined, paused = [], [], []
    for job in found:
        status, schedule = job.get("status") or {}, job.get("schedule") or {}
        if status.get("code") == "Quarantine":
            reason = (status.get("quarantine") or {}).get("reason") or "no reason given"
            quarantined.append(f"{job['id']}: {reason}")
        elif schedule.get("state") != "Active" or status.get("code") in ("Paused", "NotConfigured"):
            paused.append(str(job["id"]))
        else:
            starts.append(str(job["id"]))
    state = "quarantine" if quarantined else "paused" if paused else "none"
    mark: dict[str, Any] = {"state": state}
    if quarantined:
        mark["quarantine"] = quarantined
    if paused:
        mark["paused"] = paused
    return mark, starts
