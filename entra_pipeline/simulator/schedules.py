"""PIM schedules of directory roles: derived from what is held and from what has been asked for.

Graph keeps a schedule for every hold, begun or not. A tenant stores instances (what has begun) and
requests; a schedule that has an instance follows from it, one that has none from its request.
"""

from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.wire import JsonObject


def assignment_schedules(directory: Directory) -> list[JsonObject]:
    """Rows of `/roleManagement/directory/roleAssignmentSchedules`."""
    return _schedules(directory, "assignment", "roleAssignmentScheduleId")


def eligibility_schedules(directory: Directory) -> list[JsonObject]:
    """Rows of `/roleManagement/directory/roleEligibilitySchedules`."""
    return _schedules(directory, "eligibility", "roleEligibilityScheduleId")


def _schedules(directory: Directory, kind: str, name: str) -> list[JsonObject]:
    requests = directory.grouped(f"role_{kind}_schedule_requests", "targetScheduleId")
    found: dict[str, JsonObject] = {}
    for row in directory.collection(f"role_{kind}_schedule_instances").values():
        if row.get(name) and row.get("memberType", "Direct") == "Direct":
            asked = requests.get(row[name], ())
            using = asked[-1]["id"] if asked else row[name]
            found[row[name]] = _schedule(row[name], row, using, "Provisioned")
    for schedule_id, asked in requests.items():
        # Only the last request counts: later ones change what earlier ones made.
        if schedule_id not in found and asked and asked[-1]["status"] in _WAITING:
            found[schedule_id] = _schedule(schedule_id, asked[-1], asked[-1]["id"], "Granted")
    return list(found.values())


_WAITING = frozenset({"Granted", "PendingProvisioning", "ScheduleCreated"})


def _schedule(schedule_id: str, row: JsonObject, using: str, status: str) -> JsonObject:
    end = row.get("endDateTime")
    made: JsonObject = {
        "id": schedule_id,
        "appScopeId": row.get("appScopeId"),
        "createdDateTime": row.get("createdDateTime") or row.get("startDateTime"),
        "createdUsing": using,
        "directoryScopeId": row.get("directoryScopeId"),
        "memberType": row.get("memberType") or "Direct",
        "modifiedDateTime": None,
        "principalId": row["principalId"],
        "roleDefinitionId": row["roleDefinitionId"],
        "scheduleInfo": row.get("scheduleInfo")
        or {
            "startDateTime": row.get("startDateTime"),
            "recurrence": None,
            "expiration": {
                "type": "afterDateTime" if end else "noExpiration",
                "endDateTime": end,
                "duration": None,
            },
        },
        "status": status,
    }
    if row.get("assignmentType"):
        made["assignmentType"] = row["assignmentType"]
    return made
