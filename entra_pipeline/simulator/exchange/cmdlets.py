"""The commands: what each takes, checks, changes and gives.

Exchange PowerShell reference: Add-, Remove- and Get-DistributionGroupMember, Get- and
Set-DistributionGroup. A command checks everything first and changes last.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from entra_pipeline.simulator.directory import Directory
from entra_pipeline.simulator.exchange import recipients, refusals
from entra_pipeline.simulator.exchange.lists import ROLE_GROUP, Lists
from entra_pipeline.simulator.wire import JsonObject

_HASHTABLE: Final = "#exchange.generichashtable"
_COMMON: Final = frozenset({"Confirm", "ErrorAction", "WarningAction", "Debug", "Verbose"})
DEFAULT_RESULTS: Final = 1000
Effect = Callable[[str, str, str], None]
"""Told of what was changed: kind, target, principal."""


@dataclass
class Command:
    """One invocation."""

    name: str
    parameters: Mapping[str, Any]
    directory: Directory
    lists: Lists
    effect: Effect
    manager: str
    """The object that calls: it may manage a list itself."""
    request_id: str
    warnings: list[str] = field(default_factory=list)

    def text(self, name: str) -> str | None:
        """A text parameter; None when it is missing, null or empty."""
        value = self.parameters.get(name)
        if value is not None and not isinstance(value, str):
            raise refusals.bad_input(
                f"Cannot process argument transformation on parameter '{name}'."
            )
        return value or None

    def needed(self, name: str) -> str:
        """A parameter that the command cannot do without."""
        value = self.text(name)
        if value is None:
            raise refusals.bad_input(
                f"Cannot bind argument to parameter '{name}' because it is null."
            )
        return value

    def group(self) -> JsonObject:
        """The list that Identity names."""
        identity = self.needed("Identity")
        found = recipients.find(self.directory, identity)
        if found is None or found[0] != "groups" or not found[1].get("mailEnabled"):
            raise refusals.no_object(identity)
        if not recipients.is_list(found[1]):
            raise refusals.refused("The current operation is not supported on GroupMailbox.")
        return found[1]

    def changeable(self) -> JsonObject:
        """The list, when it may be changed by this caller."""
        group = self.group()
        if group.get("onPremisesSyncEnabled"):
            raise refusals.refused(
                f"The action '{self.name}', 'Identity', can't be performed on the object "
                f"'{group['displayName']}' because the object is being synchronized from your "
                "on-premises organization. This action should be performed on the object in your "
                "on-premises organization."
            )
        bypasses = self.parameters.get("BypassSecurityGroupManagerCheck") is True
        if not bypasses and self.manager not in self.lists.managers(group["id"]):
            raise refusals.not_a_manager()
        return group

    def recipient(self, identity: str) -> JsonObject:
        """Somebody who can receive mail."""
        found = recipients.find(self.directory, identity)
        if found is None or not recipients.is_recipient(*found):
            raise refusals.no_recipient(identity)
        return found[1]


def add_member(command: Command) -> list[JsonObject]:
    """Add-DistributionGroupMember."""
    group = command.changeable()
    who = command.recipient(command.needed("Member"))
    if who["id"] in command.lists.members(group["id"]):
        raise refusals.already_member(str(who["displayName"]), str(group["displayName"]))
    _change(command, "member", group, who["id"], adds=True)
    return []


def remove_member(command: Command) -> list[JsonObject]:
    """Remove-DistributionGroupMember."""
    group = command.changeable()
    who = command.recipient(command.needed("Member"))
    if who["id"] not in command.lists.members(group["id"]):
        raise refusals.not_a_member(str(who["displayName"]), str(group["displayName"]))
    _change(command, "member", group, who["id"], adds=False)
    return []


def set_list(command: Command) -> list[JsonObject]:
    """Set-DistributionGroup, of which only ManagedBy is known here."""
    group = command.changeable()
    before = command.lists.managers(group["id"])
    wanted = command.parameters.get("ManagedBy")
    if isinstance(wanted, str):
        wanted = [wanted]
    if isinstance(wanted, list):
        after = [_manager(command, each) for each in wanted]  # all others are overwritten
    elif isinstance(wanted, dict) and str(wanted.get("@odata.type")).lower() == _HASHTABLE:
        after = _merged(command, before, wanted)
    else:
        raise refusals.bad_input("Cannot convert value of parameter 'ManagedBy'.")
    if not after:
        raise refusals.refused(
            "You must have at least one owner for this group: a group can't be without one."
        )
    if set(after) == set(before):
        command.warnings.append(
            f"The command completed successfully but no settings of '{group['displayName']}' "
            "have been modified."
        )
    for each in before:
        if each not in after:
            _change(command, "owner", group, each, adds=False)
    for each in after:
        if each not in before:
            _change(command, "owner", group, each, adds=True)
    return []


def get_members(command: Command) -> list[JsonObject]:
    """Get-DistributionGroupMember; without an Identity, everybody's."""
    groups = _groups(command)
    rows = []
    for group in groups:
        for each in command.lists.members(group["id"], fresh=False):
            found = recipients.find(command.directory, each)
            if found is not None:
                rows.append(recipients.as_member(*found))
    return _limited(command, rows)


def get_lists(command: Command) -> list[JsonObject]:
    """Get-DistributionGroup; without an Identity, all, or those that ManagedBy manages."""
    named = command.parameters.get("IncludeManagedByWithDisplayNames") is True
    who = command.text("ManagedBy")
    manager = None if who is None else command.recipient(who)["id"]
    rows = []
    for group in _groups(command):
        held = command.lists.managers(group["id"], fresh=False)
        if manager is not None and manager not in held:
            continue
        objects = {each: recipients.find(command.directory, each) for each in held}
        names = [recipients.name_of(found[1]) if found else key for key, found in objects.items()]
        shown = [
            f"{found[1].get('mail')};{found[1].get('displayName')}"
            for found in objects.values()
            if found
        ]
        rows.append(recipients.as_list(group, names, shown if named else None))
    return _limited(command, rows)


def _groups(command: Command) -> list[JsonObject]:
    if command.text("Identity") is not None:
        return [command.group()]
    groups = command.directory.collection("groups").values()
    return [each for each in groups if recipients.is_list(each)]


def _limited(command: Command, rows: list[JsonObject]) -> list[JsonObject]:
    asked = command.parameters.get("ResultSize", DEFAULT_RESULTS)
    if str(asked).lower() == "unlimited":
        return rows
    try:
        most = int(asked)
    except (TypeError, ValueError):
        raise refusals.bad_input("Cannot bind parameter 'ResultSize'.") from None
    if len(rows) > most:
        command.warnings.append(
            "There are more results available than are currently displayed. To view them, "
            "increase the value for the ResultSize parameter."
        )
    return rows[:most]


def _merged(command: Command, before: list[str], wanted: Mapping[str, Any]) -> list[str]:
    parts = {name.lower(): value for name, value in wanted.items()}
    for name in ("add", "remove"):
        if not isinstance(parts.get(name, []), list):
            raise refusals.bad_input("Cannot convert value of parameter 'ManagedBy'.")
    gone = {_manager(command, each) for each in parts.get("remove", [])}
    more = [_manager(command, each) for each in parts.get("add", [])]
    return list(dict.fromkeys([each for each in before if each not in gone] + more))


def _manager(command: Command, identity: Any) -> str:
    if identity == ROLE_GROUP:
        return ROLE_GROUP
    found = recipients.find(command.directory, str(identity))
    if found is None or not recipients.is_recipient(*found) or found[0] == "contacts":
        raise refusals.no_recipient(str(identity))
    if found[0] == "groups" and not found[1].get("securityEnabled"):
        raise refusals.refused(
            f"The group \"{found[1]['displayName']}\" can't be an owner: it isn't a security group."
        )
    return str(found[1]["id"])


def _change(command: Command, what: str, group: JsonObject, who: str, *, adds: bool) -> None:
    relation = "members" if what == "member" else "managers"
    command.lists.change(relation, group["id"], who, adds=adds, request_id=command.request_id)
    command.effect(f"{'add' if adds else 'remove'}_exchange_{what}", group["id"], who)


@dataclass(frozen=True)
class Known:
    """A command: what does it, which parameters it takes, whether it changes anything."""

    run: Callable[[Command], list[JsonObject]]
    parameters: frozenset[str]
    writes: bool = False

    def unknown(self, parameters: Mapping[str, Any]) -> list[str]:
        """Parameters that the command does not have."""
        known = {each.lower() for each in self.parameters | _COMMON}
        return sorted(each for each in parameters if each.lower() not in known)


_MEMBER: Final = frozenset({"Identity", "Member", "BypassSecurityGroupManagerCheck"})
_INCLUDE: Final = "IncludeManagedByWithDisplayNames"
COMMANDS: Final[Mapping[str, Known]] = {
    "add-distributiongroupmember": Known(add_member, _MEMBER, writes=True),
    "remove-distributiongroupmember": Known(remove_member, _MEMBER, writes=True),
    "set-distributiongroup": Known(
        set_list,
        frozenset({"Identity", "ManagedBy", "BypassSecurityGroupManagerCheck"}),
        writes=True,
    ),
    "get-distributiongroupmember": Known(get_members, frozenset({"Identity", "ResultSize"})),
    "get-distributiongroup": Known(
        get_lists, frozenset({"Identity", "ManagedBy", "ResultSize", _INCLUDE})
    ),
}
"""By name in lower case, as PowerShell does not mind case."""
