"""Delta queries: the first round, later rounds from the change log, tokens and their age.

Behaviour: graph "Use delta query to track changes" and the delta pages of each resource. A large
group comes in slices on several, non-adjacent pages; soft deletion says `changed`, purging says
`deleted`, and a membership that ended says `deleted` whatever became of the member.
"""

import hashlib
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

from entra_pipeline.simulator import roles
from entra_pipeline.simulator.clock import Clock
from entra_pipeline.simulator.directory import ROLE_MEMBERS, Change, Directory
from entra_pipeline.simulator.errors import GraphError, bad_request, unsupported_query
from entra_pipeline.simulator.identity import Caller
from entra_pipeline.simulator.listing import shows_types
from entra_pipeline.simulator.model import EntitySet, Options
from entra_pipeline.simulator.odata.paging import Cursors
from entra_pipeline.simulator.odata.query import Query
from entra_pipeline.simulator.odata.select import check_select
from entra_pipeline.simulator.projection import MIXED, Encoders
from entra_pipeline.simulator.tenant import Tenant
from entra_pipeline.simulator.tokens import InvalidTokenError, b64, unb64
from entra_pipeline.simulator.wire import JsonObject, Request, Response, decode_json, encode_json

_RELATIONS: dict[str, dict[str, str]] = {
    "users": {"manager": "managers"},
    "groups": {"members": "group_members", "owners": "group_owners"},
    "directory/administrativeUnits": {"members": "administrative_unit_members"},
    "directoryRoles": {"members": ROLE_MEMBERS},
}
"""Entity set -> navigation that its delta can track -> relation."""
_BY_DEFAULT: dict[str, tuple[str, ...]] = {"groups": ("members",), "directoryRoles": ("members",)}
"""What is tracked when nothing is selected."""
_ID_FILTER = re.compile(r"^\s*id eq '([^']+)'(?:\s+or\s+id eq '([^']+)')*\s*$")
_ONE_ID = re.compile(r"id eq '([^']+)'")
_MAX_IDS = 50
_SAMPLED = 200
_MEMBERS_PER_PAGE = 1000

Link = tuple[str, bool]
"""Target id, and whether the link was taken away."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One object on a page: with its properties or removed, and a slice of its links."""

    object_id: str
    removed: str | None = None
    links: tuple[tuple[str, tuple[Link, ...]], ...] = ()
    changed: frozenset[str] | None = None
    """Properties that changed; None for all."""

    @property
    def weight(self) -> int:
        return sum(len(links) for _, links in self.links)


@dataclass(frozen=True, slots=True)
class _Round:
    """What a round tracks; travels in its tokens."""

    entity_set: EntitySet
    names: tuple[str, ...] | None
    navigations: tuple[str, ...]
    ids: frozenset[str] | None
    sequence: int
    """The last change that the round has seen."""
    minimal: bool = False


class Deltas:
    """Answers the delta functions of one tenant."""

    def __init__(
        self, directory: Directory, clock: Clock, options: Options, encoders: Encoders
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._options = options
        self._encoders = encoders
        self._cursors = Cursors(clock, options.page_token_life_s)
        self._origin = _fingerprint(directory.tenant)
        self._process = str(uuid.uuid4())
        self._ends: list[tuple[str, frozenset[str] | None]] = []
        """What became of the links given out so far: `expire` or `reset`, and of which sets."""

    def share(self, other: "Deltas") -> None:
        """Know the tokens of another, which serves the same history."""
        self._cursors = other._cursors
        self._origin, self._process, self._ends = other._origin, other._process, other._ends

    def end(self, how: Literal["expire", "reset"], paths: Iterable[str] | None = None) -> None:
        """Make the links given out so far answer 400 (`expire`) or 410 (`reset`) for ever.

        `paths` are the entity sets meant; None means all. Page tokens of a round go on.
        """
        self._ends.append((how, frozenset(paths) if paths is not None else None))

    def answer(self, request: Request, query: Query, entity_set: EntitySet) -> Response:
        """One page of a round. Raises GraphError."""
        for option in ("top", "orderby", "search", "skip"):
            if getattr(query, option) is not None:
                raise unsupported_query(f"'${option}' is not supported by delta.")
        if query.expand or query.count:
            raise unsupported_query("$expand and $count are not supported by delta.")
        if query.skiptoken is not None:
            if query.select is not None:
                raise bad_request("$select cannot be combined with $skiptoken.")
            cursor = self._cursors.resume(query.skiptoken, entity_set.path)
            return self._page(request, cursor.plan, cursor.items, cursor.position)
        visible = self._visible_sequence()
        if query.deltatoken and query.deltatoken.lower() != "latest":
            since = self._read_token(request, entity_set, query)
            entries: list[_Entry] = list(self._changes(since, visible))
            minimal = "return=minimal" in request.headers.get("prefer", "")
            return self._page(
                request, replace(since, sequence=visible, minimal=minimal), entries, 0
            )
        names, navigations = self._tracked(entity_set, query)
        ids = _filtered_ids(query.filter)
        round_ = _Round(entity_set, names, navigations, ids, visible)
        if query.deltatoken:
            return self._page(request, round_, [], 0)
        # None, or empty as in the Location of a 410: from the beginning.
        return self._page(request, round_, list(self._everything(round_)), 0)

    def _visible_sequence(self) -> int:
        """The last change old enough to have been replicated."""
        sequence, log = len(self._directory.log), self._directory.log
        horizon = self._clock.time() - self._options.replication_lag_s
        if self._options.replication_lag_s > 0:
            while sequence and log[sequence - 1].at > horizon:
                sequence -= 1
        return sequence

    def _tracked(
        self, entity_set: EntitySet, query: Query
    ) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
        known = _RELATIONS.get(entity_set.path, {})
        if query.select is None:
            return None, _BY_DEFAULT.get(entity_set.path, ())
        navigations = tuple(name for name in query.select if name in known)
        names = tuple(name for name in query.select if name not in known)
        if entity_set.type != MIXED:
            undeclared = self._encoders.undeclared(entity_set.collection, entity_set.type)
            names = check_select(names, entity_set.type, undeclared, single=False)
        if "signInActivity" in names:
            raise unsupported_query("signInActivity is not tracked by delta.")
        return tuple(dict.fromkeys(("id", *names))), navigations

    # Tokens

    def _epoch(self, sequence: int) -> str:
        """Whose change log a sequence number belongs to.

        Before any change that is the tenant itself, so that a link outlives a restart.
        """
        return self._origin if sequence == 0 else self._process

    def _token(self, round_: _Round) -> str:
        payload = {
            "set": round_.entity_set.path,
            "names": round_.names,
            "nav": round_.navigations,
            "ids": sorted(round_.ids) if round_.ids is not None else None,
            "seq": round_.sequence,
            "at": self._clock.time(),
            "epoch": self._epoch(round_.sequence),
            "ends": len(self._ends),
        }
        return b64(encode_json(payload))

    def _check_alive(self, request: Request, entity_set: EntitySet, ends_before: int) -> None:
        """Raise 400 or 410 if `end` was called for the link after it had been given out."""
        for how, paths in self._ends[ends_before:]:
            if paths is not None and entity_set.path not in paths:
                continue
            if how == "expire":
                raise _expired()
            version = request.path.split("/", 2)[1]
            fresh = f"{request.base}/{version}/{entity_set.path}/delta?$deltatoken="
            raise GraphError(
                410,
                "resyncRequired",
                "Resync required. Replace any local items with the server's version.",
                headers={"Location": fresh},
            )

    def _read_token(self, request: Request, entity_set: EntitySet, query: Query) -> _Round:
        try:
            payload = decode_json(unb64(query.deltatoken or ""))
            path, sequence = payload["set"], int(payload["seq"])
            issued, epoch = float(payload["at"]), payload["epoch"]
            names, navigations = payload["names"], tuple(payload["nav"])
            ids, ends = payload["ids"], int(payload["ends"])
        except (InvalidTokenError, ValueError, KeyError, TypeError) as error:
            raise bad_request("Badly formed token.") from error
        if path != entity_set.path:
            raise bad_request("Badly formed token.")
        expired = issued + self._options.delta_life_s < self._clock.time()
        if expired or epoch != self._epoch(sequence) or sequence > len(self._directory.log):
            raise _expired()
        self._check_alive(request, entity_set, ends)
        if query.select is not None:
            names, navigations = self._tracked(entity_set, query)
        return _Round(
            entity_set,
            tuple(names) if names is not None else None,
            navigations,
            frozenset(ids) if ids is not None else None,
            sequence,
        )

    # What a round consists of

    def _everything(self, round_: _Round) -> Iterator[_Entry]:
        """The first round: every object, then the rest of the long lists of links, then the dead.

        Later slices of a group follow after all groups had their first: the same id comes back
        on pages that are not adjacent.
        """
        entity_set = round_.entity_set
        size = self._options.delta_slice
        later: list[_Entry] = []
        for object_id in self._ids(entity_set):
            if round_.ids is not None and object_id not in round_.ids:
                continue
            slices = self._slices(
                object_id,
                {
                    navigation: [(target, False) for target in targets]
                    for navigation, targets in self._links(round_, object_id)
                },
                size,
            )
            yield slices[0]
            later += slices[1:]
        later.sort(key=lambda entry: entry.object_id[::-1])
        yield from later
        for obj in self._directory.collection("deleted_items").values():
            kind = str(obj.get("@odata.type", "")).rpartition(".")[2]
            if kind == entity_set.type and (round_.ids is None or obj["id"] in round_.ids):
                yield _Entry(obj["id"], removed="changed")

    def _ids(self, entity_set: EntitySet) -> list[str]:
        if entity_set.type == MIXED:
            names = self._directory.kinds
            return [each for name in names for each in self._directory.collection(name)]
        if entity_set.type == "directoryRole":
            return list(roles.directory_roles(self._directory))
        return list(self._directory.collection(entity_set.collection))

    def _links(self, round_: _Round, object_id: str) -> Iterable[tuple[str, list[str]]]:
        known = _RELATIONS.get(round_.entity_set.path, {})
        for navigation in round_.navigations:
            if known[navigation] == ROLE_MEMBERS:
                role = roles.directory_roles(self._directory).get(object_id)
                targets = roles.role_members(self._directory, role) if role else []
            else:
                targets = self._directory.targets(known[navigation], object_id)
            if targets:
                yield navigation, targets

    @staticmethod
    def _slices(
        object_id: str,
        links: dict[str, list[Link]],
        size: int,
        changed: frozenset[str] | None = None,
    ) -> list[_Entry]:
        longest = max((len(each) for each in links.values()), default=0)
        entries: list[_Entry] = []
        for start in range(0, max(longest, 1), size):
            part = tuple(
                (navigation, tuple(each[start : start + size]))
                for navigation, each in links.items()
                if each[start : start + size]
            )
            entries.append(_Entry(object_id, links=part, changed=changed))
        return entries

    def _changes(self, since: _Round, until: int) -> Iterator[_Entry]:
        """A later round: each object that something tracked happened to, in its present state."""
        entity_set = since.entity_set
        relation_names = {_RELATIONS[entity_set.path][name]: name for name in since.navigations}
        news: dict[str, _News] = {}
        first = max(0, since.sequence - self._options.delta_replays)
        for change in self._directory.log[first:until]:
            object_id = self._object_of(entity_set, change)
            if object_id is None or (since.ids is not None and object_id not in since.ids):
                continue
            if change.relation is not None:
                navigation = relation_names.get(change.relation)
                if navigation is None or change.target is None:
                    continue
                held = news.setdefault(object_id, _News())
                held.links.setdefault(navigation, {}).pop(change.target, None)
                held.links[navigation][change.target] = change.operation == "unlink"
                continue
            if (
                change.properties is not None
                and since.names is not None
                and change.properties.isdisjoint(since.names)
            ):
                continue
            held = news.setdefault(object_id, _News())
            held.whole |= change.properties is None
            held.reborn |= change.operation == "restore"
            held.properties |= change.properties or frozenset()
        for object_id, held in news.items():
            yield from self._entries(since, object_id, held)

    def _entries(self, since: _Round, object_id: str, held: "_News") -> list[_Entry]:
        entity_set = since.entity_set
        if not self._alive(entity_set, object_id):
            in_bin = object_id in self._directory.collection("deleted_items")
            return [_Entry(object_id, removed="changed" if in_bin else "deleted")]
        links = {name: list(targets.items()) for name, targets in held.links.items()}
        if held.reborn:
            # With all that it has; who knew it already also learns what it has no longer.
            for navigation, targets in self._links(since, object_id):
                ended = [link for link in links.get(navigation, ()) if link[1]]
                links[navigation] = [*ended, *((target, False) for target in targets)]
        changed = None if held.whole else frozenset(held.properties)
        return self._slices(object_id, links, self._options.delta_slice, changed)

    def _object_of(self, entity_set: EntitySet, change: Change) -> str | None:
        if entity_set.type == MIXED:
            known = change.relation is None and change.collection in self._directory.kinds
            return change.object_id if known else None
        if entity_set.type == "directoryRole":
            if change.collection != "directory_roles":
                return None
            return roles.role_object_id(self._directory, change.object_id)
        return change.object_id if change.collection == entity_set.collection else None

    def _alive(self, entity_set: EntitySet, object_id: str) -> bool:
        if entity_set.type in (MIXED, "directoryRole"):
            return roles.find(self._directory, object_id) is not None
        return object_id in self._directory.collection(entity_set.collection)

    # Pages

    def _page(
        self, request: Request, round_: _Round, entries: Sequence[_Entry], position: int
    ) -> Response:
        end, weight = position, 0
        while end < len(entries) and end - position < self._options.delta_page:
            weight += entries[end].weight
            if weight > _MEMBERS_PER_PAGE and end > position:
                break
            end += 1
        encode = self._entry_encoder(request, round_)
        path = round_.entity_set.path
        version = request.path.split("/", 2)[1]
        root = f"{request.base}/{version}"
        if end < len(entries):
            token = self._cursors.issue(path, entries, end, 0, round_)
            name, link = "@odata.nextLink", f"{root}/{path}/delta?$skiptoken={token}"
        else:
            name = "@odata.deltaLink"
            link = f"{root}/{path}/delta?$deltatoken={self._token(round_)}"
        parts = [b"{"]
        if shows_types(request):
            shown = [*(round_.names or ()), *round_.navigations]
            context = f"{path}({','.join(shown)})" if round_.names is not None else path
            parts += [b'"@odata.context":', encode_json(f"{root}/$metadata#{context}"), b","]
        parts += [encode_json(name), b":", encode_json(link), b',"value":[']
        parts.append(b",".join([encode(entry) for entry in entries[position:end]]))
        parts.append(b"]}")
        return Response(body=b"".join(parts))

    def _entry_encoder(self, request: Request, round_: _Round) -> Callable[[_Entry], bytes]:
        entity_set, types = round_.entity_set, shows_types(request)
        caller: Caller = request.caller
        if entity_set.type == MIXED:
            encode_mixed = self._encoders.mixed(round_.names, caller.hidden_kinds, types).encode
            return lambda entry: (
                encode_json({"id": entry.object_id, "@removed": {"reason": entry.removed}})
                if entry.removed
                else encode_mixed(entry.object_id)
            )
        project = self._encoders.rows(
            entity_set.type,
            round_.names,
            undeclared=self._encoders.undeclared(entity_set.collection, entity_set.type),
            types=types,
        ).row
        if entity_set.type == "directoryRole":
            objects = roles.directory_roles(self._directory)
        else:
            objects = self._directory.collection(entity_set.collection)

        def encode(entry: _Entry) -> bytes:
            obj = objects.get(entry.object_id)
            if entry.removed is not None or obj is None:
                reason = entry.removed or "deleted"
                return encode_json({"id": entry.object_id, "@removed": {"reason": reason}})
            row: JsonObject = {}
            own = obj.get("@odata.type")
            if own and types:
                row["@odata.type"] = own
            row["id"] = entry.object_id
            shown = project(obj)
            if round_.minimal and entry.changed is not None:
                shown = {name: shown[name] for name in shown if name in entry.changed}
            row.update(shown)
            for navigation, links in entry.links:
                row[f"{navigation}@delta"] = [self._link(*link) for link in links]
            return encode_json(row)

        return encode

    def _link(self, target: str, removed: bool) -> JsonObject:
        found = roles.find(self._directory, target)
        kind = found[0] if found else self._directory.former_kinds.get(target, MIXED)
        row: JsonObject = {"@odata.type": f"#microsoft.graph.{kind}", "id": target}
        if found and found[1].get("@odata.type"):
            row["@odata.type"] = found[1]["@odata.type"]
        if removed:
            row["@removed"] = {"reason": "deleted"}
        return row


def _expired() -> GraphError:
    return GraphError(
        400,
        "syncStateNotFound",
        "The sync state generation is not found; the delta token is expired. "
        "Perform a full synchronization.",
    )


class _News:
    """What happened to one object since the last round."""

    __slots__ = ("links", "properties", "reborn", "whole")

    def __init__(self) -> None:
        self.whole = False
        self.reborn = False
        self.properties: set[str] | frozenset[str] = set()
        self.links: dict[str, dict[str, bool]] = {}


def _fingerprint(tenant: Tenant) -> str:
    """Tells tenants apart, and one tenant's states, by their sizes and a sample of their rows.

    A generated tenant's times move with the day: yesterday's links must not pass for today's.
    """
    digest = hashlib.blake2b(tenant.tenant_id.encode(), digest_size=16)
    for name, objects in tenant.objects.items():
        step = max(1, len(objects) // _SAMPLED)
        digest.update(f"{name} {len(objects)}".encode())
        digest.update(encode_json(list(islice(objects.values(), 0, None, step))))
    for name, links in tenant.links.items():
        digest.update(f"{name} {sum(map(len, links.values()))}".encode())
    return digest.hexdigest()


def _filtered_ids(text: str | None) -> frozenset[str] | None:
    """Ids of the only filter that delta takes. Raises GraphError 400 for any other."""
    if text is None:
        return None
    if not _ID_FILTER.match(text):
        raise unsupported_query("Delta supports only filters of the form: id eq '...' or ....")
    ids = _ONE_ID.findall(text)
    if len(ids) > _MAX_IDS:
        raise unsupported_query(f"At most {_MAX_IDS} ids can be filtered; got {len(ids)}.")
    return frozenset(ids)
