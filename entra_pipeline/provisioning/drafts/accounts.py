"""Drafts of accounts: made, invited, deleted, restored, and what they sign in with."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from entra_pipeline.provisioning import canonical
from entra_pipeline.provisioning.actions.accounts import (
    account_url,
    by_mail_url,
    deleted_url,
    named_url,
)
from entra_pipeline.provisioning.actions.credentials import PASSWORD, kind_of_method, methods_url
from entra_pipeline.provisioning.actions.groups import held_url, owners_url
from entra_pipeline.provisioning.drafts import people
from entra_pipeline.provisioning.drafts.base import Draft
from entra_pipeline.provisioning.drafts.managers import manager_reads, resolved
from entra_pipeline.provisioning.ledger import Filed
from entra_pipeline.provisioning.plans import Action, Condition, Inverse, Operation
from entra_pipeline.provisioning.reads import Facts, Read, kind_of_object
from entra_pipeline.provisioning.values import (
    CreateUser,
    DeleteUser,
    InviteGuest,
    RestoreUser,
    RevokeMfa,
    RevokeSessions,
    RotatePassword,
    Tier,
)

DOMAINS_URL: Final = "/domains?$select=id,isVerified,authenticationType"
_NOBODY: Final = "there is nobody to seal the password to: name their public keys in ENTRA_SEAL_TO"
_PROPERTY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAMED: Final = {
    "displayName": "display_name",
    "mailNickname": "mail_nickname",
    "userPrincipalName": "user_principal_name",
    "accountEnabled": "account_enabled",
    "onPremisesImmutableId": "on_premises_immutable_id",
    "givenName": "given_name",
    "surname": "surname",
    "employeeId": "employee_id",
    "jobTitle": "job_title",
    "department": "department",
    "usageLocation": "usage_location",
}


def unwritable(attributes: Mapping[str, Any]) -> list[str]:
    """Why properties, named as Graph names them, cannot be written as they are given."""
    return [
        f"{name!r} is not the name of a property"
        for name in sorted(attributes)
        if not _PROPERTY.fullmatch(name)
    ]


def on_account(
    filed: Filed,
    action: Action,
    user_id: str,
    arguments: dict[str, Any] | None = None,
    *,
    tier: Tier,
    conditions: Sequence[Condition] = (),
    already: bool = False,
    inverse: Inverse | None = None,
    irreversible: str | None = None,
) -> Operation:
    """An operation on an account that there is."""
    return Operation(
        position=0,
        request_id=filed.id,
        action=action,
        identity=filed.request.body.identity,
        target_id=user_id,
        principal_id=user_id,
        arguments=arguments or {},
        preconditions=tuple(conditions),
        already=already,
        tier=tier,
        inverse=inverse,
        irreversible=irreversible,
    )


def owned_url(user_id: str) -> str:
    """The address of what a user owns."""
    return held_url("users", user_id, "owner")


class CreateUsers:
    """New accounts."""

    def first(self, body: CreateUser) -> Sequence[Read]:
        """Who has the name, the tenant's domains, and the manager."""
        reads = [Read(named_url(body.user_principal_name)), Read(DOMAINS_URL)]
        return [*reads, *manager_reads(body.manager)]

    def needs(self, body: CreateUser, facts: Facts) -> Sequence[Read]:
        """Nothing else."""
        return ()

    def draft(
        self, filed: Filed, body: CreateUser, facts: Facts, recipients: tuple[str, ...]
    ) -> Draft:
        """Refused when the name is taken or of a domain that is not ours, or nobody could read the
        password; a manager who is not found is a warning."""
        reasons = [] if recipients else [_NOBODY]
        reasons += unwritable(body.additional_attributes)
        taken = facts.document(named_url(body.user_principal_name))
        if taken is not None:
            reasons.append(
                f"the user principal name is taken by {taken['id']}: check_upn tells which is free"
            )
        reasons += _of_domain(body, facts)
        warnings = []
        manager = None
        if body.manager:
            manager, why = resolved(body.manager, facts)
            if why is not None:
                warnings.append(f"{why}: the account is made without a manager")
        if reasons:
            return Draft(reasons=tuple(reasons))
        named = {name: getattr(body, field) for name, field in _NAMED.items()}
        properties = {
            **body.additional_attributes,
            **{name: value for name, value in named.items() if value is not None},
        }
        undo = {"properties": {"accountEnabled": False}}
        operation = Operation(
            position=0,
            request_id=filed.id,
            action=Action.CREATE_USER,
            identity=body.identity,
            arguments={
                "properties": properties,
                "manager": manager,
                "recipients": list(recipients),
                "since": canonical.moment(filed.filed_at),
            },
            already=False,
            inverse=Inverse(action=Action.UPDATE_USER, arguments=undo),
        )
        return Draft((operation,), warnings=tuple(warnings))


def _of_domain(body: CreateUser, facts: Facts) -> list[str]:
    domain = body.user_principal_name.rpartition("@")[2].lower()
    rows = {str(each["id"]).lower(): each for each in facts.items(DOMAINS_URL) or ()}
    found = rows.get(domain)
    if found is None or not found.get("isVerified"):
        ours = sorted(name for name, each in rows.items() if each.get("isVerified"))
        return [f"{domain} is not a verified domain of the tenant: those are {', '.join(ours)}"]
    if found.get("authenticationType") == "Federated" and body.on_premises_immutable_id is None:
        return [f"{domain} is federated: its accounts need on_premises_immutable_id"]
    return []


class InviteGuests:
    """Guests."""

    def first(self, body: InviteGuest) -> Sequence[Read]:
        """Who has the address, and the tenant's domains."""
        return (Read(by_mail_url(body.mail)), Read(DOMAINS_URL))

    def needs(self, body: InviteGuest, facts: Facts) -> Sequence[Read]:
        """Nothing else."""
        return ()

    def draft(
        self, filed: Filed, body: InviteGuest, facts: Facts, recipients: tuple[str, ...]
    ) -> Draft:
        """Refused for addresses of our own; a guest who is there already is a success."""
        found = facts.items(by_mail_url(body.mail)) or []
        guests = [each for each in found if each.get("userType") == "Guest"]
        ours = {str(each["id"]).lower() for each in facts.items(DOMAINS_URL) or ()}
        if found and not guests:
            return Draft(reasons=(f"{found[0]['id']} has the address, and is no guest",))
        if not found and body.mail.rpartition("@")[2].lower() in ours:
            return Draft(
                reasons=("the address is of the tenant's own domain: make an account instead",)
            )
        operation = Operation(
            position=0,
            request_id=filed.id,
            action=Action.INVITE_GUEST,
            identity=body.identity,
            arguments={
                "mail": body.mail,
                "display_name": body.display_name,
                "redirect_url": body.redirect_url,
                "send_message": body.send_message,
            },
            already=bool(guests),
            irreversible="an invitation cannot be called back: delete_user removes the guest",
        )
        return Draft((operation,))


class DeleteUsers:
    """Accounts that go to the recycle bin."""

    def first(self, body: DeleteUser) -> Sequence[Read]:
        """The account, what it is, and the recycle bin."""
        user = body.user_id
        return [*people.first(user), Read(deleted_url(user)), Read(owned_url(user))]

    def needs(self, body: DeleteUser, facts: Facts) -> Sequence[Read]:
        """What its groups may do, and who else owns the groups that it owns."""
        owned = [Read(owners_url(each)) for each in _owned_groups(body.user_id, facts)]
        return [*people.then(body.user_id, facts), *owned]

    def draft(
        self, filed: Filed, body: DeleteUser, facts: Facts, recipients: tuple[str, ...]
    ) -> Draft:
        """Refused for accounts from on premises and the last administrators."""
        user = body.user_id
        account = facts.document(account_url(user))
        if account is None and facts.document(deleted_url(user)) is None:
            return Draft(reasons=(f"there is no user {user}",))
        reasons, conditions = people.last_administrators(user, facts)
        reasons += people.elsewhere(account or {}, "delete it")
        if reasons:
            return Draft(reasons=tuple(reasons))
        operation = on_account(
            filed,
            Action.DELETE_USER,
            user,
            tier=people.tier_of_account(user, facts),
            conditions=conditions,
            already=account is None,
            inverse=Inverse(action=Action.RESTORE_USER),
        )
        warnings = [
            f"group {each} has no other owner"
            for each in _owned_groups(user, facts)
            if not {owner["id"] for owner in facts.items(owners_url(each)) or ()} - {user}
        ]
        warnings.append("after 30 days it cannot be restored any more")
        return Draft((operation,), warnings=tuple(warnings))


def _owned_groups(user_id: str, facts: Facts) -> list[str]:
    owned = facts.items(owned_url(user_id)) or []
    return sorted(each["id"] for each in owned if kind_of_object(each) == "group")


class RestoreUsers:
    """Accounts that come back from the recycle bin."""

    def first(self, body: RestoreUser) -> Sequence[Read]:
        """The account, what it was, and the recycle bin."""
        return [*people.first(body.user_id), Read(deleted_url(body.user_id))]

    def needs(self, body: RestoreUser, facts: Facts) -> Sequence[Read]:
        """What its groups may do."""
        return people.then(body.user_id, facts)

    def draft(
        self, filed: Filed, body: RestoreUser, facts: Facts, recipients: tuple[str, ...]
    ) -> Draft:
        """Refused for what is not in the recycle bin."""
        user = body.user_id
        account = facts.document(account_url(user))
        if account is None and facts.document(deleted_url(user)) is None:
            return Draft(reasons=(f"there is no user {user}, nor one in the recycle bin",))
        operation = on_account(
            filed,
            Action.RESTORE_USER,
            user,
            tier=people.tier_of_account(user, facts),
            already=account is not None,
            inverse=Inverse(action=Action.DELETE_USER),
        )
        return Draft((operation,), warnings=("it comes back with the access that it had",))


class RotatePasswords:
    """New passwords."""

    def first(self, body: RotatePassword) -> Sequence[Read]:
        """The account, and what it is."""
        return people.first(body.user_id)

    def needs(self, body: RotatePassword, facts: Facts) -> Sequence[Read]:
        """What its groups may do."""
        return people.then(body.user_id, facts)

    def draft(
        self, filed: Filed, body: RotatePassword, facts: Facts, recipients: tuple[str, ...]
    ) -> Draft:
        """Refused where the password is kept elsewhere, or nobody could read it."""
        user = body.user_id
        account = facts.document(account_url(user))
        if account is None:
            return Draft(reasons=(f"there is no user {user}",))
        reasons = [] if recipients else [_NOBODY]
        reasons += people.elsewhere(account, "change its password")
        if account.get("userType") == "Guest" and account.get("creationType") == "Invitation":
            reasons.append(f"user {user} is a guest: its password is kept where it comes from")
        if reasons:
            return Draft(reasons=tuple(reasons))
        before = account.get("lastPasswordChangeDateTime")
        operation = on_account(
            filed,
            Action.SET_PASSWORD,
            user,
            {"recipients": list(recipients)},
            tier=people.tier_of_account(user, facts),
            conditions=[
                Condition(fact="user.lastPasswordChangeDateTime", subject=user, value=before)
            ],
            irreversible="nobody knows the password of before",
        )
        return Draft((operation,))


class EndSessions:
    """Sessions."""

    def first(self, body: RevokeSessions) -> Sequence[Read]:
        """The account, and what it is."""
        return people.first(body.user_id)

    def needs(self, body: RevokeSessions, facts: Facts) -> Sequence[Read]:
        """What its groups may do."""
        return people.then(body.user_id, facts)

    def draft(
        self, filed: Filed, body: RevokeSessions, facts: Facts, recipients: tuple[str, ...]
    ) -> Draft:
        """Possible for whoever is there."""
        user = body.user_id
        account = facts.document(account_url(user))
        if account is None:
            return Draft(reasons=(f"there is no user {user}",))
        name = "signInSessionsValidFromDateTime"
        operation = on_account(
            filed,
            Action.REVOKE_SESSIONS,
            user,
            tier=people.tier_of_account(user, facts),
            conditions=[Condition(fact=f"user.{name}", subject=user, value=account.get(name))],
            irreversible="who was signed in has to sign in again",
        )
        return Draft((operation,), warnings=(TOKENS_LIVE,))


TOKENS_LIVE: Final = "tokens that were given out work for up to an hour more"


class RemoveAllMethods:
    """Methods of multi-factor authentication."""

    def first(self, body: RevokeMfa) -> Sequence[Read]:
        """The account, what it is, and its methods."""
        return [*people.first(body.user_id), Read(methods_url(body.user_id))]

    def needs(self, body: RevokeMfa, facts: Facts) -> Sequence[Read]:
        """What its groups may do."""
        return people.then(body.user_id, facts)

    def draft(
        self, filed: Filed, body: RevokeMfa, facts: Facts, recipients: tuple[str, ...]
    ) -> Draft:
        """Possible for whoever is there. What is registered until then goes too."""
        user = body.user_id
        methods = facts.items(methods_url(user))
        if facts.document(account_url(user)) is None or methods is None:
            return Draft(reasons=(f"there is no user {user}",))
        kinds = Counter(map(kind_of_method, methods))
        kinds.pop(PASSWORD, None)
        operation = on_account(
            filed,
            Action.REMOVE_METHODS,
            user,
            tier=people.tier_of_account(user, facts),
            already=not kinds,
            irreversible="who uses them has to register again",
        )
        listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        said = f"goes: {listed}, and what is registered until it is carried out"
        return Draft((operation,), warnings=(said,) if kinds else ())
