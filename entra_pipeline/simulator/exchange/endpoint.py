"""`POST /adminapi/{version}/{tenant}/InvokeCommand`, as HTTP sees it.

Here: the token, the roles, the envelope, paging by sending the same body to the next link, and the
front door that redirects to a tenant's own place. Not here: what commands do (`cmdlets`).
Nothing of this is documented by Microsoft; it is what Exchange's own PowerShell module speaks.
"""

import secrets
import uuid
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from entra_pipeline.simulator.errors import GraphError
from entra_pipeline.simulator.exchange import refusals
from entra_pipeline.simulator.exchange.cmdlets import COMMANDS, Command, Known
from entra_pipeline.simulator.exchange.lists import Lists
from entra_pipeline.simulator.identity import Caller, IdentityPlatform
from entra_pipeline.simulator.wire import JsonObject, Request, Response, decode_json, encode_json
from entra_pipeline.simulator.writes.write import Service

PREFIX: Final = "/adminapi/"
MANAGE: Final = "Exchange.ManageAsApp"
WRITING: Final = frozenset(
    {
        "62e90394-69f5-4237-9190-012177145e10",  # Global Administrator
        "29232cdf-9323-42fd-ade2-1d097af3e4de",  # Exchange Administrator
    }
)
READING: Final = WRITING | {"f2ef992c-3afb-46b9-b7cf-a126ee74c451"}  # Global Reader
_VERSIONS: Final = frozenset({"beta", "v1.0"})
_MOST: Final = 1000
"""Rows on a page."""
_NAMES: Final = {"localhost": "127.0.0.1", "127.0.0.1": "localhost"}
"""Another name of this machine, which stands for the tenant's own place."""


class Exchange:
    """Exchange's administration of one tenant."""

    def __init__(
        self,
        service: Service,
        identity: IdentityPlatform,
        lists: Lists,
        *,
        redirects: bool,
    ) -> None:
        self._service = service
        self._identity = identity
        self._lists = lists
        self._redirects = redirects
        self._pages: dict[str, tuple[list[JsonObject], bytes]] = {}

    def handle(self, request: Request) -> Response:
        """Answer a request below `/adminapi/`."""
        route = "InvokeCommand"
        try:
            self._lists.tick()
            name, response = self._answer(request)
            route = f"InvokeCommand {name}"
        except refusals.ExchangeError as error:
            response = error.response()
        response.route = f"{request.method} /adminapi/{route}"
        return response

    def _answer(self, request: Request) -> tuple[str, Response]:
        parts = request.path.strip("/").split("/")
        tenant = self._service.directory.tenant.tenant_id
        if len(parts) != 4 or parts[1].lower() not in _VERSIONS or parts[3] != "InvokeCommand":
            raise refusals.ExchangeError(404, "NotFound", "System.Exception", "No such resource.")
        caller = self._caller(request)
        domains = self._service.directory.collection("domains")
        if parts[2].lower() not in {tenant.lower(), *(each.lower() for each in domains)}:
            raise refusals.unauthenticated()
        if request.method != "POST":
            raise refusals.ExchangeError(405, "Invalid", "System.Exception", "Use POST.")
        if self._redirects and (elsewhere := self._elsewhere(request)) is not None:
            return "redirect", Response(
                status=302, headers={"Location": elsewhere}, content_type="text/html"
            )
        if not request.headers.get("content-type", "").lower().startswith("application/json"):
            raise refusals.bad_input("The request's content type is not supported.")
        name, parameters = _input(request.body)
        known = COMMANDS.get(name.lower())
        roles = caller.roles | self._held(caller)
        if not roles & READING:
            raise refusals.no_role(caller.app_id)
        if known is None or (known.writes and not roles & WRITING):
            raise refusals.unknown_command(name)
        return name, self._run(request, caller, name, known, parameters)

    def _caller(self, request: Request) -> Caller:
        try:
            caller = self._identity.caller(request.headers, "exchange")
        except GraphError:
            raise refusals.unauthenticated() from None
        if MANAGE not in caller.permissions:
            raise refusals.unauthenticated()
        return caller

    def _held(self, caller: Caller) -> frozenset[str]:
        rows = self._service.directory.grouped("role_assignments", "principalId")
        return frozenset(
            row["roleDefinitionId"]
            for row in rows.get(caller.principal_id, ())
            if row.get("directoryScopeId") == "/"
        )

    @staticmethod
    def _elsewhere(request: Request) -> str | None:
        """The same address at the tenant's own place; None when it was asked there."""
        parts = urlsplit(request.base)
        if parts.hostname != "localhost":
            return None
        return f"{parts.scheme}://{_NAMES['localhost']}:{parts.port}{request.target}"

    def _run(
        self, request: Request, caller: Caller, name: str, known: Known, parameters: JsonObject
    ) -> Response:
        if unknown := known.unknown(parameters):
            raise refusals.bad_input(
                f"A parameter cannot be found that matches parameter name '{unknown[0]}'."
            )
        query = dict(parse_qsl(request.query))
        warnings: list[str] = []
        effects = 0
        if (token := query.get("$skiptoken")) is not None:
            rows, body = self._pages.get(token, ([], b""))
            if body != request.body:
                raise refusals.bad_input("The skip token does not belong to this command.")
        else:
            request_id = request.headers.get("client-request-id") or str(uuid.uuid4())

            def effect(kind: str, target: str, principal: str) -> None:
                nonlocal effects
                effects += 1
                service = self._service
                service.effects.add(
                    service.clock.stamp(),
                    kind,
                    target,
                    principal,
                    request_id,
                    caller.app_id,
                    {},
                )

            command = Command(
                name,
                parameters,
                self._service.directory,
                self._lists,
                effect,
                caller.principal_id,
                request_id,
            )
            rows, warnings = known.run(command), command.warnings
        response = self._page(request, query, rows, warnings)
        response.effects = effects
        return response

    def _page(
        self,
        request: Request,
        query: Mapping[str, str],
        rows: list[JsonObject],
        warnings: list[str],
    ) -> Response:
        size = _page_size(request.headers.get("prefer", ""))
        page, rest = rows[:size], rows[size:]
        if selected := query.get("$select"):
            names = {each.strip() for each in selected.split(",")}
            page = [{key: row[key] for key in row if key in names} for row in page]
        document: dict[str, Any] = {
            "@odata.context": f"{request.base}/adminapi/beta/$metadata#Collection(Exchange)",
            "value": page,
        }
        if warnings:
            document["@adminapi.warnings"] = warnings
        if rest:
            token = secrets.token_urlsafe(24)
            self._pages[token] = (rest, request.body)
            more = f"$select={selected}&" if selected else ""
            document["@odata.nextLink"] = f"{request.base}{request.path}?{more}$skiptoken={token}"
        return Response(body=encode_json(document), content_type="application/json; charset=utf-8")


def _page_size(prefer: str) -> int:
    for part in prefer.split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() == "odata.maxpagesize" and value.isdigit():
            return min(max(int(value), 1), _MOST)
    return _MOST


def _input(body: bytes) -> tuple[str, JsonObject]:
    try:
        document = decode_json(body)
        wanted = document["CmdletInput"]
        name, parameters = wanted["CmdletName"], wanted.get("Parameters") or {}
    except (ValueError, KeyError, TypeError):
        raise refusals.bad_input("The request's body is not a CmdletInput.") from None
    if not isinstance(name, str) or not isinstance(parameters, dict):
        raise refusals.bad_input("The request's body is not a CmdletInput.")
    return name, parameters
