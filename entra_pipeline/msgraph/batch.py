"""JSON batches: up to 20 requests in one round trip. Pure, no I/O.

Belongs here: writing a batch's body and reading its answers. Does not belong here: which answers
are asked for again (`client`).

Source: https://learn.microsoft.com/graph/json-batching.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from entra_pipeline.msgraph.documents import NOT_JSON, mend, reason
from entra_pipeline.msgraph.errors import GraphError, MalformedAnswerError

MAX_ITEMS = 20


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One GET of a batch: `url` relative to the version root, `/groups/…`; ids are unique."""

    id: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The answer to one item; `error` is None exactly when its status is below 300 and it is whole.

    body: the item's JSON, b"" where there is none.
    """

    id: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    error: GraphError | None


class Answer(msgspec.Struct):
    """One response of a batch as Graph writes it."""

    id: str | int
    status: int
    headers: dict[str, str | int | float | None] | None = None
    body: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    def header(self, name: str) -> str | None:
        """A header by name, whatever its case."""
        for key, value in (self.headers or {}).items():
            if key.lower() == name and value is not None:
                return str(value)
        return None

    def plain_headers(self) -> dict[str, str]:
        """Headers by lower-case name."""
        return {k.lower(): str(v) for k, v in (self.headers or {}).items() if v is not None}

    def content(self) -> bytes:
        """The body's bytes."""
        if self.body is msgspec.UNSET:
            return b""
        body = bytes(self.body)
        return b"" if body == b"null" else body


class _Answers(msgspec.Struct):
    responses: list[Answer]


_decoder = msgspec.json.Decoder(_Answers, strict=False)
_ERROR = re.compile(rb'\{\s*"error"\s*:\s*\{')


def encode(items: Sequence[BatchItem]) -> bytes:
    """The body of a batch."""
    requests = []
    for item in items:
        request: dict[str, object] = {"id": item.id, "method": "GET", "url": item.url}
        if item.headers:
            request["headers"] = dict(item.headers)
        requests.append(request)
    return msgspec.json.encode({"requests": requests})


def decode(body: bytes) -> dict[str, Answer]:
    """The answers by id, the first of each; raises MalformedAnswerError."""
    try:
        answers = _decoder.decode(body)
    except NOT_JSON as error:
        if (mended := mend(body)) != body:
            return decode(mended)
        raise MalformedAnswerError(
            "MalformedAnswer", method="POST", path_template="/$batch", detail=reason(error)
        ) from None
    found: dict[str, Answer] = {}
    for answer in answers.responses:
        found.setdefault(str(answer.id), answer)
    return found


def is_document(body: bytes) -> bool:
    """Whether the content of a good answer can be what was asked for: an object, or a count.

    What stands between us and Graph puts its error pages into batches too (as text), and Graph
    itself now and then an error under status 200.
    """
    if body[:1] == b"{":
        return not _ERROR.match(body)
    return body.isdigit()


def check(items: Sequence[BatchItem]) -> None:
    """Raise ValueError for a batch that Graph would refuse: a mistake of the caller."""
    if not 1 <= len(items) <= MAX_ITEMS:
        raise ValueError(f"a batch has 1 to {MAX_ITEMS} items, not {len(items)}")
    if len({item.id for item in items}) != len(items):
        raise ValueError("ids of a batch's items must be unique")
    for item in items:
        if "\\" in item.id or not item.id:
            raise ValueError("a batch item's id must not be empty or hold a backslash")
        if not item.url.startswith("/") or item.url.startswith("//"):
            raise ValueError("a batch item's url is relative and starts with one slash")
