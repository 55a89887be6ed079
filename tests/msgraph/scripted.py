"""A tiny HTTP server that answers by a script: for wire behaviour that no honest server has."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> str:
        return unquote(urlsplit(self.target).query)

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """An answer: json or body; `cut_at` sends only so many bytes, `reset` none at all."""

    status: int = 200
    json: Any = None
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_at: int | None = None
    reset: bool = False
    delay_s: float = 0.0

    def content(self) -> bytes:
        if self.body is not None:
            return self.body
        return b"" if self.json is None else json.dumps(self.json).encode()


Script = Callable[[Seen], Reply]


class ScriptedServer:
    """Answers every request by `script`; keeps what it saw."""

    def __init__(self, script: Script | list[Reply], tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[Seen] = []
        self._lock = threading.Lock()
        if isinstance(script, list):
            replies = iter(script)
            self.script: Script = lambda _seen: next(replies)
        else:
            self.script = script
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                seen = Seen(
                    self.command, self.path, dict(self.headers.items()), self.rfile.read(length)
                )
                with outer._lock:
                    outer.seen.append(seen)
                    reply = outer.script(seen)
                if reply.delay_s:
                    time.sleep(reply.delay_s)
                if reply.reset:
                    self.connection.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                    )
                    self.close_connection = True
                    self.connection.close()
                    return
                content = reply.content()
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in reply.headers:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content if reply.cut_at is None else content[: reply.cut_at])
                if reply.cut_at is not None:
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_CONNECT = handle_any  # noqa: N815
            do_LIST = handle_any  # noqa: N815

            def log_message(self, *_args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_args: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def requests_to(self, path: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.path == path]


class FakeClock:
    """A clock that sleeping moves: waits are recorded, not waited."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at = 1000.0
        self._start = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
        self.slept = 0.0

    def monotonic(self) -> float:
        with self._lock:
            return self._at

    def now(self) -> datetime:
        with self._lock:
            return self._start + timedelta(seconds=self._at - 1000.0)

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._at += seconds
            self.slept += seconds

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._at += seconds


class Tokens:
    """Tokens numbered in the order in which they were asked for."""

    def __init__(self) -> None:
        self._number = 1
        self._lock = threading.Lock()
        self.claims: list[str | None] = []

    def token(self) -> str:
        return f"token-{self._number}"

    def renew(self, stale: str, claims: str | None = None) -> str:
        with self._lock:
            if stale == self.token():
                self.claims.append(claims)
                self._number += 1
            return self.token()


def error_body(code: str, message: str = "It failed.", **inner: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "innerError": inner}}
