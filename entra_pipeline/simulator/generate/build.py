"""What every part of the generator shares: random numbers, ids, times and the tenant being built.

Here: the build's state and the small tools on it. Not here: any decision about what a tenant
contains. Each part draws from its own random stream, so that deepening one part leaves the
others' output as it was.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from entra_pipeline.simulator.tenant import JsonObject, Tenant

COMPANY = "Contoso"
DEFAULT_DOMAIN = "contoso.example"
INITIAL_DOMAIN = "contoso.onmicrosoft.com"
ZERO_ID = "00000000-0000-0000-0000-000000000000"
NEVER = "0001-01-01T00:00:00Z"
"""Graph's way to say that a time is not known, in properties that cannot be null."""


def stream(seed: int, part: str) -> random.Random:
    """The random stream of one part: the same for the same seed on every platform."""
    return random.Random(f"{seed}:{part}")


def new_id(rng: random.Random) -> str:
    """A version 4 UUID as text; four times faster than `uuid.UUID`."""
    digits = f"{rng.getrandbits(128):032x}"
    return (
        f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}"
        f"-{'89ab'[int(digits[16], 16) & 3]}{digits[17:20]}-{digits[20:]}"
    )


_URL_SAFE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def new_token(rng: random.Random, length: int = 43) -> str:
    """An opaque base64url id, as Graph gives to role assignments and consent grants."""
    return "".join(rng.choices(_URL_SAFE, k=length))


@dataclass
class Build:
    """The tenant under construction and what later parts need to know of earlier ones."""

    seed: int
    now: datetime
    license: str
    tenant: Tenant
    members: list[str] = field(default_factory=list)
    """Ids of users of this organisation, enabled or not, without mailbox accounts."""
    staff: list[str] = field(default_factory=list)
    """Ids of enabled users of this organisation."""
    guests: list[str] = field(default_factory=list)
    cloud_staff: list[str] = field(default_factory=list)
    """Enabled members who are not synced from on premises: administrators come from here."""
    by_department: dict[str, list[str]] = field(default_factory=dict)
    by_country: dict[str, list[str]] = field(default_factory=dict)
    by_city: dict[str, list[str]] = field(default_factory=dict)
    known: dict[str, str] = field(default_factory=dict)
    """Memorable name of a demo figure, group or application -> object id."""
    past: list[str] = field(default_factory=list)
    """Times of the last ten years, oldest first: picking is cheaper than formatting."""

    def __post_init__(self) -> None:
        rng = stream(self.seed, "past")
        span = 3650 * 86400
        seconds = sorted((rng.random() ** 1.5 * span for _ in range(4096)), reverse=True)
        self.past = [self.ago(days=s / 86400) for s in seconds]

    def rng(self, part: str) -> random.Random:
        """The random stream of a named part."""
        return stream(self.seed, part)

    def ago(self, days: float) -> str:
        """The time that many days before now (negative: after), as Graph writes it."""
        moment = self.now - timedelta(days=days)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    def precise_ago(self, rng: random.Random, days: float) -> str:
        """As `ago`, with the seven fractional digits that some services send."""
        return f"{self.ago(days)[:-1]}.{rng.randrange(10**7):07d}Z"

    def past_time(self, rng: random.Random) -> str:
        """Some time in the last ten years, recent times more often."""
        return self.past[int(rng.random() * 4096)]

    def add(self, collection: str, obj: JsonObject) -> str:
        """Put an object into a collection and return its id."""
        object_id: str = obj["id"]
        self.tenant.objects[collection][object_id] = obj
        return object_id

    def link(self, relation: str, source: str, targets: Sequence[str]) -> None:
        """Append targets to a source's links, leaving out those already there."""
        row = self.tenant.links[relation].setdefault(source, [])
        if row:
            present = set(row)
            targets = [target for target in targets if target not in present]
        row.extend(dict.fromkeys(targets))

    def get(self, collection: str, object_id: str) -> JsonObject:
        """The object with that id."""
        return self.tenant.objects[collection][object_id]


def default_now() -> datetime:
    """The start of the current UTC day."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def pick(rng: random.Random, items: Sequence[Any], count: int) -> list[Any]:
    """Up to `count` different items in random order."""
    return rng.sample(items, min(count, len(items)))
