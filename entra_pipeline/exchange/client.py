"""Commands of Exchange Online, sent as its PowerShell module sends them, and their answers read.

Belongs here: one command's request, pages, redirects, the token. Does not belong here: what a
membership is, and whether anything may be written (`provisioning`).

`POST {exchange}/adminapi/beta/{tenant}/InvokeCommand` is what Microsoft's own module speaks; it is
not documented, and there is no documented way to change who is in a list. The application needs
`Exchange.ManageAsApp` of *Office 365 Exchange Online* and a directory role.

Source: https://learn.microsoft.com/powershell/exchange/app-only-auth-powershell-v2 (permission and
roles), https://learn.microsoft.com/powershell/module/exchange (commands).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

import msgspec
import requests

from entra_pipeline.clouds import CLOUDS
from entra_pipeline.exchange.answers import classify
from entra_pipeline.exchange.places import Places
from entra_pipeline.exchange.writing import CommandWriter
from entra_pipeline.msgraph.auth import Claims, MsalTokens, TokenSource, decode_claims
from entra_pipeline.msgraph.budget import Service
from entra_pipeline.msgraph.clock import SYSTEM, Clock
from entra_pipeline.msgraph.errors import (
    GraphError,
    MalformedAnswerError,
    RepeatingLinkError,
    path_template,
)
from entra_pipeline.msgraph.meter import Meter
from entra_pipeline.msgraph.sender import Answer, Request, RetryPolicy, Sender
from entra_pipeline.msgraph.transport import SessionFactory, session_factory
from entra_pipeline.settings import Auth, Settings, SettingsError

PAGE: Final = 1000
"""Rows on a page, the most that Exchange gives."""
MAX_PAGES: Final = 10_000
_ANCHOR: Final = "SystemMailbox{bb558c35-97f1-4cb9-8ff7-d53741dc928c}"
"""The mailbox that requests of an application are routed by."""
_GUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")

Row = dict[str, Any]


class _Page(msgspec.Struct):
    value: list[Row] | None = None
    next_link: str | None = msgspec.field(default=None, name="@odata.nextLink")


_page = msgspec.json.Decoder(_Page)


class ExchangeClient:
    """Exchange Online's commands. All methods may be called from any thread.

    Every method raises the errors of `entra_pipeline.msgraph.errors`, whose codes are the classes
    that PowerShell would throw.
    """

    def __init__(
        self,
        exchange_url: str,
        tenant_id: str,
        tokens: TokenSource,
        session: requests.Session,
        *,
        clock: Clock = SYSTEM,
        retries: RetryPolicy | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._front = f"{exchange_url}/adminapi/beta/{tenant_id}/InvokeCommand"
        self._url = self._front
        self._places = Places(exchange_url)
        self._tenant_id = tenant_id
        self._tokens = tokens
        self._sender = Sender(
            tokens,
            session,
            clock=clock,
            retries=retries or RetryPolicy(),
            units_per_10s=8000,
            rng=rng or random.Random(),  # noqa: S311 - jitter
        )
        self.meter: Meter = self._sender.meter

    @classmethod
    def from_settings(
        cls, settings: Settings, *, clock: Clock = SYSTEM, sessions: SessionFactory | None = None
    ) -> Self:
        """A client by the settings; nothing is sent before the first command.

        Raises SettingsError when the credential cannot be used, or is a signed-in user's.
        """
        if settings.auth_kind is Auth.DEVICE_CODE:
            raise SettingsError(
                [
                    "ENTRA_EXCHANGE: Exchange is managed by an application with a secret, a "
                    "certificate or an identity of its own, not by a signed-in user. Set another "
                    "ENTRA_AUTH, or remove ENTRA_EXCHANGE."
                ]
            )
        make = sessions or session_factory(settings)
        # The token is for the cloud's Exchange, also where its address was replaced.
        resource = CLOUDS[settings.cloud].exchange_url
        return cls(
            settings.endpoints.exchange_url,
            settings.tenant_id,
            MsalTokens(settings, make(), clock, resource=resource),
            make(),
            clock=clock,
            retries=RetryPolicy(
                attempts=settings.max_attempts,
                throttled_attempts=4 * settings.max_attempts,
                wait_s=settings.max_wait_seconds,
            ),
        )

    # ---- commands ------------------------------------------------------------------------------

    def of(
        self,
        command: str,
        identity: str,
        parameters: Mapping[str, Any],
        *,
        table: str,
        by: str = "Identity",
    ) -> list[Row]:
        """All rows of a Get- command for one object, named by its object id; `by`: the parameter
        that takes it.

        An Identity that is null or empty would mean every object there is, so that anything but an
        object id raises ValueError and is not sent.
        """
        if not _GUID.fullmatch(identity):
            raise ValueError(f"{command}: {identity!r} is not an object id")
        return self._rows(command, {**parameters, by: identity}, table)

    def everything(self, command: str, parameters: Mapping[str, Any], *, table: str) -> list[Row]:
        """All rows of a Get- command for every object there is."""
        return self._rows(command, {**parameters, "ResultSize": "Unlimited"}, table)

    def writer(self, before: Callable[[], None]) -> CommandWriter:
        """What sends commands that change something; `before` is its kill switch."""
        return CommandWriter(self._send, self._tokens, before)

    def token_claims(self) -> Claims:
        """What the current token says, for diagnostics."""
        return decode_claims(self._tokens.token())

    def close(self) -> None:
        """End pauses of all threads (their requests fail) and close the connections."""
        self._sender.close()

    # ---- requests ------------------------------------------------------------------------------

    def _rows(self, command: str, parameters: Mapping[str, Any], table: str) -> list[Row]:
        rows: list[Row] = []
        seen: set[str] = set()
        link: str | None = None
        while True:
            page = self._send(
                command, parameters, table=table, link=link, decode=lambda a: _decoded(command, a)
            )
            rows += page.value or ()
            if page.next_link is None:
                return rows
            # The same body once more, to the next link.
            link = self._places.checked(page.next_link, self._url)
            if link in seen or len(seen) >= MAX_PAGES:
                raise RepeatingLinkError(
                    "RepeatingLink",
                    method="POST",
                    path_template=command,
                    detail="a next link came twice, or pages have no end",
                )
            seen.add(link)

    def _send(
        self,
        command: str,
        parameters: Mapping[str, Any],
        *,
        table: str,
        decode: Callable[[Answer], Any],
        link: str | None = None,
        repeatable: bool = True,
        request_id: str | None = None,
    ) -> Any:
        body = {"CmdletInput": {"CmdletName": command, "Parameters": dict(parameters)}}
        request = Request(
            method="POST",
            url=link or self._url,
            path=f"/InvokeCommand/{command}",
            table=table,
            service=Service.EXCHANGE,
            units=1,
            body=msgspec.json.encode(body),
            repeatable=repeatable,
            request_id=request_id,
            headers={
                "Content-Type": "application/json; charset=utf-8",
                "Prefer": f"odata.maxpagesize={PAGE}",
                "X-ResponseFormat": "json",
                "X-AnchorMailbox": f"APP:{_ANCHOR}@{self._tenant_id}",
            },
            follow=self._follow if link is None else self._follow_page,
            errors=classify,
        )
        try:
            return self._sender.send(request, decode)
        except GraphError:
            self._url = self._front  # the tenant's own place may have moved
            raise

    def _follow(self, location: str) -> str:
        """The tenant's own place, which is asked directly from then on."""
        self._url = self._places.checked(location, self._url)
        return self._url

    def _follow_page(self, location: str) -> str:
        return self._places.checked(location, self._url)


def _decoded(command: str, answer: Answer) -> _Page:
    try:
        return _page.decode(answer.body)
    except msgspec.DecodeError:
        raise MalformedAnswerError(
            "MalformedAnswer",
            method="POST",
            path_template=path_template(f"/InvokeCommand/{command}"),
            detail="the answer is not what Exchange gives",
        ) from None


__all__ = ["ExchangeClient", "Row"]
