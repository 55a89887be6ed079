"""Steps that change what lies around people and groups: units, contacts, policies."""

from entra_pipeline.simulator.changes.base import Session, Step, blank
from entra_pipeline.simulator.generate.build import new_id


def create_unit(s: Session) -> bool:
    """A new administrative unit with a member, where units are in use."""
    if not s.objects["administrative_units"]:
        return False
    unit_id = new_id(s.rng)
    made = s.put(
        "administrative_units",
        {
            "id": unit_id,
            "deletedDateTime": None,
            "description": None,
            "displayName": f"New unit {s.rng.getrandbits(20)}",
            "isMemberManagementRestricted": False,
            "membershipRule": None,
            "membershipRuleProcessingState": None,
            "membershipType": "Assigned",
            "visibility": None,
        },
    )
    s.link("administrative_unit_members", unit_id, s.some("users"))
    return made


def rename_unit(s: Session) -> bool:
    """Another name for an administrative unit."""
    found = s.some("administrative_units")
    name = f"Renamed unit {s.rng.getrandbits(20)}"
    return bool(found) and s.patch("administrative_units", str(found), {"displayName": name})


def delete_unit(s: Session) -> bool:
    """An administrative unit that no role is scoped to is deleted, but for the last one."""
    if len(s.objects["administrative_units"]) < 2:
        return False
    found = s.some("administrative_units")
    scope = f"/administrativeUnits/{found}"
    scoped = any(
        row.get("directoryScopeId") == scope
        for name in (
            "role_assignments",
            "role_assignment_schedule_instances",
            "role_eligibility_schedule_instances",
        )
        for row in s.objects[name].values()
    )
    return bool(found) and not scoped and s.remove("administrative_units", str(found))


def add_contact(s: Session) -> bool:
    """A new contact."""
    model = s.some("contacts")
    if not model:
        return False
    number = s.rng.getrandbits(20)
    contact_id = new_id(s.rng)
    return s.put(
        "contacts",
        {
            **blank(s.objects["contacts"][model]),
            "id": contact_id,
            "displayName": f"New contact {number}",
            "mail": f"contact{number}@northwind.example",
            "mailNickname": f"contact{number}",
        },
    )


def rename_contact(s: Session) -> bool:
    """Another name for a contact."""
    found = s.some("contacts")
    name = f"Renamed contact {s.rng.getrandbits(20)}"
    return bool(found) and s.patch("contacts", str(found), {"displayName": name})


def delete_contact(s: Session) -> bool:
    """A contact goes for good, with its memberships; one stays, to be a model for others."""
    found = s.some("contacts")
    several = len(s.objects["contacts"]) > 1
    return bool(found) and several and s.remove("contacts", str(found))


def switch_policy(s: Session) -> bool:
    """A policy of conditional access is switched on, off, or to reporting."""
    found = s.some("conditional_access_policies")
    if not found:
        return False
    state = s.objects["conditional_access_policies"][found].get("state")
    states = ("enabled", "disabled", "enabledForReportingButNotEnforced")
    other = s.rng.choice([each for each in states if each != state])
    return s.patch("conditional_access_policies", found, {"state": other})


STEPS: tuple[Step, ...] = (
    ("create a unit", create_unit, 1),
    ("rename a unit", rename_unit, 1),
    ("delete a unit", delete_unit, 1),
    ("add a contact", add_contact, 1),
    ("rename a contact", rename_contact, 1),
    ("delete a contact", delete_contact, 1),
    ("switch a policy", switch_policy, 1),
)
