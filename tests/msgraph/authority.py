"""A sign-in authority small enough to look inside: discovery and token endpoint over https."""

from __future__ import annotations

import base64
import json
import select
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from entra_pipeline.simulator import certificates
from tests.msgraph.scripted import Reply, ScriptedServer, Seen

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "99999999-8888-7777-6666-555555555555"


def jwt(**claims: Any) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none'})}.{part(claims)}.c2ln"


def server_tls(files: certificates.Files) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.server)
    return context


class Authority:
    """Issues numbered tokens; `answer` may take over the token endpoint."""

    def __init__(self, directory: Path) -> None:
        self.files = certificates.prepare(directory)
        self.server = ScriptedServer(self._script, server_tls(self.files))
        self.forms: list[dict[str, str]] = []
        self.answer: Callable[[dict[str, str]], Reply | None] = lambda _form: None
        self.discovery: Callable[[], Reply | None] = lambda: None
        self.expires_in = 3600
        self.issued = 0

    @property
    def url(self) -> str:
        return self.server.url

    def _script(self, seen: Seen) -> Reply:
        base = f"{self.url}/{TENANT}"
        if seen.path.endswith("/.well-known/openid-configuration"):
            return self.discovery() or Reply(
                json={
                    "issuer": f"{base}/v2.0",
                    "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{base}/oauth2/v2.0/token",
                    "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
                }
            )
        form = {name: values[0] for name, values in parse_qs(seen.body.decode()).items()}
        if seen.path.endswith("/devicecode"):
            return self.answer(form) or Reply(
                json={
                    "device_code": "device-secret",
                    "user_code": "ABCD-EFGH",
                    "verification_uri": "https://login.example/device",
                    "expires_in": 900,
                    "interval": 0,
                    "message": "Go there.",
                }
            )
        if seen.path.endswith("/token"):
            self.forms.append(form)
            return self.answer(form) or self.token(form)
        return Reply(json={"value": []})

    def token(self, form: dict[str, str]) -> Reply:
        self.issued += 1
        user = form["grant_type"] != "client_credentials"
        claims = {"scp": "User.Read.All"} if user else {"roles": ["User.Read.All"]}
        body: dict[str, Any] = {
            "token_type": "Bearer",
            "expires_in": self.expires_in,
            "access_token": jwt(tid=TENANT, appid=CLIENT, number=self.issued, **claims),
        }
        if user:
            body["refresh_token"] = f"refresh-secret-{self.issued}"
            body["id_token"] = jwt(
                aud=CLIENT,
                iss=f"{self.url}/{TENANT}/v2.0",
                sub="s",
                oid="user-object",
                tid=TENANT,
                preferred_username="anna@contoso.example",
                exp=4102444800,
            )
            info = json.dumps({"uid": "user-object", "utid": TENANT}).encode()
            body["client_info"] = base64.urlsafe_b64encode(info).rstrip(b"=").decode()
            body["scope"] = f"{self.url}/User.Read.All {self.url}/.default"
        return Reply(json=body)


def refused(error: str, code: int, status: int = 401) -> Reply:
    return Reply(
        status,
        json={
            "error": error,
            "error_description": f"AADSTS{code}: anna@contoso.example of 'Contoso' may not.\r\n",
            "error_codes": [code],
            "correlation_id": "abcdef-1",
        },
    )


class ConnectProxy:
    """An HTTP proxy that only tunnels; keeps the places it was asked for."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = client.recv(4096)
            if not piece:
                return
            head += piece
        target = head.split()[1].decode()
        self.targets.append(target)
        host, port = target.rsplit(":", 1)
        with client, socket.create_connection((host, int(port))) as server:
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            pairs = {client: server, server: client}
            while True:
                for ready in select.select(list(pairs), [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    pairs[ready].sendall(data)

    def close(self) -> None:
        self._socket.close()
