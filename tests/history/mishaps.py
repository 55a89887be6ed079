"""What goes wrong in a round: faults of the wire and of Graph, dead links, the moments of kills.

Here: the random choice, from a seed. Every fault ends by itself, so that a sync gets through, or
leaves its table as it was and says so.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.faults.bench import Rule, error, on, respond

Ending = tuple[Literal["expire", "reset"], list[str] | None]

_FEEDS = (
    "users",
    "groups",
    "directory/administrativeUnits",
    "contacts",
    "oauth2PermissionGrants",
    "applications",
    "servicePrincipals",
    "devices",
)
_THROTTLED = error("TooManyRequests", "Please retry again later.")
_EXPIRED = error("Directory_ExpiredPageToken", "The specified page token value has expired.")
_DENIED = error("Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
_STATE_GONE = error("syncStateNotFound", "The sync state generation is not found.")

_PLACES = (
    "/v1.0/",
    "/delta",
    r"\$batch",
    r"/groups/[^/]+/members",
    "/servicePrincipals",
    "/applications",
    "/devices",
    "/users",
    "/roleManagement",
    "/policies|/identity",
    "/directoryAudits",
)
_SPOILED: dict[str, dict[str, Any]] = {
    "429": respond(429, _THROTTLED, Retry_After="1"),
    "429 without Retry-After": respond(429, _THROTTLED),
    "500": respond(500, error("UnknownError")),
    "502 in HTML": respond(502, "<html>Bad gateway"),
    "503": respond(503, error("serviceNotAvailable"), Retry_After="1"),
    "504": respond(504),
    "connection reset": {"reset": True},
    "connection reset after the answer was made": {"reset": True, "when": "after"},
    "body cut": {"truncate_at": 700},
    "body cut to nothing": {"truncate_at": 0},
    "HTML with 200": respond(200, "<html>Sign in to the network</html>"),
    "token expired": respond(401, error("InvalidAuthenticationToken")),
    "late": {"delay_ms": 300},
}
_OWN_PLACE: dict[str, tuple[str, dict[str, Any]]] = {
    "page token expired": (r"\$skiptoken", respond(400, _EXPIRED)),
    "delta link unknown": (r"/delta\?.*deltatoken=(?!latest)", respond(400, _STATE_GONE)),
    "refused": (r"/(devices|contacts|users|groups)\?", respond(403, _DENIED)),
    "an answer of a batch missing": (
        r"\$batch",
        {"patch": [{"op": "remove", "path": "/responses/0"}]},
    ),
}
KINDS = (*_SPOILED, *_OWN_PLACE)


@dataclass(frozen=True)
class Mishaps:
    """What happens in one round.

    `changes`: how many before the syncs; `faults`: (kind, rule); `ending`: which links die, and
    how; `kills`: parts of a sync's usual time after which it is killed, one attempt each;
    `meanwhile`: changes that happen while the first attempt runs; `command`: the first attempt is
    the command `sync`.
    """

    changes: int = 0
    faults: list[tuple[str, Rule]] = field(default_factory=list)
    ending: Ending | None = None
    kills: list[float] = field(default_factory=list)
    meanwhile: int = 0
    command: bool = False


def fault(kind: str, rng: random.Random, **match: Any) -> tuple[str, Rule]:
    """A fault of that kind, in a random place where its kind has none of its own."""
    if kind in _OWN_PLACE:
        path, what = _OWN_PLACE[kind]
    else:
        path, what = rng.choice(_PLACES), _SPOILED[kind]
    return kind, {"name": kind, **on(path, what, **match)}


def mishaps(rng: random.Random) -> Mishaps:
    """Random ones."""
    faults = [
        fault(
            kind,
            rng,
            times=rng.randint(1, 3),
            **rng.choice(({}, {"every": rng.randint(2, 5)}, {"probability": 0.3})),
        )
        for kind in rng.sample(KINDS, rng.randrange(5))
    ]
    ending: Ending | None = None
    if rng.random() < 0.3:
        some = rng.sample(_FEEDS, rng.randint(1, 3)) if rng.random() < 0.6 else None
        ending = rng.choice(("expire", "reset")), some
    return Mishaps(
        changes=rng.choice((0, 8, 25, 60, 120)),
        faults=faults,
        ending=ending,
        kills=[rng.random() for _ in range(rng.choice((0, 0, 1, 1, 2)))],
        meanwhile=rng.choice((0, 0, 0, 20)),
        command=rng.random() < 0.15,
    )
