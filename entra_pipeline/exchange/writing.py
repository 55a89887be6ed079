"""Commands that change something: each sent once, and told apart by what is known of its effect.

As `msgraph.writing` for Graph: a command whose answer was lost may have been carried out and is
never sent again from here. A redirect, throttling and a token that is no longer good are answers of
somebody who did nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from entra_pipeline.msgraph.auth import TokenSource
from entra_pipeline.msgraph.errors import (
    AuthenticationError,
    BadRequestError,
    ForbiddenError,
    ForeignLinkError,
    GraphError,
    NotFoundError,
    ThrottledError,
)
from entra_pipeline.msgraph.writing import GaveUpError, Write, Written

_NOT_DONE = (
    AuthenticationError,
    BadRequestError,
    ForbiddenError,
    ForeignLinkError,
    NotFoundError,
    ThrottledError,
)


class CommandWriter:
    """Sends commands one after the other: Exchange has no batches.

    `before` is called before each, and stops everything by raising: the kill switch.
    """

    def __init__(
        self, send: Callable[..., Any], tokens: TokenSource, before: Callable[[], None]
    ) -> None:
        self._send = send
        self._tokens = tokens
        self._before = before

    def write(self, writes: Sequence[Write], *, table: str = "provisioning") -> list[Written]:
        """Commands (`url` their names, `body` their parameters); results in their order.

        Never raises for what Exchange or the network do. Raises what `before` raises when nothing
        was sent yet; after that, what was held up comes back with `happened` False.
        """
        found: list[Written] = []
        for write in writes:
            try:
                self._before()
            except Exception:
                if not found:
                    raise
                break
            found.append(self._one(write, table))
        found += [_held_up(write) for write in writes[len(found) :]]
        return found

    def _one(self, write: Write, table: str) -> Written:
        try:
            self._tokens.token()
        except GraphError as error:
            return Written(write.id, 0, b"", error, False)
        try:
            status, body = self._send(
                write.url,
                write.body or {},
                table=table,
                decode=lambda answer: (answer.status, answer.body),
                repeatable=False,
                request_id=write.request_id,
            )
        except GraphError as error:
            happened = False if isinstance(error, _NOT_DONE) else None
            return Written(write.id, error.status or 0, b"", error, happened)
        return Written(write.id, status, body, None, True)


def _held_up(write: Write) -> Written:
    error = GaveUpError(
        "Stopped", method="POST", path_template=write.url, detail="stopped before it was sent"
    )
    return Written(write.id, 0, b"", error, False)
