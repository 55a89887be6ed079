"""Runs whose process is gone but which Dagster still calls started: finding and closing them.

A run is tagged with its data directory once it holds the directory's lock, and the lock dies with
its process. So whoever holds the lock knows that any other unfinished run with the same tag is
dead. A run that died before it had the lock is recognised by its code server: when nothing listens
at the address it was started from, nothing of it is left.
"""

from __future__ import annotations

import hashlib
import json
import logging
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import dagster as dg

from entra_pipeline.orchestration.jobs import RUN_TAGS
from entra_pipeline.orchestration.session import DATA_TAG

UNFINISHED: Final = (
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
MESSAGE: Final = "The process of this run is gone; closed by the next sync."
_SERVER_TAG: Final = ".dagster/grpc_info"

log = logging.getLogger(__name__)


def data_tag(data_dir: Path) -> str:
    """The value that tells data directories apart without naming anybody's home directory."""
    return hashlib.sha256(str(data_dir.absolute()).encode()).hexdigest()[:16]


def close_dead_runs(
    instance: dg.DagsterInstance,
    data_dir: Path,
    own_run_id: str | None,
    *,
    tag: str = DATA_TAG,
    job_tag: Mapping[str, str] = RUN_TAGS,
) -> int:
    """Mark dead runs of this data directory as failed; how many. Call it holding the lock.

    `tag` is that of runs which held this very lock, `job_tag` that of runs which wait for it.
    """
    closed = 0
    for filters in (
        dg.RunsFilter(tags={tag: data_tag(data_dir)}, statuses=list(UNFINISHED)),
        dg.RunsFilter(tags=job_tag, statuses=list(UNFINISHED)),
    ):
        for record in instance.get_run_records(filters):
            run = record.dagster_run
            if run.run_id == own_run_id:
                continue
            if tag not in run.tags and not _server_is_gone(run.tags.get(_SERVER_TAG)):
                continue
            if run.tags.get(tag, data_tag(data_dir)) != data_tag(data_dir):
                continue
            current = instance.get_run_by_id(run.run_id)
            if current is not None and not current.is_finished:
                log.warning("closing dead run %s", run.run_id)
                instance.report_run_failed(current, MESSAGE)
                closed += 1
    return closed


def _server_is_gone(tag: str | None) -> bool:
    """Whether nothing listens where a run's code server was; False when that cannot be told."""
    if tag is None:
        return False
    try:
        address: dict[str, Any] = json.loads(tag)
    except ValueError:
        return False
    if path := address.get("socket"):
        family, target = socket.AF_UNIX, path
    elif address.get("host") in {"localhost", "127.0.0.1"}:
        family, target = socket.AF_INET, ("127.0.0.1", int(address["port"]))
    else:
        return False
    with socket.socket(family) as probe:
        probe.settimeout(2)
        try:
            probe.connect(target)
        except (FileNotFoundError, ConnectionRefusedError):
            return True
        except OSError:
            return False
    return False
