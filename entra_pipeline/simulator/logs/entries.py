"""Directory audits: how Microsoft writes an entry.

Here: the parts of an entry (initiator, targets, modified properties) and the ids. Not here: which
activity a change is (trail.py), nor what an invented past consists of (audits.py). Values of
modified properties are JSON inside a JSON string, as Graph has them; shapes: graph "directoryAudit
resource type" and "targetResource resource type".
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.generate.build import new_id
from entra_pipeline.simulator.logs.schedule import fraction_of
from entra_pipeline.simulator.roles import GLOBAL_ADMINISTRATOR
from entra_pipeline.simulator.wire import JsonObject, encode_json

CORE, PIM = "Core Directory", "PIM"
_APPLICATION_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Activity:
    """What an entry says happened: Microsoft's name, category, operation and service."""

    name: str
    category: str
    operation: str
    service: str = CORE


def modified(name: str, old: object, new: object) -> JsonObject:
    """A modified property; None says that there was, or is, no value."""
    return {"displayName": name, "oldValue": _inside(old), "newValue": _inside(new)}


def updated(before: JsonObject, after: JsonObject, names: Sequence[str]) -> list[JsonObject]:
    """Modified properties of an update: values as lists, then the list of what was updated."""
    rows = [
        modified(_pascal(name), _listed(before.get(name)), _listed(after.get(name)))
        for name in names
    ]
    included = ", ".join(_pascal(name) for name in names)
    return [*rows, modified("Included Updated Properties", None, included)]


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _pascal(name: str) -> str:
    return name[:1].upper() + name[1:]


def _inside(value: object) -> str | None:
    return None if value is None else encode_json(value).decode()


def resource(
    kind: str, obj: JsonObject, properties: Sequence[JsonObject] = (), name: str | None = None
) -> JsonObject:
    """A target of an entry. `kind` is Microsoft's word: User, Group, ServicePrincipal, ..."""
    target: JsonObject = {
        "id": obj.get("id"),
        "displayName": obj.get("displayName") if name is None else name,
        "type": kind,
        "userPrincipalName": obj.get("userPrincipalName") if kind == "User" else None,
        "groupType": None,
        "modifiedProperties": list(properties),
    }
    if kind == "User":
        # The log names users by their principal name alone.
        target["displayName"] = None
    elif kind == "Group":
        unified = "Unified" in (obj.get("groupTypes") or ())
        target["groupType"] = "unifiedGroups" if unified else "azureAD"
    return target


class Writer:
    """Writes entries of one tenant: who did it, when, under which id."""

    def __init__(self, directory: Directory) -> None:
        self._administrators = _administrators(directory)
        self._applications = [
            each
            for each in directory.collection("service_principals").values()
            if each.get("appOwnerOrganizationId") == directory.tenant.tenant_id
        ][:20]

    def initiator(self, rng: random.Random) -> JsonObject:
        """Somebody who may have done it: an administrator, now and then an application."""
        if self._applications and (not self._administrators or rng.random() < _APPLICATION_SHARE):
            return by_application(rng.choice(self._applications))
        if self._administrators:
            return by_user(rng.choice(self._administrators), rng)
        return {"user": None, "app": None}

    def entry(
        self,
        rng: random.Random,
        ticks: int,
        activity: Activity,
        targets: list[JsonObject],
        *,
        initiator: JsonObject | None = None,
        correlation: str | None = None,
        details: Sequence[tuple[str, str]] = (),
        failure: str = "",
    ) -> JsonObject:
        """A directoryAudit. `failure` is the reason why it failed, if it did."""
        service = "PIM" if activity.service == PIM else "Directory"
        correlation = correlation or new_id(rng)
        return {
            "id": f"{service}_{new_id(rng)}_{rng.getrandbits(20):05X}_{rng.getrandbits(28)}",
            "category": activity.category,
            "correlationId": correlation,
            "result": "failure" if failure else "success",
            "resultReason": failure,
            "activityDisplayName": activity.name,
            "activityDateTime": fraction_of(ticks),
            "loggedByService": activity.service,
            "operationType": activity.operation,
            "initiatedBy": initiator or self.initiator(rng),
            "targetResources": targets,
            "additionalDetails": [{"key": key, "value": value} for key, value in details],
        }


def by_user(user: JsonObject, rng: random.Random) -> JsonObject:
    """An initiator that is a user at some address."""
    return {
        "app": None,
        "user": {
            "id": user["id"],
            "displayName": None,
            "userPrincipalName": user.get("userPrincipalName"),
            "ipAddress": f"198.51.100.{rng.getrandbits(8)}",
        },
    }


def by_application(service_principal: JsonObject) -> JsonObject:
    """An initiator that is an application."""
    return {
        "user": None,
        "app": {
            "appId": service_principal.get("appId"),
            "displayName": service_principal.get("displayName"),
            "servicePrincipalId": service_principal["id"],
            "servicePrincipalName": None,
        },
    }


def _administrators(directory: Directory) -> list[JsonObject]:
    users = directory.collection("users")
    holders = [
        users[row["principalId"]]
        for row in directory.collection("role_assignments").values()
        if row["roleDefinitionId"] == GLOBAL_ADMINISTRATOR and row["principalId"] in users
    ]
    return holders or [user for user, _ in zip(users.values(), range(3), strict=False)]
