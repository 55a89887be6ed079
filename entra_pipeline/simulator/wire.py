"""Requests and responses as the simulator's parts hand them to one another.

No sockets here (app.py) and no meaning of paths (graph.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

JsonObject = dict[str, Any]

encode_json = msgspec.json.encode
decode_json = msgspec.json.decode

GRAPH_JSON = (
    "application/json;odata.metadata=minimal;odata.streaming=true;"
    "IEEE754Compatible=false;charset=utf-8"
)


@dataclass(slots=True)
class Request:
    """One Graph request: a round trip of its own, or an item of a batch.

    `path` is percent-encoded and starts with the version segment (`/v1.0/users`), `query` is the
    raw text after the question mark, header names are lower case, `base` is scheme://host:port.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    base: str
    caller: Any = None
    """The identity.Caller whose token came with the request; None before authentication."""
    in_batch: bool = False
    contended: bool = False
    """Whether it writes to an object that another request is writing to."""

    @property
    def target(self) -> str:
        """Path and query as one text, the thing that fault rules match."""
        return f"{self.path}?{self.query}" if self.query else self.path


@dataclass(slots=True)
class Response:
    """Status, JSON bytes (or text) and the headers beyond the ones every answer carries."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = GRAPH_JSON
    route: str = "other"
    """A template such as `GET /groups/{id}/members`: names the row in the statistics."""
    units: int = 0
    """Resource units spent."""
    effects: int = 0
    """Changes that the request made to the directory."""
    reset: bool = False
    """A fault: the connection is reset instead."""
    truncate_at: int | None = None
    """A fault: the connection closes after this many bytes of the body."""
