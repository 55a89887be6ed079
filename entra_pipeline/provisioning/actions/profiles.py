"""Properties of accounts, and their managers.

Sources: https://learn.microsoft.com/graph/api/user-update,
https://learn.microsoft.com/graph/api/user-post-manager,
https://learn.microsoft.com/graph/api/user-delete-manager
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from entra_pipeline.msgraph import Written
from entra_pipeline.provisioning.actions.accounts import (
    account_url,
    administrators_reads,
    last_administrators,
)
from entra_pipeline.provisioning.actions.base import (
    ADMINISTRATORS,
    AT_ONCE,
    Call,
    Seen,
    judged,
    quoted,
)
from entra_pipeline.provisioning.actions.pim import moment
from entra_pipeline.provisioning.ledger.work import Outcome
from entra_pipeline.provisioning.plans import Operation
from entra_pipeline.provisioning.reads import Facts, Read

_NOT_THERE: Final = ("request_resourcenotfound",)
_ADVICE: Final = {**ADMINISTRATORS, "on-premises mastered": "change it in the directory it is from"}


def properties_url(user_id: str, names: Iterable[str]) -> str:
    """The address of some properties of an account."""
    return f"/users/{user_id}?$select={','.join(['id', *sorted(map(quoted, names))])}"


def manager_url(user_id: str) -> str:
    """The address of an account's manager; there is nothing when it has none."""
    return f"/users/{user_id}/manager?$select=id"


def same(wanted: Any, found: Any) -> bool:
    """Whether a property is as wanted: of an object only the named parts count, nothing is as good
    as an empty text, and moments are compared as such."""
    if isinstance(wanted, dict):
        return all(same(value, (found or {}).get(name)) for name, value in wanted.items())
    if wanted in (None, ""):
        return found in (None, "")
    if isinstance(wanted, str) and isinstance(found, str) and wanted != found:
        try:
            return moment(wanted) == moment(found)
        except ValueError:
            return False
    return bool(wanted == found)


@dataclass(frozen=True)
class UpdateUser:
    """Setting properties; enabling and disabling are this too."""

    visible_within: timedelta = timedelta(minutes=10)
    again_after: timedelta | None = AT_ONCE

    def reads(self, operation: Operation) -> tuple[Read, ...]:
        """The properties as they are."""
        names = operation.arguments["properties"]
        return (
            Read(properties_url(str(operation.target_id), names)),
            *administrators_reads(operation),
        )

    def see(self, operation: Operation, facts: Facts) -> Seen:
        """Whether all are as wanted, and those that are not as they were in the plan."""
        wanted, user = operation.arguments["properties"], str(operation.target_id)
        found = facts.document(properties_url(user, wanted))
        if found is None:
            return Seen(False, (f"there is no user {user} any more",))
        missing = [name for name, value in wanted.items() if not same(value, found.get(name))]
        before = {
            each.fact.removeprefix("user."): each.value
            for each in operation.preconditions
            if each.fact.startswith("user.")
        }
        against = tuple(
            f"{name} of user {user} was changed by somebody else since the plan"
            for name in missing
            if name in before and not same(before[name], found.get(name))
        )
        if not missing:
            return Seen(True)
        return Seen(False, (*against, *last_administrators(operation, facts)))

    def call(self, operation: Operation, seen: Seen, root: str) -> Call:
        """`PATCH /users/{id}`."""
        return Call("PATCH", f"/users/{operation.target_id}", operation.arguments["properties"])

    def judge(self, operation: Operation, written: Written) -> Outcome:
        """What Graph's answer means."""
        return judged(written, later=_NOT_THERE, advice=_ADVICE)


@dataclass(frozen=True)
class Manager:
    """Naming (`adds`) or removing a manager."""

    adds: bool
    visible_within: timedelta = timedelta(minutes=10)
    again_after: timedelta | None = AT_ONCE

    def reads(self, operation: Operation) -> tuple[Read, ...]:
        """The account and its manager."""
        user = str(operation.target_id)
        return (Read(account_url(user)), Read(manager_url(user)))

    def see(self, operation: Operation, facts: Facts) -> Seen:
        """Whether the manager is the one wanted, or none."""
        user, wanted = str(operation.target_id), operation.arguments.get("manager")
        if facts.document(account_url(user)) is None:
            return Seen(False, (f"there is no user {user} any more",))
        found = (facts.document(manager_url(user)) or {}).get("id")
        if found == wanted:
            return Seen(True)
        if any(each.value != found for each in operation.preconditions):
            return Seen(False, (f"the manager of user {user} was changed since the plan",))
        return Seen(False)

    def call(self, operation: Operation, seen: Seen, root: str) -> Call:
        """`PUT` or `DELETE /users/{id}/manager/$ref`."""
        url = f"/users/{operation.target_id}/manager/$ref"
        if not self.adds:
            return Call("DELETE", url)
        manager = operation.arguments["manager"]
        return Call("PUT", url, {"@odata.id": f"{root}/directoryObjects/{manager}"})

    def judge(self, operation: Operation, written: Written) -> Outcome:
        """What Graph's answer means."""
        if self.adds:
            return judged(written, later=_NOT_THERE, advice=_ADVICE)
        return judged(written, already=_NOT_THERE, advice=_ADVICE)
