"""What Exchange's answers and refusals mean: a pure function of status, headers and body.

Exchange tells what went wrong in the message's own text, as `…|Exception.Class|text`, and says so
most exactly in `details`. The class decides more reliably than the status: one and the same class
comes with several.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from entra_pipeline.msgraph.errors import (
    AuthenticationError,
    BadRequestError,
    ForbiddenError,
    ForeignLinkError,
    GraphError,
    NotFoundError,
    ServerError,
    ThrottledError,
    path_template,
    redact,
)

ALREADY_MEMBER: Final = "MemberAlreadyExistsException"
NOT_A_MEMBER: Final = "MemberNotFoundException"
NO_OBJECT: Final = "ManagementObjectNotFoundException"
NOT_CONFIGURED: Final = "ExchangeNotConfigured"

_CLASS: Final = re.compile(r"^[A-Za-z0-9]*\|((?:\w+\.)*\w+)\|(.*)$", re.DOTALL)
_FORBIDDEN: Final = frozenset(
    {
        "CommandNotFoundException",
        "OperationRequiresGroupManagerException",
        "UnauthorizedAccessException",
        "CmdletAccessDeniedException",
    }
)
"""The caller's role lacks the command, or the right to bypass the managers."""
_TRANSIENT: Final = re.compile(r"Transient|ServerBusy|TooBusy|Timeout|Unavailable|OverBudget")


class NotConfiguredError(GraphError):
    """Exchange is not set up here (ENTRA_EXCHANGE): nothing was asked."""


class _Detail(msgspec.Struct):
    message: str | None = None


class _Internal(msgspec.Struct):
    message: str | None = None


class _Inner(msgspec.Struct):
    internalexception: _Internal | None = None
    internalException: _Internal | None = None  # noqa: N815 - Exchange writes both


class _Error(msgspec.Struct):
    code: str | None = None
    message: str | None = None
    details: list[_Detail] | None = None
    innererror: _Inner | None = None


class _Envelope(msgspec.Struct):
    error: _Error | None = None


_envelope = msgspec.json.Decoder(_Envelope, strict=False)


def not_configured(method: str = "POST") -> NotConfiguredError:
    """The error of everything that Exchange would be needed for."""
    return NotConfiguredError(
        NOT_CONFIGURED,
        method=method,
        path_template="Exchange Online",
        detail="Exchange is not configured here (ENTRA_EXCHANGE)",
    )


def classify(
    status: int, headers: Mapping[str, str], body: bytes, *, method: str, path: str
) -> GraphError:
    """The error that an answer with a status of 300 or more means. Its text names nobody."""
    found = _parse(body)
    code, said = _most_specific(found)
    kind = _kind(status, code)
    return kind(
        code or found.code or f"HTTP{status}",
        status=status,
        request_id=_plain(headers.get("request-id")),
        method=method,
        path_template=path_template(path),
        detail=redact(said),
    )


def _parse(body: bytes) -> _Error:
    try:
        return _envelope.decode(body).error or _Error()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Error()


def _most_specific(error: _Error) -> tuple[str | None, str]:
    """The exception's class without its namespace, and its text."""
    inner = error.innererror
    internal = inner and (inner.internalexception or inner.internalException)
    texts = [each.message for each in error.details or ()]
    texts += [internal.message if internal else None, error.message]
    for text in texts:
        if text and (match := _CLASS.match(text.strip())):
            return match[1].rpartition(".")[2], match[2]
    return None, next((text for text in texts if text), "")


def _kind(status: int, code: str | None) -> type[GraphError]:
    if 300 <= status < 400:
        return ForeignLinkError
    if status == 429:
        return ThrottledError
    if status == 401:
        return AuthenticationError
    if code in _FORBIDDEN or status == 403:
        return ForbiddenError
    if code == NO_OBJECT:
        return NotFoundError
    if code in (ALREADY_MEMBER, NOT_A_MEMBER):
        return BadRequestError
    if code is not None and _TRANSIENT.search(code):
        return ServerError
    if status >= 500 or status in (408, 424):
        return ServerError
    # A 404 without a class is the front door's: it says nothing of any object.
    return BadRequestError


def _plain(value: str | None) -> str | None:
    return value if value and re.fullmatch(r"[A-Za-z0-9-]{1,64}", value) else None
