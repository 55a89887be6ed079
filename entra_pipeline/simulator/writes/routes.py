"""Which write a method and a path name, and what it costs.

The table is the list of everything that can be written. A path that is not in it is left to the
reading side, which refuses it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from entra_pipeline.simulator.gates import Call
from entra_pipeline.simulator.keys import unquote_key
from entra_pipeline.simulator.wire import Response
from entra_pipeline.simulator.writes import (
    accounts,
    app_owners,
    app_roles,
    credentials,
    group_objects,
    invitations,
    licences,
    membership,
    objects,
    pim,
    role_assignments,
    synchronization,
)
from entra_pipeline.simulator.writes.write import Service, Write, read_body

Handler = Callable[[Write], Response]

_KEYED = re.compile(r"^([^(]+)\((.+)\)$")
_CAST = "microsoft.graph."
_PER_WRITE = 3
"""References that count as one write of the quota, as seen with bunches of members."""


@dataclass(frozen=True)
class Route:
    """A method and a path; `{}` stands for one key."""

    method: str
    path: str
    handler: Handler

    @property
    def segments(self) -> tuple[str, ...]:
        """The path's segments in lower case."""
        return tuple(self.path.lower().split("/"))


ROUTES: tuple[Route, ...] = (
    Route("POST", "groups/{}/members/$ref", membership.add_member),
    Route("DELETE", "groups/{}/members/{}/$ref", membership.remove_member),
    Route("POST", "groups/{}/owners/$ref", membership.add_owner),
    Route("DELETE", "groups/{}/owners/{}/$ref", membership.remove_owner),
    Route("POST", "groups", group_objects.create),
    Route("PATCH", "groups/{}", group_objects.update),
    Route("DELETE", "groups/{}", group_objects.delete),
    Route("POST", "applications/{}/owners/$ref", app_owners.add_to_application),
    Route("DELETE", "applications/{}/owners/{}/$ref", app_owners.remove_from_application),
    Route("POST", "servicePrincipals/{}/owners/$ref", app_owners.add_to_service_principal),
    Route(
        "DELETE",
        "servicePrincipals/{}/owners/{}/$ref",
        app_owners.remove_from_service_principal,
    ),
    Route("POST", "servicePrincipals/{}/appRoleAssignedTo", app_roles.grant_from_resource),
    Route("DELETE", "servicePrincipals/{}/appRoleAssignedTo/{}", app_roles.revoke_from_resource),
    Route("POST", "users/{}/appRoleAssignments", app_roles.grant_to_user),
    Route("DELETE", "users/{}/appRoleAssignments/{}", app_roles.revoke_from_user),
    Route("POST", "groups/{}/appRoleAssignments", app_roles.grant_to_group),
    Route("DELETE", "groups/{}/appRoleAssignments/{}", app_roles.revoke_from_group),
    Route(
        "POST",
        "servicePrincipals/{}/appRoleAssignments",
        app_roles.grant_to_service_principal,
    ),
    Route(
        "DELETE",
        "servicePrincipals/{}/appRoleAssignments/{}",
        app_roles.revoke_from_service_principal,
    ),
    Route("POST", "roleManagement/directory/roleAssignments", role_assignments.assign),
    Route("DELETE", "roleManagement/directory/roleAssignments/{}", role_assignments.remove),
    Route("POST", "users", accounts.create),
    Route("PATCH", "users/{}", accounts.update),
    Route("DELETE", "users/{}", accounts.delete),
    Route("PUT", "users/{}/manager/$ref", accounts.set_manager),
    Route("DELETE", "users/{}/manager/$ref", accounts.remove_manager),
    Route("POST", "directory/deletedItems/{}/restore", accounts.restore),
    Route("DELETE", "directory/deletedItems/{}", accounts.purge),
    Route("POST", "invitations", invitations.create),
    Route("POST", "users/{}/assignLicense", licences.assign_to_user),
    Route("POST", "users/{}/reprocessLicenseAssignment", licences.reprocess),
    Route("POST", "groups/{}/assignLicense", licences.assign_to_group),
    Route("POST", "users/{}/revokeSignInSessions", credentials.revoke_sessions),
    *(
        Route("DELETE", f"users/{{}}/authentication/{name}/{{}}", credentials.delete_method)
        for name in credentials.METHOD_SETS
    ),
    Route("POST", "servicePrincipals/{}/synchronization/jobs/{}/start", synchronization.start),
    Route("DELETE", "groups/{}/members/{}", objects.delete_member_itself),
    Route("DELETE", "groups/{}/owners/{}", objects.delete_member_itself),
    Route("DELETE", "directoryObjects/{}", objects.delete_any),
    *(Route("POST", endpoint.path, endpoint.create) for endpoint in pim.ENDPOINTS),
    *(Route("POST", f"{endpoint.path}/{{}}/cancel", endpoint.cancel) for endpoint in pim.ENDPOINTS),
)

_BY_SHAPE: dict[tuple[str, int], list[tuple[tuple[str, ...], Route]]] = {}
for _route in ROUTES:
    _shape = (_route.method, len(_route.segments))
    _BY_SHAPE.setdefault(_shape, []).append((_route.segments, _route))


class Writes:
    """The writing side of one simulated Graph."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def answer(self, call: Call, segments: Sequence[str]) -> Response | None:
        """Answer a write; None when the path is none. Raises GraphError."""
        found = _match(call.request.method, segments)
        if found is None:
            return None
        route, keys = found
        call.route = route.path.replace("{}", "{id}")
        service = self._service
        service.gates.charge_write(call, _writes(call))
        service.contention.check(call.request.contended)
        write = Write(service, call, keys)
        with service.trail.by(write.initiator(), write.request_id):
            response = route.handler(write)
        response.effects = write.effects
        return response


def _match(method: str, segments: Sequence[str]) -> tuple[Route, tuple[str, ...]] | None:
    parts: list[str] = []
    for segment in segments:
        keyed = _KEYED.match(segment)
        if keyed is not None:
            parts += [keyed.group(1), _key(keyed.group(2))]
        else:
            parts.append(segment.removeprefix(_CAST))
    for pattern, route in _BY_SHAPE.get((method, len(parts)), ()):
        pairs = list(zip(pattern, parts, strict=True))
        if all(want in ("{}", part.lower()) for want, part in pairs):
            return route, tuple(part for want, part in pairs if want == "{}")
    return None


def _key(text: str) -> str:
    """What stands in parentheses: an id without quotes; an alternate key stays as it is."""
    name, equals, value = text.partition("=")
    if equals and "'" not in name:
        return unquote_key(value) if name == "id" else text
    return unquote_key(text)


def _writes(call: Call) -> int:
    """Writes of the quota that a request is."""
    if call.request.method != "PATCH" or b"@odata.bind" not in call.request.body:
        return 1
    body = read_body(call.request)
    bound = sum(
        len(value)
        for name, value in body.items()
        if name.endswith("@odata.bind") and isinstance(value, list)
    )
    return max(1, -(-bound // _PER_WRITE))
