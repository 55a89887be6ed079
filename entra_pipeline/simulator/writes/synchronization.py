"""Provisioning jobs of applications: starting them.

Graph "synchronizationJob: start". A job that is started is active and runs its next round at once;
in quarantine it stays what it is.
"""

from entra_pipeline.simulator.errors import not_found
from entra_pipeline.simulator.wire import Response
from entra_pipeline.simulator.writes import needs
from entra_pipeline.simulator.writes.write import Write

_ABSENT = frozenset({"govsg"})


def start(write: Write) -> Response:
    """`POST /servicePrincipals/{id}/synchronization/jobs/{id}/start`: 204."""
    write.not_in(_ABSENT, "synchronization")
    write.need(needs.SYNCHRONIZATION)
    principal = write.get("service_principals", write.keys[0])
    rows = write.directory.grouped("synchronization_jobs", "servicePrincipalId")
    job = next((row for row in rows.get(principal["id"], ()) if row["id"] == write.keys[1]), None)
    if job is None:
        raise not_found(write.keys[1])
    status, schedule = dict(job.get("status") or {}), dict(job.get("schedule") or {})
    if status.get("code") != "Quarantine":
        status["code"] = "Active"
    schedule["state"] = "Active"
    write.directory.put("synchronization_jobs", {**job, "status": status, "schedule": schedule})
    write.effect("start_synchronization_job", principal["id"], None, job=job["id"])
    return write.no_content()
