"""Drafts of membership and ownership of lists that Exchange keeps.

Asked for as that of any other group: the group's kind alone decides that it is Exchange's to
change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from entra_pipeline.exchange.answers import NotConfiguredError
from entra_pipeline.provisioning.actions.exchange import (
    addresses,
    is_member,
    kind_of,
    list_read,
    mail_read,
    managers,
    members_read,
    one_list,
)
from entra_pipeline.provisioning.actions.groups import group_url
from entra_pipeline.provisioning.actions.groups import kind_of as kind_of_group
from entra_pipeline.provisioning.drafts.base import Draft, access_operation
from entra_pipeline.provisioning.ledger import Filed
from entra_pipeline.provisioning.plans import Action, Condition
from entra_pipeline.provisioning.reads import (
    Facts,
    Read,
    UnreadError,
    kind_of_object,
    principal_url,
)
from entra_pipeline.provisioning.values import Access, Grant, GroupAccess, Revoke, Tier

CHANGED: Final = frozenset(
    {"MailUniversalDistributionGroup", "MailUniversalSecurityGroup", "RoomList"}
)
"""Kinds of lists whose members are listed one by one."""
_FITS: Final = {"member": {"user", "group", "orgcontact"}, "owner": {"user", "group"}}
_HOW: Final = (
    "it is managed by Exchange, which is not configured here: set ENTRA_EXCHANGE=true, grant the "
    "reading and the writing application Exchange.ManageAsApp of Office 365 Exchange Online, and "
    "give their service principals the directory roles Global Reader and Exchange Administrator"
)


def is_list(access: Access, facts: Facts) -> bool:
    """Whether the access is to a group that only Exchange can change."""
    if not isinstance(access, GroupAccess):
        return False
    try:
        group = facts.document(group_url(access.group_id))
    except (UnreadError, KeyError):
        return False
    return group is not None and kind_of_group(group) == "mail_enabled"


class Lists:
    """Members and owners of distribution lists and mail-enabled security groups."""

    def needs(self, body: Grant | Revoke, segment: str) -> Sequence[Read]:
        """The list in Exchange, who is in it, and by which addresses the principal is known."""
        access = _of(body)
        reads = [list_read(access.group_id)]
        if access.relation == "member":
            reads.append(members_read(access.group_id))
        if segment in ("users", "groups", "contacts"):
            reads.append(mail_read(segment, body.principal_id))
        return reads

    def draft(self, filed: Filed, body: Grant | Revoke, segment: str, facts: Facts) -> Draft:
        """Refused without Exchange, for lists that something else keeps, for the last owner."""
        access = _of(body)
        where = f"members of group {access.group_id} are not changed here"
        try:
            found = one_list(facts, access.group_id)
        except UnreadError as error:
            if isinstance(error.error, NotConfiguredError):
                return Draft(reasons=(f"{where}: {_HOW}",))
            raise
        if found is None:
            return Draft(
                reasons=(f"Exchange does not know group {access.group_id} yet: plan again later",)
            )
        reasons = _against(found, where)
        if isinstance(body, Grant):
            kind = kind_of_object(facts.document(principal_url(body.principal_id)))
            reasons += _unfit(body, access, kind, segment, facts)
        if reasons:
            return Draft(reasons=tuple(reasons))
        conditions = [Condition(fact="list.kind", subject=access.group_id, value=kind_of(found))]
        if access.relation == "member":
            there = is_member(facts, access.group_id, body.principal_id)
        else:
            who = _who(body, segment, facts)
            held = managers(facts, found, body.principal_id, who)
            there = held.holds
            if isinstance(body, Revoke):
                conditions.append(Condition(fact="owners.others", subject=access.group_id))
                if there and not held.others:
                    said = f"{body.principal_id} is the last owner of group {access.group_id}"
                    return Draft(reasons=(f"{said}: name another one first",))
        return access_operation(
            filed,
            body,
            (
                Action(f"add_exchange_{access.relation}"),
                Action(f"remove_exchange_{access.relation}"),
            ),
            {"group_id": access.group_id, "segment": segment},
            holds=there,
            tier=Tier.ORDINARY,
            conditions=conditions,
        )


def _of(body: Grant | Revoke) -> GroupAccess:
    assert isinstance(body.access, GroupAccess)  # noqa: S101 - chosen by it
    return body.access


def _against(found: Mapping[str, Any], where: str) -> list[str]:
    kind = kind_of(found)
    if kind == "on_premises":
        return [f"{where}: it is mastered on premises: change it there"]
    if kind not in CHANGED:
        return [f"{where}: it is a {kind}, whose members follow from a rule or are Graph's"]
    return []


def _who(body: Grant | Revoke, segment: str, facts: Facts) -> dict[str, Any] | None:
    if segment not in ("users", "groups", "contacts"):
        return None
    return facts.document(mail_read(segment, body.principal_id).url)


def _unfit(body: Grant, access: GroupAccess, kind: str, segment: str, facts: Facts) -> list[str]:
    """Why that principal cannot be in that list."""
    if kind not in _FITS[access.relation]:
        return [f"a {kind} cannot be {access.relation} of a list that Exchange keeps"]
    who = _who(body, segment, facts) or {}
    if kind == "group":
        if body.principal_id == access.group_id:
            return ["a list cannot be in itself"]
        if "Unified" in (who.get("groupTypes") or ()) or not who.get("mailEnabled"):
            return [
                "of groups only distribution lists and mail-enabled security groups can be in lists"
            ]
        if access.relation == "owner" and not who.get("securityEnabled"):
            return ["of groups only mail-enabled security groups can own lists"]
    elif not addresses(who):
        return [
            f"{body.principal_id} has no mail address: without a mailbox nobody can be in a list"
        ]
    return []
