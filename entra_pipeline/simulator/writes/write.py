"""One write on its way: who asks, what the body says, what is changed, what is answered.

Here: what the handlers in this folder share. A handler checks everything first and changes the
directory last, so that a refused write leaves nothing behind. Not here: what a kind of write needs
or refuses.
"""

import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from entra_pipeline.simulator.changes.base import Session
from entra_pipeline.simulator.clock import Clock
from entra_pipeline.simulator.contention import Contention
from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.entity_sets import BY_TYPE
from entra_pipeline.simulator.errors import GraphError, bad_request, denied, no_segment, not_found
from entra_pipeline.simulator.gates import Call, Gates
from entra_pipeline.simulator.identity import Caller
from entra_pipeline.simulator.keys import GUID, by_alternate
from entra_pipeline.simulator.listing import shows_types
from entra_pipeline.simulator.logs.entries import by_application, by_user
from entra_pipeline.simulator.logs.trail import Trail
from entra_pipeline.simulator.model import License, Options
from entra_pipeline.simulator.objects import with_context
from entra_pipeline.simulator.permissions import Acceptable, suffices
from entra_pipeline.simulator.projection import Encoders
from entra_pipeline.simulator.replication import Replication
from entra_pipeline.simulator.wire import JsonObject, Request, Response, decode_json, encode_json
from entra_pipeline.simulator.writes.effects import Effects


@dataclass
class Service:
    """What all writes of one simulator share."""

    directory: Directory
    clock: Clock
    options: Options
    gates: Gates
    encoders: Encoders
    trail: Trail
    effects: Effects
    rng: random.Random
    replication: Replication
    contention: Contention
    state: dict[str, Any] = field(default_factory=dict)
    """What modules keep beside the directory, by the module's name."""


class Write:
    """One request that changes the directory."""

    def __init__(self, service: Service, call: Call, keys: tuple[str, ...]) -> None:
        self.service = service
        self.directory = service.directory
        self.options = service.options
        self.call = call
        self.request: Request = call.request
        self.caller: Caller = call.request.caller
        self.keys = keys
        """What the route's placeholders stand for."""
        self.request_id = self.request.headers.get("client-request-id") or str(uuid.uuid4())
        self.session = Session(
            service.directory, service.rng, service.clock.now(), service.trail.observe
        )
        self.view = service.replication.view()
        """The replica that finds the objects: behind `directory` while changes travel."""
        self.effects = 0
        self._body: JsonObject | None = None

    # What was asked

    @property
    def body(self) -> JsonObject:
        """The JSON object that was sent. Raises GraphError 400 when there is none."""
        if self._body is None:
            self._body = read_body(self.request)
        return self._body

    @property
    def stamp(self) -> str:
        """Now, as Graph writes it."""
        return self.service.clock.stamp()

    def need(self, acceptable: Acceptable, license_need: License = "free") -> None:
        """403 unless the caller holds one of the permissions; 400 or 403 without the licence."""
        self.service.gates.allow(self.request, acceptable, license_need)

    def holds(self, acceptable: Acceptable) -> bool:
        """Whether the caller holds one of the permissions."""
        return suffices(self.caller.permissions, acceptable)

    def not_in(self, clouds: frozenset[str], segment: str) -> None:
        """400 in a cloud that lacks the endpoint."""
        if self.options.cloud in clouds:
            raise no_segment(segment)

    # Finding

    def find(self, object_id: str) -> tuple[str, JsonObject]:
        """Collection and object of a directory object; 404 if gone, or not replicated yet."""
        key = object_id.lower()
        seen = self.view.find(key)
        found = self.directory.find(key) if seen is not None else None
        if found is None:
            raise not_found(object_id)
        return found

    def get(self, collection: str, key: str) -> JsonObject:
        """An object of a collection by its id; 404 if gone, or not replicated yet.

        Users also by their principal name.
        """
        found = None
        if collection == "users" and not GUID.match(key):
            user = by_alternate(self.view, BY_TYPE["user"], "userPrincipalName", key)
            if user is None:
                raise not_found(key)
            key = user["id"]
        for name in (key, key.lower()):
            if name in self.view.collection(collection):
                found = self.directory.collection(collection).get(name)
        if found is None:
            if collection in self.directory.kinds and not GUID.match(key):
                raise bad_request(f"Invalid object identifier '{key}'.")
            raise not_found(key)
        return found

    # Changing

    def effect(self, kind: str, target: str, principal: str | None = None, **details: Any) -> None:
        """Write down one thing that this request has changed."""
        self.effects += 1
        self.service.effects.add(
            self.stamp,
            kind,
            target,
            principal,
            self.request_id,
            self.caller.app_id,
            details,
        )

    def initiator(self) -> JsonObject:
        """Who this is, as the log names it."""
        users = self.directory.collection("users")
        if self.caller.user_id in users:
            return by_user(users[self.caller.user_id], self.service.rng)
        known = self.directory.collection("service_principals").get(self.caller.principal_id)
        return by_application(
            known
            or {
                "id": self.caller.principal_id,
                "appId": self.caller.app_id,
                "displayName": "entra_pipeline",
            }
        )

    # Answering

    def no_content(self) -> Response:
        """204."""
        return Response(status=204, content_type="text/plain")

    def entity(
        self,
        kind: str,
        obj: JsonObject,
        context: str,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """The object with the properties that Graph returns when nothing is selected."""
        types = shows_types(self.request)
        encode = self.service.encoders.rows(kind, None, single=True, types=types).encode
        response = with_context(self.request, encode(obj), f"{context}/$entity", types)
        response.status = status
        response.headers.update(headers or {})
        return response

    def document(self, document: JsonObject, status: int = 200) -> Response:
        """Any JSON."""
        return Response(status=status, body=encode_json(document))

    def root(self) -> str:
        """Address of this version of Graph."""
        return f"{self.request.base}/{self.request.path.split('/', 2)[1]}"


def read_body(request: Request) -> JsonObject:
    """The JSON object in a request's body. Raises GraphError 400."""
    media = request.headers.get("content-type", "")
    if request.body and not media.lower().startswith("application/json"):
        raise bad_request(
            "Write requests (excluding DELETE) must contain the Content-Type header declaration.",
            "RequestBroker--ParseUri" if not media else "BadRequest",
        )
    try:
        document = decode_json(request.body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise bad_request("Unable to read JSON request payload.", "BadRequest")
    return document


def text_of(body: JsonObject, name: str, resource: str) -> str:
    """A required text of the body. Raises GraphError 400."""
    value = body.get(name)
    if value is None or value == "":
        raise bad_request(f"A value is required for property '{name}' of resource '{resource}'.")
    if not isinstance(value, str):
        raise invalid_value(name, resource)
    return value


def guid_of(body: JsonObject, name: str, resource: str) -> str:
    """A required GUID of the body, in lower case. Raises GraphError 400."""
    value = text_of(body, name, resource)
    if not GUID.match(value):
        raise invalid_value(name, resource)
    return value.lower()


def invalid_value(name: str, resource: str) -> GraphError:
    """400 for a value of the wrong form."""
    return bad_request(f"Invalid value specified for property '{name}' of resource '{resource}'.")


def conflict(message: str, target: str) -> GraphError:
    """400 for a value that another object has already."""
    return GraphError(
        400,
        "Request_BadRequest",
        message,
        details=[{"code": "ObjectConflict", "message": message, "target": target}],
    )


__all__ = [
    "GraphError",
    "Service",
    "Write",
    "bad_request",
    "conflict",
    "denied",
    "guid_of",
    "invalid_value",
    "not_found",
    "read_body",
    "text_of",
]
