"""What Exchange holds of lists: members and managers, and when Entra learns of a change.

A change is Exchange's own at once (or, while reads are behind, for the replica that is up to date)
and reaches Entra's `/members` after the back-synchronisation's lag. Managers stay in Exchange:
owners in Graph do not follow them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from entra_pipeline.simulator.changes.base import Session
from entra_pipeline.simulator.generate.first_party import EXCHANGE_APP_ID
from entra_pipeline.simulator.logs.entries import by_application
from entra_pipeline.simulator.writes.write import Service

ROLE_GROUP: Final = "Organization Management"
"""Who manages a list that nobody in particular does."""
_INITIATOR: Final = {
    "id": EXCHANGE_APP_ID,
    "appId": EXCHANGE_APP_ID,
    "displayName": "Office 365 Exchange Online",
}


@dataclass
class _Change:
    at: float
    relation: str
    group: str
    principal: str
    adds: bool
    request_id: str
    synced: bool = False


class Lists:
    """Members and managers of all lists, as Exchange has them."""

    def __init__(self, service: Service, back_sync_s: float) -> None:
        self._service = service
        self.back_sync_s = back_sync_s
        self._changes: list[_Change] = []
        self._managers: dict[str, list[str]] = {}

    def members(self, group: str, *, fresh: bool = True) -> list[str]:
        """Object ids of the members; `fresh`: also what the replica for reads lacks."""
        held = list(self._service.directory.targets("group_members", group))
        pending = [each for each in self._of("members", group) if not each.synced]
        return self._seen("members", group, _applied(held, pending), fresh)

    def managers(self, group: str, *, fresh: bool = True) -> list[str]:
        """Object ids of the managers, or the role group's name."""
        held = self._managers.get(group)
        if held is None:
            directory = self._service.directory
            found = directory.targets("group_owners", group)
            users = directory.collection("users")
            held = [each for each in found if users.get(each, {}).get("mail")] or [ROLE_GROUP]
            self._managers[group] = held
        return self._seen("managers", group, list(held), fresh)

    def change(
        self, relation: str, group: str, principal: str, *, adds: bool, request_id: str
    ) -> None:
        """Add or remove a member or manager; who is one already was asked before."""
        now = self._service.clock.time()
        made = _Change(now, relation, group, principal, adds, request_id)
        if relation == "managers":
            self._managers[group] = _applied(self.managers(group), [made])
            made.synced = True
        self._changes.append(made)
        self.tick()

    def tick(self) -> None:
        """Let Entra learn of what is due."""
        service = self._service
        now = service.clock.time()
        for each in self._changes:
            if each.synced or each.at + self.back_sync_s > now:
                continue
            each.synced = True
            session = Session(
                service.directory, service.rng, service.clock.now(), service.trail.observe
            )
            with service.trail.by(by_application(_INITIATOR), each.request_id):
                if each.adds:
                    session.link("group_members", each.group, each.principal)
                else:
                    session.unlink("group_members", (each.group, each.principal))
        horizon = now - max(service.replication.lag_s, 0)
        self._changes = [each for each in self._changes if not each.synced or each.at > horizon]

    def _of(self, relation: str, group: str) -> list[_Change]:
        return [each for each in self._changes if (each.relation, each.group) == (relation, group)]

    def _seen(self, relation: str, group: str, held: list[str], fresh: bool) -> list[str]:
        """Without what the replica for reads has not heard of yet."""
        replication = self._service.replication
        if fresh or replication.lag_s <= 0 or replication.view() is self._service.directory:
            return held
        since = max(self._service.clock.time() - replication.lag_s, replication.since)
        for each in reversed(self._of(relation, group)):
            if each.at > since:
                held = _applied(held, [each], undo=True)
        return held


def _applied(held: list[str], changes: Iterable[_Change], *, undo: bool = False) -> list[str]:
    for each in changes:
        held = [one for one in held if one != each.principal]
        if each.adds is not undo:
            held.append(each.principal)
    return held
