"""The simulated tenant's objects, by what tests want of them."""

from collections.abc import Iterator
from typing import Any

from entra_pipeline.simulator.process import Simulator


class Tenant:
    """Objects of the simulated tenant, by what they are."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self.users = [user["id"] for user in simulator.truth("users")]
        self.groups = simulator.truth("groups")
        self.service_principals = simulator.truth("service_principals")
        self.members: dict[str, list[str]] = simulator.truth("group_members")
        self.owners: dict[str, list[str]] = simulator.truth("group_owners")

    def group(self, **wanted: Any) -> str:
        """A group with these properties; None: without them."""
        for group in self.groups:
            if all((group.get(name) or None) == value for name, value in wanted.items()):
                found: str = group["id"]
                return found
        raise AssertionError(f"no group with {wanted}")

    def plain(self) -> Iterator[str]:
        for group in self.groups:
            if group.get("securityEnabled") and not any(
                group.get(name)
                for name in (
                    "mailEnabled",
                    "groupTypes",
                    "onPremisesSyncEnabled",
                    "isAssignableToRole",
                )
            ):
                yield group["id"]

    def stranger(self, group: str) -> str:
        """A user who is not a member of the group."""
        return next(user for user in self.users if user not in self.members.get(group, ()))

    def custom_app(self) -> tuple[str, str]:
        """An application with an app role for people, and that role."""
        for app in self.service_principals:
            for role in app.get("appRoles") or ():
                if role["isEnabled"] and "User" in role["allowedMemberTypes"]:
                    return app["id"], role["id"]
        raise AssertionError("no application with a role for people")

    def holders(self, collection: str, **wanted: str) -> set[str]:
        """Principals of rows (assignments) with these values."""
        return {
            row["principalId"]
            for row in self._simulator.truth(collection)
            if all(row.get(name) == value for name, value in wanted.items())
        }
