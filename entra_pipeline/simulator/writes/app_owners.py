"""Owners of applications and of service principals, one by one.

Graph "Add owner" and "Remove owner" of application and servicePrincipal. Unlike a group, an
application may be left without one.
"""

from entra_pipeline.simulator.errors import bad_request, not_found
from entra_pipeline.simulator.wire import Response
from entra_pipeline.simulator.writes import needs, references
from entra_pipeline.simulator.writes.membership import already
from entra_pipeline.simulator.writes.write import Write


def add_to_application(write: Write) -> Response:
    """`POST /applications/{id}/owners/$ref`: 204."""
    return _add(write, "applications", "application")


def remove_from_application(write: Write) -> Response:
    """`DELETE /applications/{id}/owners/{id}/$ref`: 204."""
    return _remove(write, "applications", "application")


def add_to_service_principal(write: Write) -> Response:
    """`POST /servicePrincipals/{id}/owners/$ref`: 204."""
    return _add(write, "service_principals", "service_principal")


def remove_from_service_principal(write: Write) -> Response:
    """`DELETE /servicePrincipals/{id}/owners/{id}/$ref`: 204."""
    return _remove(write, "service_principals", "service_principal")


def _add(write: Write, collection: str, name: str) -> Response:
    write.need(needs.APPLICATIONS)
    owned = write.get(collection, write.keys[0])
    kind, owner = references.single(write)
    if kind not in ("users", "service_principals"):
        raise bad_request("Invalid object type for a reference in the property 'owners'.")
    if write.directory.is_linked(f"{name}_owners", owned["id"], owner["id"]):
        raise already("owners")
    write.session.link(f"{name}_owners", owned["id"], owner["id"])
    write.effect(f"add_{name}_owner", owned["id"], owner["id"])
    return write.no_content()


def _remove(write: Write, collection: str, name: str) -> Response:
    write.need(needs.APPLICATIONS)
    owned = write.get(collection, write.keys[0])
    owner = write.keys[1].lower()
    if not write.directory.is_linked(f"{name}_owners", owned["id"], owner):
        raise not_found(write.keys[1])
    write.session.unlink(f"{name}_owners", (owned["id"], owner))
    write.effect(f"remove_{name}_owner", owned["id"], owner)
    return write.no_content()
