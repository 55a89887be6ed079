"""Deleting an object by an address that does not say what it is.

Graph "Delete directory object". Also what happens when `/$ref` is left out at the end of a
member's address: not the membership is deleted but the member (graph "Remove member", caution).
"""

from entra_pipeline.simulator.errors import GraphError, not_found
from entra_pipeline.simulator.wire import JsonObject, Response
from entra_pipeline.simulator.writes import needs
from entra_pipeline.simulator.writes.accounts import delete_user
from entra_pipeline.simulator.writes.group_objects import delete_group
from entra_pipeline.simulator.writes.write import Write


def delete_any(write: Write) -> Response:
    """`DELETE /directoryObjects/{id}`: 204."""
    write.need(needs.DELETE_USER | needs.GROUPS)
    return _delete(write, *write.find(write.keys[0]))


def delete_member_itself(write: Write) -> Response:
    """`DELETE /groups/{id}/members/{id}` without `/$ref`: 204, and the member is gone."""
    write.need(needs.DELETE_USER | needs.GROUPS)
    relation = "group_owners" if "/owners/" in write.call.route else "group_members"
    group = write.get("groups", write.keys[0])
    collection, obj = write.find(write.keys[1])
    if not write.directory.is_linked(relation, group["id"], obj["id"]):
        raise not_found(write.keys[1])
    return _delete(write, collection, obj)


def _delete(write: Write, collection: str, obj: JsonObject) -> Response:
    if collection == "users":
        write.need(needs.DELETE_USER)
        return delete_user(write, obj)
    if collection == "groups":
        write.need(needs.GROUPS)
        return delete_group(write, obj)
    raise GraphError(405, "Request_BadRequest", "Specified HTTP method is not allowed.")
