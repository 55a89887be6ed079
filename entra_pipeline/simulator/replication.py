"""Replicas: reads that are behind writes, and now and then one that is not.

Learn "Designing for Eventual Consistency for Microsoft Entra": a write is accepted by one replica
and reaches the others later; a read is answered by whichever is near. Here there are two: the
directory itself, and one that learns of every change so many seconds later. Off unless asked for.
"""

import copy
import random
from collections import deque
from typing import Any

from entra_pipeline.simulator.clock import Clock
from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.graph import Graph
from entra_pipeline.simulator.wire import Request


class _Past(Clock):
    """The time at which a change was made, while it is made again."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 0.0

    def time(self) -> float:
        return self.at


class Replication:
    """Decides which replica answers. `lag_s` 0 means that there is only one."""

    def __init__(self, graph: Graph, clock: Clock, seed: int) -> None:
        self.lag_s = 0.0
        self.fresh_share = 0.0
        """Share of the reads that the up-to-date replica answers while the other lags."""
        self.since = 0.0
        """When the lag began: what was written before is known everywhere."""
        self._graph = graph
        self._clock = clock
        self._rng = random.Random(f"{seed}:replication")
        self._behind: Graph | None = None
        self._past = _Past()
        self._travelling: deque[tuple[float, float, str, tuple[Any, ...]]] = deque()
        """Due, made, method and arguments of the changes that the second replica lacks."""

    def set(self, lag_s: float, fresh_share: float = 0.0) -> None:
        """Let reads be so many seconds behind from now on. Raises ValueError."""
        if not lag_s >= 0 or not 0 <= fresh_share <= 1:
            raise ValueError("lag_s must be 0 or more, fresh_share between 0 and 1")
        self.lag_s, self.fresh_share = lag_s, fresh_share
        directory = self._graph.directory
        if lag_s > 0 and self._behind is None:
            self.since = self._past.at = self._clock.time()
            self._behind = self._graph.beside(directory.copy(self._past))
            directory.followers.append(self._hear)
        elif lag_s == 0 and self._behind is not None:
            self._behind = None
            directory.followers.clear()
            self._travelling.clear()

    def tick(self) -> None:
        """Let the changes arrive that are due."""
        now = self._clock.time()
        while self._travelling and self._travelling[0][0] <= now and self._behind is not None:
            _, self._past.at, method, arguments = self._travelling.popleft()
            getattr(self._behind.directory, method)(*arguments)

    def reader(self, request: Request) -> Graph | None:
        """Who answers a read in the directory's place; None for the directory itself."""
        if self._behind is None:
            return None
        # Walks and delta rounds stay where they began.
        walks = "token=" in request.query or "/delta" in request.path
        return None if not walks and self._is_fresh() else self._behind

    def view(self) -> Directory:
        """What a write finds its objects in."""
        if self._behind is None or self._is_fresh():
            return self._graph.directory
        return self._behind.directory

    def _is_fresh(self) -> bool:
        return self.fresh_share > 0 and self._rng.random() < self.fresh_share

    def _hear(self, method: str, arguments: tuple[Any, ...]) -> None:
        now = self._clock.time()
        due = now + self.lag_s
        if self._travelling:
            due = max(due, self._travelling[-1][0])
        # As it was made: whoever made it may go on to change what it was made of.
        self._travelling.append((due, now, method, copy.deepcopy(arguments)))
