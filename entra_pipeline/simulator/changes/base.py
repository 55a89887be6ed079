"""One series of changes: what its steps share.

Here: the `Directory` interface through which every change goes, the `Change` that reports it, and
`Session`, on which the steps in the neighbouring modules are written. Not here: the steps.
"""

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Protocol

from entra_pipeline.simulator.tenant import RELATIONS, JsonObject, Tenant, key_of


class Directory(Protocol):
    """How `mutate` reads and changes a directory."""

    tenant: Tenant

    def targets(self, relation: str, source: str) -> list[str]:
        """Targets of a source's links. Not to be changed."""
        ...

    def sources(self, relation: str, target: str) -> list[str]:
        """Sources that link to a target. Not to be changed."""
        ...

    def put(self, collection: str, obj: JsonObject) -> None:
        """Create an object, or replace the one with its id."""

    def patch(self, collection: str, object_id: str, props: JsonObject) -> None:
        """Overwrite some properties."""

    def remove(self, collection: str, object_id: str) -> None:
        """Delete for good, links included."""

    def soft_delete(self, collection: str, object_id: str) -> None:
        """Move to `deleted_items`."""

    def restore(self, object_id: str) -> None:
        """Bring back from `deleted_items`."""

    def link(self, relation: str, source: str, target: str) -> bool:
        """Add a link; False if it was there."""
        ...

    def unlink(self, relation: str, source: str, target: str) -> bool:
        """Take a link away; False if there was none."""
        ...


Observe = Callable[
    [str, str, tuple[str, ...], JsonObject | None, JsonObject | None],
    None,
]
"""Told of every change: operation, target and ids as in `Change`, the object before and after."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that was changed.

    `op` says what happened (`put`, `patch`, `remove`, `soft_delete`, `restore`, `link`, `unlink`),
    `target` is the collection or relation it happened to, `ids` the object (for links source and
    target), `reason` the random step that did it.
    """

    op: str
    target: str
    ids: tuple[str, ...]
    reason: str

    def to_json(self) -> JsonObject:
        """The change as a JSON object."""
        return {**asdict(self), "ids": list(self.ids)}


class Session:
    """A directory under change, with the random choices and the record of what was done."""

    def __init__(
        self,
        directory: Directory,
        rng: random.Random,
        now: datetime,
        observe: Observe | None = None,
    ) -> None:
        self.directory = directory
        self.objects = directory.tenant.objects
        self.links = directory.tenant.links
        self.rng = rng
        self.stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.done: list[Change] = []
        self.reason = ""
        self._observe = observe
        self._ids: dict[str, list[str]] = {}
        self._naming: dict[str, dict[str, dict[str, None]]] = {}

    # Reading

    def some(self, collection: str) -> str | None:
        """A random id of a collection; None if it is empty."""
        ids = self._ids.get(collection)
        if ids is None:
            ids = self._ids[collection] = list(self.objects[collection])
        return self.rng.choice(ids) if ids else None

    def some_group(self, accept: Callable[[JsonObject], bool]) -> str | None:
        """A random group that fits, tried a few times."""
        for _ in range(12):
            group = self.some("groups")
            if group and accept(self.objects["groups"][group]):
                return group
        return None

    def some_link(self, relation: str, accept: Callable[[str], bool]) -> tuple[str, str] | None:
        """A random source that fits and has links, and one of its targets."""
        rows = self.links[relation]
        sources = list(rows)
        for _ in range(12 if sources else 0):
            source = self.rng.choice(sources)
            if rows[source] and accept(source):
                return source, self.rng.choice(rows[source])
        return None

    def rows_naming(self, collection: str, object_id: str) -> list[JsonObject]:
        """Rows of one of the collections in `_ENDS_WITH` that name an object."""
        index = self._naming.get(collection)
        if index is None:
            index = self._naming[collection] = {}
            for key, row in self.objects[collection].items():
                for name in _ENDS_WITH[collection]:
                    index.setdefault(row.get(name) or "", {})[key] = None
        rows = self.objects[collection]
        return [rows[key] for key in index.get(object_id, ())]

    def _reindex(self, collection: str, key: str, row: JsonObject, present: bool) -> None:
        index = self._naming.get(collection)
        for name in _ENDS_WITH.get(collection, ()) if index is not None else ():
            held = self._naming[collection].setdefault(row.get(name) or "", {})
            if present:
                held[key] = None
            else:
                held.pop(key, None)

    # Writing

    def note(
        self,
        op: str,
        target: str,
        *ids: str,
        before: JsonObject | None = None,
        after: JsonObject | None = None,
    ) -> bool:
        """Record a change; True, so that a step can return it."""
        self.done.append(Change(op, target, ids, self.reason))
        if self._observe is not None:
            self._observe(op, target, ids, before, after)
        return True

    def put(self, collection: str, obj: JsonObject) -> bool:
        """Create or replace an object."""
        self.directory.put(collection, obj)
        self._reindex(collection, obj["id"], obj, present=True)
        self._ids.pop(collection, None)
        return self.note("put", collection, obj["id"], after=obj)

    def patch(self, collection: str, object_id: str, props: JsonObject) -> bool:
        """Overwrite some properties."""
        before = self.objects[collection][object_id]
        self.directory.patch(collection, object_id, props)
        after = self.objects[collection][object_id]
        return self.note("patch", collection, object_id, before=before, after=after)

    def remove(self, collection: str, object_id: str) -> bool:
        """Delete for good; the id may lie in `deleted_items`."""
        row = self.objects[collection].get(object_id)
        before = row or self.objects["deleted_items"].get(object_id)
        self.directory.remove(collection, object_id)
        if row is not None:
            self._reindex(collection, object_id, row, present=False)
        self._ids.pop(collection, None)
        self._ids.pop("deleted_items", None)
        return self.note("remove", collection, object_id, before=before)

    def soft_delete(self, collection: str, object_id: str) -> bool:
        """Move to `deleted_items`."""
        before = self.objects[collection][object_id]
        self.directory.soft_delete(collection, object_id)
        self._ids.pop(collection, None)
        self._ids.pop("deleted_items", None)
        return self.note("soft_delete", collection, object_id, before=before)

    def link(self, relation: str, source: str | None, target: str | None) -> bool:
        """Add a link; False if there was one, an end is missing, or both ends are the same."""
        if not source or not target or source == target:
            return False
        if not self.directory.link(relation, source, target):
            return False
        return self.note("link", relation, source, target)

    def unlink(self, relation: str, found: tuple[str, str] | None) -> bool:
        """Take away a link that `some_link` found."""
        if not found or not self.directory.unlink(relation, *found):
            return False
        return self.note("unlink", relation, *found)

    def restore(self, collection: str, object_id: str) -> bool:
        """Bring an object back from the recycle bin."""
        self.directory.restore(object_id)
        self._ids.pop(collection, None)
        self._ids.pop("deleted_items", None)
        self.note("restore", collection, object_id, after=self.objects[collection][object_id])
        self._drop_stale_links(collection, object_id)
        return True

    def _drop_stale_links(self, collection: str, object_id: str) -> None:
        """Links come back with a restored object, but some may have become untrue.

        What they name may have been deleted in the meantime, and who reported to the object may
        have got another manager.
        """
        tenant = self.directory.tenant
        for relation, (source_collection, target_collections) in RELATIONS.items():
            if source_collection == collection:
                for target in list(self.directory.targets(relation, object_id)):
                    if tenant.collection_of(target) is None:
                        self.unlink(relation, (object_id, target))
            if collection in target_collections:
                for source in list(self.directory.sources(relation, object_id)):
                    gone = source not in tenant.objects[source_collection]
                    targets = self.directory.targets(relation, source)
                    if gone or (relation == "managers" and targets[0] != object_id):
                        self.unlink(relation, (source, object_id))

    def end_access(self, object_id: str) -> None:
        """Remove what ends with an object that is gone for good.

        Assignments of app roles and consents end; role assignments stay behind, as in Graph.
        """
        for collection in _ENDS_WITH:
            for row in self.rows_naming(collection, object_id):
                self.remove(collection, key_of(collection, row))


_ENDS_WITH: dict[str, tuple[str, ...]] = {
    "app_role_assignments": ("principalId", "resourceId"),
    "oauth2_permission_grants": ("principalId", "clientId", "resourceId"),
    "group_eligibility_schedule_instances": ("principalId", "groupId"),
    "group_assignment_schedule_instances": ("principalId", "groupId"),
    "synchronization_jobs": ("servicePrincipalId",),
    "authentication_methods": ("userId",),
}
"""Collection, and its properties that name an object without which the row cannot be."""

Step = tuple[str, Callable[[Session], bool], int]
"""What a step is called, the step (False: found nothing to do), and how often it is chosen."""


def blank(model: JsonObject) -> JsonObject:
    """An object with the properties of the model, all empty."""
    empty: JsonObject = {}
    for name, value in model.items():
        if name.startswith("@"):
            continue
        empty[name] = [] if isinstance(value, list) else None
    return empty
