"""Grants carried out by the settings in the environment; or bare, one call after another.

Arguments: a JSON file of [group, user] pairs, and with ``--bare TOKEN`` no product at all. The
product files, plans and carries out the grants as the command line does. Told: seconds until the
last grant was written durably, until the last was confirmed by reads, and what the ledger says.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path
from typing import Any

Pairs = list[tuple[str, str]]


def product(pairs: Pairs) -> dict[str, Any]:
    """File, plan and carry out."""
    import sqlalchemy as sa

    from entra_pipeline.provisioning import Grant, GroupAccess, Provisioning, Request, os_user
    from entra_pipeline.provisioning.plans import Plan
    from entra_pipeline.settings import Settings

    who = os_user()
    began = time.time()
    with Provisioning(Settings.load()) as opened:
        filed = opened.file(
            [
                Request(
                    body=Grant(principal_id=user, access=GroupAccess(group_id=group)),
                    asked_by=who,
                    reason="measured",
                    idempotency_key=f"measured-{number:08}",
                )
                for number, (group, user) in enumerate(pairs)
            ]
        )
        _, plan = opened.plan(filed[0].id)
        if not isinstance(plan, Plan):
            raise SystemExit(f"refused: {list(plan.reasons.values())[:3]}")
        planned, cpu = time.time(), _cpu()
        carried = opened.carry_out(wait=True, most_seconds=3600)
        confirmed = time.time()
        with opened.ledger.database.read() as connection:
            (written,) = connection.execute(sa.text("SELECT max(written_at) FROM operations")).one()
    return {
        "plan_s": planned - began,
        "write_s": written / 1e6 - planned,
        "confirm_s": confirmed - planned,
        "carry_cpu_s": _cpu() - cpu,
        "states": carried.counts(),
    }


def bare(pairs: Pairs, base: str, token: str) -> dict[str, Any]:
    """One request, one call: over one connection that is kept."""
    import requests

    session = requests.Session()
    session.trust_env = False
    session.headers["Authorization"] = f"Bearer {token}"
    began = time.time()
    for group, user in pairs:
        session.post(
            f"{base}/v1.0/groups/{group}/members/$ref",
            json={"@odata.id": f"{base}/v1.0/directoryObjects/{user}"},
            timeout=120,
        ).raise_for_status()
    return {"write_s": time.time() - began}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--bare", metavar="TOKEN")
    given = parser.parse_args()
    wanted: Pairs = [(group, user) for group, user in json.loads(given.pairs.read_text())]
    if given.bare:
        print(json.dumps(bare(wanted, os.environ["ENTRA_GRAPH_URL"], given.bare)))
    else:
        print(json.dumps(product(wanted)))
