"""Steps that change groups: members, nesting, owners, the groups themselves."""

from functools import partial

from entra_pipeline.simulator.changes.base import Session, Step, blank
from entra_pipeline.simulator.changes.licences import inherit
from entra_pipeline.simulator.generate.build import DEFAULT_DOMAIN, new_id
from entra_pipeline.simulator.tenant import JsonObject


def _is_dynamic(group: JsonObject) -> bool:
    return "DynamicMembership" in (group.get("groupTypes") or ())


def _takes_members(group: JsonObject) -> bool:
    return not _is_dynamic(group)


def _takes_groups(group: JsonObject) -> bool:
    """Security groups that are neither dynamic, role-assignable, mail-enabled nor synced."""
    return (
        not group.get("groupTypes")
        and not group.get("mailEnabled")
        and not group.get("isAssignableToRole")
        and not group.get("onPremisesSyncEnabled")
    )


def _can_be_nested(group: JsonObject) -> bool:
    return (
        "Unified" not in (group.get("groupTypes") or ())
        and not group.get("mailEnabled")
        and not group.get("isAssignableToRole")
    )


def add_member(s: Session) -> bool:
    """A user, service principal or device becomes a direct member of a group without a rule."""
    group = s.some_group(_takes_members)
    kinds = ("users",) * 12 + ("service_principals", "devices")
    collection = s.rng.choice(kinds)
    if group and s.objects["groups"][group].get("groupTypes"):
        collection = "users"
    member = s.some(collection)
    if not s.link("group_members", group, member):
        return False
    inherit(s, group, member, gained=True)
    return True


def remove_member(s: Session) -> bool:
    """A direct member of a group without a rule leaves it."""
    found = s.some_link("group_members", partial(_open, s))
    if not s.unlink("group_members", found):
        return False
    if found:
        inherit(s, *found, gained=False)
        # An assignment that PIM keeps for the membership ends with it ("PIM for groups").
        for row in s.rows_naming("group_assignment_schedule_instances", found[1]):
            if row["groupId"] == found[0] and row.get("accessId") == "member":
                s.remove("group_assignment_schedule_instances", row["id"])
    return True


def nest(s: Session) -> bool:
    """A group becomes a member of another, where Entra allows that."""
    outer = s.some_group(_takes_groups)
    inner = s.some_group(_can_be_nested)
    return s.link("group_members", outer, inner)


def unnest(s: Session) -> bool:
    """A nested group leaves the group it is in."""
    groups = s.objects["groups"]
    for _ in range(12):
        found = s.some_link("group_members", partial(_open, s))
        if found:
            inner = [target for target in s.links["group_members"][found[0]] if target in groups]
            if inner:
                return s.unlink("group_members", (found[0], s.rng.choice(inner)))
    return False


def close_cycle(s: Session) -> bool:
    """Put an outer group into one that it contains."""
    groups, rows = s.objects["groups"], s.links["group_members"]
    for _ in range(12):
        outer = s.some_group(_takes_groups)
        if not outer:
            return False
        inner = [g for g in rows.get(outer, ()) if g in groups and _takes_groups(groups[g])]
        if inner and _can_be_nested(groups[outer]):
            return s.link("group_members", s.rng.choice(inner), outer)
    # Nothing nested was found: make a pair.
    first, second = s.some_group(_takes_groups), s.some_group(_takes_groups)
    if not first or not second or first == second:
        return False
    made = s.link("group_members", first, second)
    return s.link("group_members", second, first) or made


def break_cycle(s: Session) -> bool:
    """Take a group out of one that it contains directly."""
    for group in s.objects["groups"]:
        for holder in s.directory.sources("group_members", group):
            if group in s.directory.sources("group_members", holder):
                return s.unlink("group_members", (holder, group))
    return False


def add_owner(s: Session) -> bool:
    """An owner for a group, an application, a service principal or a device."""
    relation, collection = s.rng.choice(
        (
            ("group_owners", "groups"),
            ("group_owners", "groups"),
            ("application_owners", "applications"),
            ("service_principal_owners", "service_principals"),
            ("device_owners", "devices"),
        )
    )
    people = s.rng.random() < 0.9 or relation == "device_owners"  # devices belong to people
    owner = s.some("users" if people else "service_principals")
    return s.link(relation, s.some(collection), owner)


def remove_owner(s: Session) -> bool:
    """Take an owner away."""
    relation = s.rng.choice(
        ("group_owners", "group_owners", "application_owners", "service_principal_owners")
    )
    found = s.some_link(relation, lambda _: True)
    if not s.unlink(relation, found):
        return False
    if found and relation == "group_owners":
        for row in s.rows_naming("group_assignment_schedule_instances", found[1]):
            if row["groupId"] == found[0] and row.get("accessId") == "owner":
                s.remove("group_assignment_schedule_instances", row["id"])
    return True


def create_group(s: Session) -> bool:
    """A new security or Microsoft 365 group with an owner and a few members."""
    rng = s.rng
    model = s.some("groups")
    if not model:
        return False
    group_id, unified = new_id(rng), rng.random() < 0.4
    number = rng.getrandbits(24)
    nick = f"new-group-{number}"
    made = s.put(
        "groups",
        {
            **blank(s.objects["groups"][model]),
            "id": group_id,
            "createdDateTime": s.stamp,
            "description": None,
            "displayName": f"New group {number}",
            "groupTypes": ["Unified"] if unified else [],
            "isAssignableToRole": None,
            "mail": f"{nick}@{DEFAULT_DOMAIN}" if unified else None,
            "mailEnabled": unified,
            "mailNickname": nick,
            "renewedDateTime": s.stamp,
            "securityEnabled": not unified,
            "visibility": "Private" if unified else None,
        },
    )
    s.link("group_owners", group_id, s.some("users"))
    for _ in range(rng.randrange(4)):
        s.link("group_members", group_id, s.some("users"))
    return made


def rename_group(s: Session) -> bool:
    """Another name for a group."""
    group = s.some("groups")
    name = f"Renamed group {s.rng.getrandbits(20)}"
    return bool(group) and s.patch("groups", str(group), {"displayName": name})


def delete_group(s: Session) -> bool:
    """Soft-delete a group."""
    # Entra refuses to delete a group that gives licences.
    group = s.some_group(lambda g: not g.get("assignedLicenses"))
    return bool(group) and s.soft_delete("groups", str(group))


def _open(s: Session, group: str) -> bool:
    found = s.objects["groups"].get(group)
    return found is not None and not _is_dynamic(found)


STEPS: tuple[Step, ...] = (
    ("add a member", add_member, 20),
    ("remove a member", remove_member, 14),
    ("nest a group", nest, 6),
    ("unnest a group", unnest, 4),
    ("close a cycle", close_cycle, 1),
    ("break a cycle", break_cycle, 1),
    ("add an owner", add_owner, 5),
    ("remove an owner", remove_owner, 3),
    ("create a group", create_group, 2),
    ("rename a group", rename_group, 2),
    ("delete a group", delete_group, 1),
)
