"""Writes that meet at one object: two in flight at once, or in one batch without an order.

Entra serialises the writes to an object and may refuse those that collide (409
Directory_ConcurrencyViolation, seen in the field). They are always counted, and refused only with
`--write-conflicts`. The object is the one that the path names first.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from entra_pipeline.simulator.errors import GraphError

_WRITING = frozenset({"POST", "PATCH", "PUT", "DELETE"})
_SETS = frozenset({"groups", "users", "serviceprincipals", "directoryobjects"})
_READ_ACTIONS = ("getmember", "checkmember", "getbyids")


def object_of(method: str, path: str) -> str | None:
    """The object that a request writes to, as its path names it; None for other requests."""
    if method.upper() not in _WRITING:
        return None
    parts = [part for part in path.lower().partition("?")[0].strip("/").split("/") if part]
    if parts and parts[0] in ("v1.0", "beta"):
        parts = parts[1:]
    if len(parts) < 2 or parts[0] not in _SETS:
        return None
    if parts[-1].rpartition(".")[2].startswith(_READ_ACTIONS):
        return None
    return f"{parts[0]}/{parts[1]}"


def unordered(items: Sequence[Mapping[str, Any]]) -> set[str]:
    """Ids of a batch's items that write to an object without waiting for an earlier write to it."""
    before: dict[str, set[str]] = {}
    writers: dict[str, list[str]] = {}
    found: set[str] = set()
    for item in items:
        own = set(item.get("dependsOn") or ())
        for each in tuple(own):
            own |= before.get(each, set())
        before[item["id"]] = own
        name = object_of(str(item.get("method")), str(item.get("url")))
        if name is None:
            continue
        if not own.issuperset(writers.setdefault(name, [])):
            found.add(item["id"])
        writers[name].append(item["id"])
    return found


class Contention:
    """What is being written at this moment, and how often writes have met."""

    def __init__(self, *, refuses: bool) -> None:
        self._refuses = refuses
        self._writing: Counter[str] = Counter()
        self.met = 0

    def enter(self, names: Iterable[str]) -> bool:
        """Begin to write to objects; whether somebody else is writing to one of them."""
        met = False
        for name in names:
            met |= self._writing[name] > 0
            self._writing[name] += 1
        return met

    def leave(self, names: Iterable[str]) -> None:
        """The writes are done."""
        for name in names:
            self._writing[name] -= 1
            if self._writing[name] <= 0:
                del self._writing[name]

    def check(self, contended: bool) -> None:
        """Count a write that met another; 409 if such writes are refused."""
        if not contended:
            return
        self.met += 1
        if self._refuses:
            raise GraphError(
                409,
                "Directory_ConcurrencyViolation",
                "A concurrency violation occurred: the object is being changed by another request.",
            )
