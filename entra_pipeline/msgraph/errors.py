"""What can go wrong between us and Microsoft Graph, and how an answer is told apart.

    GraphError
    ├── AuthenticationError      no token, or Graph refuses a fresh one
    ├── ForbiddenError           the app lacks a permission (or the object is protected)
    ├── UnlicensedError          the tenant lacks a licence (Entra ID P1, P2, Governance)
    ├── UnsupportedError         this cloud or tenant does not have the API at all
    ├── NotFoundError            the object is not there (or not replicated yet)
    ├── BadRequestError          Graph does not accept the request as written
    ├── ThrottledError           gave up waiting for Graph's throttling to end
    ├── ServerError              Graph kept failing (5xx)
    ├── ConnectionFailedError    no whole answer arrived: reset, timeout, cut body, TLS
    ├── MalformedAnswerError     an answer that is not what Graph sends: not JSON, no `value`
    ├── PageTokenExpiredError    a collection's page token expired more often than allowed
    ├── DeltaTokenExpiredError   the delta link is too old: read the collection in full
    ├── RepeatingLinkError       paging does not advance
    └── ForeignLinkError         a link or redirect leads to another host; no token was sent

Belongs here: the tree, the classification of answers (a pure function), and what makes messages
safe to show: a message carries Graph's code, the request-id, the method and the path with ids
replaced by `{id}`; never a token, never a name or address of a person. Does not belong here:
deciding what to do about an error (`client`).

Source of the codes: https://learn.microsoft.com/graph/errors and the pages of the single APIs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec


class GraphError(Exception):
    """Base of all. Attributes are safe to log.

    code: Graph's own error code, or one of ours in the same style; status: HTTP status or None;
    request_id: Graph's id of the request, for Microsoft's support; path_template: the path with
    ids replaced; detail: Graph's message without ids and names, or our explanation.
    """

    def __init__(
        self,
        code: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        method: str = "GET",
        path_template: str = "",
        detail: str = "",
    ) -> None:
        self.code = code
        self.status = status
        self.request_id = request_id
        self.method = method
        self.path_template = path_template
        self.detail = detail
        super().__init__(self._text())

    def _text(self) -> str:
        text = f"{self.method} {self.path_template}: {self.code}"
        if self.status is not None:
            text += f" (HTTP {self.status})"
        if self.detail:
            text += f": {self.detail}"
        if self.request_id:
            text += f" [request-id {self.request_id}]"
        return text

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions with keyword-only arguments do not survive pickling by themselves, and steps
        # of a run may live in another process.
        return (_rebuild, (type(self), self.__dict__.copy()))


class AuthenticationError(GraphError):
    """No token could be had, or Graph refused a fresh one."""


class ForbiddenError(GraphError):
    """The app lacks a permission, or the object is protected from it."""


class UnlicensedError(GraphError):
    """The tenant lacks a licence that the API needs."""


class UnsupportedError(GraphError):
    """The API does not exist in this cloud or for this tenant."""


class NotFoundError(GraphError):
    """The object does not exist, or is not replicated yet."""


class BadRequestError(GraphError):
    """Graph does not accept the request as it is written; repeating it does not help."""


class ThrottledError(GraphError):
    """Graph's throttling outlasted the attempts or the time that one request may take."""


class ServerError(GraphError):
    """Graph answered with a failure of its own, repeatedly."""


class ConnectionFailedError(GraphError):
    """No whole answer arrived."""


class MalformedAnswerError(GraphError):
    """The answer is not what Graph sends."""


class PageTokenExpiredError(GraphError):
    """A page token expired; the collection has to be read from its first page again."""


class DeltaTokenExpiredError(GraphError):
    """The delta link is no longer valid; the collection has to be read in full."""


class RepeatingLinkError(GraphError):
    """Paging does not advance: a next link came twice, or pages stay empty without end."""


class ForeignLinkError(GraphError):
    """A link or redirect leads to another host; it was not followed and no token was sent."""


def _rebuild(kind: type[GraphError], state: dict[str, Any]) -> GraphError:
    error = kind(
        state["code"],
        status=state["status"],
        request_id=state["request_id"],
        method=state["method"],
        path_template=state["path_template"],
        detail=state["detail"],
    )
    error.__dict__.update(state)
    return error


THROTTLE_CODES = frozenset(
    {
        "TooManyRequests",
        "Request_ThrottledTemporarily",
        "activityLimitReached",
        "RequestThrottled",
        "429",
    }
)
# 424 is how a batch's envelope used to answer when an item in it was throttled.
RETRIED_STATUSES = frozenset({408, 424, 500, 502, 503, 504})
RESYNC_CODES = frozenset({"syncStateNotFound", "resyncRequired", "resyncChangesApplyDifferences"})


class _Inner(msgspec.Struct):
    code: str | None = None
    request_id: str | None = msgspec.field(default=None, name="request-id")


class _Error(msgspec.Struct):
    code: str | None = None
    message: str | None = None
    # Graph writes innerError, other workloads behind it innererror.
    inner_error: _Inner | None = msgspec.field(default=None, name="innerError")
    innererror: _Inner | None = None


class _Envelope(msgspec.Struct):
    error: _Error | None = None


_envelope = msgspec.json.Decoder(_Envelope, strict=False)


def classify(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    method: str,
    path: str,
) -> GraphError:
    """The error that an answer with a status of 300 or more means."""
    error = _parse(body)
    inner = error.inner_error or error.innererror
    codes = [code for code in (error.code, inner.code if inner else None) if code]
    request_id = headers.get("request-id") or (inner.request_id if inner else None)
    message = error.message or ""
    kind = _kind(status, codes, message)
    return kind(
        codes[0] if codes else f"HTTP{status}",
        status=status,
        request_id=_plain(request_id),
        method=method,
        path_template=path_template(path),
        detail=redact(message),
    )


def _parse(body: bytes) -> _Error:
    try:
        return _envelope.decode(body).error or _Error()
    except (msgspec.DecodeError, UnicodeDecodeError):
        # An error page of a proxy, or nothing: the status has to do.
        return _Error()


def _kind(status: int, codes: list[str], message: str) -> type[GraphError]:
    lowered = message.lower()
    if 300 <= status < 400:
        return ForeignLinkError
    if status == 429 or (status >= 400 and not THROTTLE_CODES.isdisjoint(codes)):
        return ThrottledError
    if "Directory_ExpiredPageToken" in codes:
        return PageTokenExpiredError
    if status == 410 or not RESYNC_CODES.isdisjoint(codes):
        return DeltaTokenExpiredError
    if status == 401:
        return AuthenticationError
    if status in {400, 402, 403} and _speaks_of_licence(codes, lowered):
        return UnlicensedError
    if status in {400, 404, 501} and "resource not found for the segment" in lowered:
        return UnsupportedError
    if status == 403:
        return ForbiddenError
    if status == 404:
        return NotFoundError
    if status in RETRIED_STATUSES or (status >= 500 and status != 501):
        return ServerError
    return BadRequestError


def _speaks_of_licence(codes: list[str], lowered: str) -> bool:
    # Authentication_RequestFromNonPremiumTenantOrB2CTenant (reports), AadPremiumLicenseRequired
    # (PIM), and codes of younger APIs in the same words.
    for code in codes:
        low = code.lower()
        if "premium" in low or "license" in low:
            return True
    return "premium license" in lowered or (
        "license" in lowered and ("tenant" in lowered or "governance" in lowered)
    )


_GUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_ADDRESS = re.compile(r"[^\s'\"<>(),;]+@[^\s'\"<>(),;]+")
_TOKEN = re.compile(r"eyJ[\w-]+(?:\.[\w-]*)*")
_QUOTED = re.compile("'[^']*'|\"[^\"]*\"|\u2018[^\u2019]*\u2019|\u201c[^\u201d]*\u201d")
_SCHEMA_MESSAGE = re.compile(
    r"^(Resource not found for the segment|Could not find a property named|"
    r"Parsing OData Select and Expand failed|Invalid filter clause|"
    r"Unsupported or invalid query filter clause)"
)
_NAME = re.compile(r"['\"][A-Za-z][A-Za-z0-9_.]{0,60}['\"]")


def redact(message: str) -> str:
    """Graph's message without addresses, ids, tokens and quoted values; at most 300 characters.

    Quoted names survive where the message is known to quote the schema, not data.
    """
    schema = _SCHEMA_MESSAGE.match(message) is not None

    def quoted(match: re.Match[str]) -> str:
        return match.group() if schema and _NAME.fullmatch(match.group()) else "'…'"

    text = _QUOTED.sub(quoted, message)
    text = _TOKEN.sub("{token}", text)
    text = _ADDRESS.sub("{upn}", text)
    text = _GUID.sub("{id}", text)
    return " ".join(text.split())[:300]


_WORD = re.compile(r"\$?[A-Za-z][A-Za-z.]{0,59}(\(\))?")
_KEYED = re.compile(r"([A-Za-z.]+)\((?:([A-Za-z]+)=)?.*\)")
_COLLECTIONS = frozenset(
    {
        "users",
        "groups",
        "devices",
        "contacts",
        "applications",
        "servicePrincipals",
        "directoryObjects",
        "directoryRoles",
        "administrativeUnits",
        "members",
        "owners",
        "roleAssignments",
        "roleDefinitions",
        "deletedItems",
        "oauth2PermissionGrants",
        "organization",
        "subscribedSkus",
    }
)
_STATIC = frozenset({"v1.0", "beta", "oauth2PermissionGrants", "delta", "delta()", "manager"})


def path_template(path: str) -> str:
    """The path of a URL (absolute or relative) with ids, keys and names replaced by `{id}`."""
    segments = urlsplit(path).path.split("/")
    result: list[str] = []
    before = ""
    for raw in segments:
        segment = unquote(raw)
        if not segment or segment in {"v1.0", "beta"}:
            if segment == "" and not result:
                result.append("")
            continue
        result.append(_template_segment(segment, before))
        before = segment
    return "/".join(result) or "/"


def _template_segment(segment: str, before: str) -> str:
    if segment in _STATIC:
        return segment
    keyed = _KEYED.fullmatch(segment)
    if keyed and not segment.endswith("()"):
        return f"{keyed[1]}({keyed[2]}={{id}})" if keyed[2] else f"{keyed[1]}({{id}})"
    if not _WORD.fullmatch(segment):
        return "{id}"
    if before in _COLLECTIONS and not segment.startswith(("$", "microsoft.graph.")):
        return "{id}"
    return segment


def _plain(value: str | None) -> str | None:
    return value if value and re.fullmatch(r"[A-Za-z0-9-]{1,64}", value) else None
