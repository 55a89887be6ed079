"""What stands behind an account: the roles that it holds, and who keeps it.

Who takes over, or takes out, an administrator's account has the administrator's rights in hand: so
such a request is of the tier of the strongest role that the account has, itself or by a group, at
work or to be activated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from entra_pipeline.msgraph.errors import UnlicensedError, UnsupportedError
from entra_pipeline.provisioning.actions import roles
from entra_pipeline.provisioning.actions.accounts import account_url
from entra_pipeline.provisioning.drafts.roles import tier_of
from entra_pipeline.provisioning.plans import Condition
from entra_pipeline.provisioning.reads import Facts, Read, UnreadError
from entra_pipeline.provisioning.values import Tier

_BASE: Final = "/roleManagement/directory"


def held_url(principal_id: str) -> str:
    """The address of a principal's own roles, with what they allow."""
    return f"{_BASE}/roleAssignments?$filter=principalId eq '{principal_id}'&$expand=roleDefinition"


def eligible_url(principal_id: str) -> str:
    """The address of the roles that a principal may activate, with what they allow."""
    return (
        f"{_BASE}/roleEligibilityScheduleInstances?$filter=principalId eq '{principal_id}'"
        "&$expand=roleDefinition"
    )


def groups_url(user_id: str) -> str:
    """The address of a user's groups. Groups that hold roles have no groups in them."""
    return f"/users/{user_id}/memberOf?$select=id,isAssignableToRole&$top=999"


def first(user_id: str) -> list[Read]:
    """The account, its groups and its roles."""
    return [
        Read(account_url(user_id)),
        Read(groups_url(user_id)),
        Read(held_url(user_id)),
        Read(eligible_url(user_id)),
    ]


def then(user_id: str, facts: Facts) -> list[Read]:
    """The roles of its groups, and the other Global Administrators when it is one."""
    reads = [Read(held_url(each)) for each in _role_groups(user_id, facts)]
    if _is_global_administrator(user_id, facts):
        reads.append(Read(roles.holders_url(roles.GLOBAL_ADMINISTRATOR)))
    return reads


def tier_of_account(user_id: str, facts: Facts) -> Tier:
    """The tier of the strongest role behind an account. UnreadError when that is unknown."""
    rows = list(facts.items(held_url(user_id)) or [])
    for group in _role_groups(user_id, facts):
        rows += facts.items(held_url(group)) or []
    try:
        rows += facts.items(eligible_url(user_id)) or []
    except UnreadError as error:
        if not isinstance(error.error, UnlicensedError | UnsupportedError):
            raise
    return min(
        (tier_of(row["roleDefinition"]) for row in rows if row.get("roleDefinition")),
        default=Tier.ORDINARY,
    )


def last_administrators(user_id: str, facts: Facts) -> tuple[list[str], list[Condition]]:
    """What stands against taking an account out of use, and what must stay so."""
    if not _is_global_administrator(user_id, facts):
        return [], []
    holders = facts.items(roles.holders_url(roles.GLOBAL_ADMINISTRATOR)) or []
    left = roles.others(holders, user_id)
    condition = Condition(fact="role.others", subject=roles.GLOBAL_ADMINISTRATOR)
    if left >= roles.LEAST_ADMINISTRATORS:
        return [], [condition]
    said = (
        f"only {left} Global Administrators would be left: there must be "
        f"{roles.LEAST_ADMINISTRATORS}"
    )
    return [said], [condition]


def elsewhere(account: Mapping[str, Any], what: str) -> list[str]:
    """Why something of an account from on premises cannot be changed here."""
    if not account.get("onPremisesSyncEnabled"):
        return []
    return [f"user {account['id']} is mastered on premises: {what} there"]


def _role_groups(user_id: str, facts: Facts) -> Sequence[str]:
    groups = facts.items(groups_url(user_id)) or []
    return sorted(each["id"] for each in groups if each.get("isAssignableToRole"))


def _is_global_administrator(user_id: str, facts: Facts) -> bool:
    held = facts.items(held_url(user_id)) or []
    return roles.found(held, roles.GLOBAL_ADMINISTRATOR, "/") is not None
