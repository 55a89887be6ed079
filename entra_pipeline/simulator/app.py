"""The ASGI application: sockets on one side, the simulator's parts on the other.

Latency, faults, statistics and the headers of every answer are added here; what a path means is
decided in graph.py, identity.py and control.py.
"""

import asyncio
import random
import socket
import struct
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from entra_pipeline.simulator import batch
from entra_pipeline.simulator.clock import Clock
from entra_pipeline.simulator.contention import Contention, object_of
from entra_pipeline.simulator.control import Control
from entra_pipeline.simulator.errors import GraphError
from entra_pipeline.simulator.exchange.endpoint import PREFIX, Exchange
from entra_pipeline.simulator.faults import Faults
from entra_pipeline.simulator.graph import Graph
from entra_pipeline.simulator.identity import IdentityPlatform
from entra_pipeline.simulator.statistics import Statistics
from entra_pipeline.simulator.wire import Request, Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

TRANSPORT = "entra_pipeline.transport"
"""Scope key under which server.py leaves the connection's transport."""
_LINGER = struct.pack("ii", 1, 0)
_SERVICES = ("/v1.0", "/beta", "/adminapi")
_DIAGNOSTIC = (
    b"x-ms-ags-diagnostic",
    b'{"ServerInfo":{"DataCenter":"Loopback","Slice":"E","Ring":"5","ScaleUnit":"000",'
    b'"RoleInstance":"SIMULATOR"}}',
)


class App:
    """One simulator behind any number of ports."""

    def __init__(
        self,
        graph: Graph,
        identity: IdentityPlatform,
        control: Control,
        faults: Faults,
        statistics: Statistics,
        clock: Clock,
        contention: Contention,
        exchange: Exchange,
    ) -> None:
        self._graph = graph
        self._identity = identity
        self._control = control
        self._faults = faults
        self._statistics = statistics
        self._clock = clock
        self._contention = contention
        self._exchange = exchange
        self._latency = graph.options.latency_ms / 1000
        self._rng = random.Random(graph.options.seed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP exchange."""
        if scope["type"] != "http":
            return
        chunks: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            chunks.append(message.get("body", b""))
            if not message.get("more_body"):
                break
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        request = Request(
            method=scope["method"],
            path=scope["raw_path"].decode("latin-1").partition("?")[0],
            query=scope["query_string"].decode("latin-1"),
            headers=headers,
            body=b"".join(chunks),
            base=f"{scope['scheme']}://{headers.get('host', 'localhost')}",
        )
        if request.path.startswith("/_sim/"):
            response = self._control.answer(request)
        else:
            response = await self._in_turn(request)
        await self._send(scope, request, response, send)

    async def _in_turn(self, request: Request) -> Response:
        """The answer after the latency; what is written to meanwhile is known to others."""
        names: set[str] = set()
        if request.method != "GET":
            if request.path.lower().rstrip("/").endswith("/$batch"):
                names = batch.written_by(request)
            else:
                name = object_of(request.method, request.path)
                names = {name} if name is not None else set()
        request.contended = self._contention.enter(names)
        try:
            if self._latency:
                await asyncio.sleep(self._latency)
            return await self._answer(request)
        finally:
            self._contention.leave(names)

    async def _answer(self, request: Request) -> Response:
        is_graph = request.path.startswith(_SERVICES)
        if is_graph:
            self._statistics.round_trips += 1
        response = await self._with_faults(request)
        if is_graph:
            self._statistics.bytes += len(response.body)
        return response

    async def _with_faults(self, request: Request) -> Response:
        """The true answer, unless rules say otherwise. Batch items come through here too."""
        if not self._faults.rules:
            return await self._truth(request)
        fault = self._faults.find(request.method, request.target, request.body)
        if fault is None:
            return await self._with_effect_faults(request, await self._truth(request))
        if fault.delay_ms:
            await asyncio.sleep(fault.delay_ms / 1000)
        if fault.before is not None:
            response = self._faults.apply(fault.before, None, request.base)
            response.route = f"{request.method} (fault)"
            if request.path.startswith(_SERVICES):
                self._statistics.count(response)
            if fault.before.later:
                self._carry_out_later(request, fault.before.delay_ms / 1000)
        else:
            response = await self._with_effect_faults(request, await self._truth(request))
        for rule in fault.after:
            response = self._faults.apply(rule, response, request.base)
        return response

    async def _with_effect_faults(self, request: Request, response: Response) -> Response:
        """The answer, unless the request changed something and rules for that say otherwise."""
        if not response.effects:
            return response
        for rule in self._faults.effective(request.method, request.target, request.body):
            if rule.delay_ms:
                await asyncio.sleep(rule.delay_ms / 1000)
            response = self._faults.apply(rule, response, request.base)
        return response

    def _carry_out_later(self, request: Request, delay_s: float) -> None:
        """The request was answered for, and has its effect all the same."""
        service = self._exchange if request.path.lower().startswith(PREFIX) else self._graph
        asyncio.get_running_loop().call_later(delay_s, service.handle, request)

    async def _truth(self, request: Request) -> Response:
        if request.path.lower().startswith(PREFIX):
            response = self._exchange.handle(request)
            self._statistics.count(response)
            return response
        if request.path.startswith(("/v1.0", "/beta")):
            if not request.in_batch and request.path.lower().rstrip("/").endswith("/$batch"):
                return await self._batch(request)
            response = self._graph.handle(request)
            self._statistics.count(response)
            return response
        answer = self._identity.answer(
            request.method,
            request.path,
            request.query,
            request.headers,
            request.body,
            request.base,
        )
        if answer is not None:
            self._statistics.identity_requests += 1
            return answer
        return self._graph.handle(request)

    async def _batch(self, request: Request) -> Response:
        spoiled: list[Response] = []

        async def send(item: Request) -> Response:
            response = await self._with_faults(item)
            if response.reset or response.truncate_at is not None:
                spoiled.append(response)
            return response

        try:
            request.caller = self._identity.caller(request.headers)
            if request.method != "POST":
                raise GraphError(405, "Request_BadRequest", "Specified HTTP method is not allowed.")
            response = await batch.answer(request, send, self._rng)
        except GraphError as error:
            request_id = str(uuid.uuid4())
            response = error.response(
                self._clock.now().strftime("%Y-%m-%dT%H:%M:%S"),
                request_id,
                request.headers.get("client-request-id", request_id),
            )
            response.route = "POST /$batch"
            self._statistics.count(response)
        for each in spoiled:
            # An item has no connection of its own: what cuts it cuts the whole answer.
            response.reset |= each.reset
            if each.truncate_at is not None:
                response.truncate_at = each.truncate_at
        return response

    async def _send(self, scope: Scope, request: Request, response: Response, send: Send) -> None:
        transport: asyncio.Transport = scope[TRANSPORT]
        if response.reset:
            _reset(transport)
            return
        client_request_id = request.headers.get("client-request-id")
        sent = response.headers
        request_id = sent.pop("request-id", None) or str(uuid.uuid4())
        headers: list[tuple[bytes, bytes]] = [
            (b"content-type", response.content_type.encode("latin-1")),
            (b"content-length", b"%d" % len(response.body)),
            (b"date", self._clock.http_date()),
            (b"cache-control", b"no-cache"),
            (b"odata-version", b"4.0"),
            (b"request-id", request_id.encode()),
            (b"client-request-id", (client_request_id or request_id).encode("latin-1")),
            _DIAGNOSTIC,
        ]
        headers += [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in sent.items()
        ]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        if response.truncate_at is not None:
            part = response.body[: response.truncate_at]
            await send({"type": "http.response.body", "body": part, "more_body": True})
            transport.close()
            return
        await send({"type": "http.response.body", "body": response.body})


def _reset(transport: asyncio.Transport) -> None:
    """Close the connection with RST, so that the client sees a reset and no orderly end."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
    transport.abort()
