"""Members and owners of groups, one by one or in bunches.

Graph "Add members", "Remove member", "Add owners", "Remove group owner". A bunch is all or nothing.
"""

from entra_pipeline.simulator.changes.licences import inherit
from entra_pipeline.simulator.errors import GraphError, bad_request, not_found
from entra_pipeline.simulator.wire import JsonObject, Response
from entra_pipeline.simulator.writes import group_rules as rules
from entra_pipeline.simulator.writes import needs, references
from entra_pipeline.simulator.writes.write import Write

_Found = list[tuple[str, JsonObject]]


def add_member(write: Write) -> Response:
    """`POST /groups/{id}/members/$ref`: 204."""
    write.need(needs.GROUP_MEMBERS)
    group = _source(write)
    rules.check_members_changeable(write, group)
    found = [references.single(write)]
    check_members(write, group, found)
    put_members(write, group, found)
    return write.no_content()


def remove_member(write: Write) -> Response:
    """`DELETE /groups/{id}/members/{id}/$ref`: 204."""
    write.need(needs.GROUP_MEMBERS)
    group = _source(write)
    rules.check_members_changeable(write, group)
    member = write.keys[1].lower()
    found = write.directory.find(member)
    if found is not None and found[0] == "service_principals":
        write.need(needs.APPLICATIONS)
    if not write.directory.is_linked("group_members", group["id"], member):
        raise not_found(write.keys[1])
    write.session.unlink("group_members", (group["id"], member))
    inherit(write.session, group["id"], member, gained=False)
    end_pim_hold(write, group["id"], member, "member")
    write.effect("remove_group_member", group["id"], member)
    return write.no_content()


def add_owner(write: Write) -> Response:
    """`POST /groups/{id}/owners/$ref`: 204."""
    write.need(needs.GROUPS)
    group = _source(write)
    rules.check_changeable(write, group)
    found = [references.single(write)]
    check_owners(write, group, found)
    put_owners(write, group, found)
    return write.no_content()


def remove_owner(write: Write) -> Response:
    """`DELETE /groups/{id}/owners/{id}/$ref`: 204."""
    write.need(needs.GROUPS)
    group = _source(write)
    rules.check_changeable(write, group)
    owner = write.keys[1].lower()
    if not write.directory.is_linked("group_owners", group["id"], owner):
        raise not_found(write.keys[1])
    rules.check_last_owner(write, group["id"], owner)
    write.session.unlink("group_owners", (group["id"], owner))
    end_pim_hold(write, group["id"], owner, "owner")
    write.effect("remove_group_owner", group["id"], owner)
    return write.no_content()


def _source(write: Write) -> JsonObject:
    """The group of the address. One that is still on its way here is refused in its own way."""
    key = write.keys[0].lower()
    if key in write.directory.collection("groups") and key not in write.view.collection("groups"):
        raise bad_request(
            "The source resource object or one of the objects being referenced don't exist."
        )
    return write.get("groups", write.keys[0])


def check_members(write: Write, group: JsonObject, found: _Found) -> None:
    """Refuse new members that may not be added. Raises GraphError."""
    for collection, obj in found:
        rules.check_member(write, group, collection, obj)
    _check_new(write, "group_members", "members", group["id"], found)


def check_owners(write: Write, group: JsonObject, found: _Found) -> None:
    """Refuse new owners that may not be added. Raises GraphError."""
    for collection, _ in found:
        rules.check_owner(write, collection)
    rules.check_owner_quota(write, group["id"], len(found))
    _check_new(write, "group_owners", "owners", group["id"], found)


def put_members(write: Write, group: JsonObject, found: _Found) -> None:
    """Add members that have passed the checks."""
    for _, obj in found:
        write.session.link("group_members", group["id"], obj["id"])
        inherit(write.session, group["id"], obj["id"], gained=True)
        write.effect("add_group_member", group["id"], obj["id"])


def put_owners(write: Write, group: JsonObject, found: _Found) -> None:
    """Add owners that have passed the checks."""
    for _, obj in found:
        write.session.link("group_owners", group["id"], obj["id"])
        write.effect("add_group_owner", group["id"], obj["id"])


def end_pim_hold(write: Write, group_id: str, principal_id: str, access: str) -> None:
    """A membership that is taken away ends the PIM hold that it came from."""
    rows = write.directory.grouped("group_assignment_schedule_instances", "groupId")
    for row in list(rows.get(group_id, ())):
        if row.get("principalId") == principal_id and (row.get("accessId") or "member") == access:
            write.session.remove("group_assignment_schedule_instances", row["id"])


def _check_new(write: Write, relation: str, name: str, source: str, found: _Found) -> None:
    if any(write.directory.is_linked(relation, source, obj["id"]) for _, obj in found):
        raise already(name)


def already(name: str) -> GraphError:
    """400 for a link that is there."""
    return bad_request(
        "One or more added object references already exist for the following modified properties: "
        f"'{name}'."
    )
