"""The simulated tenant's lists, by what tests want of them."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, Final

from entra_pipeline.simulator.process import Simulator

EXCHANGE: Final[dict[str, Any]] = {
    "users": 120,
    "groups": 120,
    "seed": 11,
    "writer": True,
    "writer_roles": ("Exchange Administrator",),
    "client_roles": ("Global Reader",),
}
"""A tenant whose applications reach Exchange."""
RESOURCE: Final = "https://outlook.office365.com"


class Lists:
    """Groups that Exchange keeps, as Exchange says, and who can be in them."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._token = simulator.token(writer=True, resource=RESOURCE)
        self.groups = {
            group["id"]: group
            for group in simulator.truth("groups")
            if group["mailEnabled"] and not group["groupTypes"]
        }
        self.users = {user["id"]: user for user in simulator.truth("users")}
        self.members = {
            group: [row["ExternalDirectoryObjectId"] for row in rows]
            for group in self.groups
            for rows in [self.ask("Get-DistributionGroupMember", group, ResultSize="Unlimited")]
        }
        self.owners = {group: self._owners(group) for group in self.groups}

    def ask(self, command: str, group: str, **more: Any) -> list[dict[str, Any]]:
        """What a command gives for one list, without the product in between."""
        info = self._simulator.info
        parameters: Mapping[str, Any] = {"Identity": group, **more}
        body = {"CmdletInput": {"CmdletName": command, "Parameters": parameters}}
        # Where a front door that redirects would send us.
        base = info.http_graph_url.replace("localhost", "127.0.0.1")
        request = urllib.request.Request(
            f"{base}/adminapi/beta/{info.tenant_id}/InvokeCommand",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            rows: list[dict[str, Any]] = json.load(response)["value"]
        return rows

    def _owners(self, group: str) -> list[str]:
        """Users who manage it: Exchange names some by id and some by name."""
        (row,) = self.ask("Get-DistributionGroup", group)
        names = {str(user["displayName"]): key for key, user in self.users.items()}
        return [names.get(each, each) for each in row["ManagedBy"]]

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
            if 1 < len(self.members[key]) < 100 and len(self.owners[key]) > 1
        )

    def with_owners(self, count: int = 2) -> tuple[str, str]:
        """A list that so many or more manage, and a user among them."""
        return next(
            (group, each)
            for group in self.every()
            for each in self.owners[group]
            if len(self.owners[group]) >= count and each in self.users
        )

    def stranger(self, group: str) -> str:
        """A user with a mailbox who is neither in the list nor owns it."""
        held = {*self.members[group], *self.owners[group]}
        return next(key for key, user in self.users.items() if key not in held and user["mail"])
