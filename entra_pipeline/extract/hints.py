"""What a directory audit hints at: which tables may have changed, and for which objects.

Here: recognising an audit (`recognise`), putting hints together (`merge`), and reading the audits
since a moment (`Hinted`). Not here: reading what they point at (`readers`), keeping audits
(`activity`), deciding when to look (`orchestration`).

Hints are hints: audits come minutes late, out of order and twice, and their words change. What is
read anew because of them is the truth, so a hint too many costs a request and one too few is made
good by the next whole read. Names are therefore matched by how they begin (`hint_names`), and an
audit that nobody knows points at what it names in the tables of its category.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

import msgspec

from entra_pipeline.extract.hint_names import (
    ALL,
    CATEGORIES,
    NONE,
    PRINCIPAL,
    WRITES,
    WRITING_OPERATIONS,
    Need,
    activity_name,
    rule_of,
)
from entra_pipeline.msgraph import GraphClient, GraphError, Service
from entra_pipeline.settings import Settings
from entra_pipeline.tables import EVENTS

log = logging.getLogger(__name__)

OWNERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "users": "id",
        "license_assignments": "user_id",
        "groups": "id",
        "group_members": "group_id",
        "group_owners": "group_id",
        "group_eligibility_schedule_instances": "group_id",
        "group_assignment_schedule_instances": "group_id",
        "administrative_units": "id",
        "administrative_unit_members": "unit_id",
        "role_definitions": "id",
        "role_assignments": "principal_id",
        "role_assignment_schedule_instances": "principal_id",
        "role_eligibility_schedule_instances": "principal_id",
        "applications": "id",
        "application_owners": "application_id",
        "service_principals": "id",
        "service_principal_owners": "service_principal_id",
        "app_roles": "resource_id",
        "delegated_permissions": "resource_id",
        "app_role_assignments": "resource_id",
        "oauth2_permission_grants": "client_id",
        "credentials": "owner_id",
        "synchronization_jobs": "service_principal_id",
        "devices": "id",
        "device_owners": "device_id",
        "contacts": "id",
        "conditional_access_policies": "id",
    }
)
"""Table -> the column that holds the ids of `Hints.tables`. Tables that are not here are small and
hinted as a whole."""


class NotAnAuditError(ValueError):
    """The event cannot be read as a directory audit; the message says why and quotes no value."""


@dataclass(frozen=True)
class Hints:
    """What audits point at.

    `tables`: table -> ids of the objects that own the rows to be read anew (`OWNERS` says in which
    column); None: all of the table. No ids at all: only the rows that name one of `lives`.
    `lives`: ids of objects that appeared, vanished or came back. Rows of any table in `tables` that
    name one of them, in whatever column, are to be looked at.
    Ids may be of another kind than the table's (what is deleted is not always told by kind): an
    object that is not found owns no rows.
    `unknown`: activities that look like writes and that nobody knows, and how often.
    """

    tables: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    lives: frozenset[str] = frozenset()
    unknown: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.tables)


def merge(hints: Iterable[Hints]) -> Hints:
    """What all of them point at together: one whole table makes it whole."""
    tables: dict[str, set[str] | None] = {}
    lives: set[str] = set()
    unknown: Counter[str] = Counter()
    for each in hints:
        for name, ids in each.tables.items():
            held = tables.setdefault(name, set())
            if ids is None:
                tables[name] = None
            elif held is not None:
                held |= ids
        lives |= each.lives
        unknown.update(each.unknown)
    return Hints(
        {name: None if ids is None else frozenset(ids) for name, ids in sorted(tables.items())},
        frozenset(lives),
        dict(unknown),
    )


def recognise(audit: Mapping[str, Any]) -> Hints:
    """What one directoryAudit, as Graph gives it, points at.

    Nothing for what failed and for what changes no table. Raises NotAnAuditError for an object
    that is no directoryAudit.
    """
    name = activity(audit)
    targets = list(_targets(audit))
    if _text(audit, "result").casefold() == "failure":
        return Hints()
    rule = rule_of(name)
    if rule is None:
        return _guess(name, audit, targets)
    needs = list(rule.needs)
    if _text(audit, "loggedByService").casefold() == "pim" or "pim" in name.split():
        needs += rule.in_pim
    lives = _ids(targets, rule.lives) if rule.lives else frozenset()
    return Hints(_hinted(needs, targets), lives)


def activity(audit: Mapping[str, Any]) -> str:
    """The name of an audit's activity as it is compared (`hint_names.activity_name`).

    Raises NotAnAuditError when it has none.
    """
    if not isinstance(audit, Mapping):
        raise NotAnAuditError(f"the event is {_kind(audit)} and not an object")
    given = audit.get("activityDisplayName")
    if not isinstance(given, str) or not given.strip():
        raise NotAnAuditError(f"activityDisplayName is {_kind(given)} and not a name")
    return activity_name(given)


def _guess(name: str, audit: Mapping[str, Any], targets: Sequence[_Target]) -> Hints:
    writes = name.split()[0] in WRITES or (
        _text(audit, "operationType").casefold() in WRITING_OPERATIONS
    )
    if not writes:
        return Hints()
    category = _text(audit, "category").casefold().replace(" ", "")
    # Of an unknown event only what it names: all of a large table for a word is too much.
    kinds = {target.kind for target in targets}
    needs = [
        need
        for need in CATEGORIES.get(category, ())
        if not need[1] or need[1] in kinds or need[1] == PRINCIPAL
    ]
    return Hints(_hinted(needs, targets), unknown={name: 1})


# Targets

_GUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_VAGUE: Final = frozenset({"", "other", "unknown", "unknownfuturevalue"})
"""Kinds that say nothing, as of objects that are gone."""
_NO_PRINCIPAL: Final = frozenset({"role", "request", "directory", "policy", "administrativeunit"})


@dataclass(frozen=True)
class _Target:
    kind: str
    id: str


def _targets(audit: Mapping[str, Any]) -> Iterator[_Target]:
    """The objects that an audit names: its targets, and ids inside their modified properties."""
    resources = audit.get("targetResources")
    if resources is None:
        return
    if not isinstance(resources, list):
        raise NotAnAuditError(f"targetResources is {_kind(resources)} and not a list")
    for resource in resources:
        if not isinstance(resource, Mapping):
            raise NotAnAuditError(f"a target is {_kind(resource)} and not an object")
        kind = _text(resource, "type").casefold().replace(" ", "").replace("_", "")
        if (found := _guid(resource.get("id"))) is not None:
            yield _Target(kind, found)
        properties = resource.get("modifiedProperties")
        if properties is not None and not isinstance(properties, list):
            raise NotAnAuditError(f"modifiedProperties is {_kind(properties)} and not a list")
        for each in properties or ():
            if isinstance(each, Mapping):
                yield from _named(each)


def _named(changed: Mapping[str, Any]) -> Iterator[_Target]:
    """Objects named by a property such as `Group.ObjectID`, in its new value or its old one."""
    kind, dot, name = _text(changed, "displayName").partition(".")
    if not dot or name.casefold() != "objectid":
        return
    for value in (changed.get("newValue"), changed.get("oldValue")):
        for each in values(value):
            if (found := _guid(each)) is not None:
                yield _Target(kind.casefold(), found)


def values(encoded: object) -> list[str]:
    """The texts inside a modified property's value: JSON in a string, perhaps twice, or plain.

    Nothing for null and "". A list gives its texts; what is no text gives nothing.
    """
    for _ in range(3):
        if not isinstance(encoded, str):
            break
        if encoded[:1] not in ('"', "["):
            return [encoded] if encoded and encoded != "null" else []
        try:
            encoded = json.loads(encoded)
        except ValueError:
            return [str(encoded)]
    if isinstance(encoded, list):
        return [each for each in encoded if isinstance(each, str) and each]
    return [encoded] if isinstance(encoded, str) and encoded else []


def target_ids(audit: Mapping[str, Any]) -> list[str]:
    """Ids of the objects that an audit names, each once. Raises NotAnAuditError."""
    return list(dict.fromkeys(target.id for target in _targets(audit)))


def _hinted(needs: Iterable[Need], targets: Sequence[_Target]) -> dict[str, frozenset[str] | None]:
    tables: dict[str, frozenset[str] | None] = {}
    for table, kind in needs:
        if kind == ALL:
            tables[table] = None
            continue
        ids: frozenset[str] | None = frozenset()
        if kind != NONE:
            ids = _ids(targets, kind) or None
        held = tables.get(table, frozenset())
        tables[table] = None if ids is None or held is None else held | ids
    return tables


def _ids(targets: Sequence[_Target], kind: str) -> frozenset[str]:
    """Ids of the targets of a kind, and of those whose kind is not told."""
    return frozenset(
        target.id
        for target in targets
        if target.kind == kind
        or target.kind in _VAGUE
        or (kind == PRINCIPAL and target.kind not in _NO_PRINCIPAL)
    )


def _guid(value: object) -> str | None:
    """An object id in lower case; None for what is none (it would end up in a URL)."""
    return value.lower() if isinstance(value, str) and _GUID.fullmatch(value) else None


def _text(holder: Mapping[str, Any], name: str) -> str:
    value = holder.get(name)
    return value if isinstance(value, str) else ""


def _kind(value: object) -> str:
    """What JSON calls a value, for messages that must not quote it."""
    match value:
        case None:
            return "missing"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
    return "an object" if isinstance(value, Mapping) else "something else"


# Reading

MOST_PAGES: Final = 20
"""Of 1000 audits, for one sync. At half a page a second more of them last longer than reading the
tables whole. Source: https://learn.microsoft.com/graph/throttling-limits#reports-service-limits"""

KEPT: Final = timedelta(days=7)
"""For how long every tenant's audits are there; longer ago they prove nothing."""

SETTLING: Final = timedelta(minutes=2)
"""How long Graph may go on showing an object as it was.
Source: https://learn.microsoft.com/graph/best-practices-concept (eventual consistency)"""

UNREADABLE: Final = "(unreadable)"

_TABLE: Final = "directory_audits"


_events = msgspec.json.Decoder(list[Any])


def audits(client: GraphClient, start: datetime, end: datetime) -> Iterator[list[Any]]:
    """The directory audits of a closed span, both ends included, page by page, newest first.

    What an event is, is not checked. Raises GraphError, among them for a page that is no JSON.
    """
    span = f"activityDateTime ge {_moment(start)} and activityDateTime le {_moment(end)}"
    pages = client.pages(
        EVENTS[_TABLE].path,
        {"$filter": span, "$top": "1000"},
        table=_TABLE,
        service=Service.REPORTS,
    )
    for page in pages:
        yield _events.decode(page.value)


def absent(settings: Settings) -> str | None:
    """Why this tenant has no audits to read; None when it may have."""
    if settings.disable_audit_log_feed:
        return "switched off by ENTRA_DISABLE_AUDIT_LOG_FEED"
    cloud = settings.endpoints.cloud
    if cloud in EVENTS[_TABLE].absent_clouds:
        return f"the {cloud} cloud does not have this API"
    return None


class Hinted:
    """Reads the audits since a moment, for a sync that wants to know what to read anew."""

    def __init__(
        self,
        settings: Settings,
        client: GraphClient,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._client = client
        self._now = now

    def since(self, moment: datetime) -> Hints | None:
        """What may have changed since then, told by audits up to now; one window of requests.

        The window begins `activity_overlap_minutes` earlier, as audits come late. None when the
        audits cannot be had, or do not reach back so far, or are too many to be worth it: then
        nothing is known, and what they would have told must be read whole. Never raises
        GraphError.
        """
        read = self.read(moment)
        return None if read is None else read[0]

    def read(self, moment: datetime, seen: str = "") -> tuple[Hints, str] | None:
        """As `since`, without what the reading at `moment` saw, and what this one saw.

        `seen`: what that reading gave as its second answer. Minutes of the window in which it saw
        the very same audits tell nothing again; of `SETTLING` minutes before it they do, because
        what was read then may not have been changed everywhere.
        """
        now = self._now()
        start = moment - timedelta(minutes=self._settings.activity_overlap_minutes)
        start = start.replace(second=0, microsecond=0)  # a part of a minute has another mark
        reason = absent(self._settings)
        if reason is None and now - start > KEPT:
            reason = "they do not reach back so far"
        if reason is not None:
            log.info("directory audits give no hints: %s", reason)
            return None
        minutes: dict[str, list[Any]] = {}
        try:
            for number, page in enumerate(audits(self._client, start, now), start=1):
                for audit in page:
                    minutes.setdefault(_minute(audit), []).append(audit)
                if number >= MOST_PAGES:
                    log.info("directory audits give no hints: there are too many")
                    return None
        except GraphError as error:
            log.info("directory audits give no hints: %s", error)
            return None
        former = set(seen.split())
        unsettled = _moment(moment - SETTLING)[:_MINUTE]
        marks = {minute: _mark(minute, found) for minute, found in minutes.items()}
        news = [
            found
            for minute, found in minutes.items()
            if minute >= unsettled or marks[minute] not in former
        ]
        return merge(merge(_recognised(each)) for each in news), " ".join(sorted(marks.values()))


_MINUTE: Final = len("2026-01-01T00:00")


def _minute(audit: object) -> str:
    """The minute of an audit, as text; "" when it does not say."""
    return _text(audit, "activityDateTime")[:_MINUTE] if isinstance(audit, Mapping) else ""


def _mark(minute: str, found: Iterable[object]) -> str:
    """Tells whether the audits of a minute are the same as before, in whatever order."""
    ids = {_text(each, "id") if isinstance(each, Mapping) else "" for each in found}
    digest = hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:16]
    return f"{minute}={digest}"


def _recognised(page: Iterable[Any]) -> Iterator[Hints]:
    for audit in page:
        try:
            yield recognise(audit)
        except NotAnAuditError:
            yield Hints(unknown={UNREADABLE: 1})


def _moment(moment: datetime) -> str:
    text = moment.astimezone(UTC).isoformat(timespec="microseconds")
    return text.replace(".000000", "").replace("+00:00", "Z")
