"""Pages, links and what a page says about the next: pure, no I/O.

Belongs here: decoding a page's envelope without building its rows, checking links, and the state
of walking a collection. Does not belong here: fetching (`client`).
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from entra_pipeline.msgraph.documents import NOT_JSON, mend, reason
from entra_pipeline.msgraph.errors import (
    ForeignLinkError,
    MalformedAnswerError,
    RepeatingLinkError,
    path_template,
)

MAX_EMPTY_PAGES = 1000
"""Pages in a row without rows after which paging is held to be stuck. Graph documents empty pages
with a next link; a filter over a large directory can bring dozens of them."""


class _Envelope(msgspec.Struct):
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    next_link: str | None = msgspec.field(default=None, name="@odata.nextLink")
    delta_link: str | None = msgspec.field(default=None, name="@odata.deltaLink")
    count: int | None = msgspec.field(default=None, name="@odata.count")


_decoder = msgspec.json.Decoder(_Envelope)
_any = msgspec.json.Decoder(msgspec.Raw)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a collection.

    body: the whole JSON document, as `pyarrow.json` wants it; value: the bytes of its `value`
    array alone (a view into body); count: `@odata.count` of the collection's first page, where
    it was asked for. generation grows when an expired page token made the collection start
    again: the consumer then throws away what it holds of former generations.
    """

    body: bytes
    value: msgspec.Raw
    next_link: str | None
    delta_link: str | None
    count: int | None
    generation: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether the page has no rows."""
        return bytes(memoryview(self.value)[:64]).strip() in {b"[]", b"[ ]"}


def decode_page(body: bytes, *, path: str = "", generation: int = 0) -> Page:
    """A page from its body; the whole body is checked to be JSON. Raises MalformedAnswerError."""
    try:
        envelope = _decoder.decode(body)
    except NOT_JSON as error:
        if (mended := mend(body)) != body:
            return decode_page(mended, path=path, generation=generation)
        raise _malformed(path, reason(error)) from None
    if envelope.value is msgspec.UNSET or not bytes(memoryview(envelope.value)[:1]) == b"[":
        raise _malformed(path, "a collection without its value array")
    return Page(
        body=body,
        value=envelope.value,
        next_link=envelope.next_link or None,
        delta_link=envelope.delta_link or None,
        count=envelope.count,
        generation=generation,
    )


def check_json(body: bytes, *, path: str = "") -> bytes:
    """`body`, mended if need be; raises MalformedAnswerError unless it is one JSON document."""
    try:
        _any.decode(body)
    except NOT_JSON as error:
        if (mended := mend(body)) != body:
            return check_json(mended, path=path)
        raise _malformed(path, reason(error)) from None
    return body


def _malformed(path: str, reason: str) -> MalformedAnswerError:
    return MalformedAnswerError("MalformedAnswer", path_template=path_template(path), detail=reason)


class Origin:
    """The one place a bearer token may go: scheme, host and port of the configured Graph."""

    def __init__(self, graph_url: str, version: str = "v1.0") -> None:
        self.base = f"{graph_url}/{version}"
        self._key = _origin_key(graph_url)
        self._prefix = f"/{version}/"

    def absolute(self, path_or_link: str) -> str:
        """The URL of a path relative to the version root, or of a link after checking it.

        Raises ForeignLinkError for anything that would leave the configured host, scheme or port.
        """
        text = path_or_link
        if any(c <= " " or c == "\\" for c in text):
            raise self._foreign(text, "the link has characters that no link has")
        if "://" not in text.split("?", 1)[0] and not text.startswith("//"):
            # A link may be relative to the host as well: then it has the version in front.
            return f"{self.base}/{text.removeprefix(self._prefix).lstrip('/')}"
        key = _origin_key(text)
        if key is None or key != self._key:
            raise self._foreign(text, "the link leads to another scheme, host or port")
        return text

    def relative(self, link: str) -> str:
        """The part of a link after the version root, as `$batch` items want it: `/groups/…?…`."""
        absolute = self.absolute(link)
        parts = urlsplit(absolute)
        if not parts.path.startswith(self._prefix):
            raise self._foreign(link, "the link leaves the API version")
        path = parts.path[len(self._prefix) - 1 :]
        return f"{path}?{parts.query}" if parts.query else path

    @staticmethod
    def _foreign(link: str, detail: str) -> ForeignLinkError:
        return ForeignLinkError(
            "ForeignLink",
            path_template=path_template(link),
            detail=f"{detail}; it was not followed and no token was sent",
        )


def _origin_key(url: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        return None
    if "@" in parts.netloc or not parts.hostname:
        return None
    return parts.scheme, parts.hostname.rstrip("."), port


class Walk:
    """The state of walking one collection: which link comes next, and whether it advances."""

    def __init__(self, first: str) -> None:
        self._path = first
        self._seen = {first}
        self._empty = 0
        self.generation = 0
        self.count: int | None = None

    def restart(self) -> None:
        """Begin again at the first page, in a new generation."""
        self._seen = {self._path}
        self._empty = 0
        self.generation += 1
        self.count = None

    def advance(self, page: Page) -> str | None:
        """The link to follow after `page`, None at the end. Raises RepeatingLinkError."""
        if self.count is None:
            self.count = page.count
        link = page.next_link
        if link is None:
            return None
        self._empty = self._empty + 1 if page.is_empty else 0
        if link in self._seen or self._empty > MAX_EMPTY_PAGES:
            raise RepeatingLinkError(
                "RepeatingLink",
                path_template=path_template(self._path),
                detail=(
                    "a next link came twice"
                    if link in self._seen
                    else f"{MAX_EMPTY_PAGES} pages in a row were empty"
                ),
            )
        self._seen.add(link)
        return link
