"""Accounts: made, invited, deleted, restored, and given new passwords.

Passwords come in between here and Graph (`sealing`): nothing in this module knows one.

Sources: https://learn.microsoft.com/graph/api/user-post-users,
https://learn.microsoft.com/graph/api/invitation-post,
https://learn.microsoft.com/graph/api/user-delete,
https://learn.microsoft.com/graph/api/directory-deleteditems-restore,
https://learn.microsoft.com/graph/api/user-update
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import msgspec

from entra_pipeline.msgraph import Written
from entra_pipeline.provisioning.actions import roles
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

_ACCOUNT: Final = (
    "id,userPrincipalName,userType,creationType,accountEnabled,onPremisesSyncEnabled,"
    "lastPasswordChangeDateTime,signInSessionsValidFromDateTime"
)
_SKEW: Final = timedelta(minutes=5)
_NOT_THERE: Final = ("request_resourcenotfound",)
_TAKEN: Final = ("property userprincipalname already exists", "property netid is invalid")


def account_url(user_id: str) -> str:
    """The address of what has to be known of an account, by object id or principal name."""
    return f"/users/{quoted(user_id)}?$select={_ACCOUNT}"


def named_url(name: str) -> str:
    """The address of the account of a user principal name."""
    return f"/users/{quoted(name)}?$select=id,displayName,mailNickname,createdDateTime"


def by_mail_url(mail: str) -> str:
    """The address of the accounts with a mail address."""
    return f"/users?$filter=mail eq '{quoted(mail)}'&$select=id,userType"


def deleted_url(user_id: str) -> str:
    """The address of an object in the recycle bin."""
    return f"/directory/deletedItems/{user_id}?$select=id"


def last_administrators(operation: Operation, facts: Facts) -> tuple[str, ...]:
    """What stands against taking an account out of use, if it is one of the last administrators."""
    for condition in operation.preconditions:
        if condition.fact == "role.others":
            holders = facts.items(roles.holders_url(roles.GLOBAL_ADMINISTRATOR)) or []
            left = roles.others(holders, str(operation.target_id))
            if left < roles.LEAST_ADMINISTRATORS:
                return (f"only {left} Global Administrators would be left",)
    return ()


def administrators_reads(operation: Operation) -> tuple[Read, ...]:
    """What `last_administrators` needs."""
    if any(each.fact == "role.others" for each in operation.preconditions):
        return (Read(roles.holders_url(roles.GLOBAL_ADMINISTRATOR)),)
    return ()


def with_id(outcome: Outcome, written: Written, *path: str) -> Outcome:
    """The outcome with the id that Graph's answer gives to what it made."""
    if written.error is not None or not written.body:
        return outcome
    found: Any = msgspec.json.decode(written.body)
    for name in path:
        found = (found or {}).get(name)
    return outcome if found is None else replace(outcome, result={"id": found})


@dataclass(frozen=True)
class CreateUser:
    """Making an account, whose password was sealed before."""

    visible_within: timedelta = timedelta(minutes=15)
    again_after: timedelta | None = AT_ONCE

    def reads(self, operation: Operation) -> tuple[Read, ...]:
        """Who has the name, and whether the manager is there."""
        reads = (Read(named_url(operation.arguments["properties"]["userPrincipalName"])),)
        manager = operation.arguments["manager"]
        return reads if manager is None else (*reads, Read(account_url(manager)))

    def see(self, operation: Operation, facts: Facts) -> Seen:
        """Whether an account has the name, and whether it can be the one that we made."""
        arguments = operation.arguments
        wanted = arguments["properties"]
        found = facts.document(named_url(wanted["userPrincipalName"]))
        if found is None:
            manager = arguments["manager"]
            gone = manager is not None and facts.document(account_url(manager)) is None
            return Seen(False, facts={"manager": None if gone else manager, "gone": gone})
        taken = f"its user principal name is taken by {found['id']}"
        if _ours(found, wanted, arguments["since"]):
            return Seen(True, (taken,), mine=True, result={"id": found["id"]})
        unclear = f"{taken}, which is not like what was asked for: a person has to decide"
        return Seen(False, (taken,), unclear=unclear)

    def call(self, operation: Operation, seen: Seen, root: str) -> Call:
        """`POST /users`, with the manager: an account that is never half made."""
        body = dict(operation.arguments["properties"])
        manager, note = seen.facts["manager"], None
        if manager is not None:
            body["manager@odata.bind"] = f"{root}/users/{manager}"
        if seen.facts["gone"]:
            note = "the manager is gone since the plan: the account was made without one"
        seals = {"user_principal_name": body["userPrincipalName"]}
        return Call("POST", "/users", body, seals=seals, note=note)

    def judge(self, operation: Operation, written: Written) -> Outcome:
        """What Graph's answer means. A name that is taken by now is found out by reading."""
        later = (*_TAKEN, *_NOT_THERE)
        return with_id(judged(written, later=later, advice=ADMINISTRATORS), written, "id")


def _ours(found: Mapping[str, Any], wanted: Mapping[str, Any], since: str) -> bool:
    created = found.get("createdDateTime")
    return (
        all(found.get(name) == wanted[name] for name in ("displayName", "mailNickname"))
        and created is not None
        and moment(created) >= moment(since) - _SKEW
    )


@dataclass(frozen=True)
class InviteGuest:
    """Inviting somebody. Graph makes nobody twice."""

    visible_within: timedelta = timedelta(minutes=15)
    again_after: timedelta | None = AT_ONCE

    def reads(self, operation: Operation) -> tuple[Read, ...]:
        """Who has the address."""
        return (Read(by_mail_url(operation.arguments["mail"])),)

    def see(self, operation: Operation, facts: Facts) -> Seen:
        """Whether there is a guest of that address."""
        found = facts.items(by_mail_url(operation.arguments["mail"])) or []
        for each in found:
            if each.get("userType") == "Guest":
                return Seen(True, result={"id": each["id"]})
        if found:
            return Seen(False, (f"{found[0]['id']} has the address, and is no guest",))
        return Seen(False)

    def call(self, operation: Operation, seen: Seen, root: str) -> Call:
        """`POST /invitations`."""
        arguments = operation.arguments
        body = {
            "invitedUserEmailAddress": arguments["mail"],
            "inviteRedirectUrl": arguments["redirect_url"],
            "sendInvitationMessage": arguments["send_message"],
        }
        if arguments["display_name"] is not None:
            body["invitedUserDisplayName"] = arguments["display_name"]
        return Call("POST", "/invitations", body)

    def judge(self, operation: Operation, written: Written) -> Outcome:
        """What Graph's answer means."""
        return with_id(judged(written), written, "invitedUser", "id")


@dataclass(frozen=True)
class DeleteUser:
    """Moving an account to the recycle bin."""

    visible_within: timedelta = timedelta(minutes=15)
    again_after: timedelta | None = AT_ONCE

    def reads(self, operation: Operation) -> tuple[Read, ...]:
        """The account."""
        return (Read(account_url(str(operation.target_id))), *administrators_reads(operation))

    def see(self, operation: Operation, facts: Facts) -> Seen:
        """Whether it is gone."""
        if facts.document(account_url(str(operation.target_id))) is None:
            return Seen(True)
        return Seen(False, last_administrators(operation, facts))

    def call(self, operation: Operation, seen: Seen, root: str) -> Call:
        """`DELETE /users/{id}`."""
        return Call("DELETE", f"/users/{operation.target_id}")

    def judge(self, operation: Operation, written: Written) -> Outcome:
        """What Graph's answer means."""
        return judged(written, already=_NOT_THERE, advice=ADMINISTRATORS)


@dataclass(frozen=True)
class RestoreUser:
    """Taking an account out of the recycle bin."""

    visible_within: timedelta = timedelta(minutes=15)
    again_after: timedelta | None = AT_ONCE

    def reads(self, operation: Operation) -> tuple[Read, ...]:
        """The account, and the recycle bin."""
        user = str(operation.target_id)
        return (Read(account_url(user)), Read(deleted_url(user)))

    def see(self, operation: Operation, facts: Facts) -> Seen:
        """Whether it is back."""
        user = str(operation.target_id)
        if facts.document(account_url(user)) is not None:
            return Seen(True)
        if facts.document(deleted_url(user)) is None:
            return Seen(False, (f"user {user} is not in the recycle bin any more",))
        return Seen(False)

    def call(self, operation: Operation, seen: Seen, root: str) -> Call:
        """`POST /directory/deletedItems/{id}/restore`."""
        return Call("POST", f"/directory/deletedItems/{operation.target_id}/restore", {})

    def judge(self, operation: Operation, written: Written) -> Outcome:
        """What Graph's answer means."""
        taken = "another account has its user principal name by now: change that one's first"
        advice = {**ADMINISTRATORS, "userprincipalname already exists": taken}
        return judged(written, later=_NOT_THERE, advice=advice)


@dataclass(frozen=True)
class SetPassword:
    """Setting a new password, which was sealed before, and which is to be changed at once.

    Whether it was set shows in when the password was last changed.
    """

    visible_within: timedelta = timedelta(minutes=10)
    again_after: timedelta | None = timedelta(minutes=2)

    def reads(self, operation: Operation) -> tuple[Read, ...]:
        """The account."""
        return (Read(account_url(str(operation.target_id))),)

    def see(self, operation: Operation, facts: Facts) -> Seen:
        """Whether the password was changed since the plan."""
        return changed_since(operation, facts, "lastPasswordChangeDateTime")

    def call(self, operation: Operation, seen: Seen, root: str) -> Call:
        """`PATCH /users/{id}` with a password profile."""
        user = str(operation.target_id)
        return Call("PATCH", f"/users/{user}", {}, seals={"user_id": user})

    def judge(self, operation: Operation, written: Written) -> Outcome:
        """What Graph's answer means."""
        return judged(written, later=_NOT_THERE, advice=ADMINISTRATORS)


def changed_since(operation: Operation, facts: Facts, name: str) -> Seen:
    """Whether a time of the account is another than when the plan was made, by us then."""
    user = str(operation.target_id)
    account = facts.document(account_url(user))
    if account is None:
        return Seen(False, (f"there is no user {user} any more",))
    before = next(each.value for each in operation.preconditions if each.fact == f"user.{name}")
    return Seen(account.get(name) != before, mine=True)
