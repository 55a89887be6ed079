"""What questions are answered with: values, and the JSON that other programs rely on.

Here belong the shapes alone; finding the answers is `questions`. Every answer says whether the
tables it rests on were whole, and which were not: an empty list of an incomplete answer means
"not known", never "none".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any, Final

Json = dict[str, Any]

USED: Final = "used"
UNUSED: Final = "unused"
UNKNOWN: Final = "unknown"
# Days that `used` is about unless others are asked for; the warehouse knows of no more.
USE_DAYS: Final = 90


def rfc3339(moment: datetime | None) -> str | None:
    """A time as RFC 3339 in UTC: `2026-11-01T12:00:00Z`, with fractions only when there are any."""
    if moment is None:
        return None
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return moment.isoformat() + "Z"


def plain(value: object) -> object:
    """Any value of the warehouse as JSON can hold it; times become RFC 3339 text."""
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        # JSON has no name for these.
        return value if value == value and abs(value) != float("inf") else str(value)
    return str(value)


@dataclass(frozen=True)
class Missing:
    """A table that an answer rests on and that is not whole."""

    table: str
    status: str
    reason: str | None = None


@dataclass(frozen=True)
class Completeness:
    """Whether every table that an answer rests on was read whole."""

    missing: tuple[Missing, ...] = ()

    @property
    def complete(self) -> bool:
        """True when nothing is missing: then a "no" is certain."""
        return not self.missing

    def to_json(self) -> Json:
        """`{"complete", "missing"}`, to be merged into an answer."""
        return {"complete": self.complete, "missing": [asdict(m) for m in self.missing]}


@dataclass(frozen=True)
class Node:
    """A principal or a resource, as one end of a step."""

    id: str
    kind: str
    name: str | None

    def to_json(self) -> Json:
        """`{"id", "kind", "name"}`."""
        return asdict(self)


@dataclass(frozen=True)
class Principal:
    """Something that can hold access."""

    id: str
    kind: str
    name: str | None
    enabled: bool | None = None
    user_principal_name: str | None = None
    mail: str | None = None
    app_id: str | None = None
    # Managed identities: the Azure resource that they belong to.
    azure_resource_id: str | None = None

    def to_json(self) -> Json:
        """Id, kind, name and enabled, and what else is known."""
        always = ("id", "kind", "name", "enabled")
        return {k: v for k, v in asdict(self).items() if k in always or v is not None}


@dataclass(frozen=True)
class Entitlement:
    """One permission on one resource."""

    entitlement_id: str
    resource: Node
    name: str
    purpose: str
    tier: int | None = None
    scope: str | None = None

    def to_json(self) -> Json:
        """All fields, the resource as `{"id", "kind", "name"}`."""
        return asdict(self)


Item = Principal | Entitlement


@dataclass(frozen=True)
class NotFound:
    """A text that names nothing, or more than one thing; the candidates say what it may mean."""

    what: str  # 'principal' or 'entitlement'
    text: str
    ambiguous: bool
    candidates: tuple[Item, ...]
    completeness: Completeness = field(default_factory=Completeness)

    @property
    def message(self) -> str:
        """One sentence for people."""
        if self.ambiguous:
            return f"{self.text!r} names more than one {self.what}: say which by its id"
        hint = "; did you mean one of these?" if self.candidates else ""
        if not self.completeness.complete:
            names = ", ".join(m.table for m in self.completeness.missing)
            return f"no {self.what} {self.text!r} is known, but {names} is not complete{hint}"
        return f"there is no {self.what} {self.text!r}{hint}"

    def to_json(self) -> Json:
        """`{"error", "candidates", "complete", "missing"}`."""
        return {
            "error": self.message,
            "candidates": [item.to_json() for item in self.candidates],
            **self.completeness.to_json(),
        }


@dataclass(frozen=True)
class Use:
    """Whether a hold was used in the last `days`: `unused` only if that is certain.

    `last_used` is null when no use within ninety days was read; `used_30d` and `used_90d` are null
    when the feed does not cover these days. `usage_signal` names what would show use: sign_ins,
    activations, directory_changes, or null when nothing would.
    """

    used: str = UNKNOWN
    last_used: datetime | None = None
    used_30d: int | None = None
    used_90d: int | None = None
    usage_signal: str | None = None

    def to_json(self) -> Json:
        """`{"used", "last_used", "used_30d", "used_90d", "usage_signal"}`."""
        return {**asdict(self), "last_used": rfc3339(self.last_used)}


@dataclass(frozen=True)
class Feed:
    """What one feed covers; see the table usage_coverage."""

    feed: str
    status: str
    reason: str | None
    since: datetime | None
    until: datetime | None

    def to_json(self) -> Json:
        """`{"feed", "status", "reason", "since", "until"}`."""
        return {**asdict(self), "since": rfc3339(self.since), "until": rfc3339(self.until)}


@dataclass(frozen=True)
class UsageBasis:
    """What statements on use rest on: the moment, the days judged, and the feeds."""

    as_of: datetime | None = None
    days: int = USE_DAYS
    feeds: tuple[Feed, ...] = ()
    # Of the holds asked about, those of which nothing is certain; null unless unused were asked.
    unknown: int | None = None

    def to_json(self) -> Json:
        """`{"as_of", "days", "feeds"}`, and `unknown` when unused holds were asked for."""
        document: Json = {
            "as_of": rfc3339(self.as_of),
            "days": self.days,
            "feeds": [feed.to_json() for feed in self.feeds],
        }
        return document if self.unknown is None else {**document, "unknown": self.unknown}


@dataclass(frozen=True)
class AccessRow:
    """One entitlement that a principal holds, in one state."""

    entitlement_id: str
    resource: Node
    name: str
    state: str
    scope: str | None
    direct: bool
    depth: int
    paths: int
    purpose: str
    tier: int | None
    use: Use = Use()

    def to_json(self) -> Json:
        """All fields, those of the use among them."""
        return _with_use(asdict(self), self.use)


@dataclass(frozen=True)
class Access:
    """Everything that a principal holds."""

    principal: Principal
    entitlements: tuple[AccessRow, ...]
    completeness: Completeness
    cursor: str | None = None  # where the next page starts; null on the last
    usage: UsageBasis = UsageBasis()

    def to_json(self) -> Json:
        """`{"principal", "entitlements", "cursor", "usage", "complete", "missing"}`."""
        return {
            "principal": self.principal.to_json(),
            "entitlements": [row.to_json() for row in self.entitlements],
            "cursor": self.cursor,
            "usage": self.usage.to_json(),
            **self.completeness.to_json(),
        }


@dataclass(frozen=True)
class WhoRow:
    """One principal that holds an entitlement, in one state."""

    principal_id: str
    kind: str
    name: str | None
    enabled: bool | None
    state: str
    direct: bool
    depth: int
    paths: int
    use: Use = Use()

    def to_json(self) -> Json:
        """All fields, those of the use among them."""
        return _with_use(asdict(self), self.use)


@dataclass(frozen=True)
class WhoCan:
    """Everybody who holds an entitlement."""

    entitlement: Entitlement
    principals: tuple[WhoRow, ...]
    completeness: Completeness
    cursor: str | None = None
    usage: UsageBasis = UsageBasis()

    def to_json(self) -> Json:
        """`{"entitlement", "principals", "cursor", "usage", "complete", "missing"}`."""
        return {
            "entitlement": self.entitlement.to_json(),
            "principals": [row.to_json() for row in self.principals],
            "cursor": self.cursor,
            "usage": self.usage.to_json(),
            **self.completeness.to_json(),
        }


@dataclass(frozen=True)
class Step:
    """One grant on a path: `source` holds `via`, which is on `target`."""

    source: Node
    target: Node
    via: str  # the entitlement that is held in this step
    kind: str
    state: str
    # Delegated permissions: users on whose behalf; empty for all users. Null for other kinds.
    on_behalf_of: tuple[str, ...] | None = None

    def to_json(self) -> Json:
        """`{"from", "to", "via", "kind", "state"}`."""
        step: Json = {
            "from": self.source.to_json(),
            "to": self.target.to_json(),
            "via": self.via,
            "kind": self.kind,
            "state": self.state,
        }
        if self.on_behalf_of is not None:
            step["on_behalf_of"] = list(self.on_behalf_of) or None
        return step


@dataclass(frozen=True)
class Explanation:
    """Every path by which a principal holds an entitlement, shortest first."""

    principal: Principal
    entitlement: Entitlement
    paths: tuple[tuple[Step, ...], ...]
    truncated: bool  # there are, or may be, more paths than these
    completeness: Completeness
    use: Use = Use()  # of the active hold if there is one, else of the eligible one
    usage: UsageBasis = UsageBasis()

    def to_json(self) -> Json:
        """`{"principal", "entitlement", "paths", "truncated", "complete", "missing"}`, and the use
        of the hold with what it rests on, `usage`.
        """
        return {
            "principal": self.principal.to_json(),
            "entitlement": self.entitlement.to_json(),
            **self.use.to_json(),
            "usage": self.usage.to_json(),
            "paths": [[step.to_json() for step in path] for path in self.paths],
            "truncated": self.truncated,
            **self.completeness.to_json(),
        }


@dataclass(frozen=True)
class TableState:
    """One table's row of the status."""

    table: str
    status: str
    rows: int | None
    as_of: datetime | None
    reason: str | None

    def to_json(self) -> Json:
        """`{"table", "status", "rows", "as_of", "reason"}`."""
        return {**asdict(self), "as_of": rfc3339(self.as_of)}


@dataclass(frozen=True)
class StatusAnswer:
    """The last sync, and how complete each table is."""

    sync: Json | None
    tables: tuple[TableState, ...]
    completeness: Completeness

    def to_json(self) -> Json:
        """`{"sync", "tables", "complete", "missing"}`."""
        return {
            "sync": self.sync,
            "tables": [table.to_json() for table in self.tables],
            **self.completeness.to_json(),
        }


@dataclass(frozen=True)
class Rows:
    """The answer to an SQL query."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    completeness: Completeness
    truncated: bool = False  # there are more rows than were asked for

    def to_json(self) -> Json:
        """`{"columns", "rows", "truncated", "complete", "missing"}`, rows as arrays."""
        return {
            "columns": list(self.columns),
            "rows": [[plain(value) for value in row] for row in self.rows],
            "truncated": self.truncated,
            **self.completeness.to_json(),
        }


def _with_use(fields: Json, use: Use) -> Json:
    del fields["use"]
    return {**fields, **use.to_json()}
