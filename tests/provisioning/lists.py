"""The simulated tenant's lists, by what tests want of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from entra_pipeline.simulator.process import Simulator

EXCHANGE: Final[dict[str, Any]] = {
    "users": 120,
    "groups": 80,
    "seed": 11,
    "writer": True,
    "writer_roles": ("Exchange Administrator",),
    "client_roles": ("Global Reader",),
}
"""A tenant whose applications reach Exchange."""


class Lists:
    """Groups that Exchange keeps, and who can be in them."""

    def __init__(self, simulator: Simulator) -> None:
        self.groups = {
            group["id"]: group
            for group in simulator.truth("groups")
            if group["mailEnabled"] and not group["groupTypes"]
        }
        self.users = {user["id"]: user for user in simulator.truth("users")}
        self.members: dict[str, list[str]] = simulator.truth("group_members")
        self.owners: dict[str, list[str]] = simulator.truth("group_owners")

    def every(self, *, secure: bool | None = None) -> Iterator[str]:
        """Lists that are not synced."""
        for key, group in self.groups.items():
            if secure in (None, group["securityEnabled"]) and not group["onPremisesSyncEnabled"]:
                yield key

    def some(self, *, secure: bool | None = None) -> str:
        """A list with members and owners."""
        return next(
            key
            for key in self.every(secure=secure)
            if 1 < len(self.members.get(key, ())) < 100 and len(self.owners.get(key, ())) > 1
        )

    def stranger(self, group: str, *, owner: bool = False) -> str:
        """A user with a mailbox who is neither in the list nor owns it."""
        held = {*self.members.get(group, ()), *self.owners.get(group, ())}
        return next(key for key, user in self.users.items() if key not in held and user["mail"])
