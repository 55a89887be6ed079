"""Groups themselves: created, updated, created if missing, deleted.

Graph "Create group", "Update group", "Upsert group", "Delete group". Graph makes security and
Microsoft 365 groups alone; what is not a Microsoft 365 group has no recycle bin.
"""

from typing import Any

from entra_pipeline.simulator.changes.base import blank
from entra_pipeline.simulator.entity_sets import BY_TYPE
from entra_pipeline.simulator.errors import GraphError, bad_request
from entra_pipeline.simulator.generate.build import new_id
from entra_pipeline.simulator.keys import by_alternate, unquote_key
from entra_pipeline.simulator.wire import JsonObject, Response
from entra_pipeline.simulator.writes import group_rules as rules
from entra_pipeline.simulator.writes import membership, needs, references
from entra_pipeline.simulator.writes.properties import checked
from entra_pipeline.simulator.writes.write import (
    Write,
    conflict,
    invalid_value,
    not_found,
    text_of,
)

_CREATE_IF_MISSING = "create-if-missing"
_FIXED = frozenset({"isAssignableToRole", "uniqueName"})
"""What is decided when a group is created."""


def create(write: Write) -> Response:
    """`POST /groups`: 201 with the group."""
    write.need(needs.CREATE_GROUP)
    return _create(write, write.body)


def update(write: Write) -> Response:
    """`PATCH /groups/{id}` or `/groups(uniqueName='…')`: 204, or 201 when it was created."""
    key = write.keys[0]
    if key.startswith("uniqueName="):
        name = unquote_key(key.partition("=")[2])
        group = by_alternate(write.view, BY_TYPE["group"], "uniqueName", name)
        if group is None:
            if _CREATE_IF_MISSING not in write.request.headers.get("prefer", ""):
                write.need(needs.GROUPS)
                raise not_found(name)
            write.need(needs.CREATE_GROUP)
            return _create(write, {**write.body, "uniqueName": name})
        key = group["id"]
    binds = {name for name in write.body if name.endswith("@odata.bind")}
    only_members = set(write.body) == {"members@odata.bind"}
    write.need(needs.GROUP_MEMBERS if only_members else needs.GROUPS)
    group = write.get("groups", key)
    if "members@odata.bind" in binds:
        rules.check_members_changeable(write, group)
    else:
        rules.check_changeable(write, group)
    values = {
        name: value
        for name, value in write.body.items()
        if name not in binds and not name.startswith("@")
    }
    if write.keys[0].startswith("uniqueName="):
        values.pop("uniqueName", None)
    values = checked("group", values)
    for name in _FIXED & values.keys():
        if values[name] != group.get(name):
            raise bad_request(f"Property '{name}' is read-only and cannot be set.")
    _check_kind(write, {**group, **values})
    if values.get("mailNickname") not in (None, group.get("mailNickname")):
        _check_nickname(write, {**group, **values})
    members, owners = _bound(write, group)
    changed = {name: value for name, value in values.items() if value != group.get(name)}
    if changed:
        write.session.patch("groups", group["id"], changed)
        write.effect("update_group", group["id"], properties=sorted(changed))
    membership.put_members(write, group, members)
    membership.put_owners(write, group, owners)
    return write.no_content()


def delete(write: Write) -> Response:
    """`DELETE /groups/{id}`: 204."""
    write.need(needs.GROUPS)
    return delete_group(write, write.get("groups", write.keys[0]))


def delete_group(write: Write, group: JsonObject) -> Response:
    """Delete a group, or put it on the recycle bin: 204."""
    rules.check_changeable(write, group)
    if group.get("assignedLicenses"):
        raise bad_request(
            "The group cannot be deleted because it has active licenses assigned to it."
        )
    if rules.is_unified(group):
        write.session.soft_delete("groups", group["id"])
    else:
        write.session.end_access(group["id"])
        write.session.remove("groups", group["id"])
    write.effect("delete_group", group["id"])
    return write.no_content()


def _create(write: Write, body: JsonObject) -> Response:
    for name in ("displayName", "mailNickname"):
        text_of(body, name, "Group")
    for name in ("mailEnabled", "securityEnabled"):
        if not isinstance(body.get(name), bool):
            raise bad_request(f"A value is required for property '{name}' of resource 'Group'.")
    values = checked(
        "group",
        {
            name: value
            for name, value in body.items()
            if not name.endswith("@odata.bind") and not name.startswith("@")
        },
    )
    group = _new(write, values)
    _check_kind(write, group)
    if rules.is_exchange(group) or (not group["securityEnabled"] and not rules.is_unified(group)):
        raise bad_request(
            "The service does not currently support writes of mail-enabled groups. Please ensure "
            "that the mail-enablement property is unset and the security-enablement property is "
            "set."
        )
    if rules.is_role_assignable(group):
        _check_role_assignable(write, group)
    _check_nickname(write, group)
    _check_unique_name(write, group)
    members, owners = _bound(write, group)
    write.session.put("groups", group)
    write.effect("create_group", group["id"])
    membership.put_members(write, group, members)
    membership.put_owners(write, group, owners)
    return write.entity("group", group, "groups", status=201)


def _new(write: Write, values: JsonObject) -> JsonObject:
    groups = write.directory.collection("groups")
    model: JsonObject = next(iter(groups.values()), {})
    unified = "Unified" in (values.get("groupTypes") or ())
    mail = f"{values['mailNickname']}@{default_domain(write)}" if unified else None
    return {
        **blank(model),
        "assignedLicenses": [],
        "groupTypes": [],
        "proxyAddresses": [f"SMTP:{mail}"] if mail else [],
        "visibility": "Public" if unified else None,
        **values,
        "id": new_id(write.service.rng),
        "createdDateTime": write.stamp,
        "mail": mail,
        "renewedDateTime": write.stamp,
    }


def default_domain(write: Write) -> str:
    """The domain that addresses get when nobody says which."""
    domains = list(write.directory.collection("domains").values())
    for mark in ("isDefault", "isInitial", "isVerified"):
        for each in domains:
            if each.get(mark):
                return str(each["id"])
    return "tenant.onmicrosoft.example"


def _check_kind(write: Write, group: JsonObject) -> None:
    types: list[Any] = group.get("groupTypes") or []
    if set(types) - {"Unified", "DynamicMembership"}:
        raise invalid_value("groupTypes", "Group")
    if rules.is_unified(group) and not group.get("mailEnabled"):
        raise bad_request("The mail-enablement property must be set for a group of type Unified.")
    if rules.is_dynamic(group):
        write.need(needs.GROUPS, "p1")
        if not group.get("membershipRule"):
            raise bad_request("A value is required for property 'membershipRule'.")
    elif group.get("membershipRule"):
        raise bad_request("A membership rule needs the group type 'DynamicMembership'.")


def _check_role_assignable(write: Write, group: JsonObject) -> None:
    write.need(needs.ROLE_ASSIGNABLE, "p1")
    if not group["securityEnabled"] or rules.is_dynamic(group):
        raise bad_request(
            "A group that can be assigned to a role must be security-enabled and must not have "
            "dynamic membership."
        )
    if group.get("visibility") not in (None, "Private") and rules.is_unified(group):
        group["visibility"] = "Private"
    held = sum(map(rules.is_role_assignable, write.directory.collection("groups").values()))
    if held >= rules.MAX_ROLE_ASSIGNABLE:
        raise GraphError(
            400,
            "Directory_QuotaExceeded",
            "The directory object quota limit for role-assignable groups has been exceeded.",
        )


def _check_nickname(write: Write, group: JsonObject) -> None:
    """Addresses of Microsoft 365 groups are theirs alone; security groups may share names."""
    if not rules.is_unified(group):
        return
    wanted = str(group["mailNickname"]).lower()
    for each in write.directory.collection("groups").values():
        if (
            each["id"] != group["id"]
            and each.get("mailEnabled")
            and str(each.get("mailNickname")).lower() == wanted
        ):
            raise conflict(
                "Another object with the same value for property mailNickname already exists.",
                "mailNickname",
            )


def _check_unique_name(write: Write, group: JsonObject) -> None:
    name = group.get("uniqueName")
    if name and by_alternate(write.directory, BY_TYPE["group"], "uniqueName", name) is not None:
        raise conflict(
            "Another object with the same value for property uniqueName already exists.",
            "uniqueName",
        )


def _bound(
    write: Write, group: JsonObject
) -> tuple[list[tuple[str, JsonObject]], list[tuple[str, JsonObject]]]:
    references.check_count(
        references.addresses(write.body, "members"), references.addresses(write.body, "owners")
    )
    members, owners = references.bound(write, "members"), references.bound(write, "owners")
    if members and rules.is_dynamic(group):
        rules.check_members_changeable(write, group)
    membership.check_members(write, group, members)
    membership.check_owners(write, group, owners)
    return members, owners
