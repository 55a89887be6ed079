"""What people sign in with: sessions ended, methods of multi-factor authentication removed.

Sources: https://learn.microsoft.com/graph/api/user-revokesigninsessions (documented as 204, it
answers 200 with true: a known issue), https://learn.microsoft.com/graph/api/authentication-list-methods
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from entra_pipeline.msgraph import Written
from entra_pipeline.provisioning.actions.accounts import account_url, changed_since
from entra_pipeline.provisioning.actions.base import (
    ADMINISTRATORS,
    AT_ONCE,
    Call,
    Seen,
    judged,
    says,
)
from entra_pipeline.provisioning.ledger.work import Outcome
from entra_pipeline.provisioning.plans import Operation
from entra_pipeline.provisioning.reads import Facts, Read
from entra_pipeline.provisioning.states import OperationState

METHODS: Final[Mapping[str, str]] = {
    "emailAuthenticationMethod": "emailMethods",
    "fido2AuthenticationMethod": "fido2Methods",
    "windowsHelloForBusinessAuthenticationMethod": "windowsHelloForBusinessMethods",
    "platformCredentialAuthenticationMethod": "platformCredentialMethods",
    "externalAuthenticationMethod": "externalAuthenticationMethods",
    "temporaryAccessPassAuthenticationMethod": "temporaryAccessPassMethods",
    "softwareOathAuthenticationMethod": "softwareOathMethods",
    "phoneAuthenticationMethod": "phoneMethods",
    "microsoftAuthenticatorAuthenticationMethod": "microsoftAuthenticatorMethods",
}
"""Type of a method -> the collection that deletes it; what may be somebody's default comes last."""
PASSWORD: Final = "passwordAuthenticationMethod"  # noqa: S105 - a type's name
_SKIPPED: Final = "skipped_count"
_METHOD: Final = "method:"
_AT_ONCE: Final = 40
"""More methods than anybody has; whoever does gets another pass."""


def methods_url(user_id: str) -> str:
    """The address of what a user signs in with."""
    return f"/users/{user_id}/authentication/methods"


def kind_of_method(method: Mapping[str, Any]) -> str:
    """The type's name without its namespace."""
    return str(method.get("@odata.type")).rpartition(".")[2]


def methods_report(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a removal of methods came to, from the operation's result.

    `success` (nothing failed), `deleted_count`, `failed_count`, `skipped_count` (passwords), and
    `methods`: type, id and `deleted` or `failed` of each.
    """
    done = {OperationState.WRITTEN.value, OperationState.ALREADY.value}
    methods = []
    for label, state in sorted(result.items()):
        if label.startswith(_METHOD):
            _, kind, key = label.split(":", 2)
            methods.append(
                {"type": kind, "id": key, "outcome": "deleted" if state in done else "failed"}
            )
    failed = sum(each["outcome"] == "failed" for each in methods)
    return {
        "success": failed == 0,
        "deleted_count": len(methods) - failed,
        "failed_count": failed,
        "skipped_count": int(result.get(_SKIPPED, 0)),
        "methods": methods,
    }


@dataclass(frozen=True)
class RevokeSessions:
    """Ending all sessions. What is ended twice is ended; so nothing is ever left out."""

    visible_within: timedelta = timedelta(minutes=15)
    again_after: timedelta | None = timedelta(minutes=2)

    def reads(self, operation: Operation) -> tuple[Read, ...]:
        """The account."""
        return (Read(account_url(str(operation.target_id))),)

    def see(self, operation: Operation, facts: Facts) -> Seen:
        """Whether sessions were ended since the plan."""
        return changed_since(operation, facts, "signInSessionsValidFromDateTime")

    def call(self, operation: Operation, seen: Seen, root: str) -> Call:
        """`POST /users/{id}/revokeSignInSessions`."""
        return Call("POST", f"/users/{operation.target_id}/revokeSignInSessions")

    def judge(self, operation: Operation, written: Written) -> Outcome:
        """What Graph's answer means."""
        return judged(written, later=("request_resourcenotfound",), advice=ADMINISTRATORS)


@dataclass(frozen=True)
class RemoveMethods:
    """Removing every method that there is when it is carried out, one after the other.

    Graph does not remove the default method while there are others: what it refuses for that is
    tried again when the others are gone.
    """

    visible_within: timedelta = timedelta(minutes=10)
    again_after: timedelta | None = AT_ONCE

    def reads(self, operation: Operation) -> tuple[Read, ...]:
        """The methods."""
        user = str(operation.target_id)
        return (Read(methods_url(user)),)

    def see(self, operation: Operation, facts: Facts) -> Seen:
        """Whether any is left besides passwords."""
        user = str(operation.target_id)
        methods = facts.items(methods_url(user))
        if methods is None:
            return Seen(False, (f"there is no user {user} any more",))
        left = [each for each in methods if kind_of_method(each) != PASSWORD]
        result = {_SKIPPED: len(methods) - len(left)}
        return Seen(not left, facts={"methods": left}, result=result)

    def call(self, operation: Operation, seen: Seen, root: str) -> Call:
        """`DELETE …/authentication/…Methods/{id}` of each."""
        order = list(METHODS)
        # Of a kind that is younger than this program, the address is made the way the others are.
        methods = sorted(
            seen.facts["methods"],
            key=lambda each: order.index(kind) if (kind := kind_of_method(each)) in order else -1,
        )
        calls = [
            Call(
                "DELETE",
                f"/users/{operation.target_id}/authentication/{_collection(each)}/{each['id']}",
                label=f"{_METHOD}{kind_of_method(each)}:{each['id']}",
            )
            for each in methods[:_AT_ONCE]
        ]
        return replace(calls[0], more=tuple(calls[1:]), result=dict(seen.result))

    def judge(self, operation: Operation, written: Written) -> Outcome:
        """What Graph's answer about one method means."""
        if written.error is not None and "default authentication method" in says(written.error):
            said = "the default method goes when the others are gone"
            return Outcome(OperationState.RETRYABLE, said, soon=True)
        gone, later = ("request_resourcenotfound",), ("concurrencyviolation",)
        return judged(written, already=gone, later=later, advice=ADMINISTRATORS)


def _collection(method: Mapping[str, Any]) -> str:
    kind = kind_of_method(method)
    return METHODS.get(kind, f"{kind.removesuffix('AuthenticationMethod')}Methods")
