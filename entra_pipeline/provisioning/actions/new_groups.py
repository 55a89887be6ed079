"""Groups that are made, and names of accounts that are asked after.

A group has no name of its own kind that is only its own, so each is made with a `uniqueName` from
its request: Graph refuses a second one.

Sources: https://learn.microsoft.com/graph/api/group-post-groups,
https://learn.microsoft.com/graph/api/group-upsert
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from entra_pipeline.msgraph import Written
from entra_pipeline.provisioning.actions.accounts import with_id
from entra_pipeline.provisioning.actions.base import (
    ADMINISTRATORS,
    AT_ONCE,
    Call,
    Seen,
    judged,
    quoted,
)
from entra_pipeline.provisioning.ledger.work import Outcome
from entra_pipeline.provisioning.plans import Operation
from entra_pipeline.provisioning.reads import Facts, Read

_NOT_YET: Final = ("property uniquename already exists", "request_resourcenotfound")


def unique_url(unique_name: str) -> str:
    """The address of the group of a unique name."""
    return f"/groups(uniqueName='{quoted(unique_name)}')?$select=id"


def like_url(name: str) -> str:
    """The address of accounts whose principal name begins as a name does before its @."""
    local = name.partition("@")[0]
    return (
        f"/users?$filter=startswith(userPrincipalName,'{quoted(local)}')"
        "&$select=id,userPrincipalName&$top=999"
    )


def suffix_of(name: str, taken: Iterable[str]) -> int:
    """The number that makes a principal name free when it is put before the @; 0: it is free."""
    lowered = {each.lower() for each in taken}
    suffix = 0
    while numbered(name, suffix).lower() in lowered:
        suffix = max(2, suffix + 1)
    return suffix


def numbered(name: str, suffix: int) -> str:
    """A principal name with a number before its @; none for 0."""
    local, at, domain = name.partition("@")
    return f"{local}{suffix or ''}{at}{domain}"


@dataclass(frozen=True)
class CreateGroup:
    """Making a group, with its first owners and members."""

    visible_within: timedelta = timedelta(minutes=15)
    again_after: timedelta | None = AT_ONCE

    def reads(self, operation: Operation) -> tuple[Read, ...]:
        """Whether the request has its group already."""
        return (Read(unique_url(operation.arguments["unique_name"])),)

    def see(self, operation: Operation, facts: Facts) -> Seen:
        """Whether it is there."""
        found = facts.document(unique_url(operation.arguments["unique_name"]))
        return Seen(False) if found is None else Seen(True, result={"id": found["id"]})

    def call(self, operation: Operation, seen: Seen, root: str) -> Call:
        """`POST /groups`."""
        arguments = operation.arguments
        body = {**arguments["properties"], "uniqueName": arguments["unique_name"]}
        for name in ("owners", "members"):
            if arguments[name]:
                body[f"{name}@odata.bind"] = [
                    f"{root}/directoryObjects/{each}" for each in arguments[name]
                ]
        return Call("POST", "/groups", body)

    def judge(self, operation: Operation, written: Written) -> Outcome:
        """What Graph's answer means."""
        taken = "another group has this mail nickname: ask with another one"
        advice = {**ADMINISTRATORS, "property mailnickname already exists": taken}
        return with_id(judged(written, later=_NOT_YET, advice=advice), written, "id")


@dataclass(frozen=True)
class CheckUpn:
    """Asking after a user principal name: it writes nothing.

    The result tells `free`, and with `suffix` the number that makes it so; not the name itself.
    """

    visible_within: timedelta = timedelta(minutes=1)
    again_after: timedelta | None = AT_ONCE

    def reads(self, operation: Operation) -> tuple[Read, ...]:
        """Accounts whose names begin alike."""
        return (Read(like_url(operation.arguments["user_principal_name"])),)

    def see(self, operation: Operation, facts: Facts) -> Seen:
        """The answer, which is always there."""
        name = operation.arguments["user_principal_name"]
        suffix = suffix_of(name, names_like(name, facts))
        return Seen(True, result={"free": suffix == 0, "suffix": suffix})

    def call(self, operation: Operation, seen: Seen, root: str) -> Call:
        """Never asked for: what holds is not written."""
        raise AssertionError("asking after a name writes nothing")

    def judge(self, operation: Operation, written: Written) -> Outcome:
        """Never asked for."""
        raise AssertionError("asking after a name writes nothing")


def names_like(name: str, facts: Facts) -> list[str]:
    """The principal names that begin as that name does."""
    return [str(each["userPrincipalName"]) for each in facts.items(like_url(name)) or ()]
