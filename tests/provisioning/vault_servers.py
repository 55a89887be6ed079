"""Two vaults small enough to look inside, which behave as their documented interfaces say.

Azure Key Vault: https://learn.microsoft.com/rest/api/keyvault/secrets (a challenge first, then
bearer tokens; versions that are disabled are given to nobody). HashiCorp Vault KV version 2:
https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2 (check-and-set, metadata, LIST).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from entra_pipeline.simulator import certificates
from tests.msgraph.authority import TENANT, server_tls
from tests.msgraph.scripted import Reply, ScriptedServer, Seen


class KeyVault:
    """A Key Vault and the authority that its clients sign in to."""

    def __init__(self, folder: Path) -> None:
        self.files = certificates.prepare(folder)
        self.server = ScriptedServer(self._answer, server_tls(self.files))
        self.secrets: dict[str, list[dict[str, Any]]] = {}
        self.forms: list[dict[str, str]] = []
        self.refuse: Callable[[Seen], Reply | None] = lambda _: None
        self._versions = itertools.count(1)

    @property
    def url(self) -> str:
        return self.server.url

    def _answer(self, seen: Seen) -> Reply:
        base = f"{self.url}/{TENANT}"
        if "/.well-known/openid-configuration" in seen.path:
            return Reply(
                json={
                    "issuer": f"{base}/v2.0",
                    "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{base}/oauth2/v2.0/token",
                }
            )
        if seen.path.endswith("/token"):
            form = {name: values[0] for name, values in parse_qs(seen.body.decode()).items()}
            self.forms.append(form)
            return Reply(
                json={"token_type": "Bearer", "expires_in": 3600, "access_token": "the-token"}
            )
        if (refused := self.refuse(seen)) is not None:
            return refused
        if seen.headers.get("Authorization") != "Bearer the-token":
            # Key Vault's own resource is the domain that its vaults are below.
            domain = self.url.replace("https://127.", "https://")
            challenge = f'Bearer authorization="{base}", resource="{domain}"'
            return Reply(401, json={"error": {}}, headers={"WWW-Authenticate": challenge})
        assert "api-version=" in seen.target
        parts = seen.path.strip("/").split("/")
        match (seen.method, parts):
            case ("PUT", ["secrets", name]):
                return self._set(name, seen.json())
            case ("GET", ["secrets", name, "versions"]):
                found = [self._item(name, each, value=False) for each in self.secrets.get(name, [])]
                return Reply(json={"value": found, "nextLink": None})
            case ("PATCH", ["secrets", name, version]):
                (one,) = (each for each in self.secrets[name] if each["version"] == version)
                one["enabled"] = seen.json()["attributes"]["enabled"]
                return Reply(json=self._item(name, one, value=False))
        return Reply(404, json={"error": {"code": "NotFound", "message": seen.path}})

    def _set(self, name: str, asked: dict[str, Any]) -> Reply:
        number = next(self._versions)
        made = {
            "version": f"{number:032x}",
            "value": asked["value"],
            "tags": asked.get("tags"),
            "content_type": asked.get("contentType"),
            "enabled": True,
            "created": 1_795_000_000 + number,
        }
        self.secrets.setdefault(name, []).append(made)
        return Reply(json=self._item(name, made, value=True))

    def _item(self, name: str, one: dict[str, Any], *, value: bool) -> dict[str, Any]:
        attributes = {"enabled": one["enabled"], "created": one["created"]}
        told = {
            "id": f"{self.url}/secrets/{name}/{one['version']}",
            "attributes": {**attributes, "updated": one["created"]},
            "tags": one["tags"],
            "contentType": one["content_type"],
        }
        return {**told, "value": one["value"]} if value else told


class HashicorpVault:
    """A KV version 2 engine, mounted at `secret`, and an AppRole to sign in by.

    `roles`: role id to secret id; each sign-in makes another `token`, the only good one.
    """

    def __init__(self, folder: Path, token: str) -> None:
        self.files = certificates.prepare(folder)
        self.server = ScriptedServer(self._answer, server_tls(self.files))
        self.token = token
        self.roles: dict[str, str] = {}
        self.signed_in = 0
        self.secrets: dict[str, dict[str, Any]] = {}
        self.refuse: Callable[[Seen], Reply | None] = lambda _: None
        self._numbers = itertools.count(1)

    @property
    def url(self) -> str:
        return self.server.url

    def _answer(self, seen: Seen) -> Reply:
        if (refused := self.refuse(seen)) is not None:
            return refused
        if seen.path.strip("/").startswith("v1/auth/"):
            return self._login(seen)
        if seen.headers.get("X-Vault-Token") != self.token:
            return Reply(403, json={"errors": ["permission denied"]})
        _, engine, kind, path = seen.path.strip("/").split("/", 3) if seen.path else ("",) * 4
        assert engine == "secret"
        listing = seen.method == "LIST" or "list=true" in seen.target
        match (seen.method, kind):
            case ("POST" | "PUT", "data"):
                asked = seen.json()
                if asked.get("options", {}).get("cas") == 0 and path in self.secrets:
                    said = "check-and-set parameter did not match the current version"
                    return Reply(400, json={"errors": [said]})
                stamp = f"2026-11-23T12:00:{next(self._numbers):02}.000000000Z"
                self.secrets[path] = {"data": asked["data"], "created_time": stamp}
                return Reply(json={"data": {"created_time": stamp, "version": 1}})
            case ("GET", "data") if path in self.secrets:
                one = self.secrets[path]
                metadata = {"created_time": one["created_time"], "version": 1, "destroyed": False}
                return Reply(json={"data": {"data": one["data"], "metadata": metadata}})
            case (_, "metadata") if listing:
                head = path.rstrip("/") + "/"
                keys = sorted(name[len(head) :] for name in self.secrets if name.startswith(head))
                if not keys:
                    return Reply(404, json={"errors": []})
                return Reply(json={"data": {"keys": keys}})
            case ("DELETE", "metadata"):
                self.secrets.pop(path, None)
                return Reply(204)
        return Reply(404, json={"errors": []})

    def _login(self, seen: Seen) -> Reply:
        """AppRole: https://developer.hashicorp.com/vault/api-docs/auth/approle"""
        asked = seen.json()
        known = self.roles.get(asked["role_id"])
        if seen.method != "POST" or seen.path.strip("/") != "v1/auth/machines/login":
            return Reply(403, json={"errors": ["permission denied"]})
        if known is None or known != asked["secret_id"]:
            return Reply(400, json={"errors": ["invalid role or secret ID"]})
        self.signed_in += 1
        self.token = f"hvs.signed-in-{self.signed_in}"
        auth = {"client_token": self.token, "lease_duration": 1200, "renewable": True}
        return Reply(json={"auth": auth, "data": None})
