"""Answering one object: its properties, what is expanded, its context.

Which object a path means is found in graph.py and keys.py; lists are answered in listing.py.
"""

from collections.abc import Callable

from entra_pipeline.simulator import roles
from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.errors import bad_request, not_found
from entra_pipeline.simulator.gates import Call, Gates
from entra_pipeline.simulator.listing import check_expand, check_sign_in_activity, shows_types
from entra_pipeline.simulator.model import Options
from entra_pipeline.simulator.odata.query import Query
from entra_pipeline.simulator.projection import Encoders
from entra_pipeline.simulator.wire import JsonObject, Request, Response, encode_json


class Objects:
    """Answers with single objects of one tenant."""

    def __init__(
        self, directory: Directory, options: Options, gates: Gates, encoders: Encoders
    ) -> None:
        self._directory = directory
        self._options = options
        self._gates = gates
        self._encoders = encoders

    def answer(
        self,
        call: Call,
        query: Query,
        kind: str,
        obj: JsonObject,
        context: str,
        *,
        base_units: int = 1,
        expand: frozenset[str] = frozenset(),
        odata_type: str | None = None,
        collection: str | None = None,
    ) -> Response:
        """The object as JSON, with its context. Raises GraphError."""
        request, caller = call.request, call.request.caller
        bucket = None
        if "signInActivity" in (query.select or ()) and kind == "user":
            bucket = "sign_in_activity"
        elif "keyCredentials" in (query.select or ()):
            bucket = "key_credentials"
        self._gates.charge(call, query, base_units, bucket)
        if bucket == "sign_in_activity":
            check_sign_in_activity(caller, self._options)
        for option in ("filter", "search", "orderby", "top", "skip", "skiptoken"):
            if getattr(query, option) is not None:
                raise bad_request(f"The query option '${option}' is not allowed here.")
        check_expand(query, expand, kind)
        types = shows_types(request)
        undeclared = self._encoders.undeclared(collection, kind) if collection else frozenset()
        encode: Callable[[JsonObject], bytes] = self._encoders.rows(
            kind,
            query.select,
            undeclared=undeclared,
            single=True,
            odata_type=odata_type,
            types=types,
        ).encode
        if query.expand:
            encode = self._encoders.expanding(
                encode,
                kind,
                query.expand[0],
                granted=caller.permissions,
                hidden=caller.hidden_kinds,
                types=types,
            )
        selected = f"({','.join(query.select)})" if query.select else ""
        return with_context(request, encode(obj), f"{context}{selected}/$entity", types)

    def of_any_kind(self, call: Call, query: Query, object_id: str) -> Response:
        """The target of a navigation to one directory object."""
        found = roles.find(self._directory, object_id)
        self._gates.charge(call, query, 1, None)
        if found is None:
            raise not_found(object_id)
        request, caller = call.request, call.request.caller
        types = shows_types(request)
        body = self._encoders.mixed(query.select, caller.hidden_kinds, types).encode(object_id)
        return with_context(request, body, "directoryObjects/$entity", types)


def with_context(request: Request, body: bytes, context: str, types: bool) -> Response:
    """An encoded object with the context that its metadata level wants."""
    if not types:
        return Response(body=body)
    version = request.path.split("/", 2)[1]
    url = encode_json(f"{request.base}/{version}/$metadata#{context}")
    comma = b"" if len(body) == 2 else b","
    return Response(body=b'{"@odata.context":' + url + comma + body[1:])
