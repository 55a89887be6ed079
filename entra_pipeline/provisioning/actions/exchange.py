"""Members and owners of distribution lists and mail-enabled security groups, kept by Exchange.

Exchange is asked, not Graph: Graph shows a change only minutes later, and never who manages a list.
Owners are the entries of ManagedBy, in which Exchange names some by their object id and others by
a name; with their addresses beside, everybody can be told.

Sources: https://learn.microsoft.com/powershell/module/exchange/add-distributiongroupmember,
https://learn.microsoft.com/powershell/module/exchange/set-distributiongroup,
https://learn.microsoft.com/powershell/module/exchange/get-distributiongroup
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from entra_pipeline.exchange.answers import ALREADY_MEMBER, NO_OBJECT, NOT_A_MEMBER
from entra_pipeline.msgraph import Service, Written
from entra_pipeline.msgraph.errors import MalformedAnswerError
from entra_pipeline.provisioning.actions.base import AT_ONCE, Call, Seen, judged
from entra_pipeline.provisioning.ledger.work import Outcome
from entra_pipeline.provisioning.plans import Operation
from entra_pipeline.provisioning.reads import Facts, Read, UnreadError

_GUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_ADDRESS: Final = re.compile(r"[^\s;,<>()\[\]\"']+@[^\s;,<>()\[\]\"']+")
_BYPASS: Final = {"BypassSecurityGroupManagerCheck": True, "Confirm": False}
"""Without it only a list's managers may change it, and our application is none."""
_ADVICE: Final = {
    NO_OBJECT.lower(): (
        "Exchange does not know the list, or who is to be in it: only who has a mailbox or a mail "
        "address of Exchange's can be in a list"
    ),
    "commandnotfoundexception": (
        "the writing application lacks a role in Exchange: give its service principal the "
        "directory role Exchange Administrator, which can take hours to count"
    ),
    "operationrequiresgroupmanagerexception": (
        "the writing application may not change lists that it does not manage: give its service "
        "principal the directory role Exchange Administrator"
    ),
    "unauthorizedaccessexception": (
        "the writing application has no role that Exchange knows: give its service principal the "
        "directory role Exchange Administrator"
    ),
}


def list_read(group_id: str) -> Read:
    """What Exchange knows of a list, its managers among it."""
    return Read(f"Get-DistributionGroup?Identity={group_id}", Service.EXCHANGE)


def members_read(group_id: str) -> Read:
    """Who is in a list."""
    return Read(f"Get-DistributionGroupMember?Identity={group_id}", Service.EXCHANGE)


def managed_read(principal_id: str) -> Read:
    """The lists that a principal manages."""
    return Read(f"Get-DistributionGroup?ManagedBy={principal_id}", Service.EXCHANGE)


def mail_read(segment: str, principal_id: str) -> Read:
    """By which addresses Exchange may name a principal."""
    more = ",groupTypes,mailEnabled,securityEnabled" if segment == "groups" else ""
    return Read(f"/{segment}/{principal_id}?$select=id,mail,proxyAddresses{more}")


def one_list(facts: Facts, group_id: str) -> dict[str, Any] | None:
    """What Exchange knows of just that list; None when it knows none. Raises UnreadError."""
    url = list_read(group_id).url
    rows = facts.items(url)
    if rows is None:
        return None
    found: list[dict[str, Any]] = [
        row for row in rows if str(row.get("ExternalDirectoryObjectId")).lower() == group_id
    ]
    if len(found) != 1 or len(rows) != 1:
        raise _unclear(url, f"Exchange told of {len(rows)} lists when asked for one")
    return found[0]


def is_member(facts: Facts, group_id: str, principal_id: str) -> bool:
    """Whether the principal is in the list. Raises UnreadError."""
    rows = facts.items(members_read(group_id).url) or ()
    return any(str(row.get("ExternalDirectoryObjectId")).lower() == principal_id for row in rows)


@dataclass(frozen=True)
class Managers:
    """Who manages a list: whether the principal does, and whether anybody else."""

    holds: bool
    others: bool


def managers(
    facts: Facts, found: Mapping[str, Any], principal_id: str, who: Mapping[str, Any] | None
) -> Managers:
    """What ManagedBy says of a principal, `who` being its document from Graph.

    Raises UnreadError when entries are left of which it cannot be told whose they are.
    """
    entries = [str(each) for each in _list(found.get("ManagedBy"))]
    ids = {each.lower() for each in entries if _GUID.fullmatch(each.lower())}
    named = [
        address.lower()
        for text in _list(found.get("ManagedByWithDisplayNames"))
        for address in _ADDRESS.findall(str(text))
    ]
    holds = principal_id in ids or not addresses(who).isdisjoint(named)
    if not holds and len(ids) < len(entries) and len(named) < len(entries) - _role_groups(entries):
        group = str(found.get("ExternalDirectoryObjectId")).lower()
        raise _unclear(
            list_read(group).url, "Exchange names managers of the list without their addresses"
        )
    return Managers(holds, len(entries) - holds > 0)


def with_manager(found: Mapping[str, Any], principal_id: str) -> dict[str, Any]:
    """What Exchange would know of the list if that principal managed it, too."""
    return {**found, "ManagedBy": [*_list(found.get("ManagedBy")), principal_id]}


def addresses(who: Mapping[str, Any] | None) -> set[str]:
    """Mail addresses of a principal, in lower case."""
    found = {
        str(each).partition(":")[2].lower() for each in (who or {}).get("proxyAddresses") or ()
    }
    mail = (who or {}).get("mail")
    return found | ({str(mail).lower()} if mail else set())


def _role_groups(entries: Sequence[str]) -> int:
    """Entries that are Exchange's own role groups, which have no address."""
    return sum(each == "Organization Management" for each in entries)


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else () if value in (None, "") else (value,)


def _unclear(url: str, why: str) -> UnreadError:
    command = url.partition("?")[0]
    return UnreadError(
        url,
        MalformedAnswerError("MalformedAnswer", method="POST", path_template=command, detail=why),
    )


@dataclass(frozen=True)
class ListLink:
    """Adding (`adds`) or removing a member or owner of a list."""

    relation: str
    adds: bool
    visible_within: timedelta = timedelta(minutes=12)
    again_after: timedelta | None = AT_ONCE

    def reads(self, operation: Operation) -> tuple[Read, ...]:
        """The list, and who is in it or by which addresses the principal is known."""
        group, principal = operation.arguments["group_id"], str(operation.principal_id)
        if self.relation == "member":
            return list_read(group), members_read(group)
        return list_read(group), mail_read(operation.arguments["segment"], principal)

    def see(self, operation: Operation, facts: Facts) -> Seen:
        """Whether it is so, and whether the list is still of the kind planned for."""
        group_id, principal = operation.arguments["group_id"], str(operation.principal_id)
        found = one_list(facts, group_id)
        if found is None:
            # Nobody is in a list that is gone.
            gone = (f"Exchange does not know group {group_id}",)
            return Seen(not self.adds, gone if self.adds else ())
        others = True
        if self.relation == "member":
            there = is_member(facts, group_id, principal)
        else:
            url = mail_read(operation.arguments["segment"], principal).url
            held = managers(facts, found, principal, facts.document(url))
            there, others = held.holds, held.others
        if there is self.adds:
            return Seen(True)
        against = []
        for condition in operation.preconditions:
            if condition.fact == "list.kind" and (kind := kind_of(found)) != condition.value:
                against.append(f"group {group_id} is {kind}, it was {condition.value}")
            if condition.fact == "owners.others" and not others:
                against.append(f"the last owner of group {group_id} would go")
        return Seen(False, tuple(against))

    def call(self, operation: Operation, seen: Seen, root: str) -> Call:
        """The command. Both objects are named by their ids in Entra."""
        group, principal = operation.arguments["group_id"], operation.principal_id
        if self.relation == "owner":
            # A plain list would put all other owners out.
            change = {
                "@odata.type": "#Exchange.GenericHashTable",
                "Add" if self.adds else "Remove": [principal],
            }
            body = {"Identity": group, "ManagedBy": change, **_BYPASS}
            return Call("POST", "Set-DistributionGroup", body, service=Service.EXCHANGE)
        name = f"{'Add' if self.adds else 'Remove'}-DistributionGroupMember"
        body = {"Identity": group, "Member": principal, **_BYPASS}
        return Call("POST", name, body, service=Service.EXCHANGE)

    def judge(self, operation: Operation, written: Written) -> Outcome:
        """What Exchange's answer means."""
        already = ALREADY_MEMBER if self.adds else NOT_A_MEMBER
        return judged(written, already=(already.lower(),), advice=_ADVICE)


def kind_of(found: Mapping[str, Any]) -> str:
    """What kind of list it is, as far as changing it goes: `on_premises`, or Exchange's word."""
    if found.get("IsDirSynced"):
        return "on_premises"
    return str(found.get("RecipientTypeDetails"))
