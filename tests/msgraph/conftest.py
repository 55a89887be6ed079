"""Fixtures of the client tests: servers to talk to and settings that find them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from entra_pipeline.msgraph import GraphClient, RetryPolicy
from entra_pipeline.msgraph.transport import GraphSession
from tests.msgraph.scripted import FakeClock, Reply, Script, ScriptedServer, Tokens


class World:
    """A client of a scripted server, with a clock that nobody waits for."""

    def __init__(
        self, server: ScriptedServer, retries: RetryPolicy | None, read_timeout_s: float
    ) -> None:
        self.server = server
        self.clock = FakeClock()
        self.tokens = Tokens()
        self.session = GraphSession(
            ca_file=None, proxies_for=lambda _url: {}, connections=8, timeout=(20.0, read_timeout_s)
        )
        self.client = GraphClient(
            server.url,
            self.tokens,
            self.session,
            clock=self.clock,
            retries=retries,
            rng=random.Random(7),
        )

    @property
    def base(self) -> str:
        return f"{self.server.url}/v1.0"


@pytest.fixture
def world() -> Iterator[Callable[..., World]]:
    """`world(script)`: a running server and its client."""
    opened: list[World] = []

    def make(
        script: Script | list[Reply],
        retries: RetryPolicy | None = None,
        read_timeout_s: float = 20.0,
    ) -> World:
        server = ScriptedServer(script)
        server.__enter__()
        opened.append(World(server, retries, read_timeout_s))
        return opened[-1]

    yield make
    for each in opened:
        each.client.close()
        each.server.__exit__(None, None, None)
