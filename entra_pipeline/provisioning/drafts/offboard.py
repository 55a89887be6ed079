"""Drafts of offboarding: all that one person holds directly, as operations of the existing kinds.

Here: the order in which it is taken, and who follows as an owner. Not here: what a leaver holds
(`holdings`). What one piece takes to be taken is its own family's to say: those drafts are made
here one by one. What their rules have against a single piece (a dynamic group, one that is mastered
on premises, the last owner whom nobody follows) keeps that piece, with the reason, and never the
others; what would endanger the tenant (the last Global Administrators) stands against all of it.

Order: the account can sign in no more, its sessions end, its methods go; then heirs become owners,
before the leaver ceases to be one; then roles, app roles, ownerships, memberships, licences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from entra_pipeline.msgraph.errors import MalformedAnswerError
from entra_pipeline.provisioning.actions import groups, owners
from entra_pipeline.provisioning.actions.accounts import account_url
from entra_pipeline.provisioning.actions.credentials import methods_url
from entra_pipeline.provisioning.actions.exchange import (
    list_read,
    mail_read,
    managers,
    one_list,
    with_manager,
)
from entra_pipeline.provisioning.actions.profiles import manager_url, properties_url
from entra_pipeline.provisioning.drafts import holdings, people
from entra_pipeline.provisioning.drafts.accounts import EndSessions, RemoveAllMethods
from entra_pipeline.provisioning.drafts.app_roles import AppRoles
from entra_pipeline.provisioning.drafts.base import Draft, Family, Task
from entra_pipeline.provisioning.drafts.exchange import Lists, is_list
from entra_pipeline.provisioning.drafts.groups import Groups
from entra_pipeline.provisioning.drafts.holdings import SEGMENT
from entra_pipeline.provisioning.drafts.licenses import Licenses
from entra_pipeline.provisioning.drafts.pim import Holds
from entra_pipeline.provisioning.drafts.profiles import Updates
from entra_pipeline.provisioning.drafts.roles import Roles
from entra_pipeline.provisioning.ledger import Filed
from entra_pipeline.provisioning.plans import Action, Change, Condition, Inverse, Operation
from entra_pipeline.provisioning.reads import (
    Facts,
    Read,
    UnreadError,
    kind_of_object,
    principal_url,
)
from entra_pipeline.provisioning.values import (
    DisableUser,
    Grant,
    GroupAccess,
    Mode,
    Offboard,
    Revoke,
    RevokeMfa,
    RevokeSessions,
    Tier,
)

ACTIVATED: Final = "activated"
"""In the arguments of taking an eligibility: an activation that rests on it ends as well."""
_GRAPHS: Final = (
    "Graph goes on naming them an owner, which nobody can change and which means nothing: who "
    "manages a list is Exchange's to say"
)
_ACCOUNT: Final[tuple[tuple[type[Any], Task], ...]] = (
    (DisableUser, Updates()),
    (RevokeSessions, EndSessions()),
    (RevokeMfa, RemoveAllMethods()),
)


@dataclass
class _Found:
    """What came of the pieces so far."""

    operations: list[Operation] = field(default_factory=list)
    kept: list[Change] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def keep(self, user: str, entitlement: str, state: str, why: str) -> None:
        change = Change(principal_id=user, entitlement_id=entitlement, through=(), why=why)
        if state == "eligible":
            change = change.model_copy(update={"state": state})
        self.kept.append(change)


class Offboardings:
    """Leavers."""

    def first(self, body: Offboard) -> Sequence[Read]:
        """The account, and lists of all that it holds and owns."""
        user = body.user_id
        return [
            *people.first(user),
            Read(principal_url(user)),
            Read(properties_url(user, ["accountEnabled"])),
            Read(methods_url(user)),
            Read(manager_url(user)),
            mail_read(SEGMENT, user),
            *holdings.reads(user),
        ]

    def needs(self, body: Offboard, facts: Facts) -> Sequence[Read]:
        """What each piece needs to be taken, and who would follow as an owner."""
        user = body.user_id
        if facts.document(account_url(user)) is None:
            return ()
        reads = [*people.then(user, facts)]
        for revoke in holdings.held(user, facts):
            reads += _family(revoke).needs(revoke, SEGMENT)
            if _is_list(revoke, facts):  # known once the group was read
                reads += Lists().needs(revoke, SEGMENT)
        for collection, owned in holdings.owned_apps(user, facts):
            reads.append(Read(owners.owners_url(collection, owned)))
        if (heir := _heir(body, facts)) is not None:
            reads += [Read(account_url(heir)), Read(principal_url(heir)), mail_read(SEGMENT, heir)]
            reads += [
                Read(groups.held_url(SEGMENT, heir, "owner")),
                Read(properties_url(heir, ["accountEnabled"])),
            ]
        return reads

    def draft(
        self, filed: Filed, body: Offboard, facts: Facts, recipients: tuple[str, ...]
    ) -> Draft:
        """Refused for nobody, and for the last Global Administrators."""
        user = body.user_id
        if facts.document(account_url(user)) is None:
            return Draft(reasons=(f"there is no user {user}",))
        # These lists first: where one of them could not be read, nothing else was.
        held, apps = [*holdings.held(user, facts)], [*holdings.owned_apps(user, facts)]
        _heir(body, facts)
        last, _ = people.last_administrators(user, facts)
        if last:
            return Draft(reasons=tuple(last))
        found = _Found()
        self._account(filed, body, facts, found)
        facts = self._heirs(filed, body, facts, found)
        for revoke in held:
            _take(filed, revoke, facts, found)
        for owned in apps:
            _take_app(filed, user, owned, found)
        _others(user, facts, found)
        return Draft(
            tuple(found.operations),
            tuple(found.reasons),
            tuple(dict.fromkeys(found.warnings)),
            tuple(found.kept),
        )

    def _account(self, filed: Filed, body: Offboard, facts: Facts, found: _Found) -> None:
        """The account, its sessions, its methods."""
        for kind, task in _ACCOUNT:
            own = kind(user_id=body.user_id)
            drafted = task.draft(_as(filed, own), own, facts, ())
            found.operations += drafted.operations
            if kind is not DisableUser:
                found.warnings += drafted.warnings
                continue
            # For an account that there is, only where it is mastered stands against this.
            account = facts.document(account_url(body.user_id)) or {}
            if account.get("accountEnabled") is not False:
                said = "the account can still sign in"
                found.warnings += [f"{said}: {reason}" for reason in drafted.reasons]

    def _heirs(self, filed: Filed, body: Offboard, facts: Facts, found: _Found) -> Facts:
        """Have somebody else own what only the leaver does; the facts as they are then."""
        user, heir = body.user_id, _heir(body, facts)
        lacking = _unfit_heir(body, heir, facts)
        after: dict[str, Any] = {}
        lists = (("groups", each) for each in holdings.managed(user, facts))
        for owned in dict.fromkeys((*holdings.owned(user, facts), *lists)):
            if (handed := _handed(user, heir, owned, facts)) is None:
                continue
            entitlement = holdings.entitlement_of(*owned)
            if lacking is not None or heir is None:
                why = f"its last owner, and nobody to hand it to: {lacking}"
                found.keep(user, entitlement, "active", why)
                found.warnings.append(f"{entitlement} stays with {user}: {why}")
                continue
            drafted = _hand(filed, heir, owned, facts)
            if drafted.reasons:
                why = f"its last owner, and it cannot be handed over: {drafted.reasons[0]}"
                found.keep(user, entitlement, "active", why)
                found.warnings.append(f"{entitlement} stays with {user}: {why}")
                continue
            found.operations += drafted.operations
            after |= handed
        return facts | Facts(after)


def _take(filed: Filed, revoke: Revoke, facts: Facts, found: _Found) -> None:
    """Take one piece of access, or say why it stays."""
    entitlement = revoke.access.entitlement_id
    state = "eligible" if revoke.mode is Mode.PIM_ELIGIBLE else "active"
    known = {(each.entitlement_id, each.state) for each in found.kept}
    if (entitlement, state) in known:
        return  # its last owner: said already
    listed = _is_list(revoke, facts)
    family = Lists() if listed else _family(revoke)
    try:
        drafted = family.draft(_as(filed, revoke), revoke, SEGMENT, facts)
    except UnreadError as error:
        said = f"what {entitlement} rests on cannot be read: {error}"
        if listed and isinstance(error.error, MalformedAnswerError):  # of this list alone
            found.keep(revoke.principal_id, entitlement, state, said)
        else:
            found.reasons.append(said)
        return
    if drafted.reasons:
        found.keep(revoke.principal_id, entitlement, state, "; ".join(drafted.reasons))
        return
    if listed and entitlement.endswith(":owner"):
        _keep_graphs(revoke, facts, found)
        if drafted.operations[0].already:
            return
    for operation in drafted.operations:
        if holdings.is_activated(revoke, facts):
            arguments = {**operation.arguments, ACTIVATED: True}
            operation = operation.model_copy(update={"arguments": arguments})
        found.operations.append(operation)


def _keep_graphs(revoke: Revoke, facts: Facts, found: _Found) -> None:
    """Graph names owners of lists as well, whom neither Exchange nor anybody else can change."""
    access, user = revoke.access, revoke.principal_id
    rows = facts.items(groups.held_url(SEGMENT, user, "owner")) or ()
    if any(row["id"] == access.resource_id for row in rows):
        found.keep(user, access.entitlement_id, "active", _GRAPHS)


def _take_app(filed: Filed, user: str, owned: tuple[str, str], found: _Found) -> None:
    entitlement = holdings.entitlement_of(*owned)
    if any(each.entitlement_id == entitlement for each in found.kept):
        return
    found.operations += _of_app(filed, user, owned, adds=False).operations


def _handed(
    user: str, heir: str | None, owned: tuple[str, str], facts: Facts
) -> dict[str, Any] | None:
    """The facts of who owns it when the heir does, too; None when others than the leaver do."""
    collection, object_id = owned
    if collection != "groups" or not is_list(GroupAccess(group_id=object_id), facts):
        url = holdings.owners_url(collection, object_id)
        rows = facts.items(url)
        if rows is None or {each["id"] for each in rows} - {user}:
            return None
        return {url: {"value": [*rows, {"id": heir}]}}
    try:
        found = one_list(facts, object_id)
        if found is None:
            return None
        who = facts.document(mail_read(SEGMENT, user).url)
        held = managers(facts, found, user, who)
    except UnreadError:
        return None  # said where it would be taken
    if not held.holds or held.others:
        return None
    return {list_read(object_id).url: {"value": [with_manager(found, str(heir))]}}


def _hand(filed: Filed, heir: str, owned: tuple[str, str], facts: Facts) -> Draft:
    """The draft of the heir becoming an owner."""
    collection, object_id = owned
    if collection != "groups":
        return _of_app(filed, heir, owned, adds=True)
    grant = Grant(principal_id=heir, access=GroupAccess(group_id=object_id, relation="owner"))
    family = Lists() if is_list(grant.access, facts) else Groups()
    return family.draft(_as(filed, grant), grant, SEGMENT, facts)


def _of_app(filed: Filed, who: str, owned: tuple[str, str], *, adds: bool) -> Draft:
    """The draft of somebody becoming or ceasing to be an application's owner."""
    collection, object_id = owned
    pair = (Action.ADD_APP_OWNER, Action.REMOVE_APP_OWNER)
    action, opposite = pair if adds else reversed(pair)
    arguments = {"collection": collection}
    condition = Condition(fact="owners.others", subject=object_id)
    operation = Operation(
        position=0,
        request_id=filed.id,
        action=action,
        identity=f"{Mode.DIRECT}:{who}:{holdings.entitlement_of(collection, object_id)}",
        target_id=object_id,
        principal_id=who,
        arguments=arguments,
        preconditions=() if adds else (condition,),
        already=False,
        # Whoever owns an application may act as it.
        tier=Tier.SENSITIVE,
        inverse=Inverse(action=opposite, arguments=arguments),
    )
    return Draft((operation,))


def _others(user: str, facts: Facts, found: _Found) -> None:
    """What is held and has no kind of write here."""
    for row in facts.items(groups.held_url(SEGMENT, user, "member")) or ():
        if kind_of_object(row) == "administrativeunit":
            why = "administrative units are not changed here"
            found.keep(user, f"unit:{row['id']}:member", "active", why)
    for row in facts.items(holdings.devices_url(user)) or ():
        why = "owners of devices are not changed here: who registered or joined it owns it"
        found.keep(user, f"device:{row['id']}:owner", "active", why)


def _heir(body: Offboard, facts: Facts) -> str | None:
    """Who gets what only the leaver owns: whom the request names, else the manager."""
    if body.hand_over_to is not None:
        return body.hand_over_to
    found = facts.document(manager_url(body.user_id))
    return None if found is None else str(found["id"])


def _unfit_heir(body: Offboard, heir: str | None, facts: Facts) -> str | None:
    """Why nobody can follow as an owner; None when somebody can."""
    named = "name somebody (--hand-over-to), or a manager (set_manager)"
    if heir is None:
        return f"there is no manager; {named}"
    whose = "the manager" if body.hand_over_to is None else "whoever is to have it"
    account = facts.document(account_url(heir))
    if heir == body.user_id or account is None:
        return f"{whose}, {heir}, is no other user; {named}"
    if not account.get("accountEnabled"):
        return f"{whose}, {heir}, is disabled; {named}"
    return None


def _is_list(revoke: Revoke, facts: Facts) -> bool:
    return revoke.mode is Mode.DIRECT and is_list(revoke.access, facts)


def _family(revoke: Revoke) -> Family:
    if revoke.mode is not Mode.DIRECT:
        return Holds(revoke.access.type)
    return _FAMILIES[revoke.access.type]


_FAMILIES: Final[Mapping[str, Family]] = {
    "group": Groups(),
    "app": AppRoles(),
    "role": Roles(),
    "license": Licenses(),
}


def _as(filed: Filed, body: Any) -> Filed:
    """The request as if it were about one piece alone, for that piece's own draft."""
    return replace(filed, request=filed.request.model_copy(update={"body": body}))
