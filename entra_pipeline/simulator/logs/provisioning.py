"""Provisioning events: what the tenant's provisioning jobs did for single users.

Invented like the sign-ins: the same tenant and seed give the same events for the same day. A tenant
without provisioning jobs has none. Shape: graph "provisioningObjectSummary resource type".
"""

import random

from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.generate.build import new_id
from entra_pipeline.simulator.logs.entries import modified
from entra_pipeline.simulator.logs.feed import BLOCK
from entra_pipeline.simulator.logs.schedule import Schedule, fraction_of
from entra_pipeline.simulator.wire import JsonObject, encode_json

_ACTIONS = ("update", "update", "update", "update", "create", "create", "disable", "delete")
_STATUSES = ("success",) * 16 + ("skipped", "skipped", "failure", "warning")
_SERVICE = "Azure AD Provisioning Service"
_STEPS = (
    ("EntryImport", "import", "Retrieve the user from the source"),
    ("EntrySynchronizationScoping", "scoping", "Determine whether the user is in scope"),
    ("EntrySynchronizationMatching", "matching", "Match the user with one in the target"),
    ("EntryExport", "export", "Write the user to the target"),
)


class Provisionings:
    """Invents the provisioning events of one tenant, as it was when the simulator started."""

    def __init__(self, directory: Directory, schedule: Schedule, seed: int) -> None:
        self._schedule = schedule
        self._seed = seed
        self._tenant_id = directory.tenant.tenant_id
        self._users = list(directory.collection("users").values())
        service_principals = directory.collection("service_principals")
        self._jobs = [
            (job["id"], service_principals[job["servicePrincipalId"]])
            for job in directory.collection("synchronization_jobs").values()
            if job["servicePrincipalId"] in service_principals
        ]

    @property
    def possible(self) -> bool:
        """Whether there is anybody to provision, and a job that does it."""
        return bool(self._users and self._jobs)

    def block(self, number: int, policies: bool) -> list[bytes]:
        """The encoded events of a block."""
        del policies  # these events show none
        rng = random.Random(f"{self._seed}:provisioning:{number}")
        moment, first = self._schedule.moment, number * BLOCK
        return [
            encode_json(self._event(rng, moment(first + position))) for position in range(BLOCK)
        ]

    def _event(self, rng: random.Random, ticks: int) -> JsonObject:
        user = self._users[int(rng.random() * len(self._users))]
        job_id, service_principal = rng.choice(self._jobs)
        action, status = rng.choice(_ACTIONS), rng.choice(_STATUSES)
        name, login = user.get("displayName"), user.get("userPrincipalName")
        # One iteration of a job, 40 minutes long, has one cycle id.
        cycle = random.Random(f"{self._seed}:{job_id}:{ticks // 24_000_000_000}")
        return {
            "id": new_id(rng),
            "activityDateTime": fraction_of(ticks),
            "tenantId": self._tenant_id,
            "jobId": job_id,
            "cycleId": new_id(cycle),
            "changeId": new_id(rng),
            "provisioningAction": "other" if status == "skipped" else action,
            "durationInMilliseconds": rng.randrange(80, 4000),
            "servicePrincipal": {
                "id": service_principal["id"],
                "displayName": service_principal.get("displayName"),
            },
            "sourceSystem": {
                "id": self._tenant_id,
                "displayName": "Microsoft Entra ID",
                "details": {},
            },
            "targetSystem": {
                "id": service_principal["id"],
                "displayName": service_principal.get("displayName"),
                "details": {
                    "ApplicationId": service_principal.get("appId"),
                    "ServicePrincipalId": service_principal["id"],
                },
            },
            "initiatedBy": {"id": "", "displayName": _SERVICE, "initiatorType": "system"},
            "sourceIdentity": {
                "id": user["id"],
                "displayName": name,
                "identityType": "User",
                "details": {
                    "id": user["id"],
                    "odatatype": "User",
                    "DisplayName": name,
                    "UserPrincipalName": login,
                },
            },
            "targetIdentity": {
                "id": "" if action == "create" and status == "failure" else f"u-{user['id'][:8]}",
                "displayName": "",
                "identityType": "User",
                "details": {},
            },
            "provisioningStatusInfo": {"status": status, "errorInformation": _error(status)},
            "provisioningSteps": [
                {
                    "name": step,
                    "provisioningStepType": kind,
                    "status": status if kind == "export" else "success",
                    "description": f"{text} '{login}'.",
                    "details": {},
                }
                for step, kind, text in _STEPS
            ],
            "modifiedProperties": [
                modified("displayName", None, name),
                modified("active", None, str(bool(user.get("accountEnabled")))),
            ]
            if status == "success"
            else [],
        }


def _error(status: str) -> JsonObject | None:
    if status != "failure":
        return None
    return {
        "errorCode": "SystemForCrossDomainIdentityManagementServiceIncompatible",
        "reason": "The target answered with a status that the service does not expect.",
        "additionalDetails": None,
        "errorCategory": "failure",
        "recommendedAction": "Check the target's SCIM endpoint.",
    }
