"""What an endpoint is: the vocabulary of the declarations in entity_sets.py and navigations.py."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.odata.filter import DIRECTORY, Rules
from entra_pipeline.simulator.permissions import Acceptable
from entra_pipeline.simulator.wire import JsonObject

License = Literal["free", "p1", "p2"]
LICENSE_RANK: dict[str, int] = {"free": 0, "p1": 1, "p2": 2}

Item = Any
"""A directory object's id, or a row that has no place of its own in the tenant."""


@dataclass(frozen=True)
class EntitySet:
    """A collection that has a path of its own.

    `default_top` and `max_top` are rows a page; `max_top` None means that the set does not page.
    `units` is Graph's base cost of a list, `single_units` of one object.
    `absent` names the clouds that lack it, `delta_absent` those that lack its delta.
    """

    path: str
    collection: str
    type: str
    permissions: Acceptable
    default_top: int = 100
    max_top: int | None = 999
    keys: tuple[str, ...] = ()
    filter: Rules | None = DIRECTORY
    expand: frozenset[str] = frozenset()
    delta: bool = False
    units: int = 1
    single_units: int = 1
    license: License = "free"
    bucket: str | None = None
    absent: frozenset[str] = frozenset()
    delta_absent: frozenset[str] = frozenset()
    need_filter: frozenset[str] = frozenset()
    """Of these properties one must be named by an equality in `$filter`."""
    rows: Callable[[Directory], Sequence[Item]] | None = None
    """For sets that are computed rather than stored."""
    depends: tuple[str, ...] = ()
    """Collections and relations behind computed rows; the set's own collection otherwise."""

    @property
    def context(self) -> str:
        """The set's name in `@odata.context`."""
        return self.path

    @property
    def is_directory(self) -> bool:
        """Whether the set knows advanced queries and `$count`."""
        return self.filter is not None and self.filter.directory


@dataclass(frozen=True)
class Navigation:
    """A step from one object to others.

    `type` is `directoryObject` when the targets are of mixed types. `items` gives ids of directory
    objects, or rows. A navigation to one object has `single` set and gives at most one item.
    """

    name: str
    type: str
    items: Callable[[Directory, JsonObject], Sequence[Item]]
    permissions: Acceptable | None = None
    """None: those of the object it starts from."""
    single: bool = False
    optional: bool = True
    """A single target that is missing: 404 for itself, left out when expanded; False shows null."""
    expandable: bool = True
    omits_service_principals: bool = False
    """In v1.0 (graph "List group members": known issue); not in beta, not when expanded."""
    hides: bool = False
    """Subject to hidden membership."""
    default_top: int = 100
    max_top: int | None = 999
    units: int = 1
    filter: Rules | None = DIRECTORY
    license: License = "free"
    bucket: str | None = None
    absent: frozenset[str] = frozenset()
    context: str = "directoryObjects"


@dataclass
class Options:
    """How this simulator behaves; set once at the start."""

    license: License = "p2"
    cloud: str = "global"
    latency_ms: float = 0.0
    throttle: str = "off"
    seed: int = 0
    page_token_life_s: float = 3600.0
    delta_life_s: float = 7 * 86400.0
    delta_page: int = 200
    """Objects a page of a delta round."""
    delta_slice: int = 400
    """Members of one group on one page of a delta round."""
    delta_replays: int = 0
    """Changes before a link that its round tells of once more."""
    empty_page_every: int = 0
    """Every so many pages of a list an empty one comes first; 0 for never."""
    replication_lag_s: float = 0.0
    sign_ins_per_day: int = 0
    """Of the invented past, and of every day that passes."""
    audits_per_day: int = 0
    provisionings_per_day: int = 0
    log_days: int = 30
    """Whole days before the start with which the invented past begins."""
    log_lag_s: float | None = None
    """How long an event takes to become visible in its log; None: as replication."""
    log_late_s: float = 0.0
    """One event in twenty takes up to this much longer."""
    log_repeats: int = 0
    """Events of a page that the next page begins with."""
    log_disorder: bool = False
    """Whether the events of a page come in no order."""
    write_quota: int | None = None
    """Writes in 150 seconds that an application may make; None for any number."""
    granted: frozenset[str] = field(default_factory=frozenset)
