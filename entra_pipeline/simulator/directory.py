"""The tenant while it is being served: the one way to change it, and what must notice a change.

`Directory` wraps a `Tenant`, keeps reverse indexes (member -> groups), a log of changes for delta
queries, and version numbers from which every cache knows whether it is still true. Nothing here
knows HTTP or OData.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, TypeVar, cast

from entra_pipeline.simulator.clock import Clock
from entra_pipeline.simulator.tenant import KINDS, RELATIONS, Tenant, key_of
from entra_pipeline.simulator.wire import JsonObject

Operation = Literal["put", "patch", "remove", "soft_delete", "restore", "link", "unlink"]

ROLE_MEMBERS = "directory_role_members"
"""The relation behind /directoryRoles/{id}/members: derived from tenant-wide role assignments."""

_DELETABLE = {
    "users": "#microsoft.graph.user",
    "groups": "#microsoft.graph.group",
    "applications": "#microsoft.graph.application",
    "service_principals": "#microsoft.graph.servicePrincipal",
}
_COLLECTION_OF_TYPE = {f"#microsoft.graph.{kind}": name for name, kind in KINDS.items()}


_Method = TypeVar("_Method", bound=Callable[..., Any])


def _told(method: _Method) -> _Method:
    """Tell followers of a change that was made from outside, once it is made."""

    @wraps(method)
    def told(self: "Directory", *arguments: Any) -> Any:
        if self._changing or not self.followers:
            return method(self, *arguments)
        self._changing = True
        try:
            done = method(self, *arguments)
        finally:
            self._changing = False
        if done is not False:
            for follow in self.followers:
                follow(method.__name__, arguments)
        return done

    return cast(_Method, told)


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the change log.

    `collection` is the collection of the changed object; for links, of the link's source, with
    `object_id` the source. `properties` is None when all of them may have changed.
    """

    sequence: int
    at: float
    operation: Operation
    collection: str
    object_id: str
    properties: frozenset[str] | None = None
    relation: str | None = None
    target: str | None = None


class Directory:
    """A tenant under change.

    Single-threaded: the server's event loop is the only caller.
    """

    def __init__(self, tenant: Tenant, clock: Clock | None = None) -> None:
        self.tenant = tenant
        self.clock = clock or Clock()
        self.log: list[Change] = []
        self.versions: dict[str, int] = {}
        self.changes = 0
        """Grows with every change of anything."""
        self.kinds = KINDS
        self.on_object_change: list[Callable[[str], None]] = []
        """Called with an object id whenever that object's own properties may differ."""
        self.activated_roles: set[str] = set()
        """Role definitions that have had an assignment: a role once activated stays so."""
        self.born: dict[str, float] = {}
        """When objects came into being, for those that were not there at the start."""
        self.former_kinds: dict[str, str] = {}
        """Type name of directory objects that are gone: delta still has to name it."""
        self.followers: list[Callable[[str, tuple[Any, ...]], None]] = []
        """Told of every change from outside: the method's name and its arguments."""
        self.hold_limits: dict[str, Any] = {
            "required": False,
            "assignment": "P180D",
            "eligibility": "P365D",
        }
        """What role policies say of holds in PIM: whether they must end, and how long they last."""
        self._changing = False
        self._memos: dict[str, tuple[int, Any]] = {}
        self._sources: dict[str, dict[str, list[str]]] = {}
        self._target_sets: dict[tuple[str, str], set[str]] = {}
        self._set_aside: dict[str, list[tuple[str, str, str]]] = {}
        self._grouped: dict[tuple[str, str], dict[str, list[JsonObject]]] = {}

    def copy(self, clock: Clock) -> "Directory":
        """A directory of its own in the present state, history included; it follows nobody."""
        tenant = Tenant(
            self.tenant.tenant_id,
            {name: dict(rows) for name, rows in self.tenant.objects.items()},
            {
                name: {source: list(targets) for source, targets in links.items()}
                for name, links in self.tenant.links.items()
            },
        )
        other = Directory(tenant, clock)
        other.log = list(self.log)
        other.activated_roles = set(self.activated_roles)
        other.born = dict(self.born)
        other.hold_limits = self.hold_limits
        other.former_kinds = dict(self.former_kinds)
        other._set_aside = {key: list(links) for key, links in self._set_aside.items()}
        return other

    def limit_holds(self, **limits: Any) -> None:
        """Change `hold_limits`; policies show them at once."""
        self.hold_limits |= limits
        self._touch("role_definitions")

    # Reading

    def collection(self, name: str) -> dict[str, JsonObject]:
        """The objects of a collection by id; an empty one for names that the tenant has not."""
        return self.tenant.objects.setdefault(name, {})

    def find(self, object_id: str) -> tuple[str, JsonObject] | None:
        """Collection and object of a living directory object of any kind."""
        for name in KINDS:
            found = self.tenant.objects[name].get(object_id)
            if found is not None:
                return name, found
        return None

    def targets(self, relation: str, source: str) -> list[str]:
        """Targets of a relation, in the order they were added. Not to be changed."""
        return self.tenant.links.setdefault(relation, {}).get(source) or []

    def sources(self, relation: str, target: str) -> list[str]:
        """Sources that link to the target (the groups that hold a member). Not to be changed."""
        index = self._sources.get(relation)
        if index is None:
            index = {}
            for source, targets in self.tenant.links.setdefault(relation, {}).items():
                for each in targets:
                    holders = index.get(each)
                    if holders is None:
                        index[each] = [source]
                    else:
                        holders.append(source)
            self._sources[relation] = index
        return index.get(target) or []

    def version(self, names: Iterable[str]) -> int:
        """A number that grows whenever one of the named collections or relations changes."""
        return sum(self.versions.get(name, 0) for name in names)

    def memo(self, key: str, depends: tuple[str, ...], build: Callable[[], Any]) -> Any:
        """What `build` gives, kept until one of the named collections or relations changes."""
        version = self.version(depends)
        held = self._memos.get(key)
        if held is None or held[0] != version:
            held = self._memos[key] = (version, build())
        return held[1]

    def grouped(self, collection: str, name: str) -> dict[str, list[JsonObject]]:
        """Rows of a collection by the value of one of their properties. Not to be changed."""
        groups = self._grouped.get((collection, name))
        if groups is None:
            groups = self._grouped[collection, name] = {}
            for row in self.collection(collection).values():
                groups.setdefault(row.get(name) or "", []).append(row)
        return groups

    def is_linked(self, relation: str, source: str, target: str) -> bool:
        """Whether the link is there."""
        return target in self._targets_as_set(relation, source)

    # Writing

    @_told
    def put(self, collection: str, obj: JsonObject) -> None:
        """Create an object, or replace the one with its id."""
        object_id = key_of(collection, obj)
        before = self.collection(collection).get(object_id)
        if before is not None and collection == "role_assignments":
            self.remove(collection, object_id)
        self.tenant.objects[collection][object_id] = obj
        self._regroup(collection, before, obj)
        if before is None:
            self.born[object_id] = self.clock.time()
        self._record("put", collection, object_id)
        if collection == "role_assignments":
            self._record_role_member("link", obj)

    @_told
    def patch(self, collection: str, object_id: str, props: JsonObject) -> None:
        """Overwrite some properties. Raises KeyError if there is no such object."""
        held = self.tenant.objects[collection][object_id]
        # A new dict: pages that are being written out keep the state they started with.
        after = self.tenant.objects[collection][object_id] = {**held, **props}
        self._regroup(collection, held, after)
        self._record("patch", collection, object_id, frozenset(props))

    @_told
    def remove(self, collection: str, object_id: str) -> None:
        """Delete for good, links included. Raises KeyError if there is no such object.

        For directory objects the object may also be lying in `deleted_items`.
        """
        deleted = self.tenant.objects["deleted_items"]
        if collection in KINDS and object_id not in self.tenant.objects[collection]:
            self._regroup("deleted_items", deleted.pop(object_id), None)
            aside = self._set_aside.pop(object_id, [])
            self._touch("deleted_items")
            self._record("remove", collection, object_id)
            for relation, source, target in aside:
                # Only now do the memberships end: soft deletion keeps them (graph delta query).
                self._record_link("unlink", relation, source, target)
            return
        obj = self.tenant.objects[collection].pop(object_id)
        self._regroup(collection, obj, None)
        if collection in KINDS:
            self.former_kinds[object_id] = KINDS[collection]
        self._record("remove", collection, object_id)
        if collection == "role_assignments":
            self._record_role_member("unlink", obj)
        for relation, source, target in self._links_of(collection, object_id):
            self.unlink(relation, source, target)

    @_told
    def soft_delete(self, collection: str, object_id: str) -> None:
        """Move an object to `deleted_items`. Its links disappear from sight until restored.

        Raises KeyError if there is no such object, ValueError if the collection has no recycle
        bin.
        """
        odata_type = _DELETABLE.get(collection)
        if odata_type is None:
            raise ValueError(f"objects of {collection} cannot be soft-deleted; use remove")
        obj = self.tenant.objects[collection].pop(object_id)
        self._regroup(collection, obj, None)
        self.former_kinds[object_id] = KINDS[collection]
        links = self._links_of(collection, object_id)
        for relation, source, target in links:
            self._drop(relation, source, target)
        self._set_aside[object_id] = links
        bin_row = {"@odata.type": odata_type, **obj, "deletedDateTime": self.clock.stamp()}
        self.tenant.objects["deleted_items"][object_id] = bin_row
        self._regroup("deleted_items", None, bin_row)
        self._touch("deleted_items")
        self._record("soft_delete", collection, object_id)

    @_told
    def restore(self, object_id: str) -> None:
        """Bring back a soft-deleted object with its links. Raises KeyError if it is not there."""
        bin_row = self.tenant.objects["deleted_items"].pop(object_id)
        self._regroup("deleted_items", bin_row, None)
        obj = dict(bin_row)
        collection = _COLLECTION_OF_TYPE[obj["@odata.type"]]
        if obj["@odata.type"] == _DELETABLE.get(collection):
            del obj["@odata.type"]
        obj["deletedDateTime"] = None
        self.tenant.objects[collection][object_id] = obj
        self._regroup(collection, None, obj)
        self.born[object_id] = self.clock.time()
        self._touch("deleted_items")
        self._record("restore", collection, object_id)
        for relation, source, target in self._set_aside.pop(object_id, []):
            other = target if source == object_id else source
            if other in self.tenant.objects["deleted_items"]:
                # The other end is in the recycle bin: the link comes back with whichever is last.
                self._set_aside.setdefault(other, []).append((relation, source, target))
            elif self.tenant.collection_of(other) is None:
                continue  # purged meanwhile
            elif relation == "managers" and self.tenant.links[relation].get(source):
                continue  # who reported to it has got another manager
            else:
                self._add(relation, source, target)

    @_told
    def link(self, relation: str, source: str, target: str) -> bool:
        """Add a link; False if it was there already."""
        if not self._add(relation, source, target):
            return False
        self._record_link("link", relation, source, target)
        return True

    @_told
    def unlink(self, relation: str, source: str, target: str) -> bool:
        """Take a link away; False if there was none."""
        if not self._drop(relation, source, target):
            return False
        self._record_link("unlink", relation, source, target)
        return True

    # The inside

    def _regroup(
        self, collection: str, before: JsonObject | None, after: JsonObject | None
    ) -> None:
        """Keep what `grouped` has given true; new lists, because others may still walk the old."""
        for (grouped, name), groups in self._grouped.items():
            if grouped != collection:
                continue
            old = (before.get(name) or "") if before is not None else None
            new = (after.get(name) or "") if after is not None else None
            if old is not None and old == new:
                groups[old] = [after if row is before else row for row in groups[old]]  # type: ignore[misc]
                continue
            if old is not None:
                groups[old] = [row for row in groups[old] if row is not before]
            if new is not None and after is not None:
                groups[new] = [*groups.get(new, ()), after]

    def _touch(self, name: str) -> None:
        self.versions[name] = self.versions.get(name, 0) + 1
        self.changes += 1

    def _record(
        self,
        operation: Operation,
        collection: str,
        object_id: str,
        properties: frozenset[str] | None = None,
    ) -> None:
        self._touch(collection)
        for notify in self.on_object_change:
            notify(object_id)
        self.log.append(
            Change(
                len(self.log) + 1, self.clock.time(), operation, collection, object_id, properties
            )
        )

    def _record_link(self, operation: Operation, relation: str, source: str, target: str) -> None:
        collection = RELATIONS[relation][0] if relation in RELATIONS else "directory_roles"
        self._touch(relation)
        self.log.append(
            Change(
                len(self.log) + 1,
                self.clock.time(),
                operation,
                collection,
                source,
                None,
                relation,
                target,
            )
        )

    def _record_role_member(self, operation: Operation, assignment: JsonObject) -> None:
        role, principal = assignment["roleDefinitionId"], assignment["principalId"]
        self.activated_roles.add(role)
        if assignment.get("directoryScopeId") != "/":
            return
        if operation == "unlink" and any(
            other["principalId"] == principal and other.get("directoryScopeId") == "/"
            for other in self.grouped("role_assignments", "roleDefinitionId").get(role, ())
        ):
            return  # held a second time
        self._record_link(operation, ROLE_MEMBERS, role, principal)

    def _links_of(self, collection: str, object_id: str) -> list[tuple[str, str, str]]:
        found: list[tuple[str, str, str]] = []
        for relation, (source_collection, target_collections) in RELATIONS.items():
            if source_collection == collection:
                found += [(relation, object_id, each) for each in self.targets(relation, object_id)]
            if collection in target_collections:
                found += [(relation, each, object_id) for each in self.sources(relation, object_id)]
        return list(dict.fromkeys(found))

    def _targets_as_set(self, relation: str, source: str) -> set[str]:
        key = (relation, source)
        held = self._target_sets.get(key)
        if held is None:
            held = self._target_sets[key] = set(self.targets(relation, source))
        return held

    def _add(self, relation: str, source: str, target: str) -> bool:
        held = self._targets_as_set(relation, source)
        if target in held:
            return False
        held.add(target)
        self.sources(relation, target)  # the index must exist before the link does
        self.tenant.links[relation].setdefault(source, []).append(target)
        self._sources[relation].setdefault(target, []).append(source)
        self._touch(relation)
        return True

    def _drop(self, relation: str, source: str, target: str) -> bool:
        held = self._targets_as_set(relation, source)
        if target not in held:
            return False
        held.discard(target)
        self.sources(relation, target)
        # A new list: page tokens hold the old one, and must neither skip nor repeat.
        kept = [each for each in self.tenant.links[relation][source] if each != target]
        if kept:
            self.tenant.links[relation][source] = kept
        else:
            del self.tenant.links[relation][source]
        self._sources[relation][target].remove(source)
        self._touch(relation)
        return True
