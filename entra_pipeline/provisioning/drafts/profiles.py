"""Drafts of changes to accounts: their properties, whether they are enabled, their managers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from entra_pipeline.provisioning.actions.accounts import account_url
from entra_pipeline.provisioning.actions.profiles import manager_url, properties_url, same
from entra_pipeline.provisioning.drafts import people
from entra_pipeline.provisioning.drafts.accounts import TOKENS_LIVE, on_account, unwritable
from entra_pipeline.provisioning.drafts.base import Draft
from entra_pipeline.provisioning.drafts.managers import manager_reads, resolved
from entra_pipeline.provisioning.ledger import Filed
from entra_pipeline.provisioning.plans import Action, Condition, Inverse
from entra_pipeline.provisioning.reads import Facts, Read
from entra_pipeline.provisioning.values import (
    DisableUser,
    EnableUser,
    SetManager,
    Tier,
    UpdateProfile,
    UpdateUser,
)

Update = EnableUser | DisableUser | UpdateUser | UpdateProfile

_PROFILE: Final = {
    "mail": "mail",
    "displayName": "display_name",
    "jobTitle": "job_title",
    "employeeId": "employee_id",
    "department": "department",
    "companyName": "company_name",
    "country": "country",
}
_SENSITIVE: Final = frozenset(
    {
        "accountenabled",
        "businessphones",
        "identities",
        "mobilephone",
        "othermails",
        "passwordpolicies",
        "userprincipalname",
    }
)
"""By what an account can be taken over or taken out of use, in lower case.
Source: https://learn.microsoft.com/graph/api/resources/users#who-can-perform-sensitive-actions"""
_CLOUD_OWNED: Final = frozenset(
    {
        "usagelocation",
        "othermails",
        "passwordpolicies",
        "employeeleavedatetime",
        "identities",
    }
)
"""What stays the cloud's own for accounts from on premises, in lower case."""


def wanted_properties(body: Update) -> dict[str, Any]:
    """What a request sets, named as Graph names it."""
    match body:
        case EnableUser():
            return {"accountEnabled": True}
        case DisableUser():
            return {"accountEnabled": False}
        case UpdateUser():
            return dict(body.attributes)
    properties: dict[str, Any] = {
        name: value
        for name, field in _PROFILE.items()
        if (value := getattr(body, field)) is not None
    }
    if body.extension_attributes:
        properties["onPremisesExtensionAttributes"] = dict(body.extension_attributes)
    return properties


class Updates:
    """Properties of an account."""

    def first(self, body: Update) -> Sequence[Read]:
        """The account, what it is, and the properties as they are."""
        reads = people.first(body.user_id)
        if not unwritable(wanted := wanted_properties(body)):
            reads.append(Read(properties_url(body.user_id, wanted)))
        return reads

    def needs(self, body: Update, facts: Facts) -> Sequence[Read]:
        """What its groups may do."""
        return people.then(body.user_id, facts)

    def draft(self, filed: Filed, body: Update, facts: Facts, recipients: tuple[str, ...]) -> Draft:
        """Refused for what is mastered on premises, and for disabling the last administrators."""
        user, wanted = body.user_id, wanted_properties(body)
        if reasons := unwritable(wanted):
            return Draft(reasons=tuple(reasons))
        account = facts.document(account_url(user))
        found = facts.document(properties_url(user, wanted))
        if account is None or found is None:
            return Draft(reasons=(f"there is no user {user}",))
        if {name.lower() for name in wanted} - _CLOUD_OWNED:
            reasons += people.elsewhere(account, "change it")
        conditions: list[Condition] = []
        if wanted.get("accountEnabled") is False:
            last, conditions = people.last_administrators(user, facts)
            reasons += last
        if reasons:
            return Draft(reasons=tuple(reasons))
        wanted = _whole(wanted, found)
        before = {name: _part(value, found.get(name)) for name, value in wanted.items()}
        conditions += [
            Condition(fact=f"user.{name}", subject=user, value=value)
            for name, value in before.items()
        ]
        sensitive = {name.lower() for name in wanted} & _SENSITIVE
        operation = on_account(
            filed,
            Action.UPDATE_USER,
            user,
            {"properties": wanted},
            tier=people.tier_of_account(user, facts) if sensitive else Tier.ORDINARY,
            conditions=conditions,
            already=all(same(value, found.get(name)) for name, value in wanted.items()),
            inverse=Inverse(action=Action.UPDATE_USER, arguments={"properties": before}),
        )
        disabled = wanted.get("accountEnabled") is False
        said = f"{TOKENS_LIVE}: revoke_sessions ends them"
        return Draft((operation,), warnings=(said,) if disabled else ())


def _whole(wanted: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """What is wanted, with the parts that Graph would clear when they are left out."""
    # Source: https://learn.microsoft.com/graph/api/user-update (employeeOrgData)
    name = "employeeOrgData"
    if isinstance(wanted.get(name), dict) and isinstance(found.get(name), dict):
        return {**wanted, name: {**found[name], **wanted[name]}}
    return wanted


def _part(wanted: Any, found: Any) -> Any:
    """What a property was, as far as it is to be changed."""
    if isinstance(wanted, dict):
        return {name: (found or {}).get(name) for name in wanted}
    return found


class Managers:
    """Managers."""

    def first(self, body: SetManager) -> Sequence[Read]:
        """The account, its manager, and who is to be."""
        reads = [Read(account_url(body.user_id)), Read(manager_url(body.user_id))]
        return [*reads, *manager_reads(body.manager)]

    def needs(self, body: SetManager, facts: Facts) -> Sequence[Read]:
        """Nothing else."""
        return ()

    def draft(
        self, filed: Filed, body: SetManager, facts: Facts, recipients: tuple[str, ...]
    ) -> Draft:
        """Refused when it is not told who is meant."""
        user = body.user_id
        account = facts.document(account_url(user))
        if account is None:
            return Draft(reasons=(f"there is no user {user}",))
        reasons = people.elsewhere(account, "name its manager")
        manager = None
        if body.manager.strip():
            manager, why = resolved(body.manager, facts)
            if why is not None:
                reasons.append(why)
            elif manager == user:
                reasons.append(f"user {user} cannot be its own manager")
        if reasons:
            return Draft(reasons=tuple(reasons))
        before = (facts.document(manager_url(user)) or {}).get("id")
        operation = on_account(
            filed,
            Action.REMOVE_MANAGER if manager is None else Action.SET_MANAGER,
            user,
            {"manager": manager},
            tier=Tier.ORDINARY,
            conditions=[Condition(fact="user.manager", subject=user, value=before)],
            already=before == manager,
            inverse=Inverse(action=Action.REMOVE_MANAGER, arguments={"manager": None})
            if before is None
            else Inverse(action=Action.SET_MANAGER, arguments={"manager": before}),
        )
        return Draft((operation,))
